#![expect(clippy::cast_possible_truncation, reason = "the tables are small")]

mod aarch64;

use proptest::prelude::*;

use super::path::{Bits, PathError, Step};
use super::testing::{Writer, device_like};
use super::value::{Reader, Value, ValueError};
use super::*;
use crate::memory::{Image, Memory};
use crate::symbols::Symbols;

fn types() -> Types {
    Types::parse(&device_like().blob()).unwrap()
}

fn offset(types: &Types, path: &str) -> (u32, Option<Bits>, String) {
    let path = types.resolve("device", path).unwrap();
    (path.offset().unwrap(), path.bits, types.type_name(path.ty))
}

#[test]
fn paths_through_structures_unions_and_arrays() {
    let t = types();
    let bits = |offset, size| Some(Bits { offset, size });
    assert_eq!(offset(&t, "kobj.name"), (0, None, "const char *".into()));
    assert_eq!(
        offset(&t, "archdata.mapping"),
        (20, None, "unsigned int".into())
    );
    assert_eq!(
        offset(&t, "archdata.dma_ops_setup"),
        (24, bits(1, 1), "unsigned int".into())
    );
    assert_eq!(offset(&t, "archdata.depth"), (24, bits(2, 3), "int".into()));
    assert_eq!(offset(&t, "high"), (32, None, "int".into()));
    assert_eq!(offset(&t, "whole"), (28, None, "u64".into()));
    assert_eq!(offset(&t, "numbers[2]"), (52, None, "int".into()));
    assert_eq!(offset(&t, ""), (0, None, "struct device".into()));
    assert!(
        t.structure("last").is_some(),
        "every kind was skipped by its length"
    );
}

#[test]
fn pointers_are_followed() {
    let t = types();
    let steps = [Step::Add(16), Step::Deref];
    assert_eq!(t.resolve("device", "driver->name").unwrap().steps, steps);
    assert_eq!(t.resolve("device", "driver.name").unwrap().steps, steps);
    assert_eq!(t.resolve("device", "driver.name").unwrap().offset(), None);
    let second = t.resolve("device", "driver[1].name").unwrap();
    assert_eq!(second.steps, [Step::Add(16), Step::Deref, Step::Add(4)]);
}

#[test]
fn wrong_paths_are_explained() {
    let t = types();
    let sentence = |path: &str| t.resolve("device", path).unwrap_err().to_string();
    assert_eq!(
        sentence("archdata.dma_ops"),
        "`struct dev_archdata` has no member `dma_ops` (there is `dma_ops_setup`)"
    );
    assert_eq!(
        sentence("state.x"),
        "`enum dl_dev_state` has no members, so there is no `x` in it"
    );
    assert_eq!(
        sentence("numbers[3]"),
        "index 3 is beyond the end of `int[3]`"
    );
    assert_eq!(
        sentence("state[0]"),
        "`enum dl_dev_state` is neither an array nor a pointer, so it cannot be indexed"
    );
    assert_eq!(
        sentence("kobj..name"),
        "`kobj..name` is not a path of members: expected the name of a member at column 6"
    );
    for path in [
        "a b",
        ".x",
        "a[",
        "a[]",
        "a[99999999999]",
        "x->",
        "é",
        "a[1]b",
        "1x",
    ] {
        let error = t.resolve("device", path).unwrap_err();
        assert!(matches!(error, PathError::Syntax { .. }), "{path}: {error}");
    }
    assert_eq!(
        sentence("ops.alloc"),
        "this kernel has no structure `struct dma_map_ops`, or its definition is not known"
    );
    assert!(matches!(
        t.resolve("devise", ""),
        Err(PathError::NoStructure(_))
    ));
}

#[test]
fn functions_and_their_arguments() {
    let t = types();
    let f = t.function("arch_teardown_dma_ops").unwrap();
    assert_eq!(f.arguments.len(), 1);
    assert_eq!(f.arguments[0].name, "dev");
    assert_eq!(t.type_name(f.arguments[0].ty), "struct device *");
    assert_eq!(f.returns, VOID);
    let f = t.function("printk").unwrap();
    assert!(f.variadic);
    assert_eq!(f.arguments.len(), 1);
    assert_eq!(t.function("no_such"), None);
    assert_eq!(t.functions(), 2);
}

