//! The decoder on whole instruction sets: total, quick to answer, and true to the tables.

#![expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is one or two halfwords"
)]

use arm32_isa::{
    Class, Cond, ENCODINGS, Insn, Set, T32Word, decode_a32, decode_t32, random_a32, random_t32,
    t32_is_32bit,
};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use std::fmt::Write;

/// Random words tried of each 32-bit set.
const RANDOM_WORDS: u32 = 2_000_000;

/// Random words tried of each row.
const WORDS_PER_ROW: usize = 300;

fn rng() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(0x1234_5678)
}

/// Checks that a word counts as undefined exactly if no row matched.
fn check(d: &arm32_isa::Decoded, text: &mut String) {
    assert_eq!(d.encoding.0 == 0, d.insn == Insn::Undefined, "{d:?}");
    text.clear();
    write!(text, "{}", d.asm(0xffff_fffe)).expect("formatting cannot fail");
    assert!(!text.is_empty(), "{d:?}");
}

#[test]
fn every_a32_word_decodes() {
    let (mut rng, mut text) = (rng(), String::new());
    for _ in 0..RANDOM_WORDS {
        let d = decode_a32(rng.next_u32());
        check(&d, &mut text);
        assert_eq!((d.len, d.t32), (4, false));
    }
}

#[test]
fn every_t16_word_decodes() {
    let mut text = String::new();
    for first in 0..=u16::MAX {
        for in_it in [false, true] {
            let d = decode_t32(first, 0, in_it);
            check(&d, &mut text);
            assert_eq!(d.len, if t32_is_32bit(first) { 4 } else { 2 });
            assert!(d.t32);
        }
    }
}

#[test]
fn every_t32_word_decodes() {
    let (mut rng, mut text) = (rng(), String::new());
    for _ in 0..RANDOM_WORDS {
        let first = 0xe800 + (rng.next_u32() % 0x1800) as u16;
        assert!(t32_is_32bit(first));
        let d = decode_t32(first, rng.next_u32() as u16, false);
        check(&d, &mut text);
        assert_eq!((d.len, d.t32), (4, true));
    }
}

#[test]
fn random_words_of_a_row_decode_to_it() {
    let mut rng = rng();
    for row in &ENCODINGS {
        for _ in 0..WORDS_PER_ROW {
            let word = row
                .random(&mut rng)
                .unwrap_or_else(|| panic!("{row:?} is unreachable"));
            assert_eq!(word & row.mask, row.value);
            assert_eq!(word & row.should_mask, row.should_value);
            let d = match row.set {
                Set::A32 => decode_a32(word),
                Set::T32 => decode_t32((word >> 16) as u16, word as u16, false),
                Set::T16 => decode_t32(word as u16, 0, false),
            };
            assert_eq!(d.encoding, row.id, "{word:#x} of {}", row.name);
            let variant = format!("{:?}", d.insn);
            let variant = variant.split([' ', '{']).next();
            assert_eq!(variant, Some(row.variant), "{word:#x} of {}", row.name);
            let cond = row
                .field('c')
                .map_or(Cond::Al, |c| Cond::from_bits(c.get(word)));
            assert_eq!(d.cond, cond, "{word:#x} of {}", row.name);
        }
    }
}

#[test]
fn t16_and_t32_rows_keep_to_their_lengths() {
    for row in &ENCODINGS {
        match row.set {
            Set::A32 => {}
            Set::T32 => {
                let top = row.mask >> 16 & row.value >> 16;
                assert!(t32_is_32bit(top as u16), "{}", row.name);
            }
            Set::T16 => assert!(
                !t32_is_32bit(row.value as u16 | !row.mask as u16),
                "{}",
                row.name
            ),
        }
    }
}

#[test]
fn ids_are_places_in_the_list() {
    for (index, row) in ENCODINGS.iter().enumerate() {
        assert_eq!(usize::from(row.id.0), index + 1);
    }
}

#[test]
fn generators_respect_classes() {
    let mut rng = rng();
    let system = Class::SYSTEM | Class::STATUS;
    for _ in 0..2000 {
        let word = random_a32(&mut rng, Class::MEMORY, system).expect("there are such rows");
        let row = &ENCODINGS[usize::from(decode_a32(word).encoding.0) - 1];
        assert!(row.class.contains(Class::MEMORY) && !row.class.intersects(system));
        let (first, second) = match random_t32(&mut rng, Class::BRANCH, Class::empty()) {
            Some(T32Word::Wide(first, second)) => (first, second),
            Some(T32Word::Narrow(first)) => (first, 0),
            None => panic!("there are such rows"),
        };
        let row = &ENCODINGS[usize::from(decode_t32(first, second, false).encoding.0) - 1];
        assert!(row.class.contains(Class::BRANCH));
    }
    assert_eq!(random_a32(&mut rng, Class::IT, Class::empty()), None);
}

#[test]
fn fields_read_back_what_was_written() {
    let mut rng = rng();
    for field in ENCODINGS.iter().flat_map(|row| row.fields) {
        let width: u32 = field.parts.iter().map(|(_, len)| u32::from(*len)).sum();
        let value = rng.next_u32() & (u32::MAX >> (32 - width));
        let before = rng.next_u32();
        let word = field.set(before, value);
        assert_eq!(field.get(word), value);
        assert_eq!(field.set(word, field.get(before)), before);
    }
}
