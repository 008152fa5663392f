//! Random programs of every encoding.

#![expect(
    clippy::cast_possible_truncation,
    reason = "instructions are cut into halfwords"
)]

use arm32_isa::{ENCODINGS, Set};
use rand_core::RngCore;

/// Instructions of a program.
pub const LENGTH: u32 = 24;

/// A program of random instructions that goes round, in halfwords as they stand in memory.
pub fn program(random: &mut impl RngCore, thumb: bool) -> Vec<u16> {
    let mut code = Vec::new();
    for _ in 0..LENGTH {
        let encoding = loop {
            let encoding = &ENCODINGS[random.next_u32() as usize % ENCODINGS.len()];
            if (encoding.set != Set::A32) == thumb {
                break encoding;
            }
        };
        let Some(word) = encoding.random(random) else {
            continue;
        };
        match encoding.set {
            Set::A32 => {
                // Most have a condition that always holds, or programs would do little.
                let word = if !random.next_u32().is_multiple_of(4) && word >> 28 < 14 {
                    word & 0x0fff_ffff | 0xe000_0000
                } else {
                    word
                };
                code.extend([word as u16, (word >> 16) as u16]);
            }
            Set::T32 => code.extend([(word >> 16) as u16, word as u16]),
            Set::T16 => code.push(word as u16),
        }
    }
    go_round(&mut code, thumb);
    code
}

/// Adds a branch to the start of `code`.
pub fn go_round(code: &mut Vec<u16>, thumb: bool) {
    let back = code.len() as u32 * 2;
    if thumb {
        // b.w: a distance of 24 bits in halfwords, of which J1 and J2 are 1 for a negative one.
        let distance = (back + 4).wrapping_neg() >> 1;
        code.push(0xf400 | (distance >> 11 & 0x3ff) as u16);
        code.push(0xb800 | (distance & 0x7ff) as u16);
    } else {
        let word = 0xea00_0000 | (back + 8).wrapping_neg() >> 2 & 0xff_ffff;
        code.extend([word as u16, (word >> 16) as u16]);
    }
}
