//! Functions that table rows call to make operands from bit fields.
//!
//! In a row's expressions every pattern letter is a `u32`. `field` converts the result to the
//! type of the variant's field.

use crate::types::*;

/// Conversion of a row's expression to a field's type.
pub(crate) trait IntoField<T> {
    /// Converts; numbers are truncated.
    fn into_field(self) -> T;
}

impl<T> IntoField<T> for T {
    fn into_field(self) -> T {
        self
    }
}

impl IntoField<u8> for u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a field of at most 8 bits")]
    fn into_field(self) -> u8 {
        self as u8
    }
}

impl IntoField<u16> for u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a field of at most 16 bits"
    )]
    fn into_field(self) -> u16 {
        self as u16
    }
}

impl IntoField<u64> for u32 {
    fn into_field(self) -> u64 {
        u64::from(self)
    }
}

impl IntoField<i32> for u32 {
    fn into_field(self) -> i32 {
        self.cast_signed()
    }
}

/// A single bit as a flag.
impl IntoField<bool> for u32 {
    fn into_field(self) -> bool {
        self != 0
    }
}

/// Converts a row's expression to a field's type.
pub(crate) fn field<T, U: IntoField<T>>(value: U) -> T {
    value.into_field()
}

/// Returns `len` bits of `w` from bit `lo`.
pub(crate) const fn bits(w: u32, lo: u32, len: u32) -> u32 {
    // No field is without bits, so that the shift is below 32.
    (w >> lo) & (u32::MAX >> (32 - len))
}

/// Returns the bits of `high` followed by the `len` bits of `low`.
pub(crate) const fn cat(high: u32, len: u32, low: u32) -> u32 {
    (high << len) | low
}

/// Returns the number of set bits, for conditions.
pub(crate) const fn popcount(x: u32) -> u32 {
    x.count_ones()
}

/// Sign-extends the low `width` bits of `x`.
pub(crate) const fn sext(x: u32, width: u32) -> i32 {
    (x << (32 - width)).cast_signed() >> (32 - width)
}

/// Returns the A32 modified immediate (DDI 0406C A5.2.4).
pub const fn expand_a32_imm(imm12: u32) -> u32 {
    (imm12 & 0xff).rotate_right((imm12 >> 8 & 15) * 2)
}

/// Returns what an A32 modified immediate does to the carry.
pub(crate) const fn a32_imm_carry(imm12: u32) -> ImmCarry {
    if imm12 & 0xf00 == 0 {
        ImmCarry::Keep
    } else {
        top_bit(expand_a32_imm(imm12))
    }
}

/// Returns the T32 modified immediate i:imm3:imm8 (DDI 0406C A6.3.2).
pub const fn expand_t32_imm(imm12: u32) -> u32 {
    let byte = imm12 & 0xff;
    match imm12 >> 8 & 15 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte << 24 | byte << 16 | byte << 8 | byte,
        // By 8 to 31: with less, the field is one of the patterns above.
        _ => (byte & 0x7f | 0x80).rotate_right(imm12 >> 7 & 31),
    }
}

/// Returns what a T32 modified immediate does to the carry.
pub(crate) const fn t32_imm_carry(imm12: u32) -> ImmCarry {
    // The four patterns rotate nothing.
    if imm12 & 0xc00 == 0 {
        ImmCarry::Keep
    } else {
        top_bit(expand_t32_imm(imm12))
    }
}

const fn top_bit(value: u32) -> ImmCarry {
    // What a rotation to the right shifts out last is the topmost bit of its result.
    if value >> 31 == 0 {
        ImmCarry::Clear
    } else {
        ImmCarry::Set
    }
}

/// Returns the kind of an immediate shift (DDI 0406C A8.4.3): ROR #0 is RRX.
pub(crate) const fn imm_shift(kind: u32, amount: u32) -> Shift {
    if kind == 3 && amount == 0 {
        Shift::Rrx
    } else {
        Shift::from_index(kind & 3)
    }
}

/// Returns the amount of an immediate shift: LSR and ASR #0 mean 32, RRX means 1.
pub(crate) const fn imm_amount(kind: u32, amount: u32) -> u32 {
    match (kind & 3, amount) {
        (0, _) => amount,
        (1 | 2, 0) => 32,
        (3, 0) => 1,
        _ => amount,
    }
}

/// Returns the kind of a shift by register.
pub(crate) const fn reg_shift(kind: u32) -> Shift {
    Shift::from_index(kind & 3)
}

