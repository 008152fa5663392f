//! Root disks: a Debian system on an ext4 file system, for guests that are to be more than busybox.
//!
//! apt chooses the packages and checks them; a guest unpacks and configures them on an empty disk,
//! so that no package's script runs on the host, which need neither be able to execute the
//! packages' programs nor give anybody root's rights. Who runs that guest is an [`Installer`].

mod init;
mod make;
mod manifest;
mod spec;

use crate::apt::Apt;
use crate::blob::hash_bytes;
use crate::error::IoContext;
use crate::image::Image;
use crate::image_spec::Architecture;
use crate::lock::Lock;
use crate::progress::{Progress, Silent};
use crate::source::Source;
use crate::store::Store;
use crate::{Cache, Error, host};
use make::Maker;
use manifest::Manifest;
use std::path::PathBuf;

pub use make::{Installer, Job};
pub use spec::{RootSpec, all, find};

/// Word that names the root disk's device to the `/init` of [`Cache::root_initramfs`].
pub const ROOT_WORD: &str = "viommu.root=";

/// A root disk in the cache. Its file is read-only and never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootDisk {
    /// The entry of the list.
    pub spec: &'static RootSpec,
    /// The disk: an ext4 file system without partitions.
    pub disk: PathBuf,
    /// SHA-256 of that file in lower-case hexadecimal.
    pub sha256: String,
    /// Names and versions of the Debian packages that are installed on it.
    pub packages: Vec<(String, String)>,
}

impl RootDisk {
    fn new(spec: &'static RootSpec, manifest: &Manifest, store: &Store) -> Self {
        let packages = manifest.packages.iter();
        Self {
            spec,
            disk: store.blobs().path(&manifest.disk.sha256),
            sha256: manifest.disk.sha256.clone(),
            packages: packages
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect(),
        }
    }
}

impl Cache {
    /// Returns the root disk of that name if it is in the cache, made by the present recipe. This
    /// is cheap: of a file that has not been touched, only size and time are looked at. See
    /// [`Cache::verify_root_disk`].
    ///
    /// # Errors
    /// [`Error::UnknownRootDisk`].
    pub fn root_disk(&self, name: &str) -> Result<Option<RootDisk>, Error> {
        let spec = find(name)?;
        let manifest = Manifest::present(self.store(), spec);
        Ok(manifest.map(|manifest| RootDisk::new(spec, &manifest, self.store())))
    }

    /// Returns the root disk of that name, made if it is not in the cache: packages are fetched,
    /// and a guest that `installer` runs installs them. Of two programs at once, one waits for the
    /// other.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn obtain_root_disk(
        &self,
        name: &str,
        installer: &mut dyn Installer,
        progress: &mut dyn Progress,
    ) -> Result<RootDisk, Error> {
        // Before anything is locked or written: a cache may be read-only.
        if let Some(disk) = self.root_disk(name)? {
            return Ok(disk);
        }
        let spec = find(name)?;
        self.prepare_root_disk(name, progress)?;
        let image = self.obtain(spec.image, progress)?;
        let lock = self.store().lock_path(&spec.file_name());
        let _lock = Lock::acquire(&lock, &format!("the root disk {name}"), progress)?;
        // The process that held the lock may have been after the same disk.
        if let Some(disk) = self.root_disk(name)? {
            return Ok(disk);
        }
        let mut source = Apt::new(self.store().root(), Architecture::Armhf);
        make_from(
            self,
            (name, make::SIZE),
            &image,
            &mut source,
            installer,
            progress,
        )
    }

    /// Sees to it, before anything is fetched, that this host has the packages that making this
    /// root disk takes; none if it is in the cache.
    ///
    /// # Errors
    /// [`Error::UnknownRootDisk`], [`Error::HostPackages`] with the exact command.
    pub fn prepare_root_disk(&self, name: &str, progress: &mut dyn Progress) -> Result<(), Error> {
        if self.root_disk(name)?.is_some() {
            return Ok(());
        }
        let mut packages = host::packages("fetch");
        packages.extend(host::packages("root-disk"));
        self.host_packages(&packages, progress)
    }

    /// Reads every byte of a root disk in the cache and compares the hash. A damaged one is
    /// removed, so that [`Cache::obtain_root_disk`] makes it again. False if it is not in the
    /// cache.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn verify_root_disk(&self, name: &str, progress: &mut dyn Progress) -> Result<bool, Error> {
        let spec = find(name)?;
        progress.start(&format!("verifying {name}"), None);
        let result = Manifest::verify(self.store(), spec);
        progress.finish();
        result
    }

    /// Returns an initial file system that is the image's, with an `/init` that mounts a root disk
    /// ([`ROOT_WORD`]). It runs the commands of the kernel command line in that, or else has its
    /// own `/sbin/init` take over.
    ///
    /// # Errors
    /// The cache cannot be read or written.
    pub fn root_initramfs(&self, image: &Image) -> Result<PathBuf, Error> {
        let bytes = image.initramfs_with(&[init::file(image.spec)])?;
        self.stored(&bytes)
    }

    /// Returns a file of the cache with these bytes.
    fn stored(&self, bytes: &[u8]) -> Result<PathBuf, Error> {
        let blobs = self.store().blobs();
        let sha256 = hash_bytes(bytes);
        if let Some(blob) = blobs.checked(&sha256) {
            return Ok(blobs.path(&blob.sha256));
        }
        let root = self.store().root();
        // Another run must not put its own file in the place of one that is in use.
        let lock = self.store().lock_path("root-initramfs");
        let _lock = Lock::acquire(&lock, "an initial file system", &mut Silent)?;
        if let Some(blob) = blobs.checked(&sha256) {
            return Ok(blobs.path(&blob.sha256));
        }
        let scratch = tempfile::tempdir_in(root).at("created", root)?;
        let blob = blobs.put(bytes, scratch.path())?;
        Ok(blobs.path(&blob.sha256))
    }
}

/// Makes a root disk, of that name and size, of packages from any source.
pub(crate) fn make_from(
    cache: &Cache,
    (name, size): (&str, u64),
    image: &Image,
    source: &mut dyn Source,
    installer: &mut dyn Installer,
    progress: &mut dyn Progress,
) -> Result<RootDisk, Error> {
    let mut maker = Maker {
        store: cache.store(),
        spec: find(name)?,
        size,
        source,
        installer,
        progress,
    };
    let manifest = maker.make(image)?;
    Ok(RootDisk::new(maker.spec, &manifest, maker.store))
}
