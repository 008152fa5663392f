//! A campaign in the form of JUnit, which continuous integration reads.

use std::io::{self, Write};

use super::classify::Outcome;
use super::run::Record;
use super::summary::Summary;
use crate::lab::junit::escaped;

/// Writes every run as a test case, which fails if its outcome is among `denied`; a bug of ours is an error.
///
/// # Errors
/// Those of `out`.
pub fn write<'r>(
    summary: &Summary,
    denied: &[Outcome],
    records: impl Iterator<Item = &'r Record>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let failures: u64 = denied.iter().map(|outcome| summary.count(*outcome)).sum();
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\">",
        escaped(&summary.plan),
        summary.runs,
        summary.count(Outcome::VmmError),
    )?;
    for record in records {
        let outcome = record.verdict.outcome;
        write!(
            out,
            "  <testcase classname=\"{}\" name=\"run {}\" time=\"{:.6}\">",
            escaped(&summary.plan),
            record.run,
            record.guest_ns as f64 / 1e9
        )?;
        let kind = match outcome {
            Outcome::VmmError => "error",
            outcome if denied.contains(&outcome) => "failure",
            _ => "",
        };
        if !kind.is_empty() {
            let why = format!("{outcome}: {}", record.verdict.why);
            let command = summary.command(record.run);
            let (why, command) = (escaped(&why), escaped(&command));
            write!(out, "<{kind} message=\"{why}\">{command}</{kind}>")?;
        }
        writeln!(out, "</testcase>")?;
    }
    writeln!(out, "</testsuite>")
}
