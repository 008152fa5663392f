//! Operands and operations that instructions are made of.

use arm32_isa::Shift;

use super::{AluOp, Dest, FlagSet, Mop, Value};
use crate::exec::Op;

/// Returns register `n` as an operand.
pub fn reg(op: &Op, n: u8) -> Value {
    if n == 15 {
        Value::Imm(op.pc_read())
    } else {
        Value::Reg(n)
    }
}

/// Returns register `n` as a destination; R15 is none.
pub fn dest(n: u8) -> Option<Dest> {
    (n != 15).then_some(Dest::Reg(n))
}

/// Returns an operation that sets no flags.
pub const fn alu(op: AluOp, d: Dest, x: Value, y: Value) -> Mop {
    Mop::Alu {
        op,
        d,
        x,
        y,
        set: FlagSet::NONE,
    }
}

/// Returns `d` = `y`.
pub const fn copy(d: Dest, y: Value) -> Mop {
    alu(AluOp::Move, d, Value::Imm(0), y)
}

/// Returns `x` shifted, in `d` if that takes an operation.
pub fn shifted(
    x: Value,
    kind: Shift,
    amount: Value,
    carry: bool,
    d: Dest,
    out: &mut Vec<Mop>,
) -> Value {
    if amount == Value::Imm(0) && kind != Shift::Rrx {
        return x;
    }
    out.push(Mop::Shift {
        kind,
        d,
        x,
        amount,
        carry,
    });
    match d {
        Dest::Temp(n) => Value::Temp(n),
        Dest::Reg(n) => Value::Reg(n),
        Dest::None => x,
    }
}
