//! Packages of the host that obtaining an image needs: which are missing, and installing them where
//! the user allows it.
//!
//! Nothing is installed unless the user has said so beforehand ([`Progress::install_allowed`], or
//! [`VARIABLE`] in the environment) or says yes when asked, with the exact command in view
//! ([`Progress::confirm`]).

use crate::Error;
use crate::process::{self, ProgramExit};
use crate::progress::Progress;
use crate::{keeper, lock, recipes};
use std::process::Command;

/// The variable of the environment that allows to install packages of the host (`yes`) or forbids
/// to ask (`no`).
pub const VARIABLE: &str = "VIOMMU_INSTALL";

/// Returns the packages of a group in `recipes/host-packages`, such as `fetch` or `kernel`; none if
/// there is no such group.
#[must_use]
pub fn packages(group: &str) -> Vec<&'static str> {
    let lines = recipes::HOST_PACKAGES.lines();
    lines
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| *name == group)
        .flat_map(|(_, packages)| packages.split_whitespace())
        .collect()
}

/// Sees to it that Debian packages are installed on this host, installing what is missing if the
/// user allows it and this process can.
///
/// # Errors
/// [`Error::HostPackages`] with the exact command when they are not and may not be installed from
/// here.
pub fn ensure(packages: &[&str], progress: &mut dyn Progress) -> Result<(), Error> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let root = is_root("id", &["-u"]);
    let command = format!(
        "{}apt-get install --no-install-recommends {}",
        if root { "" } else { "sudo " },
        missing.join(" ")
    );
    let refused = |command: String| Error::HostPackages { command };
    let question = format!(
        "Packages are missing on this host. Install them now (after `apt-get update` where need be) with: {command}"
    );
    let environment = std::env::var(VARIABLE).unwrap_or_default();
    // The flag outweighs the environment, and either spares the question.
    let allowed = progress.install_allowed()
        || match answer(&environment)? {
            Some(allowed) => allowed,
            None => progress.confirm(&question),
        };
    if !allowed {
        return Err(refused(command));
    }
    // Only after the user has agreed: sudo logs each attempt.
    let Some(right) = right_to_install(root) else {
        return Err(refused(command));
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
        command,
        detail: outcome.last_error(),
    })
}

/// Returns what the environment says to installing packages; `None` if nothing.
fn answer(value: &str) -> Result<Option<bool>, Error> {
    match value {
        "" => Ok(None),
        "yes" => Ok(Some(true)),
        "no" => Ok(Some(false)),
        _ => Err(Error::InstallVariable {
            value: value.to_owned(),
        }),
    }
}

/// Returns those of the packages that are not installed. Where there is no dpkg, all are.
fn missing<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let mut query = process::command("dpkg-query");
    query
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(packages);
    // Whatever its status: dpkg-query fails if it does not know one of them, and lists the others.
    let installed = process::output(&mut query).map_or_else(|_| String::new(), |(_, text)| text);
    packages
        .iter()
        .filter(|package| !is_installed(&installed, package))
        .copied()
        .collect()
}

/// Returns whether dpkg's list has the package as installed, for any architecture.
fn is_installed(list: &str, package: &str) -> bool {
    list.lines()
        .any(|line| line.split_once(' ') == Some((package, "installed")))
}

/// The right by which this process may install packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Root,
    Sudo,
}

/// Returns whether a command that shows a user's number shows root's.
fn is_root(program: &str, arguments: &[&str]) -> bool {
    process::output(process::command(program).args(arguments))
        .is_ok_and(|(outcome, text)| outcome.status.success() && text.trim() == "0")
}

/// Returns how this process can install packages: it is root, or may become it without a password.
fn right_to_install(root: bool) -> Option<Right> {
    if root {
        return Some(Right::Root);
    }
    // `-n`, as nobody may be there to type a password.
    is_root("sudo", &["-n", "id", "-u"]).then_some(Right::Sudo)
}

/// Makes a program, and all that it will start, end when this process does, however that happens,
/// SIGKILL included.
pub fn keep(command: &mut Command) {
    keeper::keep(command, &lock::held());
}

/// Installs packages; when the host's package index does not know them, or is out of date, brings
/// that up to date.
fn install(right: Right, packages: &[&str]) -> Result<ProgramExit, Error> {
    let apt_get = |arguments: &[&str]| {
        let mut command = match right {
            // By way of env, as sudo does not hand on the variables of its caller.
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
        process::run_undisturbed(&mut command)
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
    // The package lists may be out of date: once more, with new ones.
    apt_get(&["update"])?;
    apt_get(&install)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_packages_and_none_twice() {
        let groups = ["fetch", "kernel", "cross", "qemu"];
        let mut all: Vec<_> = groups
            .into_iter()
            .flat_map(|group| {
                let packages = packages(group);
                assert!(!packages.is_empty(), "{group}");
                packages
            })
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(packages("no such group").is_empty());
    }

    #[test]
    fn the_variable_says_yes_or_no() {
        assert_eq!(answer("").unwrap(), None);
        assert_eq!(answer("yes").unwrap(), Some(true));
        assert_eq!(answer("no").unwrap(), Some(false));
        let error = answer("1").unwrap_err().to_string();
        assert!(error.contains("VIOMMU_INSTALL=\"1\""), "{error}");
    }

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
