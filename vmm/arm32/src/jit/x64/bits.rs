//! Products, fields and orders of bits.

use arm32_isa::{ExtendOp, RevOp};

use super::asm::{Alu, Cc, Extend, Packed, Rm, ShiftOp, Width, Xmm};
use super::frame::{self, SECOND, THIRD, WORK};
use super::values::Emitter;
use crate::ir::{Dest, FlagSet, Mop, MultiplyLong, Value};

/// Returns whether the host has LZCNT; where it has not, the same bytes are another instruction.
pub fn counts_zeros() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("lzcnt");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// Writes one of the operations of this module.
pub fn emit(e: &mut Emitter<'_>, mop: Mop) {
    match mop {
        Mop::Multiply { d, x, y } => {
            e.load(WORK, x);
            e.asm.multiply(Width::Long, WORK, super::values::operand(y));
            e.put(d, WORK);
        }
        Mop::Divide { d, x, y, signed } => divide(e, d, (x, y), signed),
        Mop::MultiplyLong(product) => multiply_long(e, product),
        Mop::Extend { kind, d, x, rotate } => {
            let work = e.work_for(d, &[]);
            e.load(work, x);
            if rotate != 0 {
                e.asm.shift(Width::Long, ShiftOp::Ror, work, rotate);
            }
            let how = match kind {
                ExtendOp::Sxtb => Extend::Sign8,
                ExtendOp::Sxth => Extend::Sign16,
                ExtendOp::Uxtb => Extend::Zero8,
                _ => Extend::Zero16,
            };
            e.asm.extend(how, work, Rm::Reg(work));
            e.put(d, work);
        }
        Mop::Extract {
            d,
            x,
            lsb,
            width,
            signed,
        } => {
            let work = e.work_for(d, &[]);
            e.load(work, x);
            e.asm
                .shift(Width::Long, ShiftOp::Shl, work, 32 - lsb - width);
            let right = if signed { ShiftOp::Sar } else { ShiftOp::Shr };
            e.asm.shift(Width::Long, right, work, 32 - width);
            e.put(d, work);
        }
        Mop::Insert { reg, x, lsb, width } => insert(e, reg, x, lsb, width),
        Mop::Reverse { kind, d, x } => {
            let work = e.work_for(d, &[]);
            e.load(work, x);
            e.asm.swap_bytes(work);
            match kind {
                RevOp::Rev16 => e.asm.shift(Width::Long, ShiftOp::Ror, work, 16),
                RevOp::Revsh => e.asm.shift(Width::Long, ShiftOp::Sar, work, 16),
                _ => {}
            }
            e.put(d, work);
        }
        Mop::LeadingZeros { d, x } => {
            let from = e.in_register(x, WORK);
            e.asm.leading_zeros(WORK, from);
            e.put(d, WORK);
        }
        Mop::AddBytes { d, x, y, subtract } => add_bytes(e, d, (x, y), subtract),
        Mop::SelectBytes { d, x, y } => select_bytes(e, d, x, y),
        _ => {}
    }
}

/// Divides RDX:RAX, where the dividend has to be.
fn divide(e: &mut Emitter<'_>, d: Dest, (x, y): (Value, Value), signed: bool) {
    let (width, by) = (Width::Quad, super::values::operand(y));
    if signed {
        // Of 64 bits, as the quotient of the least number and -1 has no room in 32: the host would
        // trap.
        e.asm.sign_extend32(SECOND, by);
    } else {
        e.load(SECOND, y);
    }
    // The quotient if the divisor is 0, and else the upper half of a dividend without a sign.
    e.asm.set(THIRD, 0);
    e.asm.test(SECOND, SECOND);
    let by_zero = e.asm.jump_if(Cc::E);
    if signed {
        e.asm.sign_extend32(WORK, super::values::operand(x));
        e.asm.sign_to_rdx(width);
        e.asm.divide(width, signed, SECOND);
    } else {
        e.load(WORK, x);
        e.asm.divide(Width::Long, signed, SECOND);
    }
    e.asm.load(Width::Long, THIRD, Rm::Reg(WORK));
    e.asm.bind_here(by_zero);
    e.put(d, THIRD);
}

