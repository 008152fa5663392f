//! A small kallsyms generator for tests: any list of symbols to tables in any of the layouts.

#![expect(clippy::cast_possible_truncation, reason = "the tables are small")]

use vmm_base::Width;

use super::spec::{Lengths, MARKER_STEP, TOKENS};
use Form::{Absolute, Own, Relative, Unrelocated};

/// A symbol to be written: name, address, letter.
pub(crate) type Written = (String, u64, u8);

/// How addresses are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Absolute,
    /// From the lowest one on, which follows.
    Relative,
    /// The same in an image that has not relocated itself: 0 is where the lowest one should be.
    Unrelocated,
    /// From the place of each entry on. Addresses are then those of the image's bytes, the tables'
    /// first one at [`TABLES`].
    Own,
}

/// Where tables are whose addresses are written as [`Form::Own`].
pub(crate) const TABLES: u64 = 0xffff_8000_0000_0000 + BEFORE as u64;

/// Bytes that an image needs before such tables.
pub(crate) const BEFORE: usize = 8 << 20;

/// How one line of kernels writes its tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// First kernel version that writes so, for messages.
    pub(crate) name: &'static str,
    pub(crate) width: Width,
    pub(crate) align: usize,
    pub(crate) lengths: Lengths,
    pub(crate) form: Form,
    /// Addresses come after the token index.
    pub(crate) addresses_last: bool,
    /// Bytes of an entry of the sequence of names; 0 without one.
    pub(crate) sequence: usize,
}

const fn layout(
    name: &'static str,
    align: usize,
    lengths: Lengths,
    form: Form,
    addresses_last: bool,
    sequence: usize,
) -> Layout {
    Layout {
        name,
        width: Width::Bits32,
        align,
        lengths,
        form,
        addresses_last,
        sequence,
    }
}

const fn aarch64(
    name: &'static str,
    lengths: Lengths,
    form: Form,
    addresses_last: bool,
    sequence: usize,
) -> Layout {
    Layout {
        width: Width::Bits64,
        ..layout(name, 8, lengths, form, addresses_last, sequence)
    }
}

/// All layouts of 4.20 to 7.x on arm64.
pub(crate) const AARCH64: [Layout; 8] = [
    aarch64("5.10, 64 bits", Lengths::Byte, Relative, false, 0),
    aarch64("5.10, unrelocated", Lengths::Byte, Unrelocated, false, 0),
    aarch64("6.1, 64 bits", Lengths::Uleb, Relative, false, 0),
    aarch64("6.1, unrelocated", Lengths::Uleb, Unrelocated, false, 0),
    aarch64(
        "6.1 stable, unrelocated",
        Lengths::Uleb,
        Unrelocated,
        false,
        3,
    ),
    aarch64("6.4, 64 bits", Lengths::Uleb, Relative, true, 3),
    aarch64("6.4, unrelocated", Lengths::Uleb, Unrelocated, true, 3),
    aarch64("7.0, 64 bits", Lengths::Uleb, Own, true, 3),
];

/// All layouts of 4.12 to 7.x on ARM32.
pub(crate) const LAYOUTS: [Layout; 10] = [
    layout("4.12, absolute", 16, Lengths::Byte, Absolute, false, 0),
    layout("4.12, relative", 16, Lengths::Byte, Relative, false, 0),
    layout("4.20, absolute", 4, Lengths::Byte, Absolute, false, 0),
    layout("4.20, relative", 4, Lengths::Byte, Relative, false, 0),
    layout("6.1", 4, Lengths::Uleb, Relative, false, 0),
    layout("6.1 stable", 4, Lengths::Uleb, Relative, false, 3),
    layout("6.2 absolute", 4, Lengths::Uleb, Absolute, false, 4),
    layout("6.4", 4, Lengths::Uleb, Relative, true, 3),
    layout("6.4 absolute", 4, Lengths::Uleb, Absolute, true, 3),
    layout("7.0", 4, Lengths::Uleb, Absolute, true, 3),
];

/// Names as runs of tokens, and what the tokens stand for.
struct Compressed {
    names: Vec<Vec<u8>>,
    texts: Vec<Vec<u8>>,
}

/// Replaces the most frequent pair again and again, as long as byte values are left.
fn compress(symbols: &[Written]) -> Compressed {
    let mut names: Vec<Vec<u8>> = symbols
        .iter()
        .map(|(name, _, kind)| [&[*kind], name.as_bytes()].concat())
        .collect();
    let mut texts = vec![Vec::new(); TOKENS];
    // A byte that occurs in a name stands for itself, as in scripts/kallsyms.c.
    for &byte in names.iter().flatten() {
        texts[usize::from(byte)] = vec![byte];
    }
    for token in (0..TOKENS).rev() {
        if !texts[token].is_empty() {
            continue;
        }
        let mut pairs = vec![0u32; 1 << 16];
        for pair in names.iter().flat_map(|n| n.windows(2)) {
            pairs[usize::from(u16::from_le_bytes([pair[0], pair[1]]))] += 1;
        }
        let best = (0..pairs.len()).max_by_key(|&i| pairs[i]).unwrap_or(0);
        if pairs[best] == 0 {
            break;
        }
        let [a, b] = (best as u16).to_le_bytes();
        texts[token] = [&texts[usize::from(a)][..], &texts[usize::from(b)]].concat();
        for name in &mut names {
            *name = replace(name, a, b, token as u8);
        }
    }
    Compressed { names, texts }
}

