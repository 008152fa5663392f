//! `cargo xtask ci`: every check, step by step. `.ci/run` is this for a machine of CI's, where
//! packages may be installed.

mod steps;

use crate::error::Error;
use crate::{components, packages, process};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
pub(crate) use steps::STRUCTURE;
use steps::{STEPS, Step};

/// What `cargo xtask ci` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Steps to run: all, unless some are named
    #[arg(value_name = "STEP")]
    steps: Vec<String>,
    /// Begin with this step
    #[arg(long, value_name = "STEP", conflicts_with = "steps")]
    from: Option<String>,
    /// Only list the steps, each with its command
    #[arg(long)]
    list: bool,
    /// Install Debian packages and parts of the Rust toolchain that are missing, without asking
    ///
    /// Without this, VIOMMU_INSTALL=yes in the environment allows it, or an answer at the terminal;
    /// otherwise the command that installs them is printed.
    #[arg(long)]
    install: bool,
}

/// Runs the steps in their order, up to the first that fails.
///
/// # Errors
/// When a step fails, there is none of a name, or something that one takes is missing.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let chosen = chosen(&arguments.steps, arguments.from.as_deref())?;
    if arguments.list {
        let list: String = chosen
            .iter()
            .map(|step| format!("{}: {}\n    {}\n", step.name, step.what, step.typed()))
            .collect();
        // Whoever reads only the beginning closes the pipe.
        let _ = std::io::stdout().write_all(list.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let groups: BTreeSet<&str> = chosen
        .iter()
        .flat_map(|step| step.packages)
        .copied()
        .collect();
    // For all steps at once: none may fail for want of a package after an hour.
    packages::ensure(&Vec::from_iter(groups), arguments.install)?;
    let parts: BTreeSet<&str> = chosen
        .iter()
        .flat_map(|step| step.components)
        .copied()
        .collect();
    let parts = Vec::from_iter(parts);
    let may_install =
        arguments.install || std::env::var(packages::VARIABLE).is_ok_and(|answer| answer == "yes");
    if may_install {
        components::install(&parts)?;
    } else {
        components::check(&parts)?;
    }
    let begin = Instant::now();
    for step in &chosen {
        println!(
            "\n=== {} [{} min]",
            step.what,
            begin.elapsed().as_secs() / 60
        );
        if !process::run(&mut command(step, arguments.install))?.success() {
            return Err(Error::Step(step.name.to_owned()));
        }
    }
    let passed = match arguments.steps.is_empty() && arguments.from.is_none() {
        true => "All checks passed".to_owned(),
        false => format!(
            "Passed: {} of the {} steps of CI",
            chosen.len(),
            STEPS.len()
        ),
    };
    println!("\n=== {passed} [{} min]", begin.elapsed().as_secs() / 60);
    Ok(ExitCode::SUCCESS)
}

/// Returns the steps of these names, or from one on, in the order of the list.
fn chosen(names: &[String], from: Option<&str>) -> Result<Vec<&'static Step>, Error> {
    let unknown = names.iter().map(String::as_str).chain(from);
    let mut unknown = unknown.filter(|name| !STEPS.iter().any(|step| step.name == *name));
    if let Some(name) = unknown.next() {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(Error::Unknown {
            what: "step of CI",
            name: name.to_owned(),
            known: known.join(", "),
        });
    }
    Ok(STEPS
        .iter()
        .skip_while(|step| from.is_some_and(|from| step.name != from))
        .filter(|step| names.is_empty() || names.iter().any(|name| name == step.name))
        .collect())
}

/// Returns a step's command. Nobody is asked anything: it has no keyboard.
fn command(step: &Step, install: bool) -> Command {
    let mut words = step.command.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .envs(step.environment.iter().copied())
        .current_dir(crate::workspace())
        .stdin(Stdio::null());
    if install {
        command.env(packages::VARIABLE, "yes");
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(steps: &[&Step]) -> Vec<&'static str> {
        steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn steps_are_chosen_by_name_in_their_order() {
        assert_eq!(chosen(&[], None).unwrap().len(), STEPS.len());
        let some = chosen(&["tests".into(), "format".into()], None).unwrap();
        assert_eq!(names(&some), ["format", "tests"]);
        let rest = chosen(&[], Some("kvm")).unwrap();
        assert_eq!(names(&rest), ["kvm", "interleavings"]);
    }

    #[test]
    fn a_step_that_is_not_there_is_a_sentence() {
        let error = chosen(&["nothing".into()], None).unwrap_err().to_string();
        assert!(
            error.contains("\"nothing\"") && error.contains("fuzz-lints"),
            "{error}"
        );
        assert!(chosen(&[], Some("nothing")).is_err());
    }

    #[test]
    fn names_are_unique_words() {
        let all: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(all.len(), STEPS.len());
        assert!(
            all.iter()
                .all(|name| !name.is_empty() && !name.contains(' '))
        );
    }

    #[test]
    fn groups_of_packages_are_those_that_there_are() {
        let read = |path: &str| fs::read_to_string(crate::workspace().join(path)).unwrap();
        let known = read("guest-images/recipes/host-packages");
        let aliases = read(".ci/packages");
        for group in STEPS.iter().flat_map(|step| step.packages) {
            let known = known
                .lines()
                .any(|line| line.starts_with(&format!("{group}: ")));
            assert!(known || aliases.contains(&format!("\t{group})")), "{group}");
        }
    }

    /// README's second command is what CI runs, by CI's entry point.
    #[test]
    fn ci_runs_what_readme_says() {
        let read = |path: &str| fs::read_to_string(crate::workspace().join(path)).unwrap();
        let tests = chosen(&["tests".into()], None).unwrap()[0].typed();
        assert!(
            read("README.md")
                .lines()
                .any(|line| line.starts_with(&tests)),
            "{tests}"
        );
        assert!(
            read(".ci/run")
                .lines()
                .any(|line| line.starts_with("exec bash .ci/xtask ci"))
        );
    }

    #[test]
    fn a_command_is_shown_as_one_types_it() {
        let step = chosen(&["interleavings".into()], None).unwrap()[0];
        assert!(
            step.typed()
                .starts_with("CARGO_TARGET_DIR=target/loom RUSTFLAGS=\"--cfg loom\" cargo test"),
            "{}",
            step.typed()
        );
    }
}
