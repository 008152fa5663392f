//! Call stacks by the unwinding tables that 32-bit ARM kernels have (`CONFIG_ARM_UNWIND`).
//!
//! The tables are those of "Exception Handling ABI for the Arm Architecture" (ARM IHI 0038). An
//! index has an entry for each function: where it begins, and how its frame is taken off the stack.
//! It has a symbol only in some kernels, and is found by what it looks like: addresses of code in
//! ascending order.

use std::ops::Range;

use crate::memory::Memory;

/// Fewest entries that are taken for an index, in a row; a kernel has some ten thousand.
const MIN_ENTRIES: usize = 256;
/// Most entries that are kept.
const MAX_ENTRIES: usize = 1 << 17;
/// How far behind the kernel's code the index is searched, in bytes.
const SEARCHED: usize = 32 << 20;
/// How far behind the beginning of the code functions may be, in bytes: those that run only while
/// the kernel starts come last.
const REACH: u64 = 64 << 20;
/// Most bytes of instructions of an entry: 3, or 2 and those of 255 words.
const MAX_INSTRUCTIONS: usize = 2 + 255 * 4;

/// `EXIDX_CANTUNWIND` (section 5): the calls end here.
const CANT_UNWIND: u32 = 1;
/// Bit 31 of a word that has instructions in it.
const COMPACT: u32 = 1 << 31;

pub(super) const SP: usize = 13;
pub(super) const LR: usize = 14;
pub(super) const PC: usize = 15;

/// The registers of a function that is called, R0 to R15.
pub type Registers = [u32; 16];

/// The index of a kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
}

/// Where a function begins, and where the word is that tells how to unwind it, with that word.
type Entry = (u32, u32, u32);

/// Returns the address that `word`, which is at address `at`, leads to (section 4.1, `prel31`).
const fn relative(word: u32, at: u32) -> u32 {
    // Bit 30 is the sign.
    let distance = (word << 1).cast_signed() >> 1;
    at.wrapping_add(distance.cast_unsigned())
}

