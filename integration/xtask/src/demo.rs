//! `cargo xtask demo`: the guided run, after all that it takes from the host is there.

use crate::error::Error;
use crate::{packages, process};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What `cargo xtask demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Install Debian packages that are missing, without asking
    ///
    /// Without this, VIOMMU_INSTALL=yes in the environment allows it, or an answer at the terminal;
    /// otherwise the command that installs them is printed.
    #[arg(long)]
    install: bool,
    /// Arguments for `vmm demo`; its --help lists them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<String>,
}

/// Becomes `vmm demo`.
///
/// # Errors
/// When that could not be.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let builds = !arguments
        .arguments
        .iter()
        .any(|argument| argument == "--stock-only");
    let group = if builds { "for-demo" } else { "for-stock-demo" };
    packages::ensure(&[group], arguments.install)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--release", "--manifest-path"])
        .arg(crate::workspace().join("Cargo.toml"))
        .args(["--", "demo"])
        .args(&arguments.arguments);
    if arguments.install {
        cargo.env(packages::VARIABLE, "yes");
    }
    // In the place of this process, so that the terminal and its signals are the demo's alone.
    Err(process::failed("cargo", cargo.exec()))
}
