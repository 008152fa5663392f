//! A case: inputs and a sequence of instructions in units, each with the set-up of its operands.

use crate::asm::{a32_mov32, t32_mov32};
use crate::image::Image;
use crate::layout::{self, CODE_STRIDE, Input, SCRATCH_SIZE};
use crate::runtime::Runtime;

/// One instruction word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A32.
    A32(u32),
    /// 32-bit T32, first halfword in the upper half.
    Wide(u32),
    /// 16-bit T32.
    Narrow(u16),
}

impl Word {
    /// Returns the length in bytes.
    pub const fn len(self) -> u32 {
        if let Self::Narrow(_) = self { 2 } else { 4 }
    }

    /// Returns false: no instruction is empty.
    pub const fn is_empty(self) -> bool {
        false
    }

    fn bytes(self, to: &mut Vec<u8>) {
        match self {
            Self::A32(w) => to.extend(w.to_le_bytes()),
            Self::Wide(w) => {
                to.extend(((w >> 16) as u16).to_le_bytes());
                to.extend((w as u16).to_le_bytes());
            }
            Self::Narrow(w) => to.extend(w.to_le_bytes()),
        }
    }
}

/// A value that operands are set to; some are known only when the code has its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// This.
    Const(u32),
    /// From what the address of unit `unit` (bit 0 set: T32) is.
    Target {
        /// Number of the unit; the number of units is the end.
        unit: usize,
        /// How to get the value.
        how: Adjust,
    },
}

/// How to get a value from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjust {
    /// The address plus this.
    Plus(u32),
    /// The address exclusive-or this.
    Xor(u32),
    /// This minus the address.
    From(u32),
    /// The address minus what the instruction reads as PC.
    FromPc,
}

/// What is put into scratch memory before the case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// A word.
    Word(Value),
    /// Entry of a branch table, in halfwords from PC; a byte, or a halfword if `half`.
    Table {
        /// Number of the unit to branch to.
        unit: usize,
        /// It is a halfword.
        half: bool,
    },
}

/// The direct branches, by where their offset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// A32 B, BL.
    A32,
    /// A32 BLX.
    A32Exchange,
    /// T32 B with condition, 32 bits.
    WideCond,
    /// T32 B, BL.
    Wide,
    /// T32 BLX.
    WideExchange,
    /// T16 B with condition.
    NarrowCond,
    /// T16 B.
    Narrow,
    /// CBZ, CBNZ.
    Cbz,
}

/// An instruction, or an IT block, with what its operands need.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// It is T32.
    pub thumb: bool,
    /// Core registers to set just before.
    pub presets: Vec<(u8, Value)>,
    /// Instructions.
    pub words: Vec<Option<Word>>,
    /// A direct branch as the last instruction, and the unit it leads to.
    pub branch: Option<(Branch, usize)>,
    /// What scratch memory shall hold at this offset.
    pub patches: Vec<(u32, Patch)>,
    /// It leads from one instruction set to the other, and cannot be left out.
    pub pinned: bool,
}

impl Unit {
    fn preset_len(&self) -> u32 {
        8 * self.presets.len() as u32
    }

    fn len(&self) -> u32 {
        self.preset_len() + self.words.iter().flatten().map(|w| w.len()).sum::<u32>()
    }

    /// Returns the address of the last instruction, for a unit at `start`.
    fn last(&self, start: u32) -> u32 {
        start + self.len() - self.words.iter().flatten().last().map_or(0, |w| w.len())
    }
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// R0 to R14 at the start.
    pub r: [u32; 15],
    /// Flags, Q and GE at the start.
    pub cpsr: u32,
    /// FPSCR at the start.
    pub fpscr: u32,
    /// D0 to D31 at the start.
    pub d: [u64; 32],
    /// Scratch memory at the start.
    pub scratch: Vec<u8>,
    /// The instructions.
    pub units: Vec<Unit>,
}

/// A case's code in its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The code.
    pub code: Vec<u8>,
    /// Address and instruction set of every instruction.
    pub listing: Vec<(u32, Word)>,
    starts: Vec<u32>,
    thumb: Vec<bool>,
}

impl Case {
    /// Creates a case that does nothing.
    pub fn empty() -> Self {
        Self {
            r: [0; 15],
            cpsr: 0,
            fpscr: 0,
            d: [0; 32],
            scratch: vec![0; SCRATCH_SIZE as usize],
            units: Vec::new(),
        }
    }

