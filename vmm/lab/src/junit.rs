//! Results in the form of JUnit, which continuous integration reads.

use std::io::{self, Write};

use vmm_timeline::junit::{self, Case, Details, Suite};

use super::run::Judged;
use super::undecided::Undecided;

/// A case's name and what became of it.
pub type CaseResult<'r> = (&'r str, Result<&'r Judged, &'r Undecided>);

/// Writes the results of one kernel.
///
/// # Errors
/// `out` cannot be written.
pub fn write(kernel: &str, results: &[CaseResult<'_>], out: &mut dyn Write) -> io::Result<()> {
    let outcomes: Vec<_> = results.iter().map(|(_, result)| outcome(result)).collect();
    let count =
        |wanted: fn(&&junit::TestStatus) -> bool| outcomes.iter().filter(wanted).count() as u64;
    let suite = Suite {
        name: kernel,
        tests: results.len() as u64,
        failures: count(|outcome| matches!(outcome, junit::TestStatus::Failed(_))),
        errors: count(|outcome| matches!(outcome, junit::TestStatus::Error(_))),
        properties: Vec::new(),
    };
    let cases = results
        .iter()
        .zip(outcomes)
        .map(|((name, result), outcome)| {
            // Names of cases have a dot after the scenario; a name without one is of no case of
            // ours.
            let (class, method) = name.split_once('.').unwrap_or(("lab", name));
            Case {
                class,
                name: method.to_owned(),
                nanoseconds: result.map_or(0, |judged| judged.run.timeline.end),
                outcome,
            }
        });
    junit::write(suite, cases, out)
}

fn outcome(result: &Result<&Judged, &Undecided>) -> junit::TestStatus {
    let details = |message: String| Details {
        message,
        text: match result {
            Ok(Judged {
                sanitized: Some(found),
                ..
            }) => found.lines().join("\n"),
            _ => String::new(),
        },
    };
    match result {
        Ok(judged) if judged.judgement.is_expected() => junit::TestStatus::Passed,
        Ok(judged) => junit::TestStatus::Failed(details(judged.judgement.problems.join("; "))),
        Err(why) => junit::TestStatus::Error(details(why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_judged_is_an_error() {
        let why = Undecided::Setup("no <kernel> & \"co\"\u{1}".into());
        let mut out = Vec::new();
        write("k", &[("deferral.alone.stock.on", Err(&why))], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("tests=\"1\" failures=\"0\" errors=\"1\""),
            "{text}"
        );
        assert!(
            text.contains("classname=\"deferral\" name=\"alone.stock.on\""),
            "{text}"
        );
        assert!(
            text.contains("no &lt;kernel&gt; &amp; &quot;co&quot;?"),
            "{text}"
        );
    }
}
