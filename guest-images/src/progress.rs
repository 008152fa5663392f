//! Telling a person how far a long operation is.

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

/// The unit of a task's amounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Steps of a build.
    Steps,
}

/// Where the operations of this crate report to. Tasks do not nest: each ends before the next
/// starts.
pub trait Progress {
    /// Begins a task; `total` is its whole amount, where that is known beforehand.
    fn start(&mut self, task: &str, total: Option<(u64, Unit)>);
    /// Reports how much of the task is done, counted from its start.
    fn advance(&mut self, done: u64);
    /// Ends the task, well or not.
    fn finish(&mut self);
    /// Reports something worth a line of its own.
    fn note(&mut self, line: &str);
    /// Returns whether the user has allowed beforehand to install packages of the host.
    fn install_allowed(&self) -> bool {
        false
    }
    /// Asks a person a question; the answer is yes only if the person says so.
    fn confirm(&mut self, _question: &str) -> bool {
        false
    }
}

/// Reports nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _task: &str, _total: Option<(u64, Unit)>) {}
    fn advance(&mut self, _done: u64) {}
    fn finish(&mut self) {}
    fn note(&mut self, _line: &str) {}
}

/// Reports to stderr: a bar where that is a terminal, else a plain line now and then.
#[derive(Debug)]
pub struct Terminal {
    bars: bool,
    install: bool,
    bar: Option<ProgressBar>,
    plain: Option<Plain>,
}

/// A task that is reported in plain lines.
#[derive(Debug)]
struct Plain {
    task: String,
    total: Option<(u64, Unit)>,
    started: Instant,
    last: Instant,
}

/// How often a plain report says how far it is: seldom enough for a log, often enough to see that
/// it lives.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Longest answer to a question in bytes.
const MAX_ANSWER: u64 = 256;

impl Terminal {
    /// Creates a reporter to this process's stderr.
    #[must_use]
    pub fn new() -> Self {
        let mut terminal = Self::plain();
        terminal.bars = std::io::stderr().is_terminal();
        terminal
    }

    /// Returns the same reporter, for a user who has allowed, or not, that packages of the host are
    /// installed.
    #[must_use]
    pub fn installing(mut self, allowed: bool) -> Self {
        self.install = allowed;
        self
    }

    /// Creates a reporter in plain lines, terminal or not.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            bars: false,
            install: false,
            bar: None,
            plain: None,
        }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a line to stderr; one that cannot be written (closed terminal) is no reason to stop the
/// work.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Plain {
    /// Returns the line that says how far the task is after `elapsed`.
    fn report(&self, done: u64, elapsed: Duration) -> String {
        let Some((total, unit)) = self.total else {
            return format!("{}: still at it", self.task);
        };
        let percent = (done.min(total) as f64 / total.max(1) as f64) * 100.0;
        let amount = match unit {
            Unit::Bytes => format!("{} of {}", HumanBytes(done), HumanBytes(total)),
            Unit::Steps => format!("{done} of about {total}"),
        };
        match time_left(done, total, elapsed) {
            Some(left) => format!(
                "{}: {percent:.0} % ({amount}), about {} left",
                self.task,
                HumanDuration(left)
            ),
            None => format!("{}: {percent:.0} % ({amount})", self.task),
        }
    }
}

/// Returns the time left at the pace so far; none when nothing has been done yet.
fn time_left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    // The steps of a build are an estimate, and more may be done than were expected.
    let rest = total.checked_sub(done)?;
    (done > 0).then(|| elapsed.mul_f64(rest as f64 / done as f64))
}

impl Progress for Terminal {
    fn start(&mut self, task: &str, total: Option<(u64, Unit)>) {
        // A task that an error has cut short would leave its bar behind.
        self.finish();
        if !self.bars {
            line(task);
            let now = Instant::now();
            self.plain = Some(Plain {
                task: task.to_owned(),
                total,
                started: now,
                last: now,
            });
            return;
        }
        let bar = match total {
            Some((total, _)) => {
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
            }
            None => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
        };
        let template = match total {
            Some((_, Unit::Bytes)) => {
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left"
            }
            Some((_, Unit::Steps)) => "{msg} {wide_bar} {percent} % {eta} left",
            None => "{spinner} {msg} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(task.to_owned());
        // A thread of the bar's own; without one it moves when there is something new.
        if thread::Builder::new().spawn(|| ()).is_ok() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            // An estimated total may be exceeded, and the bar must not go beyond its end.
            bar.set_position(done.min(bar.length().unwrap_or(done)));
        }
        if let Some(plain) = &mut self.plain {
            let now = Instant::now();
            if now.duration_since(plain.last) >= PLAIN_INTERVAL {
                plain.last = now;
                line(&plain.report(done, now.duration_since(plain.started)));
            }
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.plain = None;
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => line(text),
        }
    }

    fn install_allowed(&self) -> bool {
        self.install
    }

    /// Asks where there is someone to answer: at a terminal.
    fn confirm(&mut self, question: &str) -> bool {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
            return false;
        }
        // The thread of a bar would draw over the question.
        self.finish();
        let _ = write!(std::io::stderr(), "{question}\n[y/N] ");
        let mut answer = String::new();
        let read = stdin.lock().take(MAX_ANSWER).read_line(&mut answer);
        read.is_ok() && is_yes(&answer)
    }
}

/// Returns whether an answer to a question means yes.
fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_report_says_amount_and_time_left() {
        let now = Instant::now();
        let plain = Plain {
            task: "building".into(),
            total: Some((400, Unit::Steps)),
            started: now,
            last: now,
        };
        assert_eq!(
            plain.report(100, Duration::from_secs(60)),
            "building: 25 % (100 of about 400), about 3 minutes left"
        );
        assert_eq!(
            plain.report(0, Duration::from_secs(60)),
            "building: 0 % (0 of about 400)"
        );
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [
            ("y\n", true),
            ("Yes\n", true),
            ("", false),
            ("\n", false),
            ("n\n", false),
            ("yep", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
        assert!(!Terminal::plain().install_allowed());
        assert!(Terminal::plain().installing(true).install_allowed());
        assert!(!Silent.confirm("?") && !Silent.install_allowed());
    }

    #[test]
    fn more_done_than_expected_is_no_overflow() {
        assert_eq!(time_left(10, 5, Duration::from_secs(1)), None);
        let mut terminal = Terminal::plain();
        terminal.start("task", Some((1, Unit::Steps)));
        terminal.advance(u64::MAX);
        terminal.finish();
    }
}
