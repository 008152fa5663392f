//! The cache of images.
//!
//! ```text
//! CACHEDIR.TAG        tells backup programs that all of this can be made again
//! blobs/sha256/ab/..  files under the hash of their content: packages, kernels, initramfs
//! images/NAME@RECIPE.json
//!                     what an image by that version of the recipes consists of
//! apt/SUITE/          apt's private directories (apt-ARCHITECTURE/ for what is not armhf)
//! cross/              a Rust compiler for 64-bit ARM hosts
//! trees/RECIPE/       packages that are unpacked for guests and for compiling modules
//! boards/HASH.json    which files a board takes from a stock kernel's packages
//! debug/KERNEL.json   which file has the debug information of a stock kernel
//! downloads/HASH/     downloads under way
//! work/NAME/          images under way
//! work/SOURCE/        a kernel source and objects, until all images made from it are here
//! locks/, logs/
//! ```

use crate::apt::Apt;
use crate::blob::hash_file;
use crate::catalog;
use crate::error::IoContext;
use crate::image::Image;
use crate::image_spec::ImageSpec;
use crate::initramfs::GuestFile;
use crate::kernel_source;
use crate::lock::Lock;
use crate::maker::Maker;
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::source::Source;
use crate::store::Store;
use crate::{Error, debug_info, host};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The cache of images, shared by all runs of this user.
#[derive(Clone, Debug)]
pub struct Cache {
    store: Store,
}

impl Cache {
    /// Returns the cache where the environment says: `VIOMMU_CACHE`, else `viommu` in
    /// `XDG_CACHE_HOME`, else `~/.cache/viommu`. Nothing is created before something is obtained.
    ///
    /// # Errors
    /// [`Error::NoCacheDirectory`].
    pub fn open() -> Result<Self, Error> {
        let root = root_from(|name| std::env::var_os(name)).ok_or(Error::NoCacheDirectory)?;
        Self::at(&root)
    }

    /// Returns the cache below a directory of the caller's choice.
    ///
    /// # Errors
    /// [`Error::Io`] if the path is relative and the current directory is gone.
    pub fn at(root: &Path) -> Result<Self, Error> {
        let root = std::path::absolute(root).at("found", root)?;
        Ok(Self {
            store: Store::new(root),
        })
    }

    /// Returns the directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Returns the cache with these files.
    pub(crate) fn of(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Returns its files.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the log of an image's last kernel build, if it was ever built here.
    #[must_use]
    pub fn build_log(&self, spec: &ImageSpec) -> PathBuf {
        self.store.build_log(spec)
    }

    /// Returns the image of that name or alias if it is in the cache, complete and made by the
    /// present recipe. This is cheap: of files that have not been touched, only size and time are
    /// looked at. See [`Cache::verify`].
    ///
    /// # Errors
    /// [`Error::UnknownImage`].
    pub fn image(&self, name: &str) -> Result<Option<Image>, Error> {
        let spec = catalog::find(name)?;
        let manifest = self.store.present(spec);
        Ok(manifest.map(|manifest| Image::new(spec, &manifest, self.store.blobs())))
    }

    /// Returns the stored file whose content has this SHA-256 (in lower-case hexadecimal digits),
    /// if it is in the cache and really has it.
    #[must_use]
    pub fn file(&self, sha256: &str) -> Option<PathBuf> {
        self.store.blobs().checked(sha256)?;
        Some(self.store.blobs().path(sha256))
    }

    /// Returns what [`Cache::image`] does, with every byte that a guest boots from read and
    /// compared: size and time of a file do not change when its disk rots. A damaged file is told
    /// and removed.
    fn sound(&self, name: &str, progress: &mut dyn Progress) -> Result<Option<Image>, Error> {
        let spec = catalog::find(name)?;
        let Some(manifest) = self.store.present(spec) else {
            return Ok(None);
        };
        let mut sound = true;
        for blob in manifest.booted() {
            let path = self.store.blobs().path(&blob.sha256);
            if hash_file(&path)? != blob.sha256 {
                progress.note(&format!(
                    "The file {} of the image {name} is damaged; it is obtained again.",
                    path.display()
                ));
                fs::remove_file(&path).at("removed", &path)?;
                // The loop goes on, so that all that is damaged is obtained again at once.
                sound = false;
            }
        }
        Ok(sound.then(|| Image::new(spec, &manifest, self.store.blobs())))
    }

    /// Returns the image of that name or alias, fetched and built if it is not in the cache, or if
    /// a file that a guest boots from has not the hash that it had. What an earlier run, killed or
    /// not, has finished is not done again; of two runs at once, one waits for the other.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn obtain(&self, name: &str, progress: &mut dyn Progress) -> Result<Image, Error> {
        // Before anything is locked or written: an image that is here can be used from a cache that
        // is read-only.
        if let Some(image) = self.sound(name, progress)? {
            return Ok(image);
        }
        self.store.prepare()?;
        self.prepare_host(&[name], progress)?;
        let architecture = catalog::find(name)?.architecture;
        self.obtain_from(
            name,
            &mut Apt::new(self.store.root(), architecture),
            progress,
        )
    }

