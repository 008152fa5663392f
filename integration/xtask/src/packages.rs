//! Debian packages of this host.

use crate::error::Error;
use crate::process;
use std::process::Command;

/// The variable by which programs are told that packages may be installed.
pub(crate) const VARIABLE: &str = "VIOMMU_INSTALL";

/// Sees to it that groups of packages are installed: `.ci/packages` knows the groups, says what is
/// missing, and installs it if `install` is set, the environment allows it, or the person at the
/// terminal does.
///
/// # Errors
/// When some are missing.
pub(crate) fn ensure(groups: &[&str], install: bool) -> Result<(), Error> {
    let mut packages = Command::new("sh");
    packages
        .arg(".ci/packages")
        .args(groups)
        .current_dir(crate::workspace());
    if install {
        packages.arg("--install");
    }
    if process::ask(&mut packages)?.success() {
        return Ok(());
    }
    Err(Error::Missing)
}
