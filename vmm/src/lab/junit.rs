//! Results in the form of JUnit, which continuous integration reads.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::run::{Judged, Undecided};

/// A case's name and what became of it.
pub type Outcome<'r> = (&'r str, Result<&'r Judged, &'r Undecided>);

/// Writes the results of one kernel.
///
/// # Errors
/// Those of `out`.
pub fn write(kernel: &str, results: &[Outcome<'_>], out: &mut dyn Write) -> io::Result<()> {
    let failures = results
        .iter()
        .filter(|(_, r)| matches!(r, Ok(j) if !j.judgement.is_expected()));
    let errors = results.iter().filter(|(_, result)| result.is_err());
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        escaped(kernel),
        results.len(),
        failures.count(),
        errors.count()
    );
    for (name, result) in results {
        let (class, method) = name.split_once('.').unwrap_or(("lab", name));
        let seconds = match result {
            Ok(judged) => judged.run.timeline.end as f64 / 1e9,
            Err(_) => 0.0,
        };
        let _ = write!(
            text,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.6}\">",
            escaped(class),
            escaped(method)
        );
        match result {
            Ok(judged) if judged.judgement.is_expected() => {}
            Ok(judged) => {
                let problems = judged.judgement.problems.join("; ");
                let _ = write!(text, "<failure message=\"{}\"/>", escaped(&problems));
            }
            Err(why) => {
                let _ = write!(text, "<error message=\"{}\"/>", escaped(&why.to_string()));
            }
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("</testsuite>\n");
    out.write_all(text.as_bytes())
}

/// Text as it may stand in an attribute; what XML cannot hold becomes a question mark.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
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
