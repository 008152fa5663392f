//! `--vmlinux`: where the types of a kernel come from that has none in its image.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use guest_images::{Cache, catalog};
use vmm::introspect::types::vmlinux::{TypesFrom, Vmlinux};
use vmm_files::input;

use super::UserError;

/// A kernel's file is not larger than this, in bytes.
const MAX_KERNEL: u64 = 64 << 20;

/// Files that users named, read.
#[derive(Clone, Default)]
pub struct VmlinuxFiles {
    files: Vec<(PathBuf, Vmlinux)>,
}

impl VmlinuxFiles {
    /// Reads those that are named.
    ///
    /// # Errors
    /// One is of no use: why, in a sentence.
    pub fn read<'p>(paths: impl IntoIterator<Item = &'p PathBuf>) -> Result<Self, UserError> {
        let files = paths.into_iter().map(|path| {
            let path = located(path)?;
            let vmlinux = read(&path)?;
            Ok((path, vmlinux))
        });
        let files = files.collect::<Result<_, UserError>>()?;
        Ok(Self { files })
    }

    /// Checks that the kernel in the file `kernel` is of the build of the only file, as far as it
    /// shows what it is.
    ///
    /// # Errors
    /// It is of another build.
    pub fn check(&self, kernel: &Path) -> Result<(), UserError> {
        let [(path, vmlinux)] = &self.files[..] else {
            return Ok(());
        };
        // That it cannot be read is told by the loader, with its own sentence.
        let Ok(file) = input::open_file(kernel) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        if file.take(MAX_KERNEL).read_to_end(&mut bytes).is_err() {
            return Ok(());
        }
        vmlinux.check_file(&bytes).map_err(|why| {
            let (path, kernel) = (path.display(), kernel.display());
            UserError::new(format!("cannot use {path} for {kernel}: {why}"))
        })
    }

    /// Returns that types come from the only file, if there is one, which must be of the kernel
    /// that runs.
    pub fn only(self) -> TypesFrom {
        let file = self.files.into_iter().next();
        file.map_or(TypesFrom::Kernel, |(_, vmlinux)| {
            TypesFrom::File(Arc::new(vmlinux))
        })
    }

    /// Returns that types come from the file that fits, if one does.
    pub fn any(self) -> TypesFrom {
        if self.files.is_empty() {
            return TypesFrom::Kernel;
        }
        let files = self.files.into_iter().map(|(_, vmlinux)| vmlinux);
        TypesFrom::AnyOf(files.collect())
    }
}

/// Returns the file that is meant: that of this name, or the debug information of the image of this
/// name.
fn located(path: &Path) -> Result<PathBuf, UserError> {
    let image = path.to_str().filter(|_| !path.exists());
    let Some(spec) = image.and_then(|name| catalog::find(name).ok()) else {
        return Ok(path.to_owned());
    };
    Cache::open()?.debug_info(spec.name)?.ok_or_else(|| {
        UserError::new(format!(
            "the debug information of {0} is not here: vmm images fetch --debug-info {0}",
            spec.name
        ))
    })
}

fn read(path: &Path) -> Result<Vmlinux, UserError> {
    let unusable = |why: &dyn std::fmt::Display| {
        UserError::new(format!("cannot use the vmlinux {}: {why}", path.display()))
    };
    let file = input::open_file(path).map_err(|why| unusable(&why))?;
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there is more.
    let read = file.take(Vmlinux::MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|why| unusable(&why))?;
    if bytes.len() as u64 > Vmlinux::MAX_FILE {
        return Err(unusable(&"it is larger than 2 GiB"));
    }
    Vmlinux::parse(&bytes).map_err(|why| unusable(&why))
}
