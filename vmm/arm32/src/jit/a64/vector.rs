//! Integer instructions of Advanced SIMD by the host's, which has each of them. The flag of those
//! that saturate is in the FPSR there, where nobody else looks at it.
//!
//! What works on each lane by itself is done on 16 bytes, of which the upper 8 are zeros and not
//! stored if the guest's registers are doublewords. The destination is loaded whether the operation
//! adds to it or not.

mod numbers;
mod tables;

use arm32_fpu::fpscr::QC;
use arm32_isa::{Insn, NeonImmOp, NeonMovnOp, NeonNarrowOp, NeonPermuteOp, NeonScalarOp};

use super::asm::{Access, Asm, Bits, Different, Fixup, Lanes, Logic, One, Shift, Vector, mask};
use super::bank;
use super::frame::{self, SCRATCH};
use crate::jit::lengths::Lengths;

use Vector::{V0, V1, V2, V3};
use tables::{bits_of, different_of, lanes_of, one_of, saturates, shift_of, zero_of};

/// Registers of one length, and their lanes.
#[derive(Clone, Copy)]
struct Shape {
    q: bool,
    size: u8,
}

impl Shape {
    const QUAD: Self = Self { q: true, size: 0 };
    const DOUBLE: Self = Self { q: false, size: 0 };

    const fn bytes(self) -> u8 {
        if self.q { 16 } else { 8 }
    }

    /// Returns where register `n` is; a quadword has the number of its lower doubleword.
    const fn place(self, n: u8) -> u8 {
        8 * (n & if self.q { 30 } else { 31 })
    }

    fn load(self, a: &mut Asm, v: Vector, n: u8) {
        bank::load(a, self.bytes(), v, self.place(n));
    }

    fn store(self, a: &mut Asm, n: u8, v: Vector) {
        bank::store(a, self.bytes(), v, self.place(n));
    }
}

/// Writes an instruction of Advanced SIMD; branches to `slow` where the handler must do it. `None`
/// if it is none of those that the host does alike.
pub fn emit(a: &mut Asm, insn: &Insn, slow: &mut Vec<Fixup>) -> Option<()> {
    if let Some(()) = numbers::emit(a, insn, slow) {
        return Some(());
    }
    if !saturates(insn) {
        return plain(a, insn);
    }
    a.clear_status();
    plain(a, insn)?;
    let [status, raised, _] = SCRATCH;
    a.read_status(raised);
    // The bit is the same in both.
    a.logic_imm(Logic::And, raised, raised, mask(QC).unwrap_or_default());
    a.access(Access::LOAD, status, frame::FPSCR);
    a.logic(Logic::Or, status, status, raised, false);
    a.access(Access::STORE, status, frame::FPSCR);
    Some(())
}

fn plain(a: &mut Asm, insn: &Insn) -> Option<()> {
    match *insn {
        Insn::Neon3 { .. } | Insn::NeonScalar { .. } => same(a, insn),
        Insn::NeonDiff { .. } | Insn::NeonDiffScalar { .. } => different(a, insn),
        Insn::NeonShift {
            op,
            unsigned,
            size,
            q,
            vd,
            vm,
            shift,
        } => {
            let shape = Shape { q, size };
            let op = shift_of(op);
            in_range(op, size, shift)?;
            shape.load(a, V1, vm);
            shape.load(a, V0, vd);
            // Only those of which both forms exist are unsigned.
            let unsigned = unsigned && op.has_unsigned();
            a.shift_lanes(op, (unsigned, size), shift, V0, V1);
            shape.store(a, vd, V0);
            Some(())
        }
        Insn::NeonNarrow { .. } | Insn::NeonMovn { .. } | Insn::Vshll { .. } => resized(a, insn),
        Insn::NeonImm { .. } | Insn::Neon2 { .. } => one_operand(a, insn),
        Insn::NeonPermute {
            op,
            size,
            q,
            vd,
            vm,
        } if vd != vm => {
            permute(a, Shape { q, size }, op, (vd, vm));
            Some(())
        }
        Insn::Vext { q, vd, vn, vm, imm } => {
            let shape = Shape { q, size: 0 };
            (imm < shape.bytes()).then_some(())?;
            shape.load(a, V0, vn);
            shape.load(a, V1, vm);
            a.extract_bytes(q, imm, V0, V0, V1);
            shape.store(a, vd, V0);
            Some(())
        }
        Insn::Vtbl {
            extension,
            regs,
            vd,
            vn,
            vm,
        } => look_up(a, extension, regs, (vd, vn, vm)),
        Insn::VdupLane {
            size,
            q,
            vd,
            vm,
            lane,
        } => {
            lane_of(a, V0, size, vm, lane)?;
            Shape { q, size }.store(a, vd, V0);
            Some(())
        }
        _ => None,
    }
}

