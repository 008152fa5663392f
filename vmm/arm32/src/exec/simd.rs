//! VFP and Advanced SIMD: what touches core registers, memory or the enables. The rest is
//! `arm32-fpu`'s.

use arm32_fpu::exec::memory::{self, Writeback};
use arm32_fpu::exec::transfer;
use arm32_isa::Insn;

use crate::cpu::{Cpu, Flow};
use crate::exec::ldst::merge;
use crate::exec::{Handler, Op, fields};
use crate::mmu::Access;
use crate::state::Flags;
use crate::state::fp_enables::{ASEDIS, EN};

/// FPSID of the Cortex-A15 (TRM 14.4.1).
const FPSID: u32 = 0x4104_30f0;
/// MVFR0: VFPv4 with 32 double registers (TRM 14.4.3).
const MVFR0: u32 = 0x1011_0222;
/// MVFR1: Advanced SIMD with half precision and fused multiply-add (TRM 14.4.4).
const MVFR1: u32 = 0x1111_1111;

/// Returns the handler of `insn`, if it is one of this module's.
pub const fn handler(insn: &Insn) -> Option<Handler> {
    Some(match insn {
        Insn::Vmrs { .. } => vmrs,
        Insn::Vmsr { .. } => vmsr,
        Insn::VmovCore { .. } => vmov_core,
        Insn::VmovCore2 { .. } => vmov_core2,
        Insn::VmovCoreD { .. } => vmov_core_d,
        Insn::VmovToLane { .. } => vmov_to_lane,
        Insn::VmovFromLane { .. } => vmov_from_lane,
        Insn::VdupCore { .. } => vdup_core,
        Insn::Vldr { .. } | Insn::Vldm { .. } => vfp_memory,
        Insn::NeonMulti { .. } | Insn::NeonLane { .. } | Insn::NeonAll { .. } => neon_memory,
        Insn::Vfp3 { .. }
        | Insn::Vfp2 { .. }
        | Insn::VfpImm { .. }
        | Insn::VfpCmp { .. }
        | Insn::VfpCvtPrecision { .. }
        | Insn::VfpCvtHalf { .. }
        | Insn::VfpToInt { .. }
        | Insn::VfpFromInt { .. }
        | Insn::VfpCvtFixed { .. } => vfp_data,
        Insn::Neon3 { .. }
        | Insn::NeonDiff { .. }
        | Insn::NeonScalar { .. }
        | Insn::NeonDiffScalar { .. }
        | Insn::NeonShift { .. }
        | Insn::NeonNarrow { .. }
        | Insn::Vshll { .. }
        | Insn::NeonCvtFixed { .. }
        | Insn::NeonImm { .. }
        | Insn::Neon2 { .. }
        | Insn::NeonPermute { .. }
        | Insn::NeonMovn { .. }
        | Insn::NeonCvtHalf { .. }
        | Insn::Vext { .. }
        | Insn::Vtbl { .. }
        | Insn::VdupLane { .. } => neon_data,
        _ => return None,
    })
}

/// What an instruction needs to be enabled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Access to coprocessors 10 and 11 only (system registers that can be read while VFP is
    /// disabled).
    Access,
    /// VFP.
    Vfp,
    /// Advanced SIMD.
    Simd,
}

impl Cpu {
    /// Returns whether `need` is met (CPACR and FPEXC); otherwise the instruction is undefined.
    #[inline]
    fn fp_enabled(&self, need: Need) -> bool {
        let cpacr = self.s.cp15.cpacr;
        // Two bits each for coprocessors 10 and 11: PL1 needs the lower one, PL0 both.
        let access = if self.s.psr.mode.privileged() {
            0b0101
        } else {
            0b1111
        };
        (cpacr >> 20) & access == access
            && (need == Need::Access || self.s.fpexc & EN != 0)
            && (need != Need::Simd || cpacr & ASEDIS == 0)
    }
}

/// Ends the handler with an Undefined Instruction exception unless `need` is met.
macro_rules! require {
    ($cpu:ident, $need:ident) => {
        if !$cpu.fp_enabled(Need::$need) {
            return $cpu.undefined();
        }
    };
}

