//! What a probe says: types only. The notation itself is described in `docs/probes.md`.

use std::fmt;

/// A probe: a place in the guest's kernel, a condition, and what is done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The text it was made from.
    pub text: String,
    /// Whether the probe is left out where it does not fit the kernel.
    pub optional: bool,
    /// Whether the probe is set only where the one before it does not fit the kernel.
    pub instead: bool,
    /// The place in the guest's code.
    pub site: Site,
    /// The condition under which it acts; always, if there is none.
    pub condition: Option<Expr>,
    /// The actions, in order.
    pub actions: Vec<Action>,
}

impl Probe {
    /// Returns whether it ends the run.
    pub fn stops(&self) -> bool {
        self.actions.contains(&Action::Stop)
    }
}

/// A place in the guest's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The module that it is in; if none is named, the kernel or any module.
    pub module: Option<String>,
    /// The function or label, by its name in kallsyms.
    pub symbol: String,
    /// Bytes after it.
    pub offset: u32,
    /// The moment the function returns to its caller, instead of its entry.
    pub at_return: bool,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(module) = &self.module {
            write!(f, "{module}:")?;
        }
        f.write_str(&self.symbol)?;
        if self.offset != 0 {
            write!(f, "+{:#x}", self.offset)?;
        }
        if self.at_return {
            f.write_str("@return")?;
        }
        Ok(())
    }
}

/// Something that a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Records values in the timeline.
    Print(Vec<Expr>),
    /// Writes a register, a variable or a field of a structure.
    Set(Expr, Expr),
    /// Leaves the function at once, as if it had returned this; valid at the entry of a function.
    Return(Option<Expr>),
    /// Goes on elsewhere.
    Goto(Site),
    /// Ends the run.
    Stop,
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `&&`
    And,
    /// `||`
    Or,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
}

/// A value to be found when the probe is hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A number, or the name of an error code such as `-EPROBE_DEFER`.
    Number(i128),
    /// A text to compare with.
    Text(String),
    /// A register, an argument, a global variable, or what they lead to.
    Path(Path),
    /// The address of a symbol.
    AddressOf(String),
    /// `!`
    Not(Box<Expr>),
    /// Two values and what is between them.
    Binary(Box<Expr>, Operator, Box<Expr>),
}

/// A root and the fields that lead on from it; pointers are followed where a field is asked of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// An argument's name, `arg0` to `arg9`, `r0` to `r15` or `x0` to `x30`, `retval`, `caller`,
    /// `cpu`, or a global variable.
    pub root: String,
    /// Treat the root as a pointer to this structure: `(struct device)r4.kobj.name`.
    pub cast: Option<String>,
    /// Field names, outermost first.
    pub fields: Vec<String>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cast) = &self.cast {
            write!(f, "(struct {cast})")?;
        }
        f.write_str(&self.root)?;
        self.fields
            .iter()
            .try_for_each(|field| write!(f, ".{field}"))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::And => "&&",
            Self::Or => "||",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::BitAnd => "&",
            Self::BitOr => "|",
        })
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Path(path) => write!(f, "{path}"),
            Self::AddressOf(symbol) => write!(f, "&{symbol}"),
            Self::Not(inner) => write!(f, "!({inner})"),
            Self::Binary(left, operator, right) => write!(f, "({left} {operator} {right})"),
        }
    }
}
