//! The grammar of probes, by recursive descent.
//!
//! ```text
//! probe     = [ "?" ] site [ "if" or ] [ "{" { action ";" } "}" ]
//! site      = [ module ":" ] symbol [ "+" number ] [ "@" "return" ]
//! action    = "print" "(" or { "," or } ")" | "set" "(" path "," or ")" | "return" [ or ]
//!           | "goto" site | "stop"
//! or        = and { "||" and }
//! and       = compare { "&&" compare }
//! compare   = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum ]
//! sum       = unary { ("+" | "-" | "&" | "|") unary }
//! unary     = "!" unary | "-" number | "&" symbol | "(" or ")" | number | text | path
//! path      = [ "(" "struct" name ")" ] name { ("." | "->") name }
//! ```

use super::ast::{Action, Expr, Operator, Path, Probe, Site};
use super::lexer::{Token, tokens};
use super::syntax_error::SyntaxError;

/// Longest probe that is read, in bytes.
pub const MAX_TEXT: usize = 4096;
/// The depth to which expressions may nest: parsing recurses, and nobody writes more.
const MAX_DEPTH: usize = 32;

type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads one probe.
///
/// # Errors
/// The text is not a probe: [`SyntaxError`] tells what is wrong, and where.
pub fn parse(text: &str) -> Result<Probe> {
    // Also bounds how long a chain of operators gets, which is evaluated and dropped by recursion.
    if text.len() > MAX_TEXT {
        let message = format!("a probe is at most {MAX_TEXT} bytes long");
        return Err(SyntaxError::new(0, message));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        end: text.len(),
        depth: 0,
    };
    let probe = parser.probe(text)?;
    match parser.tokens.get(parser.next) {
        None => Ok(probe),
        Some(&(at, _)) => Err(SyntaxError::new(at, "the probe should end here")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |&(at, _)| at)
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        Err(SyntaxError::new(self.at(), format!("{what} is missing")))
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.next += usize::from(found);
        found
    }

    fn need(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) {
            return Ok(());
        }
        self.expected(&format!("`{sign}`"))
    }

    fn word(&mut self, what: &str) -> Result<String> {
        let Some(Token::Word(word)) = self.peek() else {
            return self.expected(what);
        };
        let word = word.clone();
        self.next += 1;
        Ok(word)
    }

    fn probe(&mut self, text: &str) -> Result<Probe> {
        let optional = self.take("?");
        let instead = optional && self.take("?");
        let site = self.site()?;
        let condition = if self.take_word("if") {
            Some(self.or()?)
        } else {
            None
        };
        let mut actions = Vec::new();
        if self.take("{") {
            while !self.take("}") {
                actions.push(self.action(&site)?);
                // The last action needs no `;`.
                if !self.take(";") {
                    self.need("}")?;
                    break;
                }
            }
        }
        Ok(Probe {
            text: text.trim().into(),
            optional,
            instead,
            site,
            condition,
            actions,
        })
    }

    fn site(&mut self) -> Result<Site> {
        let mut symbol = self.word("the name of a guest function")?;
        let module = self.take(":").then(|| symbol.clone());
        if module.is_some() {
            symbol = self.word("the name of a function of the module")?;
        }
        // Compilers name parts and clones of functions like `name.part.0`.
        while self.take(".") {
            let part = match self.peek() {
                Some(Token::Word(word)) => word.clone(),
                Some(Token::Number(number)) => number.to_string(),
                _ => return self.expected("the rest of the function's name"),
            };
            self.next += 1;
            symbol = format!("{symbol}.{part}");
        }
        let mut offset = 0;
        if self.take("+") {
            let at = self.at();
            let Some(&Token::Number(number)) = self.peek() else {
                return self.expected("the number of bytes after the function");
            };
            self.next += 1;
            offset = u32::try_from(number)
                .map_err(|_| SyntaxError::new(at, "the offset does not fit 32 bits"))?;
        }
        let at = self.at();
        let at_return = self.take("@");
        if at_return && !self.take_word("return") {
            return self.expected("`return` after `@`");
        }
        if at_return && offset != 0 {
            let message = "`@return` goes with a function, not with an offset into one";
            return Err(SyntaxError::new(at, message));
        }
        Ok(Site {
            module,
            symbol,
            offset,
            at_return,
        })
    }

    fn action(&mut self, site: &Site) -> Result<Action> {
        let at = self.at();
        let word = self.word("an action (print, set, return, goto or stop)")?;
        match word.as_str() {
            "print" => {
                self.need("(")?;
                let mut values = vec![self.or()?];
                while self.take(",") {
                    values.push(self.or()?);
                }
                self.need(")")?;
                Ok(Action::Print(values))
            }
            "set" => self.set(),
            // Later in the function LR may hold something else, and the stack pointer may have
            // moved.
            "return" if site.at_return || site.offset != 0 => {
                let message = "`return` works at the entry of a function only";
                Err(SyntaxError::new(at, message))
            }
            "return" => match self.peek() {
                None | Some(Token::Sign(";" | "}")) => Ok(Action::Return(None)),
                Some(_) => Ok(Action::Return(Some(self.or()?))),
            },
            "goto" => Ok(Action::Goto(self.site()?)),
            "stop" => Ok(Action::Stop),
            other => {
                let message =
                    format!("`{other}` is no action: say print, set, return, goto or stop");
                Err(SyntaxError::new(at, message))
            }
        }
    }

    fn set(&mut self) -> Result<Action> {
        self.need("(")?;
        let at = self.at();
        let place = self.unary()?;
        if !matches!(place, Expr::Path(_)) {
            let message = "only a register, a variable or a field can be set";
            return Err(SyntaxError::new(at, message));
        }
        self.need(",")?;
        let value = self.or()?;
        self.need(")")?;
        Ok(Action::Set(place, value))
    }

    fn binary(
        &mut self,
        operators: &[(&str, Operator)],
        inner: fn(&mut Self) -> Result<Expr>,
    ) -> Result<Expr> {
        // All operators of one level bind alike, from the left.
        let mut left = inner(self)?;
        while let Some(&(_, operator)) = operators.iter().find(|(sign, _)| self.take(sign)) {
            let right = inner(self)?;
            left = Expr::Binary(Box::new(left), operator, Box::new(right));
        }
        Ok(left)
    }

    fn or(&mut self) -> Result<Expr> {
        // Every way to nest leads through here, by a pair of parentheses or an action's value.
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError::new(self.at(), "this nests too deeply"));
        }
        let result = self.binary(&[("||", Operator::Or)], Self::and);
        self.depth -= 1;
        result
    }

    fn and(&mut self) -> Result<Expr> {
        self.binary(&[("&&", Operator::And)], Self::compare)
    }

    fn compare(&mut self) -> Result<Expr> {
        const OPERATORS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessEqual),
            (">=", Operator::GreaterEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        self.binary(&OPERATORS, Self::sum)
    }

    fn sum(&mut self) -> Result<Expr> {
        const OPERATORS: [(&str, Operator); 4] = [
            ("+", Operator::Plus),
            ("-", Operator::Minus),
            ("&", Operator::BitAnd),
            ("|", Operator::BitOr),
        ];
        self.binary(&OPERATORS, Self::unary)
    }

    fn unary(&mut self) -> Result<Expr> {
        let mut negations = 0usize;
        while self.take("!") {
            negations += 1;
        }
        let mut value = self.operand()?;
        // Two `!` still turn a number into a truth value; more make no difference, and would only
        // nest more deeply.
        for _ in 0..negations.min(2 + negations % 2) {
            value = Expr::Not(Box::new(value));
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Expr> {
        if self.take("-") {
            let Some(&Token::Number(number)) = self.peek() else {
                return self.expected("a number after `-`");
            };
            // `-2^63` fits and `2^63` does not, so the sign has to be looked at with the number.
            if i64::try_from(-number).is_err() {
                return Err(SyntaxError::new(self.at(), "this does not fit 64 bits"));
            }
            self.next += 1;
            return Ok(Expr::Number(-number));
        }
        if self.take("&") {
            return Ok(Expr::AddressOf(self.word("a symbol after `&`")?));
        }
        if self.take("(") {
            if self.take_word("struct") {
                let cast = self.word("the name of a structure")?;
                // The star is optional, as the root is always taken for a pointer.
                self.take("*");
                self.need(")")?;
                return self.path(Some(cast));
            }
            let inner = self.or()?;
            self.need(")")?;
            return Ok(inner);
        }
        match self.peek().cloned() {
            Some(Token::Number(number)) => {
                self.next += 1;
                Ok(Expr::Number(number))
            }
            Some(Token::Text(text)) => {
                self.next += 1;
                Ok(Expr::Text(text))
            }
            _ => self.path(None),
        }
    }

    fn path(&mut self, cast: Option<String>) -> Result<Expr> {
        let root = self.word("a value")?;
        let mut fields = Vec::new();
        while self.take(".") || self.take("->") {
            fields.push(self.word("the name of a field")?);
        }
        Ok(Expr::Path(Path { root, cast, fields }))
    }
}

#[cfg(test)]
mod tests;
