//! Arithmetic, logic and shifts, and the flags that they set.

use arm32_isa::Shift;

use super::asm::{Alu, Cc, Extend, Gpr, Mem, Rm, ShiftOp, Width};
use super::conditions::{HostFlags, Known};
use super::frame::{self, SECOND, THIRD, WORK};
use super::values::Emitter;
use super::values::{operand, place, uses};
use crate::ir::{AluOp, Dest, FlagSet, Value};

impl Emitter<'_> {
    pub fn alu(
        &mut self,
        op: AluOp,
        (d, x, y): (Dest, Value, Value),
        set: FlagSet,
        host: Option<Known>,
    ) {
        match op {
            AluOp::Move | AluOp::Not => {
                self.moved(op == AluOp::Not, d, y, set);
                // Neither MOV nor NOT changes the host's.
                self.host = host.filter(|_| set == FlagSet::NONE);
                return;
            }
            AluOp::AndNot | AluOp::OrNot => {
                let plain = if op == AluOp::AndNot {
                    AluOp::And
                } else {
                    AluOp::Or
                };
                let inverse = match y {
                    Value::Imm(y) => Value::Imm(!y),
                    y => {
                        self.load(SECOND, y);
                        self.asm.not(SECOND);
                        Value::Temp(1)
                    }
                };
                return self.binary(plain, (d, x, inverse), set, host);
            }
            _ => {}
        }
        self.binary(op, (d, x, y), set, host);
    }

    pub fn moved(&mut self, invert: bool, d: Dest, y: Value, set: FlagSet) {
        if let (Value::Imm(y), Some(to)) = (y, place(d)) {
            let y = if invert { !y } else { y };
            match to {
                Rm::Reg(r) => self.asm.set(r, y),
                Rm::Mem(m) => self.asm.store_imm(m, y),
            }
            if set.has(FlagSet::NZ) {
                self.asm.store_imm(frame::N, y);
                self.asm.store_imm(frame::Z, y);
            }
            return;
        }
        let r = match (invert, place(d)) {
            // Straight from where it is to where it goes.
            (false, Some(Rm::Mem(_))) => self.in_register(y, WORK),
            (_, Some(Rm::Reg(r))) => {
                self.load(r, y);
                r
            }
            _ => {
                self.load(WORK, y);
                WORK
            }
        };
        if invert {
            self.asm.not(r);
        }
        self.put(d, r);
        self.set_nz(set, r);
    }

    fn binary(
        &mut self,
        op: AluOp,
        (d, x, y): (Dest, Value, Value),
        set: FlagSet,
        host: Option<Known>,
    ) {
        let (kind, flags, commutes) = match op {
            AluOp::And => (Alu::And, HostFlags::Logic, true),
            AluOp::Or => (Alu::Or, HostFlags::Logic, true),
            AluOp::Xor => (Alu::Xor, HostFlags::Logic, true),
            AluOp::Add => (Alu::Add, HostFlags::Sum, true),
            AluOp::AddCarry => (Alu::Adc, HostFlags::Sum, true),
            AluOp::Sub => (Alu::Sub, HostFlags::Difference, false),
            _ => (Alu::Sbb, HostFlags::Difference, false),
        };
        // The constant second where it may be.
        let (x, y) = match (x, y) {
            (Value::Imm(_), Value::Reg(_) | Value::Temp(_)) if commutes => (y, x),
            operands => operands,
        };
        if set == FlagSet::NONE && !op.reads_carry() && self.in_memory(kind, d, x, y) {
            return;
        }
        let (x, y) = match place(d) {
            // In place.
            Some(Rm::Reg(r)) if commutes && uses(y, r) => (y, x),
            _ => (x, y),
        };
        let work = self.work_for(d, &[y]);
        if set == FlagSet::NONE
            && let Some(sum) = as_address(op, work, x, y)
        {
            self.asm.lea(Width::Long, work, sum);
            self.put(d, work);
            self.host = host;
            return;
        }
        self.load(work, x);
        if op.reads_carry() {
            self.carry_in(kind, host);
        }
        match y {
            Value::Imm(y) => self
                .asm
                .alu_imm(Width::Long, kind, Rm::Reg(work), y.cast_signed()),
            y => self.asm.alu(Width::Long, kind, work, operand(y)),
        }
        self.put(d, work);
        self.set_nz(set, work);
        if set.has(FlagSet::C) {
            let cc = if flags == HostFlags::Sum {
                Cc::B
            } else {
                Cc::Ae
            };
            self.asm.set_if(cc, frame::C);
        }
        if set.has(FlagSet::V) {
            self.asm.set_if(Cc::O, frame::V);
        }
        self.host = (set != FlagSet::NONE).then_some(Known { by: flags, set });
    }

    /// Changes a guest register in memory by another or a constant, if that is all there is to do.
    fn in_memory(&mut self, kind: Alu, d: Dest, x: Value, y: Value) -> bool {
        let (Dest::Reg(n), Some(Rm::Mem(m))) = (d, place(d)) else {
            return false;
        };
        if x != Value::Reg(n) {
            return false;
        }
        match y {
            Value::Imm(y) => {
                self.asm
                    .alu_imm(Width::Long, kind, Rm::Mem(m), y.cast_signed());
                true
            }
            y => match operand(y) {
                Rm::Reg(r) => {
                    self.asm.alu_to(Width::Long, kind, m, r);
                    true
                }
                Rm::Mem(_) => false,
            },
        }
    }

    /// Has CF be what ADC or SBB wants for C.
    fn carry_in(&mut self, kind: Alu, host: Option<Known>) {
        let known = host.filter(|known| known.set.has(FlagSet::C));
        match (known.map(|known| known.by), kind) {
            (Some(HostFlags::Sum), Alu::Adc) | (Some(HostFlags::Difference), Alu::Sbb) => {}
            (Some(HostFlags::Sum | HostFlags::Difference), _) => self.asm.complement_carry(),
            _ => {
                // CF becomes NOT C, which is the borrow.
                self.asm.compare8(frame::C, 1);
                if kind == Alu::Adc {
                    self.asm.complement_carry();
                }
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is at most 32")]
    pub fn shift(&mut self, kind: Shift, d: Dest, x: Value, amount: u32, carry: bool) {
        let work = self.work_for(d, &[]);
        self.load(work, x);
        let by = amount as u8;
        let op = match kind {
            Shift::Lsl => ShiftOp::Shl,
            Shift::Lsr => ShiftOp::Shr,
            Shift::Asr => ShiftOp::Sar,
            Shift::Ror => ShiftOp::Ror,
            Shift::Rrx => ShiftOp::Rcr,
        };
        match (kind, by) {
            (Shift::Rrx, _) => {
                self.asm.bit_test(Rm::Mem(frame::C), 0);
                self.asm.shift(Width::Long, op, work, 1);
            }
            (Shift::Lsr, 32) => {
                // In 64 bits, of which the upper half is 0, 32 is an amount like any other.
                self.asm.shift(Width::Quad, op, work, 32);
            }
            (Shift::Asr, 32) => {
                self.asm.shift(Width::Long, op, work, 31);
                // All bits are the sign now, and so is what the last shift moved out.
                self.asm.bit_test(Rm::Reg(work), 0);
            }
            _ => self.asm.shift(Width::Long, op, work, by),
        }
        if carry {
            self.asm.set_if(Cc::B, frame::C);
        }
        self.put(d, work);
    }

    /// Shifts by the low byte of `amount`, which the host takes modulo 32 only.
    pub fn shift_by(&mut self, kind: Shift, d: Dest, x: Value, amount: Value, carry: bool) {
        self.load(WORK, x);
        self.load(SECOND, amount);
        self.asm.extend(Extend::Zero8, SECOND, Rm::Reg(SECOND));
        if carry {
            self.shift_out(kind);
            self.put(d, WORK);
            return;
        }
        match kind {
            Shift::Lsl | Shift::Lsr => {
                let left = kind == Shift::Lsl;
                let op = if left { ShiftOp::Shl } else { ShiftOp::Shr };
                self.asm.shift_cl(Width::Long, op, WORK);
                // All ones if it is below 32, else 0.
                self.asm.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(SECOND), 32);
                self.asm.alu(Width::Long, Alu::Sbb, THIRD, Rm::Reg(THIRD));
                self.asm.alu(Width::Long, Alu::And, WORK, Rm::Reg(THIRD));
            }
            Shift::Asr => {
                self.asm.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(SECOND), 31);
                let within = self.asm.jump_if(Cc::Be);
                self.asm.set(SECOND, 31);
                self.asm.bind_here(within);
                self.asm.shift_cl(Width::Long, ShiftOp::Sar, WORK);
            }
            _ => self.asm.shift_cl(Width::Long, ShiftOp::Ror, WORK),
        }
        self.put(d, WORK);
    }

    /// Shifts EAX by ECX, which is below 256; C becomes the last bit that was shifted out, if any
    /// was.
    fn shift_out(&mut self, kind: Shift) {
        let (op, upper) = match kind {
            Shift::Lsl => (ShiftOp::Shl, false),
            Shift::Lsr => (ShiftOp::Shr, true),
            Shift::Asr => (ShiftOp::Sar, true),
            _ => {
                self.asm.shift_cl(Width::Long, ShiftOp::Ror, WORK);
                self.set_carry_if_shifted(WORK, 31);
                return;
            }
        };
        // In 64 bits, where the bits that are shifted out stay beside the word. All amounts from 33
        // on do the same, so that those which the host cannot have may be 63.
        self.asm.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(SECOND), 63);
        let within = self.asm.jump_if(Cc::Be);
        self.asm.set(SECOND, 63);
        self.asm.bind_here(within);
        if upper {
            self.asm.shift(Width::Quad, ShiftOp::Shl, WORK, 32);
        }
        self.asm.shift_cl(Width::Quad, op, WORK);
        if upper {
            self.set_carry_if_shifted(WORK, 31);
            self.asm.shift(Width::Quad, ShiftOp::Shr, WORK, 32);
        } else {
            self.asm.load(Width::Quad, THIRD, Rm::Reg(WORK));
            self.asm.shift(Width::Quad, ShiftOp::Shr, THIRD, 32);
            self.set_carry_if_shifted(THIRD, 0);
        }
    }

    /// Has C be a bit of `r`, unless ECX is 0.
    fn set_carry_if_shifted(&mut self, r: Gpr, bit: u8) {
        self.asm.test(SECOND, SECOND);
        let by_none = self.asm.jump_if(Cc::E);
        self.asm.bit_test(Rm::Reg(r), bit);
        self.asm.set_if(Cc::B, frame::C);
        self.asm.bind_here(by_none);
    }
}

/// Returns an address that is the result of `op`, if one instruction makes it: in another register
/// than `work`, where changing that would be as short.
fn as_address(op: AluOp, work: Gpr, x: Value, y: Value) -> Option<Mem> {
    let register = |value| match value {
        Value::Imm(_) => None,
        value => match operand(value) {
            Rm::Reg(r) => Some(r),
            Rm::Mem(_) => None,
        },
    };
    let x = register(x).filter(|x| *x != work)?;
    match (op, y) {
        (AluOp::Add, Value::Imm(y)) => Some(Mem::Base(x, y.cast_signed())),
        (AluOp::Sub, Value::Imm(y)) => Some(Mem::Base(x, y.cast_signed().wrapping_neg())),
        (AluOp::Add, y) => Some(Mem::Sum(x, register(y)?, 0)),
        _ => None,
    }
}
