//! What a source of Debian packages is, and what is done with the packages that come from it.

use crate::Error;
use crate::blob::hash_file;
use crate::error::IoContext;
use crate::process::{self, ProgramExit};
use crate::progress::Progress;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// A binary package in one version, as the signed index describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Code name of the Debian release.
    pub suite: String,
    /// Name of the package.
    pub name: String,
    /// Debian's version of it.
    pub version: String,
    /// Packages that it needs in exactly its own version.
    pub depends: Vec<String>,
    /// Size of the file in bytes.
    pub size: u64,
    /// SHA-256 of the file in lower-case hexadecimal.
    pub sha256: String,
}

impl Package {
    /// Returns its name and version, for a person and a manifest.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

/// A source of packages.
pub(crate) trait Source {
    /// Returns the current version of a package in a Debian release.
    fn package(
        &mut self,
        suite: &str,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Package, Error>;
    /// Returns the packages that apt would install for `wanted` (names, or patterns of apt's), with
    /// all that they depend on, in an order in which they can be installed.
    fn plan(
        &mut self,
        suite: &str,
        wanted: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Package>, Error>;
    /// Downloads packages of one release into a directory, one file each, under any names.
    fn download_all(
        &mut self,
        packages: &[&Package],
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), Error>;
    /// Downloads a package into a directory that may hold the beginning of the same file, and
    /// returns the file's path.
    fn download(
        &mut self,
        package: &Package,
        into: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error>;
}

/// Checks a downloaded file against the index.
///
/// # Errors
/// [`Error::HashMismatch`].
pub(crate) fn check(package: &Package, file: &Path) -> Result<(), Error> {
    let actual = hash_file(file)?;
    if actual == package.sha256 {
        return Ok(());
    }
    Err(Error::HashMismatch {
        file: format!("{} {}", package.name, package.version),
        expected: package.sha256.clone(),
        actual,
    })
}

/// Unpacks a package's files into a directory, which is made.
pub(crate) fn unpack(file: &Path, into: &Path) -> Result<(), Error> {
    fs::create_dir_all(into).at("created", into)?;
    let (outcome, _) = process::output(
        process::command("dpkg-deb")
            // Only the files: a package's scripts never run.
            .arg("--extract")
            .args([file, into]),
    )?;
    unpacked(&outcome, file, into)
}

/// Checks that a program unpacked a package's file into a directory.
pub(crate) fn unpacked(outcome: &ProgramExit, file: &Path, into: &Path) -> Result<(), Error> {
    outcome.check(into, |detail| Error::Package {
        package: file.display().to_string(),
        detail,
    })
}