    /// Puts the code at the place of `slot`.
    pub fn place(&self, slot: u32, runtime: &Runtime) -> Placed {
        let (starts, thumb) = self.starts(layout::code(slot));
        let mut placed = Placed {
            code: Vec::new(),
            listing: Vec::new(),
            starts,
            thumb,
        };
        for i in 0..self.units.len() {
            self.emit(i, &mut placed);
        }
        let end = placed.starts[self.units.len()];
        placed.align(end);
        let last = if placed.thumb[self.units.len()] {
            Word::Wide(
                with_offset(
                    Branch::Wide,
                    0xf000_9000,
                    runtime.save_t32.wrapping_sub(end + 4),
                )
                .unwrap_or(0),
            )
        } else {
            Word::A32(
                with_offset(
                    Branch::A32,
                    0xea00_0000,
                    runtime.save_a32.wrapping_sub(end + 8),
                )
                .unwrap_or(0),
            )
        };
        placed.push(last);
        placed
    }

    /// Returns whether the code fits its slot.
    pub fn fits(&self) -> bool {
        self.starts(0)
            .0
            .last()
            .is_some_and(|end| end + 4 <= CODE_STRIDE)
    }

    /// Returns where every unit begins, the end included, and its instruction set.
    fn starts(&self, at: u32) -> (Vec<u32>, Vec<bool>) {
        let (mut at, mut thumb) = (at, self.units.first().is_some_and(|u| u.thumb));
        let (mut starts, mut sets) = (Vec::new(), Vec::new());
        for unit in &self.units {
            if thumb && !unit.thumb {
                at = at.next_multiple_of(4);
            }
            thumb = unit.thumb;
            starts.push(at);
            sets.push(thumb);
            at += unit.len();
        }
        starts.push(at);
        sets.push(thumb);
        (starts, sets)
    }

    fn emit(&self, i: usize, placed: &mut Placed) {
        let (unit, start) = (&self.units[i], placed.starts[i]);
        placed.align(start);
        let pc = unit.last(start) + if unit.thumb { 4 } else { 8 };
        for (register, value) in &unit.presets {
            let value = placed.value(*value, pc);
            if unit.thumb {
                t32_mov32((*register).into(), value)
                    .into_iter()
                    .for_each(|w| placed.push(Word::Wide(w)));
            } else {
                a32_mov32((*register).into(), value)
                    .into_iter()
                    .for_each(|w| placed.push(Word::A32(w)));
            }
        }
        let count = unit.words.iter().flatten().count();
        for (n, word) in unit.words.iter().flatten().enumerate() {
            let word = match unit.branch {
                Some((kind, target)) if n + 1 == count => placed.branch(*word, kind, i, target, pc),
                _ => *word,
            };
            placed.push(word);
        }
    }

    /// Puts input, scratch memory and code of the case into `image`.
    pub fn store(&self, slot: u32, runtime: &Runtime, image: &mut Image) -> Placed {
        let placed = self.place(slot, runtime);
        image
            .code
            .at(layout::code(slot), CODE_STRIDE as usize)
            .fill(0);
        image
            .code
            .at(layout::code(slot), placed.code.len())
            .copy_from_slice(&placed.code);
        let block = layout::input(slot);
        for (i, r) in (0..).zip(self.r) {
            image.input.put(block + Input::R + 4 * i, r);
        }
        image.input.put(block + Input::CPSR, self.cpsr);
        image.input.put(block + Input::FPSCR, self.fpscr);
        image.input.put(block + Input::ENTRY, placed.address(0));
        for (i, d) in (0..).zip(self.d) {
            image.input.put(block + Input::D + 8 * i, d as u32);
            image
                .input
                .put(block + Input::D + 8 * i + 4, (d >> 32) as u32);
        }
        self.store_scratch(slot, &placed, image);
        placed
    }

    fn store_scratch(&self, slot: u32, placed: &Placed, image: &mut Image) {
        let base = layout::scratch(slot);
        image
            .data
            .at(base, self.scratch.len())
            .copy_from_slice(&self.scratch);
        for (i, unit) in self.units.iter().enumerate() {
            let pc = unit.last(placed.starts[i]) + if unit.thumb { 4 } else { 8 };
            for (offset, patch) in &unit.patches {
                match *patch {
                    Patch::Word(value) => image.data.put(base + offset, placed.value(value, pc)),
                    Patch::Table { unit, half } => {
                        let entry = (placed.starts[unit].wrapping_sub(pc) / 2) as u16;
                        let len = 1 + usize::from(half);
                        image
                            .data
                            .at(base + offset, len)
                            .copy_from_slice(&entry.to_le_bytes()[..len]);
                    }
                }
            }
        }
    }

