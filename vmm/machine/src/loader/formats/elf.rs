//! ELF: the `vmlinux` that the linker makes.
//!
//! Linux for 32-bit ARM is linked at virtual addresses, which its program headers also give as
//! physical ones, and it finds out where it lies when it starts (arch/arm/kernel/head.S). So its
//! segments are laid out beside each other as they are in the Image that is made of it (objcopy -O
//! binary), from the entry point on.

use object::elf::{EM_ARM, ET_EXEC, FileHeader32, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, read};
use vmm_base::ByteSize;

use super::super::{LoadError, offset};

pub const MAGIC: &[u8] = b"\x7fELF";
/// The class of a file, and the processor that it is for (System V ABI, ELF header).
const CLASS_AT: usize = 4;
const CLASS_64: u8 = 2;
const MACHINE_AT: usize = 18;
/// EM_AARCH64.
const AARCH64: u16 = 183;

/// Returns the Image that the file is, and how far behind the start of RAM it must lie.
///
/// # Errors
/// It is no kernel for this machine, or damaged.
pub fn open(bytes: &[u8], most: u64) -> Result<(Vec<u8>, u64), LoadError> {
    let machine = bytes.get(MACHINE_AT..MACHINE_AT + 2);
    let machine = machine.and_then(|machine| machine.try_into().ok());
    let machine = machine.map(u16::from_le_bytes);
    if bytes.get(CLASS_AT) == Some(&CLASS_64) {
        return Err(LoadError::NotKernel(match machine {
            Some(AARCH64) => {
                "an arm64 vmlinux: use the Image built beside it (arch/arm64/boot/Image)"
            }
            _ => "an ELF file of another processor",
        }));
    }
    let header = FileHeader32::<Endianness>::parse(bytes).map_err(|e| damaged(&e))?;
    let endian = header.endian().map_err(|error| damaged(&error))?;
    if header.e_machine.get(endian) != EM_ARM {
        return Err(LoadError::NotKernel("an ELF file of another processor"));
    }
    if endian == Endianness::Big {
        return Err(LoadError::NotKernel(
            "a big-endian vmlinux, and this machine is little-endian",
        ));
    }
    if header.e_type.get(endian) != ET_EXEC {
        return Err(LoadError::NotKernel(
            "an ELF file that cannot be started by itself (a module, a library or an object file): use the \
             vmlinux, the zImage or the raw Image",
        ));
    }
    flatten(header, endian, bytes, most)
}

fn damaged(error: &read::Error) -> LoadError {
    LoadError::Damaged {
        what: "an ELF file",
        why: error.to_string(),
    }
}

/// Lays the segments out beside each other.
fn flatten(
    header: &FileHeader32<Endianness>,
    endian: Endianness,
    bytes: &[u8],
    most: u64,
) -> Result<(Vec<u8>, u64), LoadError> {
    let headers = header
        .program_headers(endian, bytes)
        .map_err(|e| damaged(&e))?;
    let loaded = headers
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD);
    let loaded = loaded.filter(|segment| segment.p_filesz(endian) > 0);
    let entry = u64::from(header.e_entry.get(endian));
    // Where it begins, by the addresses that the file is laid out by.
    let start = loaded.clone().find_map(|segment| {
        let into = entry.checked_sub(segment.p_vaddr(endian).into())?;
        let is_inside = into < segment.p_filesz(endian).into();
        is_inside.then(|| u64::from(segment.p_paddr(endian)) + into)
    });
    let Some(start) = start.filter(|start| start.is_multiple_of(4)) else {
        return Err(LoadError::NotKernel(
            "an ELF file whose entry point is no ARM instruction of its own: use the zImage or the raw Image",
        ));
    };
    let (mut image, mut copied) = (Vec::new(), 0_u64);
    for segment in loaded {
        let data = segment
            .data(endian, bytes)
            .map_err(|()| LoadError::Damaged {
                what: "an ELF file",
                why: "a segment lies beyond its end".into(),
            })?;
        let first = u64::from(segment.p_paddr(endian));
        // What lies before the entry point, such as the headers, is no part of an Image.
        let skip = start.saturating_sub(first);
        let data = usize::try_from(skip).ok().and_then(|skip| data.get(skip..));
        let Some(data) = data.filter(|data| !data.is_empty()) else {
            continue;
        };
        let at = (first + skip) - start;
        let end = at + data.len() as u64;
        // Segments may lie over each other: what is copied counts, too.
        copied = copied.saturating_add(data.len() as u64);
        if end.max(copied) > most {
            return Err(LoadError::UnpacksTooLarge(ByteSize(most)));
        }
        // Both fit: `most` is what is in memory at once.
        let (Ok(at), Ok(end)) = (usize::try_from(at), usize::try_from(end)) else {
            return Err(LoadError::UnpacksTooLarge(ByteSize(most)));
        };
        if image.len() < end {
            image.resize(end, 0);
        }
        image[at..end].copy_from_slice(data);
    }
    let text_offset = offset::of_address(start).unwrap_or_else(|| offset::of(&image));
    Ok((image, text_offset))
}
