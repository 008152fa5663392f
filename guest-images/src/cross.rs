//! A Rust compiler for 64-bit ARM hosts, from Debian's mirrors alone.
//!
//! Where rustup has the target installed, its compiler is the one. Elsewhere Debian's own is
//! unpacked, not installed, into the cache: the compiler and its libraries for this host, and the
//! standard library for both. Cargo compiles everything with one compiler, so it is given the small
//! scripts that start this one.

use crate::apt::Apt;
use crate::blob::hash_texts;
use crate::image_spec::Architecture;
use crate::maker::fetch;
use crate::progress::Progress;
use crate::source::{self, Source};
use crate::unpacked::write_script;
use crate::{Cache, Error, host, process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The target's name.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Where the compiler is. What it needs in exactly its own version comes with it.
const SUITE: &str = "bookworm-security";
const COMPILER: [&str; 3] = ["rustc-web", "rust-web-clippy", "libllvm22"];
/// The standard library.
const LIBRARY: &str = "libstd-rust-web-dev";

/// Libraries that LLVM needs, which a host of another release may have in other versions.
const LIBRARIES_SUITE: &str = "bookworm";
const LIBRARIES: [&str; 9] = [
    "libbsd0", "libedit2", "libffi8", "libicu72", "liblzma5", "libmd0", "libxml2", "libz3-4",
    "zlib1g",
];

/// Raised when the way in which it is unpacked changes.
const FORMAT: &str = "1";

/// Packages followed from the compiler's at most; there are five.
const MAX_PACKAGES: usize = 16;

/// A Rust compiler that makes programs for 64-bit ARM Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossRust {
    /// The compiler, for cargo's `RUSTC`; `None` where cargo's own has the target.
    pub rustc: Option<PathBuf>,
    /// Clippy's compiler, for cargo's `RUSTC_WORKSPACE_WRAPPER`; `None` where cargo's own has the
    /// target.
    pub clippy: Option<PathBuf>,
    /// The target's name.
    pub target: &'static str,
    /// The linker.
    pub linker: &'static str,
}

impl Cache {
    /// Returns a compiler for 64-bit ARM hosts, fetched if there is none. On such a host, and where
    /// rustup has the target, nothing is fetched.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn cross_rust(&self, progress: &mut dyn Progress) -> Result<CrossRust, Error> {
        let native = cfg!(target_arch = "aarch64");
        let found = CrossRust {
            rustc: None,
            clippy: None,
            target: TARGET,
            linker: if native {
                "cc"
            } else {
                "aarch64-linux-gnu-gcc"
            },
        };
        // The linker and the C library for the target: rustup's compiler comes without them too.
        if !native {
            self.host_packages(&host::packages("cross"), progress)?;
        }
        if native || has_target() {
            return Ok(found);
        }
        let home = self.debian_rust(progress)?;
        Ok(CrossRust {
            rustc: Some(home.join("rustc")),
            clippy: Some(home.join("clippy-driver")),
            ..found
        })
    }

    /// Returns the directory with Debian's compiler in it, unpacked if it is not there.
    fn debian_rust(&self, progress: &mut dyn Progress) -> Result<PathBuf, Error> {
        let texts = [FORMAT, SUITE, LIBRARY, LIBRARIES_SUITE];
        let recipe = hash_texts(texts.into_iter().chain(COMPILER).chain(LIBRARIES));
        let home = self.cross_home(&recipe);
        let doing = "unpacking a Rust compiler";
        self.unpacked(&home, ("cross", doing), progress, |tree, progress| {
            let names = self.unpack_rust(tree, progress)?;
            for program in ["rustc", "clippy-driver"] {
                write_script(&home.join(program), &wrapper(tree, program))?;
            }
            Ok(names)
        })?;
        Ok(home)
    }

    /// Returns where what is made by `recipe`, a hash of all that decides what it is, has its
    /// directory.
    pub(crate) fn cross_home(&self, recipe: &str) -> PathBuf {
        // 64 bits of the hash tell a few recipes apart, and keep the path short.
        self.store().root().join("cross").join(&recipe[..16])
    }

    /// Unpacks all packages into `tree`, and names them.
    fn unpack_rust(&self, tree: &Path, progress: &mut dyn Progress) -> Result<Vec<String>, Error> {
        // An arm64 host has its own compiler, and does not come here.
        let mut host = Apt::new(self.store().root(), Architecture::Amd64);
        let mut target = Apt::new(self.store().root(), Architecture::Arm64);
        let mut packages = Vec::new();
        let mut pending: Vec<String> = COMPILER.map(str::to_owned).to_vec();
        let mut seen = BTreeSet::new();
        while let Some(name) = pending.pop() {
            if !seen.insert(name.clone()) || packages.len() >= MAX_PACKAGES {
                continue;
            }
            let package = host.package(SUITE, &name, progress)?;
            pending.extend(package.depends.iter().cloned());
            packages.push(package);
        }
        for name in LIBRARIES {
            packages.push(host.package(LIBRARIES_SUITE, name, progress)?);
        }
        let library = target.package(SUITE, LIBRARY, progress)?;
        let mut unpack = |from: &mut Apt, package| {
            let file = fetch(self.store(), from, package, progress)?;
            source::unpack(&file, tree)
        };
        for package in &packages {
            unpack(&mut host, package)?;
        }
        unpack(&mut target, &library)?;
        let all = packages.iter().chain([&library]);
        Ok(all.map(source::Package::label).collect())
    }
}

/// Returns whether cargo's own compiler has the target.
fn has_target() -> bool {
    let mut command = process::command("rustc");
    command.args(["--print", "target-libdir", "--target", TARGET]);
    process::output(&mut command).is_ok_and(|(outcome, text)| {
        outcome.status.success() && has_library(Path::new(text.trim()))
    })
}

/// Returns whether a directory holds a standard library.
fn has_library(directory: &Path) -> bool {
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    fs::read_dir(directory).is_ok_and(|entries| {
        entries
            .filter_map(Result::ok)
            .any(|entry| entry.file_name().to_str().is_some_and(is_std))
    })
}

/// Returns the script that starts a program of `tree` with the libraries of `tree`.
fn wrapper(tree: &Path, program: &str) -> String {
    let tree = tree.display();
    format!(
        "#!/bin/sh\n\
         LD_LIBRARY_PATH='{tree}/usr/lib/x86_64-linux-gnu:{tree}/lib/x86_64-linux-gnu'\n\
         export LD_LIBRARY_PATH\n\
         exec '{tree}/usr/bin/{program}' \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_library_is_told_from_an_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_library(dir.path()));
        assert!(!has_library(&dir.path().join("nothing")));
        fs::write(dir.path().join("libstd-0123.rlib"), "").unwrap();
        assert!(has_library(dir.path()));
    }

    #[test]
    fn wrappers_hand_on_all_arguments() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("rustc"), "#!/bin/sh\nprintf '%s|' \"$@\"\n").unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join("rustc"), mode).unwrap();
        let script = dir.path().join("w");
        fs::write(&script, wrapper(dir.path(), "rustc")).unwrap();
        let mut command = process::command("sh");
        command.arg(&script).args(["a b", "--x=\"y\""]);
        let (outcome, text) = process::output(&mut command).unwrap();
        assert!(outcome.status.success());
        assert_eq!(text.trim_end(), "a b|--x=\"y\"|");
    }
}
