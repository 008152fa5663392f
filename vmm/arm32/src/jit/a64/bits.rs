//! Products, fields and orders of bits.

use arm32_isa::{ExtendOp, RevOp};

use super::asm::{Access, Bits, Cond, Field, Gpr, Lanes, Logic, Unary, Vector, Width};
use super::frame::{self, SCRATCH};
use super::values::Emitter;
use super::values::{operand, place};
use crate::ir::{Dest, FlagSet, Mop, MultiplyLong, Value};

use Vector::{V0, V1, V2};

/// Writes one of the operations of this module.
pub fn emit(e: &mut Emitter<'_>, mop: Mop) {
    let [own, ..] = SCRATCH;
    match mop {
        Mop::Multiply { d, x, y } => {
            let to = place(d).unwrap_or(own);
            e.asm.multiply(to, operand(x), operand(y));
        }
        Mop::Divide { d, x, y, signed } => {
            let to = place(d).unwrap_or(own);
            e.asm.divide(signed, to, operand(x), operand(y));
        }
        Mop::AddBytes { d, x, y, subtract } => add_bytes(e, d, (x, y), subtract),
        Mop::SelectBytes { d, x, y } => select_bytes(e, d, x, y),
        Mop::MultiplyLong(product) => multiply_long(e, product),
        Mop::Extend { kind, d, x, rotate } => {
            let to = place(d).unwrap_or(own);
            let mut from = operand(x);
            if rotate != 0 {
                e.asm.extract_pair(own, from, from, rotate.into());
                from = own;
            }
            let (field, width) = match kind {
                ExtendOp::Sxtb => (Field::Signed, 8),
                ExtendOp::Sxth => (Field::Signed, 16),
                ExtendOp::Uxtb => (Field::Unsigned, 8),
                _ => (Field::Unsigned, 16),
            };
            e.asm.extract(field, to, from, 0, width);
        }
        Mop::Extract {
            d,
            x,
            lsb,
            width,
            signed,
        } => {
            let field = if signed {
                Field::Signed
            } else {
                Field::Unsigned
            };
            let to = place(d).unwrap_or(own);
            e.asm
                .extract(field, to, operand(x), lsb.into(), width.into());
        }
        Mop::Insert { reg, x, lsb, width } => {
            let to = frame::pinned(reg);
            match (x, lsb, width) {
                (Value::Imm(x), 16, 16) => e.asm.set_high(to, x),
                (x, lsb, width) => {
                    let from = e.in_register(x, own);
                    e.asm.insert(to, from, lsb.into(), width.into());
                }
            }
        }
        Mop::Reverse { kind, d, x } => {
            let to = place(d).unwrap_or(own);
            let op = match kind {
                RevOp::Rev => Unary::ReverseWord,
                RevOp::Rev16 | RevOp::Revsh => Unary::ReverseHalves,
                RevOp::Rbit => Unary::ReverseBits,
            };
            e.asm.unary(op, to, operand(x));
            if kind == RevOp::Revsh {
                e.asm.extract(Field::Signed, to, to, 0, 16);
            }
        }
        Mop::LeadingZeros { d, x } => {
            let to = place(d).unwrap_or(own);
            e.asm.unary(Unary::LeadingZeros, to, operand(x));
        }
        _ => {}
    }
}

/// Adds or subtracts bytes; GE says of each whether it carried, or did not borrow.
fn add_bytes(e: &mut Emitter<'_>, d: Dest, (x, y): (Value, Value), subtract: bool) {
    let [own, other, _] = SCRATCH;
    let bytes = |unsigned| (false, unsigned, 0);
    for (vector, value) in [(V0, x), (V1, y)] {
        let from = e.in_register(value, own);
        e.asm.set_scalar(Width::Word, vector, from);
    }
    if subtract {
        e.asm.lanes(Lanes::Sub, bytes(false), V2, V0, V1);
        e.asm.lanes(Lanes::GreaterEqual, bytes(true), V1, V0, V1);
    } else {
        // A sum that carried is less than either of them.
        e.asm.lanes(Lanes::Add, bytes(false), V2, V0, V1);
        e.asm.lanes(Lanes::Greater, bytes(true), V1, V0, V2);
    }
    // One bit of each byte, and their sum in the highest byte.
    e.asm.get_word(own, V1, 0);
    e.asm.set(other, 0x0804_0201);
    e.asm.logic(Logic::And, own, own, other, false);
    e.asm.set(other, 0x0101_0101);
    e.asm.multiply(own, own, other);
    e.asm.extract(Field::Unsigned, own, own, 24, 8);
    e.asm.access(Access::STORE8, own, frame::GE);
    e.asm.get_word(place(d).unwrap_or(own), V2, 0);
}

/// Takes each byte from `x` where its bit of GE is set, and else from `y`.
fn select_bytes(e: &mut Emitter<'_>, d: Dest, x: Value, y: Value) {
    let [own, other, _] = SCRATCH;
    // Each of the four bits to the lowest of a byte, and from there to all of it.
    e.asm.access(Access::LOAD8, own, frame::GE);
    e.asm.set(other, 0x20_4081);
    e.asm.multiply(own, own, other);
    e.asm.set(other, 0x0101_0101);
    e.asm.logic(Logic::And, own, own, other, false);
    e.asm.set(other, 0xff);
    e.asm.multiply(own, own, other);
    e.asm.set_scalar(Width::Word, V0, own);
    for (vector, value) in [(V1, x), (V2, y)] {
        let from = e.in_register(value, own);
        e.asm.set_scalar(Width::Word, vector, from);
    }
    e.asm.bits(Bits::Select, V0, V1, V2);
    e.asm.get_word(place(d).unwrap_or(own), V0, 0);
}

fn multiply_long(e: &mut Emitter<'_>, m: MultiplyLong) {
    let [product, flag, _] = SCRATCH;
    let (low, high) = (frame::pinned(m.low), frame::pinned(m.high));
    let added = if m.add {
        // The upper half of a guest's register is 0.
        e.asm.join(product, low, high);
        product
    } else {
        Gpr::ZERO
    };
    e.asm
        .multiply_add(m.signed, product, operand(m.x), operand(m.y), added);
    if m.set.has(FlagSet::NZ) {
        e.asm.compare_imm(Width::Double, product, 0);
        e.asm.set_if(flag, Cond::NE);
        e.asm.access(Access::STORE, flag, frame::Z);
    }
    e.asm.copy(Width::Word, low, product);
    e.asm.high_word(high, product);
    if m.set.has(FlagSet::NZ) {
        e.asm.access(Access::STORE, high, frame::N);
    }
}