impl Index {
    /// Looks for the index behind the kernel's code, which is at `text`.
    pub fn find(memory: &dyn Memory, text: &Range<u64>) -> Option<Self> {
        let base = u32::try_from(text.end).ok()?.next_multiple_of(4);
        let bytes = read(memory, base);
        let word = |at: usize| {
            let bytes = bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let code = text.start..text.start.saturating_add(REACH);
        let entry = |at: usize| {
            // The offset is far below 4 GiB.
            let place = base.wrapping_add(u32::try_from(at).ok()?);
            let (first, second) = (word(at)?, word(at.checked_add(4)?)?);
            let function = relative(first, place);
            let is_code = first & COMPACT == 0 && code.contains(&function.into());
            is_code.then_some((function, place.wrapping_add(4), second))
        };
        // Entries have eight bytes, and begin at every other word of one of two kinds.
        let found = [0, 4].map(|from| first_run(&entry, text, (from, bytes.len())));
        let first = found.into_iter().flatten().min_by_key(|(at, _)| *at);
        first.map(|(_, entries)| Self { entries })
    }

    /// Replaces the registers of a function by those of its caller; `None` where the calls end, or
    /// the tables do not tell.
    pub fn step(&self, memory: &dyn Memory, registers: &mut Registers) -> Option<()> {
        // A call may be the last instruction of a function, and return behind it.
        let pc = registers[PC].checked_sub(1)?;
        let after = self.entries.partition_point(|entry| entry.0 <= pc);
        let &(_, place, word) = self.entries.get(after.checked_sub(1)?)?;
        let instructions = instructions(memory, place, word)?;
        let mut frame = Frame {
            memory,
            registers,
            has_pc: false,
        };
        frame.unwind(&instructions)?;
        if !frame.has_pc {
            registers[PC] = registers[LR];
        }
        Some(())
    }
}

/// Returns the first run of entries that is long enough to be an index, and where it is, of those
/// that are a multiple of eight bytes from `from` on. Their functions ascend, from one in `text`.
fn first_run(
    entry: &impl Fn(usize) -> Option<Entry>,
    text: &Range<u64>,
    (from, end): (usize, usize),
) -> Option<(usize, Vec<Entry>)> {
    let mut at = from;
    while at < end {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(next) = entry(at + 8 * entries.len()) {
            let follows = match entries.last() {
                Some(last) => last.0 < next.0,
                None => text.contains(&next.0.into()),
            };
            if !follows || entries.len() == MAX_ENTRIES {
                break;
            }
            entries.push(next);
        }
        if entries.len() >= MIN_ENTRIES {
            return Some((at, entries));
        }
        // A run that begins within this one ends where it does, and is shorter.
        at += 8 * entries.len().max(1);
    }
    None
}

/// Reads what is behind the kernel's code, as far as there is something.
fn read(memory: &dyn Memory, base: u32) -> Vec<u8> {
    const CHUNK: usize = 1 << 12;
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    while bytes.len() < SEARCHED {
        let at = u64::from(base) + bytes.len() as u64;
        if memory.read(at, &mut chunk).is_err() {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// Returns the instructions that an entry of the index leads to (sections 5 and 6.3).
fn instructions(memory: &dyn Memory, place: u32, word: u32) -> Option<Vec<u8>> {
    if word == CANT_UNWIND {
        return None;
    }
    let (first, at) = match word & COMPACT {
        0 => {
            let at = relative(word, place);
            (memory.word(at.into()).ok()?, Some(at))
        }
        _ => (word, None),
    };
    // A routine of a language other than C.
    if first & COMPACT == 0 {
        return None;
    }
    let [_, count, high, low] = first.to_be_bytes();
    let personality = first >> 24 & 0xf;
    if personality == 0 {
        return Some(vec![count, high, low]);
    }
    let (1 | 2, Some(at)) = (personality, at) else {
        return None;
    };
    let mut bytes = Vec::with_capacity(MAX_INSTRUCTIONS);
    bytes.extend([high, low]);
    for n in 1..=u32::from(count) {
        let word = memory.word(at.wrapping_add(4 * n).into()).ok()?;
        bytes.extend(word.to_be_bytes());
    }
    Some(bytes)
}

/// A frame that is taken off the stack.
struct Frame<'a> {
    memory: &'a dyn Memory,
    registers: &'a mut Registers,
    has_pc: bool,
}

impl Frame<'_> {
    /// Carries out instructions (section 10.3).
    fn unwind(&mut self, instructions: &[u8]) -> Option<()> {
        let mut next = instructions.iter().copied();
        while let Some(byte) = next.next() {
            let low = u32::from(byte & 0xf);
            match byte {
                0x00..=0x3f => self.add(u32::from(byte & 0x3f) * 4 + 4),
                0x40..=0x7f => self.add(0u32.wrapping_sub(u32::from(byte & 0x3f) * 4 + 4)),
                0x80..=0x8f => {
                    // Zero: refuse to unwind.
                    let mask = low << 8 | u32::from(next.next()?);
                    self.pop((mask != 0).then_some(mask << 4)?)?;
                }
                0x90..=0x9f if low != 13 && low != 15 => {
                    self.registers[SP] = self.registers[low as usize];
                }
                0xa0..=0xaf => {
                    let saved = (2 << (low & 7)) - 1;
                    let link = if low & 8 != 0 { 1 << LR } else { 0 };
                    self.pop(saved << 4 | link)?;
                }
                0xb0 => break,
                0xb1 => {
                    let mask = u32::from(next.next()?);
                    self.pop((1..16).contains(&mask).then_some(mask)?)?;
                }
                0xb2 => self.add(0x204u32.wrapping_add(uleb128(&mut next)? << 2)),
                // Floating-point registers are of no interest, but take room: with FSTMFDX a word
                // more.
                0xb3 => self.add((u32::from(next.next()? & 0xf) + 1) * 8 + 4),
                0xb8..=0xbf => self.add(((low & 7) + 1) * 8 + 4),
                0xc8 | 0xc9 => self.add((u32::from(next.next()? & 0xf) + 1) * 8),
                0xd0..=0xd7 => self.add((low + 1) * 8),
                _ => return None,
            }
        }
        Some(())
    }

    const fn add(&mut self, bytes: u32) {
        self.registers[SP] = self.registers[SP].wrapping_add(bytes);
    }

    /// Pops the registers of `mask`, the lowest first.
    fn pop(&mut self, mask: u32) -> Option<()> {
        let mut at = self.registers[SP];
        let mut popped_sp = None;
        for n in (0..16).filter(|n| mask & 1 << n != 0) {
            let word = self.memory.word(at.into()).ok()?;
            at = at.wrapping_add(4);
            match n {
                SP => popped_sp = Some(word),
                n => self.registers[n] = word,
            }
            self.has_pc |= n == PC;
        }
        self.registers[SP] = popped_sp.unwrap_or(at);
        Some(())
    }
}

/// Reads a number of seven bits a byte, the lowest first.
fn uleb128(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..28).step_by(7) {
        let byte = bytes.next()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    // No frame is as large.
    None
}

#[cfg(test)]
mod tests {
    use crate::memory::Image;

    use super::*;

    const TEXT: u32 = 0xc000_8000;
    const END: u32 = 0xc010_0000;
    /// Where the index of tests is, and how many functions it has.
    const INDEX: u32 = END + 0x1000;
    const FUNCTIONS: u32 = 300;
    const TABLE: u32 = INDEX + FUNCTIONS * 8;
    const STACK: u32 = 0xc020_0000;

    /// Returns the word at `at` that leads to `to`.
    fn to(to: u32, at: u32) -> u32 {
        to.wrapping_sub(at) & 0x7fff_ffff
    }

    /// Memory from the end of the code on: the index, in which function 7 is told by `word`, what
    /// else there is, and a stack.
    fn memory(word: u32, table: &[u32], stack: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0xff; (STACK - END + 0x1000) as usize];
        let mut put = |at: u32, word: u32| {
            let at = (at - END) as usize;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        };
        for n in 0..FUNCTIONS {
            let at = INDEX + 8 * n;
            put(at, to(function(n), at));
            put(at + 4, if n == 7 { word } else { CANT_UNWIND });
        }
        for (n, word) in (0..).zip(table) {
            put(TABLE + 4 * n, *word);
        }
        for (n, word) in (0..).zip(stack) {
            put(STACK + 4 * n, *word);
        }
        bytes
    }

    fn function(n: u32) -> u32 {
        TEXT + 0x100 * n
    }

    /// Unwinds from within function 7.
    fn unwound(word: u32, table: &[u32], stack: &[u32]) -> Option<Registers> {
        let bytes = memory(word, table, stack);
        let image = Image {
            base: END.into(),
            bytes: &bytes,
        };
        let text = u64::from(TEXT)..u64::from(END);
        let index = Index::find(&image, &text).expect("an index");
        assert_eq!(index.entries.len(), FUNCTIONS as usize);
        let mut registers = [0; 16];
        registers[SP] = STACK;
        registers[11] = STACK + 16;
        registers[LR] = 0x1234;
        registers[PC] = function(7) + 0x20;
        index.step(&image, &mut registers).map(|()| registers)
    }

    #[test]
    fn frames_are_taken_off_the_stack() {
        // Pop R4, R5 and R14, finish.
        let registers = unwound(0x80a9_b0b0, &[], &[4, 5, 0xc000_9000]).unwrap();
        assert_eq!(
            (registers[4], registers[5], registers[PC]),
            (4, 5, 0xc000_9000)
        );
        assert_eq!(registers[SP], STACK + 12);
        // Add 12, pop R11 and R15 by mask.
        let registers = unwound(0x8002_8880, &[], &[1, 2, 3, 11, 0xc000_9100]).unwrap();
        assert_eq!(
            (registers[11], registers[PC], registers[SP]),
            (11, 0xc000_9100, STACK + 20)
        );
        // SP from R11, add 4, subtract 8: the caller is in R14.
        let registers = unwound(0x809b_0041, &[], &[]).unwrap();
        assert_eq!((registers[SP], registers[PC]), (STACK + 16 + 4 - 8, 0x1234));
    }

    #[test]
    fn longer_instructions_are_in_a_table_of_their_own() {
        let word = to(TABLE, INDEX + 8 * 7 + 4);
        // 0x204 + (0x81 << 2) bytes, then R14 in the next word: b2 81 01, a8.
        let table = [0x8101_b281, 0x01a8_b0b0];
        let mut stack = vec![0; (0x204 + (0x81 << 2)) / 4];
        stack.extend([4, 0xc000_9200]);
        let registers = unwound(word, &table, &stack).unwrap();
        assert_eq!((registers[4], registers[PC]), (4, 0xc000_9200));
        // Floating-point registers take room.
        for (bytes, room) in [(0xb312_u32, 28), (0xb9b0, 20), (0xc834, 40), (0xd1b0, 16)] {
            let registers = unwound(0x8000_00b0 | bytes << 8, &[], &[]).unwrap();
            assert_eq!(registers[SP], STACK + room, "{bytes:#x}");
        }
    }

    #[test]
    fn what_does_not_tell_ends_the_calls() {
        let table = to(TABLE, INDEX + 8 * 7 + 4);
        // No unwinding; refusals; spare codes; code of another language; a table that is not there.
        for word in [
            CANT_UNWIND,
            0x8080_00b0,
            0x80b1_00b0,
            0x80ff_b0b0,
            0x809d_b0b0,
            table,
        ] {
            assert_eq!(unwound(word, &[0x4000_0000], &[]), None, "{word:#x}");
        }
        assert_eq!(unwound(to(0x1000, INDEX + 60), &[], &[]), None);
        // Instructions that end in the middle.
        assert_eq!(unwound(0x8000_00b1, &[], &[]), None);
        assert_eq!(unwound(0x8000_0080, &[], &[]), None);
    }

    #[test]
    fn memory_without_an_index_has_none() {
        let bytes = vec![0; 1 << 16];
        let image = Image {
            base: END.into(),
            bytes: &bytes,
        };
        assert!(Index::find(&image, &(TEXT.into()..END.into())).is_none());
        assert!(Index::find(&image, &(0..u64::MAX)).is_none());
        assert!(Index::find(&image, &(0..u32::MAX.into())).is_none());
    }
}
