//! VFP arithmetic by the host's, where that gives the same result and the same flags.
//!
//! The host rounds to nearest and stops at nothing. So does VFP if FPSCR.RMode is 0 and FZ is not
//! set. Then of the cumulative flags:
//! - IXC is to be set already wherever a result may be inexact. Programs clear it seldom, and most
//!   set it soon.
//! - IOC comes with NaNs (but a signalling one that is compared), DZC and OFC with infinities: such
//!   results are left to the handler, which also knows which NaN is the result. Without FZ no
//!   operand raises IDC.
//! - UFC comes with results that are tiny before they are rounded, and inexact. Such a result is
//!   at most the smallest normal number: those that may be are left to the handler. A sum in that
//!   range is exact, as both operands are multiples of the smallest denormal number.
//!
//! Operations that round once may be inexact and tiny, and are left to the handler if they may be;
//! on a host that has none, always.
//!
//! Whatever is not so, is found before anything is written.

use arm32_fpu::fpscr::{self, FZ, IXC, RMODE};
use arm32_isa::{Insn, VfpOp, VfpUnaryOp, expand_double, expand_single};

use super::asm::{
    Alu, Asm, Cc, Fixup, Fused, Gpr, Mem, Packed, PackedShift, Rm, Scalar, ShiftOp, Width, Xmm,
};
use super::frame::{self, SECOND, WORK};
use super::vector::lanes::has_fused;

use Xmm::{X0, X1, X2, X3};

/// Of a comparison that finds less.
const LESS: u32 = fpscr::N;
/// Of one that finds equal numbers.
const EQUAL: u32 = fpscr::Z | fpscr::C;
/// Of one that finds greater.
const GREATER: u32 = fpscr::C;

/// A format, and where its registers are.
#[derive(Clone, Copy)]
struct Format {
    double: bool,
}

impl Format {
    const fn bytes(self) -> u8 {
        if self.double { 8 } else { 4 }
    }

    const fn place(self, n: u8) -> Mem {
        frame::bank(self.bytes() * (n & 31))
    }

    const fn width(self) -> Width {
        if self.double {
            Width::Quad
        } else {
            Width::Long
        }
    }

    fn load(self, a: &mut Asm, x: Xmm, n: u8) {
        a.load_vector(self.bytes(), x, self.place(n));
    }

    fn store(self, a: &mut Asm, n: u8, x: Xmm) {
        a.store_vector(self.bytes(), self.place(n), x);
    }

    /// Has EAX be the exponent of `x`, as it is encoded.
    fn exponent(self, a: &mut Asm, x: Xmm) {
        a.get_vector(self.width(), WORK, x);
        a.shift(self.width(), ShiftOp::Shl, WORK, 1);
        let right = if self.double { 53 } else { 24 };
        a.shift(self.width(), ShiftOp::Shr, WORK, right);
    }

    const fn largest_exponent(self) -> i32 {
        if self.double { 0x7ff } else { 0xff }
    }

    /// Leaves NaNs and infinities to the handler.
    fn finite(self, a: &mut Asm, x: Xmm, slow: &mut Vec<Fixup>) {
        self.exponent(a, x);
        let largest = self.largest_exponent();
        a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), largest);
        slow.push(a.jump_if(Cc::E));
    }

    /// Leaves them to the handler, and zeros, and what is below twice the smallest normal number.
    fn safe(self, a: &mut Asm, x: Xmm, slow: &mut Vec<Fixup>) {
        self.exponent(a, x);
        a.alu_imm(Width::Long, Alu::Sub, Rm::Reg(WORK), 2);
        let beyond = self.largest_exponent() - 2;
        a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), beyond);
        slow.push(a.jump_if(Cc::Ae));
    }

    /// Leaves them to the handler as [`safe`](Self::safe) does, but for products with a zero: these
    /// are exact.
    fn safe_product(self, a: &mut Asm, x: Xmm, factors: (u8, u8), slow: &mut Vec<Fixup>) {
        self.exponent(a, x);
        a.alu_imm(Width::Long, Alu::Sub, Rm::Reg(WORK), 2);
        let beyond = self.largest_exponent() - 2;
        a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), beyond);
        let safe = a.jump_if(Cc::B);
        // Without their signs. What became zero by rounding has no factor that is.
        a.get_vector(self.width(), WORK, x);
        a.shift(self.width(), ShiftOp::Shl, WORK, 1);
        slow.push(a.jump_if(Cc::Ne));
        a.load(self.width(), WORK, Rm::Mem(self.place(factors.0)));
        a.shift(self.width(), ShiftOp::Shl, WORK, 1);
        let zero = a.jump_if(Cc::E);
        a.load(self.width(), WORK, Rm::Mem(self.place(factors.1)));
        a.shift(self.width(), ShiftOp::Shl, WORK, 1);
        slow.push(a.jump_if(Cc::Ne));
        a.bind_here(zero);
        a.bind_here(safe);
    }

    /// Changes the sign of `x`; XMM3 changes.
    fn negate(self, a: &mut Asm, x: Xmm) {
        a.packed(Packed::Equal32, X3, X3);
        let shift = if self.double {
            PackedShift::Left64
        } else {
            PackedShift::Left32
        };
        a.packed_shift(shift, X3, self.bytes() * 8 - 1);
        a.packed(Packed::Xor, x, X3);
    }
}

