//! The workspace's own commands: `cargo xtask test` and its like.

mod bench;
mod ci;
mod components;
mod demo;
mod deny;
mod error;
mod fuzz;
mod graph;
mod packages;
mod process;
mod quick;
mod test;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sets everything up and shows a short guided run: cargo run --release -- demo
    Demo(demo::Arguments),
    /// Runs every test of the workspace, guest boots included, after seeing to what they need from
    /// this host
    Test(test::Arguments),
    /// Checks format, clippy and unit tests of what has changed, in a minute or two
    Quick(quick::Arguments),
    /// Runs every check, step by step, as CI does
    Ci(ci::Arguments),
    /// Checks licences, versions and origins of all dependencies, and whether advisories are known
    /// of them
    Deny(deny::Arguments),
    /// Measures something; without a name, lists what can be measured
    Bench(bench::Arguments),
    /// Runs fuzz targets, resuming what earlier calls found, and says what they executed and which
    /// functions that entered
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    // Before the arguments are parsed, which are a compiler's when cargo calls this in its place.
    if let Some(code) = fuzz::become_compiler() {
        return code;
    }
    let arguments = Arguments::parse();
    let result = process::watch_signals().and_then(|()| match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Quick(arguments) => quick::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Deny(arguments) => deny::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            error.exit_code()
        }
    }
}

/// Returns the directory of the workspace.
fn workspace() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This package is in integration/xtask.
    let root = crate_directory.ancestors().nth(2);
    root.unwrap_or(crate_directory).to_path_buf()
}
