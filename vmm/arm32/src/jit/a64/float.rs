//! VFP arithmetic by the host's, where that gives the same result and the same flags.
//!
//! The host rounds to nearest, flushes nothing and traps nothing: Rust has FPCR be 0. So does VFP
//! if FPSCR.RMode is 0 and FZ is not set. What of the cumulative flags may change is then the same
//! on all hosts, and said in the module of that name of `x64`: results that are NaNs, infinities or
//! tiny are the handler's, and IXC is to be set already. Here operations that round once have code,
//! too; they may be inexact and tiny, and are left to the handler if they may be.
//!
//! Whatever is not so, is found before anything is written.

use arm32_fpu::fpscr::{FZ, IXC, RMODE};
use arm32_isa::{Insn, VfpOp, VfpUnaryOp, expand_double, expand_single};

use super::asm::{
    Access, Asm, Cond, Field, Fixup, Fused, Gpr, Logic, Scalar, ScalarOne, Sum, Vector, Width, mask,
};
use super::bank;
use super::frame::{self, SCRATCH};

use Vector::{V0, V1, V2};

/// Registers that an instruction uses besides.
const VALUE: Gpr = SCRATCH[0];
const OTHER: Gpr = SCRATCH[1];

/// A format, and where its registers are.
#[derive(Clone, Copy)]
struct Format {
    double: bool,
}

/// Of single precision, and of integers.
const SINGLE: Format = Format { double: false };

impl Format {
    const fn bytes(self) -> u8 {
        if self.double { 8 } else { 4 }
    }

    const fn place(self, n: u8) -> u8 {
        self.bytes() * (n & 31)
    }

    fn load(self, a: &mut Asm, v: Vector, n: u8) {
        bank::load(a, self.bytes(), v, self.place(n));
    }

    fn store(self, a: &mut Asm, n: u8, v: Vector) {
        bank::store(a, self.bytes(), v, self.place(n));
    }

    /// Gets the exponent of `v`, as it is encoded.
    fn exponent(self, a: &mut Asm, v: Vector) {
        // Of a double it is in the upper word.
        a.get_word(VALUE, v, u8::from(self.double));
        let (lowest, width) = if self.double { (20, 11) } else { (23, 8) };
        a.extract(Field::Unsigned, VALUE, VALUE, lowest, width);
    }

    const fn largest_exponent(self) -> u32 {
        if self.double { 0x7ff } else { 0xff }
    }

    /// Leaves NaNs and infinities to the handler.
    fn finite(self, a: &mut Asm, v: Vector, slow: &mut Vec<Fixup>) {
        self.exponent(a, v);
        a.compare_imm(Width::Word, VALUE, self.largest_exponent());
        slow.push(a.jump_if(Cond::EQ));
    }

    /// Compares what is neither a NaN nor an infinity, nor below twice the smallest normal number.
    fn compare_safe(self, a: &mut Asm, v: Vector) {
        self.exponent(a, v);
        a.sum_imm(Width::Word, Sum::Sub, VALUE, VALUE, 2);
        a.compare_imm(Width::Word, VALUE, self.largest_exponent() - 2);
    }

    /// Leaves all others to the handler, zeros among them.
    fn safe(self, a: &mut Asm, v: Vector, slow: &mut Vec<Fixup>) {
        self.compare_safe(a, v);
        slow.push(a.jump_if(Cond::CS));
    }

    /// The same, but for products of V0 and V1 with a zero: these are exact.
    fn safe_product(self, a: &mut Asm, product: Vector, slow: &mut Vec<Fixup>) {
        self.compare_safe(a, product);
        let safe = a.jump_if(Cond::LO);
        // What became zero by rounding has no factor that is.
        a.compare_zero(self.double, product);
        slow.push(a.jump_if(Cond::NE));
        a.compare_zero(self.double, V0);
        let zero = a.jump_if(Cond::EQ);
        a.compare_zero(self.double, V1);
        slow.push(a.jump_if(Cond::NE));
        a.bind_here(zero);
        a.bind_here(safe);
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
            let result = arithmetic(a, format, op, (vd, vn, vm), slow);
            format.store(a, vd, result);
        }
        Insn::Vfp2 { op, double, vd, vm } => unary(a, Format { double }, op, (vd, vm), slow),
        Insn::VfpImm { double, vd, imm } => {
            let format = Format { double };
            let (access, value) = if double {
                (Access::STORE64, expand_double(imm.into()))
            } else {
                (Access::STORE, expand_single(imm.into()).into())
            };
            a.set64(VALUE, value);
            a.access(access, VALUE, frame::bank(format.place(vd)));
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
            format.load(a, V0, vm);
            to_integer(a, format, unsigned, fpscr, slow);
            a.access(Access::STORE, VALUE, frame::bank(SINGLE.place(vd)));
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
            a.access(Access::LOAD, VALUE, frame::bank(SINGLE.place(vm)));
            a.convert_from_integer(double, unsigned, V0, VALUE);
            format.store(a, vd, V0);
        }
        _ => return None,
    }
    Some(())
}

/// Leaves the instruction to the handler unless the FPSCR says to round to nearest and to flush
/// nothing, and that there was an inexact result already.
fn inexact_already(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.access(Access::LOAD, VALUE, frame::FPSCR);
    a.set(OTHER, RMODE | FZ | IXC);
    a.logic(Logic::And, VALUE, VALUE, OTHER, false);
    a.compare_imm(Width::Word, VALUE, IXC);
    slow.push(a.jump_if(Cond::NE));
}

