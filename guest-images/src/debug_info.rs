//! Debug information of stock kernels: the `vmlinux` in Debian's package of that kernel's debug
//! symbols.

use crate::blob::{Blob, write_json};
use crate::error::IoContext;
use crate::maker::{Maker, remove_tree};
use crate::manifest::Kernel;
use crate::store::Store;
use crate::{Error, process, source};
use std::fs;
use std::path::{Path, PathBuf};

/// Free space that it takes at most: the package and the file that is taken out of it.
const SPACE: u64 = 2_000_000_000;

/// Places of the file in packages of different releases.
const PLACES: [(&str, &str); 3] = [
    ("usr/lib/debug/boot/vmlinux-", ""),
    ("usr/lib/debug/lib/modules/", "/vmlinux"),
    ("usr/lib/debug/usr/lib/modules/", "/vmlinux"),
];

/// Returns the stored file with the debug information of a kernel, if it is in the cache.
pub(crate) fn stored(store: &Store, kernel: &Kernel) -> Option<PathBuf> {
    let blob = remembered(store, kernel)?;
    let intact = store.blobs().is_intact(&blob);
    intact.then(|| store.blobs().path(&blob.sha256))
}

/// Returns the file with the debug information of a kernel that the cache should have, if it ever
/// had it.
pub(crate) fn remembered(store: &Store, kernel: &Kernel) -> Option<Blob> {
    match &kernel.vmlinux {
        Some(blob) => Some(blob.clone()),
        None => serde_json::from_slice(&fs::read(record(store, kernel)).ok()?).ok()?,
    }
}

/// Returns the file that says which stored file has the debug information of a kernel.
fn record(store: &Store, kernel: &Kernel) -> PathBuf {
    let name = format!("{}.json", kernel.zimage.sha256);
    store.root().join("debug").join(name)
}

impl Maker<'_> {
    /// Returns the file with the debug information of `kernel`, obtained if it is not in the cache.
    ///
    /// # Errors
    /// The release has none for this very build any more, or it cannot be fetched or stored.
    pub fn debug_info(&mut self, kernel: &Kernel) -> Result<PathBuf, Error> {
        if let Some(path) = stored(self.store, kernel) {
            return Ok(path);
        }
        let blob = self.fetch_debug_info(kernel)?;
        write_json(&record(self.store, kernel), &blob)?;
        Ok(self.store.blobs().path(&blob.sha256))
    }

    fn fetch_debug_info(&mut self, kernel: &Kernel) -> Result<Blob, Error> {
        self.store.check_space(SPACE)?;
        let unusable = |detail: String| Error::Package {
            package: self.spec.name.to_owned(),
            detail,
        };
        let of_kernel = format!("linux-image-{}", kernel.version);
        let name = format!("{of_kernel}-dbg");
        let mut packages = kernel.packages.iter();
        let Some(of_kernel) = packages.find(|package| package.name == of_kernel) else {
            return Err(unusable(format!("its kernel is not of {of_kernel}")));
        };
        let package = self
            .source
            .package(&of_kernel.suite, &name, self.progress)?;
        if package.version != of_kernel.version {
            return Err(unusable(format!(
                "the release has the debug information of version {}, and the kernel is {}",
                package.version, of_kernel.version
            )));
        }
        let file = self.file(&package)?;
        let tree = self.scratch("debug")?;
        self.progress.start(&format!("unpacking {name}"), None);
        let unpacked = unpack(&file, &tree);
        self.progress.finish();
        unpacked?;
        let found = PLACES.iter().map(|(before, behind)| {
            let path = format!("{before}{}{behind}", kernel.version);
            tree.join(path)
        });
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|of| of.is_file());
        let vmlinux = found
            .into_iter()
            .find(is_file)
            .ok_or_else(|| Error::Package {
                package: name,
                detail: "there is no vmlinux in it".into(),
            })?;
        let blob = self.store.blobs().adopt(&vmlinux)?;
        remove_tree(&self.work())?;
        // Half a gigabyte that nobody needs again.
        fs::remove_file(&file).at("removed", &file)?;
        Ok(blob)
    }
}

/// Unpacks what may be the kernel: a package has several gigabytes of modules besides.
fn unpack(file: &Path, into: &Path) -> Result<(), Error> {
    let script = r#"dpkg-deb --fsys-tarfile "$1" |
        tar --extract --directory "$2" --wildcards --no-anchored 'vmlinux*'"#;
    let mut shell = process::command("sh");
    shell.args(["-c", script, "sh"]).args([file, into]);
    let (outcome, _) = process::output(&mut shell)?;
    source::unpacked(&outcome, file, into)
}