    /// Returns the image of that name or alias, obtained anew from the packages that the mirror has
    /// now, whatever the cache has. This is for who needs more packages of the same version, such
    /// as the kernel's headers: a mirror has those of a release's current kernel only. Files of the
    /// earlier image stay in the cache.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn renew(&self, name: &str, progress: &mut dyn Progress) -> Result<Image, Error> {
        let architecture = catalog::find(name)?.architecture;
        self.host_packages(&host::packages("fetch"), progress)?;
        self.renew_from(
            name,
            &mut Apt::new(self.store.root(), architecture),
            progress,
        )
    }

    /// Returns the `vmlinux` with the debug information of an image's kernel, if both are in the
    /// cache. Of an image that is compiled here it is part of the image; that of a stock kernel
    /// comes with [`Cache::obtain_debug_info`].
    ///
    /// # Errors
    /// [`Error::UnknownImage`].
    pub fn debug_info(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        let manifest = self.store.present(catalog::find(name)?);
        Ok(manifest.and_then(|manifest| debug_info::stored(&self.store, &manifest.kernel)))
    }

    /// Returns the `vmlinux` with the debug information of an image's kernel; image and debug
    /// information are obtained if they are not in the cache. That of a stock kernel is half a
    /// gigabyte or more to be fetched.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn obtain_debug_info(
        &self,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        self.obtain(name, progress)?;
        if let Some(path) = self.debug_info(name)? {
            return Ok(path);
        }
        self.host_packages(&host::packages("fetch"), progress)?;
        let architecture = catalog::find(name)?.architecture;
        let mut source = Apt::new(self.store.root(), architecture);
        self.debug_info_from(name, &mut source, progress)
    }

    /// Does what [`Cache::obtain_debug_info`] does for an image in the cache, with packages from
    /// any source.
    pub(crate) fn debug_info_from(
        &self,
        name: &str,
        source: &mut dyn Source,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let spec = catalog::find(name)?;
        let _lock = self.lock_image(spec, progress)?;
        let path = self.store.manifest_path(spec);
        let manifest = self.store.present(spec).ok_or_else(|| {
            let missing = std::io::ErrorKind::NotFound;
            Error::io("read", &path, missing.into())
        })?;
        Maker::new(&self.store, spec, source, progress).debug_info(&manifest.kernel)
    }

    /// Returns the files of an image in the cache, as a cache of that one image in another machine,
    /// at `root` there. What runs need not have, such as the kernel's debug information, is left
    /// out.
    ///
    /// # Errors
    /// The image is not known, not in the cache, or cannot be read.
    pub fn portable(&self, name: &str, root: &str) -> Result<Vec<GuestFile>, Error> {
        let spec = catalog::find(name)?;
        let path = self.store.manifest_path(spec);
        let mut manifest = Manifest::load(&path).ok_or_else(|| {
            let missing = std::io::ErrorKind::NotFound;
            Error::io("read", &path, missing.into())
        })?;
        let kernel = &mut manifest.kernel;
        (kernel.vmlinux, kernel.system_map, kernel.config) = (None, None, None);
        let file = |path: &Path, bytes| GuestFile {
            path: Path::new(root)
                // All of these paths are below the root.
                .join(path.strip_prefix(self.store.root()).unwrap_or(path))
                .display()
                .to_string(),
            mode: 0o644,
            bytes,
        };
        let text = serde_json::to_vec(&manifest)
            .map_err(|error| Error::io("written", &path, std::io::Error::other(error)))?;
        let mut files = vec![file(&path, text)];
        for blob in manifest.blobs() {
            let path = self.store.blobs().path(&blob.sha256);
            files.push(file(&path, fs::read(&path).at("read", &path)?));
        }
        Ok(files)
    }

    /// Sees to it, before anything is fetched or compiled, that this host has the packages that
    /// obtaining these images takes; for images that are in the cache it takes none. See
    /// [`host::ensure`].
    ///
    /// # Errors
    /// [`Error::UnknownImage`], [`Error::HostPackages`] with the exact command.
    pub fn prepare_host(&self, names: &[&str], progress: &mut dyn Progress) -> Result<(), Error> {
        let mut packages = Vec::new();
        for name in names {
            let spec = catalog::find(name)?;
            if self.image(name)?.is_some() {
                continue;
            }
            packages.extend(host::packages("fetch"));
            // With the kernel here only the initial file system is made, which takes no compiler.
            if !self.store.has_kernel(spec) {
                packages.extend(spec.compiling().map(host::packages).unwrap_or_default());
            }
        }
        packages.sort_unstable();
        packages.dedup();
        if packages.is_empty() {
            return Ok(());
        }
        self.host_packages(&packages, progress)
    }

    /// Sees to it that Debian packages are installed on this host, installing them if the user
    /// allows it and this process can; see [`host::ensure`].
    ///
    /// # Errors
    /// [`Error::HostPackages`] with the exact command when it may not.
    pub fn host_packages(
        &self,
        packages: &[&str],
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        self.store.prepare()?;
        let _lock = Lock::acquire(
            &self.store.lock_path("host"),
            "installing host packages",
            progress,
        )?;
        host::ensure(packages, progress)
    }

    /// Does what [`Cache::obtain`] does, with packages from any source.
    pub(crate) fn obtain_from(
        &self,
        name: &str,
        source: &mut dyn Source,
        progress: &mut dyn Progress,
    ) -> Result<Image, Error> {
        let spec = catalog::find(name)?;
        let _lock = self.lock_image(spec, progress)?;
        // The process that held the lock may have been after the same image.
        if let Some(image) = self.sound(name, progress)? {
            return Ok(image);
        }
        self.make(spec, self.store.previous(spec), source, progress)
    }

    /// Does what [`Cache::renew`] does, with packages from any source.
    pub(crate) fn renew_from(
        &self,
        name: &str,
        source: &mut dyn Source,
        progress: &mut dyn Progress,
    ) -> Result<Image, Error> {
        let spec = catalog::find(name)?;
        let _lock = self.lock_image(spec, progress)?;
        self.make(spec, None, source, progress)
    }

    pub(crate) fn lock_image(
        &self,
        spec: &ImageSpec,
        progress: &mut dyn Progress,
    ) -> Result<Lock, Error> {
        self.store.prepare()?;
        Lock::acquire(
            &self.store.lock_path(spec.name),
            &format!("the image {}", spec.name),
            progress,
        )
    }

    /// Makes an image, whose lock is held, of what there is of a previous one.
    fn make(
        &self,
        spec: &'static ImageSpec,
        previous: Option<Manifest>,
        source: &mut dyn Source,
        progress: &mut dyn Progress,
    ) -> Result<Image, Error> {
        let mut maker = Maker::new(&self.store, spec, source, progress);
        let manifest = maker.make(previous)?;
        manifest.store(&self.store.manifest_path(spec))?;
        // Only now, as removing a source takes a while, and a run may be killed at any moment.
        kernel_source::clean_up(&mut maker)?;
        Ok(Image::new(spec, &manifest, self.store.blobs()))
    }

    /// Reads every byte of an image in the cache and compares the hashes. A damaged file is
    /// removed, so that [`Cache::obtain`] makes it again. True if the image is there, false if it
    /// is not in the cache.
    ///
    /// # Errors
    /// [`Error::Damaged`] names the first damaged file.
    pub fn verify(&self, name: &str, progress: &mut dyn Progress) -> Result<bool, Error> {
        let spec = catalog::find(name)?;
        // Not `Store::present`, which takes an image with a damaged file for one that is not there.
        let Some(manifest) = Manifest::load(&self.store.manifest_path(spec)) else {
            return Ok(false);
        };
        progress.start(&format!("verifying {}", spec.name), None);
        // That of a stock kernel is no part of the image: it comes when it is asked for.
        let debug_info = debug_info::remembered(&self.store, &manifest.kernel);
        let mut files = manifest.blobs().chain(debug_info.as_ref());
        let result = files.try_for_each(|blob| self.store.blobs().verify(blob, spec.name));
        progress.finish();
        result.map(|()| true)
    }
}

