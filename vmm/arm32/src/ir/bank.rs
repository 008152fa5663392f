//! VFP and Advanced SIMD to micro-operations.
//!
//! What loads and stores the register bank, and what moves between it and the core's registers, is
//! stated here. What stays within the bank is stated once, in `arm32-fpu`: such an instruction is
//! one operation, of which each back end knows the forms that its host does exactly.

use arm32_fpu::exec::memory::{self, Writeback};
use arm32_isa::Insn;

use super::operands::{alu, dest, reg};
use super::{AluOp, Dest, Mop, Value};
use crate::exec::Op;

/// Bytes of the register bank, D0 to D31.
const BYTES: usize = 256;

/// An operation on the registers of VFP and Advanced SIMD. Places in the bank are in bytes from the
/// lowest of D0 on: Sn is at 4n, Dn at 8n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BankMop {
    /// Leaves the instruction to its handler unless VFP, and with `simd` Advanced SIMD, is enabled
    /// for certain.
    Need {
        /// Whether Advanced SIMD is needed.
        simd: bool,
    },
    /// Loads `bytes` bytes of the bank from `place` on from `at`.
    Load(Transfer),
    /// Stores them there.
    Store(Transfer),
    /// Loads or stores structures, or the elements of one, whose parts are not as registers lie.
    Structures(Structures),
    /// `d` = `size` bytes of the bank, extended.
    Read {
        /// The result.
        d: Dest,
        /// Where they are.
        place: u8,
        /// 1, 2 or 4.
        size: u8,
        /// Whether the highest bit is a sign.
        sign: bool,
    },
    /// `size` bytes of the bank become the low ones of `x`.
    Write {
        /// Where they are.
        place: u8,
        /// What they become.
        x: Value,
        /// 1, 2 or 4.
        size: u8,
    },
    /// All lanes of a doubleword or quadword become the low bytes of `x`.
    Duplicate {
        /// Where the register is.
        place: u8,
        /// Whether it is a quadword.
        q: bool,
        /// The lanes are of 2^`size` bytes: 0 to 2.
        size: u8,
        /// What they become.
        x: Value,
    },
    /// `d` = the FPSCR.
    ReadStatus {
        /// The result.
        d: Dest,
    },
    /// N, Z, C and V become those of the FPSCR.
    Flags,
    /// Does what an instruction does that stays within the bank. The fast path may leave any of
    /// them to the handler.
    Execute(Insn),
}

/// What is loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Where it is in the bank.
    pub place: u8,
    /// How many bytes, a multiple of four.
    pub bytes: u8,
    /// The address.
    pub at: Value,
    /// What it must be a multiple of: a power of two, at most 32.
    pub align: u8,
}

/// Structures that are loaded or stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Structures {
    /// The instruction, which says where their elements belong.
    pub insn: Insn,
    /// Whether they are stored.
    pub store: bool,
    /// How many bytes they are.
    pub bytes: u8,
    /// The address.
    pub at: Value,
    /// What it must be a multiple of, as in [`Transfer`].
    pub align: u8,
}

impl Structures {
    /// Returns the elements, in the order in which they lie in memory.
    pub fn elements(&self) -> impl Iterator<Item = memory::Transfer> + use<> {
        let access = memory::access(&self.insn);
        access
            .into_iter()
            .flat_map(|access| access.transfers(false))
    }
}

impl BankMop {
    /// Returns the register that it writes, if it is one of the core's.
    #[cfg(test)]
    pub const fn dest(&self) -> Option<Dest> {
        match *self {
            Self::Read { d, .. } | Self::ReadStatus { d } => Some(d),
            _ => None,
        }
    }

    /// Returns whether the instruction may be left to its handler here.
    pub const fn may_leave(&self) -> bool {
        matches!(
            self,
            Self::Need { .. }
                | Self::Load(_)
                | Self::Store(_)
                | Self::Structures(_)
                | Self::Execute(_)
        )
    }
}

/// Adds the operations of an instruction of VFP or Advanced SIMD.
pub fn lower(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    transfer(op, out)
        .or_else(|| between(op, out))
        .or_else(|| within(op, out))
}

fn push(out: &mut Vec<Mop>, mop: BankMop) {
    out.push(Mop::Bank(mop));
}

