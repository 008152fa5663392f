//! What a board with a device tree of its own takes from a stock kernel's packages: that tree, and
//! an initial file system that loads the board's drivers, too.

use crate::apt::Apt;
use crate::blob::{Blob, hash_texts, write_json};
use crate::error::IoContext;
use crate::image::Image;
use crate::image_spec::{ImageSpec, Origin};
use crate::initramfs::{self, GuestFile};
use crate::maker::{Maker, remove_tree};
use crate::manifest::Manifest;
use crate::modules::{self, Index};
use crate::progress::Progress;
use crate::source::Source;
use crate::store::Store;
use crate::{Cache, Error, catalog, recipes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep directories of a package lie in each other at most: those of vendors in one.
const MAX_DEPTH: usize = 4;

/// The files of a board, for an image's kernel. Like those of an image they never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardFiles {
    /// The device tree, as it is in the kernel's package or source.
    pub dtb: PathBuf,
    /// The image's initial file system with the board's drivers.
    pub initramfs: PathBuf,
}

impl ImageSpec {
    /// Finds out whether its kernel may come with the device tree `dtb` of a board.
    ///
    /// # Errors
    /// [`Error::NoBoard`] for one that cannot, before anything is obtained.
    pub fn check_board(&self, dtb: &str) -> Result<(), Error> {
        let has = match self.origin {
            Origin::Built(build) => build.device_trees.contains(&dtb),
            // No stock kernel is configured for a board that a kernel is compiled for.
            Origin::Stock { .. } => compiled_with(dtb).next().is_none(),
        };
        has.then_some(()).ok_or_else(|| no_board(self.name, dtb))
    }
}

/// What the cache remembers of them.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    dtb: Blob,
    initramfs: Blob,
}

impl Record {
    fn files(&self, store: &Store) -> BoardFiles {
        BoardFiles {
            dtb: store.blobs().path(&self.dtb.sha256),
            initramfs: store.blobs().path(&self.initramfs.sha256),
        }
    }
}

/// Returns the modules that a board takes besides, by the name of its device tree's file.
fn modules(dtb: &str) -> Vec<&'static str> {
    match dtb {
        "ecx-2000.dtb" => recipes::module_names(recipes::MODULES_ECX_2000),
        _ => Vec::new(),
    }
}

impl Cache {
    /// Returns the device tree `dtb` that comes with an image's kernel, and an initial file
    /// system for that board; the image is obtained if it is not in the cache.
    ///
    /// # Errors
    /// [`Error::NoBoard`] if the image has no such file, for one that is compiled here before
    /// anything is obtained; and any other of [`Error`].
    pub fn obtain_board(
        &self,
        name: &str,
        dtb: &str,
        progress: &mut dyn Progress,
    ) -> Result<BoardFiles, Error> {
        let spec = catalog::find(name)?;
        spec.check_board(dtb)?;
        let image = self.obtain(name, progress)?;
        // Of a kernel that is compiled here it is a part, and no drivers are missing.
        if let Some(tree) = image.device_trees.get(dtb) {
            return Ok(BoardFiles {
                dtb: tree.clone(),
                initramfs: image.initramfs,
            });
        }
        let mut apt = Apt::new(self.root(), spec.architecture);
        self.board_from(&image, dtb, &mut apt, progress)
    }

    /// Does what [`Cache::obtain_board`] does, with packages from any source.
    pub(crate) fn board_from(
        &self,
        image: &Image,
        dtb: &str,
        source: &mut dyn Source,
        progress: &mut dyn Progress,
    ) -> Result<BoardFiles, Error> {
        let path = record(self.store(), image, dtb);
        if let Some(files) = remembered(self.store(), &path) {
            return Ok(files);
        }
        let _lock = self.lock_image(image.spec, progress)?;
        // The process that held the lock may have been after the same files.
        if let Some(files) = remembered(self.store(), &path) {
            return Ok(files);
        }
        let missing = std::io::ErrorKind::NotFound;
        let manifest = self.store().present(image.spec);
        let manifest = manifest.ok_or_else(|| Error::io("read", &path, missing.into()))?;
        let mut maker = Maker::new(self.store(), image.spec, source, progress);
        let record = maker.board(&manifest, dtb)?;
        write_json(&path, &record)?;
        Ok(record.files(self.store()))
    }
}

/// Returns the file that says which stored files these are.
fn record(store: &Store, image: &Image, dtb: &str) -> PathBuf {
    let modules = modules(dtb).join(" ");
    let parts = [
        image.kernel_sha256.as_str(),
        image.initramfs_sha256.as_str(),
        dtb,
        &modules,
    ];
    let name = format!("{}.json", hash_texts(parts));
    store.root().join("boards").join(name)
}

fn remembered(store: &Store, path: &Path) -> Option<BoardFiles> {
    let record: Record = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let mut blobs = [&record.dtb, &record.initramfs].into_iter();
    let intact = blobs.all(|blob| store.blobs().is_intact(blob));
    intact.then(|| record.files(store))
}

/// Returns the names of the images whose kernels are compiled here with that device tree.
fn compiled_with(dtb: &str) -> impl Iterator<Item = &'static str> {
    let built = catalog::all().iter().filter(move |spec| match spec.origin {
        Origin::Built(build) => build.device_trees.contains(&dtb),
        Origin::Stock { .. } => false,
    });
    built.map(|spec| spec.name)
}

