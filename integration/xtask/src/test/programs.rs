//! The programs that tests are in: compiling them, and asking each what tests it has.

use crate::error::Error;
use crate::process;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program with tests.
#[derive(Debug)]
pub(crate) struct Program {
    /// What to call it.
    pub(crate) name: String,
    /// How to run it.
    how: How,
    /// Whether it can list its tests; one that cannot counts as a test.
    pub(crate) lists: bool,
    /// How many tests it has, those that are skipped not counted.
    pub(crate) tests: usize,
    /// The tests that are marked to be skipped.
    pub(crate) ignored: Vec<String>,
}

/// The way in which a program is run.
#[derive(Debug)]
enum How {
    /// By its path, in the directory of its package.
    Path { program: PathBuf, package: PathBuf },
    /// The examples in documentation of these packages (all, if there are none), by cargo.
    Documentation(Vec<String>),
}

impl Program {
    /// Returns a command that runs the program's tests.
    pub(crate) fn command(&self) -> Command {
        match &self.how {
            How::Path { program, package } => {
                let mut command = Command::new(program);
                command
                    .current_dir(package)
                    // As cargo does: some tests find files of their package by it.
                    .env("CARGO_MANIFEST_DIR", package);
                command
            }
            How::Documentation(packages) => {
                let mut command = cargo(packages);
                command.args(["--doc", "--no-fail-fast", "--"]);
                command
            }
        }
    }

    /// Asks the program what tests it has.
    fn list(&mut self, filter: Option<&str>) -> Result<(), Error> {
        let ask = |more: &[&str]| {
            let mut command = self.command();
            command
                .args(["--list", "--format", "terse"])
                .args(more)
                .args(filter);
            read(command.stderr(Stdio::null()))
        };
        let all = ask(&[])?;
        let Some(all) = all.as_deref().and_then(names) else {
            return match self.how {
                How::Path { .. } => {
                    (self.lists, self.tests) = (false, 1);
                    Ok(())
                }
                // A package that is named may have no library, and so no such examples.
                How::Documentation(ref packages) if !packages.is_empty() => Ok(()),
                How::Documentation(_) => Err(Error::Listing(self.name.clone())),
            };
        };
        let ignored = ask(&["--ignored"])?;
        self.ignored = ignored.as_deref().and_then(names).unwrap_or_default();
        self.tests = all.len().saturating_sub(self.ignored.len());
        Ok(())
    }
}

/// All programs with tests.
#[derive(Debug)]
pub(crate) struct Programs {
    /// In the order in which they run.
    pub(crate) list: Vec<Program>,
}

impl Programs {
    /// Compiles the tests of some packages, or of all if none is named, and finds out which there
    /// are.
    ///
    /// # Errors
    /// When they cannot be compiled or do not say which they are.
    pub(crate) fn build(packages: &[String], filter: Option<&str>) -> Result<Self, Error> {
        let mut command = cargo(packages);
        command.args(["--no-run", "--message-format=json-render-diagnostics"]);
        let messages =
            read(&mut command)?.ok_or_else(|| Error::Failed("cargo test --no-run".into()))?;
        let mut list: Vec<Program> = messages.lines().filter_map(program).collect();
        // Cargo names them as they are compiled, in an order that differs from run to run.
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list.push(Program {
            name: "documentation".into(),
            how: How::Documentation(packages.to_vec()),
            lists: true,
            tests: 0,
            ignored: Vec::new(),
        });
        for program in &mut list {
            program.list(filter)?;
        }
        list.retain(|program| program.tests + program.ignored.len() > 0);
        Ok(Self { list })
    }

    /// Returns how many tests there are.
    pub(crate) fn tests(&self) -> usize {
        self.list.iter().map(|program| program.tests).sum()
    }

    /// Returns how many of them are examples in documentation.
    pub(crate) fn documentation(&self) -> usize {
        let examples = |program: &&Program| matches!(program.how, How::Documentation(_));
        self.list
            .iter()
            .filter(examples)
            .map(|program| program.tests)
            .sum()
    }
}

/// Returns the test program that a message of cargo's tells of.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    // Programs without tests are compiled along, since tests start them.
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = message["executable"].as_str()?;
    let package = Path::new(message["manifest_path"].as_str()?).parent()?;
    let (target, kind) = (
        message["target"]["name"].as_str()?,
        message["target"]["kind"][0].as_str()?,
    );
    let relative = package
        .strip_prefix(crate::workspace())
        .unwrap_or(package)
        .display();
    let name = match kind {
        "test" => format!("{relative}/tests {target}"),
        "bin" => format!("{relative} (program {target})"),
        _ => relative.to_string(),
    };
    Some(Program {
        name,
        how: How::Path {
            program: path.into(),
            package: package.into(),
        },
        lists: true,
        tests: 0,
        ignored: Vec::new(),
    })
}

/// Returns the command `cargo test` for some packages, or for all if none is named.
fn cargo(packages: &[String]) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release"])
        .current_dir(crate::workspace());
    if packages.is_empty() {
        command.arg("--workspace");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    command
}

/// Returns what a program writes to standard output; `None` if it does not succeed.
fn read(command: &mut Command) -> Result<Option<String>, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = process::start(command)?;
    let pipe = child.stdout.take();
    // On a thread of its own, as this one looks for signals meanwhile.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        read.is_some_and(|result| result.is_ok()).then_some(bytes)
    });
    let status = process::wait(&mut child)?;
    let bytes = reader.join().ok().flatten().unwrap_or_default();
    Ok(status
        .success()
        .then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the names in a list of tests; `None` if the text is something else.
fn names(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    // rustdoc says how long it compiled after each of its lists.
    let said = |line: &&str| line.is_empty() || line.starts_with("all doctests ran in ");
    for line in list.lines().filter(|line| !said(line)) {
        match line.rsplit_once(": ")? {
            (name, "test") => names.push(name.to_owned()),
            (_, "benchmark") => {}
            _ => return None,
        }
    }
    Some(names)
}

#[cfg(test)]
impl Program {
    /// Creates a program that only has a number of tests.
    pub(crate) fn sample(lists: bool, tests: usize) -> Self {
        Self {
            name: "sample".into(),
            how: How::Documentation(Vec::new()),
            lists,
            tests,
            ignored: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_from_other_texts() {
        assert_eq!(
            names("a::b: test\nsrc/lib.rs - C (line 3): test\nc: benchmark\n")
                .unwrap()
                .len(),
            2
        );
        assert_eq!(names("").unwrap().len(), 0);
        let merged = "a - (line 6): test\nall doctests ran in 0.48s; merged doctests compilation took 0.47s\n";
        assert_eq!(names(merged).unwrap(), ["a - (line 6)"]);
        assert_eq!(names("usage: me [options]\n"), None);
    }

    #[test]
    fn messages_of_test_programs_are_found() {
        let message = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/elsewhere/a/Cargo.toml","executable":"/t/x",
                "target":{{"name":"cli","kind":["test"]}},"profile":{{"test":{test}}}}}"#
            )
        };
        assert_eq!(
            program(&message(true)).unwrap().name,
            "/elsewhere/a/tests cli"
        );
        assert!(program(&message(false)).is_none());
        assert!(program("warning: something").is_none());
    }
}
