//! Loads and stores: their base is set so that they touch the case's scratch memory.

use arm32_isa::{Decoded, ExSize, Index, Insn, MemOp, Shift, fields};
use rand_core::RngCore;

use super::exclusions::Exclusion::*;
use super::spec::{InsnContext, Plan, Verdict, unless};
use crate::case::{Adjust, Patch, Value};
use crate::layout::{SCRATCH_DATA, SCRATCH_TABLES};
use crate::values::{below, chance, pick};

/// Of accesses: percent that are not aligned.
const UNALIGNED: u32 = 15;
/// Percent that go to an address where nothing is, or that may not be written.
const WILD: u32 = 2;
/// Addresses that fault: nothing there, in every direction from everything that is mapped.
const NOWHERE: [u32; 5] = [0x10, 0x2000, 0x1234_5678, 0x6000_0000, 0xd000_0002];

/// Shifts by an immediate as instructions do; RRX as if C were clear.
pub fn shifted(value: u32, shift: Shift, amount: u8) -> u32 {
    let amount = u32::from(amount);
    match shift {
        Shift::Lsl => value.checked_shl(amount).unwrap_or(0),
        Shift::Lsr => value.checked_shr(amount).unwrap_or(0),
        Shift::Asr => (value.cast_signed() >> amount.min(31)).cast_unsigned(),
        Shift::Ror => value.rotate_right(amount),
        Shift::Rrx => value >> 1,
    }
}

/// An access of an instruction.
pub(super) struct Want {
    /// Bytes, from the lowest address on.
    pub len: u32,
    /// Alignment that spares it a fault, or at least makes it usual.
    pub align: u32,
    /// The lowest address minus the base.
    pub from_base: u32,
}

impl Want {
    /// Returns a wish for words, or for a doubleword, which need no more than a word's alignment.
    pub const fn words(len: u32, from_base: u32) -> Self {
        Self {
            len,
            align: 4,
            from_base,
        }
    }
}

/// Returns an offset somewhere in scratch memory for `want`, and the base that leads there.
fn aim(rng: &mut impl RngCore, place: &InsnContext, want: &Want) -> (u32, u32) {
    // `below` takes no zero.
    let room = SCRATCH_DATA.saturating_sub(want.len).max(1);
    let mut offset = below(rng, room);
    if !chance(rng, UNALIGNED) {
        offset &= !(want.align - 1);
    }
    let mut address = place.scratch.wrapping_add(offset);
    if chance(rng, WILD) {
        address = pick(rng, &NOWHERE);
    }
    (offset, address.wrapping_sub(want.from_base))
}

/// Returns the offset of a pointer into the code.
fn pointer(rng: &mut impl RngCore) -> u32 {
    SCRATCH_DATA + 4 * below(rng, (SCRATCH_TABLES - SCRATCH_DATA) / 4)
}

/// Returns a plan that sets `rn` for `want`.
pub(super) fn based(rng: &mut impl RngCore, place: &InsnContext, rn: u8, want: &Want) -> Plan {
    let (_, base) = aim(rng, place, want);
    Plan {
        presets: vec![(rn, Value::Const(base))],
        ..Plan::default()
    }
}

/// Returns an offset, given by direction and magnitude, as a number.
pub(super) const fn signed(add: bool, imm: u32) -> u32 {
    if add { imm } else { imm.wrapping_neg() }
}

/// Returns the lowest address minus the base, of an access with an offset.
fn from_base(index: Index, add: bool, offset: u32) -> u32 {
    if index == Index::Post {
        0
    } else {
        signed(add, offset)
    }
}

