//! VFP and Advanced SIMD: what touches core registers, memory or the enables. The rest is `arm32-fpu`'s.

use arm32_fpu::FpRegs;
use arm32_isa::{FpMultiple, Insn};

use crate::cpu::{Cpu, Flow};
use crate::exec::ldst::{merge, moved_by};
use crate::exec::{Handler, Op, fields};
use crate::mmu::Access;
use crate::state::Flags;

/// FPEXC.EN.
const EN: u32 = 1 << 30;
/// CPACR.ASEDIS: Advanced SIMD is disabled.
const ASEDIS: u32 = 1 << 31;
/// FPSID of the Cortex-A15 (TRM 14.4.1).
const FPSID: u32 = 0x4104_30f0;
/// MVFR0: VFPv4 with 32 double registers (TRM 14.4.3).
const MVFR0: u32 = 0x1011_0222;
/// MVFR1: Advanced SIMD with half precision and fused multiply-add (TRM 14.4.4).
const MVFR1: u32 = 0x1111_1111;

/// The handler of `insn`, if it is one of this module's.
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
        Insn::Vldr { .. } => vldr,
        Insn::Vldm { .. } => vldm,
        Insn::NeonMulti { .. } => neon_multi,
        Insn::NeonLane { .. } => neon_lane,
        Insn::NeonAll { .. } => neon_all,
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
    /// Access to coprocessors 10 and 11 only (system registers that can be read while VFP is disabled).
    Access,
    /// VFP.
    Vfp,
    /// Advanced SIMD.
    Simd,
}

impl Cpu {
    /// Whether `need` is met (CPACR and FPEXC); otherwise the instruction is undefined.
    #[inline]
    fn fp_enabled(&self, need: Need) -> bool {
        let cpacr = self.s.cp15.cpacr;
        let access = if self.s.psr.mode.privileged() { 0b0101 } else { 0b1111 };
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

/// An instruction that stays within the register bank.
#[inline]
fn data(cpu: &mut Cpu, op: &Op) -> Flow {
    if arm32_fpu::exec::execute(&mut cpu.s.fp, &op.insn) { Flow::Next } else { cpu.undefined() }
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
    fields!(cpu, op, Vmrs { reg, rt });
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
    fields!(cpu, op, Vmsr { reg, rt });
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
    fields!(cpu, op, VmovCore { to_core, rt, vn });
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
    fields!(cpu, op, VmovCore2 { to_core, rt, rt2, vm });
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
    fields!(cpu, op, VmovCoreD { to_core, rt, rt2, vm });
    require!(cpu, Vfp);
    if to_core {
        let value = cpu.s.fp.d(vm);
        cpu.set_reg(rt, value as u32);
        cpu.set_reg(rt2, (value >> 32) as u32);
    } else {
        let value = u64::from(cpu.reg(rt2)) << 32 | u64::from(cpu.reg(rt));
        cpu.s.fp.set_d(vm, value);
    }
    Flow::Next
}

/// Bits of a lane of `size` (0 to 3 for 8 to 64 bits), and their mask.
const fn lane_bits(size: u8) -> (u32, u64) {
    let bits = 8 << (size & 3);
    (bits, u64::MAX >> (64 - bits))
}

fn lane(fp: &FpRegs, reg: u8, size: u8, lane: u8) -> u64 {
    let (bits, mask) = lane_bits(size);
    (fp.d(reg & 31) >> ((bits * u32::from(lane)) & 63)) & mask
}

fn set_lane(fp: &mut FpRegs, reg: u8, size: u8, lane: u8, value: u64) {
    let (bits, mask) = lane_bits(size);
    let shift = (bits * u32::from(lane)) & 63;
    let rest = fp.d(reg & 31) & !(mask << shift);
    fp.set_d(reg & 31, rest | (value & mask) << shift);
}

/// `value` in every lane of a doubleword.
fn replicate(size: u8, value: u64) -> u64 {
    let (bits, mask) = lane_bits(size);
    (0..64 / bits).fold(0, |all, i| all | (value & mask) << (bits * i))
}

fn vmov_to_lane(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, VmovToLane { size, lane, vd, rt });
    require!(cpu, Vfp);
    let value = cpu.reg(rt);
    set_lane(&mut cpu.s.fp, vd, size, lane, value.into());
    Flow::Next
}

fn vmov_from_lane(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, VmovFromLane { size, lane: index, unsigned, rt, vn });
    require!(cpu, Vfp);
    let value = lane(&cpu.s.fp, vn, size, index) as u32;
    let value = match (size, unsigned) {
        (0, false) => value as i8 as u32,
        (1, false) => value as i16 as u32,
        _ => value,
    };
    cpu.set_reg(rt, value);
    Flow::Next
}

