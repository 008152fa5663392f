//! Where operands and results are, and how they get into registers.

use super::asm::{Access, Asm, Gpr, Width};
use super::frame::{self, SECOND, THIRD, WORK};
use crate::ir::{Dest, FlagSet, Value};

/// A block on its way to A64 code.
pub type Emitter<'a> = crate::jit::emit::Emitter<'a, Asm>;

impl Emitter<'_> {
    /// Loads `value` into `r`. No flag changes.
    pub fn load(&mut self, r: Gpr, value: Value) {
        match (value, operand(value)) {
            (Value::Imm(value), _) => self.asm.set(r, value),
            (_, from) if from != r => self.asm.copy(Width::Word, r, from),
            _ => {}
        }
    }

    /// Returns a register that holds `value`: its own, the one of zeros, or `scratch`. No flag
    /// changes.
    pub fn in_register(&mut self, value: Value, scratch: Gpr) -> Gpr {
        if let Value::Imm(value @ 1..) = value {
            self.asm.set(scratch, value);
            return scratch;
        }
        operand(value)
    }

    /// Has N and Z be those of `r`, as far as they are in `set`.
    pub fn set_nz(&mut self, set: FlagSet, r: Gpr) {
        if set.has(FlagSet::NZ) {
            self.asm.access(Access::STORE, r, frame::N);
            self.asm.access(Access::STORE, r, frame::Z);
        }
    }
}

/// Returns the register of a value; that of zeros for constants.
pub fn operand(value: Value) -> Gpr {
    match value {
        Value::Reg(n) => frame::pinned(n),
        Value::Temp(0) => WORK,
        Value::Temp(1) => SECOND,
        Value::Temp(_) => THIRD,
        Value::Imm(_) => Gpr::ZERO,
    }
}

/// Returns the register of a result, if it goes anywhere.
pub fn place(d: Dest) -> Option<Gpr> {
    match d {
        Dest::Reg(n) => Some(operand(Value::Reg(n))),
        Dest::Temp(n) => Some(operand(Value::Temp(n))),
        Dest::None => None,
    }
}
