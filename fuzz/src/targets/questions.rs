//! What a user writes about a run: questions, places, and the options of the sanitizer, or a
//! sentence for each that is none.
//!
//! The first byte says which it is, and the rest is the text, so that a seed can be read.

use vmm::inspect::{Place, Question};
use vmm::sanitizer::{Kind, Options};

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Some((which, text)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    match which % 3 {
        0 => questions(&text),
        1 => place(&text),
        _ => options(&text),
    }
}

/// A line of questions: there are no more than it has semicolons, and one more.
fn questions(line: &str) {
    match Question::line(line) {
        Ok(questions) => {
            assert!(questions.len() <= line.matches(';').count() + 1);
            // Each on a line of its own is the same.
            let parts = line.split(';').map(Question::line);
            let apart: Result<Vec<_>, _> = parts.collect();
            assert_eq!(apart.map(|all| all.concat()), Ok(questions));
        }
        Err(why) => sentence(&why.to_string()),
    }
}

/// A place: it is read as it is told.
fn place(text: &str) {
    match text.parse::<Place>() {
        Ok(place) => match &place {
            // Seconds that are no whole number of nanoseconds are told as the nearest.
            Place::Time(ns) => assert_eq!(place.until().guest_ns, Some(*ns)),
            _ => assert_eq!(place.to_string().parse().as_ref(), Ok(&place)),
        },
        Err(why) => sentence(&why.to_string()),
    }
}

/// The options of the sanitizer: some kinds are wanted, or there is a sentence.
fn options(text: &str) {
    match text.parse::<Options>() {
        Ok(options) => assert!(Kind::ALL.iter().any(|kind| options.wants(*kind))),
        Err(why) => sentence(&why.to_string()),
    }
}

fn sentence(why: &str) {
    assert!(!why.is_empty());
}
