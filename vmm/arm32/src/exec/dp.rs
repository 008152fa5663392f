//! Data processing: the sixteen ALU operations, ORN, and wide moves.
//!
//! One generic function, specialised by operation, by how the second operand is formed and by
//! whether flags are set. Fields: `a` = Rd, `b` = Rn, `c` = Rm, `d` = Rs, or the carry of an
//! immediate; `imm` = immediate or shift amount.

use arm32_isa::{DpOp, Shift};

use crate::cpu::{Cpu, Flow};
use crate::exec::{Handler, Op};

/// Forms of the second operand (values of the const parameter `FORM`).
pub mod form {
    /// An immediate; `d` tells the carry: 0, 1, or [`super::KEEP`].
    pub const IMM: u8 = 0;
    /// A register.
    pub const REG: u8 = 1;
    /// A register shifted left by 1 to 31.
    pub const LSL: u8 = 2;
    /// A register shifted right by 1 to 32.
    pub const LSR: u8 = 3;
    /// A register shifted right arithmetically by 1 to 32.
    pub const ASR: u8 = 4;
    /// A register rotated right by 1 to 31.
    pub const ROR: u8 = 5;
    /// A register rotated right through carry by one.
    pub const RRX: u8 = 6;
    /// A register shifted left by a register.
    pub const LSL_REG: u8 = 7;
    /// A register shifted right by a register.
    pub const LSR_REG: u8 = 8;
    /// A register shifted right arithmetically by a register.
    pub const ASR_REG: u8 = 9;
    /// A register rotated right by a register.
    pub const ROR_REG: u8 = 10;
}

/// An immediate that leaves C alone.
pub const KEEP: u8 = 2;

const AND: u8 = DpOp::And as u8;
const EOR: u8 = DpOp::Eor as u8;
const SUB: u8 = DpOp::Sub as u8;
const RSB: u8 = DpOp::Rsb as u8;
const ADD: u8 = DpOp::Add as u8;
const ADC: u8 = DpOp::Adc as u8;
const SBC: u8 = DpOp::Sbc as u8;
const RSC: u8 = DpOp::Rsc as u8;
const TST: u8 = DpOp::Tst as u8;
const TEQ: u8 = DpOp::Teq as u8;
const CMP: u8 = DpOp::Cmp as u8;
const CMN: u8 = DpOp::Cmn as u8;
const ORR: u8 = DpOp::Orr as u8;
const MOV: u8 = DpOp::Mov as u8;
const BIC: u8 = DpOp::Bic as u8;
const MVN: u8 = DpOp::Mvn as u8;
const ORN: u8 = DpOp::Orn as u8;

/// Returns the second operand and the shifter's carry-out.
#[inline(always)]
fn operand<const FORM: u8>(cpu: &Cpu, op: &Op) -> (u32, u32) {
    let carry = cpu.s.flags.c;
    if FORM == form::IMM {
        return (op.imm, if op.d == KEEP { carry } else { u32::from(op.d) });
    }
    let value = cpu.reg(op.c);
    match FORM {
        form::REG => (value, carry),
        // The form bounds the amount; the masks only keep the shifts from overflowing.
        form::LSL => (value << (op.imm & 31), (value >> ((32 - op.imm) & 31)) & 1),
        form::LSR => lsr(value, op.imm, carry),
        form::ASR => asr(value, op.imm, carry),
        form::ROR => (
            value.rotate_right(op.imm & 31),
            (value >> ((op.imm.wrapping_sub(1)) & 31)) & 1,
        ),
        form::RRX => (carry << 31 | value >> 1, value & 1),
        // Only the low byte of the register counts.
        form::LSL_REG => lsl(value, cpu.reg(op.d) & 0xff, carry),
        form::LSR_REG => lsr(value, cpu.reg(op.d) & 0xff, carry),
        form::ASR_REG => asr(value, cpu.reg(op.d) & 0xff, carry),
        _ => ror(value, cpu.reg(op.d) & 0xff, carry),
    }
}

/// Shifts as `Shift_C()` does (ARM ARM DDI 0406C A8.4.3), by a register, or by 1 to 32; returns the
/// carry-out too.
pub fn shift_c(kind: Shift, value: u32, amount: u32, carry: u32) -> (u32, u32) {
    match kind {
        Shift::Lsl => lsl(value, amount, carry),
        Shift::Lsr => lsr(value, amount, carry),
        Shift::Asr => asr(value, amount, carry),
        Shift::Ror => ror(value, amount, carry),
        Shift::Rrx => (carry << 31 | value >> 1, value & 1),
    }
}

#[inline]
fn lsl(value: u32, amount: u32, carry: u32) -> (u32, u32) {
    match amount {
        0 => (value, carry),
        1..=31 => (value << amount, (value >> (32 - amount)) & 1),
        32 => (0, value & 1),
        _ => (0, 0),
    }
}

#[inline]
fn lsr(value: u32, amount: u32, carry: u32) -> (u32, u32) {
    match amount {
        0 => (value, carry),
        1..=31 => (value >> amount, (value >> (amount - 1)) & 1),
        32 => (0, value >> 31),
        _ => (0, 0),
    }
}

#[inline]
fn asr(value: u32, amount: u32, carry: u32) -> (u32, u32) {
    let signed = value.cast_signed();
    match amount {
        0 => (value, carry),
        1..=31 => (
            (signed >> amount).cast_unsigned(),
            (value >> (amount - 1)) & 1,
        ),
        _ => ((signed >> 31).cast_unsigned(), value >> 31),
    }
}

#[inline]
fn ror(value: u32, amount: u32, carry: u32) -> (u32, u32) {
    if amount == 0 {
        return (value, carry);
    }
    let result = value.rotate_right(amount & 31);
    (result, result >> 31)
}

