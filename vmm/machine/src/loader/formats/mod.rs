//! Kernels in files of other forms: compressed, in U-Boot's images, or linked as ELF. What is in
//! them is an Image or a zImage in the end, which [`image::parse`] understands.

mod compressed;
mod elf;
mod fit;
#[cfg(test)]
mod tests;
mod uimage;

use super::super::config::KernelFormat;
use super::LoadError;
use super::image::{self, Image, Kind};

/// The most wrappings of one file: a compressed FIT image with a compressed kernel has three.
const MAX_LAYERS: usize = 4;

/// A kernel, taken out of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelFile {
    /// The Image or zImage.
    pub bytes: Vec<u8>,
    /// What it is.
    pub image: Image,
    /// The initial file system that was in the same file, if there was one.
    pub initrd: Option<Vec<u8>>,
}

/// What a U-Boot image holds.
struct Parts {
    kernel: Vec<u8>,
    initrd: Option<Vec<u8>>,
}

/// Takes the kernel out of a file of `bytes` and understands it. Nothing that is unpacked is longer
/// than `most` bytes. A pure function: no byte sequence makes it panic.
///
/// A `format` that says what the file is has it taken as it is.
///
/// # Errors
/// Those of [`image::parse`], and those of what it is wrapped in.
pub fn open(mut bytes: Vec<u8>, format: KernelFormat, most: u64) -> Result<KernelFile, LoadError> {
    let (mut initrd, mut format) = (None, format);
    if format != KernelFormat::Auto {
        let image = image::parse(&bytes, format)?;
        return Ok(KernelFile {
            bytes,
            image,
            initrd,
        });
    }
    for _ in 0..=MAX_LAYERS {
        if bytes.starts_with(elf::MAGIC) {
            let (bytes, text_offset) = elf::open(&bytes, most)?;
            let image = Image {
                kind: Kind::Image { text_offset },
                size: bytes.len() as u64,
            };
            return Ok(KernelFile {
                bytes,
                image,
                initrd,
            });
        }
        let parts = match compressed::method(&bytes) {
            Some(method) => {
                bytes = method.unpack(&bytes, most)?;
                continue;
            }
            None if bytes.starts_with(uimage::MAGIC) => uimage::open(&bytes, most)?,
            None if bytes.starts_with(fit::MAGIC) => fit::open(&bytes, most)?,
            None => {
                let parsed = match image::parse(&bytes, KernelFormat::Auto) {
                    // Its header said that it is a kernel, and an Image has no mark of its own.
                    Err(LoadError::Unknown) => image::parse(&bytes, format),
                    parsed => parsed,
                };
                return Ok(KernelFile {
                    image: parsed?,
                    bytes,
                    initrd,
                });
            }
        };
        bytes = parts.kernel;
        initrd = initrd.or(parts.initrd);
        format = KernelFormat::Image;
    }
    Err(LoadError::Nested)
}
