//! What was run in all: a file that every call adds to.

use super::{file_error, output};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// The counts of a target in one or several runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// Inputs that were executed.
    pub(super) executions: u64,
    /// Seconds that it took.
    pub(super) seconds: u64,
    /// Milliseconds of processor time that it took.
    pub(super) processor_ms: u64,
    /// Runs that ended because an input failed.
    pub(super) findings: u64,
}

impl Run {
    /// Reads what libFuzzer wrote.
    pub(super) fn of_log(log: &str) -> Self {
        let number = |name: &str| {
            let line = log.lines().rev().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse().ok())
        };
        let executions = number("stat::number_of_executed_units:").unwrap_or(0);
        let rate: u64 = number("stat::average_exec_per_sec:").unwrap_or(0);
        // `Done N runs in S second(s)` is there only at a good end.
        let done = log
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("Done "));
        let seconds = done
            .and_then(|rest| rest.split_whitespace().nth(3)?.parse().ok())
            // An input that failed has ended the run: the time follows from the rate.
            .or_else(|| executions.checked_div(rate))
            .unwrap_or(0);
        Self {
            executions,
            seconds,
            processor_ms: 0,
            findings: 0,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.executions += other.executions;
        self.seconds += other.seconds;
        self.processor_ms += other.processor_ms;
        self.findings += other.findings;
    }

    /// Returns the executions a second.
    pub(super) fn rate(&self) -> u64 {
        self.executions / self.seconds.max(1)
    }
}

/// The counts of a target in all.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Total {
    executions: u64,
    seconds: u64,
    #[serde(default)]
    processor_ms: u64,
    /// Runs that ended because an input failed.
    findings: u64,
    /// The day of the last run, and the commits that were run.
    last: String,
    commits: BTreeSet<String>,
}

/// The counts of all targets in all.
#[derive(Debug)]
pub(super) struct Totals {
    path: PathBuf,
    targets: BTreeMap<String, Total>,
}

impl Totals {
    /// Reads the file; there need not be one yet.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let targets = match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| file_error(path, e.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(file_error(path, error)),
        };
        Ok(Self {
            path: path.into(),
            targets,
        })
    }

    /// Adds a run of `commit`, begun on `day`, and writes the file.
    pub(super) fn add(
        &mut self,
        target: &str,
        run: &Run,
        commit: &str,
        day: &str,
    ) -> Result<(), Error> {
        let total = self.targets.entry(target.to_owned()).or_default();
        total.executions += run.executions;
        total.seconds += run.seconds;
        total.processor_ms += run.processor_ms;
        total.findings += run.findings;
        total.last = day.to_owned();
        total.commits.insert(commit.to_owned());
        let text = serde_json::to_vec_pretty(&self.targets)
            .map_err(|e| file_error(&self.path, e.into()))?;
        // If this is killed, the file has the old sums or the new ones.
        let new = self.path.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.path))
            .map_err(|source| file_error(&self.path, source))
    }

    pub(super) fn executions(&self, target: &str) -> u64 {
        self.targets.get(target).map_or(0, |total| total.executions)
    }

    /// Returns the milliseconds of processor time that a target has had.
    pub(super) fn processor_ms(&self, target: &str) -> u64 {
        let total = self.targets.get(target);
        total.map_or(0, |total| total.processor_ms)
    }

    /// Returns the executions of all targets.
    pub(super) fn sum(&self) -> u64 {
        self.targets.values().map(|total| total.executions).sum()
    }
}

/// Returns the commit that is checked out, with a plus sign when files differ from it.
pub(super) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let text = output(
            Command::new("git")
                .args(arguments)
                .current_dir(crate::workspace()),
        );
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let head = git(&["rev-parse", "--short=12", "HEAD"]);
    format!("{head}{}", if changed { "+" } else { "" })
}

/// Returns today's date, in UTC.
pub(super) fn today() -> Result<String, Error> {
    let day = output(Command::new("date").args(["-u", "+%F"]))?;
    Ok(day.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#4200\tDONE   cov: 812 ft: 2040\nDone 4200 runs in 11 \
        second(s)\nstat::number_of_executed_units: 4200\n\
        stat::average_exec_per_sec:     381\nstat::slowest_unit_time_sec:    0\n";
    const STOPPED: &str = "==1== libFuzzer: run interrupted; exiting\nstat::number_of_executed_units: 900\n\
        stat::average_exec_per_sec:     300\n";

    #[test]
    fn logs_say_what_was_run() {
        let run = Run::of_log(GOOD);
        assert_eq!((run.executions, run.seconds, run.rate()), (4200, 11, 381));
        let run = Run::of_log(STOPPED);
        assert_eq!((run.executions, run.seconds), (900, 3));
        assert_eq!(Run::of_log("nothing"), Run::default());
    }

    #[test]
    fn totals_add_up_over_calls() {
        let dir = std::env::temp_dir().join(format!("xtask-totals-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("totals.json");
        for call in 1..=2 {
            let mut totals = Totals::read(&path).unwrap();
            totals
                .add("gic", &Run::of_log(GOOD), "abc", "2026-01-01")
                .unwrap();
            let stopped = Run {
                processor_ms: 250,
                ..Run::of_log(STOPPED)
            };
            totals.add("cpu", &stopped, "abc", "2026-01-01").unwrap();
            assert_eq!(totals.executions("gic"), call * 4200);
            assert_eq!(totals.processor_ms("cpu"), call * 250);
            assert_eq!(totals.sum(), call * 5100);
        }
        fs::write(&path, "{").unwrap();
        assert!(Totals::read(&path).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
