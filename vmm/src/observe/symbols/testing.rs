//! A small kallsyms generator for tests: any list of symbols to tables in any of the layouts.

use super::spec::{Lengths, MARKER_STEP, TOKENS};

/// A symbol to be written: name, address, letter.
pub(crate) type Written = (String, u32, u8);

/// How one line of kernels writes its tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// First kernel version that writes so, for messages.
    pub(crate) name: &'static str,
    pub(crate) align: usize,
    pub(crate) lengths: Lengths,
    pub(crate) relative: bool,
    /// Addresses come after the token index.
    pub(crate) addresses_last: bool,
    /// Bytes of an entry of the sequence of names; 0 without one.
    pub(crate) sequence: usize,
}

const fn layout(
    name: &'static str,
    align: usize,
    lengths: Lengths,
    relative: bool,
    addresses_last: bool,
    sequence: usize,
) -> Layout {
    Layout {
        name,
        align,
        lengths,
        relative,
        addresses_last,
        sequence,
    }
}

/// All layouts of 4.12 to 7.x on ARM32.
pub(crate) const LAYOUTS: [Layout; 10] = [
    layout("4.12, absolute", 16, Lengths::Byte, false, false, 0),
    layout("4.12, relative", 16, Lengths::Byte, true, false, 0),
    layout("4.20, absolute", 4, Lengths::Byte, false, false, 0),
    layout("4.20, relative", 4, Lengths::Byte, true, false, 0),
    layout("6.1", 4, Lengths::Uleb, true, false, 0),
    layout("6.1 stable", 4, Lengths::Uleb, true, false, 3),
    layout("6.2 absolute", 4, Lengths::Uleb, false, false, 4),
    layout("6.4", 4, Lengths::Uleb, true, true, 3),
    layout("6.4 absolute", 4, Lengths::Uleb, false, true, 3),
    layout("7.0", 4, Lengths::Uleb, false, true, 3),
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

    fn addresses(&mut self, symbols: &[Written], relative: bool) {
        let base = if relative { symbols[0].1 } else { 0 };
        self.words(symbols.iter().map(|(_, address, _)| address - base));
        if relative {
            self.words([base]);
        }
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

/// The tables of `symbols`, which must be sorted by address and not empty.
pub(crate) fn tables(symbols: &[Written], layout: &Layout) -> Vec<u8> {
    let compressed = compress(symbols);
    let mut writer = Writer {
        out: Vec::new(),
        align: layout.align,
    };
    if !layout.addresses_last {
        writer.addresses(symbols, layout.relative);
    }
    writer.words([symbols.len() as u32]);
    let markers = writer.names(&compressed.names, layout.lengths);
    writer.words(markers);
    if !layout.addresses_last && layout.sequence != 0 {
        writer.sequence(symbols, layout.sequence);
    }
    writer.tokens(&compressed.texts);
    if layout.addresses_last {
        writer.addresses(symbols, layout.relative);
        writer.sequence(symbols, layout.sequence);
    }
    writer.out
}

/// Plausible symbols: `count` of them, deterministic, with duplicates and long names among them.
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
            (name, 0xc010_0000 + i * 24 / 4 * 4, kind)
        })
        .collect()
}