/// Executes an instruction that stays within the register bank.
#[inline]
fn data(cpu: &mut Cpu, op: &Op) -> Flow {
    if arm32_fpu::exec::execute(&mut cpu.s.fp, &op.insn) {
        Flow::Next
    } else {
        cpu.undefined()
    }
}

fn vfp_data(cpu: &mut Cpu, op: &Op) -> Flow {
    require!(cpu, Vfp);
    data(cpu, op)
}

fn neon_data(cpu: &mut Cpu, op: &Op) -> Flow {
    require!(cpu, Simd);
    data(cpu, op)
}

fn vmrs(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Vmrs { reg, rt });
    if reg == 1 {
        require!(cpu, Vfp);
        if rt == 15 {
            cpu.s.flags = Flags::from_bits(cpu.s.fp.fpscr);
        } else {
            let value = cpu.s.fp.fpscr;
            cpu.set_reg(rt, value);
        }
        return Flow::Next;
    }
    require!(cpu, Access);
    let value = match reg {
        _ if !cpu.s.psr.mode.privileged() || rt == 15 => return cpu.undefined(),
        0 => FPSID,
        6 => MVFR1,
        7 => MVFR0,
        8 => cpu.s.fpexc,
        _ => return cpu.undefined(),
    };
    cpu.set_reg(rt, value);
    Flow::Next
}

fn vmsr(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Vmsr { reg, rt });
    let value = cpu.reg(rt);
    if reg == 1 {
        require!(cpu, Vfp);
        cpu.s.fp.write_fpscr(value);
        return Flow::Next;
    }
    require!(cpu, Access);
    match reg {
        _ if !cpu.s.psr.mode.privileged() => return cpu.undefined(),
        0 => {}
        8 => cpu.s.fpexc = value & EN,
        _ => return cpu.undefined(),
    }
    Flow::Next
}

fn vmov_core(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => VmovCore { to_core, rt, vn });
    require!(cpu, Vfp);
    if to_core {
        let value = cpu.s.fp.s(vn);
        cpu.set_reg(rt, value);
    } else {
        let value = cpu.reg(rt);
        cpu.s.fp.set_s(vn, value);
    }
    Flow::Next
}

fn vmov_core2(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => VmovCore2 { to_core, rt, rt2, vm });
    require!(cpu, Vfp);
    // The pair S31:S32 does not exist; the decoder lets none through.
    let second = (vm + 1) & 31;
    if to_core {
        let (low, high) = (cpu.s.fp.s(vm), cpu.s.fp.s(second));
        cpu.set_reg(rt, low);
        cpu.set_reg(rt2, high);
    } else {
        let (low, high) = (cpu.reg(rt), cpu.reg(rt2));
        cpu.s.fp.set_s(vm, low);
        cpu.s.fp.set_s(second, high);
    }
    Flow::Next
}

fn vmov_core_d(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => VmovCoreD { to_core, rt, rt2, vm });
    require!(cpu, Vfp);
    if to_core {
        let [low, high] = transfer::from_double(&cpu.s.fp, vm);
        cpu.set_reg(rt, low);
        cpu.set_reg(rt2, high);
    } else {
        let words = [cpu.reg(rt), cpu.reg(rt2)];
        transfer::to_double(&mut cpu.s.fp, vm, words);
    }
    Flow::Next
}

fn vmov_to_lane(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => VmovToLane { size, lane, vd, rt });
    require!(cpu, Vfp);
    let value = cpu.reg(rt);
    transfer::to_lane(&mut cpu.s.fp, vd, size, lane, value);
    Flow::Next
}

fn vmov_from_lane(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => VmovFromLane { size, lane, unsigned, rt, vn });
    require!(cpu, Vfp);
    let value = transfer::from_lane(&cpu.s.fp, vn, size, lane, unsigned);
    cpu.set_reg(rt, value);
    Flow::Next
}

fn vdup_core(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => VdupCore { size, q, vd, rt });
    require!(cpu, Simd);
    let value = cpu.reg(rt);
    transfer::duplicate(&mut cpu.s.fp, q, vd, size, value);
    Flow::Next
}

