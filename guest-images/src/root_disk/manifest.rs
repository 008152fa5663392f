//! What the cache remembers of a root disk.

use super::spec::RootSpec;
use crate::Error;
use crate::blob::{Blob, hash_texts, write_json};
use crate::recipes;
use crate::source::Package;
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// Raised when the way in which root disks are made changes in a manner that the recipe does not
/// show.
const FORMAT: &str = "1";

/// A root disk in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Its name.
    pub name: String,
    /// Hash of the recipe that it was made by.
    pub recipe: String,
    /// The packages on it, in the order in which apt would install them.
    pub packages: Vec<Package>,
    /// The version of the kernel under which they were installed.
    pub kernel: String,
    /// The file system.
    pub disk: Blob,
}

/// Returns the hash of all that decides how a root disk is made, apart from the packages' versions.
pub(super) fn recipe(spec: &RootSpec) -> String {
    let mut texts = vec![FORMAT, recipes::ROOT_DISK, spec.suite];
    texts.extend(spec.wanted());
    hash_texts(texts)
}

impl Manifest {
    fn path(store: &Store, spec: &RootSpec) -> PathBuf {
        let recipe = &recipe(spec)[..16];
        let name = format!("{}@{recipe}.json", spec.file_name());
        store.root().join("images").join(name)
    }

    /// Reads it; one that is missing, damaged or of another recipe counts as none.
    fn load(store: &Store, spec: &RootSpec) -> Option<Self> {
        let bytes = fs::read(Self::path(store, spec)).ok()?;
        let manifest: Self = serde_json::from_slice(&bytes).ok()?;
        (manifest.name == spec.name && manifest.recipe == recipe(spec)).then_some(manifest)
    }

    /// Returns what the cache has of a root disk, if it has all of it.
    pub fn present(store: &Store, spec: &RootSpec) -> Option<Self> {
        Self::load(store, spec).filter(|manifest| store.blobs().is_intact(&manifest.disk))
    }

    /// Writes it so that it appears whole or not at all.
    pub fn store(&self, store: &Store, spec: &RootSpec) -> Result<(), Error> {
        write_json(&Self::path(store, spec), self)
    }

    /// Compares the disk with its hash, and removes it if it is damaged.
    pub fn verify(store: &Store, spec: &RootSpec) -> Result<bool, Error> {
        let Some(manifest) = Self::load(store, spec) else {
            return Ok(false);
        };
        store.blobs().verify(&manifest.disk, spec.name)?;
        Ok(true)
    }
}