fn vdup_core(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, VdupCore { size, q, vd, rt });
    require!(cpu, Simd);
    let value = replicate(size, cpu.reg(rt).into());
    cpu.s.fp.set_d(vd, value);
    if q {
        cpu.s.fp.set_d((vd + 1) & 31, value);
    }
    Flow::Next
}

impl Cpu {
    /// A word, or two in the order of the current endianness, from a word-aligned address.
    fn load_fp(&mut self, at: u32, double: bool, op: &Op) -> Result<(u64, Flow), Flow> {
        let (first, a) = self.load_aligned_word(at, op)?;
        if !double {
            return Ok((first.into(), a));
        }
        let (second, b) = self.load_aligned_word(at.wrapping_add(4), op)?;
        let (low, high) = if self.s.psr.big_endian { (second, first) } else { (first, second) };
        Ok((u64::from(high) << 32 | u64::from(low), merge(a, b)))
    }

    /// The reverse of [`Cpu::load_fp`].
    fn store_fp(&mut self, at: u32, double: bool, value: u64, op: &Op) -> Result<Flow, Flow> {
        if !double {
            return self.store_aligned_word(at, value as u32, op);
        }
        let (low, high) = (value as u32, (value >> 32) as u32);
        let (first, second) = if self.s.psr.big_endian { (high, low) } else { (low, high) };
        let a = self.store_aligned_word(at, first, op)?;
        let b = self.store_aligned_word(at.wrapping_add(4), second, op)?;
        Ok(merge(a, b))
    }

    /// Loads or stores one single or double register.
    fn transfer_fp(&mut self, load: bool, double: bool, reg: u8, at: u32, op: &Op) -> Result<Flow, Flow> {
        if !load {
            let value = if double { self.s.fp.d(reg & 31) } else { self.s.fp.s(reg & 31).into() };
            return self.store_fp(at, double, value, op);
        }
        let (value, flow) = self.load_fp(at, double, op)?;
        if double {
            self.s.fp.set_d(reg & 31, value);
        } else {
            self.s.fp.set_s(reg & 31, value as u32);
        }
        Ok(flow)
    }
}

fn vldr(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, Vldr { load, double, add, rn, vd, imm });
    require!(cpu, Vfp);
    let base = if rn == 15 { op.pc_read() & !3 } else { cpu.reg(rn) };
    let at = moved_by(base, imm.into(), add);
    cpu.transfer_fp(load, double, vd, at, op).unwrap_or_else(|flow| flow)
}

fn vldm(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, Vldm { load, double, mode, rn, vd, regs, words });
    require!(cpu, Vfp);
    // Storing relative to PC is deprecated but defined in A32.
    let base = if rn == 15 { op.pc_read() & !3 } else { cpu.reg(rn) };
    let bytes = 4 * u32::from(words);
    let (start, moved) = match mode {
        FpMultiple::Ia => (base, None),
        FpMultiple::IaWriteback => (base, Some(base.wrapping_add(bytes))),
        FpMultiple::DbWriteback => (base.wrapping_sub(bytes), Some(base.wrapping_sub(bytes))),
    };
    let step = if double { 8 } else { 4 };
    let mut flow = Flow::Next;
    for i in 0..regs {
        let at = start.wrapping_add(step * u32::from(i));
        match cpu.transfer_fp(load, double, vd.wrapping_add(i), at, op) {
            Ok(f) => flow = merge(flow, f),
            Err(f) => return f,
        }
    }
    if let Some(moved) = moved {
        cpu.set_reg(rn, moved);
    }
    flow
}

impl Cpu {
    /// Checks the alignment that a NEON load or store names (`align` bytes, 1 for none).
    fn check_neon_alignment(&mut self, at: u32, align: u8, load: bool) -> Result<(), Flow> {
        let access = if load { Access::Read } else { Access::Write };
        self.check_alignment(at, u32::from(align.max(1)), true, access)
    }

