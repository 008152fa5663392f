//! Call stacks of 32-bit kernels.
//!
//! They are found by the kernel's unwinding tables. Where these end, which is in modules, as their
//! tables are elsewhere, and in a kernel that has none, the callers are the return addresses on the
//! stack: words that lead into code right behind a call. One of those may be left over from an
//! earlier call.

mod unwind;

use crate::memory::Memory;
use crate::symbols::Symbols;
pub use unwind::Registers;
use unwind::{Index, LR, PC, SP};

/// The kernel's stacks are aligned to their size, or to twice that (`THREAD_SIZE` of
/// arch/arm/include/asm/thread_info.h).
const THREAD_SIZE: u64 = 8192;
/// Where modules are, below the kernel's own memory (`MODULES_VADDR` of
/// arch/arm/include/asm/memory.h, with the usual `PAGE_OFFSET`).
const MODULES: std::ops::Range<u64> = 0xbf00_0000..0xc000_0000;

/// What it takes to find call stacks of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwinder {
    /// None if the kernel has no unwinding tables.
    index: Option<Index>,
}

impl Unwinder {
    /// Finds the unwinding tables of the kernel of `symbols`, as far as `memory` has them now.
    pub fn find(memory: &dyn Memory, symbols: &Symbols) -> Self {
        let text = || Some(symbols.text()?..symbols.address("_etext")?);
        Self {
            index: text().and_then(|text| Index::find(memory, &text)),
        }
    }

    /// Returns the addresses that calls return to, the innermost first, at most `most` of them:
    /// from the `registers` that a function has when a call that it has made returns, on.
    pub fn callers(
        &self,
        memory: &dyn Memory,
        symbols: &Symbols,
        mut registers: Registers,
        most: usize,
    ) -> Vec<u64> {
        let pc = |registers: &Registers| u64::from(registers[PC]);
        let mut found = vec![pc(&registers)];
        while let Some(index) = &self.index
            && found.len() < most
            && index.step(memory, &mut registers).is_some()
            && is_code(symbols, pc(&registers))
        {
            found.push(pc(&registers));
        }
        if self.index.is_none() || MODULES.contains(&pc(&registers)) {
            scan(memory, symbols, registers[SP].into(), (&mut found, most));
        }
        found
    }

    /// Returns where a core with `registers` is, and the addresses that calls return to, the
    /// innermost first; `most` in all. Within the first instructions of a function, which save
    /// registers, its caller may be missing.
    pub fn stack(
        &self,
        memory: &dyn Memory,
        symbols: &Symbols,
        mut registers: Registers,
        most: usize,
    ) -> Vec<u64> {
        let (pc, link) = (u64::from(registers[PC]), u64::from(registers[LR]));
        let begins = symbols.at(pc).is_some_and(|place| place.offset == 0);
        if !begins {
            let found = self.callers(memory, symbols, registers, most);
            // Small functions that are no C have no frame, and nothing in the tables.
            let is_leaf = found.len() == 1 && link != pc && follows_call(memory, link);
            if !is_leaf {
                return found;
            }
        }
        // Nothing is saved yet, so that all registers are those of the caller.
        registers[PC] = registers[LR];
        let mut found = vec![pc];
        if is_code(symbols, link) {
            let callers = most.saturating_sub(1);
            found.extend(self.callers(memory, symbols, registers, callers));
        }
        found
    }
}

/// Adds the return addresses that are on the stack from `sp` on, until there are so many.
fn scan(memory: &dyn Memory, symbols: &Symbols, sp: u64, (found, most): (&mut Vec<u64>, usize)) {
    let end = (sp | (THREAD_SIZE - 1)) + 1;
    for at in (sp..end).step_by(4) {
        if found.len() >= most {
            break;
        }
        // A stack that ends here is no reason to give up what was found.
        let Ok(word) = memory.word(at) else { break };
        let word = u64::from(word);
        if is_code(symbols, word) && follows_call(memory, word) && found.last() != Some(&word) {
            found.push(word);
        }
    }
}

fn is_code(symbols: &Symbols, address: u64) -> bool {
    if !address.is_multiple_of(4) {
        return false;
    }
    let is_text = || {
        symbols
            .at(address)
            .is_some_and(|l| matches!(l.symbol.kind, 't' | 'T'))
    };
    MODULES.contains(&address) || is_text()
}

/// Returns whether the instruction before `address` is a call: `BL`, or `BLX` of a register (Arm
/// Architecture Reference Manual ARMv7-A, A8.8.25 and A8.8.26).
fn follows_call(memory: &dyn Memory, address: u64) -> bool {
    let Some(before) = address.checked_sub(4) else {
        return false;
    };
    memory.word(before).is_ok_and(|word| {
        let always_or_if = word >> 28 != 0xf;
        always_or_if && (word & 0x0f00_0000 == 0x0b00_0000 || word & 0x0fff_fff0 == 0x012f_ff30)
    })
}

#[cfg(test)]
mod tests {
    use crate::memory::Image;

    use super::*;

    const BL: u32 = 0xeb00_0000;
    const BLX_R3: u32 = 0xe12f_ff33;
    const ADD: u32 = 0xe280_0004;

    /// Returns memory of which each word is given.
    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn return_addresses_are_behind_calls() {
        let base = 0xbf00_0000;
        let code = bytes(&[BL, ADD, BLX_R3, ADD, 0xfb00_0000, ADD]);
        let image = Image { base, bytes: &code };
        let behind = |n: u64| follows_call(&image, base + 4 * n);
        assert!(behind(1) && behind(3));
        assert!(!behind(0) && !behind(2) && !behind(4) && !behind(5));
    }

    #[test]
    fn a_stack_is_walked_from_its_pointer_to_its_end() {
        let base: u32 = 0xbf00_0000;
        // Code, then what the stack has: two return addresses, one of them twice, and other words.
        let words = [
            BL,
            ADD,
            BLX_R3,
            ADD,
            7,
            base + 4,
            base + 8,
            base + 4,
            base + 4,
            base + 12,
            base + 5,
        ];
        let memory = bytes(&words);
        let image = Image {
            base: base.into(),
            bytes: &memory,
        };
        let symbols = Symbols::default();
        let mut registers = Registers::default();
        (registers[SP], registers[PC]) = (base + 16, 0x1234);
        let unwinder = Unwinder::default();
        let found = unwinder.callers(&image, &symbols, registers, 8);
        let at = |n: u32| u64::from(base + n);
        assert_eq!(found, [0x1234, at(4), at(12)]);
        assert_eq!(
            unwinder.stack(&image, &symbols, registers, 2),
            [0x1234, at(4)]
        );
    }
}
