//! `cargo xtask test`: every test of the workspace, after all that they take from the host is
//! there.

mod output;
mod programs;
mod progress;
mod times;

use crate::error::Error;
use crate::packages;
use output::Results;
use programs::Programs;
use progress::Progress;
use std::process::ExitCode;
use times::Times;

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Install Debian packages that are missing, without asking
    ///
    /// Without this, VIOMMU_INSTALL=yes in the environment allows it, or an answer at the terminal;
    /// otherwise the command that installs them is printed.
    #[arg(long)]
    install: bool,
    /// Only the tests of this package; can be given more than once
    #[arg(long, short, value_name = "NAME")]
    package: Vec<String>,
    /// Only tests with this in their names
    filter: Option<String>,
}

/// Runs the tests.
///
/// # Errors
/// When they could not be run.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    packages::ensure(&["for-test"], arguments.install)?;
    eprintln!("Compiling the tests; from nothing, that takes some ten minutes on two cores.");
    let programs = Programs::build(&arguments.package, arguments.filter.as_deref())?;
    if programs.tests() == 0 {
        return Err(Error::NoTests);
    }
    let mut times = Times::load();
    announce(&programs, &times);
    let mut progress = Progress::new(&programs, &times);
    let mut results = Results::default();
    for program in &programs.list {
        let of_program = output::run(program, arguments.filter.as_deref(), &mut progress)?;
        // The time of some of the tests, or of a run that a failure cut short, says nothing of all.
        if arguments.filter.is_none() && of_program.failed == 0 {
            times.note(&program.name, progress.of_program());
        }
        results.add(of_program);
    }
    times.store();
    conclude(&results);
    Ok(if results.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says how many tests there are, which are of another kind, and how long they take.
fn announce(programs: &Programs, times: &Times) {
    let (tests, count) = (programs.tests(), programs.list.len());
    eprintln!("{tests} tests in {count} programs.");
    for program in &programs.list {
        if !program.lists {
            eprintln!("  {} has no list of tests: it counts as one.", program.name);
        }
        for name in &program.ignored {
            eprintln!("  skipped, since it is marked so: {} {name}", program.name);
        }
    }
    if programs.documentation() > 0 {
        eprintln!(
            "  {} of them are examples in documentation.",
            programs.documentation()
        );
    }
    let known = times.of(programs);
    if let Some(seconds) = known {
        eprintln!(
            "They took {} when they last ran here.",
            progress::minutes(seconds)
        );
    } else {
        eprintln!("{}", times::UNKNOWN);
    }
}

/// Says what came of it all; the last line has the numbers.
fn conclude(results: &Results) {
    for failure in &results.failures {
        println!("failed: {failure}");
    }
    let skipped = match results.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    println!(
        "{} passed, {} failed{skipped}",
        results.passed, results.failed
    );
}
