//! Any bytes as a kernel image: symbols or an error, within a bounded time, and every lookup
//! answers.
//!
//! A few bytes can hardly make tables by chance: an input changes good tables, of any layout of
//! 32-bit and 64-bit kernels, or places a token table with its index, words and runs of bytes at
//! places of its choice.

#![expect(
    clippy::cast_possible_truncation,
    reason = "images are small, and bytes are cut out of words"
)]

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use vmm::introspect::symbols::Symbols;
use vmm::introspect::types::offsets::banner;

// The writer of tables that unit tests use.
#[path = "../../../vmm/introspect/src/symbols/spec.rs"]
#[expect(dead_code, reason = "the writer needs a part")]
mod spec;
#[path = "../../../vmm/introspect/src/symbols/testing.rs"]
#[expect(dead_code, reason = "unit tests need more")]
mod testing;

/// Returns the layouts whose addresses are not those of the tables themselves, of 32-bit and then
/// of 64-bit kernels.
fn layouts() -> impl Iterator<Item = (bool, &'static testing::Layout)> {
    let narrow = testing::LAYOUTS.iter().map(|layout| (false, layout));
    let wide = testing::AARCH64.iter().map(|layout| (true, layout));
    narrow
        .chain(wide)
        .filter(|(_, layout)| layout.form != testing::Form::Own)
}

/// Returns good tables of a layout, with some bytes around them. Each is made when it is first
/// wanted, for that takes a while.
fn good(which: u8) -> &'static [u8] {
    static GOOD: [OnceLock<Vec<u8>>; 32] = [const { OnceLock::new() }; 32];
    let which = usize::from(which) % layouts().count();
    GOOD[which].get_or_init(|| {
        let (wide, layout) = layouts().nth(which).expect("there are as many");
        let symbols = testing::kernel_like(520, 20);
        let symbols = if wide {
            testing::as_aarch64(&symbols)
        } else {
            symbols
        };
        [
            vec![0; 256],
            testing::tables(&symbols, layout),
            vec![0; 256],
        ]
        .concat()
    })
}

/// An input.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Any(&'a [u8]),
    Placed(&'a [u8]),
    /// Good tables with words or bytes changed, and perhaps cut short; then other text in front.
    Changed(u8, Vec<(u16, Change)>, Option<u16>, u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Change {
    Byte(u8),
    Word(u32),
    Add(i8),
    Long(u64),
    Run(u8, u8),
}

fn changed(which: u8, changes: &[(u16, Change)], cut: Option<u16>, before: u8) -> Vec<u8> {
    let good = good(which);
    let mut image = vec![b'x'; usize::from(before) * 4];
    image.extend_from_slice(good);
    for (at, change) in changes.iter().take(16) {
        let at = usize::from(*at) % good.len();
        match *change {
            Change::Byte(byte) => place(&mut image, at, &[byte]),
            Change::Word(word) => place(&mut image, at & !3, &word.to_le_bytes()),
            Change::Long(word) => place(&mut image, at & !7, &word.to_le_bytes()),
            Change::Add(more) => image[at] = image[at].wrapping_add_signed(more),
            Change::Run(byte, count) => place(&mut image, at, &vec![byte; count.into()]),
        }
    }
    if let Some(cut) = cut {
        image.truncate(usize::from(cut) % image.len());
    }
    image
}

/// Bytes of the image that pieces are placed in.
const IMAGE: usize = 1 << 16;
/// Pieces of one image, which are more than any tables have.
const PIECES: usize = 32;
/// Symbols that are looked up by their names, for each of which all are gone through.
const NAMED: usize = 8;

/// Returns a token for each byte value, and the index: what the search starts from.
fn tokens() -> Vec<u8> {
    let mut out = Vec::new();
    let mut index = Vec::new();
    for token in 0..=255u8 {
        index.extend_from_slice(&(out.len() as u16).to_le_bytes());
        let text = if token.is_ascii_graphic() {
            token
        } else {
            b'_'
        };
        out.extend_from_slice(&[text, 0]);
    }
    out.extend_from_slice(&index);
    out
}

fn place(image: &mut [u8], at: usize, bytes: &[u8]) {
    let at = at % image.len();
    let end = (at + bytes.len()).min(image.len());
    image[at..end].copy_from_slice(&bytes[..end - at]);
}

/// Makes an image of instructions: what to place, where, and how often.
fn build(mut data: &[u8]) -> Vec<u8> {
    let mut image = vec![0; IMAGE];
    for _ in 0..PIECES {
        let Some((head, rest)) = data.split_first_chunk::<8>() else {
            break;
        };
        data = rest;
        let at = usize::from(u16::from_le_bytes([head[1], head[2]])) * 4 % IMAGE;
        let count = usize::from(u16::from_le_bytes([head[3], head[4]])) % 4096;
        let (value, step) = (
            u32::from(head[5]),
            u32::from(u16::from_le_bytes([head[6], head[7]])),
        );
        match head[0] % 7 {
            0 => place(&mut image, at, &tokens()),
            // Words that ascend: markers, offsets, addresses.
            1 | 2 => {
                let base = if head[0] % 7 == 1 { 0 } else { value << 24 };
                for (i, word) in (0..count as u32).zip(image[at..].chunks_exact_mut(4)) {
                    word.copy_from_slice(&base.wrapping_add(i.wrapping_mul(step)).to_le_bytes());
                }
            }
            // Names of one length.
            3 => {
                let length = value as u8 % 16 + 1;
                let name = [&[length][..], &vec![b'a'; length.into()]].concat();
                place(&mut image, at, &name.repeat(count));
            }
            4 => place(&mut image, at, &(count as u32).to_le_bytes()),
            // What a 64-bit kernel's offsets are from.
            5 => {
                let base = 0xffff << 48 | u64::from(value) << 32 | u64::from(step) << 16;
                place(&mut image, at, &base.to_le_bytes());
            }
            // The header of such a kernel, with a branch to its entry.
            _ => {
                let page = at & !0xfff;
                place(&mut image, page, &(5 << 26 | count as u32).to_le_bytes());
                place(&mut image, page + 0x38, b"ARM\x64");
            }
        }
    }
    place(&mut image, 0, data);
    image
}

fn check(image: &[u8]) {
    let _ = banner(image);
    let Ok(mut symbols) = Symbols::find(image) else {
        return;
    };
    assert!(!symbols.is_empty());
    in_order(&symbols);
    if symbols.place(0xffff_a5e2_c8e0_0000) {
        assert_eq!(symbols.text(), Some(0xffff_a5e2_c8e0_0000));
        in_order(&symbols);
    }
}

fn in_order(symbols: &Symbols) {
    let mut last = 0;
    for symbol in symbols.iter() {
        assert!(symbol.address >= last, "symbols are in order");
        last = symbol.address;
        assert!(symbols.at(symbol.address).is_some_and(|l| l.offset == 0));
    }
    for symbol in symbols.iter().step_by(97.max(symbols.len() / NAMED)) {
        assert!(symbols.named(symbol.name).any(|s| s == symbol));
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Any(bytes)) => check(bytes),
        Ok(Case::Placed(bytes)) => check(&build(bytes)),
        Ok(Case::Changed(which, changes, cut, before)) => {
            let image = changed(which, &changes, cut, before);
            check(&image);
        }
        Err(_) => {}
    }
}
