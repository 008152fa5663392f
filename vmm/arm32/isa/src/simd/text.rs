//! How operands of VFP and Advanced SIMD instructions look in UAL. Templates of the tables call
//! these.

use std::fmt::{self, Display, Formatter};

use super::{FpMultiple, Lanes, NeonPermuteOp, expand_single};
use crate::asm::Operand;

/// Text made by a closure.
struct Text<F>(F);

impl<F: Fn(&mut Formatter<'_>) -> fmt::Result> Display for Text<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// Returns `f64` or `f32`.
pub(crate) fn fp_type(double: bool) -> &'static str {
    if double { "f64" } else { "f32" }
}

/// Returns `d7` or `s7`.
pub(crate) fn fp(double: bool, number: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| write!(f, "{}{number}", if double { 'd' } else { 's' }))
}

/// Returns `q3` or `d6`.
pub(crate) fn vreg(q: bool, number: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        if q {
            write!(f, "q{}", number / 2)
        } else {
            write!(f, "d{number}")
        }
    })
}

/// Returns a core register.
pub(crate) fn core_reg(number: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| Operand::write(&number, f))
}

/// Returns the constant of VMOV.
pub(crate) fn fp_imm(imm: u8) -> impl Display {
    let value = f32::from_bits(expand_single(u32::from(imm)));
    Text(move |f: &mut Formatter<'_>| write!(f, "{value:e}"))
}

/// Returns `first, second`, or the other way around.
pub(crate) fn pair(in_order: bool, first: impl Display, second: impl Display) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        if in_order {
            write!(f, "{first}, {second}")
        } else {
            write!(f, "{second}, {first}")
        }
    })
}

/// Returns `first, second`.
pub(crate) fn two(first: impl Display, second: impl Display) -> impl Display {
    pair(true, first, second)
}

/// Returns the system register that VMRS and VMSR name (DDI 0406C B9.3.12).
pub(crate) fn fp_system(number: u8) -> &'static str {
    match number {
        0 => "fpsid",
        1 => "fpscr",
        6 => "mvfr1",
        7 => "mvfr0",
        8 => "fpexc",
        9 => "fpinst",
        10 => "fpinst2",
        _ => "fpreserved",
    }
}

/// Returns the destination of VMRS.
pub(crate) fn vmrs_operand(rt: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| match rt {
        15 => f.write_str("apsr_nzcv"),
        _ => Operand::write(&rt, f),
    })
}

/// Returns `, #8`, or nothing.
pub(crate) fn fp_offset(add: bool, imm: u16) -> impl Display {
    Text(move |f: &mut Formatter<'_>| match (add, imm) {
        (true, 0) => Ok(()),
        (true, _) => write!(f, ", #{imm}"),
        // `#-0`, too, which is an encoding of its own.
        (false, _) => write!(f, ", #-{imm}"),
    })
}

/// Returns `{d0, d1}`.
pub(crate) fn fp_list(double: bool, first: u8, count: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        for index in 0..count {
            let separator = if index == 0 { "{" } else { ", " };
            write!(f, "{separator}{}", fp(double, first + index))?;
        }
        f.write_str("}")
    })
}

const STACK_POINTER: u8 = 13;

/// Returns whether the assembler prefers VPUSH or VPOP.
fn is_stack(load: bool, mode: FpMultiple, rn: u8) -> bool {
    let writeback = if load {
        FpMultiple::IaWriteback
    } else {
        FpMultiple::DbWriteback
    };
    rn == STACK_POINTER && mode == writeback
}

/// Returns the name of a VLDM or VSTM.
pub(crate) fn vldm_name(load: bool, mode: FpMultiple, rn: u8) -> &'static str {
    match (is_stack(load, mode, rn), load, mode) {
        (true, true, _) => "vpop",
        (true, false, _) => "vpush",
        (_, true, FpMultiple::DbWriteback) => "vldmdb",
        (_, false, FpMultiple::DbWriteback) => "vstmdb",
        (_, true, _) => "vldmia",
        (_, false, _) => "vstmia",
    }
}

/// Returns the name as [`vldm_name`] does; an odd number of words makes it FLDMX or FSTMX.
pub(crate) fn vldm_x_name(load: bool, mode: FpMultiple, rn: u8, words: u8) -> &'static str {
    match (words & 1, load, mode) {
        (0, _, _) => vldm_name(load, mode, rn),
        (_, true, FpMultiple::DbWriteback) => "fldmdbx",
        (_, false, FpMultiple::DbWriteback) => "fstmdbx",
        (_, true, _) => "fldmiax",
        (_, false, _) => "fstmiax",
    }
}

fn base(mode: FpMultiple, rn: u8, shown: bool) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        if !shown {
            return Ok(());
        }
        let mark = if mode == FpMultiple::Ia { "" } else { "!" };
        write!(f, "{}{mark}, ", core_reg(rn))
    })
}

