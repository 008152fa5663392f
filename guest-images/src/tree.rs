//! Debian packages that are unpacked, not installed, in a directory of the cache: programs for
//! guests, and what compiles modules for their kernels.

use crate::apt::Apt;
use crate::blob::{hash_texts, write_atomically};
use crate::error::IoContext;
use crate::image_spec::Architecture;
use crate::lock::Lock;
use crate::maker::{fetch, remove_tree};
use crate::progress::Progress;
use crate::source::{self, Source};
use crate::store::Store;
use crate::{Cache, Error, host};
use std::fs;
use std::path::{Path, PathBuf};

/// Raised when the way in which packages are unpacked changes.
const FORMAT: &str = "1";

impl Cache {
    /// Returns a directory with packages of the Debian release `suite` in it, fetched if there is
    /// none; `packages` has their names by architecture. What they depend on is not followed: name
    /// it too. Their scripts do not run.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn tree(
        &self,
        suite: &str,
        packages: &[(Architecture, &[&str])],
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let mut texts = vec![FORMAT];
        for (architecture, names) in packages {
            texts.extend([architecture.name(), suite]);
            texts.extend(*names);
        }
        let doing = "unpacking packages for guests";
        let home = home(self.store(), &texts);
        self.unpacked(&home, ("trees", doing), progress, |tree, progress| {
            unpack(self.store(), tree, suite, packages, progress)
        })
    }

    /// Returns the directory `tree` of `home`, into which `unpack` is to unpack packages that it
    /// then names, if that has not been done yet. Others wait, by a lock that has a name and says
    /// what is being done.
    pub(crate) fn unpacked(
        &self,
        home: &Path,
        (lock, doing): (&str, &str),
        progress: &mut dyn Progress,
        unpack: impl FnOnce(&Path, &mut dyn Progress) -> Result<Vec<String>, Error>,
    ) -> Result<PathBuf, Error> {
        let (tree, complete) = (home.join("tree"), home.join("complete"));
        if complete.is_file() {
            return Ok(tree);
        }
        self.host_packages(&host::packages("fetch"), progress)?;
        let _lock = Lock::acquire(&self.store().lock_path(lock), doing, progress)?;
        // The process that held the lock may have made it.
        if complete.is_file() {
            return Ok(tree);
        }
        remove_tree(home)?;
        fs::create_dir_all(&tree).at("created", &tree)?;
        let names = unpack(&tree, progress)?;
        // Last: a directory without this file is not complete, and is made anew.
        write_atomically(&complete, names.join("\n").as_bytes())?;
        Ok(tree)
    }
}

/// Returns where the packages are unpacked that these texts stand for.
pub(crate) fn home(store: &Store, texts: &[&str]) -> PathBuf {
    let recipe = hash_texts(texts.iter().copied());
    // 64 bits of the hash tell a few recipes apart, and keep the path short.
    store.root().join("trees").join(&recipe[..16])
}

/// Unpacks packages of a release, each list of one architecture, and returns their names and
/// versions.
pub(crate) fn unpack(
    store: &Store,
    tree: &Path,
    suite: &str,
    packages: &[(Architecture, &[&str])],
    progress: &mut dyn Progress,
) -> Result<Vec<String>, Error> {
    let mut unpacked = Vec::new();
    for (architecture, names) in packages {
        let mut from = Apt::new(store.root(), *architecture);
        for name in *names {
            let package = from.package(suite, name, progress)?;
            let file = fetch(store, &mut from, &package, progress)?;
            source::unpack(&file, tree)?;
            unpacked.push(format!("{} {}", package.name, package.version));
        }
    }
    Ok(unpacked)
}
