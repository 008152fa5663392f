//! Packages of the host that obtaining an image needs: which are missing, and installing them where that is allowed.

use crate::Error;
use crate::process::{self, Outcome};
use crate::progress::Progress;
use std::process::Command;

/// Sees to it that Debian packages are installed on this host.
///
/// # Errors
/// [`Error::HostPackages`] with the exact command when they are not and this process may not install them.
pub(crate) fn ensure(packages: &[&str], progress: &mut dyn Progress) -> Result<(), Error> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let shown = format!(
        "sudo apt-get install --no-install-recommends {}",
        missing.join(" ")
    );
    let Some(right) = right_to_install() else {
        return Err(Error::HostPackages { command: shown });
    };
    progress.start(
        &format!("installing host packages: {}", missing.join(" ")),
        None,
    );
    let outcome = install(right, &missing);
    progress.finish();
    let outcome = outcome?;
    if outcome.status.success() {
        return Ok(());
    }
    Err(Error::HostInstall {
        command: shown,
        detail: outcome.last_error(),
    })
}

/// Those of the packages that are not installed. Where there is no dpkg, all are.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = process::command("dpkg-query");
    query
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(packages);
    let installed = process::output(&mut query).map_or_else(|_| String::new(), |(_, text)| text);
    packages
        .iter()
        .filter(|package| !is_installed(&installed, package))
        .copied()
        .collect()
}

/// Whether dpkg's list has the package as installed, for any architecture.
fn is_installed(list: &str, package: &str) -> bool {
    list.lines()
        .any(|line| line.split_once(' ') == Some((package, "installed")))
}

/// How this process may install packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Root,
    Sudo,
}

/// Whether this process is root or may become it without a password.
fn right_to_install() -> Option<Right> {
    let succeeds = |program: &str, arguments: &[&str], wanted: &str| {
        process::output(process::command(program).args(arguments))
            .is_ok_and(|(outcome, text)| outcome.status.success() && text.trim() == wanted)
    };
    if succeeds("id", &["-u"], "0") {
        return Some(Right::Root);
    }
    succeeds("sudo", &["-n", "id", "-u"], "0").then_some(Right::Sudo)
}

/// Installs packages; when the host's package index does not know them, or is out of date, brings that up to date.
fn install(right: Right, packages: &[&str]) -> Result<Outcome, Error> {
    let apt_get = |arguments: &[&str]| {
        let mut command = match right {
            Right::Root => process::command("env"),
            Right::Sudo => {
                let mut sudo = process::command("sudo");
                sudo.args(["-n", "env"]);
                sudo
            }
        };
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "LC_ALL=C",
            "apt-get",
            "-q",
            "-y",
        ]);
        // Another package manager may be at work; wait for it rather than fail.
        command
            .args(["-o", "DPkg::Lock::Timeout=600"])
            .args(arguments);
        finish(command)
    };
    let install: Vec<&str> = ["install", "--no-install-recommends"]
        .iter()
        .chain(packages)
        .copied()
        .collect();
    let first = apt_get(&install)?;
    if first.status.success() {
        return Ok(first);
    }
    apt_get(&["update"])?;
    apt_get(&install)
}

fn finish(mut command: Command) -> Result<Outcome, Error> {
    process::run(&mut command, &mut |_| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_ones_count() {
        let list = "bc installed\nflex config-files\ngcc installed\nlibelf-dev not-installed\n";
        assert!(is_installed(list, "bc"));
        assert!(is_installed(list, "gcc"));
        for package in ["flex", "libelf-dev", "b", "make"] {
            assert!(!is_installed(list, package), "{package}");
        }
    }
}