fn replace(name: &[u8], a: u8, b: u8, token: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        if *first == a && tail.first() == Some(&b) {
            out.push(token);
            rest = &tail[1..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

struct Writer {
    out: Vec<u8>,
    width: Width,
    align: usize,
}

impl Writer {
    fn label(&mut self) {
        self.out
            .resize(self.out.len().next_multiple_of(self.align), 0);
    }

    fn words(&mut self, words: impl IntoIterator<Item = u32>) {
        self.label();
        for word in words {
            self.out.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn addresses(&mut self, symbols: &[Written], form: Form) {
        self.label();
        let places = (TABLES + self.out.len() as u64..).step_by(4);
        let lowest = symbols[0].1;
        let words = symbols.iter().zip(places).map(|((_, address, _), place)| {
            let word = match form {
                Absolute => *address,
                Relative | Unrelocated => address - lowest,
                Own => address.wrapping_sub(place),
            };
            word as u32
        });
        self.words(words);
        let base = match form {
            Absolute | Own => return,
            Relative => lowest,
            Unrelocated => 0,
        };
        self.label();
        let base = base.to_le_bytes();
        let bytes = &base[..self.width.bytes() as usize];
        self.out.extend_from_slice(bytes);
    }

    fn sequence(&mut self, symbols: &[Written], width: usize) {
        self.label();
        let mut order: Vec<usize> = (0..symbols.len()).collect();
        order.sort_by_key(|&i| &symbols[i].0);
        for i in order {
            if width == 4 {
                self.out.extend_from_slice(&(i as u32).to_le_bytes());
            } else {
                self.out.extend_from_slice(&(i as u32).to_be_bytes()[1..]);
            }
        }
    }

    fn names(&mut self, names: &[Vec<u8>], lengths: Lengths) -> Vec<u32> {
        self.label();
        let start = self.out.len();
        let mut markers = Vec::new();
        for (i, name) in names.iter().enumerate() {
            if i % MARKER_STEP == 0 {
                markers.push((self.out.len() - start) as u32);
            }
            match (lengths, name.len()) {
                (Lengths::Uleb, n) if n > 0x7f => self
                    .out
                    .extend_from_slice(&[n as u8 & 0x7f | 0x80, (n >> 7) as u8]),
                (_, n) => self
                    .out
                    .push(n.try_into().expect("names fit their lengths")),
            }
            self.out.extend_from_slice(name);
        }
        markers
    }

    fn tokens(&mut self, texts: &[Vec<u8>]) {
        self.label();
        let mut index = Vec::new();
        let start = self.out.len();
        for text in texts {
            index.push((self.out.len() - start) as u16);
            self.out.extend_from_slice(text);
            self.out.push(0);
        }
        self.label();
        for offset in index {
            self.out.extend_from_slice(&offset.to_le_bytes());
        }
    }
}

/// Returns the same symbols where a 64-bit kernel may have them.
pub(crate) fn as_aarch64(symbols: &[Written]) -> Vec<Written> {
    let up = |address| address - 0xc000_0000 + 0xffff_8000_0000_0000;
    let symbols = symbols.iter();
    symbols.map(|(n, a, k)| (n.clone(), up(a), *k)).collect()
}

/// Returns the tables of `symbols`, which must be sorted by address and not empty.
pub(crate) fn tables(symbols: &[Written], layout: &Layout) -> Vec<u8> {
    let compressed = compress(symbols);
    let mut writer = Writer {
        out: Vec::new(),
        width: layout.width,
        align: layout.align,
    };
    if !layout.addresses_last {
        writer.addresses(symbols, layout.form);
    }
    writer.words([symbols.len() as u32]);
    let markers = writer.names(&compressed.names, layout.lengths);
    writer.words(markers);
    if !layout.addresses_last && layout.sequence != 0 {
        writer.sequence(symbols, layout.sequence);
    }
    writer.tokens(&compressed.texts);
    if layout.addresses_last {
        writer.addresses(symbols, layout.form);
        writer.sequence(symbols, layout.sequence);
    }
    writer.out
}

/// Returns plausible symbols: `count` of them, deterministic, with duplicates and long names among
/// them.
pub(crate) fn kernel_like(count: u32, longest: usize) -> Vec<Written> {
    const WORDS: [&str; 12] = [
        "dma", "ops", "arch", "setup", "teardown", "iommu", "device", "probe", "get", "__", "init",
        "sysfs",
    ];
    (0..count)
        .map(|i| {
            let word = |n: u32| WORDS[(i.wrapping_mul(2_654_435_761) >> n) as usize % WORDS.len()];
            let name = match i {
                0 => "_stext".to_owned(),
                i if i % 97 == 5 => "duplicate_static".to_owned(),
                i if i % 61 == 7 => format!("long_{i}_{}", "xqzjk".repeat(longest / 5 - 3)),
                _ => format!("{}_{}_{}{i}", word(3), word(9), word(17)),
            };
            let kind = b"TtDdrb"[i as usize % 6];
            (name, 0xc010_0000 + u64::from(i * 24 / 4 * 4), kind)
        })
        .collect()
}
