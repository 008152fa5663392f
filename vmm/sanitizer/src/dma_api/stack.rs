//! Who called: call stacks of a guest's kernel, each kept once.
//!
//! They are found by the kernel's unwinding tables. Where these end, which is in modules, as their
//! tables are elsewhere, and in a kernel that has none, the callers are the return addresses on the
//! stack: words that lead into code right behind a call. One of those may be left over from an
//! earlier call.

use std::collections::BTreeMap;

use vmm_introspect::memory::Memory;
use vmm_introspect::probe::Moment;
use vmm_introspect::symbols::Symbols;

use super::unwind::{Index, Registers};
use crate::report::Call;

/// Most functions of a call stack that are looked for.
const MAX_DEPTH: usize = 8;
/// Most different call stacks that are kept: there are some hundred.
const MAX_STACKS: usize = 4096;
/// The kernel's stacks are aligned to their size, or to twice that (`THREAD_SIZE` of
/// arch/arm/include/asm/thread_info.h).
const THREAD_SIZE: u64 = 8192;
/// Where modules are, below the kernel's own memory (`MODULES_VADDR` of
/// arch/arm/include/asm/memory.h, with the usual `PAGE_OFFSET`).
const MODULES: std::ops::Range<u64> = 0xbf00_0000..0xc000_0000;

/// A call stack, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StackId(usize);

/// A call, as far as it is kept for each mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The time, in nanoseconds since power-on.
    pub at: u64,
    core: u8,
    /// None where there are too many.
    stack: Option<StackId>,
}

/// All call stacks that were seen.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    numbers: BTreeMap<Vec<u64>, StackId>,
    /// The same in words, by number.
    texts: Vec<Vec<String>>,
    /// The kernel's unwinding tables. `None`: not looked for yet. `Some(None)`: there are none.
    index: Option<Option<Index>>,
}

impl Stacks {
    /// Takes note of who called the function that `moment` is about.
    pub fn note(&mut self, moment: &Moment<'_, '_>) -> Made {
        self.note_from(moment, moment.returns_to())
    }

    /// Takes note of the instruction that the core is about to execute, and of who called the
    /// function that it is in.
    pub fn note_here(&mut self, moment: &Moment<'_, '_>) -> Made {
        self.note_from(moment, moment.core.pc())
    }

    fn note_from(&mut self, moment: &Moment<'_, '_>, pc: u64) -> Made {
        let symbols = &moment.kernel.symbols;
        let index = self.index.get_or_insert_with(|| {
            let text = symbols.text()?..symbols.address("_etext")?;
            Index::find(moment, &text)
        });
        // At the entry of a function all registers are its caller's, and so are those that matter
        // when it has returned.
        let mut registers = Registers::default();
        for (n, register) in (0..).zip(&mut registers) {
            // Cores of 32 bits have registers of as many.
            *register = u32::try_from(moment.core.reg(n)).unwrap_or(0);
        }
        registers[15] = u32::try_from(pc).unwrap_or(0);
        let addresses = walk(moment, symbols, index.as_ref(), registers);
        Made {
            at: moment.now_ns,
            // A machine has few cores.
            core: u8::try_from(moment.core.index()).unwrap_or(u8::MAX),
            stack: self.number(addresses, symbols),
        }
    }

    fn number(&mut self, addresses: Vec<u64>, symbols: &Symbols) -> Option<StackId> {
        if let Some(&known) = self.numbers.get(&addresses) {
            return Some(known);
        }
        if self.texts.len() >= MAX_STACKS {
            return None;
        }
        let text = |&address: &u64| match symbols.at(address) {
            Some(location) => location.to_string(),
            None => format!("{address:#x}"),
        };
        let number = StackId(self.texts.len());
        self.texts.push(addresses.iter().map(text).collect());
        self.numbers.insert(addresses, number);
        Some(number)
    }

    /// Returns a call in words.
    pub fn call(&self, made: &Made) -> Call {
        let texts = made
            .stack
            .and_then(|StackId(number)| self.texts.get(number));
        Call {
            at: made.at,
            core: Some(made.core),
            stack: texts.cloned().unwrap_or_default(),
        }
    }
}

/// Returns the addresses that calls return to, the innermost first, from the registers of the
/// caller on.
fn walk(
    memory: &dyn Memory,
    symbols: &Symbols,
    index: Option<&Index>,
    mut registers: Registers,
) -> Vec<u64> {
    let pc = |registers: &Registers| u64::from(registers[15]);
    let mut found = vec![pc(&registers)];
    while let Some(index) = index
        && found.len() < MAX_DEPTH
        && index.step(memory, &mut registers).is_some()
        && is_code(symbols, pc(&registers))
    {
        found.push(pc(&registers));
    }
    if index.is_none() || MODULES.contains(&pc(&registers)) {
        scan(memory, symbols, registers[13].into(), &mut found);
    }
    found
}

/// Adds the return addresses that are on the stack from `sp` on.
fn scan(memory: &dyn Memory, symbols: &Symbols, sp: u64, found: &mut Vec<u64>) {
    let end = (sp | (THREAD_SIZE - 1)) + 1;
    for at in (sp..end).step_by(4) {
        if found.len() >= MAX_DEPTH {
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
    use vmm_introspect::memory::Image;

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
        (registers[13], registers[15]) = (base + 16, 0x1234);
        let found = walk(&image, &symbols, None, registers);
        let at = |n: u32| u64::from(base + n);
        assert_eq!(found, [0x1234, at(4), at(12)]);
    }

    #[test]
    fn stacks_are_kept_once_and_bounded() {
        let symbols = Symbols::default();
        let mut stacks = Stacks::default();
        let first = stacks.number(vec![1, 2], &symbols);
        assert_eq!(stacks.number(vec![1, 2], &symbols), first);
        let made = Made {
            at: 5,
            core: 1,
            stack: first,
        };
        let call = Call {
            at: 5,
            core: Some(1),
            stack: vec!["0x1".into(), "0x2".into()],
        };
        assert_eq!(stacks.call(&made), call);
        for n in 0..2 * MAX_STACKS as u64 {
            stacks.number(vec![n], &symbols);
        }
        assert_eq!(stacks.texts.len(), MAX_STACKS);
        let lost = Made {
            at: 5,
            core: 1,
            stack: stacks.number(vec![u64::MAX], &symbols),
        };
        assert!(stacks.call(&lost).stack.is_empty());
    }
}
