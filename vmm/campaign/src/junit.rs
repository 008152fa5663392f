//! A campaign in the form of JUnit, which continuous integration reads.

use std::io::{self, Write};

use vmm_timeline::junit::{self, Case, Details, Suite};

use super::classify::Outcome;
use super::code::CodeLine;
use super::run::Record;
use super::summary::Summary;

/// Writes every run as a test case, which fails if its outcome is among `denied`, or a mistake with
/// DMA was found in it; a bug of ours is an error.
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
        failures: summary.failures(denied),
        errors: summary.count(Outcome::VmmError),
        properties: properties(summary),
    };
    let cases = records.map(|record| Case {
        class: &summary.plan,
        name: match summary.points(record) {
            Some(points) => format!("run {}: {points}", record.run),
            None => format!("run {}", record.run),
        },
        nanoseconds: record.guest_ns,
        outcome: outcome(summary, denied, record),
    });
    junit::write(suite, cases, out)
}

/// Returns what was covered, of points and of code.
fn properties(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut numbers = Vec::new();
    if let Some(coverage) = &summary.coverage {
        numbers.extend([
            ("points-reached", coverage.reached),
            ("points-of-the-plan", coverage.points),
            ("points-injected", coverage.injected),
            ("outcomes", coverage.outcomes as u64),
        ]);
        if let Some(pairs) = coverage.pairs {
            numbers.push(("pairs", pairs.of));
            numbers.push(("pairs-run", pairs.runs));
            numbers.push(("pairs-injected", pairs.both));
        }
    }
    if let Some(code) = &summary.code {
        let sum = |of: fn(&CodeLine) -> usize| code.functions.iter().map(of).sum::<usize>() as u64;
        numbers.extend([
            ("blocks", sum(|line| line.blocks)),
            ("blocks-without-faults", sum(|line| line.usual)),
            ("blocks-with-faults-only", sum(|line| line.more)),
        ]);
    }
    if summary.sanitize.is_some() {
        let counts = summary.mistakes.values().map(|line| line.count);
        numbers.push(("dma-mistakes", counts.fold(0, u64::saturating_add)));
    }
    let numbers = numbers.into_iter();
    numbers
        .map(|(name, number)| (name, number.to_string()))
        .collect()
}

fn outcome(summary: &Summary, denied: &[Outcome], record: &Record) -> junit::TestStatus {
    let outcome = record.verdict.outcome;
    let mut details = Details {
        message: format!("{outcome}: {}", record.verdict.why),
        text: match outcome.is_failure() {
            true => format!(
                "{}; {}",
                summary.command(record.run),
                summary.debug_command(record.run)
            ),
            false => summary.command(record.run),
        },
    };
    let found = !record.mistakes.is_empty();
    if found {
        let sum = record.mistakes.sum();
        details.message = format!("{}; mistakes with DMA: {sum}", details.message);
        for line in record.mistakes.lines() {
            details.text = format!("{}\n{line}", details.text);
        }
    }
    match outcome {
        Outcome::VmmError => junit::TestStatus::Error(details),
        _ if found => junit::TestStatus::Failed(details),
        outcome if denied.contains(&outcome) => junit::TestStatus::Failed(details),
        _ => junit::TestStatus::Passed,
    }
}
