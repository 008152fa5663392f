//! QEMU from Debian's mirrors: an emulator of programs for 64-bit ARM Linux where the host has none
//! that will do, and the newest emulator of ARM machines, to compare with.

use crate::apt::Apt;
use crate::blob::hash_texts;
use crate::error::IoContext;
use crate::image_spec::Architecture;
use crate::maker::{fetch, fetch_all};
use crate::progress::Progress;
use crate::source::{self, Source};
use crate::{Cache, Error, process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program.
const PROGRAM: &str = "qemu-aarch64";
/// Its first version that will do. Those before it do nothing for `IC IVAU`, and go on executing
/// what was there where a program writes code at another address than it is executed at.
const SUFFICIENT: (u32, u32) = (8, 1);

/// Where a version that will do is; there it is linked statically, and takes no other package.
const SUITE: &str = "trixie";
const PACKAGE: &str = "qemu-user";
/// Raised when the way in which it is unpacked changes.
const FORMAT: &str = "2";

/// The emulator of machines, and the release with the newest version of it that is not built from
/// day to day.
const MACHINES: &str = "qemu-system-arm";
const NEWEST_SUITE: &str = "forky";
/// Raised when the way in which it is unpacked changes.
const MACHINES_FORMAT: &str = "1";

/// What this host's programs are like: Debian's name of the architecture, the directory of its
/// libraries, and the program that loads others.
const HOST: Option<(Architecture, &str, &str)> = if cfg!(target_arch = "x86_64") {
    let loader = "ld-linux-x86-64.so.2";
    Some((Architecture::Amd64, "x86_64-linux-gnu", loader))
} else if cfg!(target_arch = "aarch64") {
    let loader = "ld-linux-aarch64.so.1";
    Some((Architecture::Arm64, "aarch64-linux-gnu", loader))
} else {
    None
};

impl Cache {
    /// Returns an emulator of programs for 64-bit ARM Linux that write code: the host's, or else
    /// Debian's, fetched if it is not there, and unpacked, not installed.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn arm64_emulator(&self, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let version = process::output(process::command(PROGRAM).arg("--version"));
        if version.is_ok_and(|(_, text)| version_of(&text) >= Some(SUFFICIENT)) {
            return Ok(PROGRAM.into());
        }
        let home = self.cross_home(&hash_texts([FORMAT, SUITE, PACKAGE]));
        let doing = ("cross", "unpacking an emulator");
        let tree = self.unpacked(&home, doing, progress, |tree, progress| {
            let mut host = Apt::new(self.store().root(), Architecture::Amd64);
            let package = host.package(SUITE, PACKAGE, progress)?;
            let file = fetch(self.store(), &mut host, &package, progress)?;
            source::unpack(&file, tree)?;
            Ok(vec![format!("{} {}", package.name, package.version)])
        })?;
        Ok(tree.join("usr/bin").join(PROGRAM))
    }
}

impl Cache {
    /// Returns the newest `qemu-system-arm` that Debian has, fetched if it is not there, and
    /// unpacked with its libraries, not installed; `None` where Debian's programs do not run. Once
    /// it is there it stays as it is.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn newest_qemu_system_arm(
        &self,
        progress: &mut dyn Progress,
    ) -> Result<Option<PathBuf>, Error> {
        let Some((architecture, libraries, loader)) = HOST else {
            return Ok(None);
        };
        let recipe = [MACHINES_FORMAT, NEWEST_SUITE, MACHINES, architecture.name()];
        let home = self.cross_home(&hash_texts(recipe));
        let script = home.join(MACHINES);
        let doing = ("cross", "unpacking an emulator");
        self.unpacked(&home, doing, progress, |tree, progress| {
            let mut host = Apt::new(self.store().root(), architecture);
            let packages = host.plan(NEWEST_SUITE, &[MACHINES], progress)?;
            fetch_all(self.store(), &mut host, &packages, progress)?;
            for package in &packages {
                let file = fetch(self.store(), &mut host, package, progress)?;
                source::unpack(&file, tree)?;
            }
            fs::write(&script, starter(tree, libraries, loader)).at("written", &script)?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&script, mode).at("made executable", &script)?;
            let name = |package: &source::Package| format!("{} {}", package.name, package.version);
            Ok(packages.iter().map(name).collect())
        })?;
        Ok(Some(script))
    }
}

/// Returns the script that starts QEMU in `tree` with the C library and all others of `tree`, which
/// may be newer than the host's.
fn starter(tree: &Path, libraries: &str, loader: &str) -> String {
    let usr = tree.join("usr").display().to_string();
    format!(
        "#!/bin/sh\n\
         QEMU_MODULE_DIR='{usr}/lib/{libraries}/qemu'\n\
         export QEMU_MODULE_DIR\n\
         exec '{usr}/lib/{libraries}/{loader}' --library-path '{usr}/lib/{libraries}' \
         '{usr}/bin/{MACHINES}' -L '{usr}/share/qemu' \"$@\"\n"
    )
}

/// Returns the first two numbers of the version that QEMU says it is of.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text
        .split_once("version ")?
        .1
        .split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let will_do = |text: &str| version_of(text) >= Some(SUFFICIENT);
        assert!(will_do(
            "qemu-aarch64 version 10.0.3 (Debian 1:10.0.3+ds-0)\n"
        ));
        assert!(will_do("qemu-aarch64 version 8.1.0"));
        assert!(!will_do(
            "qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7)\n"
        ));
        assert!(!will_do("something else"));
    }
}