/// Writes a VFP instruction; branches to `slow` where the handler must do it. `None` if there is no
/// code for it.
pub fn emit(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    match *insn {
        Insn::Vfp3 {
            op,
            double,
            vd,
            vn,
            vm,
        } => {
            let format = Format { double };
            inexact_already(a, slow);
            let result = arithmetic(a, format, op, (vd, vn, vm), slow)?;
            format.store(a, vd, result);
        }
        Insn::Vfp2 { op, double, vd, vm } => unary(a, Format { double }, op, (vd, vm), slow),
        Insn::VfpImm { double, vd, imm } => {
            let format = Format { double };
            if double {
                a.set64(WORK, expand_double(imm.into()));
            } else {
                a.set(WORK, expand_single(imm.into()));
            }
            a.store(format.width(), format.place(vd), WORK);
        }
        Insn::VfpCmp {
            double,
            zero,
            vd,
            vm,
            ..
        } => compare(a, Format { double }, vd, (!zero).then_some(vm), slow),
        Insn::VfpCvtPrecision { to_double, vd, vm } => precision(a, to_double, vd, vm, slow),
        Insn::VfpToInt {
            double,
            unsigned,
            fpscr,
            vd,
            vm,
        } => {
            let format = Format { double };
            inexact_already(a, slow);
            format.load(a, X0, vm);
            to_integer(a, format, unsigned, fpscr, slow);
            a.store(Width::Long, Format { double: false }.place(vd), WORK);
        }
        Insn::VfpFromInt {
            double,
            unsigned,
            vd,
            vm,
        } => {
            let format = Format { double };
            if !double {
                // A double has room for any integer.
                inexact_already(a, slow);
            }
            let from = Format { double: false }.place(vm);
            a.load(Width::Long, WORK, Rm::Mem(from));
            // What the register was is a part of the result that is not wanted.
            a.packed(Packed::Xor, X0, X0);
            let width = if unsigned { Width::Quad } else { Width::Long };
            a.convert_from_integer(double, width, X0, WORK);
            format.store(a, vd, X0);
        }
        _ => return None,
    }
    Some(())
}

/// Leaves the instruction to the handler unless the FPSCR says to round to nearest and to flush
/// nothing, and that there was an inexact result already.
fn inexact_already(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.load(Width::Long, WORK, Rm::Mem(frame::FPSCR));
    let mask = (RMODE | FZ | IXC).cast_signed();
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(WORK), mask);
    a.alu_imm(Width::Long, Alu::Cmp, Rm::Reg(WORK), IXC.cast_signed());
    slow.push(a.jump_if(Cc::Ne));
}

/// Leaves the instruction to the handler if the FPSCR says to flush denormal numbers.
fn unflushed(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.load(Width::Long, WORK, Rm::Mem(frame::FPSCR));
    a.test_imm(WORK, FZ);
    slow.push(a.jump_if(Cc::Ne));
}

/// Operations with three registers; returns where the result is.
fn arithmetic(
    a: &mut Asm,
    format: Format,
    op: VfpOp,
    (vd, vn, vm): (u8, u8, u8),
    slow: &mut Vec<Fixup>,
) -> Option<Xmm> {
    let Format { double } = format;
    format.load(a, X0, vn);
    format.load(a, X1, vm);
    let fused = match op {
        VfpOp::Vfma => Some(Fused::Add),
        VfpOp::Vfms => Some(Fused::Sub),
        VfpOp::Vfnma => Some(Fused::NegatedAdd),
        VfpOp::Vfnms => Some(Fused::NegatedSub),
        _ => None,
    };
    if let Some(fused) = fused {
        has_fused().then_some(())?;
        format.load(a, X2, vd);
        a.fused(double, fused, X2, X0, X1);
        format.safe(a, X2, slow);
        return Some(X2);
    }
    let kind = match op {
        VfpOp::Vadd => Scalar::Add,
        VfpOp::Vsub => Scalar::Sub,
        VfpOp::Vdiv => Scalar::Div,
        _ => Scalar::Mul,
    };
    a.scalar(double, kind, X0, X1);
    if matches!(op, VfpOp::Vadd | VfpOp::Vsub) {
        format.finite(a, X0, slow);
        return Some(X0);
    }
    if op == VfpOp::Vdiv {
        format.safe(a, X0, slow);
        return Some(X0);
    }
    format.safe_product(a, X0, (vn, vm), slow);
    // Numbers that are no NaNs: to subtract is to add what is negated, zeros included.
    let (kind, to, from) = match op {
        VfpOp::Vnmul => {
            format.negate(a, X0);
            return Some(X0);
        }
        VfpOp::Vmla => (Scalar::Add, X2, X0),
        VfpOp::Vmls | VfpOp::Vnmla => (Scalar::Sub, X2, X0),
        VfpOp::Vnmls => (Scalar::Sub, X0, X2),
        _ => return Some(X0),
    };
    format.load(a, X2, vd);
    if op == VfpOp::Vnmla {
        format.negate(a, X2);
    }
    a.scalar(double, kind, to, from);
    format.finite(a, to, slow);
    Some(to)
}

