//! An emulator of programs for 64-bit ARM Linux, from Debian's mirrors where the host has none that
//! will do.

use crate::apt::Apt;
use crate::blob::hash_texts;
use crate::image_spec::Architecture;
use crate::maker::fetch;
use crate::progress::Progress;
use crate::source::{self, Source};
use crate::{Cache, Error, process};
use std::path::PathBuf;

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
