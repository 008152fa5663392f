//! One spelling for what two disassemblers write differently.

/// Returns the text in lower case, with single spaces, decimal numbers and numbered registers, and
/// without a width suffix.
pub fn normalise(text: &str) -> String {
    let lower = text.to_lowercase();
    let (mnemonic, operands) = lower
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((lower.trim(), ""));
    let mnemonic = mnemonic
        .strip_suffix(".w")
        .or(mnemonic.strip_suffix(".n"))
        .unwrap_or(mnemonic);
    let operands = words(operands)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join("");
    let text = format!("{mnemonic} {operands}");
    text.trim().to_owned()
}

/// Rewrites each word of the operands.
fn words(operands: &str) -> String {
    let mut out = String::new();
    let mut rest = operands;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            out.push_str(&word(&rest[..end]));
            rest = &rest[end..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

fn word(text: &str) -> String {
    match text {
        "sb" => "r9".into(),
        "sl" => "r10".into(),
        "fp" => "r11".into(),
        "ip" => "r12".into(),
        _ => match text
            .strip_prefix("0x")
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        {
            Some(value) => value.to_string(),
            None => text.to_owned(),
        },
    }
}
