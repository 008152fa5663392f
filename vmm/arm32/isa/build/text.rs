//! Looking at Rust-like expression text: identifiers, letters, top-level commas.

use super::pattern::Pattern;

/// Splits `text` at commas that are not inside brackets.
pub fn split_commas(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0i32, 0);
    for (index, ch) in text.char_indices() {
        match ch {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|p| !p.is_empty());
    parts
}

/// Returns `text` without a pair of parentheses that encloses all of it.
pub fn without_outer_brackets(text: &str) -> &str {
    let Some(inside) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) else {
        return text;
    };
    let mut depth = 0i32;
    // `(a) && (b)` begins and ends in parentheses that are no pair.
    let closes_early = inside.chars().any(|ch| {
        depth += i32::from(ch == '(') - i32::from(ch == ')');
        depth < 0
    });
    if closes_early {
        text
    } else {
        without_outer_brackets(inside)
    }
}

/// Calls `see` for each identifier and copies the rest; `see` returns the replacement.
///
/// Identifiers after `.` or `::` are names of members and are left alone.
pub fn map_idents(text: &str, mut see: impl FnMut(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            let member = out.ends_with('.') || out.ends_with("::");
            match see(word) {
                Some(new) if !member && !first.is_ascii_digit() => out.push_str(&new),
                _ => out.push_str(word),
            }
            rest = tail;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// Replaces pattern letters by expressions that extract their bits from `w`.
pub fn bind_letters(text: &str, pattern: &Pattern) -> String {
    map_idents(text, |word| {
        let mut chars = word.chars();
        let letter = chars.next()?;
        // Longer words are functions, constants and arguments.
        if chars.next().is_some() {
            return None;
        }
        pattern.field(letter).map(|f| f.source())
    })
}

/// Returns the identifiers in `text`, in order of first appearance, members left out.
pub fn idents(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    map_idents(text, |word| {
        if !found.iter().any(|f| f == word) {
            found.push(word.to_owned());
        }
        None
    });
    found
}