#[test]
fn what_is_further_away_than_4_gib_is_not_found() {
    let mut w = Writer::new();
    let byte = w.int("unsigned char", 1, 0);
    let entry = w.structure("entry", 32, &[("last", byte, 24 * 8, 0)]);
    let (bytes, entries) = (w.array(byte, 0), w.array(entry, 0));
    let members = [("bytes", bytes, 64, 0), ("entries", entries, 64, 0)];
    w.structure("log", 8, &members);
    let t = Types::parse(&w.blob()).unwrap();

    let last = t.resolve("log", "bytes[4294967287]").unwrap();
    assert_eq!(last.steps, [Step::Add(u32::MAX)]);
    assert_eq!(
        t.resolve("log", "bytes[4294967288]"),
        Err(PathError::Index {
            ty: "unsigned char[0]".into(),
            index: 4_294_967_288
        })
    );
    let last = t.resolve("log", "entries[134217726].last").unwrap();
    assert_eq!(last.steps, [Step::Add(u32::MAX - 31)]);
    assert_eq!(
        t.resolve("log", "entries[134217727].last"),
        Err(PathError::Far("last".into()))
    );
}

const BASE: u64 = 0xc000_0000;

/// Returns memory with a device at [`BASE`] with everything it points to.
fn guest() -> Vec<u8> {
    let mut ram = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| ram[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0xc000_0100u32.to_le_bytes());
    put(4, &(-5i32).to_le_bytes());
    put(16, &0xc000_0200u32.to_le_bytes());
    put(24, &[0b110_1110]);
    put(28, &0x1122_3344_5566_7788u64.to_le_bytes());
    put(36, b"label\0");
    put(56, &1u32.to_le_bytes());
    put(60, &[1]);
    put(64, &0xc000_0800u32.to_le_bytes());
    put(68, &0xc010_0001u32.to_le_bytes());
    put(72, &(1u64 << 32).to_le_bytes());
    put(0x100, b"fe000000.dma\0");
    put(0x200, &0xc000_0300u32.to_le_bytes());
    put(0x300, b"rcar-dmac\0");
    ram
}