/// Returns where register `n` is: a double, or a single one.
const fn place_of(double: bool, n: u8) -> u8 {
    if double { 8 * (n & 31) } else { 4 * (n & 31) }
}

/// Loads and stores.
fn transfer(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let (simd, place) = match op.insn {
        Insn::Vldr { double, vd, .. } | Insn::Vldm { double, vd, .. } => {
            (false, Some(place_of(double, vd)))
        }
        // Structures of one element lie in memory as registers do, whatever their size.
        Insn::NeonMulti {
            elements: 1, vd, ..
        } => (true, Some(place_of(true, vd))),
        Insn::NeonMulti { .. } | Insn::NeonLane { .. } | Insn::NeonAll { .. } => (true, None),
        _ => return None,
    };
    let access = memory::access(&op.insn)?;
    // Those that go round the end of the bank are UNPREDICTABLE, and so is R15 written back.
    let fits = place.map_or_else(
        || {
            access
                .transfers(false)
                .all(|t| t.register + t.registers <= 32)
        },
        |place| usize::from(place) + usize::from(access.bytes) <= BYTES,
    );
    if access.bytes == 0 || !fits || (access.base == 15 && access.writeback != Writeback::None) {
        return None;
    }
    push(out, BankMop::Need { simd });
    let start = access.start.cast_unsigned();
    let base = match access.base {
        15 => Value::Imm(op.pc_read() & !3),
        n => Value::Reg(n),
    };
    let at = match base {
        Value::Imm(base) => Value::Imm(base.wrapping_add(start)),
        base if start == 0 => base,
        base => {
            out.push(alu(AluOp::Add, Dest::Temp(0), base, Value::Imm(start)));
            Value::Temp(0)
        }
    };
    // What is not aligned to its elements may fault.
    let (bytes, align) = (access.bytes, access.align.max(access.element));
    let moved = |place| Transfer {
        place,
        bytes,
        at,
        align,
    };
    let mop = match place {
        Some(place) if access.is_load => BankMop::Load(moved(place)),
        Some(place) => BankMop::Store(moved(place)),
        None => BankMop::Structures(Structures {
            insn: op.insn,
            store: !access.is_load,
            bytes,
            at,
            align,
        }),
    };
    push(out, mop);
    let step = match access.writeback {
        Writeback::None => return Some(()),
        Writeback::Bytes(step) => Value::Imm(step.cast_unsigned()),
        Writeback::Register(rm) => reg(op, rm),
    };
    out.push(alu(AluOp::Add, Dest::Reg(access.base), base, step));
    Some(())
}

/// Moves between the core's registers and the bank.
fn between(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    match op.insn {
        Insn::VmovCore { to_core, rt, vn } => {
            dest(rt)?;
            words(out, to_core, place_of(false, vn), &[rt]);
        }
        // S31 has no successor.
        Insn::VmovCore2 {
            to_core,
            rt,
            rt2,
            vm,
        } if vm < 31 => {
            dest(rt).and(dest(rt2))?;
            words(out, to_core, place_of(false, vm), &[rt, rt2]);
        }
        Insn::VmovCoreD {
            to_core,
            rt,
            rt2,
            vm,
        } => {
            dest(rt).and(dest(rt2))?;
            words(out, to_core, place_of(true, vm), &[rt, rt2]);
        }
        Insn::VmovToLane { size, lane, vd, rt } => {
            dest(rt)?;
            let (place, size) = lane_of(vd, size, lane)?;
            let x = Value::Reg(rt);
            push(out, BankMop::Need { simd: false });
            push(out, BankMop::Write { place, x, size });
        }
        Insn::VmovFromLane {
            size,
            lane,
            unsigned,
            rt,
            vn,
        } => {
            let (d, sign) = (dest(rt)?, !unsigned);
            let (place, size) = lane_of(vn, size, lane)?;
            let read = BankMop::Read {
                d,
                place,
                size,
                sign,
            };
            push(out, BankMop::Need { simd: false });
            push(out, read);
        }
        Insn::VdupCore { size, q, vd, rt } if size < 3 => {
            dest(rt)?;
            let place = place_of(true, if q { vd & 30 } else { vd });
            let x = Value::Reg(rt);
            push(out, BankMop::Need { simd: true });
            push(out, BankMop::Duplicate { place, q, size, x });
        }
        Insn::Vmrs { reg: 1, rt } => {
            push(out, BankMop::Need { simd: false });
            let read = dest(rt).map_or(BankMop::Flags, |d| BankMop::ReadStatus { d });
            push(out, read);
        }
        _ => return None,
    }
    Some(())
}

