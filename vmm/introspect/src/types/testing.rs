//! A small BTF writer for tests.

#![expect(clippy::cast_possible_truncation, reason = "the tables are small")]

use super::spec::{self, kinds};

/// A blob in the making. Types are numbered from 1 in the order of writing.
#[derive(Default)]
pub(crate) struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    /// What describes kinds, for blobs of the newer form.
    pub(crate) layout: Option<Vec<u8>>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    pub(crate) fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// Writes a type with all that follows it, and returns its number.
    pub(crate) fn raw(&mut self, name: &str, info: u32, size: u32, more: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, info, size].iter().chain(more) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    pub(crate) fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.raw(
            name,
            kinds::INT << 24,
            size,
            &[(encoding << 24) | (size * 8)],
        )
    }

    /// Writes a kind without more than a type it refers to.
    pub(crate) fn to(&mut self, kind: u32, name: &str, ty: u32) -> u32 {
        self.raw(name, kind << 24, ty, &[])
    }

    pub(crate) fn array(&mut self, element: u32, count: u32) -> u32 {
        self.raw("", kinds::ARRAY << 24, 0, &[element, 1, count])
    }

    /// Writes a structure or union with its members: name, type, offset in bits, width (0 unless a
    /// bit-field).
    pub(crate) fn composite(
        &mut self,
        kind: u32,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32, u32)],
    ) -> u32 {
        let flag = members.iter().any(|m| m.3 != 0);
        let info = u32::from(flag) << 31 | kind << 24 | members.len() as u32;
        let words: Vec<u32> = members
            .iter()
            .flat_map(|&(name, ty, offset, width)| [self.name(name), ty, width << 24 | offset])
            .collect();
        self.raw(name, info, size, &words)
    }

    pub(crate) fn structure(
        &mut self,
        name: &str,
        size: u32,
        members: &[(&str, u32, u32, u32)],
    ) -> u32 {
        self.composite(kinds::STRUCT, name, size, members)
    }

    pub(crate) fn function(&mut self, name: &str, returns: u32, parameters: &[(&str, u32)]) -> u32 {
        let words: Vec<u32> = parameters
            .iter()
            .flat_map(|&(name, ty)| [self.name(name), ty])
            .collect();
        let info = kinds::FUNC_PROTO << 24 | parameters.len() as u32;
        let prototype = self.raw("", info, returns, &words);
        self.to(kinds::FUNC, name, prototype)
    }

    pub(crate) fn blob(&self) -> Vec<u8> {
        let layout = self.layout.as_deref();
        let header = layout.map_or(spec::HEADER, |_| spec::HEADER_WITH_LAYOUT);
        let strings_at = self.types.len() + layout.map_or(0, <[u8]>::len);
        let mut out = spec::MAGIC.to_le_bytes().to_vec();
        out.extend_from_slice(&[spec::VERSION, 0]);
        let mut words = vec![header, 0, self.types.len(), strings_at, self.strings.len()];
        if let Some(layout) = layout {
            words.extend([self.types.len(), layout.len()]);
        }
        for word in words {
            out.extend_from_slice(&(word as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(layout.unwrap_or_default());
        out.extend_from_slice(&self.strings);
        out
    }
}

/// The signed, char and bool encodings of integers.
pub(crate) const SIGNED: u32 = 1;
pub(crate) const BOOL: u32 = 4;

/// Returns something like the kernel's `struct device`, with everything that paths must get
/// through.
pub(crate) fn device_like() -> Writer {
    let mut w = Writer::new();
    let int = w.int("int", 4, SIGNED);
    let unsigned = w.int("unsigned int", 4, 0);
    let character = w.int("char", 1, 0);
    let boolean = w.int("_Bool", 1, BOOL);
    let wide = w.int("long long unsigned int", 8, 0);
    let const_char = w.to(kinds::CONST, "", character);
    let text = w.to(kinds::PTR, "", const_char);
    let u64_ = w.to(kinds::TYPEDEF, "u64", wide);
    let flag = w.to(kinds::TYPEDEF, "bool", boolean);
    let buffer = w.array(character, 8);
    let numbers = w.array(int, 3);
    let kobject = w.structure("kobject", 8, &[("name", text, 0, 0), ("refs", int, 32, 0)]);
    let archdata = w.structure(
        "dev_archdata",
        8,
        &[
            ("mapping", unsigned, 0, 0),
            ("dma_coherent", unsigned, 32, 1),
            ("dma_ops_setup", unsigned, 33, 1),
            ("depth", int, 34, 3),
        ],
    );
    let driver = w.structure("device_driver", 4, &[("name", text, 0, 0)]);
    let driver_pointer = w.to(kinds::PTR, "", driver);
    let states = [w.name("DL_DEV_NO_DRIVER"), 0, w.name("DL_DEV_PROBING"), 1];
    let state = w.raw("dl_dev_state", kinds::ENUM << 24 | 2, 4, &states);
    let big = [w.name("HUGE"), 0, 1];
    let big = w.raw("big", kinds::ENUM64 << 24 | 1, 8, &big);
    let ops = w.raw("dma_map_ops", kinds::FWD << 24, 0, &[]);
    let ops_pointer = w.to(kinds::PTR, "", ops);
    let device = w.raw("device", kinds::FWD << 24, 0, &[]);
    let forward_pointer = w.to(kinds::PTR, "", device);
    let inner = w.structure("", 8, &[("low", int, 0, 0), ("high", int, 32, 0)]);
    let union = w.composite(
        kinds::UNION,
        "",
        8,
        &[("whole", u64_, 0, 0), ("", inner, 0, 0)],
    );
    let prototype = w.raw("", kinds::FUNC_PROTO << 24, int, &[]);
    let release = w.to(kinds::PTR, "", prototype);
    let device = w.structure(
        "device",
        120,
        &[
            ("kobj", kobject, 0, 0),
            ("parent", forward_pointer, 64, 0),
            ("init_name", text, 96, 0),
            ("driver", driver_pointer, 128, 0),
            ("archdata", archdata, 160, 0),
            ("", union, 224, 0),
            ("label", buffer, 288, 0),
            ("numbers", numbers, 352, 0),
            ("state", state, 448, 0),
            ("offline", flag, 480, 0),
            ("ops", ops_pointer, 512, 0),
            ("release", release, 544, 0),
            ("big", big, 576, 0),
        ],
    );
    let pointer = w.to(kinds::PTR, "", device);
    w.function("arch_teardown_dma_ops", 0, &[("dev", pointer)]);
    w.function("printk", int, &[("fmt", text), ("", 0)]);
    // What is skipped must be skipped by its right length.
    w.raw("section", kinds::DATASEC << 24 | 2, 8, &[1, 0, 4, 1, 4, 4]);
    w.raw("variable", kinds::VAR << 24, int, &[1]);
    w.raw("tag", kinds::DECL_TAG << 24, int, &[u32::MAX]);
    w.raw("float", kinds::FLOAT << 24, 4, &[]);
    w.to(kinds::TYPE_TAG, "user", int);
    w.structure("last", 4, &[("x", int, 0, 0)]);
    w
}

/// Returns something like the `struct device` of a 64-bit kernel, and functions that take it and
/// others.
pub(crate) fn aarch64_device_like() -> Writer {
    use kinds::{CONST, ENUM64, FUNC_PROTO, PTR};
    let mut w = Writer::new();
    let int = w.int("int", 4, SIGNED);
    let long = w.int("long unsigned int", 8, 0);
    let character = w.int("char", 1, 0);
    let const_char = w.to(CONST, "", character);
    let text = w.to(PTR, "", const_char);
    let pointers = w.array(text, 3);
    let kobject = w.structure("kobject", 16, &[("name", text, 0, 0), ("refs", int, 64, 0)]);
    let driver = w.structure("device_driver", 8, &[("name", text, 0, 0)]);
    let driver = w.to(PTR, "", driver);
    let states = [w.name("FAR"), 0, 0x8000_0000];
    let state = w.raw("state", ENUM64 << 24 | 1, 8, &states);
    let prototype = w.raw("", FUNC_PROTO << 24, int, &[]);
    let release = w.to(PTR, "", prototype);
    let device = w.structure(
        "device",
        104,
        &[
            ("kobj", kobject, 0, 0),
            ("init_name", text, 128, 0),
            ("driver", driver, 192, 0),
            ("mask", long, 256, 0),
            ("state", state, 320, 0),
            ("release", release, 384, 0),
            ("names", pointers, 448, 0),
            ("early", int, 640, 1),
            ("late", long, 641, 39),
        ],
    );
    let device = w.to(PTR, "", device);
    w.function("really_probe", int, &[("dev", device), ("drv", driver)]);
    // Arguments of all sizes, of which some do not fit the registers.
    let wide = w.int("__int128", 16, SIGNED);
    let large = w.structure("large", 24, &[("a", long, 0, 0)]);
    let arguments = [
        ("a", int),
        ("number", wide),
        ("large", large),
        ("small", kobject),
        ("b", int),
        ("split", kobject),
        ("c", int),
    ];
    w.function("many", int, &arguments);
    w
}
