//! Sizes that a reader can take in: lines, and files.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Columns of a line.
const MAX_COLUMNS: usize = 120;
/// Columns of a line of a comment.
const MAX_COMMENT_COLUMNS: usize = 100;
/// Lines of a file.
const MAX_LINES: usize = 500;

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the Rust files of the repository, by name.
fn sources() -> Vec<(String, String)> {
    let list = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(workspace())
        .output()
        .expect("git runs");
    let list = String::from_utf8(list.stdout).expect("names are UTF-8");
    let text = |name: &str| fs::read_to_string(workspace().join(name));
    list.lines()
        // One that was just deleted is listed still.
        .filter_map(|name| Some((name.to_owned(), text(name).ok()?)))
        .collect()
}

/// Returns the lines of `text` that are too long. In comments a row of a table cannot be broken,
/// and code is as wide as elsewhere.
fn long_lines(text: &str) -> Vec<usize> {
    let mut in_code = false;
    let mut long = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let comment = ["///", "//!", "//"]
            .iter()
            .find_map(|mark| line.trim_start().strip_prefix(mark));
        in_code = comment.is_some_and(|text| in_code != text.trim_start().starts_with("```"));
        let most = match comment {
            Some(text) if text.starts_with(" |") => continue,
            Some(_) if !in_code => MAX_COMMENT_COLUMNS,
            _ => MAX_COLUMNS,
        };
        if line.chars().count() > most {
            long.push(number);
        }
    }
    long
}

#[test]
fn lines_and_files_are_short() {
    let sources = sources();
    assert!(sources.len() > 100, "{} files", sources.len());
    for (name, text) in sources {
        assert_eq!(
            long_lines(&text),
            [0; 0],
            "{name} has lines over {MAX_COLUMNS} columns, or comments over {MAX_COMMENT_COLUMNS}"
        );
        let lines = text.lines().count();
        assert!(
            lines <= MAX_LINES,
            "{name} has {lines} lines: at most {MAX_LINES}"
        );
    }
}

#[test]
fn long_ones_are_found() {
    let long = "x".repeat(MAX_COLUMNS + 1);
    assert_eq!(long_lines(&format!("a\n{long}\n//! |{long}")), [2]);
    let comment = "x".repeat(MAX_COMMENT_COLUMNS - 3);
    let text =
        format!("// {comment}\n  // {comment}\n//! ```\n//! {comment}\n//! ```\n//! {comment}");
    assert_eq!(long_lines(&text), [2, 6]);
}
