//! The command line of the program.

mod cross;
mod lockstep;
mod nested;

use std::process::{self, ExitCode};

use clap::{Parser, Subcommand};
use cross::Task;
use guest_images::{Cache, Terminal};
use integration::vhost_disk;

/// Runs that take another machine than this one.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Test KVM: guests in an emulated arm64 machine that has KVM itself. A line for each check;
    /// exit code 0 only if all hold.
    NestedKvm(nested::Options),
    /// Be a disk for a machine with --vhost-user, at a socket
    VhostDisk(vhost_disk::Options),
    /// Compile for 64-bit ARM hosts, or only look whether that would do; test what is theirs alone
    Cross {
        /// What to do
        #[arg(value_enum)]
        task: Task,
    },
    /// Hold the interpreter and the translator to each other: whole boots of every image on one and
    /// four cores, and the campaigns of all plans. A line for each; exit code 0 only if all are the
    /// same.
    Lockstep(lockstep::Options),
    /// Say in which directory the oldest Rust is that the library crate compiles with, fetched if
    /// it is not there
    OldRust,
}

/// Returns cargo's command. Cargo and its compilers end with this program, even if that is killed.
fn cargo() -> process::Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = process::Command::new(program);
    guest_images::host::keep(&mut cargo);
    cargo
}

fn old_rust() -> anyhow::Result<bool> {
    let cache = Cache::open().map_err(anyhow::Error::msg)?;
    let programs = cache.old_rust(&mut Terminal::new());
    println!("{}", programs.map_err(anyhow::Error::msg)?.display());
    Ok(true)
}

/// Runs the program. 1: a check failed; 2: it could not be made.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::NestedKvm(options) => nested::run(&options),
        Command::VhostDisk(options) => vhost_disk::serve(&options)
            .map(|()| true)
            .map_err(Into::into),
        Command::Cross { task } => cross::run(task).map(|_| true),
        Command::Lockstep(options) => lockstep::run(&options),
        Command::OldRust => old_rust(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("integration: {error:#}");
            ExitCode::from(2)
        }
    }
}
