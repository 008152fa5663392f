//! Instructions as assembler text, for messages.

use arm32_isa::{Decoded, decode_a32, decode_t32};

/// An instruction as it stands in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disassembly {
    /// Its word; of a 32-bit T32 instruction the first halfword is the upper one, and a 16-bit one
    /// is the lower half.
    pub word: u32,
    /// Its length in bytes, 2 or 4.
    pub len: u8,
    /// Its text, in UAL syntax. That an IT block makes it conditional is not seen in it.
    pub text: String,
}

/// Returns the instruction at address `pc`, in T32 if `thumb`, else in A32. `bytes` are those in
/// memory from there on.
pub fn disassemble(bytes: [u8; 4], thumb: bool, pc: u32) -> Disassembly {
    let word = u32::from_le_bytes(bytes);
    let of = |decoded: Decoded, word: u32| Disassembly {
        word,
        len: decoded.len,
        text: decoded.asm(pc).to_string(),
    };
    if !thumb {
        return of(decode_a32(word), word);
    }
    let [a, b, c, d] = bytes;
    let (first, second) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
    let decoded = decode_t32(first, second, false);
    let word = if decoded.len == 2 {
        first.into()
    } else {
        word.rotate_left(16)
    };
    of(decoded, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instruction_set_has_its_words() {
        let at = |bytes, thumb| {
            let Disassembly { word, len, text } = disassemble(bytes, thumb, 0x8000);
            (word, len, text)
        };
        let text = |text: &str| text.to_owned();
        let add = [0x02, 0x00, 0x81, 0xe0];
        assert_eq!(at(add, false), (0xe081_0002, 4, text("add r0, r1, r2")));
        let nop = [0x00, 0xbf, 0xff, 0xff];
        assert_eq!(at(nop, true), (0xbf00, 2, text("nop")));
        // b.w to itself
        let (word, len, text) = at([0xff, 0xf7, 0xfe, 0xbf], true);
        assert_eq!((word, len), (0xf7ff_bffe, 4));
        assert!(text.starts_with("b") && text.contains("8000"), "{text}");
    }
}
