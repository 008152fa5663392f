//! An encoder of the A64 instructions that are emitted (ARM ARM DDI 0487, C4.1 for the groups, C6.2
//! for each).
//!
//! Tests compare each form, for all registers, with a disassembler.

mod operands;
mod vector;

pub use operands::{Access, Cond, Field, Gpr, Logic, Mem, Pair, ShiftOp, Sum, Unary, Width};
pub use vector::{
    Bits, Different, Fused, Lanes, One, Scalar, ScalarOne, Shift, Singles, SinglesOne, Vector, Zero,
};

/// An instruction that says how far away something is, to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixup(usize);

impl Fixup {
    /// Returns where the instruction is.
    pub const fn at(self) -> usize {
        self.0
    }
}

/// Code as it is written.
#[derive(Debug, Default)]
pub struct Asm {
    bytes: Vec<u8>,
}

/// Returns B to what is `distance` bytes away.
pub fn branch(distance: i64) -> u32 {
    0x1400_0000 | words(distance, 26)
}

/// Returns a distance in words, in so many bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the low bits are what is encoded"
)]
fn words(distance: i64, bits: u32) -> u32 {
    let reach = 1 << (bits + 1);
    debug_assert!((-reach..reach).contains(&distance) && distance % 4 == 0);
    (distance >> 2) as u32 & ((1 << bits) - 1)
}

/// Returns bits 22:10 that stand for `value` in logical operations of a word, if it is one run of
/// ones, perhaps around the end. (Repeated runs could be told too, and are rare.)
pub fn mask(value: u32) -> Option<u32> {
    let edges = value ^ value.rotate_left(1);
    if edges.count_ones() != 2 {
        return None;
    }
    let lowest = (edges & value).trailing_zeros();
    // As many ones from bit 0 on, rotated right.
    let rotate = (32 - lowest) % 32;
    Some(rotate << 6 | (value.count_ones() - 1))
}

/// Returns bits 22:10 that stand for `value` in additions and subtractions, if it is 12 bits or
/// those shifted by 12.
pub fn addend(value: u32) -> Option<u32> {
    match value {
        0..=0xfff => Some(value),
        _ if value & !0xff_f000 == 0 => Some(1 << 12 | value >> 12),
        _ => None,
    }
}

