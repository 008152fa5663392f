//! Stock kernels: the files of Debian's binary packages as they are.

use crate::Error;
use crate::blob::BlobStore;
use crate::error::IoContext;
use crate::image_spec::Architecture;
use crate::manifest::Kernel;
use crate::source::Package;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The magic number of a zImage and its offset (Linux `arch/arm/boot/compressed/head.S`).
const ZIMAGE_MAGIC: (u32, u64) = (0x016f_2818, 0x24);

/// The magic number of an arm64 Image and its offset (Linux
/// `Documentation/arch/arm64/booting.rst`).
const IMAGE_MAGIC: (u32, u64) = (0x644d_5241, 0x38);

/// Stores the kernel of unpacked packages.
pub(crate) fn kernel(
    blobs: &BlobStore,
    tree: &Path,
    recipe: String,
    packages: Vec<Package>,
    architecture: Architecture,
) -> Result<Kernel, Error> {
    let names: Vec<_> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let unusable = |detail: &str| Error::Package {
        package: names.join(", "),
        detail: detail.to_owned(),
    };
    let (file, version) =
        find(tree, "vmlinuz")?.ok_or_else(|| unusable("there is no kernel in it"))?;
    let (magic, detail) = match architecture {
        Architecture::Arm64 => (IMAGE_MAGIC, "its kernel is not an arm64 Image"),
        _ => (ZIMAGE_MAGIC, "its kernel is not an ARM zImage"),
    };
    if !has_magic(&file, magic)? {
        return Err(unusable(detail));
    }
    let config = find(tree, "config")?
        .map(|(file, _)| blobs.adopt(&file))
        .transpose()?;
    let zimage = blobs.adopt(&file)?;
    Ok(Kernel {
        recipe,
        version,
        packages,
        zimage,
        raw: None,
        vmlinux: None,
        system_map: None,
        config,
        modules: Vec::new(),
        device_trees: Vec::new(),
    })
}

/// Finds `boot/KIND-VERSION`, or where newer packages have it, `usr/lib/modules/VERSION/KIND`.
fn find(tree: &Path, kind: &str) -> Result<Option<(PathBuf, String)>, Error> {
    for (directory, prefix) in [
        ("boot", Some(kind)),
        ("usr/lib/modules", None),
        ("lib/modules", None),
    ] {
        let directory = tree.join(directory);
        if !directory.is_dir() {
            continue;
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            entries.push(entry.at("read", &directory)?.path());
        }
        // So that the same file is found whatever the order of the directory.
        entries.sort();
        for path in entries {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let found = match prefix {
                Some(prefix) => name
                    .strip_prefix(prefix)
                    .and_then(|name| name.strip_prefix('-'))
                    .map(|name| (path.clone(), name)),
                None => Some((path.join(kind), name)),
            };
            if let Some((file, version)) = found.filter(|(file, _)| file.is_file()) {
                return Ok(Some((file, version.to_owned())));
            }
        }
    }
    Ok(None)
}

/// Returns whether a file has a magic number at an offset.
fn has_magic(path: &Path, (magic, offset): (u32, u64)) -> Result<bool, Error> {
    let mut bytes = [0; 4];
    let file = File::open(path).at("read", path)?;
    // A file that ends before the magic number is no kernel, rather than a failure to read.
    Ok(file.read_exact_at(&mut bytes, offset).is_ok() && u32::from_le_bytes(bytes) == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn kernel_is_found_in_old_and_new_packages() {
        let old = tree(&[
            "boot/config-6.1.0-50-armmp",
            "boot/vmlinuz-6.1.0-50-armmp",
            "lib/modules/6.1.0-50-armmp/x",
        ]);
        let (file, version) = find(old.path(), "vmlinuz").unwrap().unwrap();
        assert_eq!(
            (file.ends_with("vmlinuz-6.1.0-50-armmp"), version.as_str()),
            (true, "6.1.0-50-armmp")
        );
        let new = tree(&["usr/lib/modules/7.2.12+deb14-armmp/vmlinuz"]);
        let (file, version) = find(new.path(), "vmlinuz").unwrap().unwrap();
        assert_eq!(
            (file.ends_with("vmlinuz"), version.as_str()),
            (true, "7.2.12+deb14-armmp")
        );
        assert_eq!(find(new.path(), "config").unwrap(), None);
    }

    #[test]
    fn something_else_is_no_kernel() {
        let dir = tree(&["boot/vmlinuz-1"]);
        let store = BlobStore::new(dir.path().join("blobs"));
        for (architecture, words) in [
            (Architecture::Armhf, "not an ARM zImage"),
            (Architecture::Arm64, "not an arm64 Image"),
        ] {
            let made = kernel(&store, dir.path(), String::new(), Vec::new(), architecture);
            let sentence = made.unwrap_err().to_string();
            assert!(sentence.contains(words), "{sentence}");
        }
    }
}