    /// Loads or stores one lane.
    fn transfer_lane(&mut self, load: bool, reg: u8, size: u8, index: u8, at: u32, op: &Op) -> Result<Flow, Flow> {
        let (bytes, privileged) = (1 << (size & 3), self.s.psr.mode.privileged());
        if !load {
            let value = self.in_memory_order(lane(&self.s.fp, reg, size, index), bytes);
            return self.store_general(at, bytes, value, privileged, false, op.idx);
        }
        let (value, flow) = self.load_general(at, bytes, privileged, false, op.idx)?;
        let value = self.in_memory_order(value, bytes);
        set_lane(&mut self.s.fp, reg, size, index, value);
        Ok(flow)
    }

    /// Loads or stores whole doublewords, which lie in memory as they are in little-endian state.
    fn transfer_doublewords(&mut self, load: bool, vd: u8, regs: u8, at: u32, op: &Op) -> Result<Flow, Flow> {
        let mut flow = Flow::Next;
        for i in 0..regs {
            let at = at.wrapping_add(8 * u32::from(i));
            let f = if at & 3 == 0 {
                self.transfer_fp(load, true, vd.wrapping_add(i), at, op)?
            } else {
                self.transfer_lane(load, vd.wrapping_add(i), 3, 0, at, op)?
            };
            flow = merge(flow, f);
        }
        Ok(flow)
    }

    /// Writes the base back: by `size` for `rm` = 13, by Rm otherwise, not at all for 15.
    fn neon_writeback(&mut self, rn: u8, rm: u8, size: u32) {
        let step = match rm {
            15 => return,
            13 => size,
            _ => self.reg(rm),
        };
        let moved = self.reg(rn).wrapping_add(step);
        self.set_reg(rn, moved);
    }
}

fn neon_multi(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, NeonMulti { load, elements, regs, step, size, align, rn, vd, rm });
    require!(cpu, Simd);
    let base = cpu.reg(rn);
    let done = cpu.check_neon_alignment(base, align, load).and_then(|()| {
        if elements == 1 && !cpu.s.psr.big_endian {
            cpu.check_alignment(base, 1 << (size & 3), false, if load { Access::Read } else { Access::Write })?;
            return cpu.transfer_doublewords(load, vd, regs, base, op);
        }
        let mut flow = Flow::Next;
        let mut at = base;
        for r in 0..regs / elements.max(1) {
            for index in 0..8u8 >> (size & 3) {
                for i in 0..elements {
                    let reg = vd.wrapping_add(r).wrapping_add(i * step);
                    flow = merge(flow, cpu.transfer_lane(load, reg, size, index, at, op)?);
                    at = at.wrapping_add(1 << (size & 3));
                }
            }
        }
        Ok(flow)
    });
    finish_neon(cpu, done, rn, rm, 8 * u32::from(regs))
}

fn neon_lane(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, NeonLane { load, elements, step, size, lane: index, align, rn, vd, rm });
    require!(cpu, Simd);
    let base = cpu.reg(rn);
    let done = cpu.check_neon_alignment(base, align, load).and_then(|()| {
        let mut flow = Flow::Next;
        for i in 0..elements {
            let at = base.wrapping_add(u32::from(i) << (size & 3));
            flow = merge(flow, cpu.transfer_lane(load, vd.wrapping_add(i * step), size, index, at, op)?);
        }
        Ok(flow)
    });
    finish_neon(cpu, done, rn, rm, u32::from(elements) << (size & 3))
}

fn neon_all(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op, NeonAll { elements, regs, step, size, align, rn, vd, rm });
    require!(cpu, Simd);
    let (base, bytes) = (cpu.reg(rn), 1u32 << (size & 3));
    let privileged = cpu.s.psr.mode.privileged();
    let done = cpu.check_neon_alignment(base, align, true).and_then(|()| {
        let mut flow = Flow::Next;
        for i in 0..elements {
            let at = base.wrapping_add(bytes * u32::from(i));
            let (value, f) = cpu.load_general(at, bytes, privileged, false, op.idx)?;
            let value = replicate(size, cpu.in_memory_order(value, bytes));
            cpu.s.fp.set_d(vd.wrapping_add(i * step) & 31, value);
            if elements == 1 && regs == 2 {
                cpu.s.fp.set_d(vd.wrapping_add(1) & 31, value);
            }
            flow = merge(flow, f);
        }
        Ok(flow)
    });
    finish_neon(cpu, done, rn, rm, bytes * u32::from(elements))
}

fn finish_neon(cpu: &mut Cpu, done: Result<Flow, Flow>, rn: u8, rm: u8, bytes: u32) -> Flow {
    match done {
        Ok(flow) => {
            cpu.neon_writeback(rn, rm, bytes);
            flow
        }
        Err(flow) => flow,
    }
}