/// Operations with two registers.
fn unary(a: &mut Asm, format: Format, op: VfpUnaryOp, (vd, vm): (u8, u8), slow: &mut Vec<Fixup>) {
    if op == VfpUnaryOp::Vsqrt {
        inexact_already(a, slow);
    }
    format.load(a, X0, vm);
    match op {
        VfpUnaryOp::Vmov => {}
        VfpUnaryOp::Vneg => format.negate(a, X0),
        VfpUnaryOp::Vabs => {
            let (left, right) = if format.double {
                (PackedShift::Left64, PackedShift::Right64)
            } else {
                (PackedShift::Left32, PackedShift::Right32)
            };
            a.packed_shift(left, X0, 1);
            a.packed_shift(right, X0, 1);
        }
        VfpUnaryOp::Vsqrt => {
            a.scalar(format.double, Scalar::Sqrt, X0, X0);
            // A root is far from both ends of the range; zeros are left, too.
            format.safe(a, X0, slow);
        }
    }
    format.store(a, vd, X0);
}

/// Compares with a register or zero; NaNs are left to the handler.
fn compare(a: &mut Asm, format: Format, vd: u8, vm: Option<u8>, slow: &mut Vec<Fixup>) {
    unflushed(a, slow);
    format.load(a, X0, vd);
    match vm {
        Some(vm) => format.load(a, X1, vm),
        None => a.packed(Packed::Xor, X1, X1),
    }
    a.compare_scalars(format.double, X0, X1);
    slow.push(a.jump_if(Cc::P));
    // None of these moves changes the host's flags.
    a.set(WORK, GREATER);
    a.set(SECOND, LESS);
    a.move_if(Cc::B, WORK, SECOND);
    a.set(SECOND, EQUAL);
    a.move_if(Cc::E, WORK, SECOND);
    put_flags(a, WORK);
}

/// Has the condition flags of the FPSCR be those of `flags`; RCX changes.
fn put_flags(a: &mut Asm, flags: Gpr) {
    a.load(Width::Long, SECOND, Rm::Mem(frame::FPSCR));
    let rest = (!fpscr::NZCV).cast_signed();
    a.alu_imm(Width::Long, Alu::And, Rm::Reg(SECOND), rest);
    a.alu(Width::Long, Alu::Or, SECOND, Rm::Reg(flags));
    a.store(Width::Long, frame::FPSCR, SECOND);
}

/// Converts between the formats.
fn precision(a: &mut Asm, to_double: bool, vd: u8, vm: u8, slow: &mut Vec<Fixup>) {
    let (from, to) = (Format { double: !to_double }, Format { double: to_double });
    if to_double {
        // Exact.
        unflushed(a, slow);
    } else {
        inexact_already(a, slow);
    }
    from.load(a, X0, vm);
    a.convert_precision(to_double, X0, X0);
    if to_double {
        to.finite(a, X0, slow);
    } else {
        to.safe(a, X0, slow);
    }
    to.store(a, vd, X0);
}

/// Has EAX be XMM0 as an integer, if it fits.
fn to_integer(a: &mut Asm, format: Format, unsigned: bool, round: bool, slow: &mut Vec<Fixup>) {
    // NaNs, and what does not fit 64 bits, become the least number, which does not fit either.
    a.convert_to_integer(format.double, round, WORK, X0);
    if unsigned {
        a.load(Width::Long, SECOND, Rm::Reg(WORK));
    } else {
        a.sign_extend32(SECOND, Rm::Reg(WORK));
    }
    a.alu(Width::Quad, Alu::Cmp, SECOND, Rm::Reg(WORK));
    slow.push(a.jump_if(Cc::Ne));
}
