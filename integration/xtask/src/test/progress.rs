//! How far the tests are, on standard error: one line that changes on a terminal, and now and then
//! a line elsewhere.

use super::output::Results;
use super::programs::{Program, Programs};
use super::times::Times;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// How often the line on a terminal changes.
const SHORT: Duration = Duration::from_millis(500);
/// How often there is a line elsewhere.
const LONG: Duration = Duration::from_secs(60);

/// How far the tests are.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    programs: usize,
    tests: usize,
    /// How many tests of programs that have ended, and of the one that runs, have been done.
    done: [usize; 2],
    failed: usize,
    program: usize,
    name: String,
    expected: Option<u64>,
    began: Instant,
    program_began: Instant,
    shown: Instant,
}

impl Progress {
    /// Creates the progress of a run of which nothing is done yet.
    pub(crate) fn new(programs: &Programs, times: &Times) -> Self {
        let now = Instant::now();
        Self {
            terminal: stderr().is_terminal(),
            programs: programs.list.len(),
            tests: programs.tests(),
            done: [0; 2],
            failed: 0,
            program: 0,
            name: String::new(),
            expected: times.of(programs),
            began: now,
            program_began: now,
            shown: now,
        }
    }

    /// Notes that a program starts.
    pub(crate) fn start(&mut self, program: &Program) {
        self.program += 1;
        self.name.clone_from(&program.name);
        self.program_began = Instant::now();
        self.print();
    }

    /// Notes that a test has ended.
    pub(crate) fn test(&mut self, good: bool) {
        self.done[1] += 1;
        self.failed += usize::from(!good);
    }

    /// Shows it if that is due.
    pub(crate) fn show(&mut self) {
        if self.shown.elapsed() > if self.terminal { SHORT } else { LONG } {
            self.print();
        }
    }

    /// Notes that the program has ended.
    pub(crate) fn done(&mut self, results: &Results) {
        // The results in place of the lines that were counted: tests that did not end are in them
        // too.
        self.done = [self.done[0] + results.passed + results.failed, 0];
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// Returns the seconds that the program took.
    pub(crate) fn of_program(&self) -> u64 {
        self.program_began.elapsed().as_secs()
    }

    fn print(&mut self) {
        self.shown = Instant::now();
        let seconds = self.began.elapsed().as_secs();
        let failed = match self.failed {
            0 => String::new(),
            count => format!(", {count} failed"),
        };
        let left = match self
            .expected
            .map(|expected| expected.saturating_sub(seconds))
        {
            Some(left) if left > 30 => format!(", about {} left", minutes(left)),
            _ => String::new(),
        };
        let line = format!(
            "[program {} of {}, {} of {} tests{failed}, {}:{:02}{left}] {}",
            self.program,
            self.programs,
            self.done[0] + self.done[1],
            self.tests,
            seconds / 60,
            seconds % 60,
            self.name
        );
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

/// Returns a time in words.
pub(crate) fn minutes(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}
