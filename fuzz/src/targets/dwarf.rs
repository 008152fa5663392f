//! Any file as a `vmlinux`: any bytes, sections with any entries in any form, good debug
//! information with bytes changed; and debug information of types that the input makes up, whose
//! structures have to come out as they were put in.

#![expect(
    clippy::cast_possible_truncation,
    reason = "files are small, and a byte is the low one"
)]

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use gimli::constants::{
    DW_ATE_unsigned, DW_TAG_array_type, DW_TAG_const_type, DW_TAG_pointer_type,
    DW_TAG_structure_type, DW_TAG_subrange_type, DW_TAG_typedef, DW_TAG_union_type,
};
use gimli::write::{AttributeValue, UnitEntryId};
use vmm::introspect::types::Types;
use vmm::introspect::types::vmlinux::Vmlinux;

use super::btf::ask;
use super::rest::Rest;

// The writer of files that unit tests use.
#[path = "../../../vmm/introspect/src/types/vmlinux/testing.rs"]
#[expect(dead_code, reason = "types need a part")]
mod testing;

use testing::{Dwarf, Elf, Packing, device_like};

/// Types of one case that the input makes up.
const STEPS: usize = 64;

/// An input.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Any(&'a [u8]),
    Entries(Entries<'a>),
    /// Good debug information of a version, packed, with words changed: in a section, or in the
    /// file.
    Changed(u8, u8, bool, Vec<(u16, bool, u32)>),
    Made(u8, u8, Rest<Step>),
}

/// Units with any entries.
#[derive(Arbitrary, Debug)]
struct Entries<'a> {
    abbreviations: Vec<Abbreviation>,
    version: u8,
    offsets: &'a [u8],
    names: &'a str,
    /// A unit for each.
    units: Vec<&'a [u8]>,
}

/// What entries of a kind have.
#[derive(Arbitrary, Debug)]
struct Abbreviation {
    tag: Tag,
    has_children: bool,
    attributes: Vec<(Attribute, Form)>,
}

/// Codes of which most are those that types are made of (DWARF 5, tables 7.3, 7.5 and 7.6).
#[derive(Arbitrary, Debug)]
struct Tag(u8);
#[derive(Arbitrary, Debug)]
struct Attribute(u8);
#[derive(Arbitrary, Debug)]
struct Form(u8);

const TAGS: &[u8] = &[
    0x11, 0x13, 0x17, 0x0d, 0x0f, 0x16, 0x24, 0x26, 0x35, 0x01, 0x21, 0x04, 0x28, 0x2e, 0x05, 0x18,
    0x15, 0x37, 0x3b, 0x39,
];
const ATTRIBUTES: &[u8] = &[
    0x03, 0x0b, 0x49, 0x3b, 0x3c, 0x01, 0x47, 0x3e, 0x38, 0x0d, 0x0c, 0x6b, 0x37, 0x2f, 0x1c, 0x72,
    0x76, 0x13,
];
const FORMS: &[u8] = &[
    0x08, 0x0b, 0x05, 0x06, 0x07, 0x0d, 0x0f, 0x0e, 0x1f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17,
    0x18, 0x19, 0x1a, 0x1e, 0x20, 0x21, 0x25, 0x26, 0x27, 0x28, 0x03, 0x04, 0x09, 0x0a, 0x0c, 0x16,
];

/// Returns one of `known` for most values, and the value itself, as one byte, for the others.
fn code(value: u8, known: &[u8]) -> u8 {
    match known.get(usize::from(value) % (known.len() + 1)) {
        Some(&code) => code,
        None => value & 0x7f,
    }
}

impl Entries<'_> {
    fn abbreviations(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, kind) in (1..=0x40).zip(&self.abbreviations) {
            out.extend([number, code(kind.tag.0, TAGS), kind.has_children.into()]);
            for (attribute, form) in kind.attributes.iter().take(80) {
                let form = code(form.0, FORMS);
                out.extend([code(attribute.0, ATTRIBUTES).max(1), form.max(1)]);
                // What is said here and not in the entry.
                if form == 0x21 {
                    out.push(5);
                }
            }
            out.extend([0, 0]);
        }
        out.push(0);
        out
    }

    fn info(&self) -> Vec<u8> {
        let version = u16::from(2 + self.version % 4);
        let mut out = Vec::new();
        for entries in &self.units {
            let mut unit = version.to_le_bytes().to_vec();
            // A compilation unit, pointers of 4 bytes, and where the abbreviations begin.
            if version >= 5 {
                unit.extend([1, 4, 0, 0, 0, 0]);
            } else {
                unit.extend([0, 0, 0, 0, 4]);
            }
            unit.extend(*entries);
            out.extend((unit.len() as u32).to_le_bytes());
            out.extend(unit);
        }
        out
    }

    fn file(&self) -> Vec<u8> {
        let mut names = self.names.as_bytes().to_vec();
        names.push(0);
        Elf::new()
            .with(".debug_info", &self.info())
            .with(".debug_abbrev", &self.abbreviations())
            .with(".debug_str", &names)
            .with(".debug_line_str", &names)
            .with(".debug_str_offsets", self.offsets)
            .bytes()
    }
}

