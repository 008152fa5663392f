//! Conditions: by the host's flags where these are the guest's, else by those in memory.

use super::asm::{Access, Cond, Fixup, Mem, Width};
use super::frame::{self, SCRATCH};
use super::values::Emitter;
use crate::ir::{Value, of_condition};

impl Emitter<'_> {
    /// Returns the branches that are taken unless `cond` holds.
    pub fn unless(&mut self, cond: u8) -> Vec<Fixup> {
        if self.host_tells(cond) {
            return vec![self.asm.jump_if(Cond::new(cond).inverse())];
        }
        self.host = None;
        let inverted = cond & 1 != 0;
        match cond >> 1 {
            // A condition holds, or Z is set, when what stands for Z is 0.
            0 => vec![self.unless_zero_at(frame::Z, !inverted)],
            1 => vec![self.unless_zero_at(frame::C, inverted)],
            2 => {
                let holds = self.compare_sign();
                let fails = if inverted { holds } else { holds.inverse() };
                vec![self.asm.jump_if(fails)]
            }
            3 => vec![self.unless_zero_at(frame::V, inverted)],
            4 => self.unless_higher(inverted),
            5 => vec![self.unless_same_sign(inverted)],
            _ => self.unless_greater(inverted),
        }
    }

    /// Returns whether the host's flags tell whether `cond` holds.
    fn host_tells(&self, cond: u8) -> bool {
        self.host.is_some_and(|set| set.has(of_condition(cond)))
    }

    /// Moves `y` to guest register `d` if `cond` holds, if one condition of the host is enough;
    /// returns whether it is so.
    pub fn select(&mut self, cond: u8, d: u8, y: Value) -> bool {
        let Some(holds) = self.holds(cond) else {
            return false;
        };
        let [scratch, ..] = SCRATCH;
        // No flag changes.
        let from = self.in_register(y, scratch);
        let d = frame::pinned(d);
        self.asm.select(d, from, d, holds);
        true
    }

    /// Returns the condition of the host that holds when `cond` does, unless that takes more than
    /// one.
    fn holds(&mut self, cond: u8) -> Option<Cond> {
        if self.host_tells(cond) {
            return Some(Cond::new(cond));
        }
        let holds = match cond >> 1 {
            // A condition holds, or Z is set, when what stands for Z is 0.
            0 => self.compare_word(frame::Z),
            1 => self.compare_word(frame::C).inverse(),
            2 => self.compare_sign(),
            3 => self.compare_word(frame::V).inverse(),
            5 => self.compare_same_sign(),
            _ => return None,
        };
        self.host = None;
        Some(if cond & 1 == 0 {
            holds
        } else {
            holds.inverse()
        })
    }

    /// Compares the word at `flag` with 0; returns the condition that holds if it is 0.
    fn compare_word(&mut self, flag: Mem) -> Cond {
        let [word, ..] = SCRATCH;
        self.asm.access(Access::LOAD, word, flag);
        self.asm.compare_imm(Width::Word, word, 0);
        Cond::EQ
    }

    /// Compares what stands for N with 0; returns the condition that holds if N is set.
    fn compare_sign(&mut self) -> Cond {
        self.compare_word(frame::N);
        Cond::MI
    }

    /// Compares N with V; returns the condition that holds if they are the same.
    fn compare_same_sign(&mut self) -> Cond {
        let [n, v, _] = SCRATCH;
        self.asm.access(Access::LOAD, n, frame::N);
        self.asm.access(Access::LOAD, v, frame::V);
        self.asm.compare_shifted(v, n, 31);
        Cond::EQ
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
        let holds = self.compare_same_sign();
        let fails = if inverted { holds } else { holds.inverse() };
        self.asm.jump_if(fails)
    }
}
