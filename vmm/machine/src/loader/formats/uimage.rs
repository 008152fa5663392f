//! U-Boot's legacy images (U-Boot, include/image.h, `struct legacy_img_hdr`).

use super::super::LoadError;
use super::Parts;
use super::compressed::Method;

pub const MAGIC: &[u8] = b"\x27\x05\x19\x56";
/// Bytes of the header, and where in it things are; numbers are big-endian.
const HEADER: usize = 64;
const HEADER_CRC_AT: usize = 4;
const SIZE_AT: usize = 12;
const DATA_CRC_AT: usize = 24;
const OS_AT: usize = 28;
const ARCH_AT: usize = 29;
const TYPE_AT: usize = 30;
const COMPRESSION_AT: usize = 31;

const OS_LINUX: u8 = 5;
const ARCH_ARM: u8 = 2;
const ARCH_ARM64: u8 = 22;
const TYPE_KERNEL: u8 = 2;
/// Several images: a kernel, an initial file system, a device tree.
const TYPE_MULTI: u8 = 4;
/// A kernel that runs wherever it is put.
const TYPE_KERNEL_NOLOAD: u8 = 14;

fn damaged(why: &str) -> LoadError {
    LoadError::Damaged {
        what: "a U-Boot uImage",
        why: why.into(),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

/// Returns the kernel, uncompressed to `most` bytes at the most, and the initial file system.
///
/// # Errors
/// It is damaged, or not a kernel for this machine.
pub(super) fn open(bytes: &[u8], most: u64) -> Result<Parts, LoadError> {
    let short = || damaged("it is shorter than its header says");
    let (header, data) = bytes.split_at_checked(HEADER).ok_or_else(short)?;
    let mut unsigned = header.to_vec();
    // The checksum is of a header in which it is 0.
    unsigned[HEADER_CRC_AT..HEADER_CRC_AT + 4].fill(0);
    if word(header, HEADER_CRC_AT) != Some(crc32fast::hash(&unsigned)) {
        return Err(damaged("the checksum of its header is wrong"));
    }
    let size = word(header, SIZE_AT).and_then(|size| usize::try_from(size).ok());
    let data = size.and_then(|size| data.get(..size)).ok_or_else(short)?;
    if word(header, DATA_CRC_AT) != Some(crc32fast::hash(data)) {
        return Err(damaged("the checksum of its data is wrong"));
    }
    if header[OS_AT] != OS_LINUX {
        return Err(LoadError::NotKernel(
            "a U-Boot uImage of another system than Linux",
        ));
    }
    if !matches!(header[ARCH_AT], ARCH_ARM | ARCH_ARM64) {
        return Err(LoadError::NotKernel(
            "a U-Boot uImage for another processor than ARM",
        ));
    }
    let (kernel, initrd) = match header[TYPE_AT] {
        TYPE_KERNEL | TYPE_KERNEL_NOLOAD => (data, None),
        TYPE_MULTI => multi(data).ok_or_else(short)?,
        _ => {
            return Err(LoadError::NotKernel(
                "a U-Boot uImage of something else than a kernel (an initial file system or a script?)",
            ));
        }
    };
    let kernel = match header[COMPRESSION_AT] {
        0 => kernel.to_vec(),
        1 => Method::Gzip.unpack(kernel, most)?,
        3 => Method::Lzma.unpack(kernel, most)?,
        5 => Method::Lz4.unpack(kernel, most)?,
        6 => Method::Zstd.unpack(kernel, most)?,
        _ => {
            return Err(LoadError::NotKernel(
                "a U-Boot uImage of a kernel that is compressed with bzip2 or lzo: decompress what follows its \
                 header of 64 bytes (tail -c +65 FILE), and boot that",
            ));
        }
    };
    Ok(Parts {
        kernel,
        initrd: initrd
            .filter(|initrd| !initrd.is_empty())
            .map(<[u8]>::to_vec),
    })
}

/// Returns the first two of several images: a list of their sizes, which a 0 ends, and then each of
/// them, filled up to a multiple of 4 bytes.
fn multi(data: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut sizes = Vec::new();
    loop {
        match word(data, 4 * sizes.len())? {
            0 => break,
            size => sizes.push(usize::try_from(size).ok()?),
        }
    }
    let mut rest = data.get(4 * (sizes.len() + 1)..)?;
    let mut parts = Vec::new();
    for size in sizes.iter().take(2) {
        parts.push(rest.get(..*size)?);
        // Only what follows the last one may be missing.
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    let kernel = *parts.first()?;
    Some((kernel, parts.get(1).copied()))
}
