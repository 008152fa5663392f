//! Scalar instructions (ARM ARM A7.5), which obey the FPSCR.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of 16 and 32 bits are carried in 64 bits"
)]

use arm32_isa::{Insn, VfpOp, VfpUnaryOp, expand_double, expand_single};

use crate::FpRegs;
use crate::fpscr;
use crate::soft::arith::{add, div, mul, mul_add, sqrt, sub};
use crate::soft::compare::{compare, nzcv};
use crate::soft::convert::convert;
use crate::soft::format::{abs, neg};
use crate::soft::integer::{Fixed, from_fixed, to_fixed};
use crate::soft::{Double, Env, Format, Half, Rounding, Single};

/// A format that registers hold.
trait Scalar: Format + crate::soft::Fast {
    fn read(regs: &FpRegs, number: u8) -> u64;
    fn write(regs: &mut FpRegs, number: u8, value: u64);
}

impl Scalar for Single {
    #[inline]
    fn read(regs: &FpRegs, number: u8) -> u64 {
        regs.s(number).into()
    }
    #[inline]
    fn write(regs: &mut FpRegs, number: u8, value: u64) {
        regs.set_s(number, value as u32);
    }
}

impl Scalar for Double {
    #[inline]
    fn read(regs: &FpRegs, number: u8) -> u64 {
        regs.d(number)
    }
    #[inline]
    fn write(regs: &mut FpRegs, number: u8, value: u64) {
        regs.set_d(number, value);
    }
}

/// Calls a function with the format that `double` selects as its type parameter.
macro_rules! with_format {
    ($double:expr, $function:ident($($argument:expr),*)) => {
        if $double { $function::<Double>($($argument),*) } else { $function::<Single>($($argument),*) }
    };
}

/// Executes the instruction if it is a scalar one that stays within the bank; returns whether it
/// was.
pub(super) fn execute(regs: &mut FpRegs, insn: &Insn) -> bool {
    match *insn {
        Insn::Vfp3 {
            op,
            double,
            vd,
            vn,
            vm,
        } => with_format!(double, three(regs, op, vd, vn, vm)),
        Insn::Vfp2 { op, double, vd, vm } => with_format!(double, unary(regs, op, vd, vm)),
        Insn::VfpImm {
            double: true,
            vd,
            imm,
        } => regs.set_d(vd, expand_double(imm.into())),
        Insn::VfpImm {
            double: false,
            vd,
            imm,
        } => regs.set_s(vd, expand_single(imm.into())),
        Insn::VfpCmp {
            double,
            e,
            zero,
            vd,
            vm,
        } => {
            with_format!(double, compare_flags(regs, e, vd, (!zero).then_some(vm)));
        }
        _ => return conversion(regs, insn),
    }
    true
}

/// Executes the instruction if it is a conversion between scalars; returns whether it was.
fn conversion(regs: &mut FpRegs, insn: &Insn) -> bool {
    match *insn {
        Insn::VfpCvtPrecision {
            to_double: true,
            vd,
            vm,
        } => convert_format::<Single, Double>(regs, vd, vm),
        Insn::VfpCvtPrecision {
            to_double: false,
            vd,
            vm,
        } => convert_format::<Double, Single>(regs, vd, vm),
        Insn::VfpCvtHalf {
            to_half,
            top,
            vd,
            vm,
        } => convert_half(regs, to_half, top, vd, vm),
        Insn::VfpToInt {
            double,
            unsigned,
            fpscr,
            vd,
            vm,
        } => {
            with_format!(
                double,
                to_integer(regs, Fixed::integer(!unsigned), fpscr, vd, vm)
            );
        }
        Insn::VfpFromInt {
            double,
            unsigned,
            vd,
            vm,
        } => {
            with_format!(
                double,
                from_integer(regs, Fixed::integer(!unsigned), vd, vm)
            );
        }
        Insn::VfpCvtFixed {
            double,
            to_fixed,
            unsigned,
            bits,
            fraction,
            vd,
        } => {
            // Decoding gives no other width and no larger fraction, on which the shifts rely.
            let bits = if bits == 16 { 16 } else { 32 };
            let fraction = u32::from(fraction).min(bits);
            let fixed = Fixed {
                bits,
                fraction,
                signed: !unsigned,
            };
            with_format!(double, convert_fixed(regs, to_fixed, fixed, vd));
        }
        _ => return false,
    }
    true
}

fn three<F: Scalar>(regs: &mut FpRegs, op: VfpOp, vd: u8, vn: u8, vm: u8) {
    let (d, n, m) = (F::read(regs, vd), F::read(regs, vn), F::read(regs, vm));
    let result = regs.with_env(Env::vfp, |_, env| operate::<F>(env, op, d, n, m));
    F::write(regs, vd, result);
}

