//! What the cache remembers of an image: a small file that is written last, so that it only ever
//! names complete work.

use crate::Error;
use crate::blob::{Blob, write_json};
use crate::source::Package;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// An image in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The image's name.
    pub name: String,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its initial file system.
    pub initramfs: Initramfs,
}

/// A kernel in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    /// Hash of the recipe that it was made by.
    pub recipe: String,
    /// Its version as `uname -r` gives it.
    pub version: String,
    /// The packages that it was made from.
    pub packages: Vec<Package>,
    /// The compressed image with its own loader.
    pub zimage: Blob,
    /// The bare image.
    pub raw: Option<Blob>,
    /// The ELF file with symbols and types.
    pub vmlinux: Option<Blob>,
    /// The symbol table as text.
    pub system_map: Option<Blob>,
    /// Its configuration.
    pub config: Option<Blob>,
    /// Its modules, if it was compiled here; those of a stock kernel are in its packages.
    #[serde(default)]
    pub modules: Vec<ModuleFile>,
    /// The device trees of boards that came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_trees: Vec<DeviceTreeFile>,
}

/// The device tree of a board in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceTreeFile {
    /// The name of its file, such as `r8a7791-koelsch.dtb`.
    pub name: String,
    /// The flattened device tree.
    pub file: Blob,
}

/// A module in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModuleFile {
    /// Its name, with underscores.
    pub name: String,
    /// The ELF file, without debugging information.
    pub file: Blob,
}

/// An initial file system in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Initramfs {
    /// Hash of the recipe that it was made by.
    pub recipe: String,
    /// The package that its programs come from.
    pub busybox: Package,
    /// Modules that it loads, in that order.
    pub modules: Vec<String>,
    /// Modules that it carries for its guest to load.
    #[serde(default)]
    pub late_modules: Vec<String>,
    /// The archive.
    pub archive: Blob,
}

impl Kernel {
    /// Returns all its files.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        [
            Some(&self.zimage),
            self.raw.as_ref(),
            self.vmlinux.as_ref(),
            self.system_map.as_ref(),
            self.config.as_ref(),
        ]
        .into_iter()
        .flatten()
        .chain(self.modules.iter().map(|module| &module.file))
        .chain(self.device_trees.iter().map(|tree| &tree.file))
    }
}

impl Manifest {
    /// Reads a manifest; one that is missing, damaged or of another program version counts as none,
    /// since it can be made anew.
    pub fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Writes it so that it appears whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn store(&self, path: &Path) -> Result<(), Error> {
        write_json(path, self)
    }

    /// Returns the files that guests boot from.
    pub fn booted(&self) -> impl Iterator<Item = &Blob> {
        let kernel = [Some(&self.kernel.zimage), self.kernel.raw.as_ref()];
        let trees = self.kernel.device_trees.iter().map(|tree| &tree.file);
        kernel
            .into_iter()
            .flatten()
            .chain(trees)
            .chain([&self.initramfs.archive])
    }

    /// Returns all files that the image consists of.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.kernel.blobs().chain([&self.initramfs.archive])
    }
}
