//! A list of modules in a small memory, well-formed and not.

use proptest::prelude::*;

use super::*;
use crate::memory::Image;
use crate::types::offsets::Tables;
use crate::types::testing::Writer;

const BASE: u32 = 0xbf00_0000;
/// The same of a 64-bit kernel.
const WIDE_BASE: u64 = 0xffff_8000_7a00_0000;
/// Where the list's head is, and where the only module and its tables are.
const HEAD: u32 = 0x10;
const MODULE: u32 = 0x100;
const KALLSYMS: u32 = 0x200;
const SYMBOLS: u32 = 0x300;
const NAMES: u32 = 0x400;
const LETTERS: u32 = 0x500;

fn types() -> Types {
    let table = "
        [[build]]
        releases = ['1.0']
        contains = ['x']
        [build.structures.module]
        size = 128
        members.state = { at = 0, type = 'unsigned int' }
        members.list = { at = 4, type = 'unsigned int' }
        members.name = { at = 12, type = 'unsigned int' }
        members.kallsyms = { at = 80, type = 'unsigned int' }
        [build.structures.mod_kallsyms]
        size = 16
        members.symtab = { at = 0, type = 'unsigned int' }
        members.num_symtab = { at = 4, type = 'unsigned int' }
        members.strtab = { at = 8, type = 'unsigned int' }
        members.typetab = { at = 12, type = 'unsigned int' }
    ";
    let tables = Tables::parse(table).unwrap();
    tables.types("Linux version 1.0 x").unwrap()
}

/// Returns the symbols of a kernel that has one symbol.
fn one_symbol(name: &str, address: impl Into<u64>) -> Symbols {
    let address = address.into();
    let symbol = ModuleSymbol {
        name: name.into(),
        address,
        end: address,
        kind: 'd',
    };
    let mut symbols = Symbols::default();
    symbols.set_modules([&Module::new("vmlinux", vec![symbol])]);
    symbols
}

/// Memory with the words that are given.
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(&mut self, at: u32, bytes: &[u8]) {
        self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: u32, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    /// Writes symbol `index` of the table: where its name is, value, size, kind and section.
    fn symbol(&mut self, index: u32, (name, value, size): (u32, u32, u32), kind: u8, section: u16) {
        let at = SYMBOLS + index * 16;
        self.word(at, name);
        self.word(at + 4, value);
        self.word(at + 8, size);
        self.put(at + 12, &[kind, 0]);
        self.put(at + 14, &section.to_le_bytes());
    }

    fn image(&self) -> Image<'_> {
        Image {
            base: BASE.into(),
            bytes: &self.0,
        }
    }
}

/// Returns memory with one live module with two functions, the second without a size, and four
/// symbols that are no places in it.
fn loaded() -> Bytes {
    let mut bytes = Bytes(vec![0; 0x600]);
    bytes.word(HEAD, BASE + MODULE + 4);
    bytes.word(MODULE + 4, BASE + HEAD);
    bytes.put(MODULE + 12, b"clock\0");
    bytes.word(MODULE + 80, BASE + KALLSYMS);
    bytes.word(KALLSYMS, BASE + SYMBOLS);
    bytes.word(KALLSYMS + 4, 6);
    bytes.word(KALLSYMS + 8, BASE + NAMES);
    bytes.word(KALLSYMS + 12, BASE + LETTERS);
    bytes.put(NAMES, b"\0probe\0remove\0$a\0printk\0");
    bytes.put(LETTERS, b"?ttt?t");
    bytes.symbol(1, (7, 0xbf10_0100, 0), 2, 1);
    bytes.symbol(2, (1, 0xbf10_0001, 0x40), 2, 1);
    bytes.symbol(3, (14, 0xbf10_0000, 0), 0, 1);
    bytes.symbol(4, (17, 0xc010_0000, 0), 2, UNDEFINED);
    bytes.symbol(5, (1, 0, 0), 4, 0xfff1);
    bytes
}

/// Reads the modules whose list has its head there.
fn read_by(
    types: &Types,
    head: impl Into<u64>,
    image: &Image<'_>,
) -> Result<Modules, ModulesError> {
    let mut modules = Modules::default();
    modules.refresh(types, &one_symbol("modules", head), image)?;
    Ok(modules)
}

fn read(bytes: &Bytes) -> Result<Modules, ModulesError> {
    read_by(&types(), BASE + HEAD, &bytes.image())
}

