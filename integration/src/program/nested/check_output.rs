//! What the outer machine says for a check.

use anyhow::Context;
use serde_json::Value;

/// Begins what is said for a check; its name follows.
pub const BEGIN: &str = "check begins: ";
/// Ends what is said for a check; the program's exit code follows.
pub const END: &str = "check ends: ";
/// Begins a line of the guest's console.
pub(super) const CONSOLE: &str = "| ";

/// The output of one check in the outer machine.
#[derive(Debug, Default)]
pub struct CheckOutput {
    /// Lines: the program's own, and its guest's console.
    pub lines: Vec<String>,
    /// The program's exit code, if it came to an end.
    pub status: Option<i32>,
}

impl CheckOutput {
    /// Returns whether a line of the program's own contains this.
    pub fn program(&self, words: &str) -> bool {
        let mut own = self.lines.iter().filter(|line| !line.starts_with(CONSOLE));
        own.any(|line| line.contains(words))
    }

    /// Returns the guest's console.
    pub fn console(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter_map(|line| line.strip_prefix(CONSOLE))
    }

    /// Returns whether a line of the guest's console contains this.
    pub fn guest(&self, words: &str) -> bool {
        self.console().any(|line| line.contains(words))
    }

    /// Returns the program's summary of the run.
    pub fn summary(&self) -> anyhow::Result<Value> {
        let own = self.lines.iter().filter(|line| !line.starts_with(CONSOLE));
        let text: Vec<_> = own
            // The JSON is indented: only its first and its last line are a brace alone.
            .skip_while(|line| *line != "{")
            .map(String::as_str)
            .collect();
        let end = text.iter().position(|line| *line == "}");
        let text = text[..end.map_or(0, |end| end + 1)].join("\n");
        serde_json::from_str(&text).context("vmm wrote no summary")
    }
}
