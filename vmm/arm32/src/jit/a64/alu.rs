//! Arithmetic, logic and shifts, and the flags that they set.

use arm32_isa::Shift;

use super::asm::{Access, Cond, Field, Gpr, Logic, ShiftOp, Sum, Width, addend, mask};
use super::frame::{self, SCRATCH};
use super::values::Emitter;
use super::values::{operand, place};
use crate::ir::{AluOp, Dest, FlagSet, Value};

impl Emitter<'_> {
    /// `host`: the guest's flags that the host's are.
    pub fn alu(
        &mut self,
        op: AluOp,
        (d, x, y): (Dest, Value, Value),
        set: FlagSet,
        host: Option<FlagSet>,
    ) {
        if (d, set) == (Dest::None, FlagSet::NONE) {
            return;
        }
        if let AluOp::Move | AluOp::Not = op {
            return self.moved(op == AluOp::Not, d, y, set);
        }
        let commutes = matches!(
            op,
            AluOp::And | AluOp::Or | AluOp::Xor | AluOp::Add | AluOp::AddCarry
        );
        // The constant second where it may be.
        let (x, y) = match (x, y) {
            (Value::Imm(_), Value::Reg(_) | Value::Temp(_)) if commutes => (y, x),
            operands => operands,
        };
        match op {
            AluOp::Move | AluOp::Not => {}
            AluOp::And => self.logic(Logic::And, false, (d, x, y), set),
            AluOp::AndNot => self.logic(Logic::And, true, (d, x, y), set),
            AluOp::Or => self.logic(Logic::Or, false, (d, x, y), set),
            AluOp::OrNot => self.logic(Logic::Or, true, (d, x, y), set),
            AluOp::Xor => self.logic(Logic::Xor, false, (d, x, y), set),
            AluOp::Add => self.sum(false, (d, x, y), set),
            AluOp::Sub => self.sum(true, (d, x, y), set),
            AluOp::AddCarry | AluOp::SubCarry => {
                self.sum_carry(op == AluOp::SubCarry, (d, x, y), set, host);
            }
        }
    }

    fn moved(&mut self, invert: bool, d: Dest, y: Value, set: FlagSet) {
        let [own, ..] = SCRATCH;
        let to = place(d);
        let r = match (y, to) {
            (Value::Imm(y), _) => {
                let y = if invert { !y } else { y };
                let to = to.unwrap_or(own);
                self.asm.set(to, y);
                to
            }
            (y, _) if invert => {
                let to = to.unwrap_or(own);
                self.asm.not(to, operand(y));
                to
            }
            (y, Some(to)) => {
                self.load(to, y);
                to
            }
            (y, None) => operand(y),
        };
        self.set_nz(set, r);
    }

    fn logic(&mut self, op: Logic, invert: bool, (d, x, y): (Dest, Value, Value), set: FlagSet) {
        let [to, first, second] = SCRATCH;
        let to = place(d).unwrap_or(to);
        let flags = op == Logic::And && set.has(FlagSet::NZ);
        let op = if flags { Logic::AndSet } else { op };
        let x = self.in_register(x, first);
        let constant = match y {
            Value::Imm(y) => mask(if invert { !y } else { y }),
            _ => None,
        };
        if let Some(constant) = constant {
            self.asm.logic_imm(op, to, x, constant);
        } else {
            let y = self.in_register(y, second);
            self.asm.logic(op, to, x, y, invert);
        }
        self.set_nz(set, to);
        self.host = flags.then_some(FlagSet::NZ);
    }

    fn sum(&mut self, subtract: bool, (d, x, y): (Dest, Value, Value), set: FlagSet) {
        let [to, first, second] = SCRATCH;
        let to = place(d).unwrap_or(to);
        // Register 31 is not the one of zeros where the other operand is a constant.
        let constant = match y {
            Value::Imm(y) if !matches!(x, Value::Imm(_)) => constant(subtract, y),
            _ => None,
        };
        let x = self.in_register(x, first);
        if let Some((subtract, addend)) = constant {
            let op = operation(subtract, set);
            self.asm.sum_imm(Width::Word, op, to, x, addend);
        } else {
            let y = self.in_register(y, second);
            self.asm
                .sum(Width::Word, operation(subtract, set), to, x, y);
        }
        self.set_sum(set, to);
    }

    fn sum_carry(
        &mut self,
        subtract: bool,
        (d, x, y): (Dest, Value, Value),
        set: FlagSet,
        host: Option<FlagSet>,
    ) {
        let [to, first, second] = SCRATCH;
        if !host.is_some_and(|set| set.has(FlagSet::C)) {
            // 1 is as much as 1, and 0 is less: that is C.
            self.asm.access(Access::LOAD, to, frame::C);
            self.asm.compare_imm(Width::Word, to, 1);
        }
        let to = place(d).unwrap_or(to);
        let (x, y) = (self.in_register(x, first), self.in_register(y, second));
        self.asm.sum_carry(operation(subtract, set), to, x, y);
        self.set_sum(set, to);
    }

    /// Stores the flags of `set`, which the host's flags are, and `r` the result.
    fn set_sum(&mut self, set: FlagSet, r: Gpr) {
        let [_, flag, _] = SCRATCH;
        self.set_nz(set, r);
        for (which, cond, at) in [
            (FlagSet::C, Cond::CS, frame::C),
            (FlagSet::V, Cond::VS, frame::V),
        ] {
            if set.has(which) {
                self.asm.set_if(flag, cond);
                self.asm.access(Access::STORE, flag, at);
            }
        }
        self.host = (set != FlagSet::NONE).then_some(set);
    }

    pub fn shift(&mut self, kind: Shift, d: Dest, x: Value, by: u32, carry: bool) {
        let [own, out, old] = SCRATCH;
        let (to, x) = (place(d).unwrap_or(own), operand(x));
        if kind == Shift::Rrx {
            self.asm.access(Access::LOAD, old, frame::C);
        }
        if carry {
            let bit = match kind {
                Shift::Lsl => 32 - by,
                Shift::Rrx => 0,
                Shift::Lsr | Shift::Asr | Shift::Ror => by - 1,
            };
            self.asm.extract(Field::Unsigned, out, x, bit, 1);
            self.asm.access(Access::STORE, out, frame::C);
        }
        match (kind, by) {
            (Shift::Rrx, _) => self.asm.extract_pair(to, old, x, 1),
            (Shift::Lsr, 32) => self.asm.set(to, 0),
            (Shift::Lsl, _) => self.asm.left(to, x, by),
            (Shift::Lsr, _) => self.asm.extract(Field::Unsigned, to, x, by, 32 - by),
            (Shift::Asr, _) => {
                let by = by.min(31);
                self.asm.extract(Field::Signed, to, x, by, 32 - by);
            }
            (Shift::Ror, _) => self.asm.extract_pair(to, x, x, by),
        }
    }

    /// Shifts by the low byte of `amount`, which the host takes modulo 32 only.
    pub fn shift_by(&mut self, kind: Shift, d: Dest, x: Value, amount: Value, carry: bool) {
        let [by, shifted, most] = SCRATCH;
        let (to, x, amount) = (place(d).unwrap_or(shifted), operand(x), operand(amount));
        self.asm.extract(Field::Unsigned, by, amount, 0, 8);
        if carry {
            self.shift_out(kind, to, x);
            return;
        }
        match kind {
            Shift::Lsl | Shift::Lsr => {
                let left = kind == Shift::Lsl;
                let op = if left { ShiftOp::Left } else { ShiftOp::Right };
                self.asm.shift(Width::Word, op, shifted, x, by);
                self.asm.compare_imm(Width::Word, by, 32);
                self.asm.select(to, shifted, Gpr::ZERO, Cond::LO);
            }
            Shift::Asr => {
                self.asm.set(most, 31);
                self.asm.compare_imm(Width::Word, by, 31);
                self.asm.select(by, by, most, Cond::LS);
                let op = ShiftOp::Arithmetic;
                self.asm.shift(Width::Word, op, to, x, by);
            }
            Shift::Ror | Shift::Rrx => self.asm.shift(Width::Word, ShiftOp::Rotate, to, x, by),
        }
    }

    /// Shifts `x` by the first scratch register, which is below 256; C becomes the last bit that
    /// was shifted out, if any was.
    fn shift_out(&mut self, kind: Shift, to: Gpr, x: Gpr) {
        let [by, shifted, out] = SCRATCH;
        let (op, upper) = match kind {
            Shift::Lsl => (ShiftOp::Left, false),
            Shift::Lsr => (ShiftOp::Right, true),
            Shift::Asr => (ShiftOp::Arithmetic, true),
            Shift::Ror | Shift::Rrx => {
                self.asm.shift(Width::Word, ShiftOp::Rotate, to, x, by);
                self.asm.extract(Field::Unsigned, out, to, 31, 1);
                return self.set_carry_if_shifted(out);
            }
        };
        // In 64 bits, where the bits that are shifted out stay beside the word. All amounts from 33
        // on do the same, so that those which the host cannot have may be 63.
        self.asm.set(out, 63);
        self.asm.compare_imm(Width::Word, by, 63);
        self.asm.select(by, by, out, Cond::LS);
        if upper {
            self.asm.join(shifted, Gpr::ZERO, x);
            self.asm.shift(Width::Double, op, shifted, shifted, by);
            self.asm.extract(Field::Unsigned, out, shifted, 31, 1);
            self.asm.high_word(to, shifted);
        } else {
            self.asm.shift(Width::Double, op, shifted, x, by);
            self.asm.high_word(out, shifted);
            self.asm.extract(Field::Unsigned, out, out, 0, 1);
            self.asm.copy(Width::Word, to, shifted);
        }
        self.set_carry_if_shifted(out);
    }

    /// Has C be `r`, unless the first scratch register is 0.
    fn set_carry_if_shifted(&mut self, r: Gpr) {
        let [by, ..] = SCRATCH;
        let by_none = self.asm.jump_if_zero(by, true);
        self.asm.access(Access::STORE, r, frame::C);
        self.asm.bind_here(by_none);
    }
}

/// Returns the operation, which sets flags if any are wanted.
fn operation(subtract: bool, set: FlagSet) -> Sum {
    match (subtract, set == FlagSet::NONE) {
        (false, true) => Sum::Add,
        (false, false) => Sum::AddSet,
        (true, true) => Sum::Sub,
        (true, false) => Sum::SubSet,
    }
}

/// Returns how to add or subtract a constant, if an instruction has room for it or for its
/// negative. (These differ in C for 0, which there is room for.)
fn constant(subtract: bool, y: u32) -> Option<(bool, u32)> {
    let straight = addend(y).map(|addend| (subtract, addend));
    straight.or_else(|| Some((!subtract, addend(y.wrapping_neg())?)))
}
