//! The basic blocks of a function of the kernel, found by following its code.
//!
//! A block begins where the function does, where a branch in it leads to, and behind an instruction
//! that may or may not go elsewhere. What no such branch leads to is not found: the targets of a
//! jump table are not known. What lies behind the last instruction, such as literals, is no code.
//!
//! Encodings are those of ARM DDI 0406C, A5: A32, which is what 32-bit kernels are compiled to
//! unless CONFIG_THUMB2_KERNEL is set.

use std::collections::BTreeSet;

/// Most instructions of one function.
pub(super) const MAX_WORDS: usize = 1 << 14;

/// The condition of an instruction that is always executed (A8.3).
const ALWAYS: u32 = 0b1110;
/// The one of instructions that have no condition (A5.7).
const NONE: u32 = 0b1111;

/// Where an instruction goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Behind it; also after a call, which returns there.
    Next,
    /// To an address, by a branch.
    To(u32),
    /// Somewhere else, such as back to the caller.
    Away,
}

/// Returns where the instruction `word` at `address` goes on if its condition holds.
fn flow(address: u32, word: u32) -> Flow {
    let rd = word >> 12 & 15;
    if word >> 28 == NONE {
        return Flow::Next;
    }
    match word >> 25 & 7 {
        // B (A8.8.18); with bit 24 it is BL. Sign-extended from 24 bits, in words, from the address
        // of the instruction after the next.
        0b101 if word >> 24 & 1 == 0 => {
            let offset = (word << 8).cast_signed() >> 6;
            Flow::To(address.wrapping_add(8).wrapping_add_signed(offset))
        }
        // LDM with R15 in its list (A8.8.58), by which functions return.
        0b100 if word >> 20 & 1 == 1 && word >> 15 & 1 == 1 => Flow::Away,
        // BX (A8.8.27); BLX by a register is a call.
        0b000 if word & 0x0fff_fff0 == 0x012f_ff10 => Flow::Away,
        // Multiplies and extra loads and stores (A5.2), none of which go anywhere.
        0b000 if word & 0x90 == 0x90 => Flow::Next,
        // Data processing with R15 as its result (A5.2.1, A5.2.3), such as `mov pc, lr`.
        // Comparisons, and what shares their place, have none.
        0b000 | 0b001 if rd == 15 && word >> 23 & 3 != 0b10 => Flow::Away,
        // UDF (A8.8.247), by which the kernel says BUG() and traps.
        0b011 if word & 0x0ff0_00f0 == 0x07f0_00f0 => Flow::Away,
        // LDR of R15 (A8.8.62, A8.8.65): a jump table, or a far return.
        0b010 if rd == 15 && word >> 20 & 1 == 1 && word >> 22 & 1 == 0 => Flow::Away,
        0b011 if rd == 15 && word >> 20 & 1 == 1 && word >> 22 & 1 == 0 && word >> 4 & 1 == 0 => {
            Flow::Away
        }
        _ => Flow::Next,
    }
}

/// Returns the addresses at which the blocks of a function begin, of which `words` is the code from
/// `start` on.
pub(super) fn find(start: u32, words: &[u32]) -> BTreeSet<u32> {
    let words = words.get(..MAX_WORDS).unwrap_or(words);
    let index = |address: u32| {
        let offset = address.wrapping_sub(start);
        let index = usize::try_from(offset / 4).ok()?;
        (offset.is_multiple_of(4) && index < words.len()).then_some(index)
    };
    let mut found = BTreeSet::new();
    let mut left = vec![start];
    let mut seen = vec![false; words.len()];
    while let Some(block) = left.pop() {
        let Some(first) = index(block) else {
            continue;
        };
        found.insert(block);
        let mut address = block;
        for (word, seen) in words[first..].iter().zip(&mut seen[first..]) {
            // From here on another block has been followed.
            if std::mem::replace(seen, true) {
                break;
            }
            let flow = flow(address, *word);
            address = address.wrapping_add(4);
            match flow {
                Flow::Next => continue,
                Flow::To(target) => left.push(target),
                Flow::Away => {}
            }
            if *word >> 28 != ALWAYS {
                left.push(address);
            }
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_instruction_goes_on_where_it_does() {
        for (word, goes) in [
            (0xe3a0_0001, Flow::Next),       // mov r0, #1
            (0xeaff_fffe, Flow::To(0x8000)), // b to itself
            (0x1a00_0001, Flow::To(0x800c)), // bne two further
            (0xeb00_0010, Flow::Next),       // bl
            (0xe12f_ff1e, Flow::Away),       // bx lr
            (0xe12f_ff33, Flow::Next),       // blx r3
            (0xe8bd_8010, Flow::Away),       // pop {r4, pc}
            (0xe8bd_4010, Flow::Next),       // pop {r4, lr}
            (0xe89d_a800, Flow::Away),       // ldm sp, {fp, sp, pc}
            (0xe92d_d800, Flow::Next),       // push {fp, ip, lr, pc}
            (0xe1a0_f00e, Flow::Away),       // mov pc, lr
            (0xe08f_f103, Flow::Away),       // add pc, pc, r3, lsl #2
            (0xe15f_0001, Flow::Next),       // cmp pc, r1
            (0xe31f_0001, Flow::Next),       // tst pc, #1
            (0x979f_f103, Flow::Away),       // ldrls pc, [pc, r3, lsl #2]
            (0xe49d_f004, Flow::Away),       // pop {pc}
            (0xe59f_0010, Flow::Next),       // ldr r0, [pc, #16]
            (0xe7f0_01f2, Flow::Away),       // the kernel's BUG()
            (0xf57f_f05f, Flow::Next),       // dmb sy
            (0xe0cf_f092, Flow::Next),       // no data processing
        ] {
            assert_eq!(flow(0x8000, word), goes, "{word:#x}");
        }
    }

    #[test]
    fn blocks_begin_at_targets_and_behind_conditions() {
        let code = [
            0xe350_0000, // 0x00 cmp r0, #0
            0x0a00_0002, // 0x04 beq 0x14
            0xe280_0001, // 0x08 add
            0x18bd_8010, // 0x0c popne {r4, pc}
            0xeaff_fffa, // 0x10 b 0x00
            0xeb00_0100, // 0x14 bl elsewhere
            0xea00_0100, // 0x18 b elsewhere: a tail call
            0x0a00_0000, // 0x1c a literal that looks like a branch
        ];
        let found: Vec<u32> = find(0xc000_0000, &code).into_iter().collect();
        assert_eq!(found, [0xc000_0000, 0xc000_0008, 0xc000_0010, 0xc000_0014]);
        assert!(find(4, &[]).is_empty());
    }

    proptest! {
        #[test]
        fn any_words_have_blocks_within(words in prop::collection::vec(any::<u32>(), 0..200), start: u32) {
            let start = start & !3;
            let found = find(start, &words);
            prop_assert!(found.len() <= words.len());
            for block in found {
                let index = usize::try_from(block.wrapping_sub(start) / 4).unwrap();
                prop_assert!(index < words.len());
            }
        }
    }
}