impl Asm {
    /// Returns the position of what is written next.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    /// Returns what was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
    }

    /// Writes an instruction with operands of `width`, to `d` from `n`.
    fn operands(&mut self, width: Width, word: u32, d: Gpr, n: Gpr) {
        self.word((width as u32) << 31 | word | n.number() << 5 | d.number());
    }

    /// ADD, SUB and so on: `d`, `n`, a constant as [`addend`] gives it.
    pub fn sum_imm(&mut self, width: Width, op: Sum, d: Gpr, n: Gpr, addend: u32) {
        let word = 0x1100_0000 | (op as u32) << 29 | addend << 10;
        self.operands(width, word, d, n);
    }

    /// ADD, SUB and so on: `d`, `n`, `m`.
    pub fn sum(&mut self, width: Width, op: Sum, d: Gpr, n: Gpr, m: Gpr) {
        self.sum_shifted(width, op, d, n, m, 0);
    }

    /// ADD, SUB and so on: `d`, `n`, `m` shifted left.
    pub fn sum_shifted(&mut self, width: Width, op: Sum, d: Gpr, n: Gpr, m: Gpr, left: u32) {
        let word = 0x0b00_0000 | (op as u32) << 29 | m.number() << 16 | left << 10;
        self.operands(width, word, d, n);
    }

    /// ADC, SBC and so on: `d`, `n`, `m`.
    pub fn sum_carry(&mut self, op: Sum, d: Gpr, n: Gpr, m: Gpr) {
        let word = 0x1a00_0000 | (op as u32) << 29 | m.number() << 16;
        self.operands(Width::Word, word, d, n);
    }

    /// CMP `n`, a constant as [`addend`] gives it.
    pub fn compare_imm(&mut self, width: Width, n: Gpr, addend: u32) {
        self.sum_imm(width, Sum::SubSet, Gpr::ZERO, n, addend);
    }

    /// CMP `n`, `m`.
    pub fn compare(&mut self, width: Width, n: Gpr, m: Gpr) {
        self.sum(width, Sum::SubSet, Gpr::ZERO, n, m);
    }

    /// CMP `n`, `m` shifted right.
    pub fn compare_shifted(&mut self, n: Gpr, m: Gpr, right: u32) {
        let word = 0x6b40_0000 | m.number() << 16 | right << 10;
        self.operands(Width::Word, word, Gpr::ZERO, n);
    }

    /// AND, ORR and so on of a word: `d`, `n`, a constant as [`mask`] gives it.
    pub fn logic_imm(&mut self, op: Logic, d: Gpr, n: Gpr, mask: u32) {
        let word = 0x1200_0000 | (op as u32) << 29 | mask << 10;
        self.operands(Width::Word, word, d, n);
    }

    /// AND, ORR and so on of a word: `d`, `n`, `m` or the inverse of that: BIC, ORN and so on.
    pub fn logic(&mut self, op: Logic, d: Gpr, n: Gpr, m: Gpr, invert: bool) {
        let invert = u32::from(invert) << 21;
        let word = 0x0a00_0000 | (op as u32) << 29 | invert | m.number() << 16;
        self.operands(Width::Word, word, d, n);
    }

    /// ORR of a doubleword: `d`, `n`, `m` shifted left by 32; with `n` zero, LSL of a doubleword.
    pub fn join(&mut self, d: Gpr, n: Gpr, m: Gpr) {
        let word = 0x2a00_0000 | m.number() << 16 | 32 << 10;
        self.operands(Width::Double, word, d, n);
    }

    /// MOV `d`, `m`.
    pub fn copy(&mut self, width: Width, d: Gpr, m: Gpr) {
        let word = 0x2a00_0000 | m.number() << 16;
        self.operands(width, word, d, Gpr::ZERO);
    }

    /// MVN `d`, `m`.
    pub fn not(&mut self, d: Gpr, m: Gpr) {
        self.logic(Logic::Or, d, Gpr::ZERO, m, true);
    }

    /// MOV `d`, `value`, by an instruction or two.
    pub fn set(&mut self, d: Gpr, value: u32) {
        let (low, high) = (value & 0xffff, value >> 16);
        match (low, high) {
            (_, 0) => self.move_wide(2, d, 0, low),
            (0, _) => self.move_wide(2, d, 1, high),
            (_, 0xffff) => self.move_wide(0, d, 0, !low & 0xffff),
            (0xffff, _) => self.move_wide(0, d, 1, !high & 0xffff),
            _ => {
                self.move_wide(2, d, 0, low);
                self.move_wide(3, d, 1, high);
            }
        }
    }

    /// MOV `d`, `value` of 8 bytes, by one instruction to four.
    #[expect(clippy::cast_possible_truncation, reason = "it is cut into pieces")]
    pub fn set64(&mut self, d: Gpr, value: u64) {
        let mut op = 2;
        for place in 0..4 {
            let part = (value >> (16 * place)) as u32 & 0xffff;
            if part != 0 || value == 0 && place == 0 {
                self.bytes
                    .extend((1 << 31 | wide(op, d, place, part)).to_le_bytes());
                op = 3;
            }
        }
    }

    /// MOVK `d`, `value`, LSL 16.
    pub fn set_high(&mut self, d: Gpr, value: u32) {
        self.move_wide(3, d, 1, value & 0xffff);
    }

    fn move_wide(&mut self, op: u32, d: Gpr, place: u32, value: u32) {
        self.word(wide(op, d, place, value));
    }

    /// UBFX or SBFX of a word, and what these can be: LSR, ASR, UXTB and so on.
    pub fn extract(&mut self, field: Field, d: Gpr, n: Gpr, lowest: u32, width: u32) {
        let word = 0x1300_0000 | (field as u32) << 29 | lowest << 16 | (lowest + width - 1) << 10;
        self.operands(Width::Word, word, d, n);
    }

    /// LSR of a doubleword by 32.
    pub fn high_word(&mut self, d: Gpr, n: Gpr) {
        self.operands(Width::Double, 0x5340_0000 | 32 << 16 | 63 << 10, d, n);
    }

    /// LSL of a word by a constant, 1 to 31.
    pub fn left(&mut self, d: Gpr, n: Gpr, by: u32) {
        let word = 0x5300_0000 | (32 - by) << 16 | (31 - by) << 10;
        self.operands(Width::Word, word, d, n);
    }

    /// BFI of a word.
    pub fn insert(&mut self, d: Gpr, n: Gpr, lowest: u32, width: u32) {
        let word = 0x3300_0000 | ((32 - lowest) % 32) << 16 | (width - 1) << 10;
        self.operands(Width::Word, word, d, n);
    }

    /// EXTR of words: `d` = the low word of `high`:`low` shifted right by 0 to 31.
    pub fn extract_pair(&mut self, d: Gpr, high: Gpr, low: Gpr, right: u32) {
        let word = 0x1380_0000 | low.number() << 16 | right << 10;
        self.operands(Width::Word, word, d, high);
    }

    /// `op` by the low bits of `m`.
    pub fn shift(&mut self, width: Width, op: ShiftOp, d: Gpr, n: Gpr, m: Gpr) {
        let word = 0x1ac0_0000 | m.number() << 16 | (op as u32) << 10;
        self.operands(width, word, d, n);
    }

    /// `op` of a word.
    pub fn unary(&mut self, op: Unary, d: Gpr, n: Gpr) {
        self.operands(Width::Word, 0x5ac0_0000 | (op as u32) << 10, d, n);
    }

    /// MUL of words.
    pub fn multiply(&mut self, d: Gpr, n: Gpr, m: Gpr) {
        let word = 0x1b00_0000 | m.number() << 16 | Gpr::ZERO.number() << 10;
        self.operands(Width::Word, word, d, n);
    }

    /// SDIV or UDIV of words: a zero divisor gives 0, the least number by -1 is itself.
    pub fn divide(&mut self, signed: bool, d: Gpr, n: Gpr, m: Gpr) {
        let word = 0x1ac0_0800 | u32::from(signed) << 10 | m.number() << 16;
        self.operands(Width::Word, word, d, n);
    }

    /// SMADDL or UMADDL: `d` = `n` times `m` plus `a`.
    pub fn multiply_add(&mut self, signed: bool, d: Gpr, n: Gpr, m: Gpr, a: Gpr) {
        let op = if signed { 0x1b20_0000 } else { 0x1ba0_0000 };
        let word = op | m.number() << 16 | a.number() << 10;
        self.operands(Width::Double, word, d, n);
    }

    /// CSEL of words: `d` = `n` if `cond` holds, else `m`.
    pub fn select(&mut self, d: Gpr, n: Gpr, m: Gpr, cond: Cond) {
        let word = 0x1a80_0000 | m.number() << 16 | cond.number() << 12;
        self.operands(Width::Word, word, d, n);
    }

    /// CSET: `d` = 1 if `cond` holds, else 0.
    pub fn set_if(&mut self, d: Gpr, cond: Cond) {
        let zero = Gpr::ZERO;
        let word = 0x1a80_0400 | zero.number() << 16 | cond.inverse().number() << 12;
        self.operands(Width::Word, word, d, zero);
    }

    /// LDR, STR and so on.
    pub fn access(&mut self, access: Access, t: Gpr, at: Mem) {
        let Access { size, kind } = access;
        let word = u32::from(size) << 30 | u32::from(kind) << 22;
        let (word, base) = match at {
            Mem::Base(base, offset) => {
                debug_assert!(offset % (1 << size) == 0 && offset >> size < 0x1000);
                (0x3900_0000 | word | offset >> size << 10, base)
            }
            Mem::Sum(base, index) => (0x3820_4800 | word | index.number() << 16, base),
        };
        self.word(word | base.number() << 5 | t.number());
    }

    /// LDP or STP of two registers.
    pub fn pair(&mut self, width: Width, load: bool, (first, second): (Gpr, Gpr), at: Pair) {
        let (mode, base, distance) = match at {
            Pair::After(base, distance) => (1, base, distance),
            Pair::At(base, distance) => (2, base, distance),
            Pair::Before(base, distance) => (3, base, distance),
        };
        let distance = distance >> (2 + width as u32);
        debug_assert!((-64..64).contains(&distance));
        let word = 0x2800_0000 | mode << 23 | u32::from(load) << 22;
        let word = word | (distance.cast_unsigned() & 0x7f) << 15 | second.number() << 10;
        self.operands(width, word, first, base);
    }

    /// BR.
    pub fn jump_to(&mut self, n: Gpr) {
        self.word(0xd61f_0000 | n.number() << 5);
    }

    /// BLR.
    pub fn call(&mut self, n: Gpr) {
        self.word(0xd63f_0000 | n.number() << 5);
    }

    /// RET.
    pub fn ret(&mut self) {
        self.word(0xd65f_0000 | Gpr::LR.number() << 5);
    }

    /// B, to be filled in.
    pub fn jump(&mut self) -> Fixup {
        self.far(0x1400_0000)
    }

    /// BL, to be filled in.
    pub fn call_near(&mut self) -> Fixup {
        self.far(0x9400_0000)
    }

    /// B.cond, to be filled in.
    pub fn jump_if(&mut self, cond: Cond) -> Fixup {
        self.far(0x5400_0000 | cond.number())
    }

    /// CBZ of a word, or CBNZ, to be filled in.
    pub fn jump_if_zero(&mut self, t: Gpr, zero: bool) -> Fixup {
        let op = if zero { 0x3400_0000 } else { 0x3500_0000 };
        self.far(op | t.number())
    }

    /// LDR of a doubleword of the code, to be filled in.
    pub fn load_here(&mut self, t: Gpr) -> Fixup {
        self.far(0x5800_0000 | t.number())
    }

    fn far(&mut self, word: u32) -> Fixup {
        let fixup = Fixup(self.here());
        self.word(word);
        fixup
    }

    /// Writes 8 bytes of zeros at a multiple of 8; returns their position.
    pub fn quad(&mut self) -> usize {
        let at = self.here().next_multiple_of(8);
        self.bytes.resize(at + 8, 0);
        at
    }

    /// Has the instruction of `fixup` name position `to`.
    #[expect(
        clippy::cast_possible_wrap,
        reason = "positions are within a code area of megabytes"
    )]
    pub fn bind(&mut self, fixup: Fixup, to: usize) {
        self.set_distance(fixup, to as i64 - fixup.0 as i64);
    }

    /// Has the instruction of `fixup` name what is `distance` bytes from it.
    pub fn set_distance(&mut self, fixup: Fixup, distance: i64) {
        let Some(place) = self.bytes[fixup.0..].first_chunk_mut() else {
            return;
        };
        let word = u32::from_le_bytes(*place);
        // B and BL have 26 bits for it, and all others 19.
        let filled = if word & 0x7c00_0000 == 0x1400_0000 {
            word & 0xfc00_0000 | words(distance, 26)
        } else {
            word & 0xff00_001f | words(distance, 19) << 5
        };
        *place = filled.to_le_bytes();
    }

    /// Has the branch of `fixup` go to what is written next.
    pub fn bind_here(&mut self, fixup: Fixup) {
        self.bind(fixup, self.here());
    }
}

/// Returns MOVN (0), MOVZ (2) or MOVK (3) of a word: `d`, `value` shifted left by 16 times `place`.
fn wide(op: u32, d: Gpr, place: u32, value: u32) -> u32 {
    0x1280_0000 | op << 29 | place << 21 | value << 5 | d.number()
}

#[cfg(test)]
mod tests;