/// Returns the base register of a VLDM or VSTM, unless it is implied.
pub(crate) fn vldm_base(load: bool, mode: FpMultiple, rn: u8) -> impl Display {
    base(mode, rn, !is_stack(load, mode, rn))
}

/// Returns the base register as [`vldm_base`] does, for [`vldm_x_name`].
pub(crate) fn vldm_x_base(load: bool, mode: FpMultiple, rn: u8, words: u8) -> impl Display {
    base(mode, rn, words & 1 != 0 || !is_stack(load, mode, rn))
}

/// Returns `f32.s16` and the like, destination first.
pub(crate) fn fixed_types(double: bool, to_fixed: bool, unsigned: bool, bits: u8) -> impl Display {
    let float = fp_type(double);
    let sign = if unsigned { 'u' } else { 's' };
    Text(move |f: &mut Formatter<'_>| {
        if to_fixed {
            write!(f, "{sign}{bits}.{float}")
        } else {
            write!(f, "{float}.{sign}{bits}")
        }
    })
}

/// Returns the type suffix of an operation on lanes, dot included.
pub(crate) fn lane_type(lanes: Lanes, unsigned: bool, size: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        let letter = match (lanes, unsigned) {
            (Lanes::Bits, _) => return Ok(()),
            (Lanes::Size, _) => "",
            (Lanes::Int, _) => "i",
            (Lanes::Signed, true) => "u",
            (Lanes::Signed, false) | (Lanes::AlwaysSigned, _) => "s",
            (Lanes::Poly, _) => "p",
            (Lanes::Float, _) => "f",
        };
        write!(f, ".{letter}{}", 8u32 << size)
    })
}

/// Returns the lanes of a permutation, of which VSWP has none.
pub(crate) fn permute_lanes(op: NeonPermuteOp) -> Lanes {
    if op == NeonPermuteOp::Vswp {
        Lanes::Bits
    } else {
        Lanes::Size
    }
}

/// Returns the name of VSHLL, which is VMOVL when it shifts by nothing.
pub(crate) fn vshll_name(shift: u8) -> &'static str {
    if shift == 0 { "vmovl" } else { "vshll" }
}

/// Returns the amount of VSHLL, unless it is VMOVL.
pub(crate) fn vshll_amount(shift: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        if shift == 0 {
            Ok(())
        } else {
            write!(f, ", #{shift}")
        }
    })
}

/// Returns the type suffix of a modified immediate.
pub(crate) fn neon_imm_type(op: super::NeonImmOp, cmode: u8) -> &'static str {
    match cmode {
        0..=7 | 12 | 13 => ".i32",
        8..=11 => ".i16",
        14 if op == super::NeonImmOp::Vmov => ".i8",
        15 => ".f32",
        // 30, by which the table tells masks of 64 bits from bytes: both have cmode 14.
        _ => ".i64",
    }
}

/// Returns a modified immediate.
#[expect(
    clippy::cast_possible_truncation,
    reason = "cmode says how wide the element is that the value repeats"
)]
pub(crate) fn neon_imm_value(cmode: u8, value: u64) -> impl Display {
    Text(move |f: &mut Formatter<'_>| match cmode {
        0..=7 | 12 | 13 => write!(f, "#{:#x}", value as u32),
        8..=11 => write!(f, "#{:#x}", value as u16),
        14 => write!(f, "#{:#x}", value as u8),
        15 => write!(f, "#{:e}", f32::from_bits(value as u32)),
        _ => write!(f, "#{value:#x}"),
    })
}

/// Which lanes a structure list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    /// Whole registers.
    Whole,
    /// One lane.
    Lane(u8),
    /// All lanes, each with the same value.
    All,
}

/// Returns `{d0[1], d2[1]}` and the like.
pub(crate) fn structure_list(first: u8, count: u8, step: u8, places: Places) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        for index in 0..count {
            let separator = if index == 0 { "{" } else { ", " };
            write!(f, "{separator}d{}", first + index * step)?;
            match places {
                Places::Whole => {}
                Places::Lane(lane) => write!(f, "[{lane}]")?,
                Places::All => f.write_str("[]")?,
            }
        }
        f.write_str("}")
    })
}

/// Returns `[r0:64]!` and the like: the alignment is in bits.
pub(crate) fn structure_base(rn: u8, rm: u8, align: u8) -> impl Display {
    Text(move |f: &mut Formatter<'_>| {
        write!(f, "[{}", core_reg(rn))?;
        if align > 1 {
            write!(f, ":{}", u32::from(align) * 8)?;
        }
        match rm {
            // In place of an index, PC means no write-back, and SP write-back of the bytes moved.
            15 => f.write_str("]"),
            13 => f.write_str("]!"),
            _ => write!(f, "], {}", core_reg(rm)),
        }
    })
}