/// Returns the operation of the A32 opcode field.
pub(crate) const fn dp_op(opcode: u32) -> DpOp {
    DpOp::from_index(opcode & 15)
}

/// Returns the operation of the T32 opcode field of 32-bit data processing (DDI 0406C A6.3.1); the
/// rows with Rn = 15, which turns ORR and ORN into MOV and MVN, do not ask.
pub(crate) const fn t32_dp_op(opcode: u32) -> DpOp {
    match opcode & 15 {
        0 => DpOp::And,
        1 => DpOp::Bic,
        2 => DpOp::Orr,
        3 => DpOp::Orn,
        4 => DpOp::Eor,
        8 => DpOp::Add,
        10 => DpOp::Adc,
        11 => DpOp::Sbc,
        13 => DpOp::Sub,
        // Opcode 14: the conditions of the rows let no other through.
        _ => DpOp::Rsb,
    }
}

/// Returns the T32 comparison that has that opcode with Rd = 15 and S = 1.
pub(crate) const fn t32_compare_op(opcode: u32) -> DpOp {
    match opcode & 15 {
        0 => DpOp::Tst,
        4 => DpOp::Teq,
        8 => DpOp::Cmn,
        _ => DpOp::Cmp,
    }
}

/// Returns the indexing of a load or store, from P and W.
pub(crate) const fn index(p: u32, w: u32) -> Index {
    match (p, w) {
        // A32 has W = 0 here (W = 1 is LDRT and the like, in rows of their own), T32 has W = 1.
        (0, _) => Index::Post,
        (_, 0) => Index::Offset,
        _ => Index::Pre,
    }
}

/// Returns the load or store of a byte or a word, from bits B and L.
pub(crate) const fn word_or_byte(byte: u32, load: u32) -> MemOp {
    match (load, byte) {
        (0, 0) => MemOp::Str,
        (0, _) => MemOp::Strb,
        (_, 0) => MemOp::Ldr,
        _ => MemOp::Ldrb,
    }
}

/// Returns the A32 extra load of bits 6:5, with L set.
pub(crate) const fn extra_load(op2: u32) -> MemOp {
    match op2 & 3 {
        2 => MemOp::Ldrsb,
        3 => MemOp::Ldrsh,
        // 1; with 0 in that place the word is a multiplication or an exclusive access.
        _ => MemOp::Ldrh,
    }
}

/// Returns the T32 32-bit single transfer, from size field, sign bit and load bit.
pub(crate) const fn t32_mem_op(size: u32, signed: u32, load: u32) -> MemOp {
    match (load, signed, size & 3) {
        (0, _, 0) => MemOp::Strb,
        (0, _, 1) => MemOp::Strh,
        (0, _, _) => MemOp::Str,
        (_, 0, 0) => MemOp::Ldrb,
        (_, 0, 1) => MemOp::Ldrh,
        (_, _, 0) => MemOp::Ldrsb,
        (_, _, 1) => MemOp::Ldrsh,
        _ => MemOp::Ldr,
    }
}

/// Returns the T16 register-offset transfer of bits 11:9 (DDI 0406C A6.2.4).
pub(crate) const fn t16_mem_op(op: u32) -> MemOp {
    const OPS: [MemOp; 8] = [
        MemOp::Str,
        MemOp::Strh,
        MemOp::Strb,
        MemOp::Ldrsb,
        MemOp::Ldr,
        MemOp::Ldrh,
        MemOp::Ldrb,
        MemOp::Ldrsh,
    ];
    OPS[(op & 7) as usize]
}

/// Returns the operation of a T16 data-processing opcode that is plain (DDI 0406C A6.2.2).
pub(crate) const fn t16_dp_op(op: u32) -> DpOp {
    const OPS: [DpOp; 16] = [
        DpOp::And,
        DpOp::Eor,
        DpOp::Mov, // LSL
        DpOp::Mov, // LSR
        DpOp::Mov, // ASR
        DpOp::Adc,
        DpOp::Sbc,
        DpOp::Mov, // ROR
        DpOp::Tst,
        DpOp::Rsb,
        DpOp::Cmp,
        DpOp::Cmn,
        DpOp::Orr,
        DpOp::Mov, // MUL
        DpOp::Bic,
        DpOp::Mvn,
    ];
    OPS[(op & 15) as usize]
}

