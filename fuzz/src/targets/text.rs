//! Texts that are nearly right: good ones with words of them exchanged.
//!
//! Fuzzers change bytes; what a notation is made of are words. An input is a choice among good
//! texts and a list of edits of their words.

use std::borrow::Cow;

use arbitrary::Arbitrary;

/// A change of a text.
#[derive(Arbitrary, Debug)]
pub enum Edit {
    /// A word becomes another one of the notation.
    Word(u16, u16),
    /// A word becomes one that stands elsewhere in the text.
    Copied(u16, u16),
    /// A word becomes a number.
    Number(u16, Number),
    /// A word becomes any text.
    Text(u16, [u8; 3]),
    /// A word vanishes.
    Without(u16),
    /// A word comes twice.
    Twice(u16),
    /// A line vanishes.
    WithoutLine(u8),
    /// A line comes again, elsewhere.
    LineAgain(u8, u8),
    /// A line of the notation comes in.
    Line(u8, u16),
}

/// Numbers where things end.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Number {
    Small(i8),
    Power(u8, i8),
    Hex(u64),
    Float(f64),
}

impl Number {
    fn text(self) -> String {
        match self {
            Self::Small(n) => n.to_string(),
            Self::Power(bit, more) => ((1i128 << (bit % 66)) + i128::from(more)).to_string(),
            Self::Hex(n) => format!("{n:#x}"),
            Self::Float(n) => n.to_string(),
        }
    }
}

/// Cuts a text into words, blanks and signs.
fn words(text: &str) -> Vec<Cow<'_, str>> {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (part, behind) = rest.split_at(end);
        found.push(Cow::Borrowed(part));
        rest = behind;
    }
    found
}

/// Returns a text with changes; `vocabulary` are words, and lines, of the notation.
pub fn edited(text: &str, edits: &[Edit], vocabulary: &[&str], lines: &[&str]) -> String {
    let mut text = text.to_owned();
    for edit in edits.iter().take(16) {
        text = one(&text, edit, vocabulary, lines);
        // Doubled lines grow.
        if text.len() > 1 << 16 {
            break;
        }
    }
    text
}

fn one(text: &str, edit: &Edit, vocabulary: &[&str], more: &[&str]) -> String {
    let mut parts = words(text);
    // Places among words, not among blanks and signs.
    let places: Vec<usize> = (0..parts.len())
        .filter(|i| parts[*i].starts_with(|c: char| c.is_alphanumeric()))
        .collect();
    let place = |at: u16| places.get(usize::from(at) % places.len().max(1)).copied();
    let mut put = |at: u16, with: String| {
        if let Some(place) = place(at) {
            parts[place] = with.into();
        }
    };
    match *edit {
        Edit::Word(at, which) => {
            let word = vocabulary.get(usize::from(which) % vocabulary.len().max(1));
            put(at, word.copied().unwrap_or_default().to_owned());
        }
        Edit::Copied(at, from) => {
            if let Some(from) = place(from) {
                let word = parts[from].clone();
                if let Some(place) = place(at) {
                    parts[place] = word;
                }
            }
        }
        Edit::Number(at, number) => put(at, number.text()),
        Edit::Text(at, bytes) => put(at, String::from_utf8_lossy(&bytes).into_owned()),
        Edit::Without(at) => put(at, String::new()),
        Edit::Twice(at) => {
            if let Some(place) = place(at) {
                let word = parts[place].clone();
                parts.insert(place, word);
            }
        }
        Edit::WithoutLine(at) => {
            return line(text, at, |lines, at| {
                lines.remove(at);
            });
        }
        Edit::LineAgain(at, to) => {
            return line(text, at, |lines, at| {
                lines.insert(usize::from(to) % lines.len(), lines[at])
            });
        }
        Edit::Line(at, which) => {
            let Some(new) = more.get(usize::from(which) % more.len().max(1)) else {
                return text.to_owned();
            };
            return line(text, at, |lines, at| lines.insert(at, new));
        }
    }
    parts.concat()
}

fn line<'a>(text: &'a str, at: u8, change: impl FnOnce(&mut Vec<&'a str>, usize)) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    if !lines.is_empty() {
        let at = usize::from(at) % lines.len();
        change(&mut lines, at);
    }
    lines.join("\n")
}

/// An input: any text, or a good one with changes.
#[derive(Arbitrary, Debug)]
pub enum Input<'a> {
    Edited(u8, Vec<Edit>),
    Any(&'a str),
}

impl Input<'_> {
    /// Returns the text.
    pub fn text(&self, good: &[&str], vocabulary: &[&str], lines: &[&str]) -> String {
        match self {
            Self::Any(text) => (*text).to_owned(),
            Self::Edited(which, edits) => edited(
                good[usize::from(*which) % good.len()],
                edits,
                vocabulary,
                lines,
            ),
        }
    }
}
