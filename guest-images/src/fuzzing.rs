//! What reads texts and files from outside, for the fuzz targets alone.

use std::path::{Path, PathBuf};

use crate::apt::parse::{self, Failure};
use crate::blob::{Blob, BlobStore};
use crate::initramfs::append;
use crate::manifest::Manifest;
use crate::modules::{self, Module};
use crate::recipes;
use crate::{Error, GuestFile};

/// A package as an index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Packages that it needs in exactly its version.
    pub depends: Vec<String>,
    /// Bytes of its file.
    pub size: u64,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// Reads the first record that `apt-cache show` prints.
pub fn record(text: &str) -> Option<Record> {
    let package = parse::package("suite", text)?;
    Some(Record {
        name: package.name,
        version: package.version,
        depends: package.depends,
        size: package.size,
        sha256: package.sha256,
    })
}

/// Returns why apt failed, by what it printed.
pub fn failure(text: &str) -> Option<String> {
    match parse::update_failure(text)? {
        Failure::Network(detail) | Failure::Signature(detail) => Some(detail),
    }
}

/// What a module needs: modules without which it cannot be linked, and others that should be there
/// before it.
pub type Needs = (Vec<String>, Vec<String>);

/// Uncompresses a module.
///
/// # Errors
/// It is damaged, or too large.
pub fn uncompressed(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    modules::uncompress(Path::new("module"), bytes)
}

/// Returns what a module says that it needs, if it is one.
pub fn needs(elf: &[u8]) -> Option<Needs> {
    let needs = modules::parse_needs(elf)?;
    Some((needs.hard, needs.soft))
}

/// Returns the list by which modules are found, of modules and what each needs, in an order in
/// which they can be loaded.
pub fn dependency_list(modules: &[(String, Vec<String>)]) -> String {
    let module = |(name, needs): &(String, Vec<String>)| Module {
        name: name.clone(),
        needs: needs.clone(),
        bytes: Vec::new(),
    };
    let modules: Vec<Module> = modules.iter().map(module).collect();
    modules::dependency_list(&modules)
}

/// Returns the files that a manifest names, in a store at `root`, and the manifest as it is written
/// again.
pub fn manifest(text: &[u8], root: &Path) -> Option<(Vec<PathBuf>, Vec<u8>)> {
    let manifest: Manifest = serde_json::from_slice(text).ok()?;
    let store = BlobStore::new(root.to_owned());
    let path = |blob: &Blob| store.path(&blob.sha256);
    let files = manifest.blobs().chain(manifest.booted()).map(path);
    Some((files.collect(), serde_json::to_vec(&manifest).ok()?))
}

/// Returns `base` with an archive of `files` behind it.
///
/// # Errors
/// A file cannot be in an archive.
pub fn initramfs(base: Vec<u8>, files: &[GuestFile]) -> Result<Vec<u8>, Error> {
    append(base, files)
}

/// Returns the options that a configuration sets, or says are not set.
pub fn options(text: &str) -> Vec<&str> {
    text.lines().filter_map(recipes::option).collect()
}