/// Returns where the environment says that the cache is.
fn root_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let variable = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // The XDG specification has relative paths ignored.
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    variable("VIOMMU_CACHE")
        .or_else(|| absolute("XDG_CACHE_HOME").map(|path| path.join("viommu")))
        .or_else(|| absolute("HOME").map(|path| path.join(".cache/viommu")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(variables: &[(&str, &str)]) -> Option<PathBuf> {
        root_from(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn environment_says_where() {
        let home = ("HOME", "/home/a");
        assert_eq!(root(&[home]).unwrap(), Path::new("/home/a/.cache/viommu"));
        assert_eq!(
            root(&[home, ("XDG_CACHE_HOME", "/x")]).unwrap(),
            Path::new("/x/viommu")
        );
        assert_eq!(
            root(&[home, ("XDG_CACHE_HOME", "x")]).unwrap(),
            Path::new("/home/a/.cache/viommu")
        );
        assert_eq!(
            root(&[home, ("XDG_CACHE_HOME", "/x"), ("VIOMMU_CACHE", "c")]).unwrap(),
            Path::new("c")
        );
        assert_eq!(
            root(&[home, ("VIOMMU_CACHE", "")]).unwrap(),
            Path::new("/home/a/.cache/viommu")
        );
        assert_eq!(root(&[]), None);
    }

    #[test]
    fn looking_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(&dir.path().join("cache")).unwrap();
        assert_eq!(cache.image("ipmmu").unwrap(), None);
        assert!(matches!(
            cache.image("nope"),
            Err(Error::UnknownImage { .. })
        ));
        assert!(!cache.root().exists());
    }

    #[test]
    fn a_file_in_the_way_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("file");
        fs::write(&root, "").unwrap();
        let error = Cache::at(&root)
            .unwrap()
            .obtain("ipmmu", &mut crate::progress::Silent)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("The image cache cannot be written at "),
            "{error}"
        );
    }
}
