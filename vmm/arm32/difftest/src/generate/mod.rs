//! Random cases.

#![expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is one or two halfwords, and what is chosen is below a small limit"
)]

pub mod exclusions;
mod memory;
mod plan;
mod registers;
mod spec;
mod vector;

use arm32_isa::{Class, Decoded, ENCODINGS, Encoding, Insn, Set, decode_a32, decode_t32};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::case::{Adjust, Branch, Case, Unit, Value, Word};
use crate::layout::{self, SCRATCH_SIZE};
use crate::values::{below, chance, doubleword, fpscr, pick, word};
use spec::{InsnContext, Plan};

/// What instructions cases are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Data processing, multiplies, media instructions, status, hints, branches.
    Integer,
    /// Loads and stores of core registers, among integer instructions.
    Memory,
    /// VFP, loads and stores included.
    Vfp,
    /// Advanced SIMD, loads and stores included.
    Neon,
    /// Words that are no instructions, each one bit away from one, among integer instructions.
    /// UNPREDICTABLE forms are left out where QEMU does something else.
    Undefined,
    /// Everything.
    All,
}

/// Which instruction sets cases are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sets {
    /// A32.
    A32,
    /// T32, of both lengths.
    T32,
    /// Either, with changes between them.
    Both,
}

/// Instructions that user programs cannot execute comparably, whatever their operands: see
/// [`exclusions`].
const NEVER: Class = Class::SYSTEM.union(Class::IT);
/// Instructions of the integer kind.
const INTEGER: Class = Class::DATA
    .union(Class::MULTIPLY)
    .union(Class::MEDIA)
    .union(Class::STATUS)
    .union(Class::HINT)
    .union(Class::BARRIER);
/// Instructions that make exceptions, and branches: a few of each in every case.
const RARE: Class = Class::EXCEPTION.union(Class::COPROCESSOR);
/// VFP and Advanced SIMD.
const VECTOR: Class = Class::FP.union(Class::SIMD);

/// A weight, and the classes of which encodings are in any, and in none.
type Group = (u32, Class, Class);

impl Kind {
    /// Returns groups of classes (any of, none of) and how often each is drawn from.
    fn groups(self) -> Vec<Group> {
        const BRANCHES: Group = (8, Class::BRANCH, VECTOR);
        const RARELY: Group = (1, RARE, VECTOR);
        const BASE: Group = (100, INTEGER, Class::MEMORY.union(VECTOR));
        const SOME: Group = (15, INTEGER, Class::MEMORY.union(VECTOR));
        const CORE: Class = Class::MEMORY
            .union(Class::MULTIPLE)
            .union(Class::EXCLUSIVE)
            .union(Class::UNPRIVILEGED);
        match self {
            Self::Integer => vec![BASE, BRANCHES, RARELY],
            Self::Memory => vec![
                (100, CORE, VECTOR),
                (15, Class::EXCLUSIVE, VECTOR),
                SOME,
                BRANCHES,
                RARELY,
            ],
            // Loads and stores are in the second group only, and rarer.
            Self::Vfp => vec![
                (100, Class::FP, Class::MEMORY),
                (20, Class::FP, Class::DATA),
                SOME,
                BRANCHES,
            ],
            Self::Neon => vec![
                (100, Class::SIMD, Class::MEMORY),
                (20, Class::SIMD, Class::FP),
                SOME,
                BRANCHES,
            ],
            Self::Undefined => vec![SOME, (10, Class::all(), Class::empty())],
            Self::All => vec![
                BASE,
                (70, CORE, VECTOR),
                (60, VECTOR, Class::empty()),
                (15, Class::EXCLUSIVE, VECTOR),
                BRANCHES,
                RARELY,
            ],
        }
    }
}