/// Moves words between registers of the core and consecutive ones of the bank.
fn words(out: &mut Vec<Mop>, to_core: bool, place: u8, registers: &[u8]) {
    push(out, BankMop::Need { simd: false });
    for (n, place) in registers.iter().zip((place..).step_by(4)) {
        let word = if to_core {
            BankMop::Read {
                d: Dest::Reg(*n),
                place,
                size: 4,
                sign: false,
            }
        } else {
            BankMop::Write {
                place,
                x: Value::Reg(*n),
                size: 4,
            }
        };
        push(out, word);
    }
}

/// Returns where a lane of doubleword `n` is, and its size in bytes.
fn lane_of(n: u8, size: u8, lane: u8) -> Option<(u8, u8)> {
    let within = lane.checked_shl(size.into())?;
    (size < 3 && within < 8).then_some((place_of(true, n) + within, 1 << size))
}

/// Instructions that stay within the bank.
fn within(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let simd = match op.insn {
        Insn::Vfp3 { .. }
        | Insn::Vfp2 { .. }
        | Insn::VfpImm { .. }
        | Insn::VfpCmp { .. }
        | Insn::VfpCvtPrecision { .. }
        | Insn::VfpToInt { .. }
        | Insn::VfpFromInt { .. } => false,
        Insn::Neon3 { .. }
        | Insn::NeonDiff { .. }
        | Insn::NeonDiffScalar { .. }
        | Insn::NeonScalar { .. }
        | Insn::NeonCvtFixed { .. }
        | Insn::NeonShift { .. }
        | Insn::NeonNarrow { .. }
        | Insn::NeonMovn { .. }
        | Insn::Vshll { .. }
        | Insn::NeonImm { .. }
        | Insn::Neon2 { .. }
        | Insn::NeonPermute { .. }
        | Insn::Vext { .. }
        | Insn::Vtbl { .. }
        | Insn::VdupLane { .. } => true,
        _ => return None,
    };
    push(out, BankMop::Need { simd });
    push(out, BankMop::Execute(op.insn));
    Some(())
}

/// Takes away the needs that an instruction before has met.
///
/// What enables VFP and Advanced SIMD, the privilege level among it, changes only in handlers that
/// a block calls in any case: those of instructions that the fast path leaves out do other things.
/// So a handler that went on after a need was not certain has met it, too.
pub fn drop_known_needs(mops: &mut [Mop]) {
    let mut known = None;
    let certain = super::flags::certain(mops);
    for (mop, certain) in mops.iter_mut().zip(certain) {
        match *mop {
            Mop::Call => known = None,
            // `Some(false)`, of VFP alone, is less than `Some(true)`.
            Mop::Bank(BankMop::Need { simd }) if known >= Some(simd) => *mop = Mop::Nop,
            Mop::Bank(BankMop::Need { simd }) if certain => known = Some(simd),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operands::copy;
    use super::*;

    const fn need(simd: bool) -> Mop {
        Mop::Bank(BankMop::Need { simd })
    }

    #[test]
    fn a_need_is_known_until_a_handler_is_called() {
        let mut mops = [
            need(false),
            need(false),
            need(true),
            need(false),
            Mop::Call,
            need(true),
            need(true),
        ];
        drop_known_needs(&mut mops);
        let wanted = [
            need(false),
            Mop::Nop,
            need(true),
            Mop::Nop,
            Mop::Call,
            need(true),
            Mop::Nop,
        ];
        assert_eq!(mops, wanted);
    }

    #[test]
    fn what_may_be_skipped_meets_no_need_of_what_follows() {
        let skip = Mop::SkipUnless { cond: 0, count: 2 };
        let work = copy(Dest::Reg(0), Value::Imm(0));
        let mut mops = [skip, need(false), work, need(false), need(false)];
        drop_known_needs(&mut mops);
        assert_eq!(mops, [skip, need(false), work, need(false), Mop::Nop]);
    }
}
