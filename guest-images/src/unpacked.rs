//! Programs of Debian's packages that are unpacked, not installed, and started by scripts.

use crate::Error;
use crate::apt::Apt;
use crate::error::IoContext;
use crate::image_spec::Architecture;
use crate::maker::{fetch, fetch_all};
use crate::progress::Progress;
use crate::source::{self, Package};
use crate::store::Store;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What programs of Debian are for this host.
pub(crate) struct HostPrograms {
    /// Their architecture.
    pub architecture: Architecture,
    /// The directory of their libraries, below `usr/lib`.
    pub libraries: &'static str,
    /// Their dynamic linker, in that directory.
    pub linker: &'static str,
}

/// Those of this host, where Debian's run at all.
pub(crate) const HOST: HostPrograms = if cfg!(target_arch = "aarch64") {
    HostPrograms {
        architecture: Architecture::Arm64,
        libraries: "aarch64-linux-gnu",
        linker: "ld-linux-aarch64.so.1",
    }
} else {
    HostPrograms {
        architecture: Architecture::Amd64,
        libraries: "x86_64-linux-gnu",
        linker: "ld-linux-x86-64.so.2",
    }
};

impl HostPrograms {
    /// Returns the words of a shell that start a program with the C library and all others of
    /// `tree`: those of a host of another release would not do. The program's path follows.
    pub fn start(&self, tree: &Path) -> String {
        let libraries = tree.join("usr/lib").join(self.libraries);
        let (libraries, linker) = (libraries.display(), self.linker);
        format!("exec '{libraries}/{linker}' --library-path '{libraries}'")
    }
}

/// Unpacks packages into `tree`, fetched where they are not there, and names them.
pub(crate) fn unpack_all(
    store: &Store,
    apt: &mut Apt,
    packages: &[Package],
    tree: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<String>, Error> {
    fetch_all(store, apt, packages, progress)?;
    for package in packages {
        let file = fetch(store, apt, package, progress)?;
        source::unpack(&file, tree)?;
    }
    Ok(packages.iter().map(Package::label).collect())
}

/// Writes a script that can be executed.
pub(crate) fn write_script(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).at("written", path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).at("made executable", path)
}