/// Adds as `AddWithCarry()` does; returns the sum, C and V (each 0 or 1).
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the sum is the low word, the carry what is above it"
)]
pub fn add_with_carry(x: u32, y: u32, carry: u32) -> (u32, u32, u32) {
    // In 64 bits, of which bit 32 is C.
    let wide = u64::from(x) + u64::from(y) + u64::from(carry);
    let sum = wide as u32;
    (sum, (wide >> 32) as u32, ((x ^ sum) & (y ^ sum)) >> 31)
}

/// Executes one ALU instruction.
fn dp<const OP: u8, const FORM: u8, const S: bool>(cpu: &mut Cpu, op: &Op) -> Flow {
    let (y, shifter_carry) = operand::<FORM>(cpu, op);
    let x = cpu.reg(op.b);
    let flags = cpu.s.flags;
    let logical = |result: u32| (result, shifter_carry, flags.v);
    let (result, c, v) = match OP {
        AND | TST => logical(x & y),
        EOR | TEQ => logical(x ^ y),
        ORR => logical(x | y),
        BIC => logical(x & !y),
        ORN => logical(x | !y),
        MOV => logical(y),
        MVN => logical(!y),
        ADD | CMN => add_with_carry(x, y, 0),
        ADC => add_with_carry(x, y, flags.c),
        SUB | CMP => subtract(x, y),
        RSB => subtract(y, x),
        SBC => add_with_carry(x, !y, flags.c),
        _ => add_with_carry(y, !x, flags.c),
    };
    if S {
        let f = &mut cpu.s.flags;
        f.n = result;
        f.z = result;
        f.c = c;
        f.v = v;
    }
    if !matches!(OP, TST | TEQ | CMP | CMN) {
        cpu.set_reg(op.a, result);
    }
    Flow::Next
}

#[inline(always)]
fn subtract(x: u32, y: u32) -> (u32, u32, u32) {
    let result = x.wrapping_sub(y);
    // C set means that nothing was borrowed.
    (result, u32::from(x >= y), ((x ^ y) & (x ^ result)) >> 31)
}

/// Executes MOVW, or writes any constant known when the block is made.
pub fn constant(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.set_reg(op.a, op.imm);
    Flow::Next
}

/// Executes MOVT.
pub fn movt(cpu: &mut Cpu, op: &Op) -> Flow {
    let low = cpu.reg(op.a) & 0xffff;
    cpu.set_reg(op.a, op.imm << 16 | low);
    Flow::Next
}

macro_rules! by_op {
    ($op:expr, $form:expr, $s:expr) => {
        match $op {
            DpOp::And => dp::<AND, { $form }, $s>,
            DpOp::Eor => dp::<EOR, { $form }, $s>,
            DpOp::Sub => dp::<SUB, { $form }, $s>,
            DpOp::Rsb => dp::<RSB, { $form }, $s>,
            DpOp::Add => dp::<ADD, { $form }, $s>,
            DpOp::Adc => dp::<ADC, { $form }, $s>,
            DpOp::Sbc => dp::<SBC, { $form }, $s>,
            DpOp::Rsc => dp::<RSC, { $form }, $s>,
            DpOp::Tst => dp::<TST, { $form }, true>,
            DpOp::Teq => dp::<TEQ, { $form }, true>,
            DpOp::Cmp => dp::<CMP, { $form }, true>,
            DpOp::Cmn => dp::<CMN, { $form }, true>,
            DpOp::Orr => dp::<ORR, { $form }, $s>,
            DpOp::Mov => dp::<MOV, { $form }, $s>,
            DpOp::Bic => dp::<BIC, { $form }, $s>,
            DpOp::Mvn => dp::<MVN, { $form }, $s>,
            DpOp::Orn => dp::<ORN, { $form }, $s>,
        }
    };
}

macro_rules! by_form {
    ($op:expr, $form:expr, $s:expr) => {
        match $form {
            form::IMM => by_op!($op, form::IMM, $s),
            form::REG => by_op!($op, form::REG, $s),
            form::LSL => by_op!($op, form::LSL, $s),
            form::LSR => by_op!($op, form::LSR, $s),
            form::ASR => by_op!($op, form::ASR, $s),
            form::ROR => by_op!($op, form::ROR, $s),
            form::RRX => by_op!($op, form::RRX, $s),
            form::LSL_REG => by_op!($op, form::LSL_REG, $s),
            form::LSR_REG => by_op!($op, form::LSR_REG, $s),
            form::ASR_REG => by_op!($op, form::ASR_REG, $s),
            _ => by_op!($op, form::ROR_REG, $s),
        }
    };
}

/// Returns the handler of an ALU operation with a second operand of form `form`.
pub fn handler(op: DpOp, form: u8, s: bool) -> Handler {
    if s {
        by_form!(op, form, true)
    } else {
        by_form!(op, form, false)
    }
}

/// Returns the form of a register shifted by an immediate, with `amount` 0 meaning no shift.
pub const fn immediate_form(shift: Shift, amount: u8) -> u8 {
    match shift {
        Shift::Rrx => form::RRX,
        _ if amount == 0 => form::REG,
        Shift::Lsl => form::LSL,
        Shift::Lsr => form::LSR,
        Shift::Asr => form::ASR,
        Shift::Ror => form::ROR,
    }
}

/// Returns the form of a register shifted by a register.
pub const fn register_form(shift: Shift) -> u8 {
    match shift {
        Shift::Lsl => form::LSL_REG,
        Shift::Lsr => form::LSR_REG,
        Shift::Asr => form::ASR_REG,
        Shift::Ror | Shift::Rrx => form::ROR_REG,
    }
}
