//! `where` conditions: evaluated here to find overlaps, and emitted as Rust for the decoder.
//!
//! A condition is a Rust expression over pattern letters: `|| && == != < <= > >= | ^ & << >> + -`,
//! `!`, parentheses, integers and `popcount(x)`, with Rust's precedence.

use super::pattern::Pattern;
use anyhow::{Context, bail, ensure};

/// A parsed condition. Comparison and logic yield 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// An integer.
    Number(u64),
    /// A pattern letter.
    Letter(char),
    /// `!x`, of truth values.
    Not(Box<Expr>),
    /// Number of set bits.
    Popcount(Box<Expr>),
    /// An infix operator.
    Binary(&'static str, Box<Expr>, Box<Expr>),
}

/// Operators by rising precedence, as in Rust.
const LEVELS: [&[&str]; 8] = [
    &["||"],
    &["&&"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["|"],
    &["^"],
    &["&"],
    &["<<", ">>"],
    &["+", "-"],
];

struct Parser<'a> {
    rest: &'a str,
}

impl Expr {
    /// Parses condition text.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut parser = Parser { rest: text.trim() };
        let expr = parser.level(0)?;
        ensure!(
            parser.rest.is_empty(),
            "cannot understand `{}` in condition `{text}`",
            parser.rest
        );
        Ok(expr)
    }

    /// Returns the value for `word`.
    pub fn eval(&self, pattern: &Pattern, word: u32) -> u64 {
        match self {
            Self::Number(n) => *n,
            // Letters that the pattern lacks have been refused when the row was parsed.
            Self::Letter(l) => pattern.field(*l).map_or(0, |f| f.extract(word)),
            Self::Not(x) => u64::from(x.eval(pattern, word) == 0),
            Self::Popcount(x) => u64::from(x.eval(pattern, word).count_ones()),
            Self::Binary(op, a, b) => {
                let (a, b) = (a.eval(pattern, word), b.eval(pattern, word));
                match *op {
                    "||" => u64::from(a != 0 || b != 0),
                    "&&" => u64::from(a != 0 && b != 0),
                    "==" => u64::from(a == b),
                    "!=" => u64::from(a != b),
                    "<=" => u64::from(a <= b),
                    ">=" => u64::from(a >= b),
                    "<" => u64::from(a < b),
                    ">" => u64::from(a > b),
                    "|" => a | b,
                    "^" => a ^ b,
                    "&" => a & b,
                    // Masked, so that a mistake in a table is no panic of the build.
                    "<<" => a << (b & 63),
                    ">>" => a >> (b & 63),
                    // In 64 bits here and 32 in the decoder: sums of fields fit both.
                    "+" => a.wrapping_add(b),
                    _ => a.wrapping_sub(b),
                }
            }
        }
    }

    /// Collects the letters that the condition looks at.
    pub fn letters(&self, into: &mut Vec<char>) {
        match self {
            Self::Number(_) => {}
            Self::Letter(l) => {
                if !into.contains(l) {
                    into.push(*l);
                }
            }
            Self::Not(x) | Self::Popcount(x) => x.letters(into),
            Self::Binary(_, a, b) => {
                a.letters(into);
                b.letters(into);
            }
        }
    }
}

impl Parser<'_> {
    fn skip(&mut self, n: usize) {
        self.rest = self.rest[n..].trim_start();
    }

    fn operator(&self, level: usize) -> Option<&'static str> {
        let op = LEVELS[level]
            .iter()
            .copied()
            .find(|op| self.rest.starts_with(op))?;
        // `<` must not eat half of `<<`, nor `&` half of `&&`.
        let longer = LEVELS.iter().flat_map(|l| l.iter()).any(|other| {
            other.len() > op.len() && other.starts_with(op) && self.rest.starts_with(other)
        });
        (!longer).then_some(op)
    }

    fn level(&mut self, level: usize) -> anyhow::Result<Expr> {
        if level == LEVELS.len() {
            return self.atom();
        }
        // What binds tighter is taken first; operators of the same level group to the left.
        let mut left = self.level(level + 1)?;
        while let Some(op) = self.operator(level) {
            self.skip(op.len());
            let right = self.level(level + 1)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn atom(&mut self) -> anyhow::Result<Expr> {
        if self.rest.starts_with('!') {
            self.skip(1);
            return Ok(Expr::Not(Box::new(self.atom()?)));
        }
        if self.rest.starts_with('(') {
            self.skip(1);
            let inner = self.level(0)?;
            ensure!(self.rest.starts_with(')'), "`)` expected in condition");
            self.skip(1);
            return Ok(inner);
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let mut chars = word.chars();
        let expr = match (word, chars.next(), chars.next()) {
            ("popcount", _, _) => {
                self.skip(end);
                return Ok(Expr::Popcount(Box::new(self.atom()?)));
            }
            (_, Some(digit), _) if digit.is_ascii_digit() => Expr::Number(number(word)?),
            (_, Some(letter), None) => Expr::Letter(letter),
            _ => bail!("`{}` is no letter or number", self.rest),
        };
        self.skip(end);
        Ok(expr)
    }
}

fn number(word: &str) -> anyhow::Result<u64> {
    let parsed = if let Some(hex) = word.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if let Some(bin) = word.strip_prefix("0b") {
        u64::from_str_radix(&bin.replace('_', ""), 2)
    } else {
        word.parse()
    };
    parsed
        .ok()
        .with_context(|| format!("`{word}` is no number"))
}
