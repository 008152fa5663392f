//! Conditions: by the host's flags where these tell, else by the guest's in memory.

use super::asm::{Alu, Cc, Fixup, Rm, ShiftOp, Width};
use super::frame::{self, SECOND, WORK};
use super::values::{Emitter, operand};
use crate::ir::{FlagSet, Value, of_condition};

/// The guest's flags that the host's flags tell, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// How they tell it.
    pub by: HostFlags,
    /// Which were set by the operation that set the host's. The others are older.
    pub set: FlagSet,
}

/// What the host's flags say of the last result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFlags {
    /// It is a sum: CF is C, OF is V.
    Sum,
    /// It is a difference: CF is not C, OF is V.
    Difference,
    /// It is of bits: ZF and SF alone count.
    Logic,
}

impl Emitter<'_> {
    /// Returns the branches that are taken unless `cond` holds.
    pub fn unless(&mut self, cond: u8) -> Vec<Fixup> {
        if let Some(fails) = self.fails(cond) {
            return vec![self.asm.jump_if(fails)];
        }
        self.host = None;
        let inverted = cond & 1 != 0;
        match cond >> 1 {
            4 => self.unless_higher(inverted),
            _ => self.unless_greater(inverted),
        }
    }

    /// Writes a branch that is taken if `cond` holds, if one is enough.
    pub fn exit_if(&mut self, cond: u8) -> Option<Fixup> {
        // The opposite of a condition fails when it holds.
        let holds = self.fails(cond ^ 1)?;
        Some(self.asm.jump_if(holds))
    }

    /// Moves `y` to guest register `d` if `cond` holds, if one condition of the host is enough;
    /// returns whether it is so.
    pub fn select(&mut self, cond: u8, d: u8, y: Value) -> bool {
        let Some(holds) = self.fails(cond ^ 1) else {
            return false;
        };
        // None of what follows changes a flag.
        let from = match y {
            Value::Imm(y) => {
                self.asm.set(WORK, y);
                Rm::Reg(WORK)
            }
            y => operand(y),
        };
        match frame::operand(d) {
            Rm::Reg(r) => self.asm.load_if(holds, r, from),
            Rm::Mem(to) => {
                self.asm.load(Width::Long, SECOND, Rm::Mem(to));
                self.asm.load_if(holds, SECOND, from);
                self.asm.store(Width::Long, to, SECOND);
            }
        }
        true
    }

    /// Returns the condition of the host that holds when `cond` does not, unless that takes more
    /// than one.
    fn fails(&mut self, cond: u8) -> Option<Cc> {
        let known = self.host.filter(|known| known.set.has(of_condition(cond)));
        if let Some(cc) = known.and_then(|known| by_host(known.by, cond)) {
            return Some(cc);
        }
        let pick = |holds: Cc, fails: Cc| if cond & 1 == 0 { fails } else { holds };
        let cc = match cond >> 1 {
            0 => {
                self.asm
                    .alu_imm(Width::Long, Alu::Cmp, Rm::Mem(frame::Z), 0);
                pick(Cc::E, Cc::Ne)
            }
            1 => {
                self.asm.compare8(frame::C, 0);
                pick(Cc::Ne, Cc::E)
            }
            2 => {
                self.asm
                    .alu_imm(Width::Long, Alu::Cmp, Rm::Mem(frame::N), 0);
                pick(Cc::S, Cc::Ns)
            }
            3 => {
                self.asm.compare8(frame::V, 0);
                pick(Cc::Ne, Cc::E)
            }
            5 => {
                self.sign_against_overflow();
                pick(Cc::E, Cc::Ne)
            }
            _ => return None,
        };
        self.host = None;
        Some(cc)
    }

    /// HI (C and not Z), or its opposite.
    fn unless_higher(&mut self, inverted: bool) -> Vec<Fixup> {
        self.asm.compare8(frame::C, 0);
        let no_carry = self.asm.jump_if(Cc::E);
        self.asm
            .alu_imm(Width::Long, Alu::Cmp, Rm::Mem(frame::Z), 0);
        if !inverted {
            return vec![no_carry, self.asm.jump_if(Cc::E)];
        }
        let fails = self.asm.jump_if(Cc::Ne);
        self.asm.bind_here(no_carry);
        vec![fails]
    }

    /// GT (not Z, and N is V), or its opposite.
    fn unless_greater(&mut self, inverted: bool) -> Vec<Fixup> {
        self.asm
            .alu_imm(Width::Long, Alu::Cmp, Rm::Mem(frame::Z), 0);
        let zero = self.asm.jump_if(Cc::E);
        self.sign_against_overflow();
        if !inverted {
            return vec![zero, self.asm.jump_if(Cc::Ne)];
        }
        let fails = self.asm.jump_if(Cc::E);
        self.asm.bind_here(zero);
        vec![fails]
    }

    /// Compares N with V.
    fn sign_against_overflow(&mut self) {
        self.asm.load(Width::Long, WORK, Rm::Mem(frame::N));
        self.asm.shift(Width::Long, ShiftOp::Shr, WORK, 31);
        self.asm.alu(Width::Long, Alu::Cmp, WORK, Rm::Mem(frame::V));
    }
}

/// Returns the condition of the host that holds when `cond` does not, if the host's flags tell.
fn by_host(host: HostFlags, cond: u8) -> Option<Cc> {
    use HostFlags::{Difference, Logic, Sum};
    Some(match (cond, host) {
        (0, _) => Cc::Ne,
        (1, _) => Cc::E,
        (2, Difference) | (3, Sum) => Cc::B,
        (2, Sum) | (3, Difference) => Cc::Ae,
        (4, _) => Cc::Ns,
        (5, _) => Cc::S,
        (6, Sum | Difference) => Cc::No,
        (7, Sum | Difference) => Cc::O,
        (8, Difference) => Cc::Be,
        (9, Difference) => Cc::A,
        (10, Sum | Difference) => Cc::L,
        (11, Sum | Difference) => Cc::Ge,
        (12, Sum | Difference) => Cc::Le,
        (13, Sum | Difference) => Cc::G,
        // Of bits, C and V are older than the host's flags.
        (_, Logic | Sum | Difference) => return None,
    })
}
