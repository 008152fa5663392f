//! Conditions: by the host's flags where these are the guest's, else by those in memory.

use super::asm::{Access, Cond, Fixup, Mem, Width};
use super::frame::{self, SCRATCH};
use super::values::Emitter;
use crate::ir::of_condition;

impl Emitter<'_> {
    /// Returns the branches that are taken unless `cond` holds.
    pub fn unless(&mut self, cond: u8) -> Vec<Fixup> {
        if self.host.is_some_and(|set| set.has(of_condition(cond))) {
            return vec![self.asm.jump_if(Cond::new(cond).inverse())];
        }
        self.host = None;
        let inverted = cond & 1 != 0;
        match cond >> 1 {
            // A condition holds, or Z is set, when what stands for Z is 0.
            0 => vec![self.unless_zero_at(frame::Z, !inverted)],
            1 => vec![self.unless_zero_at(frame::C, inverted)],
            2 => {
                let [n, ..] = SCRATCH;
                self.asm.access(Access::LOAD, n, frame::N);
                self.asm.compare_imm(Width::Word, n, 0);
                let fails = if inverted { Cond::MI } else { Cond::PL };
                vec![self.asm.jump_if(fails)]
            }
            3 => vec![self.unless_zero_at(frame::V, inverted)],
            4 => self.unless_higher(inverted),
            5 => vec![self.unless_same_sign(inverted)],
            _ => self.unless_greater(inverted),
        }
    }

    /// Returns the branch that is taken unless the word at `flag` is 0, or unless it is not.
    fn unless_zero_at(&mut self, flag: Mem, zero: bool) -> Fixup {
        let [word, ..] = SCRATCH;
        self.asm.access(Access::LOAD, word, flag);
        self.asm.jump_if_zero(word, !zero)
    }

    /// HI (C and not Z), or its opposite.
    fn unless_higher(&mut self, inverted: bool) -> Vec<Fixup> {
        let no_carry = self.unless_zero_at(frame::C, false);
        let other = self.unless_zero_at(frame::Z, inverted);
        if !inverted {
            return vec![no_carry, other];
        }
        self.asm.bind_here(no_carry);
        vec![other]
    }

    /// GT (not Z, and N is V), or its opposite.
    fn unless_greater(&mut self, inverted: bool) -> Vec<Fixup> {
        let zero = self.unless_zero_at(frame::Z, false);
        let other = self.unless_same_sign(inverted);
        if !inverted {
            return vec![zero, other];
        }
        self.asm.bind_here(zero);
        vec![other]
    }

    /// GE (N is V), or its opposite.
    fn unless_same_sign(&mut self, inverted: bool) -> Fixup {
        let [n, v, _] = SCRATCH;
        self.asm.access(Access::LOAD, n, frame::N);
        self.asm.access(Access::LOAD, v, frame::V);
        self.asm.compare_shifted(v, n, 31);
        self.asm.jump_if(if inverted { Cond::EQ } else { Cond::NE })
    }
}
