//! QEMU from Debian's mirrors: an emulator of programs for 64-bit ARM Linux where the host has none
//! that will do, and the newest emulator of ARM machines, to compare with.

use crate::apt::Apt;
use crate::blob::hash_texts;
use crate::image_spec::Architecture;
use crate::maker::fetch;
use crate::progress::Progress;
use crate::source::{self, Source};
use crate::unpacked::{HOST, unpack_all, write_script};
use crate::{Cache, Error, process};
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
            Ok(vec![package.label()])
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
        if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            return Ok(None);
        }
        let architecture = HOST.architecture;
        let recipe = [MACHINES_FORMAT, NEWEST_SUITE, MACHINES, architecture.name()];
        let home = self.cross_home(&hash_texts(recipe));
        let script = home.join(MACHINES);
        let doing = ("cross", "unpacking an emulator");
        self.unpacked(&home, doing, progress, |tree, progress| {
            let mut host = Apt::new(self.store().root(), architecture);
            let packages = host.plan(NEWEST_SUITE, &[MACHINES], progress)?;
            let names = unpack_all(self.store(), &mut host, &packages, tree, progress)?;
            write_script(&script, &starter(tree))?;
            Ok(names)
        })?;
        Ok(Some(script))
    }
}

/// Returns the script that starts QEMU in `tree` with the C library and all others of `tree`, which
/// may be newer than the host's.
fn starter(tree: &Path) -> String {
    let (start, libraries) = (HOST.start(tree), HOST.libraries);
    let usr = tree.join("usr").display().to_string();
    format!(
        "#!/bin/sh\n\
         QEMU_MODULE_DIR='{usr}/lib/{libraries}/qemu'\n\
         export QEMU_MODULE_DIR\n\
         {start} '{usr}/bin/{MACHINES}' -L '{usr}/share/qemu' \"$@\"\n"
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