#[test]
fn places_of_a_module_are_found_by_name_and_address() {
    let modules = read(&loaded()).unwrap();
    let module = modules.iter().next().unwrap();
    assert_eq!(module.name, "clock");
    let seen: Vec<_> = module
        .symbols
        .iter()
        .map(|s| (s.name.as_str(), s.address, s.end, s.kind))
        .collect();
    let expected = [
        ("probe", 0xbf10_0000, 0xbf10_0040, 't'),
        ("remove", 0xbf10_0100, 0xbf10_0101, 't'),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_module_goes_and_another_comes() {
    let (types, symbols) = (types(), one_symbol("modules", BASE + HEAD));
    let mut bytes = loaded();
    let mut modules = Modules::default();
    modules.refresh(&types, &symbols, &bytes.image()).unwrap();
    // Its initialisation is over: other tables.
    bytes.word(KALLSYMS + 4, 2);
    modules.refresh(&types, &symbols, &bytes.image()).unwrap();
    assert_eq!(modules.iter().next().unwrap().symbols.len(), 1);
    bytes.word(MODULE, UNFORMED);
    modules.refresh(&types, &symbols, &bytes.image()).unwrap();
    assert_eq!(modules.iter().count(), 0);
}

#[test]
fn what_is_not_there_is_told() {
    let none = one_symbol("others", 0u32);
    let error = Modules::default().refresh(&types(), &none, &loaded().image());
    assert_eq!(error, Err(ModulesError::NoList));
    let mut bytes = loaded();
    bytes.word(HEAD, 0x10);
    assert!(matches!(read(&bytes), Err(ModulesError::Memory(_))));
}

/// Returns what [`types`] does, of a 64-bit kernel.
fn aarch64_types() -> Types {
    let mut w = Writer::new();
    let int = w.int("unsigned int", 4, 0);
    let long = w.int("long unsigned int", 8, 0);
    let members = [
        ("state", int, 0, 0),
        ("list", long, 8 * 8, 0),
        ("name", int, 24 * 8, 0),
    ];
    let members = [&members[..], &[("kallsyms", long, 80 * 8, 0)]].concat();
    w.structure("module", 128, &members);
    let members = [("symtab", long, 0, 0), ("num_symtab", int, 8 * 8, 0)];
    let rest = [("strtab", long, 16 * 8, 0), ("typetab", long, 24 * 8, 0)];
    w.structure("mod_kallsyms", 32, &[members, rest].concat());
    Types::parse(&w.blob()).unwrap()
}

/// Returns memory with one live module of a 64-bit kernel with a function that has an odd address,
/// and a mark.
fn aarch64_loaded() -> Bytes {
    let mut bytes = Bytes(vec![0; 0x600]);
    let mut long = |at: u32, value: u64| bytes.put(at, &value.to_le_bytes());
    let to = |at: u32| WIDE_BASE + u64::from(at);
    long(HEAD, to(MODULE + 8));
    long(MODULE + 8, to(HEAD));
    long(MODULE + 80, to(KALLSYMS));
    long(KALLSYMS, to(SYMBOLS));
    long(KALLSYMS + 8, 3);
    long(KALLSYMS + 16, to(NAMES));
    long(KALLSYMS + 24, to(LETTERS));
    long(SYMBOLS + 24 + 8, WIDE_BASE + 0x10_0001);
    long(SYMBOLS + 24 + 16, 0x40);
    bytes.put(MODULE + 24, b"clock\0");
    bytes.put(NAMES, b"\0probe\0$x\0");
    bytes.put(LETTERS, b"?tt");
    // Name, kind, section.
    bytes.put(SYMBOLS + 24, &[1, 0, 0, 0, 2, 0, 1, 0]);
    bytes.put(SYMBOLS + 48, &[7, 0, 0, 0, 0, 0, 1, 0]);
    bytes
}

fn read_aarch64(bytes: &Bytes) -> Result<Modules, ModulesError> {
    let image = Image {
        base: WIDE_BASE,
        bytes: &bytes.0,
    };
    read_by(&aarch64_types(), WIDE_BASE + u64::from(HEAD), &image)
}

#[test]
fn modules_of_a_64_bit_kernel_are_found() {
    let modules = read_aarch64(&aarch64_loaded()).unwrap();
    let module = modules.iter().next().unwrap();
    assert_eq!(module.name, "clock");
    let expected = ModuleSymbol {
        name: "probe".into(),
        address: WIDE_BASE + 0x10_0001,
        end: WIDE_BASE + 0x10_0041,
        kind: 't',
    };
    assert_eq!(module.symbols, [expected]);
}

proptest! {
    #[test]
    fn any_memory_is_read_in_time(words in proptest::collection::vec((0u32..0x17f, 0u32..0x600), 0..24)) {
        let mut bytes = loaded();
        for (at, value) in words {
            bytes.word(at * 4, BASE + value);
        }
        let _ = read(&bytes);
    }

    #[test]
    fn any_memory_of_a_64_bit_kernel_is_read_in_time(
        words in proptest::collection::vec((0u32..0xbf, 0u64..0x600, any::<bool>()), 0..24),
    ) {
        let mut bytes = aarch64_loaded();
        for (at, value, far) in words {
            let value = if far { value.wrapping_sub(0x300) } else { WIDE_BASE + value };
            bytes.put(at * 8, &value.to_le_bytes());
        }
        let _ = read_aarch64(&bytes);
    }
}

/// Two modules that are not set up lead to each other, and not back to the head.
#[test]
fn a_circle_of_modules_that_cannot_be_read_ends() {
    let mut bytes = loaded();
    const OTHER: u32 = 0x180;
    bytes.word(MODULE, UNFORMED);
    bytes.word(MODULE + 4, BASE + OTHER + 4);
    bytes.word(OTHER, UNFORMED);
    bytes.word(OTHER + 4, BASE + MODULE + 4);
    assert_eq!(read(&bytes).unwrap().iter().count(), 0);
}
