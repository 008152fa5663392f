//! What the making of an image goes by: the store, the packages' source, and a directory for its
//! work.

use crate::Error;
use crate::blob::{hash_file, hash_texts};
use crate::error::IoContext;
use crate::image_spec::ImageSpec;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::source::{self, Package, Source};
use crate::store::Store;
use std::fs;
use std::path::{Path, PathBuf};

/// The making of one image; its lock is held meanwhile.
pub(crate) struct Maker<'a> {
    pub store: &'a Store,
    pub spec: &'static ImageSpec,
    pub(crate) source: &'a mut dyn Source,
    pub progress: &'a mut dyn Progress,
    /// The unpacked packages of a stock kernel, once they are needed.
    pub(crate) unpacked: Option<PathBuf>,
}

impl<'a> Maker<'a> {
    /// Creates a maker of the image `spec`.
    pub fn new(
        store: &'a Store,
        spec: &'static ImageSpec,
        source: &'a mut dyn Source,
        progress: &'a mut dyn Progress,
    ) -> Self {
        Self {
            store,
            spec,
            source,
            progress,
            unpacked: None,
        }
    }

    /// Returns a directory for this image's work, which survives a killed run.
    pub fn work(&self) -> PathBuf {
        self.store.root().join("work").join(self.spec.name)
    }

    /// Returns an empty directory inside the work directory.
    ///
    /// # Errors
    /// It cannot be made, or what an earlier run left there cannot be removed.
    pub fn scratch(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.work().join(name);
        remove_tree(&path)?;
        fs::create_dir_all(&path).at("created", &path)?;
        Ok(path)
    }

    /// Returns a package's file in the store, downloaded if it is not there.
    ///
    /// # Errors
    /// It cannot be downloaded, is not what the index says, or cannot be stored.
    pub fn file(&mut self, package: &Package) -> Result<PathBuf, Error> {
        fetch(self.store, self.source, package, self.progress)
    }
}

/// Returns a package's file in the store, downloaded from `source` if it is not there.
pub(crate) fn fetch(
    store: &Store,
    source: &mut dyn Source,
    package: &Package,
    progress: &mut dyn Progress,
) -> Result<PathBuf, Error> {
    let blobs = store.blobs();
    let path = blobs.path(&package.sha256);
    if blobs.checked(&package.sha256).is_some() {
        return Ok(path);
    }
    let lock = store.lock_path(&format!("download-{}", package.sha256));
    let _lock = Lock::acquire(&lock, &format!("downloading {}", package.name), progress)?;
    // The process that held the lock may have downloaded it.
    if blobs.checked(&package.sha256).is_some() {
        return Ok(path);
    }
    let directory = store.root().join("downloads").join(&package.sha256);
    fs::create_dir_all(&directory).at("created", &directory)?;
    let mut download = || {
        let file = source.download(package, &directory, progress)?;
        source::check(package, &file)?;
        Ok(file)
    };
    let file = match download() {
        // What came may be the fault of a broken earlier attempt, or of a bad moment; once more
        // from the start.
        Err(Error::HashMismatch { .. }) => {
            remove_tree(&directory)?;
            fs::create_dir_all(&directory).at("created", &directory)?;
            download()
        }
        other => other,
    };
    // The next run would go on from these bytes.
    if matches!(file, Err(Error::HashMismatch { .. })) {
        remove_tree(&directory)?;
    }
    blobs.adopt(&file?)?;
    remove_tree(&directory)?;
    Ok(path)
}

/// Sees to it that all of these packages, which are of one release, are in the store.
pub(crate) fn fetch_all(
    store: &Store,
    source: &mut dyn Source,
    packages: &[Package],
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let blobs = store.blobs();
    let lacking = || {
        let lacks = |package: &&Package| blobs.checked(&package.sha256).is_none();
        packages.iter().filter(lacks).collect::<Vec<_>>()
    };
    let missing = lacking();
    if missing.is_empty() {
        return Ok(());
    }
    let hash = hash_texts(missing.iter().map(|package| package.sha256.as_str()));
    let lock = store.lock_path(&format!("download-{hash}"));
    let _lock = Lock::acquire(&lock, "downloading packages", progress)?;
    let directory = store.root().join("downloads").join(hash);
    fs::create_dir_all(&directory).at("created", &directory)?;
    source.download_all(&missing, &directory, progress)?;
    for entry in fs::read_dir(&directory).at("read", &directory)? {
        let path = entry.at("read", &directory)?.path();
        let actual = hash_file(&path)?;
        if missing.iter().any(|package| package.sha256 == actual) {
            blobs.adopt(&path)?;
        }
    }
    remove_tree(&directory)?;
    match lacking().first() {
        None => Ok(()),
        Some(package) => Err(Error::HashMismatch {
            file: format!("{} {}", package.name, package.version),
            expected: package.sha256.clone(),
            actual: "that of no file that came".to_owned(),
        }),
    }
}

/// Removes a directory and all in it, if it is there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removed", path, error))
        }
        _ => Ok(()),
    }
}