    /// Returns the case without unit `n`, which is not pinned; branches to it lead to the one after
    /// it.
    pub fn without(&self, n: usize) -> Self {
        let mut case = self.clone();
        case.units.remove(n);
        let moved = |target: &mut usize| {
            if *target > n {
                *target -= 1;
            }
        };
        for unit in &mut case.units {
            if let Some((_, target)) = &mut unit.branch {
                moved(target);
            }
            let values = unit.presets.iter_mut().map(|(_, v)| v);
            let patched = unit.patches.iter_mut().filter_map(|(_, p)| {
                if let Patch::Word(v) = p {
                    Some(v)
                } else {
                    None
                }
            });
            for value in values.chain(patched) {
                if let Value::Target { unit, .. } = value {
                    moved(unit);
                }
            }
            for (_, patch) in &mut unit.patches {
                if let Patch::Table { unit, .. } = patch {
                    moved(unit);
                }
            }
        }
        case
    }
}

impl Placed {
    /// Returns the address of unit `unit` as a branch target: bit 0 tells T32.
    fn address(&self, unit: usize) -> u32 {
        self.starts[unit] | u32::from(self.thumb[unit])
    }

    fn value(&self, value: Value, pc: u32) -> u32 {
        match value {
            Value::Const(v) => v,
            Value::Target { unit, how } => match how {
                Adjust::Plus(k) => self.address(unit).wrapping_add(k),
                Adjust::Xor(k) => self.address(unit) ^ k,
                Adjust::From(k) => k.wrapping_sub(self.address(unit)),
                Adjust::FromPc => self.address(unit).wrapping_sub(pc),
            },
        }
    }

    /// Makes `word`, in unit `i`, branch to `target`, or if that is out of reach to the next unit
    /// of the same instruction set that is not (CBZ cannot reach the very next instruction); a NOP
    /// if there is none.
    fn branch(&self, word: Word, kind: Branch, i: usize, target: usize, pc: u32) -> Word {
        let base = if matches!(kind, Branch::A32Exchange | Branch::WideExchange) {
            pc & !3
        } else {
            pc
        };
        let bits = match word {
            Word::A32(w) | Word::Wide(w) => w,
            Word::Narrow(w) => w.into(),
        };
        let reach = |unit: usize| with_offset(kind, bits, self.starts[unit].wrapping_sub(base));
        let bits = reach(target).or_else(|| {
            (i + 1..self.starts.len())
                .take_while(|unit| self.thumb[*unit] == self.thumb[i])
                .find_map(reach)
        });
        match word {
            Word::A32(_) => Word::A32(bits.unwrap_or(0xe320_f000)),
            Word::Wide(_) => Word::Wide(bits.unwrap_or(0xf3af_8000)),
            Word::Narrow(_) => Word::Narrow(bits.unwrap_or(0xbf00) as u16),
        }
    }

    fn align(&mut self, to: u32) {
        let begin = self.starts[0];
        while self.code.len() < (to - begin) as usize {
            self.code.extend(0xbf00u16.to_le_bytes());
        }
    }

    fn push(&mut self, word: Word) {
        self.listing
            .push((self.starts[0] + self.code.len() as u32, word));
        word.bytes(&mut self.code);
    }
}

/// Returns `word` with `offset` (from PC) as the offset of a branch; `None` when it is out of
/// reach.
fn with_offset(kind: Branch, word: u32, offset: u32) -> Option<u32> {
    let signed = offset.cast_signed();
    let within = |bits: u32| signed >= -(1 << (bits - 1)) && signed < 1 << (bits - 1);
    let field = |at: u32, len: u32| (offset >> at) & ((1 << len) - 1);
    // The letters of DDI 0406C A8.8.18: S, and J1 and J2, which are NOT(I EOR S) in the forms
    // without a condition.
    let s = field(31, 1);
    let j = |bit: u32| (field(bit, 1) ^ s) ^ 1;
    Some(match kind {
        Branch::A32 if within(26) => word & 0xff00_0000 | field(2, 24),
        Branch::A32Exchange if within(26) => word & 0xfe00_0000 | field(1, 1) << 24 | field(2, 24),
        Branch::WideCond if within(21) => {
            word & 0xfbc0_d000
                | s << 26
                | field(12, 6) << 16
                | field(18, 1) << 13
                | field(19, 1) << 11
                | field(1, 11)
        }
        Branch::Wide | Branch::WideExchange if within(25) => {
            word & 0xf800_d000
                | s << 26
                | field(12, 10) << 16
                | j(23) << 13
                | j(22) << 11
                | field(1, 11)
        }
        Branch::NarrowCond if within(9) => word & 0xff00 | field(1, 8),
        Branch::Narrow if within(12) => word & 0xf800 | field(1, 11),
        Branch::Cbz if (0..=126).contains(&signed) => {
            word & 0xfd07 | field(6, 1) << 9 | field(1, 5) << 3
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