/// Looks bytes up in a table of some doublewords.
fn look_up(a: &mut Asm, extension: bool, count: u8, (vd, vn, vm): (u8, u8, u8)) -> Option<()> {
    // The host's table is of quadwords. Where the upper half of the last is none of the guest's it
    // is 0, and is to leave what was there to be right for an extension.
    let whole = count.is_multiple_of(2);
    ((1..=4).contains(&count) && vn + count <= 32 && (whole || !extension)).then_some(())?;
    for (v, first) in [(V1, 0), (V2, 2)] {
        if first < count {
            let bytes = if count > first + 1 { 16 } else { 8 };
            bank::load(a, bytes, v, 8 * (vn + first));
        }
    }
    Shape::DOUBLE.load(a, V0, vd);
    Shape::DOUBLE.load(a, V3, vm);
    a.look_up(extension, count > 2, V0, V1, V3);
    Shape::DOUBLE.store(a, vd, V0);
    Some(())
}

/// Has all lanes of `v` be one of doubleword `n`.
fn lane_of(a: &mut Asm, v: Vector, size: u8, n: u8, lane: u8) -> Option<()> {
    (size < 3 && lane < 8 >> size).then_some(())?;
    Shape::DOUBLE.load(a, v, n);
    a.duplicate_lane(size, lane, v, v);
    Some(())
}

/// Operations on registers of one length, or on a register and a lane.
fn same(a: &mut Asm, insn: &Insn) -> Option<()> {
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
            let shape = Shape { q, size };
            shape.load(a, V0, vd);
            shape.load(a, V1, vn);
            shape.load(a, V2, vm);
            if let Some(op) = bits_of(op) {
                a.bits(op, V0, V1, V2);
            } else {
                let (op, sign_counts) = lanes_of(op)?;
                // Neighbours are those of the guest's registers.
                let pairs = matches!(op, Lanes::AddPairs | Lanes::MaxPairs | Lanes::MinPairs);
                let form = (!pairs || q, sign_counts && unsigned, size);
                a.lanes(op, form, V0, V1, V2);
            }
            shape.store(a, vd, V0);
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
            let op = match op {
                NeonScalarOp::Vmul => Lanes::Multiply,
                NeonScalarOp::Vmla => Lanes::MultiplyAdd,
                NeonScalarOp::Vmls => Lanes::MultiplySub,
                NeonScalarOp::Vqdmulh => Lanes::DoubledHigh,
                NeonScalarOp::Vqrdmulh => Lanes::DoubledHighRounded,
                _ => return None,
            };
            let shape = Shape { q, size };
            lane_of(a, V2, size, vm, lane)?;
            shape.load(a, V0, vd);
            shape.load(a, V1, vn);
            a.lanes(op, (true, false, size), V0, V1, V2);
            shape.store(a, vd, V0);
        }
        _ => return None,
    }
    Some(())
}

/// Operations on registers of different lengths.
fn different(a: &mut Asm, insn: &Insn) -> Option<()> {
    let Lengths {
        op,
        unsigned,
        size,
        vd,
        vn,
        vm,
        lane,
    } = Lengths::of(insn)?;
    let host = different_of(op)?;
    let of = |wide| if wide { Shape::QUAD } else { Shape::DOUBLE };
    match lane {
        Some(lane) => lane_of(a, V2, size, vm, lane)?,
        None => of(op.narrows()).load(a, V2, vm),
    }
    of(op.narrows() || op.is_wide()).load(a, V1, vn);
    let result = of(!op.narrows());
    result.load(a, V0, vd);
    // Half of a sum is the same either way, and what doubles is signed.
    let doubles = matches!(
        host,
        Different::DoubledAddLong | Different::DoubledSubLong | Different::DoubledLong
    );
    let form = (unsigned && !op.narrows() && !doubles, size);
    a.different(host, form, V0, V1, V2);
    result.store(a, vd, V0);
    Some(())
}

/// Returns nothing for an amount that no encoding has.
fn in_range(op: Shift, size: u8, by: u8) -> Option<()> {
    let width = 8u8.checked_shl(size.into())?;
    let fits = if op.is_left() {
        by < width
    } else {
        (1..=width).contains(&by)
    };
    fits.then_some(())
}

