//! A campaign in the form of JUnit, which continuous integration reads.

use std::io::{self, Write};

use vmm_timeline::junit::{self, Case, Details, Suite};

use super::classify::Outcome;
use super::run::Record;
use super::summary::Summary;

/// Writes every run as a test case, which fails if its outcome is among `denied`; a bug of ours is
/// an error.
///
/// # Errors
/// `out` cannot be written.
pub fn write<'r>(
    summary: &Summary,
    denied: &[Outcome],
    records: impl Iterator<Item = &'r Record>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let suite = Suite {
        name: &summary.plan,
        tests: summary.runs,
        failures: denied.iter().map(|outcome| summary.count(*outcome)).sum(),
        errors: summary.count(Outcome::VmmError),
    };
    let cases = records.map(|record| Case {
        class: &summary.plan,
        name: format!("run {}", record.run),
        nanoseconds: record.guest_ns,
        outcome: outcome(summary, denied, record),
    });
    junit::write(suite, cases, out)
}

fn outcome(summary: &Summary, denied: &[Outcome], record: &Record) -> junit::TestStatus {
    let outcome = record.verdict.outcome;
    let details = Details {
        message: format!("{outcome}: {}", record.verdict.why),
        text: summary.command(record.run),
    };
    match outcome {
        Outcome::VmmError => junit::TestStatus::Error(details),
        outcome if denied.contains(&outcome) => junit::TestStatus::Failed(details),
        _ => junit::TestStatus::Passed,
    }
}
