//! Loads and stores of VFP and Advanced SIMD registers.

use arm32_isa::{Decoded, FpMultiple, Insn};
use rand_core::RngCore;

use super::exclusions::Exclusion::*;
use super::memory::{Want, based, signed};
use super::spec::{InsnContext, Plan, Verdict, unless};

/// Plans a load or store; `None` for other instructions.
pub fn plan(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Option<Verdict> {
    Some(match d.insn {
        Insn::Vldr {
            load,
            double,
            add,
            rn,
            imm,
            ..
        } => {
            let len = if double { 8 } else { 4 };
            let want = Want::words(len, signed(add, imm.into()));
            // A literal needs no base; stores to one are UNPREDICTABLE in T32.
            if rn == 15 {
                unless(place.thumb && !load, Pc).map(|()| Plan::default())
            } else {
                Ok(based(rng, place, rn, &want))
            }
        }
        Insn::Vldm {
            load,
            mode,
            rn,
            words,
            ..
        } => {
            let len = 4 * u32::from(words);
            let from_base = if mode == FpMultiple::DbWriteback {
                len.wrapping_neg()
            } else {
                0
            };
            if rn == 15 {
                unless(place.thumb && !load, Pc).map(|()| Plan::default())
            } else {
                Ok(based(rng, place, rn, &Want::words(len, from_base)))
            }
        }
        _ => return elements(rng, d, place),
    })
}

/// Plans a load or store of elements of Advanced SIMD registers.
fn elements(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Option<Verdict> {
    Some(match d.insn {
        Insn::NeonMulti {
            regs,
            align,
            rn,
            size,
            ..
        } => unless(rn == 15, Pc).map(|()| {
            based(
                rng,
                place,
                rn,
                &element_want(8 * u32::from(regs), align, size),
            )
        }),
        Insn::NeonLane {
            elements,
            size,
            align,
            rn,
            ..
        }
        | Insn::NeonAll {
            elements,
            size,
            align,
            rn,
            ..
        } => {
            let len = u32::from(elements) << (size & 3);
            unless(rn == 15, Pc).map(|()| based(rng, place, rn, &element_want(len, align, size)))
        }
        _ => return None,
    })
}

fn element_want(len: u32, align: u8, size: u8) -> Want {
    Want {
        len,
        // An access that names no alignment usually has that of its elements.
        align: u32::from(align.max(1)).max(1 << (size & 3)),
        from_base: 0,
    }
}