/// Shifts and moves to lanes of half the size, or of twice the size.
fn resized(a: &mut Asm, insn: &Insn) -> Option<()> {
    match *insn {
        Insn::NeonNarrow {
            op,
            unsigned,
            size,
            vd,
            vm,
            shift,
        } => {
            let op = match op {
                NeonNarrowOp::Vshrn => Shift::RightNarrow,
                NeonNarrowOp::Vrshrn => Shift::RightNarrowRounded,
                NeonNarrowOp::Vqshrn => Shift::LimitedNarrow,
                NeonNarrowOp::Vqrshrn => Shift::LimitedNarrowRounded,
                NeonNarrowOp::Vqshrun => Shift::LimitedNarrowUnsigned,
                NeonNarrowOp::Vqrshrun => Shift::LimitedNarrowUnsignedRounded,
            };
            (size < 3).then_some(())?;
            in_range(op, size, shift)?;
            Shape::QUAD.load(a, V1, vm);
            a.shift_lanes(op, (unsigned && op.has_unsigned(), size), shift, V0, V1);
            Shape::DOUBLE.store(a, vd, V0);
        }
        Insn::NeonMovn {
            op,
            unsigned,
            size,
            vd,
            vm,
        } if size < 3 => {
            let (op, unsigned) = match op {
                NeonMovnOp::Vmovn => (One::Narrow, false),
                NeonMovnOp::Vqmovn => (One::LimitedNarrow, unsigned),
                NeonMovnOp::Vqmovun => (One::LimitedNarrowUnsigned, false),
            };
            Shape::QUAD.load(a, V1, vm);
            a.one(op, (unsigned, size), V0, V1);
            Shape::DOUBLE.store(a, vd, V0);
        }
        Insn::Vshll {
            unsigned,
            size,
            vd,
            vm,
            shift,
        } if size < 3 => {
            // By all of a lane's size is an instruction of its own, and rare.
            in_range(Shift::LeftLong, size, shift)?;
            Shape::DOUBLE.load(a, V1, vm);
            a.shift_lanes(Shift::LeftLong, (unsigned, size), shift, V0, V1);
            Shape::QUAD.store(a, vd, V0);
        }
        _ => return None,
    }
    Some(())
}

/// Writes an instruction whose operand is one register, or a constant.
fn one_operand(a: &mut Asm, insn: &Insn) -> Option<()> {
    match *insn {
        Insn::NeonImm {
            op, q, vd, value, ..
        } => {
            let shape = Shape { q, size: 3 };
            let [constant, ..] = SCRATCH;
            let value = if op == NeonImmOp::Vmvn { !value } else { value };
            a.set64(constant, value);
            a.duplicate(3, V1, constant);
            let result = match op {
                NeonImmOp::Vmov | NeonImmOp::Vmvn => V1,
                NeonImmOp::Vorr | NeonImmOp::Vbic => {
                    let combine = if op == NeonImmOp::Vorr {
                        Bits::Or
                    } else {
                        Bits::AndNot
                    };
                    shape.load(a, V0, vd);
                    a.bits(combine, V0, V0, V1);
                    V0
                }
            };
            shape.store(a, vd, result);
        }
        Insn::Neon2 {
            op,
            unsigned,
            size,
            q,
            vd,
            vm,
        } => {
            let shape = Shape { q, size };
            shape.load(a, V1, vm);
            shape.load(a, V0, vd);
            if let Some(op) = zero_of(op) {
                a.against_zero(op, size, V0, V1);
            } else {
                let (op, sign_counts) = one_of(op)?;
                // Of all bits, as of bytes.
                let size = if op == One::Not { 0 } else { size };
                a.one(op, (sign_counts && unsigned, size), V0, V1);
            }
            shape.store(a, vd, V0);
        }
        _ => return None,
    }
    Some(())
}

/// Permutes two registers.
fn permute(a: &mut Asm, shape: Shape, op: NeonPermuteOp, (vd, vm): (u8, u8)) {
    shape.load(a, V0, vd);
    shape.load(a, V1, vm);
    let pair = match op {
        NeonPermuteOp::Vswp => {
            shape.store(a, vd, V1);
            return shape.store(a, vm, V0);
        }
        NeonPermuteOp::Vtrn => (Lanes::Transpose1, Lanes::Transpose2),
        NeonPermuteOp::Vuzp => (Lanes::Unzip1, Lanes::Unzip2),
        NeonPermuteOp::Vzip => (Lanes::Zip1, Lanes::Zip2),
    };
    let form = (shape.q, false, shape.size);
    a.lanes(pair.0, form, V2, V0, V1);
    a.lanes(pair.1, form, V1, V0, V1);
    shape.store(a, vd, V2);
    shape.store(a, vm, V1);
}