fn vfp_memory(cpu: &mut Cpu, op: &Op) -> Flow {
    require!(cpu, Vfp);
    access_memory(cpu, op).unwrap_or_else(|flow| flow)
}

fn neon_memory(cpu: &mut Cpu, op: &Op) -> Flow {
    require!(cpu, Simd);
    access_memory(cpu, op).unwrap_or_else(|flow| flow)
}

/// Executes a load or store, element by element. An abort in the middle leaves the base register as
/// it was; which of the registers to load have changed by then is UNKNOWN in the architecture.
fn access_memory(cpu: &mut Cpu, op: &Op) -> Result<Flow, Flow> {
    let Some(access) = memory::access(&op.insn) else {
        return Err(cpu.undefined());
    };
    let base = cpu.base(op, access.base);
    let start = base.wrapping_add_signed(access.start);
    let kind = if access.is_load {
        Access::Read
    } else {
        Access::Write
    };
    // The alignment that the instruction names is always checked, an element's own only with
    // SCTLR.A.
    cpu.check_alignment(start, access.align.into(), true, kind)?;
    cpu.check_alignment(start, access.element.into(), false, kind)?;
    let mut flow = Flow::Next;
    for element in access.transfers(cpu.s.psr.big_endian) {
        let (at, size) = (
            start.wrapping_add(element.offset.into()),
            u32::from(element.size),
        );
        let f = if access.is_load {
            let (value, f) = cpu.load_element(at, size, op)?;
            element.load(&mut cpu.s.fp, value);
            f
        } else {
            let value = element.store(&cpu.s.fp);
            cpu.store_element(at, size, value, op)?
        };
        flow = merge(flow, f);
    }
    // Last: an abort leaves the base as it was.
    match access.writeback {
        Writeback::None => {}
        Writeback::Bytes(step) => cpu.set_reg(access.base, base.wrapping_add_signed(step)),
        Writeback::Register(rm) => cpu.set_reg(access.base, base.wrapping_add(cpu.reg(rm))),
    }
    Ok(flow)
}

impl Cpu {
    /// Loads an element of 1, 2, 4 or 8 bytes in the current endianness.
    pub(super) fn load_element(
        &mut self,
        at: u32,
        size: u32,
        op: &Op,
    ) -> Result<(u64, Flow), Flow> {
        let (value, flow) = match size {
            1 => self.load::<1>(at, op).map(|(v, f)| (v.into(), f))?,
            2 => self.load::<2>(at, op).map(|(v, f)| (v.into(), f))?,
            4 => self.load::<4>(at, op).map(|(v, f)| (v.into(), f))?,
            _ if at.is_multiple_of(4) => {
                let (low, a) = self.load::<4>(at, op)?;
                let (high, b) = self.load::<4>(at.wrapping_add(4), op)?;
                (u64::from(high) << 32 | u64::from(low), merge(a, b))
            }
            _ => self.load_general(at, 8, self.s.psr.mode.privileged(), false, op.idx)?,
        };
        Ok((self.in_memory_order(value, size), flow))
    }

    /// Stores an element of 1, 2, 4 or 8 bytes in the current endianness.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low bytes, or the first of two words, are what is stored"
    )]
    pub(super) fn store_element(
        &mut self,
        at: u32,
        size: u32,
        value: u64,
        op: &Op,
    ) -> Result<Flow, Flow> {
        let value = self.in_memory_order(value, size);
        match size {
            1 => self.store::<1>(at, value as u32, op),
            2 => self.store::<2>(at, value as u32, op),
            4 => self.store::<4>(at, value as u32, op),
            _ if at.is_multiple_of(4) => {
                let first = self.store::<4>(at, value as u32, op)?;
                Ok(merge(
                    first,
                    self.store::<4>(at.wrapping_add(4), (value >> 32) as u32, op)?,
                ))
            }
            _ => self.store_general(at, 8, value, self.s.psr.mode.privileged(), false, op.idx),
        }
    }
}