const fn packing(of: u8) -> Packing {
    match of % 3 {
        0 => Packing::None,
        1 => Packing::Zlib,
        _ => Packing::Zstd,
    }
}

fn change(bytes: &mut [u8], changes: &[(u16, bool, u32)]) {
    for (at, byte, value) in changes.iter().take(16) {
        let at = usize::from(*at) % bytes.len().max(1);
        if *byte {
            bytes[at] = *value as u8;
        } else if let Some(word) = bytes.get_mut(at..at + 4) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn changed(version: u8, of: u8, in_file: bool, changes: &[(u16, bool, u32)]) -> Vec<u8> {
    let good = device_like(3 + u16::from(version % 3));
    let mut elf = Elf::new().with_banner("Linux version 6.1.0 (x)");
    elf = elf.with_id(b"0123456789").with_types(good, packing(of));
    if !in_file && let Some((_, _, _, contents)) = elf.sections.iter_mut().rev().nth(of.into()) {
        change(contents, changes);
    }
    let mut file = elf.bytes();
    if in_file {
        change(&mut file, changes);
    }
    file
}

/// A type that the input makes up, of those that the unit has up to now.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Base(u8),
    Pointer(u8),
    Const(u8),
    Typedef(u8),
    Array(u8, u8),
    /// Which name, size, and members: type and offset.
    Composite(bool, u8, u8, [(u8, u8); 3]),
    NextUnit,
}

/// The size and the offsets of members that a structure must come out with.
type Made = BTreeMap<String, (u32, [u32; 3])>;

fn types(version: u8, steps: &[Step]) -> (Dwarf, Made) {
    let mut d = Dwarf::new(3 + u16::from(version % 3));
    let mut made = Made::new();
    let mut unit: Vec<UnitEntryId> = Vec::new();
    for step in steps.iter().take(STEPS) {
        if unit.is_empty() {
            unit.push(d.base("int", 4, DW_ATE_unsigned));
        }
        let of = |index: u8| unit[usize::from(index) % unit.len()];
        let new = match *step {
            Step::Base(size) => d.base(&format!("i{size}"), size, DW_ATE_unsigned),
            Step::Pointer(to) => d.to(DW_TAG_pointer_type, "", of(to)),
            Step::Const(to) => d.to(DW_TAG_const_type, "", of(to)),
            Step::Typedef(to) => d.to(DW_TAG_typedef, &format!("t{to}"), of(to)),
            Step::Array(element, last) => {
                let array = d.to(DW_TAG_array_type, "", of(element));
                let range = d.within(array, DW_TAG_subrange_type, "");
                let last = AttributeValue::Data1(last);
                d.set(range, gimli::constants::DW_AT_upper_bound, last);
                array
            }
            Step::Composite(union, name, size, members) => {
                let (tag, letter) = match union {
                    true => (DW_TAG_union_type, 'u'),
                    false => (DW_TAG_structure_type, 's'),
                };
                let name = format!("{letter}{}", name % 16);
                let names = ["a", "b", "c"].into_iter().zip(members);
                let members = names.map(|(name, (ty, offset))| (name, of(ty), u64::from(offset)));
                let members: Vec<_> = members.collect();
                if !union {
                    let offsets = [0, 1, 2].map(|i: usize| members[i].2 as u32);
                    // The first definition of a name counts.
                    let entry = made.entry(name.clone());
                    entry.or_insert((size.into(), offsets));
                }
                d.composite(tag, &name, size.into(), &members)
            }
            Step::NextUnit => {
                d.next_unit();
                unit.clear();
                continue;
            }
        };
        unit.push(new);
    }
    (d, made)
}

fn check_made(types: &Types, made: &Made) {
    for (name, (size, offsets)) in made {
        let ty = types.structure(name).expect("it was put in");
        assert_eq!(types.size(ty), Some(*size), "{name}");
        for (member, offset) in ["a", "b", "c"].iter().zip(offsets) {
            let found = types.member(ty, member).expect("it was put in");
            assert_eq!(found.bit_offset, offset * 8, "{name}.{member}");
        }
    }
}

fn check(file: &[u8]) {
    let Ok(vmlinux) = Vmlinux::parse(file) else {
        return;
    };
    ask(vmlinux.types(), "a", file);
    let _ = (vmlinux.check(file), vmlinux.check_file(file));
    let _ = vmlinux.banner();
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Any(bytes)) => check(bytes),
        Ok(Case::Entries(entries)) => check(&entries.file()),
        Ok(Case::Changed(version, of, in_file, changes)) => {
            check(&changed(version, of, in_file, &changes));
        }
        Ok(Case::Made(version, of, steps)) => {
            let (dwarf, made) = types(version, &steps.0);
            let file = Elf::new().with_types(dwarf, packing(of)).bytes();
            check(&file);
            if !made.is_empty() {
                let vmlinux = Vmlinux::parse(&file).expect("it is well-formed");
                check_made(vmlinux.types(), &made);
            }
        }
        Err(_) => {}
    }
}
