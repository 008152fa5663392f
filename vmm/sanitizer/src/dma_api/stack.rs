//! Who called: call stacks of a guest's kernel, each kept once.

use std::collections::BTreeMap;

use vmm_introspect::probe::Moment;
use vmm_introspect::stack::{Registers, Unwinder};
use vmm_introspect::symbols::Symbols;

use crate::report::Call;

/// Most functions of a call stack that are looked for.
const MAX_DEPTH: usize = 8;
/// Most different call stacks that are kept: there are some hundred.
const MAX_STACKS: usize = 4096;
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
    /// The kernel's unwinding tables, once they were looked for.
    unwinder: Option<Unwinder>,
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
        let unwinder = &*self
            .unwinder
            .get_or_insert_with(|| Unwinder::find(moment, symbols));
        // At the entry of a function all registers are its caller's, and so are those that matter
        // when it has returned.
        let mut registers = Registers::default();
        for (n, register) in (0..).zip(&mut registers) {
            // Cores of 32 bits have registers of as many.
            *register = u32::try_from(moment.core.reg(n)).unwrap_or(0);
        }
        registers[15] = u32::try_from(pc).unwrap_or(0);
        let addresses = unwinder.callers(moment, symbols, registers, MAX_DEPTH);
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

#[cfg(test)]
mod tests {
    use super::*;

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
