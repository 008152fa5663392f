//! Parts of the Rust toolchain that checks take.

use crate::error::Error;
use std::process::{Command, Stdio};

/// Checks that parts of the toolchain, such as `rustfmt`, are there.
///
/// # Errors
/// When one is not, with the command that installs it.
pub(crate) fn check(names: &[&str]) -> Result<(), Error> {
    match names.iter().find(|name| !is_there(name)) {
        None => Ok(()),
        Some(missing) => Err(Error::NoComponent((*missing).to_owned())),
    }
}

/// Makes rustup install those that are not there.
///
/// # Errors
/// When one still is not.
pub(crate) fn install(names: &[&str]) -> Result<(), Error> {
    for name in names.iter().filter(|name| !is_there(name)) {
        // What it says if it fails is told by the check.
        let _ = Command::new("rustup")
            .args(["component", "add", name])
            .status();
    }
    check(names)
}

fn is_there(name: &str) -> bool {
    let mut command = Command::new("cargo");
    command
        // The component rustfmt is cargo's subcommand `fmt`.
        .args([name.trim_start_matches("rust"), "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_with_what_installs_it() {
        let error = check(&["no-such-part"]).unwrap_err().to_string();
        assert!(
            error.contains("rustup component add no-such-part"),
            "{error}"
        );
        assert!(check(&[]).is_ok());
    }
}
