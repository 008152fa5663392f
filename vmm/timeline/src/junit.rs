//! Results in the form of JUnit, which continuous integration reads; and text escaped for XML and
//! HTML.

use std::io::{self, Write};

/// The attributes of a suite of test cases.
#[derive(Clone, Debug)]
pub struct Suite<'s> {
    /// Its name.
    pub name: &'s str,
    /// Number of its cases.
    pub tests: u64,
    /// Number of those that failed.
    pub failures: u64,
    /// Number of those that could not be judged.
    pub errors: u64,
    /// What else is to be known of it: names and values.
    pub properties: Vec<(&'s str, String)>,
}

/// The outcome of a test case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestStatus {
    /// It passed.
    Passed,
    /// It failed.
    Failed(Details),
    /// It could not be judged.
    Error(Details),
}

/// The reason for which a test case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The reason in a sentence.
    pub message: String,
    /// More of it, such as a command that repeats it; may be empty.
    pub text: String,
}

/// A test case.
#[derive(Clone, Debug)]
pub struct Case<'s> {
    /// The group that it is in.
    pub class: &'s str,
    /// Its name.
    pub name: String,
    /// Time that it took, in nanoseconds.
    pub nanoseconds: u64,
    /// Its outcome.
    pub outcome: TestStatus,
}

/// Writes a suite, one case after the other.
///
/// # Errors
/// `out` cannot be written.
pub fn write<'s>(
    suite: Suite<'_>,
    cases: impl Iterator<Item = Case<'s>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(
        out,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        escaped(suite.name),
        suite.tests,
        suite.failures,
        suite.errors
    )?;
    if !suite.properties.is_empty() {
        writeln!(out, "  <properties>")?;
        for (name, value) in &suite.properties {
            let (name, value) = (escaped(name), escaped(value));
            writeln!(out, "    <property name=\"{name}\" value=\"{value}\"/>")?;
        }
        writeln!(out, "  </properties>")?;
    }
    for case in cases {
        write!(
            out,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.6}\">",
            escaped(case.class),
            escaped(&case.name),
            case.nanoseconds as f64 / 1e9
        )?;
        match &case.outcome {
            TestStatus::Passed => {}
            TestStatus::Failed(details) => element("failure", details, out)?,
            TestStatus::Error(details) => element("error", details, out)?,
        }
        writeln!(out, "</testcase>")?;
    }
    writeln!(out, "</testsuite>")
}

fn element(name: &str, details: &Details, out: &mut dyn Write) -> io::Result<()> {
    let message = escaped(&details.message);
    if details.text.is_empty() {
        return write!(out, "<{name} message=\"{message}\"/>");
    }
    let text = escaped(&details.text);
    write!(out, "<{name} message=\"{message}\">{text}</{name}>")
}

/// Returns text escaped for an element or attribute of XML; what XML cannot hold becomes a question
/// mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Attributes are written between double quotes, so that `'` may stay.
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write most of these, not even as references (2.2,
            // "Characters").
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
    fn what_guests_say_stays_within_its_attribute() {
        let details = |text: &str| Details {
            message: "no <kernel> & \"co\"\u{1}".into(),
            text: text.into(),
        };
        let case = |name: &str, outcome| Case {
            class: "a<b",
            name: name.into(),
            nanoseconds: 1_500_000,
            outcome,
        };
        let cases = [
            case("good", TestStatus::Passed),
            case("bad", TestStatus::Failed(details(""))),
            case("ours", TestStatus::Error(details("vmm <again>"))),
        ];
        let suite = Suite {
            name: "k\"",
            tests: 3,
            failures: 1,
            errors: 1,
            properties: vec![("points", "<3>".into())],
        };
        let mut out = Vec::new();
        write(suite, cases.into_iter(), &mut out).unwrap();
        let why = "message=\"no &lt;kernel&gt; &amp; &quot;co&quot;?\"";
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <testsuite name=\"k&quot;\" tests=\"3\" failures=\"1\" errors=\"1\">\n  \
                 <properties>\n    <property name=\"points\" value=\"&lt;3&gt;\"/>\n  </properties>\n  \
                 <testcase classname=\"a&lt;b\" name=\"good\" time=\"0.001500\"></testcase>\n  \
                 <testcase classname=\"a&lt;b\" name=\"bad\" time=\"0.001500\"><failure {why}/></testcase>\n  \
                 <testcase classname=\"a&lt;b\" name=\"ours\" time=\"0.001500\"><error {why}>vmm \
                 &lt;again&gt;</error></testcase>\n\
                 </testsuite>\n"
            )
        );
    }
}
