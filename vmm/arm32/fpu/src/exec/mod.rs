//! Execution of decoded instructions on the register bank.
//!
//! [`execute`] does everything that stays within the bank. Moves to and from core registers are
//! functions of [`transfer`]; loads and stores are described by [`memory`] as transfers of lanes,
//! so that the core can do the accesses and be precise about aborts.

mod different;
mod float;
mod lanes;
pub mod memory;
mod misc;
mod permute;
mod same;
mod shift;
pub mod transfer;
mod vfp;

use arm32_isa::Insn;

use crate::FpRegs;
use crate::fpscr;

/// Executes an instruction that reads and writes nothing but `regs`. Returns whether it was one;
/// otherwise `regs` is unchanged.
pub fn execute(regs: &mut FpRegs, insn: &Insn) -> bool {
    // One look at what it is: an instruction is not tried as one kind after the other.
    match insn {
        Insn::Neon3 { .. }
        | Insn::NeonDiff { .. }
        | Insn::NeonDiffScalar { .. }
        | Insn::NeonScalar { .. } => combine(regs, insn),
        Insn::NeonShift { .. }
        | Insn::NeonNarrow { .. }
        | Insn::NeonMovn { .. }
        | Insn::Vshll { .. } => shift_lanes(regs, insn),
        Insn::NeonCvtFixed { .. }
        | Insn::NeonCvtHalf { .. }
        | Insn::NeonImm { .. }
        | Insn::Neon2 { .. }
        | Insn::NeonPermute { .. }
        | Insn::Vext { .. }
        | Insn::Vtbl { .. }
        | Insn::VdupLane { .. } => convert_or_move(regs, insn),
        _ => vfp::execute(regs, insn),
    }
}

/// Executes an instruction of Advanced SIMD that combines two vectors, or a vector and a scalar.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lane in both halves: the low one is enough"
)]
fn combine(regs: &mut FpRegs, insn: &Insn) -> bool {
    match *insn {
        Insn::Neon3 {
            op,
            unsigned,
            size,
            q,
            vd,
            vn,
            vm,
        } => {
            let same = same::Operands {
                unsigned,
                size,
                q,
                vd,
                vn,
                vm,
            };
            // `Neon3Op` has integer and floating-point operations; each module knows its own.
            if !same::execute(regs, op, &same) {
                float::execute(regs, op, &same);
            }
        }
        Insn::NeonDiff {
            op,
            unsigned,
            size,
            vd,
            vn,
            vm,
        } => {
            // Only narrowing operations take the quadword.
            let (operand, wide) = (regs.d(vm), regs.q(vm));
            let shape = different::Shape {
                unsigned,
                size,
                vd,
                vn,
            };
            different::execute(regs, op, shape, operand, wide);
        }
        Insn::NeonDiffScalar {
            op,
            unsigned,
            size,
            vd,
            vn,
            vm,
            lane,
        } => {
            let operand = misc::splat(regs.d(vm), size, lane) as u64;
            let shape = different::Shape {
                unsigned,
                size,
                vd,
                vn,
            };
            // No narrowing operation has a form with a scalar.
            different::execute(regs, op, shape, operand, 0);
        }
        Insn::NeonScalar {
            op,
            size,
            q,
            vd,
            vn,
            vm,
            lane,
        } => {
            let scalar = misc::splat(regs.d(vm), size, lane);
            // `Vectors` has one operand; that is the first one here, since the scalar comes apart.
            let vm = vn;
            misc::by_scalar(regs, op, misc::Vectors { size, q, vd, vm }, scalar);
        }
        _ => return false,
    }
    true
}

/// Executes a shift of Advanced SIMD.
fn shift_lanes(regs: &mut FpRegs, insn: &Insn) -> bool {
    // Narrowing and lengthening instructions have no Q bit: one side is always a quadword.
    let wide = |unsigned, size, vd, vm, shift| shift::Operands {
        unsigned,
        size,
        q: true,
        vd,
        vm,
        shift,
    };
    match *insn {
        Insn::NeonShift {
            op,
            unsigned,
            size,
            q,
            vd,
            vm,
            shift,
        } => {
            let operands = shift::Operands {
                unsigned,
                size,
                q,
                vd,
                vm,
                shift,
            };
            shift::execute(regs, op, &operands);
        }
        Insn::NeonNarrow {
            op,
            unsigned,
            size,
            vd,
            vm,
            shift,
        } => {
            shift::narrow(regs, op, &wide(unsigned, size, vd, vm, shift));
        }
        Insn::NeonMovn {
            op,
            unsigned,
            size,
            vd,
            vm,
        } => {
            shift::move_narrow(regs, op, &wide(unsigned, size, vd, vm, 0));
        }
        Insn::Vshll {
            unsigned,
            size,
            vd,
            vm,
            shift,
        } => {
            shift::long(regs, &wide(unsigned, size, vd, vm, shift));
        }
        _ => return false,
    }
    true
}

/// Executes another instruction of Advanced SIMD: of one vector, a conversion, or one that moves
/// elements.
fn convert_or_move(regs: &mut FpRegs, insn: &Insn) -> bool {
    match *insn {
        Insn::NeonCvtFixed {
            to_fixed,
            unsigned,
            fraction,
            q,
            vd,
            vm,
        } => {
            float::convert_fixed(regs, to_fixed, unsigned, fraction, (q, vd, vm));
        }
        Insn::NeonCvtHalf { to_half, vd, vm } => float::convert_half(regs, to_half, vd, vm),
        Insn::NeonImm {
            op, q, vd, value, ..
        } => misc::immediate(regs, op, q, vd, value),
        Insn::Neon2 {
            op,
            unsigned,
            size,
            q,
            vd,
            vm,
        } => {
            let vectors = misc::Vectors { size, q, vd, vm };
            if !misc::unary(regs, op, unsigned, vectors) {
                float::unary(regs, op, q, vd, vm);
            }
        }
        Insn::NeonPermute {
            op,
            size,
            q,
            vd,
            vm,
        } => {
            permute::execute(regs, op, misc::Vectors { size, q, vd, vm });
        }
        Insn::Vext { q, vd, vn, vm, imm } => permute::extract(regs, q, (vd, vn, vm), imm),
        Insn::Vtbl {
            extension,
            regs: count,
            vd,
            vn,
            vm,
        } => {
            permute::look_up(regs, extension, count, (vd, vn, vm));
        }
        Insn::VdupLane {
            size,
            q,
            vd,
            vm,
            lane,
        } => {
            let value = misc::splat(regs.d(vm), size, lane);
            write(regs, q, vd, value);
        }
        _ => return false,
    }
    true
}

/// Returns a quadword, or a doubleword below zeros.
#[inline(always)]
fn read(regs: &FpRegs, q: bool, number: u8) -> u128 {
    if q {
        regs.q(number)
    } else {
        u128::from(regs.d(number))
    }
}

/// Writes a quadword, or the low half of `value` as a doubleword.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a doubleword is the low half"
)]
fn write(regs: &mut FpRegs, q: bool, number: u8, value: u128) {
    if q {
        regs.set_q(number, value)
    } else {
        regs.set_d(number, value as u64)
    }
}

/// Sets the cumulative saturation flag.
#[inline(always)]
fn saturate(regs: &mut FpRegs, saturated: bool) {
    if saturated {
        regs.fpscr |= fpscr::QC;
    }
}
