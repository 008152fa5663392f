//! Words and signs of the notation, each with its place in the text.

use super::syntax_error::SyntaxError;

/// Something the grammar is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, or a word of the notation.
    Word(String),
    /// A number of at most 64 bits.
    Number(i128),
    /// A text between double quotes.
    Text(String),
    /// A sign of one or two characters.
    Sign(&'static str),
}

/// Longest first, so that `==` is not read as twice `=`.
const SIGNS: [&str; 26] = [
    "==", "!=", "<=", ">=", "&&", "||", "->", "{", "}", "(", ")", ",", ";", ".", "+", "-", "=",
    "<", ">", "!", "&", "|", "@", "*", "?", ":",
];

/// Error codes by name (include/uapi/asm-generic/errno{-base,}.h and include/linux/errno.h).
const ERRORS: [(&str, i128); 12] = [
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EIO", 5),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("ENODEV", 19),
    ("EINVAL", 22),
    ("ENOSPC", 28),
    ("ETIMEDOUT", 110),
    ("EPROBE_DEFER", 517),
];

/// Cuts `text` into tokens, each with the offset of its first byte.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        // Tokens end between characters, so that `at` may index the text.
        let (token, length) = token(text, at, c)?;
        found.push((at, token));
        at += length;
    }
    Ok(found)
}

fn token(text: &str, at: usize, first: char) -> Result<(Token, usize), SyntaxError> {
    let rest = &text[at..];
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    if first.is_ascii_digit() {
        let number = number(&rest[..length]).ok_or_else(|| {
            SyntaxError::new(at, format!("`{}` is not a number", &rest[..length]))
        })?;
        return Ok((Token::Number(number), length));
    }
    // A word, unless it names an error code: those are numbers in every place.
    if length > 0 {
        let word = &rest[..length];
        let token = match ERRORS.iter().find(|(name, _)| *name == word) {
            Some(&(_, number)) => Token::Number(number),
            None => Token::Word(word.into()),
        };
        return Ok((token, length));
    }
    if first == '"' {
        let end = rest[1..]
            .find('"')
            .ok_or_else(|| SyntaxError::new(at, "this text has no closing `\"`"))?;
        return Ok((Token::Text(rest[1..=end].into()), end + 2));
    }
    SIGNS
        .iter()
        .find(|sign| rest.starts_with(**sign))
        .map(|sign| (Token::Sign(sign), sign.len()))
        .ok_or_else(|| SyntaxError::new(at, format!("`{first}` means nothing here")))
}

fn number(word: &str) -> Option<i128> {
    let word = word.replace('_', "");
    let number = match word.strip_prefix("0x") {
        // Addresses, also those with the top bit set.
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    number.ok().map(i128::from)
}
