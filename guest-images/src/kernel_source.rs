//! The source tree that kernels are compiled in.
//!
//! All images that are compiled from one source package share a tree, one at a time: kbuild
//! compiles anew whatever a different configuration, or an edit, has an influence on, and nothing
//! else. So the second image takes about a minute, and comes out as it would in a fresh tree. The
//! tree goes when every image of that source is in the cache.

use crate::Error;
use crate::blob::write_atomically;
use crate::catalog;
use crate::error::IoContext;
use crate::image_spec::{Build, ImageSpec, Origin};
use crate::lock::Lock;
use crate::maker::{Maker, remove_tree};
use crate::process;
use crate::recipes;
use crate::source::{self, Package};
use crate::source_edit::SourceEdit;
use std::fs;
use std::path::{Path, PathBuf};

/// A source tree, which nobody else uses meanwhile.
pub(crate) struct SourceTree {
    /// What belongs to the tree but is not the source: the tree itself, notes about it, originals
    /// of edited files.
    home: PathBuf,
    /// Whether everything will have to be compiled.
    fresh: bool,
    _lock: Lock,
}

/// Returns the directory for trees of a source package.
pub(crate) fn home(maker: &Maker<'_>, source: &str) -> PathBuf {
    maker.store.root().join("work").join(source)
}

/// Returns the lock on the trees of a source package.
fn lock(maker: &mut Maker<'_>, source: &str) -> Result<Lock, Error> {
    let path = maker.store.lock_path(&format!("work-{source}"));
    let what = format!("compiling a kernel from {source}");
    Lock::acquire(&path, &what, maker.progress)
}

/// Returns what a tree must have been made for, to be gone on with: the same package and manner of
/// building, and no crash of the machine since, which may have left objects half written.
fn stamp(package: &Package) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let manner = recipes::build_manner();
    format!("{manner}\n{}\n{boot}", package.sha256)
}

impl SourceTree {
    /// Prepares the unpacked source, from an earlier run or fresh, with the edits of this image and
    /// no others.
    ///
    /// # Errors
    /// The source cannot be unpacked, or an edit does not fit it.
    pub fn prepare(
        maker: &mut Maker<'_>,
        archive: &Path,
        package: &Package,
        edits: &[SourceEdit],
    ) -> Result<Self, Error> {
        let lock = lock(maker, &package.name)?;
        let home = home(maker, &package.name);
        let mut tree = Self {
            home,
            fresh: true,
            _lock: lock,
        };
        let stamp = stamp(package);
        let is_usable = fs::read_to_string(tree.home.join("stamp")).is_ok_and(|old| old == stamp);
        if is_usable && tree.top().is_dir() {
            tree.take_over(maker)?;
        } else {
            tree.unpack(maker, archive, package, &stamp)?;
        }
        // In either case: a tree that is gone on with may have another image's edits.
        tree.edit(edits)?;
        Ok(tree)
    }

    /// Returns the top of the source.
    pub fn top(&self) -> PathBuf {
        self.home.join("linux")
    }

    /// Returns a file that every `make` in the tree keeps locked.
    pub fn busy(&self) -> PathBuf {
        self.home.join("busy")
    }

    /// Returns whether everything has to be compiled, or was to be when the build that is gone on
    /// with began.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Goes on in a tree that is there, with this image's own objects or another's.
    fn take_over(&mut self, maker: &mut Maker<'_>) -> Result<(), Error> {
        let owner = fs::read_to_string(self.home.join("owner")).unwrap_or_default();
        let mut words = owner.split_whitespace();
        let (name, how) = (words.next().unwrap_or_default(), words.next());
        self.fresh = how == Some("fresh");
        if name == maker.spec.name {
            maker
                .progress
                .note("Going on with the kernel build that an earlier run has begun.");
            return Ok(());
        }
        self.fresh = false;
        maker.progress.note(&format!(
            "Compiling what differs from the kernel of the image {name}."
        ));
        self.own(maker)
    }

    /// Notes whose objects will be in the tree. The log counts what is done, so it starts anew at
    /// the same time.
    fn own(&self, maker: &Maker<'_>) -> Result<(), Error> {
        // First: a new owner would count the steps in the log of an earlier build as done.
        write_atomically(&maker.store.build_log(maker.spec), b"")?;
        let how = if self.fresh { "fresh" } else { "shared" };
        let owner = format!("{} {how}\n", maker.spec.name);
        write_atomically(&self.home.join("owner"), owner.as_bytes())
    }

    /// Unpacks the source in place of whatever is there.
    fn unpack(
        &mut self,
        maker: &mut Maker<'_>,
        archive: &Path,
        package: &Package,
        stamp: &str,
    ) -> Result<(), Error> {
        remove_tree(&self.home)?;
        let scratch = self.home.join("source");
        fs::create_dir_all(&scratch).at("created", &scratch)?;
        self.own(maker)?;
        maker.progress.start(
            &format!("unpacking {} {}", package.name, package.version),
            None,
        );
        let result = unpack(archive, &scratch, package);
        maker.progress.finish();
        let unpacked = result?;
        fs::rename(&unpacked, self.top()).at("renamed", &unpacked)?;
        remove_tree(&scratch)?;
        // Last: a source without a stamp is unpacked anew.
        write_atomically(&self.home.join("stamp"), stamp.as_bytes())
    }

