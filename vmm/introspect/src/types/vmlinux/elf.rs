//! What of an ELF file is of interest.

use std::borrow::Cow;

use object::read::elf::{ElfFile, ElfFile32, ElfFile64, FileHeader};
use object::{Endianness, Object as _, ObjectKind, ObjectSection as _, elf};
use vmm_base::Width;

use super::{MAX_ID, Vmlinux, VmlinuxError};
use crate::types::dwarf::Sections;
use crate::types::offsets::banner;

/// What a `vmlinux` is made of, as far as types go.
pub(super) struct Parts<'a> {
    pub width: Width,
    /// `None` if the file has no debug information.
    pub sections: Option<Sections<'a>>,
    /// The same types as the image has them.
    pub btf: Option<Cow<'a, [u8]>>,
    pub id: Option<Vec<u8>>,
    pub banner: Option<String>,
}

/// Finds the parts of `file`.
pub(super) fn parts(file: &[u8]) -> Result<Parts<'_>, VmlinuxError> {
    if !file.starts_with(&elf::ELFMAG) {
        return Err(VmlinuxError::NotElf);
    }
    // The byte that says how wide words are.
    match file.get(4).map(|&class| elf::FileClass(class)) {
        Some(elf::ELFCLASS32) => of(&ElfFile32::<Endianness>::parse(file)?, Width::Bits32),
        Some(elf::ELFCLASS64) => of(&ElfFile64::<Endianness>::parse(file)?, Width::Bits64),
        _ => Err(VmlinuxError::Machine),
    }
}

fn of<'a, Elf: FileHeader<Endian = Endianness>>(
    file: &ElfFile<'a, Elf>,
    width: Width,
) -> Result<Parts<'a>, VmlinuxError> {
    let endian = file.endian();
    let machine = file.elf_header().e_machine(endian);
    let right = match width {
        Width::Bits32 => elf::EM_ARM,
        Width::Bits64 => elf::EM_AARCH64,
    };
    if endian != Endianness::Little || machine != right {
        return Err(VmlinuxError::Machine);
    }
    if file.kind() == ObjectKind::Relocatable {
        return Err(VmlinuxError::Object);
    }
    let mut reader = SectionReader {
        file,
        left: Vmlinux::MAX_FILE,
    };
    let info = reader.read(".debug_info")?;
    let sections = match info {
        Some(info) => Some(Sections {
            info,
            abbreviations: reader.read(".debug_abbrev")?.unwrap_or_default(),
            names: reader.read(".debug_str")?.unwrap_or_default(),
            line_names: reader.read(".debug_line_str")?.unwrap_or_default(),
            name_offsets: reader.read(".debug_str_offsets")?.unwrap_or_default(),
        }),
        None => None,
    };
    let id = file
        .build_id()?
        .filter(|id| (1..=MAX_ID).contains(&id.len()));
    let rodata = reader.read(".rodata")?;
    Ok(Parts {
        width,
        sections,
        btf: reader.read(".BTF")?,
        id: id.map(<[u8]>::to_vec),
        banner: rodata.and_then(|bytes| banner(&bytes).map(str::to_owned)),
    })
}

struct SectionReader<'f, 'a, Elf: FileHeader> {
    file: &'f ElfFile<'a, Elf>,
    /// How many bytes may still be read, unpacked.
    left: u64,
}

impl<'a, Elf: FileHeader> SectionReader<'_, 'a, Elf> {
    /// Returns the contents of a section, unpacked; `None` if it is not there, or empty.
    fn read(&mut self, name: &str) -> Result<Option<Cow<'a, [u8]>>, VmlinuxError> {
        let Some(section) = self.file.section_by_name(name) else {
            return Ok(None);
        };
        let packed = section.compressed_data()?;
        // Before it is unpacked, which sets aside as much as the file says.
        let left = self.left.checked_sub(packed.uncompressed_size);
        self.left = left.ok_or(VmlinuxError::Large)?;
        Ok(Some(packed.decompress()?).filter(|bytes| !bytes.is_empty()))
    }
}
