//! Where files are in the cache, and what of an image is there.

use crate::Error;
use crate::blob::{BlobStore, hash_texts, write_atomically};
use crate::error::IoContext;
use crate::image_spec::ImageSpec;
use crate::manifest::Manifest;
use crate::recipes;
use std::fs;
use std::path::{Path, PathBuf};

/// Tells backup programs to leave a directory out (<https://bford.info/cachedir/>).
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                         # Guest images; all of this can be fetched and built again.\n";

/// The files of a cache.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
    blobs: BlobStore,
}

impl Store {
    /// Returns the store in the directory `root`, an absolute path.
    pub fn new(root: PathBuf) -> Self {
        Self {
            blobs: BlobStore::new(root.join("blobs")),
            root,
        }
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the log of an image's last kernel build, if it was ever built here.
    pub fn build_log(&self, spec: &ImageSpec) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", spec.name))
    }

    /// Returns what the cache has of an image by the present recipe, if it has all of it.
    pub fn present(&self, spec: &ImageSpec) -> Option<Manifest> {
        let current = |manifest: &Manifest| {
            manifest.name == spec.name
                && manifest.kernel.recipe == recipes::kernel_recipe(spec)
                && manifest.initramfs.recipe == recipes::initramfs_recipe(spec)
                && manifest.blobs().all(|blob| self.blobs.is_intact(blob))
        };
        Manifest::load(&self.manifest_path(spec)).filter(current)
    }

    /// Returns whether the kernel of an image is in the cache, made by the present recipe, in an
    /// image that is listed.
    pub fn has_kernel(&self, spec: &ImageSpec) -> bool {
        let recipe = recipes::kernel_recipe(spec);
        self.previous(spec).is_some_and(|manifest| {
            manifest.kernel.recipe == recipe
                && manifest
                    .kernel
                    .blobs()
                    .all(|blob| self.blobs.is_intact(blob))
        })
    }

    /// Returns the store of files.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Returns the lock file for something.
    pub fn lock_path(&self, what: &str) -> PathBuf {
        self.root.join("locks").join(format!("{what}.lock"))
    }

    /// Returns the manifest of an image by the present recipes. Each version of the recipes has a
    /// manifest of its own, so that two versions of this program with one cache do not make images
    /// in turn.
    pub fn manifest_path(&self, spec: &ImageSpec) -> PathBuf {
        let (kernel, initramfs) = (
            recipes::kernel_recipe(spec),
            recipes::initramfs_recipe(spec),
        );
        let recipe = hash_texts([kernel.as_str(), initramfs.as_str()]);
        self.root
            .join("images")
            .join(format!("{}@{}.json", spec.name, &recipe[..16]))
    }

    /// Returns what to start from when an image is made: its manifest by the present recipes, else
    /// by other ones, preferably with the same kernel.
    pub fn previous(&self, spec: &ImageSpec) -> Option<Manifest> {
        let (own, recipe) = (self.manifest_path(spec), recipes::kernel_recipe(spec));
        let mut paths: Vec<_> = fs::read_dir(self.root.join("images"))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        // `false` sorts before `true`: the manifest by the present recipes comes first.
        paths.sort_by_key(|path| (*path != own, path.clone()));
        let manifests = paths.iter().filter_map(|path| Manifest::load(path));
        let mut manifests: Vec<_> = manifests
            .filter(|manifest| manifest.name == spec.name)
            .collect();
        // The sort is stable: of those with the right kernel the one by the present recipes stays
        // first.
        manifests.sort_by_key(|manifest| manifest.kernel.recipe != recipe);
        manifests.into_iter().next()
    }

    /// Finds out before a long work whether there are so many free bytes for it.
    ///
    /// # Errors
    /// [`Error::DiskFull`].
    pub fn check_space(&self, needed: u64) -> Result<(), Error> {
        let root = self.root();
        if fs4::available_space(root).at("examined", root)? >= needed {
            return Ok(());
        }
        Err(Error::DiskFull {
            path: root.to_path_buf(),
            needed: Some(needed),
        })
    }

    /// Makes the directory, and finds out early whether it can be written.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn prepare(&self) -> Result<(), Error> {
        let tag = self.root.join("CACHEDIR.TAG");
        if tag.is_file() {
            return Ok(());
        }
        let not_writable = |path: &Path, source| Error::CacheNotWritable {
            path: path.to_path_buf(),
            source,
        };
        fs::create_dir_all(&self.root).map_err(|source| not_writable(&self.root, source))?;
        write_atomically(&tag, CACHE_TAG.as_bytes())
    }
}