/// Leaves the instruction to the handler if the FPSCR says to flush denormal numbers.
fn unflushed(a: &mut Asm, slow: &mut Vec<Fixup>) {
    a.access(Access::LOAD, VALUE, frame::FPSCR);
    a.logic_imm(
        Logic::AndSet,
        Gpr::ZERO,
        VALUE,
        mask(FZ).unwrap_or_default(),
    );
    slow.push(a.jump_if(Cond::NE));
}

/// Operations with three registers; returns where the result is.
fn arithmetic(
    a: &mut Asm,
    format: Format,
    op: VfpOp,
    (vd, vn, vm): (u8, u8, u8),
    slow: &mut Vec<Fixup>,
) -> Vector {
    let Format { double } = format;
    format.load(a, V0, vn);
    format.load(a, V1, vm);
    let fused = match op {
        VfpOp::Vfma => Some(Fused::Add),
        VfpOp::Vfms => Some(Fused::Sub),
        VfpOp::Vfnma => Some(Fused::NegatedAdd),
        VfpOp::Vfnms => Some(Fused::NegatedSub),
        _ => None,
    };
    if let Some(fused) = fused {
        format.load(a, V2, vd);
        a.fused(double, fused, V2, (V0, V1), V2);
        format.safe(a, V2, slow);
        return V2;
    }
    let kind = match op {
        VfpOp::Vadd => Scalar::Add,
        VfpOp::Vsub => Scalar::Sub,
        VfpOp::Vdiv => Scalar::Divide,
        _ => Scalar::Multiply,
    };
    a.scalar(double, kind, V2, V0, V1);
    match op {
        VfpOp::Vadd | VfpOp::Vsub => format.finite(a, V2, slow),
        VfpOp::Vdiv => format.safe(a, V2, slow),
        _ => format.safe_product(a, V2, slow),
    }
    // Numbers that are no NaNs: to subtract is to add what is negated, zeros included.
    let (kind, first, second) = match op {
        VfpOp::Vnmul => {
            a.scalar_one(double, ScalarOne::Negate, V2, V2);
            return V2;
        }
        VfpOp::Vmla => (Scalar::Add, V0, V2),
        VfpOp::Vmls | VfpOp::Vnmla => (Scalar::Sub, V0, V2),
        VfpOp::Vnmls => (Scalar::Sub, V2, V0),
        _ => return V2,
    };
    format.load(a, V0, vd);
    if op == VfpOp::Vnmla {
        a.scalar_one(double, ScalarOne::Negate, V0, V0);
    }
    a.scalar(double, kind, V2, first, second);
    format.finite(a, V2, slow);
    V2
}

/// Operations with two registers.
fn unary(a: &mut Asm, format: Format, op: VfpUnaryOp, (vd, vm): (u8, u8), slow: &mut Vec<Fixup>) {
    if op == VfpUnaryOp::Vsqrt {
        inexact_already(a, slow);
    }
    format.load(a, V0, vm);
    let one = match op {
        VfpUnaryOp::Vmov => None,
        VfpUnaryOp::Vneg => Some(ScalarOne::Negate),
        VfpUnaryOp::Vabs => Some(ScalarOne::Absolute),
        VfpUnaryOp::Vsqrt => Some(ScalarOne::Root),
    };
    if let Some(one) = one {
        a.scalar_one(format.double, one, V0, V0);
    }
    if op == VfpUnaryOp::Vsqrt {
        // A root is far from both ends of the range; zeros are left, too.
        format.safe(a, V0, slow);
    }
    format.store(a, vd, V0);
}

/// Compares with a register or zero; NaNs are left to the handler.
fn compare(a: &mut Asm, format: Format, vd: u8, vm: Option<u8>, slow: &mut Vec<Fixup>) {
    unflushed(a, slow);
    format.load(a, V0, vd);
    if let Some(vm) = vm {
        format.load(a, V1, vm);
        a.compare_scalars(format.double, V0, V1);
    } else {
        a.compare_zero(format.double, V0);
    }
    slow.push(a.jump_if(Cond::VS));
    // The host's condition flags are those of the FPSCR then, in the same bits.
    a.read_flags(VALUE);
    a.access(Access::LOAD, OTHER, frame::FPSCR);
    a.extract(Field::Unsigned, OTHER, OTHER, 0, 28);
    a.logic(Logic::Or, OTHER, OTHER, VALUE, false);
    a.access(Access::STORE, OTHER, frame::FPSCR);
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
    from.load(a, V0, vm);
    a.convert_precision(to_double, V0, V0);
    if to_double {
        to.finite(a, V0, slow);
    } else {
        to.safe(a, V0, slow);
    }
    to.store(a, vd, V0);
}

/// Gets V0 as an integer, if it is a number and fits.
fn to_integer(a: &mut Asm, format: Format, unsigned: bool, round: bool, slow: &mut Vec<Fixup>) {
    format.finite(a, V0, slow);
    // What does not fit 64 bits becomes the nearest number that does, and does not fit 32 either.
    a.convert_to_integer(format.double, round, VALUE, V0);
    a.high_word(OTHER, VALUE);
    if unsigned {
        slow.push(a.jump_if_zero(OTHER, false));
    } else {
        let [.., sign] = SCRATCH;
        a.extract(Field::Signed, sign, VALUE, 31, 1);
        a.compare(Width::Word, sign, OTHER);
        slow.push(a.jump_if(Cond::NE));
    }
}