/// Adds or subtracts four bytes; GE says which sums carry, or which differences do not borrow.
fn add_bytes(e: &mut Emitter<'_>, d: Dest, (x, y): (Value, Value), subtract: bool) {
    for (vector, value) in [(Xmm::X0, x), (Xmm::X1, y)] {
        let from = e.in_register(value, WORK);
        e.asm.set_vector(Width::Long, vector, from);
    }
    if subtract {
        // The larger one is the first.
        e.asm.copy_vector(Xmm::X2, Xmm::X1);
        e.asm.packed(Packed::MaxU8, Xmm::X2, Xmm::X0);
        e.asm.packed(Packed::Equal8, Xmm::X2, Xmm::X0);
        e.asm.packed(Packed::Sub8, Xmm::X0, Xmm::X1);
    } else {
        // The sum is less than either of them.
        e.asm.packed(Packed::Add8, Xmm::X0, Xmm::X1);
        e.asm.packed(Packed::MaxU8, Xmm::X1, Xmm::X0);
        e.asm.copy_vector(Xmm::X2, Xmm::X0);
        e.asm.packed(Packed::Equal8, Xmm::X2, Xmm::X1);
    }
    e.asm.high_bits(WORK, Xmm::X2);
    if !subtract {
        e.asm.not(WORK);
    }
    e.asm.alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), 0xf);
    e.asm.store8(frame::GE, WORK);
    e.asm.get_vector(Width::Long, WORK, Xmm::X0);
    e.put(d, WORK);
}

/// Takes each byte from `x` where its bit of GE is set, and else from `y`.
fn select_bytes(e: &mut Emitter<'_>, d: Dest, x: Value, y: Value) {
    // Each of the four bits to the lowest of a byte, and from there to all of it.
    e.asm.extend(Extend::Zero8, WORK, Rm::Mem(frame::GE));
    e.asm.set(SECOND, 0x20_4081);
    e.asm.multiply(Width::Long, WORK, Rm::Reg(SECOND));
    e.asm
        .alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), 0x0101_0101);
    e.asm.set(SECOND, 0xff);
    e.asm.multiply(Width::Long, WORK, Rm::Reg(SECOND));
    e.load(SECOND, x);
    e.load(THIRD, y);
    e.asm.alu(Width::Long, Alu::Xor, SECOND, Rm::Reg(THIRD));
    e.asm.alu(Width::Long, Alu::And, SECOND, Rm::Reg(WORK));
    e.asm.alu(Width::Long, Alu::Xor, SECOND, Rm::Reg(THIRD));
    e.put(d, SECOND);
}

fn multiply_long(e: &mut Emitter<'_>, m: MultiplyLong) {
    for (r, value) in [(WORK, m.x), (SECOND, m.y)] {
        if m.signed {
            e.asm.sign_extend32(r, super::values::operand(value));
        } else {
            e.load(r, value);
        }
    }
    // The low 64 bits of the product of two words are all of it.
    e.asm.multiply(Width::Quad, WORK, Rm::Reg(SECOND));
    if m.add {
        e.load(SECOND, Value::Reg(m.high));
        e.asm.shift(Width::Quad, ShiftOp::Shl, SECOND, 32);
        e.load(THIRD, Value::Reg(m.low));
        e.asm.alu(Width::Quad, Alu::Or, SECOND, Rm::Reg(THIRD));
        e.asm.alu(Width::Quad, Alu::Add, WORK, Rm::Reg(SECOND));
    }
    if m.set.has(FlagSet::NZ) {
        e.asm.store_imm(frame::Z, 0);
        e.asm.alu_imm(Width::Quad, Alu::Cmp, Rm::Reg(WORK), 0);
        e.asm.set_if(Cc::Ne, frame::Z);
    }
    e.put(Dest::Reg(m.low), WORK);
    e.asm.shift(Width::Quad, ShiftOp::Shr, WORK, 32);
    e.put(Dest::Reg(m.high), WORK);
    if m.set.has(FlagSet::NZ) {
        e.asm.store(Width::Long, frame::N, WORK);
    }
}

fn insert(e: &mut Emitter<'_>, reg: u8, x: Value, lsb: u8, width: u8) {
    let mask = u32::MAX >> (32 - width);
    let target = frame::operand(reg);
    // First, as it may be the register itself.
    match x {
        Value::Imm(x) => e.asm.set(WORK, (x & mask) << lsb),
        x => {
            e.load(WORK, x);
            e.asm
                .alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), mask.cast_signed());
            e.asm.shift(Width::Long, ShiftOp::Shl, WORK, lsb);
        }
    }
    let kept = !(mask << lsb);
    e.asm
        .alu_imm(Width::Long, Alu::And, target, kept.cast_signed());
    match target {
        Rm::Reg(r) => e.asm.alu(Width::Long, Alu::Or, r, Rm::Reg(WORK)),
        Rm::Mem(m) => e.asm.alu_to(Width::Long, Alu::Or, m, WORK),
    }
}
