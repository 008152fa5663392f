//! `cargo xtask test`: every test of the workspace.

use crate::error::Error;
use crate::process;
use std::process::{Command, ExitCode};

/// What `cargo xtask test` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs every test.
///
/// # Errors
/// When the tests could not be run.
pub(crate) fn run(_arguments: &Arguments) -> Result<ExitCode, Error> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--release", "--workspace"])
        .current_dir(crate::workspace());
    let status = process::run(&mut cargo)?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Failed("cargo test --release --workspace".into()))
}