    /// Makes the tree the original with these edits. Only files that change are written, since
    /// their times matter.
    fn edit(&self, edits: &[SourceEdit]) -> Result<(), Error> {
        let mut paths: Vec<_> = edits.iter().map(|edit| edit.path).collect();
        // Files that other images' edits have touched.
        let built = catalog::all().iter().filter_map(|spec| match &spec.origin {
            Origin::Built(build) => Some(build.edits),
            Origin::Stock { .. } => None,
        });
        paths.extend(built.flatten().map(|edit| edit.path));
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let here = edits.iter().filter(|edit| edit.path == path);
            self.edit_file(path, here)?;
        }
        Ok(())
    }

    /// Makes a file its original with these edits. The original is put aside before the first edit
    /// ever.
    fn edit_file<'a>(
        &self,
        path: &str,
        edits: impl Iterator<Item = &'a SourceEdit>,
    ) -> Result<(), Error> {
        let (file, original) = (self.top().join(path), self.home.join("original").join(path));
        let present = fs::read_to_string(&file).at("read", &file)?;
        // Not the present text, which may have another image's edits.
        let mut text = if original.is_file() {
            fs::read_to_string(&original).at("read", &original)?
        } else {
            write_atomically(&original, present.as_bytes())?;
            present.clone()
        };
        for edit in edits {
            text = edit.apply(&text)?;
        }
        if text == present {
            return Ok(());
        }
        write_atomically(&file, text.as_bytes())
    }
}

/// Unpacks the package and the archive in it; the result is the top of the source.
fn unpack(archive: &Path, scratch: &Path, package: &Package) -> Result<PathBuf, Error> {
    source::unpack(archive, scratch)?;
    let tarball = scratch
        .join("usr/src")
        .join(format!("{}.tar.xz", package.name));
    let mut tar = process::command("tar");
    let (outcome, _) = process::output(
        tar.arg("--extract")
            .arg("--file")
            .arg(&tarball)
            .arg("--directory")
            .arg(scratch),
    )?;
    // Before the status: the last line of tar only says that there was an error before it.
    if outcome.disk_was_full() {
        return Err(Error::DiskFull {
            path: scratch.to_path_buf(),
            needed: None,
        });
    }
    let top = scratch.join(&package.name);
    if !outcome.status.success() || !top.join("Makefile").is_file() {
        return Err(Error::Package {
            package: package.name.clone(),
            detail: outcome.last_error(),
        });
    }
    Ok(top)
}

/// Removes the tree of this image's source if no other image of that source has still to be
/// compiled.
pub(crate) fn clean_up(maker: &mut Maker<'_>) -> Result<(), Error> {
    let Origin::Built(Build { source, .. }) = maker.spec.origin else {
        return Ok(());
    };
    // Another run may be compiling in the tree.
    let _lock = lock(maker, source)?;
    let home = home(maker, source);
    let missing: Vec<_> = catalog::all()
        .iter()
        .filter(|other| other.name != maker.spec.name && is_from(other, source))
        .filter(|other| !maker.store.has_kernel(other))
        .map(|other| other.name)
        .collect();
    if missing.is_empty() {
        return remove_tree(&home);
    }
    if home.join("linux").is_dir() {
        maker.progress.note(&format!(
            "The objects stay in {} so that {} takes a minute when it is wanted; that directory may be deleted.",
            home.display(),
            missing.join(", ")
        ));
    }
    Ok(())
}

/// Returns whether an image is compiled from that source package.
fn is_from(spec: &ImageSpec, package: &str) -> bool {
    matches!(spec.origin, Origin::Built(build) if build.source == package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    const EDIT: SourceEdit = SourceEdit {
        name: "widened",
        path: "drivers/Kconfig",
        section: "config A",
        old: "\tdepends on X\n",
        new: "\tdepends on Y\n",
    };

    fn tree(dir: &Path) -> SourceTree {
        let drivers = dir.join("linux/drivers");
        fs::create_dir_all(&drivers).unwrap();
        fs::write(drivers.join("Kconfig"), "config A\n\tdepends on X\n").unwrap();
        SourceTree {
            home: dir.to_path_buf(),
            fresh: true,
            _lock: Lock::acquire(&dir.join("lock"), "", &mut Silent).unwrap(),
        }
    }

    #[test]
    fn edits_are_undone_for_an_image_without_them() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let file = tree.top().join(EDIT.path);
        let text = || fs::read_to_string(&file).unwrap();
        for _ in 0..2 {
            tree.edit_file(EDIT.path, [EDIT].iter()).unwrap();
            assert_eq!(text(), "config A\n\tdepends on Y\n");
            tree.edit_file(EDIT.path, [].iter()).unwrap();
            assert_eq!(text(), "config A\n\tdepends on X\n");
        }
    }

    #[test]
    fn a_file_that_stays_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let file = tree.top().join(EDIT.path);
        tree.edit_file(EDIT.path, [EDIT].iter()).unwrap();
        let time = || fs::metadata(&file).unwrap().modified().unwrap();
        let before = time();
        tree.edit_file(EDIT.path, [EDIT].iter()).unwrap();
        assert_eq!(time(), before);
    }

    #[test]
    fn a_source_without_the_text_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let file = tree.top().join(EDIT.path);
        fs::write(&file, "config A\n\tdepends on Z\n").unwrap();
        let error = tree.edit_file(EDIT.path, [EDIT].iter()).unwrap_err();
        assert!(matches!(error, Error::SourceEdit { .. }), "{error}");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            "config A\n\tdepends on Z\n"
        );
    }
}
