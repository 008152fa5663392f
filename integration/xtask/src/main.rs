//! The workspace's own commands: `cargo xtask test` and its like.

mod error;
mod fuzz;
mod process;
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
    /// Runs every test of the workspace, guest boots included, after seeing to what they need from this host
    Test(test::Arguments),
    /// Runs fuzz targets, resuming what earlier calls found, and says what they executed and which functions that entered
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = process::watch_signals().and_then(|()| match arguments.command {
        Command::Test(arguments) => test::run(&arguments),
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
    let root = crate_directory.ancestors().nth(2);
    root.unwrap_or(crate_directory).to_path_buf()
}
