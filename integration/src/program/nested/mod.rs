//! KVM, tested on any host: QEMU emulates an arm64 machine whose processor has everything for KVM,
//! Debian's kernel runs in it, and in that our program runs its guests.

mod check_output;
mod checks;
mod debug;
mod debugger;
mod guest;
mod obtain;
mod outer;
mod same;

use std::path::PathBuf;
use std::time::Instant;

use super::cross::{self, Task};
use anyhow::{Context, ensure};
use checks::Check;
use outer::{Begun, Hardware, Outer, Processor};

/// What to test.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The version of the outer machine's interrupt controller, and so of its guests' [default:
    /// both, one after the other]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    gic: Option<u8>,
    /// Cores of the outer machine. With fewer than a 32-bit guest has, QEMU gets the guest wrong
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    cores: u8,
    /// The outer machine's processor. On the second one three checks are made
    #[arg(long, value_enum, default_value_t = Processor::CortexA57)]
    cpu: Processor,
    /// One guest of each kind only
    #[arg(long)]
    quick: bool,
    /// Only the checks whose names contain this, of all that there are
    #[arg(long, value_name = "WORDS", conflicts_with = "quick")]
    only: Option<String>,
    /// Show the outer machine's console
    #[arg(long)]
    verbose: bool,
}

/// Runs all checks. False if one failed.
///
/// # Errors
/// A sentence, when they could not be made.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let mut checks = match options.cpu {
        Processor::CortexA57 => checks::all(options.quick),
        Processor::NeoverseN1 => checks::wide(),
    };
    if let Some(words) = &options.only {
        checks.retain(|check| check.name().contains(words));
    }
    ensure!(!checks.is_empty(), "no check has such a name");
    let mut programs = vec![("bin/vmm", program(Task::Build)?)];
    if checks.iter().any(Check::takes_tests) {
        programs.push(("bin/vmm-tests", program(Task::Tests)?));
    }
    let mut all_hold = true;
    for gic in options.gic.map_or_else(|| vec![3, 2], |gic| vec![gic]) {
        let begun = Instant::now();
        let outer = Outer::new(&programs, &checks)?;
        let mut left: Vec<_> = checks.iter().collect();
        let hardware = Hardware {
            processor: options.cpu,
            cores: options.cores,
            gic,
        };
        outer.run(hardware, options.verbose, |ended| {
            if let Some(at) = left.iter().position(|check| check.name() == ended.name) {
                // Not `&&`, which would leave out the report once a check has failed.
                all_hold &= report(gic, left.remove(at), ended);
            }
        })?;
        all_hold &= left.is_empty();
        for check in left {
            println!(
                "gic {gic}: {}: FAILED: the outer machine did not come to it",
                check.name()
            );
        }
        println!(
            "gic {gic}: {} checks in {} s",
            checks.len(),
            begun.elapsed().as_secs()
        );
    }
    Ok(all_hold)
}

fn program(task: Task) -> anyhow::Result<PathBuf> {
    cross::run(task)?.context("cargo made no program")
}

/// Prints a line on a check, and all that was said for it if it failed; whether it holds.
fn report(gic: u8, check: &Check, ended: &Begun) -> bool {
    let judged = check.judge(&ended.said);
    let verdict = match &judged {
        Ok(()) => "ok".to_owned(),
        Err(why) => format!("FAILED: {why:#}"),
    };
    println!(
        "gic {gic}: {}: {verdict} ({} s)",
        check.name(),
        ended.seconds()
    );
    if judged.is_err() {
        for line in &ended.said.lines {
            println!("    {line}");
        }
    }
    judged.is_ok()
}
