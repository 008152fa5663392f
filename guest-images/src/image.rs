//! An image in the cache, ready to boot.

use crate::Error;
use crate::blob::{Blob, BlobStore};
use crate::error::IoContext;
use crate::image_spec::ImageSpec;
use crate::initramfs::{self, GuestFile};
use crate::manifest::Manifest;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// An image in the cache, ready to boot. Its files are read-only and never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The catalog's entry.
    pub spec: &'static ImageSpec,
    /// The kernel's version as `uname -r` gives it.
    pub version: String,
    /// The kernel as a zImage (compressed, with its own loader); for stock kernels the package's
    /// file, unmodified.
    pub kernel: PathBuf,
    /// SHA-256 of that file in lower-case hexadecimal.
    pub kernel_sha256: String,
    /// The kernel as a bare Image, which boots without uncompressing.
    pub raw_kernel: Option<PathBuf>,
    /// The kernel as ELF file with symbols, DWARF and BTF.
    pub vmlinux: Option<PathBuf>,
    /// The kernel's symbol table as text.
    pub system_map: Option<PathBuf>,
    /// The kernel's configuration.
    pub config: Option<PathBuf>,
    /// The device trees of boards that came with the kernel, by the names of their files, such as
    /// `r8a7791-koelsch.dtb`.
    pub device_trees: BTreeMap<String, PathBuf>,
    /// The initial file system, an uncompressed cpio archive.
    pub initramfs: PathBuf,
    /// SHA-256 of that file in lower-case hexadecimal.
    pub initramfs_sha256: String,
    /// Modules that the guest loads, in that order.
    pub modules: Vec<String>,
    /// Modules that the guest has and does not load: `modprobe NAME` does it.
    pub late_modules: Vec<String>,
    /// Names and versions of the Debian packages that went into it.
    pub packages: Vec<(String, String)>,
}

impl Image {
    /// Returns the image that a manifest describes.
    pub(crate) fn new(spec: &'static ImageSpec, manifest: &Manifest, blobs: &BlobStore) -> Self {
        let path = |blob: &Blob| blobs.path(&blob.sha256);
        let optional = |blob: &Option<Blob>| blob.as_ref().map(path);
        let Manifest {
            name: _,
            kernel,
            initramfs,
        } = manifest;
        let packages = kernel.packages.iter().chain([&initramfs.busybox]);
        Self {
            spec,
            version: kernel.version.clone(),
            kernel: path(&kernel.zimage),
            kernel_sha256: kernel.zimage.sha256.clone(),
            raw_kernel: optional(&kernel.raw),
            vmlinux: optional(&kernel.vmlinux),
            system_map: optional(&kernel.system_map),
            config: optional(&kernel.config),
            device_trees: kernel
                .device_trees
                .iter()
                .map(|tree| (tree.name.clone(), path(&tree.file)))
                .collect(),
            initramfs: path(&initramfs.archive),
            initramfs_sha256: initramfs.archive.sha256.clone(),
            modules: initramfs.modules.clone(),
            late_modules: initramfs.late_modules.clone(),
            packages: packages
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect(),
        }
    }

    /// Returns the bytes of its initial file system with more files in it; see also
    /// [`crate::guest_script`].
    ///
    /// # Errors
    /// [`Error::Archive`] if a path is not a plain one, and errors of reading the cache.
    pub fn initramfs_with(&self, files: &[GuestFile]) -> Result<Vec<u8>, Error> {
        let base = fs::read(&self.initramfs).at("read", &self.initramfs)?;
        initramfs::append(base, files)
    }
}
