//! Small programs with debug information, for tests.

use gimli::constants::*;
use gimli::write::{AttributeValue, EndianVec, LineProgram, Sections, Unit, UnitEntryId};
use gimli::{DwAt, DwTag, Encoding, Format, LittleEndian};

/// An ELF file in the making: of 32 bits, linked, for ARM.
pub(crate) struct Elf {
    pub(crate) machine: u16,
    /// 1 for an object file, 2 for a program.
    pub(crate) kind: u16,
    /// Name, type, flags and contents.
    pub(crate) sections: Vec<(String, u32, u32, Vec<u8>)>,
}

/// How sections are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Zlib,
    Zstd,
}

/// SHT_PROGBITS, SHT_NOTE, SHF_ALLOC and SHF_COMPRESSED.
const PROGBITS: u32 = 1;
const NOTE: u32 = 7;
const ALLOC: u32 = 2;
const COMPRESSED: u32 = 1 << 11;

fn word(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_le_bytes()
}

impl Elf {
    pub(crate) fn new() -> Self {
        Self {
            machine: 40,
            kind: 2,
            sections: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &str, contents: &[u8]) -> Self {
        let section = (name.to_owned(), PROGBITS, 0, contents.to_vec());
        self.sections.push(section);
        self
    }

    pub(crate) fn with_banner(self, banner: &str) -> Self {
        self.with(".rodata", format!("\0\0{banner}\n\0").as_bytes())
    }

    pub(crate) fn with_id(mut self, id: &[u8]) -> Self {
        let section = (".notes".to_owned(), NOTE, ALLOC, note(id));
        self.sections.push(section);
        self
    }

    pub(crate) fn with_types(mut self, dwarf: Dwarf, packing: Packing) -> Self {
        for (name, contents) in dwarf.sections() {
            let (flags, contents) = match packing {
                Packing::None => (0, contents),
                Packing::Zlib => (COMPRESSED, packed(1, &contents, zlib(&contents))),
                Packing::Zstd => (COMPRESSED, packed(2, &contents, zstd(&contents))),
            };
            self.sections.push((name, PROGBITS, flags, contents));
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut names = vec![0];
        let mut contents = Vec::new();
        // The first section header is empty, and the names are a section themselves.
        let mut headers = vec![0; 40];
        let mut all = self.sections.clone();
        all.push((".shstrtab".into(), 3, 0, Vec::new()));
        let last = all.len() - 1;
        for (index, (name, kind, flags, bytes)) in all.iter().enumerate() {
            let name_at = names.len();
            names.extend(name.bytes().chain([0]));
            let bytes = if index == last {
                names.clone()
            } else {
                bytes.clone()
            };
            let fields = [
                name_at,
                *kind as usize,
                *flags as usize,
                0,
                52 + contents.len(),
                bytes.len(),
                0,
                0,
                4,
                0,
            ];
            headers.extend(fields.into_iter().flat_map(word));
            contents.extend(bytes);
        }
        let mut file = b"\x7fELF\x01\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        // Version, entry, program headers, section headers, flags.
        file.extend([1, 0, 0, 52 + contents.len(), 0].into_iter().flat_map(word));
        for half in [52, 32, 0, 40, all.len() + 1, all.len()] {
            file.extend(u16::try_from(half).unwrap().to_le_bytes());
        }
        file.extend(contents);
        file.extend(headers);
        file
    }
}

/// Returns a note with a build ID.
pub(crate) fn note(id: &[u8]) -> Vec<u8> {
    let mut note = [word(4), word(id.len()), word(3), *b"GNU\0"].concat();
    note.extend(id);
    note
}

/// Returns the contents of a compressed section (Elf32_Chdr).
fn packed(kind: usize, contents: &[u8], stream: Vec<u8>) -> Vec<u8> {
    let header = [word(kind), word(contents.len()), word(1)].concat();
    [header, stream].concat()
}

/// Returns a stream of blocks that are stored as they are (RFC 1950, RFC 1951).
fn zlib(contents: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut chunks = contents.chunks(0xffff).peekable();
    while let Some(chunk) = chunks.next() {
        let length = u16::try_from(chunk.len()).unwrap();
        out.push(u8::from(chunks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(chunk);
    }
    let (mut low, mut high) = (1u32, 0u32);
    for &byte in contents {
        low = (low + u32::from(byte)) % 65521;
        high = (high + low) % 65521;
    }
    out.extend((high << 16 | low).to_be_bytes());
    out
}

/// Returns a frame of one block that is stored as it is (RFC 8878).
fn zstd(contents: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend(word(contents.len()));
    out.extend(&word(contents.len() << 3 | 1)[..3]);
    out.extend(contents);
    out
}

/// Debug information in the making: units of C.
pub(crate) struct Dwarf {
    dwarf: gimli::write::Dwarf,
    version: u16,
    unit: Unit,
}

impl Dwarf {
    pub(crate) fn new(version: u16) -> Self {
        Self {
            dwarf: gimli::write::Dwarf::new(),
            version,
            unit: unit(version),
        }
    }

    /// Begins another unit.
    pub(crate) fn next_unit(&mut self) {
        let unit = std::mem::replace(&mut self.unit, unit(self.version));
        self.dwarf.units.add(unit);
    }

    pub(crate) fn root(&mut self) -> UnitEntryId {
        self.unit.root()
    }

    pub(crate) fn set(&mut self, entry: UnitEntryId, name: DwAt, value: AttributeValue) {
        self.unit.get_mut(entry).set(name, value);
    }

    pub(crate) fn within(&mut self, parent: UnitEntryId, tag: DwTag, name: &str) -> UnitEntryId {
        let id = self.unit.add(parent, tag);
        if !name.is_empty() {
            let name = self.dwarf.strings.add(name);
            self.set(id, DW_AT_name, AttributeValue::StringRef(name));
        }
        id
    }

    pub(crate) fn add(&mut self, tag: DwTag, name: &str) -> UnitEntryId {
        let root = self.unit.root();
        self.within(root, tag, name)
    }

    /// Adds what is of another type: a pointer, a qualifier, a typedef.
    pub(crate) fn to(&mut self, tag: DwTag, name: &str, ty: UnitEntryId) -> UnitEntryId {
        let id = self.add(tag, name);
        self.set(id, DW_AT_type, AttributeValue::UnitRef(ty));
        id
    }

    pub(crate) fn base(&mut self, name: &str, size: u8, encoding: DwAte) -> UnitEntryId {
        let id = self.add(DW_TAG_base_type, name);
        self.set(id, DW_AT_byte_size, AttributeValue::Data1(size));
        self.set(id, DW_AT_encoding, AttributeValue::Encoding(encoding));
        id
    }

    /// Adds a structure or union with its members: name, type, offset in bytes.
    pub(crate) fn composite(
        &mut self,
        tag: DwTag,
        name: &str,
        size: u64,
        members: &[(&str, UnitEntryId, u64)],
    ) -> UnitEntryId {
        let id = self.add(tag, name);
        self.set(id, DW_AT_byte_size, AttributeValue::Udata(size));
        for &(name, ty, offset) in members {
            self.member(id, name, ty, offset);
        }
        id
    }

    pub(crate) fn member(
        &mut self,
        of: UnitEntryId,
        name: &str,
        ty: UnitEntryId,
        offset: u64,
    ) -> UnitEntryId {
        let member = self.within(of, DW_TAG_member, name);
        self.set(member, DW_AT_type, AttributeValue::UnitRef(ty));
        self.set(
            member,
            DW_AT_data_member_location,
            AttributeValue::Udata(offset),
        );
        member
    }

    pub(crate) fn function(
        &mut self,
        name: &str,
        returns: Option<UnitEntryId>,
        arguments: &[(&str, UnitEntryId)],
    ) -> UnitEntryId {
        let id = self.add(DW_TAG_subprogram, name);
        if let Some(returns) = returns {
            self.set(id, DW_AT_type, AttributeValue::UnitRef(returns));
        }
        for &(name, ty) in arguments {
            let argument = self.within(id, DW_TAG_formal_parameter, name);
            self.set(argument, DW_AT_type, AttributeValue::UnitRef(ty));
        }
        id
    }

    /// Returns the sections by their names.
    pub(crate) fn sections(mut self) -> Vec<(String, Vec<u8>)> {
        self.next_unit();
        let mut sections = Sections::new(EndianVec::new(LittleEndian));
        self.dwarf.write(&mut sections).unwrap();
        let mut all = Vec::new();
        let each = |id: gimli::SectionId, contents: &EndianVec<LittleEndian>| {
            all.push((id.name().to_owned(), contents.slice().to_vec()));
            Ok::<(), gimli::write::Error>(())
        };
        sections.for_each(each).unwrap();
        all.retain(|(_, contents)| !contents.is_empty());
        all
    }
}

fn unit(version: u16) -> Unit {
    let encoding = Encoding {
        format: Format::Dwarf32,
        version,
        address_size: 4,
    };
    let mut unit = Unit::new(encoding, LineProgram::none());
    let root = unit.root();
    let language = AttributeValue::Language(DW_LANG_C11);
    unit.get_mut(root).set(DW_AT_language, language);
    unit
}

/// Returns something like the kernel's `struct device`, as in the blob of BTF that other tests
/// read.
pub(crate) fn device_like(version: u16) -> Dwarf {
    let mut d = Dwarf::new(version);
    let int = d.base("int", 4, DW_ATE_signed);
    let unsigned = d.base("unsigned int", 4, DW_ATE_unsigned);
    let character = d.base("char", 1, DW_ATE_unsigned_char);
    let boolean = d.base("_Bool", 1, DW_ATE_boolean);
    let wide = d.base("long long unsigned int", 8, DW_ATE_unsigned);
    let const_char = d.to(DW_TAG_const_type, "", character);
    let text = d.to(DW_TAG_pointer_type, "", const_char);
    let u64_ = d.to(DW_TAG_typedef, "u64", wide);
    let flag = d.to(DW_TAG_typedef, "bool", boolean);
    let array = |d: &mut Dwarf, of, last: u8| {
        let array = d.to(DW_TAG_array_type, "", of);
        let range = d.within(array, DW_TAG_subrange_type, "");
        d.set(range, DW_AT_upper_bound, AttributeValue::Data1(last));
        array
    };
    let buffer = array(&mut d, character, 7);
    let numbers = array(&mut d, int, 2);
    let kobject = [("name", text, 0), ("refs", int, 4)];
    let kobject = d.composite(DW_TAG_structure_type, "kobject", 8, &kobject);
    let archdata = [("mapping", unsigned, 0)];
    let archdata = d.composite(DW_TAG_structure_type, "dev_archdata", 8, &archdata);
    for (name, ty, first, size) in [
        ("dma_coherent", unsigned, 0, 1),
        ("dma_ops_setup", unsigned, 1, 1),
        ("depth", int, 2, 3),
    ] {
        bit_field(&mut d, (archdata, name, ty), 4, first, size);
    }
    let driver = [("name", text, 0)];
    let driver = d.composite(DW_TAG_structure_type, "device_driver", 4, &driver);
    let driver = d.to(DW_TAG_pointer_type, "", driver);
    let state = enumeration(
        &mut d,
        "dl_dev_state",
        4,
        &[("DL_DEV_NO_DRIVER", 0), ("DL_DEV_PROBING", 1)],
    );
    let big = enumeration(&mut d, "big", 8, &[("HUGE", 1 << 32)]);
    let ops = d.add(DW_TAG_structure_type, "dma_map_ops");
    d.set(ops, DW_AT_declaration, AttributeValue::FlagPresent);
    let ops = d.to(DW_TAG_pointer_type, "", ops);
    let inner = [("low", int, 0), ("high", int, 4)];
    let inner = d.composite(DW_TAG_structure_type, "", 8, &inner);
    let union = d.composite(
        DW_TAG_union_type,
        "",
        8,
        &[("whole", u64_, 0), ("", inner, 0)],
    );
    let release = d.add(DW_TAG_subroutine_type, "");
    d.set(release, DW_AT_type, AttributeValue::UnitRef(int));
    let release = d.to(DW_TAG_pointer_type, "", release);
    let device = d.add(DW_TAG_structure_type, "device");
    d.set(device, DW_AT_byte_size, AttributeValue::Udata(120));
    let parent = d.to(DW_TAG_pointer_type, "", device);
    for (name, ty, offset) in [
        ("kobj", kobject, 0),
        ("parent", parent, 8),
        ("init_name", text, 12),
        ("driver", driver, 16),
        ("archdata", archdata, 20),
        ("", union, 28),
        ("label", buffer, 36),
        ("numbers", numbers, 44),
        ("state", state, 56),
        ("offline", flag, 60),
        ("ops", ops, 64),
        ("release", release, 68),
        ("big", big, 72),
    ] {
        d.member(device, name, ty, offset);
    }
    d.function("arch_teardown_dma_ops", None, &[("dev", parent)]);
    let printk = d.function("printk", Some(int), &[("fmt", text)]);
    d.within(printk, DW_TAG_unspecified_parameters, "");
    d.composite(DW_TAG_structure_type, "last", 4, &[("x", int, 0)]);
    d
}

pub(crate) fn enumeration(
    d: &mut Dwarf,
    name: &str,
    size: u8,
    values: &[(&str, i64)],
) -> UnitEntryId {
    let id = d.add(DW_TAG_enumeration_type, name);
    d.set(id, DW_AT_byte_size, AttributeValue::Data1(size));
    for &(name, value) in values {
        let value_id = d.within(id, DW_TAG_enumerator, name);
        d.set(value_id, DW_AT_const_value, AttributeValue::Sdata(value));
    }
    id
}

/// Adds a bit-field, in the manner of the version: bits are counted from the lowest one of the word
/// at `offset`.
pub(crate) fn bit_field(
    d: &mut Dwarf,
    (of, name, ty): (UnitEntryId, &str, UnitEntryId),
    offset: u8,
    first: u8,
    size: u8,
) {
    let member = d.within(of, DW_TAG_member, name);
    d.set(member, DW_AT_type, AttributeValue::UnitRef(ty));
    d.set(member, DW_AT_bit_size, AttributeValue::Data1(size));
    if d.version >= 5 {
        d.set(
            member,
            DW_AT_data_bit_offset,
            AttributeValue::Data1(8 * offset + first),
        );
        return;
    }
    d.set(member, DW_AT_byte_size, AttributeValue::Data1(4));
    d.set(
        member,
        DW_AT_bit_offset,
        AttributeValue::Data1(32 - first - size),
    );
    d.set(
        member,
        DW_AT_data_member_location,
        AttributeValue::Data1(offset),
    );
}
