//! How the demo looks: the same words on a terminal and in a pipe, with colours on the first only.

use console::{Style, measure_text_width};
use vmm::timeline::Mark;
use vmm::{ConsoleSink, Flow};

use crate::cli::stdout;

/// Prints a line.
pub fn line(text: &str) {
    stdout::print(&format!("{text}\n"));
}

/// Prints the title of a step; step 0 has no number.
pub fn heading(step: u32, title: &str) {
    let title = if step == 0 {
        title.to_owned()
    } else {
        format!("{step}. {title}")
    };
    line("");
    line(&Style::new().bold().cyan().apply_to(&title).to_string());
    line(
        &Style::new()
            .cyan()
            .apply_to("-".repeat(measure_text_width(&title)))
            .to_string(),
    );
}

/// Prints some sentences.
pub fn paragraph(lines: &[&str]) {
    for text in lines {
        line(&format!("  {text}"));
    }
}

/// Prints the command that would do what comes next.
pub fn command(text: &str) {
    line(&format!(
        "  {} {}",
        Style::new().dim().apply_to("$"),
        Style::new().bold().apply_to(text)
    ));
}

/// Prints something that went well.
pub fn good(text: &str) {
    line(&format!(
        "  {} {text}",
        Style::new().green().bold().apply_to("ok")
    ));
}

/// Prints something that did not go as it should.
pub fn bad(text: &str) {
    line(&format!(
        "  {} {text}",
        Style::new().red().bold().apply_to("not ok")
    ));
}

/// Returns a word in bold, to find a place by.
pub fn strong(text: &str) -> String {
    format!("  {}", Style::new().bold().apply_to(text))
}

/// Returns the word of a mark, in its colour.
pub fn mark(mark: Mark) -> String {
    let (word, style) = match mark {
        Mark::Ok => ("ok ", Style::new().green()),
        Mark::Bad => ("BAD", Style::new().red().bold()),
        Mark::Note | Mark::None => ("-  ", Style::new()),
    };
    style.apply_to(word).to_string()
}

/// A guest's console, set off from our own words, and kept.
#[derive(Default)]
pub struct Quoted {
    line: Vec<u8>,
}

/// Longest line that is shown in one piece.
const MAX_LINE: usize = 4096;

impl Quoted {
    fn end_line(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        // What would move the cursor or colour our own words is left out.
        let text: String = text
            .chars()
            .filter(|c| *c == '\t' || !c.is_control())
            .collect();
        // Lines of the kernel's log begin with their time in brackets, and are shown less bright.
        let ours = text.starts_with("guest: ") || !text.starts_with('[');
        let style = if ours {
            Style::new()
        } else {
            Style::new().dim()
        };
        line(&format!(
            "  {} {}",
            Style::new().blue().apply_to("|"),
            style.apply_to(text)
        ));
        self.line.clear();
    }
}

impl ConsoleSink for Quoted {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
        }
        Flow::Continue
    }
}
