//! What an instruction needs so that its effect can be compared: operands, and a place to branch
//! to.

use arm32_isa::{Cond, Decoded, DpOp, HintOp, Insn, Shift};
use rand_core::RngCore;

use super::exclusions::Exclusion::{self, *};
use super::spec::{InsnContext, Plan, Verdict, unless};
use super::{memory, registers, vector};
use crate::case::{Adjust, Branch, Patch, Value};
use crate::layout::{SCRATCH_SIZE, SCRATCH_TABLES};
use crate::values;

/// Plans `d` at `place`.
///
/// # Errors
/// Why the instruction is left out.
pub fn plan(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Verdict {
    // These take operands as they come: all that matters is which registers they name.
    if let Some(named) = arm32_isa::core_registers(&d.insn) {
        unless(named.contains(&15), Pc)?;
        unless(
            registers::destinations(&d.insn).is_some_and(|(a, b)| a == b),
            SameRegister,
        )?;
        return Ok(Plan::default());
    }
    if let Some(verdict) = memory::plan(rng, d, place).or_else(|| vector::plan(rng, d, place)) {
        return verdict;
    }
    if let Some(verdict) = branch(rng, d, place) {
        return verdict;
    }
    match d.insn {
        Insn::Undefined => Err(NoInstruction),
        Insn::DpImm {
            op, s, rd, rn, imm, ..
        } => data_immediate(rng, place, op, s, rd, rn, imm),
        Insn::DpReg { .. } => data_register(rng, d, place),
        Insn::Adr { rd, .. } => unless(rd == 15, WildBranch).map(|()| Plan::default()),
        Insn::Vmsr { reg, rt } => vmsr(rng, place, reg, rt),
        _ => system(d, place).map(|()| Plan::default()),
    }
}

/// Plans VMSR: other bits of the FPSCR than those of [`values::fpscr`] select short vectors, which
/// QEMU keeps and then refuses to execute, and traps.
fn vmsr(rng: &mut impl RngCore, place: &InsnContext, reg: u8, rt: u8) -> Verdict {
    unless(!place.first, ShortVectors)?;
    let mut plan = Plan::default();
    if reg == 1 {
        plan.presets.push((rt, Value::Const(values::fpscr(rng))));
    }
    Ok(plan)
}

fn system(d: &Decoded, place: &InsnContext) -> Result<(), Exclusion> {
    match d.insn {
        Insn::Mrs { rd, spsr } => {
            unless(spsr, Privileged)?;
            unless(rd == 15, Pc)
        }
        Insn::MsrImm { spsr, mask, .. } => {
            unless(spsr, Privileged)?;
            // The x field, CPSR[15:8], which holds E.
            unless(mask & 2 != 0, EndianByMsr)
        }
        Insn::MsrReg { spsr, mask, rn } => {
            // Without any field MSR is UNPREDICTABLE.
            unless(spsr || mask == 0, Privileged)?;
            unless(mask & 2 != 0, EndianByMsr)?;
            unless(rn == 15, Pc)
        }
        Insn::MrsBanked { .. }
        | Insn::MsrBanked { .. }
        | Insn::Eret
        | Insn::Srs { .. }
        | Insn::Rfe { .. } => Err(Privileged),
        Insn::Setend { .. } => {
            unless(place.in_it, InItBlock).and_then(|()| unless(!place.big_endian, ExclusiveEndian))
        }
        // In User mode it does nothing.
        Insn::Cps { .. } => unless(place.in_it, InItBlock),
        Insn::Svc { .. } => Err(Supervisor),
        // UDF #16 in A32, UDF #1 in T16, UDF #0 in T32.
        Insn::Udf { imm } => unless(
            imm == if !place.thumb {
                16
            } else {
                u16::from(d.len == 2)
            },
            LinuxBreakpoint,
        ),
        Insn::Hint {
            op: HintOp::Wfi, ..
        } => Err(Supervisor),
        Insn::It { .. } => Err(InItBlock),
        Insn::Bkpt { .. } | Insn::Hvc { .. } => {
            // With a condition in A32 they are UNPREDICTABLE.
            unless(!place.thumb && d.cond != Cond::Al || place.in_it, InItBlock)
        }
        Insn::Mcr { cp, .. }
        | Insn::Mrc { cp, .. }
        | Insn::Mcrr { cp, .. }
        | Insn::Mrrc { cp, .. }
        | Insn::Cdp { cp, .. }
        | Insn::LdcStc { cp, .. } => {
            unless(cp >= 14, SystemRegisters)?;
            unless(cp == 1 || cp == 2, FloatingPointAccelerator)?;
            unless(cp == 9, HalfPrecision)
        }
        Insn::NeonPermute { vd, vm, .. } => unless(vd == vm, SameVector),
        _ => Ok(()),
    }
}

fn data_immediate(
    rng: &mut impl RngCore,
    place: &InsnContext,
    op: DpOp,
    s: bool,
    rd: u8,
    rn: u8,
    imm: u32,
) -> Verdict {
    let mut plan = Plan::default();
    let reads_rn = !op.is_move();
    unless(place.thumb && reads_rn && rn == 15, Pc)?;
    if rd != 15 || op.is_compare() {
        return Ok(plan);
    }
    unless(s, Privileged)?;
    // T32 has no such branches, and PC as Rn cannot be set to anything.
    unless(place.thumb || rn == 15 || !place.last, WildBranch)?;
    // The inverse of the operation: Rn is such that the result is the target.
    let how = match op {
        DpOp::Add => Adjust::Plus(imm.wrapping_neg()),
        DpOp::Sub => Adjust::Plus(imm),
        DpOp::Eor => Adjust::Xor(imm),
        DpOp::Rsb => Adjust::From(imm),
        _ => return Err(WildBranch),
    };
    plan.presets.push((
        rn,
        Value::Target {
            unit: place.any(rng),
            how,
        },
    ));
    Ok(plan)
}

fn data_register(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Verdict {
    let Insn::DpReg {
        op,
        s,
        rd,
        rn,
        rm,
        shift,
        amount,
    } = d.insn
    else {
        return Err(NoInstruction);
    };
    let mut plan = Plan::default();
    if place.thumb {
        // ADD and MOV of 16 bits may read PC; those of 32 may not.
        unless(
            (rn == 15 || rm == 15) && (d.len == 4 || op.is_compare()),
            Pc,
        )?;
    }
    if rd != 15 || op.is_compare() {
        return Ok(plan);
    }
    // With S it is an exception return.
    unless(s, Privileged)?;
    unless(place.thumb && d.len == 4, Pc)?;
    unless(!place.last || !place.first, InItBlock)?;
    // In T32 this keeps the instruction set, whatever bit 0 says.
    let unit = if place.thumb {
        place.near(rng)
    } else {
        place.any(rng)
    };
    let value = rng.next_u32();
    match op {
        DpOp::Mov if shift == Shift::Lsl && amount == 0 && rm != 15 => {
            plan.presets.push((
                rm,
                Value::Target {
                    unit,
                    how: Adjust::Plus(0),
                },
            ));
        }
        DpOp::Add if rn == 15 && shift == Shift::Lsl && amount == 0 && rm != 15 => {
            // In T32 this keeps the instruction set, whatever bit 0 says.
            let unit = if place.thumb { place.near(rng) } else { unit };
            plan.presets.push((
                rm,
                Value::Target {
                    unit,
                    how: Adjust::FromPc,
                },
            ));
        }
        // Not with RRX, which takes in a carry that is not known here.
        DpOp::Add | DpOp::Sub | DpOp::Eor | DpOp::Rsb
            if rn != 15 && rm != 15 && rn != rm && shift != Shift::Rrx && !place.thumb =>
        {
            let operand = memory::shifted(value, shift, amount);
            let how = match op {
                DpOp::Add => Adjust::Plus(operand.wrapping_neg()),
                DpOp::Sub => Adjust::Plus(operand),
                DpOp::Eor => Adjust::Xor(operand),
                _ => Adjust::From(operand),
            };
            plan.presets.push((rm, Value::Const(value)));
            plan.presets.push((rn, Value::Target { unit, how }));
        }
        _ => return Err(WildBranch),
    }
    Ok(plan)
}

fn branch(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Option<Verdict> {
    let narrow = d.len == 2;
    let direct = |kind, unit| Plan {
        branch: Some((kind, unit)),
        ..Plan::default()
    };
    // A branch to a register stands alone in its IT block: another instruction might change the
    // register.
    let check = |bad| unless(bad || !place.last, InItBlock);
    Some(match d.insn {
        Insn::B { .. } => {
            let kind = match (place.thumb, narrow, d.cond == Cond::Al) {
                (false, ..) => Branch::A32,
                (_, true, true) => Branch::Narrow,
                (_, true, false) => Branch::NarrowCond,
                (_, false, true) => Branch::Wide,
                (_, false, false) => Branch::WideCond,
            };
            // In T32 it has a condition of its own, and may not stand in an IT block.
            let conditional = place.thumb && d.cond != Cond::Al;
            check(conditional && place.in_it).map(|()| direct(kind, place.near(rng)))
        }
        Insn::Bl {
            exchange: false, ..
        } => {
            let kind = if place.thumb {
                Branch::Wide
            } else {
                Branch::A32
            };
            check(false).map(|()| direct(kind, place.near(rng)))
        }
        // To the other instruction set: only where that begins.
        Insn::Bl { exchange: true, .. } => Err(WildBranch),
        Insn::Bx { rm } | Insn::Bxj { rm } | Insn::BlxReg { rm } => check(rm == 15 || !place.first)
            .map(|()| Plan {
                presets: vec![(
                    rm,
                    Value::Target {
                        unit: place.any(rng),
                        how: Adjust::Plus(0),
                    },
                )],
                ..Plan::default()
            }),
        Insn::Cbz { .. } => {
            unless(place.in_it, InItBlock).map(|()| direct(Branch::Cbz, place.near(rng)))
        }
        Insn::Tbb { half, rn, rm } => table(rng, place, half, rn, rm),
        _ => return None,
    })
}

fn table(rng: &mut impl RngCore, place: &InsnContext, half: bool, rn: u8, rm: u8) -> Verdict {
    unless(!place.last || !place.first, InItBlock)?;
    // PC as the base is allowed, but the table would have to be in the code.
    unless(rn == 15 || rm == 15 || rn == 13 || rm == 13, Pc)?;
    unless(rn == rm, SameRegister)?;
    // Behind SETEND a halfword is another offset.
    unless(half && place.big_endian, WildBranch)?;
    let (index, at) = (
        values::below(rng, 32),
        SCRATCH_TABLES + 2 * values::below(rng, (SCRATCH_SIZE - SCRATCH_TABLES) / 2),
    );
    // The index counts bytes or halfwords; the entry is at `at` in either case.
    let base = place
        .scratch
        .wrapping_add(at)
        .wrapping_sub(if half { 2 * index } else { index });
    Ok(Plan {
        presets: vec![(rm, Value::Const(index)), (rn, Value::Const(base))],
        patches: vec![(
            at,
            Patch::Table {
                unit: place.near(rng),
                half,
            },
        )],
        branch: None,
    })
}