fn no_board(image: &'static str, dtb: &str) -> Error {
    let known = match compiled_with(dtb).next() {
        Some(name) => format!("the image {name}"),
        None => "a stock image such as debian-armmp".to_owned(),
    };
    Error::NoBoard {
        image,
        dtb: dtb.to_owned(),
        known,
    }
}

impl Maker<'_> {
    fn board(&mut self, manifest: &Manifest, dtb: &str) -> Result<Record, Error> {
        let tree = self.unpack(&manifest.kernel.packages)?;
        let found = find(&tree, dtb)?.ok_or_else(|| no_board(self.spec.name, dtb))?;
        // Before the board's drivers, whose index moves the unpacked modules nowhere.
        let archive = self.board_initramfs(manifest, &tree, dtb)?;
        let scratch = self.scratch("board")?;
        let record = Record {
            initramfs: self.store.blobs().put(&archive, &scratch)?,
            dtb: self.store.blobs().adopt(&found)?,
        };
        remove_tree(&self.work())?;
        Ok(record)
    }

    /// Returns the image's initial file system with the modules that the board takes besides.
    fn board_initramfs(
        &self,
        manifest: &Manifest,
        tree: &Path,
        dtb: &str,
    ) -> Result<Vec<u8>, Error> {
        let (kernel, base) = (&manifest.kernel, &manifest.initramfs);
        let path = |sha256: &str| self.store.blobs().path(sha256);
        let own = kernel.modules.iter();
        let mut index = Index::of(own.map(|m| (m.name.clone(), path(&m.file.sha256))));
        index.extend(Index::scan(tree)?);
        let there = base.modules.iter().chain(&base.late_modules);
        let mut wanted: Vec<&str> = there.map(String::as_str).collect();
        let present: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        wanted.extend(modules(dtb));
        let all = index.select(&wanted)?;
        let dependencies = modules::dependency_list(&all);
        let mut list = String::new();
        let mut load = |path: &str| {
            list.push_str(path);
            list.push('\n');
        };
        // As before, and then the new ones.
        for name in &base.modules {
            let module = all.iter().find(|module| module.name == *name);
            module.iter().for_each(|module| load(&module.path()));
        }
        let mut files = Vec::new();
        for module in all {
            if present.contains(&module.name) {
                continue;
            }
            load(&module.path());
            files.push(GuestFile {
                path: module.path(),
                mode: 0o644,
                bytes: module.bytes,
            });
        }
        let text = |path: String, text: String| GuestFile {
            path,
            mode: 0o644,
            bytes: text.into_bytes(),
        };
        let version = &kernel.version;
        files.push(text(
            format!("lib/modules/{version}/modules.dep"),
            dependencies,
        ));
        files.push(text("viommu/modules".to_owned(), list));
        let base = path(&base.archive.sha256);
        initramfs::append(fs::read(&base).at("read", &base)?, &files)
    }
}

/// Finds a device tree in an unpacked kernel package: below `usr/lib/linux-image-VERSION`, where
/// newer ones may have it in a directory of its vendor.
fn find(tree: &Path, dtb: &str) -> Result<Option<PathBuf>, Error> {
    let lib = tree.join("usr/lib");
    let mut names = entries(&lib)?;
    names.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("linux-image-"))
    });
    for directory in names {
        if let Some(found) = find_below(&directory, dtb, MAX_DEPTH)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_below(directory: &Path, dtb: &str, depth: usize) -> Result<Option<PathBuf>, Error> {
    let (mut files, mut below) = (Vec::new(), Vec::new());
    for path in entries(directory)? {
        // A package could have links that lead anywhere.
        match path.symlink_metadata() {
            Ok(kind) if kind.is_dir() => below.push(path),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name == dtb);
    if let Some(found) = files.into_iter().find(is_it) {
        return Ok(Some(found));
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Ok(None);
    };
    for directory in below {
        if let Some(found) = find_below(&directory, dtb, depth)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns what is in a directory, in the order of names; nothing if it is not there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).at("read", directory)? {
        paths.push(entry.at("read", directory)?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_found_in_old_and_new_packages() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path
        };
        assert_eq!(find(dir.path(), "a.dtb").unwrap(), None);
        let old = file("usr/lib/linux-image-6.1.0-50-armmp/a.dtb");
        let new = file("usr/lib/linux-image-7.2-armmp/vendor/b.dtb");
        file("usr/lib/other/c.dtb");
        assert_eq!(find(dir.path(), "a.dtb").unwrap(), Some(old));
        assert_eq!(find(dir.path(), "b.dtb").unwrap(), Some(new));
        assert_eq!(find(dir.path(), "c.dtb").unwrap(), None);
    }

    #[test]
    fn an_image_without_a_package_is_told_before_anything_is_obtained() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(&dir.path().join("cache")).unwrap();
        let error = cache
            .obtain_board("ipmmu", "ecx-2000.dtb", &mut crate::Silent)
            .unwrap_err();
        assert!(error.to_string().contains("debian-armmp"), "{error}");
        assert!(!cache.root().exists());
        let ipmmu = catalog::find("ipmmu").unwrap();
        ipmmu.check_board("r8a7791-koelsch.dtb").unwrap();
        let stock = catalog::find("debian-armmp").unwrap();
        stock.check_board("ecx-2000.dtb").unwrap();
        let error = stock.check_board("r8a7791-koelsch.dtb").unwrap_err();
        assert!(
            error.to_string().contains("name the image ipmmu,"),
            "{error}"
        );
    }
}