/// Has `look` at what these bytes from `base` on are, by these types and symbols.
fn look_at<T>(
    (types, symbols): (&Types, Option<&Symbols>),
    (base, bytes): (u64, &[u8]),
    look: impl FnOnce(&Types, Reader<'_>) -> T,
) -> T {
    let memory = Image { base, bytes };
    let reader = Reader {
        types,
        symbols,
        memory: &memory,
    };
    look(types, reader)
}

fn with_reader<T>(symbols: Option<&Symbols>, look: impl FnOnce(&Types, Reader<'_>) -> T) -> T {
    look_at((&types(), symbols), (BASE, &guest()), look)
}

fn read(path: &str) -> Result<Value, ValueError> {
    with_reader(None, |types, reader| {
        reader.read(BASE, &types.resolve("device", path)?)
    })
}

#[test]
fn values_have_the_form_of_their_type() {
    let shown = |path: &str| read(path).unwrap().to_string();
    assert_eq!(shown("kobj.name"), "\"fe000000.dma\"");
    assert_eq!(shown("kobj.refs"), "-5");
    assert_eq!(shown("driver->name"), "\"rcar-dmac\"");
    assert_eq!(shown("archdata.dma_coherent"), "0");
    assert_eq!(shown("archdata.dma_ops_setup"), "1");
    assert_eq!(shown("archdata.depth"), "3");
    assert_eq!(shown("whole"), "1234605616436508552");
    assert_eq!(shown("low"), "1432778632");
    assert_eq!(shown("label"), "\"label\"");
    assert_eq!(shown("state"), "DL_DEV_PROBING");
    assert_eq!(shown("offline"), "true");
    assert_eq!(shown("ops"), "0xc0000800");
    assert_eq!(shown("init_name"), "NULL");
    assert_eq!(shown("big"), "HUGE");
    assert_eq!(shown("archdata"), "struct dev_archdata at 0xc0000014");
    assert_eq!(
        read("parent.kobj"),
        Err(PathError::NoStructure("struct device".into()).into())
    );
    assert_eq!(read("state").unwrap().number(), Some(1));
    assert_eq!(read("kobj.refs").unwrap().number(), Some(-5));
}

#[test]
fn pointers_are_named_by_symbols() {
    let written: Vec<_> = (0..600)
        .map(|i| (format!("function_{i}"), 0xc010_0000 + 64 * i, b't'))
        .collect();
    let tables = crate::symbols::testing::tables(&written, &crate::symbols::testing::LAYOUTS[9]);
    let symbols = Symbols::find(&tables).unwrap();
    with_reader(Some(&symbols), |types, reader| {
        let path = types.resolve("device", "release").unwrap();
        let value = reader.read(BASE, &path).unwrap();
        assert_eq!(
            value.to_string(),
            "function_0",
            "the Thumb bit is no offset"
        );
        let ops = types.resolve("device", "ops").unwrap();
        assert_eq!(
            reader.register(ops.ty, 0xc010_0044).to_string(),
            "function_1+0x4"
        );
        assert_eq!(reader.device_name(BASE).unwrap(), "fe000000.dma");
        let boolean = types.resolve("device", "offline").unwrap().ty;
        assert_eq!(reader.register(boolean, 0xffff_ff00), Value::Bool(false));
    });
}

#[test]
fn bad_addresses_are_errors() {
    with_reader(None, |types, reader| {
        let name = types.resolve("device", "driver->name").unwrap();
        assert_eq!(reader.read(0xc000_0400, &name), Err(ValueError::Null));
        assert!(matches!(reader.read(0, &name), Err(ValueError::Memory(_))));
        // A name that leads out of memory is shown as a pointer.
        let text = types.resolve("device", "kobj.name").unwrap();
        assert_eq!(reader.register(text.ty, 0x10).to_string(), "0x00000010");
    });
}

/// Before kind_flag, an integer of fewer bits made a bit-field (pahole up to 1.12).
#[test]
fn old_bit_fields() {
    let mut w = Writer::new();
    let narrow = w.raw("unsigned int", spec::kinds::INT << 24, 4, &[3 << 16 | 2]);
    w.structure("s", 8, &[("field", narrow, 32, 0)]);
    let t = Types::parse(&w.blob()).unwrap();
    let path = t.resolve("s", "field").unwrap();
    assert_eq!(path.offset(), Some(4));
    assert_eq!(path.bits, Some(Bits { offset: 3, size: 2 }));
}

#[test]
fn kinds_of_the_future_are_skipped_if_described() {
    let mut w = device_like();
    w.raw("future", 20 << 24 | 3, 0, &[1, 2, 3, 4]);
    w.structure("after", 4, &[]);
    assert_eq!(
        Types::parse(&w.blob()).err(),
        Some(TypesError::UnknownKind(20))
    );
    let mut layout = vec![0; 21 * 4];
    layout[80..82].copy_from_slice(&[4, 4]);
    w.layout = Some(layout);
    assert!(
        Types::parse(&w.blob())
            .unwrap()
            .structure("after")
            .is_some()
    );
}

#[test]
fn circles_end() {
    use spec::kinds::{CONST, PTR, STRUCT, TYPEDEF};
    let mut w = Writer::new();
    w.to(TYPEDEF, "a", 2);
    w.to(CONST, "", 1);
    w.to(PTR, "", 3);
    w.raw("", spec::kinds::ARRAY << 24, 0, &[4, 4, 1 << 30]);
    // A structure with many nameless copies of itself.
    let itself: Vec<u32> = (0..100).flat_map(|_| [0, 5, 0]).collect();
    w.raw("s", STRUCT << 24 | 100, 4, &itself);
    let t = Types::parse(&w.blob()).unwrap();
    assert_eq!(t.strip(TypeId(1)), VOID);
    assert_eq!(t.size(TypeId(1)), None);
    assert_eq!(t.size(TypeId(4)), None);
    assert!(t.type_name(TypeId(3)).len() < 1024);
    assert!(matches!(
        t.resolve("s", "x"),
        Err(PathError::NoMember { .. })
    ));
    assert!(t.resolve_from(TypeId(4), "[0][0][0]").is_err());
}

#[test]
fn the_largest_blob_of_an_image_is_the_kernels() {
    let mut small = Writer::new();
    small.int("int", 4, 1);
    let image = [
        vec![1, 2, 3],
        small.blob(),
        vec![0x9f, 0xeb, 1],
        device_like().blob(),
    ]
    .concat();
    assert!(Types::find(&image).unwrap().structure("device").is_some());
    assert_eq!(
        Types::find(&[0x9f, 0xeb, 1, 0]).err(),
        Some(TypesError::None)
    );
    let mut bad = device_like().blob();
    // The first type's name is far out of the names.
    bad[27] = 0xff;
    assert!(matches!(Types::find(&bad), Err(TypesError::Damaged(_))));
}

#[test]
fn embedded_tables_are_well_formed() {
    // `embedded` would hide what is wrong.
    let tables = offsets::Tables::parse(include_str!("offsets.toml")).unwrap();
    for (banner, setup) in [
        (
            "Linux version 5.10.0-32-armmp (x) #1 SMP Debian 5.10.223-1 (2024-08-10)",
            (428, 1),
        ),
        (
            "Linux version 6.1.0-50-armmp-lpae (x) # SMP Debian 6.1.176-1 (2026-07-02)",
            (424, 0),
        ),
        (
            "Linux version 6.12.117+deb13-armmp (x) # SMP Debian 6.12.117-1 (2026-11-12)",
            (432, 0),
        ),
        (
            "Linux version 7.2.12+deb14-armmp (x) # SMP Debian 7.2.12-1 (2026-10-22)",
            (440, 0),
        ),
    ] {
        let t = tables.types(banner).unwrap();
        let path = t.resolve("device", "archdata.dma_ops_setup").unwrap();
        assert_eq!(path.offset(), Some(setup.0), "{banner}");
        assert_eq!(
            path.bits,
            Some(Bits {
                offset: setup.1,
                size: 1
            }),
            "{banner}"
        );
        let name = t.resolve("device", "driver->name").unwrap();
        assert_eq!(t.type_name(name.ty), "const char *");
        let function = t.function("arch_teardown_dma_ops").unwrap();
        assert_eq!(t.type_name(function.arguments[0].ty), "struct device *");
    }
    let other = "Linux version 6.1.0-50-armmp (x) # SMP Debian 6.1.175-1 (2026-06-02)";
    assert!(
        tables.types(other).is_none(),
        "another build has other offsets"
    );
}

/// A table written from types gives the same offsets as the types.
#[test]
fn a_table_agrees_with_what_it_was_made_from() {
    let members = [
        "kobj",
        "driver",
        "archdata",
        "init_name",
        "offline",
        "ops",
        "whole",
    ];
    let wanted: [(&str, &[&str]); 4] = [
        ("device", &members),
        ("kobject", &["name", "refs"]),
        ("dev_archdata", &["dma_ops_setup", "depth"]),
        ("device_driver", &["name"]),
    ];
    let t = types();
    let text = format!(
        "[[build]]\nreleases = [\"9.9\"]\ncontains = [\"\"]\n{}",
        offsets::describe(&t, &wanted)
    );
    let table = offsets::Tables::parse(&text).unwrap();
    let made = table.types("Linux version 9.9 (x)").unwrap();
    for path in [
        "kobj.name",
        "kobj.refs",
        "driver->name",
        "archdata.dma_ops_setup",
        "archdata.depth",
        "init_name",
        "offline",
        "ops",
        "whole",
    ] {
        let (a, b) = (
            t.resolve("device", path).unwrap(),
            made.resolve("device", path).unwrap(),
        );
        assert_eq!((&a.steps, a.bits), (&b.steps, b.bits), "{path}");
        assert_eq!(t.size(a.ty), made.size(b.ty), "{path}");
    }
}

#[test]
fn bad_tables_are_explained() {
    let table = |field: &str| {
        let text = format!(
            "[[build]]\nreleases = []\ncontains = [\"\"]\n[build.structures.s]\nsize = 4\nmembers.x = {field}"
        );
        offsets::Tables::parse(&text).unwrap_err().to_string()
    };
    assert_eq!(
        table("{ at = 0, type = \"wchar\" }"),
        "the offset table names the type `wchar`, which is neither a C number nor a structure"
    );
    assert_eq!(
        table("{ at = 0, type = \"int\", bits = [0, 65] }"),
        "the offset table puts `x` at impossible bits"
    );
    assert!(table("{ at = -1, type = \"int\" }").starts_with("the offset table cannot be read"));
}

#[test]
fn banners() {
    let image =
        b"Linux version %s\0\0Linux version 6.1.0-50-armmp (a) # SMP Debian 6.1.176-1 (2026)\n\0";
    assert_eq!(
        offsets::banner(image),
        Some("Linux version 6.1.0-50-armmp (a) # SMP Debian 6.1.176-1 (2026)")
    );
    assert_eq!(offsets::banner(b"Linux"), None);
    let (_, source) = Types::of_kernel(image, Width::Bits32).unwrap();
    assert_eq!(source, Source::Table);
    assert_eq!(
        Types::of_kernel(b"Linux version 4.12.0\n", Width::Bits32)
            .unwrap_err()
            .to_string(),
        "structure fields cannot be named: the kernel was built without CONFIG_DEBUG_INFO_BTF, and no offset table \
         is known for \"Linux version 4.12.0\"; give its vmlinux with debug information as --vmlinux FILE"
    );
}

proptest! {
    /// Any damage gives other types or an error, never a panic, whatever is asked of them.
    #[test]
    fn damage_is_survived(
        damage in proptest::collection::vec((0usize..4096, any::<u8>()), 1..12),
        cut in 0usize..64,
    ) {
        let mut blob = device_like().blob();
        for (at, value) in damage {
            let at = at % blob.len();
            blob[at] = value;
        }
        blob.truncate(blob.len() - cut);
        let Ok(t) = Types::find(&blob) else { return Ok(()) };
        let ram = guest();
        let memory: &dyn Memory = &Image { base: 0xc000_0000, bytes: &ram };
        let reader = Reader { types: &t, symbols: None, memory };
        for path in ["kobj.name", "driver->name", "archdata.dma_ops_setup", "high", "numbers[1]"] {
            if let Ok(path) = t.resolve("device", path) {
                let _ = reader.read(0xc000_0000, &path);
            }
        }
        for i in 0..t.len() as u32 {
            let _ = (t.size(TypeId(i)), t.type_name(TypeId(i)));
        }
        let _ = t.function("printk");
    }

    #[test]
    fn any_path_is_taken_or_refused(path in "[a-z_.\\->\\[\\]0-9é ]{0,40}") {
        let _ = types().resolve("device", &path);
    }
}
