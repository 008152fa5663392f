//! The oldest Rust that the library crate promises to compile with: that of Debian 13, from
//! Debian's mirrors.
//!
//! It is unpacked, not installed, with all libraries that it needs, the C library included: that of
//! an older host would not do. So it is started by its own dynamic linker.

use crate::apt::Apt;
use crate::blob::hash_texts;
use crate::error::IoContext;
use crate::progress::Progress;
use crate::source::{Package, Source};
use crate::unpacked::{HOST, unpack_all, write_script};
use crate::{Cache, Error};
use std::fs;
use std::path::{Path, PathBuf};

/// Where it is.
const SUITE: &str = "trixie";
/// Its programs, which are packages of the same names.
const PROGRAMS: [&str; 2] = ["cargo", "rustc"];
/// Raised when the way in which it is unpacked changes.
const FORMAT: &str = "1";

impl Cache {
    /// Returns a directory with the `cargo` and the `rustc` of Debian 13, fetched if they are not
    /// there. They link with the host's C compiler.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn old_rust(&self, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let texts = [FORMAT, SUITE, HOST.architecture.name()];
        let home = self.cross_home(&hash_texts(texts.into_iter().chain(PROGRAMS)));
        let programs = home.join("bin");
        let doing = ("cross", "unpacking a Rust compiler");
        self.unpacked(&home, doing, progress, |tree, progress| {
            let mut apt = Apt::new(self.store().root(), HOST.architecture);
            let mut packages = apt.plan(SUITE, &PROGRAMS, progress)?;
            packages.retain(is_part);
            let names = unpack_all(self.store(), &mut apt, &packages, tree, progress)?;
            fs::create_dir_all(&programs).at("created", &programs)?;
            for program in PROGRAMS {
                write_script(&programs.join(program), &wrapper(tree, program))?;
            }
            Ok(names)
        })?;
        Ok(programs)
    }
}

/// Returns whether a package is a program, a library that it is linked with, or the standard
/// library. What its packages need besides is a C compiler, which the host has.
fn is_part(package: &Package) -> bool {
    let name = package.name.as_str();
    let is_library = name.starts_with("lib") && !name.ends_with("-dev");
    PROGRAMS.contains(&name) || is_library || ["libstd-rust-dev", "zlib1g"].contains(&name)
}

/// Returns the script that starts a program of `tree` with the libraries of `tree`.
fn wrapper(tree: &Path, program: &str) -> String {
    let (start, tree) = (HOST.start(tree), tree.display());
    format!("#!/bin/sh\n{start} '{tree}/usr/bin/{program}' \"$@\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn wrappers_start_the_linker_with_all_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let libraries = dir.path().join("usr/lib").join(HOST.libraries);
        fs::create_dir_all(&libraries).unwrap();
        let linker = libraries.join(HOST.linker);
        fs::write(&linker, "#!/bin/sh\nprintf '%s|' \"$@\"\n").unwrap();
        fs::set_permissions(&linker, fs::Permissions::from_mode(0o755)).unwrap();
        let script = dir.path().join("w");
        fs::write(&script, wrapper(dir.path(), "rustc")).unwrap();
        let mut command = process::command("sh");
        command.arg(&script).args(["a b", "--x=\"y\""]);
        let (outcome, text) = process::output(&mut command).unwrap();
        assert!(outcome.status.success());
        let (libraries, tree) = (libraries.display(), dir.path().display());
        let expected = format!("--library-path|{libraries}|{tree}/usr/bin/rustc|a b|--x=\"y\"|");
        assert_eq!(text.trim_end(), expected);
    }
}
