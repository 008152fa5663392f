use gimli::constants::*;
use gimli::write::AttributeValue;
use proptest::prelude::*;

use super::testing::{Dwarf, Elf, Packing, device_like, enumeration, note};
use super::*;
use crate::types::path::PathError;
use crate::types::{Kind, TypeId, TypesError};

const BANNER: &str = "Linux version 4.12.0 (a@b) (gcc) #1 SMP Mon Jul 3 00:00:00 UTC 2017";
const ID: [u8; 20] = *b"0123456789abcdefghij";

fn parse(dwarf: Dwarf) -> Result<Vmlinux, VmlinuxError> {
    Vmlinux::parse(&Elf::new().with_types(dwarf, Packing::None).bytes())
}

fn types(dwarf: Dwarf) -> Arc<Types> {
    Arc::clone(parse(dwarf).unwrap().types())
}

/// Returns what a structure consists of, nameless inner ones included by what they contain.
fn members(types: &Types, name: &str, paths: &[&str]) -> Vec<String> {
    let size = types.structure(name).and_then(|ty| types.size(ty));
    let path = |path: &&str| {
        let found = types.resolve(name, path).unwrap();
        format!(
            "{path}: {:?} {:?} {}",
            found.steps,
            found.bits,
            types.type_name(found.ty)
        )
    };
    std::iter::once(format!("{size:?}"))
        .chain(paths.iter().map(path))
        .collect()
}

#[test]
fn dwarf_and_btf_of_the_same_types_are_the_same() {
    let btf = Types::parse(&crate::types::testing::device_like().blob()).unwrap();
    let device = [
        "kobj.name",
        "kobj.refs",
        "parent",
        "driver.name",
        "archdata.mapping",
        "archdata.dma_coherent",
        "archdata.dma_ops_setup",
        "archdata.depth",
        "whole",
        "low",
        "high",
        "label[3]",
        "numbers[2]",
        "state",
        "offline",
        "ops",
        "release",
        "big",
    ];
    for version in [3, 4, 5] {
        for packing in [Packing::None, Packing::Zlib, Packing::Zstd] {
            let file = Elf::new().with_types(device_like(version), packing);
            let found = Vmlinux::parse(&file.bytes()).unwrap();
            let types = found.types();
            let which = format!("DWARF {version}, {packing:?}");
            for (name, paths) in [
                ("device", &device[..]),
                ("kobject", &["name", "refs"]),
                ("last", &["x"]),
            ] {
                assert_eq!(
                    members(types, name, paths),
                    members(&btf, name, paths),
                    "{which}"
                );
            }
            for name in ["arch_teardown_dma_ops", "printk"] {
                let shown = |types: &Types| {
                    let function = types.function(name).unwrap();
                    let arguments = function.arguments.iter();
                    let arguments: Vec<_> = arguments
                        .map(|a| (a.name.to_owned(), types.type_name(a.ty)))
                        .collect();
                    (
                        arguments,
                        types.type_name(function.returns),
                        function.variadic,
                    )
                };
                assert_eq!(shown(types), shown(&btf), "{which}");
            }
            let names = |types: &Types| {
                let ty = types.resolve("device", "state").unwrap().ty;
                let Kind::Enum { values, .. } = types.kind(ty) else {
                    panic!("{which}: no enumeration");
                };
                types.enum_name(values, 1).map(str::to_owned)
            };
            assert_eq!(names(types), names(&btf), "{which}");
        }
    }
}

#[test]
fn the_first_definition_counts_and_declarations_do_not() {
    let mut d = Dwarf::new(4);
    let int = d.base("int", 4, DW_ATE_signed);
    let declared = d.add(DW_TAG_structure_type, "device");
    d.set(declared, DW_AT_declaration, AttributeValue::FlagPresent);
    let pointer = d.to(DW_TAG_pointer_type, "", declared);
    d.composite(DW_TAG_structure_type, "user", 4, &[("device", pointer, 0)]);
    d.next_unit();
    let int_again = d.base("int", 4, DW_ATE_signed);
    d.composite(DW_TAG_structure_type, "device", 8, &[("id", int_again, 4)]);
    d.next_unit();
    let other = d.base("int", 4, DW_ATE_signed);
    let own = d.composite(DW_TAG_structure_type, "device", 12, &[("id", other, 8)]);
    let own = d.to(DW_TAG_pointer_type, "", own);
    d.function("of_this_file", None, &[("dev", own)]);
    let _ = int;
    let types = types(d);
    let at = |path: &str| types.resolve("device", path).unwrap().offset();
    assert_eq!(at("id"), Some(4), "the first definition");
    // A pointer to what is only declared leads to the definition in another unit.
    let through = types.resolve("user", "device.id").unwrap();
    assert_eq!(
        through.steps.last(),
        Some(&crate::types::path::Step::Add(4))
    );
    // A file's own structure of that name is still its own.
    let own = types.function("of_this_file").unwrap().arguments[0].ty;
    let own = types.pointee(own).unwrap();
    assert_eq!(types.size(own), Some(12));
    assert_eq!(types.member(own, "id").unwrap().bit_offset, 64);
    let ints = (0..u32::try_from(types.len()).unwrap())
        .filter(|&id| types.plain_name(TypeId(id)) == "int")
        .count();
    assert_eq!(ints, 1, "the same type of three units is one");
}

