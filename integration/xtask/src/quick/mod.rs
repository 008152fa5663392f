//! `cargo xtask quick`: the format, and clippy and unit tests of the packages that have changed.

mod changes;
mod choice;

use crate::ci::STRUCTURE;
use crate::error::Error;
use crate::graph::Graph;
use crate::{components, process};
use changes::Changes;
use choice::Choice;
use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What `cargo xtask quick` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Check every package, whatever has changed
    #[arg(long, conflicts_with = "base")]
    all: bool,
    /// Check what has changed since this commit's merge base with the last one; without it, since
    /// that of the main branch
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
}

/// Runs the checks, and says before which, and after what they left out.
///
/// # Errors
/// When git cannot say what has changed, or a check fails.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let begin = Instant::now();
    let graph = Graph::read()?;
    let choice = if arguments.all {
        println!("All packages.");
        Choice::all(&graph)
    } else {
        let changes = Changes::since(arguments.base.as_deref())?;
        let choice = Choice::of(&graph, &changes.files);
        let (files, since) = (changes.files.len(), &changes.since);
        println!("Files changed since {since}: {files}.");
        choice
    };
    for line in plan(&choice) {
        println!("{line}");
    }
    // Before the first check: one of them takes minutes.
    components::check(&["rustfmt", "clippy"])?;
    check(
        cargo(&["fmt", "--all", "--check"]),
        "the format differs: run `cargo fmt --all`",
    )?;
    let structure: Vec<_> = STRUCTURE.split(' ').skip(1).collect();
    check(
        cargo(&structure),
        "the tree is not built as it should be, as is shown above",
    )?;
    if !choice.linted.is_empty() {
        check(
            clippy(&choice.linted),
            "clippy objects to what is shown above",
        )?;
    }
    if !choice.changed.is_empty() {
        check(
            unit_tests(&graph, &choice.changed),
            "a unit test failed, as is shown above",
        )?;
    }
    println!("Good, in {} s. Left out:", begin.elapsed().as_secs());
    for line in left_out(&choice) {
        println!("  {line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what is run, in lines.
fn plan(choice: &Choice) -> Vec<String> {
    let list = |names: &BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.join(", ")
    };
    let mut lines = vec!["  format, arrows, lengths of lines and files: all packages".to_owned()];
    if !choice.changed.is_empty() {
        let changed = list(&choice.changed);
        lines.push(format!("  clippy, unit tests: {changed}"));
    }
    let others: BTreeSet<String> = choice.linted.difference(&choice.changed).cloned().collect();
    if let Some(file) = &choice.shared {
        let file = file.display();
        lines.push(format!("  clippy: all others too, for {file}"));
    } else if !others.is_empty() {
        let others = list(&others);
        lines.push(format!("  clippy, since they know these: {others}"));
    }
    if choice.linted.is_empty() {
        lines.push("  nothing else, for no package has changed".into());
    }
    lines
}

/// Returns what is not run, each with the command that does.
fn left_out(choice: &Choice) -> Vec<String> {
    let mut lines = vec![
        "tests in tests/ and in documentation, guest boots among them: cargo xtask test".to_owned(),
    ];
    if choice.fuzz {
        lines.push(
            "the fuzz targets, which have changed: cargo xtask ci fuzz-lints fuzz-seeds".into(),
        );
    }
    if choice.pages {
        lines.push(
            "commands in pages, which have changed: cargo test --release -p vmm --test docs".into(),
        );
    }
    if !choice.others.is_empty() {
        let files: Vec<String> = choice
            .others
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        lines.push(format!("files of no package: {}", files.join(", ")));
    }
    lines.push("arm64 hosts, KVM, interleavings and the rest of CI: cargo xtask ci --list".into());
    lines
}

/// Runs a check.
fn check(mut command: Command, objection: &str) -> Result<(), Error> {
    if process::run(&mut command)?.success() {
        return Ok(());
    }
    Err(Error::Check(objection.to_owned()))
}

/// Returns the command of Clippy for some packages: as CI runs it, in the same profile, so that
/// neither compiles anew what the other has.
fn clippy(packages: &BTreeSet<String>) -> Command {
    let mut command = cargo(&["clippy", "--release", "--all-targets"]);
    name(&mut command, packages);
    command.args(["--", "-D", "warnings"]);
    command
}

/// Returns the unit tests of some packages.
fn unit_tests(graph: &Graph, packages: &BTreeSet<String>) -> Command {
    let mut command = cargo(&["test", "--release", "--quiet", "--bins"]);
    // cargo objects to --lib where none of the packages has one.
    if packages.iter().any(|name| graph.0[name].library) {
        command.arg("--lib");
    }
    name(&mut command, packages);
    command
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(crate::workspace());
    command
}

fn name(command: &mut Command, packages: &BTreeSet<String>) {
    for package in packages {
        command.args(["--package", package]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn words(command: &Command) -> Vec<String> {
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    fn of(files: &[&str]) -> (Graph, Choice) {
        let mut graph = Graph::sample(&[
            ("base", "base", &[]),
            ("tool", "tool", &[]),
            ("vmm", "vmm", &["base"]),
        ]);
        graph.0.get_mut("tool").unwrap().library = false;
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let choice = Choice::of(&graph, &files);
        (graph, choice)
    }

    #[test]
    fn what_is_run_is_said() {
        let (_, choice) = of(&["base/src/lib.rs"]);
        let lines = plan(&choice);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].ends_with("unit tests: base"), "{lines:?}");
        assert!(lines[2].ends_with(": vmm"), "{lines:?}");
        let (_, choice) = of(&["README.md"]);
        assert!(plan(&choice)[1].contains("nothing else"));
        let (_, choice) = of(&["Cargo.lock"]);
        assert!(plan(&choice)[1].contains("all others too, for Cargo.lock"));
    }

    #[test]
    fn what_is_left_out_is_said() {
        let (_, choice) = of(&["fuzz/all.rs", "docs/x.md", ".ci/run"]);
        let lines = left_out(&choice).join("\n");
        for part in ["fuzz-lints", "--test docs", ".ci/run", "cargo xtask test"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        let (_, choice) = of(&["base/src/lib.rs"]);
        assert!(!left_out(&choice).join("\n").contains("fuzz"));
    }

    #[test]
    fn only_libraries_are_tested_as_such() {
        let (graph, choice) = of(&["tool/src/main.rs"]);
        let tests = words(&unit_tests(&graph, &choice.changed));
        assert!(!tests.contains(&"--lib".to_owned()), "{tests:?}");
        let (graph, choice) = of(&["base/src/lib.rs"]);
        let tests = words(&unit_tests(&graph, &choice.changed));
        assert!(tests.contains(&"--lib".to_owned()), "{tests:?}");
        assert!(!tests.contains(&"vmm".to_owned()), "{tests:?}");
        let lints = words(&clippy(&choice.linted));
        assert!(lints.contains(&"vmm".to_owned()), "{lints:?}");
    }
}