/// Makes cases.
pub struct Generator {
    /// For A32 and T32: the groups as lists of encodings, with their weights.
    groups: [Vec<(u32, Vec<&'static Encoding>)>; 2],
    sets: Sets,
    /// Half of the instructions are none.
    undefined: bool,
    seed: u64,
}

/// How often an instruction is drawn again before its place stays empty.
const TRIES: u32 = 100;

impl Generator {
    /// Creates a generator of cases of `kind` in `sets`; `seed` and a case's number determine it.
    pub fn new(kind: Kind, sets: Sets, seed: u64) -> Self {
        let list = |wanted: &[Set]| {
            let group = |&(weight, among, without): &Group| {
                let fits = |e: &&Encoding| {
                    wanted.contains(&e.set)
                        && e.class.intersects(among)
                        && !e.class.intersects(without | NEVER)
                };
                (weight, ENCODINGS.iter().filter(fits).collect::<Vec<_>>())
            };
            kind.groups()
                .iter()
                .map(group)
                // Nothing can be drawn from an empty list.
                .filter(|(_, list)| !list.is_empty())
                .collect()
        };
        Self {
            groups: [list(&[Set::A32]), list(&[Set::T32, Set::T16])],
            sets,
            undefined: kind == Kind::Undefined,
            seed,
        }
    }

    /// Returns case number `number`, to run in `slot`.
    pub fn case(&self, number: u64, slot: u32) -> Case {
        // A random generator for each case: it can be made again without those before it.
        let rng = Xoshiro256PlusPlus::seed_from_u64(
            // 2^64 divided by the golden ratio: neighbours get seeds with few bits in common.
            self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        let mut maker = Maker {
            generator: self,
            rng,
            scratch: layout::scratch(slot),
        };
        loop {
            // Few are too long for their slot.
            let case = maker.case();
            if case.fits() {
                return case;
            }
        }
    }
}

/// One case in the making.
struct Maker<'a> {
    generator: &'a Generator,
    rng: Xoshiro256PlusPlus,
    scratch: u32,
}

impl Maker<'_> {
    fn case(&mut self) -> Case {
        let mut case = Case::empty();
        case.r = std::array::from_fn(|_| word(&mut self.rng));
        case.cpsr = self.rng.next_u32() & 0xf80f_0000;
        case.fpscr = fpscr(&mut self.rng);
        case.d = std::array::from_fn(|_| doubleword(&mut self.rng));
        case.scratch = (0..SCRATCH_SIZE / 8)
            .flat_map(|_| doubleword(&mut self.rng).to_le_bytes())
            .collect();
        let count = 4 + below(&mut self.rng, 10) as usize;
        let first = match self.generator.sets {
            Sets::A32 => false,
            Sets::T32 => true,
            Sets::Both => chance(&mut self.rng, 50),
        };
        // Neither the first nor the last unit: there is code of both sets.
        let switch = if self.generator.sets == Sets::Both && chance(&mut self.rng, 30) {
            Some(1 + below(&mut self.rng, count as u32 - 2) as usize)
        } else {
            None
        };
        let big_endian = chance(&mut self.rng, 20);
        for i in 0..count {
            // The unit that switches still belongs to the first set.
            let thumb = first ^ switch.is_some_and(|s| i > s);
            let place = InsnContext {
                thumb,
                in_it: false,
                first: true,
                last: true,
                unit: i,
                section_end: switch.filter(|s| i < *s).unwrap_or(count),
                end: count,
                big_endian,
                scratch: self.scratch,
            };
            let unit = if switch == Some(i) {
                self.switch(&place)
            } else {
                self.unit(&place)
            };
            case.units.push(unit);
        }
        case
    }

    /// Returns a unit that leads to the next one in the other instruction set.
    fn switch(&mut self, place: &InsnContext) -> Unit {
        let next = Value::Target {
            unit: place.unit + 1,
            how: Adjust::Plus(0),
        };
        let rm = below(&mut self.rng, 15) as u8;
        let mut unit = Unit {
            thumb: place.thumb,
            pinned: true,
            ..Unit::default()
        };
        let link = chance(&mut self.rng, 50);
        // BLX (immediate) always changes the set. Its offset is known once the code has its place.
        if chance(&mut self.rng, 30) {
            let (word, kind) = if place.thumb {
                (Word::Wide(0xf000_c000), Branch::WideExchange)
            } else {
                (Word::A32(0xfa00_0000), Branch::A32Exchange)
            };
            unit.words.push(Some(word));
            unit.branch = Some((kind, place.unit + 1));
            return unit;
        }
        unit.presets.push((rm, next));
        unit.words.push(Some(if place.thumb {
            Word::Narrow(0x4700 | u16::from(link) << 7 | u16::from(rm) << 3)
        } else {
            Word::A32(0xe12f_ff10 | u32::from(link) << 5 | u32::from(rm))
        }));
        unit
    }

    fn unit(&mut self, place: &InsnContext) -> Unit {
        if place.thumb && chance(&mut self.rng, 12) {
            return self.it_block(place);
        }
        let mut unit = Unit {
            thumb: place.thumb,
            ..Unit::default()
        };
        if let Some((word, plan)) = self.instruction(place) {
            add(&mut unit, word, plan);
        }
        unit
    }

    /// Returns IT and the instructions that it makes conditional.
    fn it_block(&mut self, place: &InsnContext) -> Unit {
        let count = 1 + below(&mut self.rng, 4);
        // Not AL: "else" would be 1111.
        let cond = below(&mut self.rng, 14) as u16;
        let mut unit = Unit {
            thumb: true,
            ..Unit::default()
        };
        // One bit for each instruction but the first (the low bit of its condition), then a one.
        let mut mask = 8 >> (count - 1);
        for i in 1..count {
            let other = chance(&mut self.rng, 50);
            mask |= (cond & 1 ^ u16::from(other)) << (4 - i);
        }
        unit.words
            .push(Some(Word::Narrow(0xbf00 | cond << 4 | mask)));
        for i in 0..count {
            let place = InsnContext {
                in_it: true,
                first: i == 0,
                last: i + 1 == count,
                ..*place
            };
            // Two instructions that want the same register set would spoil one another.
            let free = |(_, plan): &(Word, Plan)| {
                !plan
                    .presets
                    .iter()
                    .any(|(r, _)| unit.presets.iter().any(|(u, _)| u == r))
            };
            match (0..4).filter_map(|_| self.instruction(&place)).find(free) {
                Some((word, plan)) => add(&mut unit, word, plan),
                None => unit.words.push(Some(Word::Narrow(0xbf00))),
            }
        }
        unit
    }

    /// Returns an instruction and what it needs; `None` when none was found by chance.
    fn instruction(&mut self, place: &InsnContext) -> Option<(Word, Plan)> {
        if self.generator.undefined && chance(&mut self.rng, 50) {
            return self.undefined(place).map(|word| (word, Plan::default()));
        }
        (0..TRIES).find_map(|_| {
            let encoding = self.encoding(place.thumb)?;
            let mut bits = encoding.random(&mut self.rng)?;
            let cond = encoding.field('c').filter(|_| encoding.set == Set::A32);
            // Mostly AL: what is not executed tells little.
            if let Some(cond) = cond.filter(|_| chance(&mut self.rng, 75)) {
                bits = cond.set(bits, 14);
            }
            let word = match encoding.set {
                Set::A32 => Word::A32(bits),
                Set::T32 => Word::Wide(bits),
                Set::T16 => Word::Narrow(bits as u16),
            };
            let decoded = decode(word, place.in_it);
            // Most registers of VMRS and VMSR are undefined in User mode, and would end too many
            // cases.
            let system =
                matches!(decoded.insn, Insn::Vmrs { reg, .. } | Insn::Vmsr { reg, .. } if reg != 1);
            if decoded.insn == Insn::Undefined || system && chance(&mut self.rng, 95) {
                return None;
            }
            // What is excluded is drawn again, perhaps with other operands.
            let plan = plan::plan(&mut self.rng, &decoded, place).ok()?;
            Some((word, plan))
        })
    }

    /// Returns a word that is no instruction, one bit away from one.
    fn undefined(&mut self, place: &InsnContext) -> Option<Word> {
        (0..TRIES).find_map(|_| {
            let encoding = self.encoding(place.thumb)?;
            let flip = 1
                << below(
                    &mut self.rng,
                    if encoding.set == Set::T16 { 16 } else { 32 },
                );
            let bits = encoding.random(&mut self.rng)? ^ flip;
            let word = match encoding.set {
                // No condition that might fail: the word has to be executed to be refused.
                Set::A32 => Word::A32(bits | if bits >> 28 == 15 { 0 } else { 0xe000_0000 }),
                Set::T32 => Word::Wide(bits),
                Set::T16 => Word::Narrow(bits as u16),
            };
            let decoded = decode(word, place.in_it);
            // The changed bit may have made it a T32 instruction of the other length.
            let whole = u32::from(decoded.len) == word.len();
            (whole && decoded.insn == Insn::Undefined && !exclusions::may_execute(word))
                .then_some(word)
        })
    }

    fn encoding(&mut self, thumb: bool) -> Option<&'static Encoding> {
        let groups = &self.generator.groups[usize::from(thumb)];
        let total: u32 = groups.iter().map(|(weight, _)| weight).sum();
        let mut at = below(&mut self.rng, total.max(1));
        for (weight, list) in groups {
            if at < *weight {
                return Some(pick(&mut self.rng, list));
            }
            at -= weight;
        }
        None
    }
}

