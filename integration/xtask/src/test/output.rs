//! Running one program's tests, and reading what it says of them.

use super::programs::Program;
use super::progress::Progress;
use crate::error::Error;
use crate::process;
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How long output is waited for before signals are looked at and the progress is shown again.
const TURN: Duration = Duration::from_millis(200);

/// What came of tests.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// How many passed.
    pub(crate) passed: usize,
    /// How many failed.
    pub(crate) failed: usize,
    /// How many are marked to be skipped.
    pub(crate) skipped: usize,
    /// What failed.
    pub(crate) failures: Vec<String>,
}

impl Results {
    /// Adds another program's results.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
    }
}

/// Runs a program's tests. If one fails, all that the program said is shown, but for the names of
/// tests that passed.
///
/// # Errors
/// When it cannot be started, or a signal came.
pub(crate) fn run(
    program: &Program,
    filter: Option<&str>,
    progress: &mut Progress,
) -> Result<Results, Error> {
    let mut command = program.command();
    command.args(filter).stdin(Stdio::null());
    // One pipe for both streams keeps their lines in order.
    let (reader, writer) = std::io::pipe().map_err(|source| process::failed("a pipe", source))?;
    let copy = writer
        .try_clone()
        .map_err(|source| process::failed("a pipe", source))?;
    command.stdout(copy).stderr(writer);
    progress.start(program);
    let mut child = process::start(&mut command)?;
    // The command holds the writing ends, without which the output would never end.
    drop(command);
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let mut said = Vec::new();
    let status = listen(&mut child, &lines, &mut said, progress)?;
    let results = judge(program, &said, status);
    progress.done(&results);
    if results.failed > 0 {
        println!("=== {}", program.name);
        said.iter()
            .filter(|line| outcome(line) != Some(true))
            .for_each(|line| println!("{line}"));
    }
    Ok(results)
}

/// Takes down a program's lines until it has ended.
fn listen(
    child: &mut Child,
    lines: &mpsc::Receiver<String>,
    said: &mut Vec<String>,
    progress: &mut Progress,
) -> Result<ExitStatus, Error> {
    let mut ended = None;
    loop {
        match lines.recv_timeout(TURN) {
            Ok(line) => {
                if let Some(good) = outcome(&line) {
                    progress.test(good);
                }
                said.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // What is left of its output is in the pipe, unless something that it left behind holds
            // that open.
            Err(RecvTimeoutError::Timeout) if ended.is_some() => process::end_orphans(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        progress.show();
        if let Err(interrupted) = process::check_signals() {
            process::end(child);
            return Err(interrupted);
        }
        if ended.is_none() {
            ended = child
                .try_wait()
                .map_err(|source| process::failed("wait", source))?;
        }
    }
    match ended {
        Some(status) => Ok(status),
        // It has closed its output, and may still run.
        None => process::wait(child),
    }
}

/// Returns whether a test passed, by the line that says so; `None` for any other line.
fn outcome(line: &str) -> Option<bool> {
    let (_, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    match outcome.split([' ', ',']).next()? {
        "ok" => Some(true),
        "FAILED" => Some(false),
        _ => None,
    }
}

/// Returns the results of a program's tests: by its own count, and where that is short of its list,
/// by how it ended.
fn judge(program: &Program, said: &[String], status: ExitStatus) -> Results {
    let mut results = Results::default();
    if program.lists {
        // Examples in documentation have a summary for each package.
        for [passed, failed, ignored] in said.iter().filter_map(|line| count(line)) {
            results.passed += passed;
            results.failed += failed;
            results.skipped += ignored;
        }
        let failed = said.iter().filter(|line| outcome(line) == Some(false));
        let name = |line: &String| {
            // `outcome` has found this beginning.
            line["test ".len()..]
                .rsplit_once(" ... ")
                .map(|(name, _)| name.to_owned())
        };
        results.failures = failed
            .filter_map(name)
            .map(|name| format!("{}: {name}", program.name))
            .collect();
    } else if status.success() {
        results.passed = 1;
    }
    let silent = program
        .tests
        .saturating_sub(results.passed + results.failed);
    if silent > 0 {
        results.failed += silent;
        results.failures.push(format!(
            "{}: {silent} tests did not end; the program's {status}",
            program.name
        ));
    } else if !status.success() && results.failed == 0 {
        results.failed += 1;
        results.failures.push(format!(
            "{}: its tests passed, but its {status}",
            program.name
        ));
    }
    results
}

/// Returns the numbers in a program's own summary: tests that passed, failed and were skipped.
fn count(line: &str) -> Option<[usize; 3]> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let of = |what: &str| {
        let mut parts = numbers.split("; ");
        parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
    };
    Some([of("passed")?, of("failed")?, of("ignored")?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const SUMMARY: &str = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; \
        finished in 0.02s";

    #[test]
    fn summaries_and_outcomes_are_read() {
        assert_eq!(count(SUMMARY), Some([3, 1, 2]));
        assert_eq!(count("test result: strange"), None);
        assert_eq!(outcome("test a::b - should panic ... ok"), Some(true));
        assert_eq!(outcome("test a ... FAILED"), Some(false));
        assert_eq!(outcome("test a ... ignored, too slow"), None);
        assert_eq!(outcome("test result: ok. 1 passed"), None);
    }

    fn judged(lists: bool, tests: usize, said: &[&str], code: i32) -> (usize, usize, usize) {
        let program = Program::sample(lists, tests);
        let said: Vec<String> = said.iter().map(|&line| line.into()).collect();
        let results = judge(&program, &said, ExitStatus::from_raw(code << 8));
        assert_eq!(results.failed > 0, !results.failures.is_empty());
        (results.passed, results.failed, results.skipped)
    }

    #[test]
    fn no_test_is_lost() {
        assert_eq!(
            judged(true, 4, &["test x ... FAILED", SUMMARY], 101),
            (3, 1, 2)
        );
        // It ended in the middle.
        assert_eq!(judged(true, 4, &["test x ... ok"], 134), (0, 4, 0));
        // It passed all its tests and failed nonetheless.
        let good = "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(judged(true, 4, &[good], 1), (4, 1, 0));
        assert_eq!(judged(true, 4, &[good], 0), (4, 0, 0));
        assert_eq!(judged(false, 1, &[], 0), (1, 0, 0));
        assert_eq!(judged(false, 1, &[], 1), (0, 1, 0));
    }
}