#[test]
fn a_files_own_function_and_enumerations_are_read() {
    let mut d = device_like(5);
    let state = enumeration(&mut d, "signed", 4, &[("MINUS", -1), ("PLUS", 1)]);
    d.composite(
        DW_TAG_structure_type,
        "state_holder",
        4,
        &[("state", state, 0)],
    );
    let types = types(d);
    let ty = types.resolve("state_holder", "state").unwrap().ty;
    let Kind::Enum {
        signed,
        values,
        size,
    } = types.kind(ty)
    else {
        panic!("no enumeration");
    };
    assert!(*signed);
    assert_eq!((*size, types.enum_name(values, -1)), (4, Some("MINUS")));
}

#[test]
fn arrays_of_arrays_keep_their_dimensions() {
    let mut d = Dwarf::new(4);
    let int = d.base("int", 4, DW_ATE_signed);
    let array = d.to(DW_TAG_array_type, "", int);
    for last in [1, 2] {
        let range = d.within(array, DW_TAG_subrange_type, "");
        d.set(range, DW_AT_upper_bound, AttributeValue::Data1(last));
    }
    let flexible = d.to(DW_TAG_array_type, "", int);
    d.within(flexible, DW_TAG_subrange_type, "");
    let members = [("table", array, 0), ("rest", flexible, 24)];
    d.composite(DW_TAG_structure_type, "tables", 24, &members);
    let types = types(d);
    let at = |path: &str| types.resolve("tables", path).unwrap().offset();
    assert_eq!(at("table[1][2]"), Some(20));
    assert!(matches!(
        types.resolve("tables", "table[2]"),
        Err(PathError::Index { .. })
    ));
    assert_eq!(at("rest"), Some(24));
}

#[test]
fn other_languages_are_left_out() {
    let mut d = Dwarf::new(5);
    let int = d.base("i32", 4, DW_ATE_signed);
    d.composite(DW_TAG_structure_type, "device", 4, &[("rust", int, 0)]);
    let root = d.root();
    d.set(root, DW_AT_language, AttributeValue::Language(DW_LANG_Rust));
    d.next_unit();
    let int = d.base("int", 4, DW_ATE_signed);
    d.composite(DW_TAG_structure_type, "device", 4, &[("c", int, 0)]);
    let types = types(d);
    assert!(types.resolve("device", "c").is_ok());
    assert!(types.resolve("device", "rust").is_err());
}

