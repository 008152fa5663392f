//! Text that came from a guest, made safe to show.

/// Bytes kept of one text of the guest. A console line is seldom longer than the terminal that it
/// was written for.
const MAX_TEXT: usize = 512;

/// Returns `bytes` of the guest as text that is safe in a terminal, a page and a mail: invalid
/// UTF-8 replaced, invisible characters written as escapes, cut off with an ellipsis after 512
/// bytes.
pub fn from_guest(bytes: &[u8]) -> String {
    let cut = bytes.len() > MAX_TEXT;
    // A character that the limit cuts in two becomes a replacement character.
    let mut text = visible(&String::from_utf8_lossy(
        &bytes[..bytes.len().min(MAX_TEXT)],
    ));
    if cut {
        text.push('…');
    }
    text
}

/// Returns `text` with everything that is invisible, or changes how other text is shown, written as
/// an escape: control characters, marks of writing direction, invisible characters.
pub fn visible(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns whether a character is a control, or one of the format characters of Unicode 16 that
/// hide or reorder text.
fn is_hidden(c: char) -> bool {
    c.is_control()
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator, zero width no-break space.
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        // Zero width spaces and joiners, marks of direction.
        || ('\u{200b}'..='\u{200f}').contains(&c)
        // Separators of lines and paragraphs, embeddings and overrides of direction.
        || ('\u{2028}'..='\u{202e}').contains(&c)
        // Word joiner, invisible operators, isolates of direction.
        || ('\u{2060}'..='\u{206f}').contains(&c)
        // Marks of interlinear annotations.
        || ('\u{fff9}'..='\u{fffb}').contains(&c)
        // Tags, which spell text that is not shown.
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(
            from_guest(b"ok \x1b[31mred\x07\r"),
            "ok \\u{1b}[31mred\\u{7}\\r"
        );
        assert_eq!(visible("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(visible("größer als µTLB"), "größer als µTLB");
    }

    #[test]
    fn is_bounded() {
        let text = from_guest(&[b'x'; 100_000]);
        assert_eq!(text.chars().count(), MAX_TEXT + 1);
        assert!(text.ends_with('…'));
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let text = from_guest(&bytes);
            prop_assert!(!text.chars().any(is_hidden));
            prop_assert_eq!(visible(&text), text);
        }
    }
}