#[inline]
fn operate<F: Scalar>(env: &mut Env, op: VfpOp, d: u64, n: u64, m: u64) -> u64 {
    let mut accumulate = |d: u64, negate: bool| {
        // Rounded here, and once more in the sum, unlike in VFMA.
        let product = mul::<F>(env, n, m);
        add::<F>(env, d, if negate { neg::<F>(product) } else { product })
    };
    match op {
        VfpOp::Vmla => accumulate(d, false),
        VfpOp::Vmls => accumulate(d, true),
        // Operands are negated, not the sum: rounding, exact zeros and default NaNs depend on it.
        VfpOp::Vnmla => accumulate(neg::<F>(d), true),
        VfpOp::Vnmls => accumulate(neg::<F>(d), false),
        VfpOp::Vmul => mul::<F>(env, n, m),
        VfpOp::Vnmul => neg::<F>(mul::<F>(env, n, m)),
        VfpOp::Vadd => add::<F>(env, n, m),
        VfpOp::Vsub => sub::<F>(env, n, m),
        VfpOp::Vdiv => div::<F>(env, n, m),
        VfpOp::Vfma => mul_add::<F>(env, d, n, m),
        // An operand is negated, since the product does not come out of the operation.
        VfpOp::Vfms => mul_add::<F>(env, d, neg::<F>(n), m),
        VfpOp::Vfnma => mul_add::<F>(env, neg::<F>(d), neg::<F>(n), m),
        VfpOp::Vfnms => mul_add::<F>(env, neg::<F>(d), n, m),
    }
}

fn unary<F: Scalar>(regs: &mut FpRegs, op: VfpUnaryOp, vd: u8, vm: u8) {
    let m = F::read(regs, vm);
    // Copies and changes of sign raise nothing and flush nothing, not even signalling NaNs do.
    let result = match op {
        VfpUnaryOp::Vmov => m,
        VfpUnaryOp::Vabs => abs::<F>(m),
        VfpUnaryOp::Vneg => neg::<F>(m),
        VfpUnaryOp::Vsqrt => regs.with_env(Env::vfp, |_, env| sqrt::<F>(env, m)),
    };
    F::write(regs, vd, result);
}

/// Compares with a register or with zero.
fn compare_flags<F: Scalar>(regs: &mut FpRegs, signalling: bool, vd: u8, vm: Option<u8>) {
    let (d, m) = (F::read(regs, vd), vm.map_or(0, |vm| F::read(regs, vm)));
    let order = regs.with_env(Env::vfp, |_, env| compare::<F>(env, d, m, signalling));
    // The FPSCR has condition flags of its own; a program copies them to the APSR by VMRS.
    regs.fpscr = (regs.fpscr & !fpscr::NZCV) | nzcv(order);
}

fn convert_format<From: Scalar, To: Scalar>(regs: &mut FpRegs, vd: u8, vm: u8) {
    let m = From::read(regs, vm);
    let result = regs.with_env(Env::vfp, |_, env| convert::<From, To>(env, m));
    To::write(regs, vd, result);
}

/// Executes VCVTB and VCVTT: half precision is in one half of a register, whose other half stays.
fn convert_half(regs: &mut FpRegs, to_half: bool, top: bool, vd: u8, vm: u8) {
    let shift = if top { 16 } else { 0 };
    let m = regs.s(vm);
    if to_half {
        let half = regs.with_env(Env::vfp, |_, env| convert::<Single, Half>(env, m.into())) as u32;
        let rest = regs.s(vd) & !(0xffff << shift);
        regs.set_s(vd, rest | half << shift);
    } else {
        let half = u64::from(m >> shift & 0xffff);
        let single = regs.with_env(Env::vfp, |_, env| convert::<Half, Single>(env, half));
        regs.set_s(vd, single as u32);
    }
}

fn to_integer<F: Scalar>(regs: &mut FpRegs, to: Fixed, by_fpscr: bool, vd: u8, vm: u8) {
    let m = F::read(regs, vm);
    let result = regs.with_env(Env::vfp, |_, env| {
        // VCVTR rounds as the FPSCR says; VCVT rounds towards zero, as casts in C do.
        let rounding = if by_fpscr {
            env.rounding
        } else {
            Rounding::Zero
        };
        to_fixed::<F>(env, m, to, rounding)
    });
    // Integers are in single registers, whatever the other format is.
    regs.set_s(vd, result as u32);
}

fn from_integer<F: Scalar>(regs: &mut FpRegs, from: Fixed, vd: u8, vm: u8) {
    let m = regs.s(vm);
    let result = regs.with_env(Env::vfp, |_, env| {
        let rounding = env.rounding;
        from_fixed::<F>(env, m.into(), from, rounding)
    });
    F::write(regs, vd, result);
}

/// Converts to or from fixed point. To it, the result is extended to the whole register; from it,
/// only its low bits count.
fn convert_fixed<F: Scalar>(regs: &mut FpRegs, to: bool, fixed: Fixed, vd: u8) {
    let d = F::read(regs, vd);
    let result = regs.with_env(Env::vfp, |_, env| {
        if to {
            // The rounding of fixed point is given, whatever the FPSCR says.
            to_fixed::<F>(env, d, fixed, Rounding::Zero)
        } else {
            from_fixed::<F>(env, d, fixed, Rounding::Nearest)
        }
    });
    F::write(regs, vd, result);
}