#[test]
fn what_cannot_be_used_is_said_in_a_sentence() {
    let sentence = |file: &[u8]| Vmlinux::parse(file).unwrap_err().to_string();
    let with = |change: fn(&mut Elf)| {
        let mut elf = Elf::new().with_types(device_like(4), Packing::None);
        change(&mut elf);
        sentence(&elf.bytes())
    };
    assert!(sentence(b"").contains("no ELF file"));
    assert!(sentence(b"\x1f\x8b zImage").contains("not the zImage or Image"));
    assert!(with(|elf| elf.machine = 62).contains("not a program for ARM"));
    assert!(with(|elf| elf.kind = 1).contains("not linked yet"));
    assert!(with(|elf| elf.sections.clear()).contains("no debug information"));
    let whole = Elf::new().with_types(device_like(4), Packing::None).bytes();
    for end in [5, 40, 60, whole.len() / 2, whole.len() - 1] {
        assert!(Vmlinux::parse(&whole[..end]).is_err(), "cut off at {end}");
    }
    // Only a skeleton, whose rest is in another file.
    let mut d = Dwarf::new(4);
    let root = d.root();
    let name = AttributeValue::String(b"main.dwo".to_vec());
    d.set(root, DW_AT_GNU_dwo_name, name);
    assert_eq!(parse(d).unwrap_err(), DwarfError::Split.into());
    let mut d = Dwarf::new(4);
    d.base("int", 4, DW_ATE_signed);
    assert_eq!(parse(d).unwrap_err(), DwarfError::None.into());
    // A section that says to be larger than any.
    let mut elf = Elf::new().with_types(device_like(4), Packing::Zlib);
    for (_, _, _, contents) in &mut elf.sections {
        contents[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    assert_eq!(
        Vmlinux::parse(&elf.bytes()).unwrap_err(),
        VmlinuxError::Large
    );
}

#[test]
fn a_stripped_file_may_have_btf() {
    let blob = crate::types::testing::device_like().blob();
    let found = Vmlinux::parse(&Elf::new().with(".BTF", &blob).bytes()).unwrap();
    assert!(found.types().structure("device").is_some());
    let damaged = Vmlinux::parse(&Elf::new().with(".BTF", &blob[..30]).bytes());
    let error = VmlinuxError::Btf(TypesError::Damaged("it is cut off"));
    assert_eq!(damaged.unwrap_err(), error);
}

#[test]
fn circles_and_deep_nests_end() {
    let mut d = Dwarf::new(4);
    let first = d.add(DW_TAG_pointer_type, "");
    let second = d.to(DW_TAG_const_type, "", first);
    d.set(first, DW_AT_type, AttributeValue::UnitRef(second));
    d.composite(DW_TAG_structure_type, "circle", 4, &[("p", first, 0)]);
    assert_eq!(parse(d).unwrap_err(), DwarfError::Depth.into());
    // Structures may contain each other to any depth without harm, and even themselves.
    let mut d = Dwarf::new(4);
    let mut inner = d.base("int", 4, DW_ATE_signed);
    for depth in 0..20_000 {
        inner = d.composite(
            DW_TAG_structure_type,
            &format!("s{depth}"),
            4,
            &[("m", inner, 0)],
        );
    }
    let own = d.add(DW_TAG_structure_type, "itself");
    d.member(own, "m", own, 0);
    let types = types(d);
    assert!(types.structure("s19999").is_some());
    assert_eq!(
        types.structure("itself").map(|ty| types.size(ty)),
        Some(Some(0))
    );
}

#[test]
fn a_kernel_is_told_by_its_build_id() {
    let file = |id: Option<&[u8]>, banner: Option<&str>| {
        let mut elf = Elf::new().with_types(device_like(4), Packing::None);
        if let Some(id) = id {
            elf = elf.with_id(id);
        }
        if let Some(banner) = banner {
            elf = elf.with_banner(banner);
        }
        Vmlinux::parse(&elf.bytes()).unwrap()
    };
    let image = |id: &[u8], banner: &str| {
        let text = format!("{banner}\n\0").into_bytes();
        // The kernel holds other programs, which have IDs of their own.
        [vec![0; 7], note(&[b'0'; 20]), text, note(id), vec![0; 9]].concat()
    };
    let running = image(&ID, BANNER);
    let same = file(Some(&ID), Some(BANNER));
    assert_eq!(same.banner(), Some(BANNER));
    same.check(&running).unwrap();
    same.check_file(&running).unwrap();
    // Compressed: nothing to be seen.
    same.check_file(b"zImage").unwrap();
    file(Some(&ID), None).check(&running).unwrap();
    file(None, Some(BANNER)).check(&running).unwrap();
    let other = image(b"another build's ID..", BANNER);
    let build = MismatchError::Build(BANNER.into());
    assert_eq!(same.check(&other), Err(build.clone()));
    assert_eq!(same.check_file(&other), Err(build.clone()));
    assert_eq!(file(Some(&ID), None).check(&other), Err(build));
    let newer = BANNER.replace("4.12.0", "4.13.0");
    let error = same.check(&image(b"another build's ID..", &newer));
    let sentence = error.unwrap_err().to_string();
    assert!(
        sentence.contains("4.12.0") && sentence.contains("4.13.0"),
        "{sentence}"
    );
    assert!(file(None, Some(&newer)).check(&running).is_err());
    assert_eq!(
        file(None, None).check(&running),
        Err(MismatchError::Unknown)
    );
    assert_eq!(
        file(None, Some(BANNER)).check(b""),
        Err(MismatchError::Unknown)
    );
}

#[test]
fn of_several_files_the_one_that_fits_is_taken() {
    let file = |id: &[u8; 20]| {
        let elf = Elf::new()
            .with_types(device_like(4), Packing::None)
            .with_id(id);
        Vmlinux::parse(&elf.bytes()).unwrap()
    };
    let other = *b"another build's ID..";
    let files: Arc<[Vmlinux]> = vec![file(&other), file(&ID)].into();
    let from = TypesFrom::AnyOf(Arc::clone(&files));
    let running = [format!("{BANNER}\n").into_bytes(), note(&ID)].concat();
    let found = from.find(&running, Width::Bits32).unwrap();
    assert!(Arc::ptr_eq(&found, files[1].types()));
    // Where none fits, the kernel has its own types or none.
    let foreign = [
        format!("{BANNER}\n").into_bytes(),
        note(b"a third build's ID.."),
    ]
    .concat();
    let none = from.find(&foreign, Width::Bits32).unwrap_err();
    assert_eq!(none, TypesError::NoTable(format!("\"{BANNER}\"")));
    let blob = crate::types::testing::device_like().blob();
    let own = from.find(&[foreign, blob].concat(), Width::Bits32).unwrap();
    assert!(own.structure("device").is_some() && !Arc::ptr_eq(&own, files[0].types()));
}

proptest! {
    /// Files are hostile: whatever is in one, reading it ends, with types or a sentence.
    #[test]
    fn damaged_files_are_read_to_an_end(
        version in 3_u16..=5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let elf = Elf::new()
            .with_types(device_like(version), Packing::None)
            .with_id(&ID)
            .with_banner(BANNER);
        let mut file = elf.bytes();
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if cut {
            file.truncate(end.index(file.len()));
        }
        if let Ok(found) = Vmlinux::parse(&file) {
            for id in 0..u32::try_from(found.types().len()).unwrap() {
                let _ = found.types().type_name(TypeId(id));
                let _ = found.types().size(TypeId(id));
            }
            let _ = found.types().resolve("device", "archdata.depth");
            let _ = found.check(&file);
        }
    }
}
