//! Any word, and words of the decoder's own tables, decode and disassemble in either instruction
//! set; those of the tables decode to what they are of.

#![expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is one or two halfwords"
)]

use std::fmt::Write;

use arbitrary::{Arbitrary, Unstructured};
use arm32_isa::{Decoded, ENCODINGS, Set};

/// A word.
#[derive(Arbitrary, Debug)]
enum Word {
    Any(u32),
    /// An encoding of the tables, and its free bits.
    Encoding(u16, u32),
}

fn look(decoded: &Decoded, text: &mut String) {
    text.clear();
    write!(text, "{}", decoded.asm(0x8000)).expect("a text can be written");
    assert!(!text.is_empty() && !text.contains('\n'));
    let _ = arm32_isa::core_registers(&decoded.insn);
}

fn any(word: u32, text: &mut String) {
    let a32 = arm32_isa::decode_a32(word);
    assert_eq!(a32.len, 4);
    look(&a32, text);
    let (first, second) = ((word >> 16) as u16, word as u16);
    for in_it in [false, true] {
        let t32 = arm32_isa::decode_t32(first, second, in_it);
        assert_eq!(t32.len == 4, arm32_isa::t32_is_32bit(first));
        look(&t32, text);
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let mut text = String::new();
    let mut u = Unstructured::new(data);
    while !u.is_empty() {
        match u.arbitrary() {
            Ok(Word::Any(word)) => any(word, &mut text),
            Ok(Word::Encoding(which, bits)) => {
                let encoding = &ENCODINGS[usize::from(which) % ENCODINGS.len()];
                let (fixed, value) = (
                    encoding.mask | encoding.should_mask,
                    encoding.value | encoding.should_value,
                );
                let word = bits & !fixed | value;
                match encoding.set {
                    // A 16-bit instruction is the first halfword.
                    Set::T16 => any(word << 16 | bits >> 16, &mut text),
                    Set::A32 | Set::T32 => any(word, &mut text),
                }
                let narrow = encoding.set == Set::T16;
                let word = if narrow { word & 0xffff } else { word };
                if encoding.matches(word) && encoding.decodes(word) {
                    let decoded = match encoding.set {
                        Set::A32 => arm32_isa::decode_a32(word),
                        Set::T32 => arm32_isa::decode_t32((word >> 16) as u16, word as u16, false),
                        Set::T16 => arm32_isa::decode_t32(word as u16, 0, false),
                    };
                    assert_eq!(decoded.encoding, encoding.id, "{}", encoding.name);
                }
            }
            Err(_) => return,
        }
    }
}
