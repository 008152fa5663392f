//! Where operands and results are, and how they get into registers.

use super::asm::{Asm, Gpr, Rm, Width};
use super::frame::{self, CPU, SECOND, THIRD, WORK};
use crate::ir::{Dest, FlagSet, Value};

/// A block on its way to x86-64 code.
pub type Emitter<'a> = crate::jit::emit::Emitter<'a, Asm>;

impl Emitter<'_> {
    /// Loads `value` into `r`. No flag changes.
    pub fn load(&mut self, r: Gpr, value: Value) {
        match value {
            Value::Imm(value) => self.asm.set(r, value),
            value => {
                let from = operand(value);
                if from != Rm::Reg(r) {
                    self.asm.load(Width::Long, r, from);
                }
            }
        }
    }

    /// Returns a register that holds `value`: its own, or `scratch`.
    pub fn in_register(&mut self, value: Value, scratch: Gpr) -> Gpr {
        if let Value::Reg(_) | Value::Temp(_) = value
            && let Rm::Reg(r) = operand(value)
        {
            return r;
        }
        self.load(scratch, value);
        scratch
    }

    /// Puts `r` where `d` is. No flag changes.
    pub fn put(&mut self, d: Dest, r: Gpr) {
        match place(d) {
            Some(Rm::Reg(to)) if to != r => self.asm.load(Width::Long, to, Rm::Reg(r)),
            Some(Rm::Mem(to)) => self.asm.store(Width::Long, to, r),
            _ => {}
        }
    }

    /// Returns the register to work a result for `d` out in: its own, unless it holds one of
    /// `others`.
    pub fn work_for(&self, d: Dest, others: &[Value]) -> Gpr {
        let taken = |r: Gpr| others.iter().any(|v| uses(*v, r));
        let own = match place(d) {
            Some(Rm::Reg(r)) => Some(r),
            _ => None,
        };
        let mut choices = own.into_iter().chain([WORK, THIRD, SECOND]);
        choices.find(|r| !taken(*r)).unwrap_or(WORK)
    }

    /// Has N and Z be those of `r`, as far as they are in `set`.
    pub fn set_nz(&mut self, set: FlagSet, r: Gpr) {
        if set.has(FlagSet::NZ) {
            self.asm.store(Width::Long, frame::N, r);
            self.asm.store(Width::Long, frame::Z, r);
        }
    }
}

/// Returns where a value that is no constant is.
pub fn operand(value: Value) -> Rm {
    match value {
        Value::Reg(n) => frame::operand(n),
        Value::Temp(0) => Rm::Reg(WORK),
        Value::Temp(1) => Rm::Reg(SECOND),
        Value::Temp(_) => Rm::Reg(THIRD),
        // Asked for by nobody: constants are not in any place.
        Value::Imm(_) => Rm::Reg(CPU),
    }
}

/// Returns where a result goes, if anywhere.
pub fn place(d: Dest) -> Option<Rm> {
    match d {
        Dest::Reg(n) => Some(operand(Value::Reg(n))),
        Dest::Temp(n) => Some(operand(Value::Temp(n))),
        Dest::None => None,
    }
}

/// Returns whether `value` is in register `r`.
pub fn uses(value: Value, r: Gpr) -> bool {
    !matches!(value, Value::Imm(_)) && operand(value) == Rm::Reg(r)
}
