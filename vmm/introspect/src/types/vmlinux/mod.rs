//! A kernel's `vmlinux` as a user keeps it: the linked program with debug information, from which
//! the types come of a kernel that carries none in its image.
//!
//! The file must be of the build that runs: the same source with another configuration has other
//! offsets. [`Vmlinux::check`] tells by the build ID that the linker left in both, or else by the
//! kernel's banner.

mod elf;
mod error;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use vmm_base::Width;

use super::offsets::banner;
use super::{Types, TypesError, dwarf};

pub use super::dwarf::DwarfError;
pub use error::{MismatchError, VmlinuxError};

/// The header of a GNU build ID without the length of the ID: the length of the name, and type and
/// name (NT_GNU_BUILD_ID of elf.h).
const NOTE_TAIL: [u8; 8] = [3, 0, 0, 0, b'G', b'N', b'U', 0];
/// The longest build ID, in bytes: SHA-256 has 32.
const MAX_ID: usize = 64;

/// The types of one build of a kernel, and what the build is told by.
#[derive(Clone, Debug)]
pub struct Vmlinux {
    types: Arc<Types>,
    id: Option<Vec<u8>>,
    banner: Option<String>,
}

/// The origin of a kernel's types.
#[derive(Clone, Debug, Default)]
pub enum TypesFrom {
    /// Its image, or a table for its build.
    #[default]
    Kernel,
    /// This file, which must be of its build.
    File(Arc<Vmlinux>),
    /// That of these files that is of its build, and its image if none is.
    AnyOf(Arc<[Vmlinux]>),
}

impl TypesFrom {
    /// Finds the types of the kernel in `image`, whose addresses are of this width.
    ///
    /// # Errors
    /// There are none, or the file is of another build.
    pub fn find(&self, image: &[u8], width: Width) -> Result<Arc<Types>, TypesError> {
        let own = || Types::of_kernel(image, width).map(|(types, _)| Arc::new(types));
        match self {
            Self::Kernel => own(),
            Self::File(file) => {
                file.check(image)?;
                Ok(Arc::clone(file.types()))
            }
            Self::AnyOf(files) => {
                let mut files = files.iter();
                let fits = files.find(|file| file.check(image).is_ok());
                fits.map_or_else(own, |file| Ok(Arc::clone(file.types())))
            }
        }
    }
}

impl Vmlinux {
    /// The largest file that is read, in bytes: those of distributions have less than 1 GiB.
    pub const MAX_FILE: u64 = 2 << 30;

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// It is no `vmlinux` of a 32-bit or 64-bit ARM kernel, has no types, or is damaged.
    pub fn parse(file: &[u8]) -> Result<Self, VmlinuxError> {
        let parts = elf::parts(file)?;
        let types = match &parts.sections {
            Some(sections) => dwarf::read(sections, parts.width)?,
            // A stripped file may still have what the image has.
            None => match &parts.btf {
                Some(blob) => Types::parse(blob).map_err(VmlinuxError::Btf)?,
                None => return Err(DwarfError::None.into()),
            },
        };
        Ok(Self {
            types: Arc::new(types),
            id: parts.id,
            banner: parts.banner,
        })
    }

    /// Returns the types.
    pub const fn types(&self) -> &Arc<Types> {
        &self.types
    }

    /// Returns how wide the kernel's addresses are.
    pub fn width(&self) -> Width {
        self.types.width()
    }

    /// Returns the kernel's banner, `Linux version ...`, if the file has it.
    pub fn banner(&self) -> Option<&str> {
        self.banner.as_deref()
    }

    /// Checks that `image` has a kernel of this build: an unpacked image, or RAM that one is in.
    ///
    /// # Errors
    /// It is of another build, or that cannot be told.
    pub fn check(&self, image: &[u8]) -> Result<(), MismatchError> {
        let running = banner(image);
        let other = |ours: &str, running: &str| MismatchError::Version {
            file: ours.to_owned(),
            kernel: running.to_owned(),
        };
        if let Some(id) = &self.id {
            if has_id(image, id) {
                return Ok(());
            }
            // The linker puts the note among what is loaded, so that a kernel of this build has it.
            return Err(match (self.banner(), running) {
                (Some(ours), Some(running)) if ours != running => other(ours, running),
                (None, Some(running)) => MismatchError::Build(running.to_owned()),
                (Some(ours), _) => MismatchError::Build(ours.to_owned()),
                (None, None) => MismatchError::Unknown,
            });
        }
        match (self.banner(), running) {
            (Some(ours), Some(running)) if ours == running => Ok(()),
            (Some(ours), Some(running)) => Err(other(ours, running)),
            _ => Err(MismatchError::Unknown),
        }
    }

    /// Checks a kernel's file before it runs, as far as it shows what it is: a compressed one does
    /// not.
    ///
    /// # Errors
    /// It is of another build.
    pub fn check_file(&self, kernel: &[u8]) -> Result<(), MismatchError> {
        match banner(kernel) {
            Some(_) => self.check(kernel),
            None => Ok(()),
        }
    }
}

/// Returns whether `image` has the note with this build ID.
fn has_id(image: &[u8], id: &[u8]) -> bool {
    let Ok(length) = u32::try_from(id.len()) else {
        return false;
    };
    let mut note = 4_u32.to_le_bytes().to_vec();
    note.extend(length.to_le_bytes());
    note.extend(NOTE_TAIL);
    note.extend(id);
    // By the ID's own first byte, as the header is mostly zeros, of which an image has many.
    let first = id.first().copied().unwrap_or(0);
    let mut at = note.len() - id.len();
    while let Some(rest) = image.get(at..) {
        let Some(found) = rest.iter().position(|&byte| byte == first) else {
            return false;
        };
        let start = at + found - (note.len() - id.len());
        if image[start..].starts_with(&note) {
            return true;
        }
        at += found + 1;
    }
    false
}