/// Decodes a word.
pub fn decode(word: Word, in_it: bool) -> Decoded {
    match word {
        Word::A32(w) => decode_a32(w),
        Word::Wide(w) => decode_t32((w >> 16) as u16, w as u16, in_it),
        Word::Narrow(w) => decode_t32(w, 0, in_it),
    }
}

/// Adds an instruction to a unit. Only the last instruction of a unit is a branch, so there is one
/// plan for it.
fn add(unit: &mut Unit, word: Word, plan: Plan) {
    unit.presets.extend(plan.presets);
    unit.patches.extend(plan.patches);
    unit.branch = unit.branch.or(plan.branch);
    unit.words.push(Some(word));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Encodings of which no instruction can be compared, by name: see [`exclusions`].
    const UNUSED: &[&str] = &["SVC", "MRS_bank", "MSR_bank"];

    #[test]
    fn every_encoding_is_generated_but_those_that_are_excluded() {
        let generator = Generator::new(Kind::All, Sets::Both, 1);
        let mut seen = BTreeSet::new();
        for number in 0..60_000 {
            for unit in generator.case(number, 0).units {
                let mut in_it = false;
                for word in unit.words.iter().flatten() {
                    let decoded = decode(*word, in_it);
                    in_it |= matches!(decoded.insn, Insn::It { .. });
                    seen.insert(decoded.encoding);
                }
            }
        }
        let missing: Vec<String> = ENCODINGS
            .iter()
            .filter(|e| {
                !seen.contains(&e.id) && !e.class.intersects(NEVER) && !UNUSED.contains(&e.name)
            })
            .map(|e| format!("{:?} {}", e.set, e.name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