/// Plans a load or store of core registers; `None` for other instructions.
pub fn plan(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Option<Verdict> {
    Some(match d.insn {
        Insn::Ldm { user, .. } | Insn::Stm { user, .. } => {
            unless(user, Privileged).and_then(|()| multiple(rng, d, place))
        }
        Insn::PreloadImm { .. } => Ok(Plan::default()),
        Insn::PreloadReg { rm, .. } => unless(rm == 15, Pc).map(|()| Plan::default()),
        Insn::Ldrex { size, rn, imm, .. } => exclusive(rng, place, size, rn, imm, true),
        Insn::Strex { size, rn, imm, .. } => exclusive(rng, place, size, rn, imm, false),
        Insn::Swp { byte, rt, rt2, rn } => unless([rt, rt2, rn].contains(&15), Pc).and_then(|()| {
            unless(rn == rt || rn == rt2, SameRegister)?;
            let len = if byte { 1 } else { 4 };
            Ok(based(
                rng,
                place,
                rn,
                &Want {
                    len,
                    align: len,
                    from_base: 0,
                },
            ))
        }),
        _ => {
            return single(rng, d, place).or_else(|| double(rng, d, place));
        }
    })
}

/// Plans a load or store of one core register.
fn single(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Option<Verdict> {
    fields!(d.insn => LdStImm | LdStReg { op, rt, rn, index, add, unpriv, .. } else { return None });
    let shape = Single {
        op,
        rt,
        rn,
        index,
        unpriv,
    };
    let checked = shape.check(d, place);
    Some(checked.and_then(|()| match d.insn {
        // A literal lies in the code, where there is no address to branch to.
        Insn::LdStImm { .. } if rn == 15 => {
            unless(rt == 15 || (place.thumb && !op.is_load()), WildBranch).map(|()| Plan::default())
        }
        Insn::LdStImm { imm, .. } => Ok(shape.plan(rng, place, from_base(index, add, imm))),
        Insn::LdStReg {
            rm, shift, amount, ..
        } => {
            unless(rm == 15 || rn == 15, Pc)?;
            // One register cannot be set to a base and to an index.
            unless(rm == rn && index != Index::Post, SameRegister)?;
            Ok(with_index(rng, rn, rm, |rng, value| {
                let offset = shifted(value, shift, amount);
                shape.plan(rng, place, from_base(index, add, offset))
            }))
        }
        _ => Err(NoInstruction),
    }))
}

/// Plans a load or store of two core registers.
fn double(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Option<Verdict> {
    fields!(d.insn => LdrdStrdImm | LdrdStrdReg { load, rt, rt2, rn, index, add, .. } else { return None });
    let want = |offset| Want::words(8, from_base(index, add, offset));
    let checked = double_check(place, load, rt, rt2, rn, index);
    Some(checked.and_then(|()| match d.insn {
        Insn::LdrdStrdImm { .. } if rn == 15 => {
            unless(place.thumb && !load || index != Index::Offset, Pc).map(|()| Plan::default())
        }
        Insn::LdrdStrdImm { imm, .. } => Ok(based(rng, place, rn, &want(imm))),
        Insn::LdrdStrdReg { rm, .. } => {
            unless(rm == 15 || rn == 15, Pc)?;
            unless(rm == rt || rm == rt2 || rm == rn, SameRegister)?;
            Ok(with_index(rng, rn, rm, |rng, value| {
                based(rng, place, rn, &want(value))
            }))
        }
        _ => Err(NoInstruction),
    }))
}

/// Sets an index register to something, and the rest by `f`.
fn with_index<R: RngCore>(
    rng: &mut R,
    rn: u8,
    rm: u8,
    f: impl FnOnce(&mut R, u32) -> Plan,
) -> Plan {
    let value = if chance(rng, 50) {
        below(rng, 256)
    } else {
        rng.next_u32()
    };
    let mut plan = f(rng, value);
    // A base that is its own index, post-indexed, is needed as the address.
    if rm != rn {
        plan.presets.insert(0, (rm, Value::Const(value)));
    }
    plan
}

/// A load or store of one core register.
struct Single {
    op: MemOp,
    rt: u8,
    rn: u8,
    index: Index,
    unpriv: bool,
}

impl Single {
    fn check(&self, d: &Decoded, place: &InsnContext) -> Result<(), super::exclusions::Exclusion> {
        let wback = self.index != Index::Offset;
        unless((wback || self.unpriv) && self.rn == 15, Pc)?;
        unless(wback && self.rn == self.rt, SameRegister)?;
        if self.rt == 15 {
            let word = matches!(self.op, MemOp::Ldr | MemOp::Str);
            unless(
                !word || self.unpriv || (place.thumb && self.op == MemOp::Str),
                Pc,
            )?;
            // Alone in an IT block: it has to end it, and others might change its base.
            unless(
                self.op == MemOp::Ldr && (!place.last || !place.first),
                InItBlock,
            )?;
        }
        // A word-sized store of PC stores the same value as elsewhere in A32 (PC + 8 on a
        // Cortex-A15).
        unless(place.thumb && d.len == 2 && self.rt == 15, Pc)
    }

    fn plan(&self, rng: &mut impl RngCore, place: &InsnContext, from_base: u32) -> Plan {
        let len = self.op.size().into();
        if self.rt == 15 && self.op == MemOp::Ldr {
            // A load of PC is a branch, and finds a pointer to a later unit.
            let offset = pointer(rng);
            let base = place.scratch.wrapping_add(offset).wrapping_sub(from_base);
            let target = Value::Target {
                unit: place.any(rng),
                how: Adjust::Plus(0),
            };
            return Plan {
                presets: vec![(self.rn, Value::Const(base))],
                patches: vec![(offset, Patch::Word(target))],
                branch: None,
            };
        }
        based(
            rng,
            place,
            self.rn,
            &Want {
                len,
                align: len,
                from_base,
            },
        )
    }
}

fn double_check(
    place: &InsnContext,
    load: bool,
    rt: u8,
    rt2: u8,
    rn: u8,
    index: Index,
) -> Result<(), super::exclusions::Exclusion> {
    let wback = index != Index::Offset;
    unless(rt == 15 || rt2 == 15, Pc)?;
    // UNPREDICTABLE in T32 only.
    unless(place.thumb && (rt == 13 || rt2 == 13), Pc)?;
    unless(load && rt == rt2, SameRegister)?;
    unless(wback && (rn == 15 || rn == rt || rn == rt2), SameRegister)
}

fn multiple(rng: &mut impl RngCore, d: &Decoded, place: &InsnContext) -> Verdict {
    fields!(d.insn => Ldm | Stm { rn, list, increment, before, wback, .. } else {
        return Err(NoInstruction);
    });
    let load = matches!(d.insn, Insn::Ldm { .. });
    let has = |r: u8| list >> r & 1 != 0;
    let count = list.count_ones();
    // UNPREDICTABLE in T32 only.
    if place.thumb && d.len == 4 {
        unless(
            has(13) || count < 2 || (load && has(14) && has(15)) || (!load && has(15)),
            RegisterList,
        )?;
    }
    unless(load && has(15) && (!place.last || !place.first), InItBlock)?;
    // What is stored for a base that is written back is known only if it is the lowest.
    unless(
        wback && has(rn) && (load || list.trailing_zeros() != u32::from(rn)),
        RegisterList,
    )?;
    let len = 4 * count;
    let from_base = match (increment, before) {
        (true, false) => 0,
        (true, true) => 4,
        (false, false) => 4u32.wrapping_sub(len),
        (false, true) => len.wrapping_neg(),
    };
    if !(load && has(15)) {
        return Ok(based(rng, place, rn, &Want::words(len, from_base)));
    }
    // The PC comes from the highest word: that is the pointer, and the others lie below.
    let offset = pointer(rng) + 4 - len;
    let base = place.scratch.wrapping_add(offset).wrapping_sub(from_base);
    let target = Value::Target {
        unit: place.any(rng),
        how: Adjust::Plus(0),
    };
    Ok(Plan {
        presets: vec![(rn, Value::Const(base))],
        patches: vec![(offset + len - 4, Patch::Word(target))],
        branch: None,
    })
}

/// Plans an exclusive access. Those of one size share two addresses, which no other size uses: what
/// a store-exclusive does after a load-exclusive of another size is UNPREDICTABLE. Only loads get
/// addresses that fault: whether a store-exclusive that fails anyhow does is IMPLEMENTATION DEFINED
/// (it does here, it does not in QEMU).
fn exclusive(
    rng: &mut impl RngCore,
    place: &InsnContext,
    size: ExSize,
    rn: u8,
    imm: u32,
    load: bool,
) -> Verdict {
    unless(!place.first || !place.last, ExclusiveBase)?;
    unless(place.big_endian, ExclusiveEndian)?;
    let (slot, len) = match size {
        ExSize::Byte => (0, 1),
        ExSize::Half => (1, 2),
        ExSize::Word => (2, 4),
        ExSize::Double => (3, 8),
    };
    // 32 bytes for each size, with two addresses in different halves.
    let mut offset = 128 + 32 * slot + if chance(rng, 20) { 16 } else { 0 };
    if load && len > 1 && chance(rng, 4) {
        // Not aligned: exclusive accesses fault then, whatever SCTLR.A says.
        offset += 1;
    }
    let mut address = place.scratch.wrapping_add(offset);
    if load && chance(rng, WILD) {
        // Aligned, so that it is the translation that fails.
        address = pick(rng, &NOWHERE) & !7;
    }
    Ok(Plan {
        presets: vec![(rn, Value::Const(address.wrapping_sub(imm)))],
        ..Plan::default()
    })
}
