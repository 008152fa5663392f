//! Any bytes as a kernel image: symbols or an error, within a bounded time, and every lookup answers.
//!
//! A few bytes can hardly make tables by chance, so the input also places a token table with its index, words and runs of
//! bytes at places of its choice.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::observe::symbols::Symbols;
use vmm::observe::types::offsets::banner;

/// Bytes of the image that pieces are placed in.
const IMAGE: usize = 1 << 16;

/// A token for each byte value, and the index: what the search starts from.
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
    while let Some((head, rest)) = data.split_first_chunk::<8>() {
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
                let words: Vec<u8> = (0..count as u32)
                    .flat_map(|i| base.wrapping_add(i.wrapping_mul(step)).to_le_bytes())
                    .collect();
                place(&mut image, at, &words);
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
    for symbol in symbols.iter().step_by(97) {
        assert!(symbols.named(symbol.name).any(|s| s == symbol));
    }
}

fuzz_target!(|data: &[u8]| {
    check(data);
    check(&build(data));
});