/// Returns the offset of a B.W or BL: the J bits are XORed with the sign (DDI 0406C A8.8.18).
pub(crate) const fn t32_branch_offset(s: u32, j1: u32, j2: u32, imm: u32) -> i32 {
    // So that J1 = J2 = 1 means the same as in BL before Thumb-2, where both bits were fixed.
    let (i1, i2) = (!(j1 ^ s) & 1, !(j2 ^ s) & 1);
    sext((s << 24) | (i1 << 23) | (i2 << 22) | (imm << 1), 25)
}

/// Returns a parallel operation's kind: A32 bits 22:20.
pub(crate) const fn a32_par_kind(op1: u32) -> ParKind {
    match op1 & 7 {
        1 => ParKind::Signed,
        2 => ParKind::SignedSat,
        3 => ParKind::SignedHalf,
        5 => ParKind::Unsigned,
        6 => ParKind::UnsignedSat,
        _ => ParKind::UnsignedHalf,
    }
}

/// Returns a parallel operation's kind: T32 bits 6:4.
pub(crate) const fn t32_par_kind(op2: u32) -> ParKind {
    match op2 & 7 {
        0 => ParKind::Signed,
        1 => ParKind::SignedSat,
        2 => ParKind::SignedHalf,
        4 => ParKind::Unsigned,
        5 => ParKind::UnsignedSat,
        _ => ParKind::UnsignedHalf,
    }
}

/// Returns a parallel operation: A32 bits 7:5.
pub(crate) const fn a32_par_op(op2: u32) -> ParOp {
    match op2 & 7 {
        0 => ParOp::Add16,
        1 => ParOp::Asx,
        2 => ParOp::Sax,
        3 => ParOp::Sub16,
        4 => ParOp::Add8,
        _ => ParOp::Sub8,
    }
}

/// Returns a parallel operation: T32 bits 22:20.
pub(crate) const fn t32_par_op(op1: u32) -> ParOp {
    match op1 & 7 {
        0 => ParOp::Add8,
        1 => ParOp::Add16,
        2 => ParOp::Asx,
        4 => ParOp::Sub8,
        5 => ParOp::Sub16,
        _ => ParOp::Sax,
    }
}

/// Returns an A32 extension: bits 22:20 (with U in front).
pub(crate) const fn a32_extend(op: u32) -> ExtendOp {
    match op & 7 {
        0 => ExtendOp::Sxtb16,
        2 => ExtendOp::Sxtb,
        3 => ExtendOp::Sxth,
        4 => ExtendOp::Uxtb16,
        6 => ExtendOp::Uxtb,
        _ => ExtendOp::Uxth,
    }
}

/// Returns a T32 extension: bits 22:20.
pub(crate) const fn t32_extend(op: u32) -> ExtendOp {
    match op & 7 {
        0 => ExtendOp::Sxth,
        1 => ExtendOp::Uxth,
        2 => ExtendOp::Sxtb16,
        3 => ExtendOp::Uxtb16,
        4 => ExtendOp::Sxtb,
        _ => ExtendOp::Uxtb,
    }
}

/// Returns a T16 extension: bits 7:6.
pub(crate) const fn t16_extend(op: u32) -> ExtendOp {
    match op & 3 {
        0 => ExtendOp::Sxth,
        1 => ExtendOp::Sxtb,
        2 => ExtendOp::Uxth,
        _ => ExtendOp::Uxtb,
    }
}

/// Returns the hint with that number; those without meaning are NOP.
pub(crate) const fn hint(number: u32) -> HintOp {
    match number & 0xff {
        1 => HintOp::Yield,
        2 => HintOp::Wfe,
        3 => HintOp::Wfi,
        4 => HintOp::Sev,
        0xf0..=0xff => HintOp::Dbg,
        // Hints without meaning execute as NOP, for programs that know later architectures.
        _ => HintOp::Nop,
    }
}

/// Returns the indexing of LDC and STC, from P and W.
pub(crate) const fn coproc_index(p: u32, w: u32) -> CoprocIndex {
    match (p, w) {
        // With U = 1, that is: with U = 0 the same bits are MCRR, MRRC or nothing.
        (0, 0) => CoprocIndex::Unindexed,
        (0, _) => CoprocIndex::Post,
        (_, 0) => CoprocIndex::Offset,
        _ => CoprocIndex::Pre,
    }
}

/// Returns the immediate of LDC and STC: scaled, unless it is an option.
pub(crate) const fn coproc_imm(p: u32, w: u32, imm: u32) -> u32 {
    if p == 0 && w == 0 { imm } else { imm << 2 }
}

#[cfg(test)]
mod tests;
