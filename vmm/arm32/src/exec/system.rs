//! Status registers, mode changes, exceptions, hints, barriers and coprocessors 14 and 15.

use arm32_isa::{HintOp, Insn};

use crate::cp15::{self, CpReg, CpReg64};
use crate::cpu::{CoreExit, Cpu, Flow};
use crate::exception::Exception;
use crate::exec::{Handler, Op, dp, exclusive, fields, multiple};
use crate::mmu::Fault;
use crate::state::{Flags, Mode, bank};
use crate::wires::Conduit;

/// What MRS shows of CPSR: not T, J and IT.
pub(crate) const CPSR_READABLE: u32 = 0xf80f_03df;
/// What MSR writes of CPSR in a privileged mode.
const CPSR_WRITABLE: u32 = 0xf80f_03df;
/// What MSR writes of CPSR in User mode: N, Z, C, V, Q, GE and E.
const APSR_WRITABLE: u32 = 0xf80f_0200;
/// The bits that exist in SPSR: all of CPSR.
const SPSR_BITS: u32 = 0xff0f_ffff;

/// Returns the handler of a system instruction, and whether the block ends with it.
pub const fn handler(insn: &Insn) -> (Handler, bool) {
    match insn {
        Insn::Mrs { .. } => (mrs, false),
        Insn::MsrImm { .. } | Insn::MsrReg { .. } => (msr, true),
        Insn::MrsBanked { .. } => (mrs_banked, false),
        Insn::MsrBanked { .. } => (msr_banked, true),
        Insn::Cps { .. } => (cps, true),
        Insn::Setend { .. } => (setend, true),
        Insn::Svc { .. } => (svc, true),
        Insn::Hvc { .. } => (hvc, true),
        Insn::Smc { .. } => (smc, true),
        Insn::Bkpt { .. } => (bkpt, true),
        Insn::Eret => (eret, true),
        Insn::Rfe { .. } => (multiple::rfe, true),
        Insn::Srs { .. } => (multiple::srs, false),
        Insn::Hint {
            op: HintOp::Yield | HintOp::Wfe | HintOp::Wfi | HintOp::Sev,
            ..
        } => (hint, true),
        Insn::Hint { .. } | Insn::It { .. } => (nop, false),
        Insn::PreloadImm { .. } | Insn::PreloadReg { .. } => (nop, false),
        // ISB as well: whatever changes how the next instruction executes has taken effect, or ends
        // its block.
        Insn::Barrier { .. } => (nop, false),
        Insn::Clrex => (exclusive::clrex, false),
        Insn::Mcr { .. } => (mcr, true),
        Insn::Mrc { .. } => (mrc, false),
        Insn::Mcrr { .. } => (mcrr, true),
        Insn::Mrrc { .. } => (mrrc, false),
        _ => (undefined, true),
    }
}

/// Raises the Undefined Instruction exception, for what is not defined, or not on this core.
pub fn undefined(cpu: &mut Cpu, _op: &Op) -> Flow {
    cpu.undefined()
}

fn nop(_cpu: &mut Cpu, _op: &Op) -> Flow {
    Flow::Next
}

/// Executes a data-processing instruction with S set and R15 as its destination: an exception
/// return.
pub fn alu_exception_return(cpu: &mut Cpu, op: &Op) -> Flow {
    if bank(cpu.s.psr.mode) == 0 {
        return cpu.undefined();
    }
    let compute = match op.insn {
        Insn::DpImm { op: kind, .. } => dp::handler(kind, dp::form::IMM, false),
        Insn::DpReg {
            op: kind,
            shift,
            amount,
            ..
        } => dp::handler(kind, dp::immediate_form(shift, amount), false),
        Insn::DpRsr {
            op: kind, shift, ..
        } => dp::handler(kind, dp::register_form(shift), false),
        _ => return cpu.undefined(),
    };
    cpu.s.r[15] = op.pc_read();
    // R15 may be among the operands too; what is computed goes there.
    compute(cpu, op);
    let (target, spsr) = (cpu.s.r[15], cpu.s.spsr());
    cpu.exception_return(op, target, spsr)
}

fn eret(cpu: &mut Cpu, op: &Op) -> Flow {
    if bank(cpu.s.psr.mode) == 0 {
        return cpu.undefined();
    }
    let (target, spsr) = (cpu.reg(14), cpu.s.spsr());
    cpu.exception_return(op, target, spsr)
}

fn mrs(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mrs { rd, spsr });
    if spsr && bank(cpu.s.psr.mode) == 0 {
        return cpu.undefined();
    }
    let value = if spsr {
        cpu.s.spsr()
    } else {
        cpu.s.cpsr() & CPSR_READABLE
    };
    cpu.set_reg(rd, value);
    Flow::Next
}

fn msr(cpu: &mut Cpu, op: &Op) -> Flow {
    let (spsr, mask, value) = match op.insn {
        Insn::MsrImm { spsr, mask, imm } => (spsr, mask, imm),
        Insn::MsrReg { spsr, mask, rn } => (spsr, mask, cpu.reg(rn)),
        _ => return cpu.undefined(),
    };
    // Each bit of the mask stands for a byte of the register.
    let bytes = (0..4)
        .filter(|i| mask >> i & 1 != 0)
        .fold(0, |m, i| m | 0xffu32 << (8 * i));
    if spsr {
        if bank(cpu.s.psr.mode) == 0 {
            return cpu.undefined();
        }
        let written = bytes & SPSR_BITS;
        let value = (cpu.s.spsr() & !written) | (value & written);
        cpu.s.set_spsr(value);
        return Flow::Next;
    }
    let privileged = cpu.s.psr.mode.privileged();
    let written = bytes
        & if privileged {
            CPSR_WRITABLE
        } else {
            APSR_WRITABLE
        };
    let value = (cpu.s.cpsr() & !written) | (value & written);
    let before = (cpu.s.psr.mode, cpu.s.psr.big_endian);
    let mode = Mode::from_bits(value).unwrap_or(cpu.s.psr.mode);
    if mode.privileged() != privileged {
        // This instruction itself counts at the old level.
        cpu.leave_privilege_level(cpu.s.retired + u64::from(op.idx) + 1);
    }
    let flags = cpu.s.flags;
    cpu.s.set_cpsr(value);
    if mask & 8 == 0 {
        // The same, in the form in which they were.
        cpu.s.flags = flags;
    }
    cpu.select_tlb();
    if before == (cpu.s.psr.mode, cpu.s.psr.big_endian) {
        after_masks(cpu)
    } else {
        Flow::End
    }
}

/// Returns how to go on after interrupts may have been unmasked: kernels do that too often to look
/// at the next instruction anew each time.
fn after_masks(cpu: &Cpu) -> Flow {
    if cpu.pins.any() {
        Flow::End
    } else {
        Flow::Next
    }
}

/// What a banked register number names (DDI 0406C B9.2.3); hypervisor and monitor registers do not
/// exist here.
enum BankedReg {
    General(u8, Mode),
    Spsr(Mode),
}

fn banked_register(spsr: bool, sysm: u8) -> Option<BankedReg> {
    let pair_mode = |n: u8| {
        [Mode::Irq, Mode::Svc, Mode::Abt, Mode::Und]
            .get(usize::from(n >> 1))
            .copied()
    };
    match (spsr, sysm) {
        (false, 0..=6) => Some(BankedReg::General(8 + sysm, Mode::Usr)),
        (false, 8..=14) => Some(BankedReg::General(sysm, Mode::Fiq)),
        (false, 16..=23) => pair_mode(sysm - 16).map(|m| BankedReg::General(14 - (sysm & 1), m)),
        (true, 14) => Some(BankedReg::Spsr(Mode::Fiq)),
        (true, 16 | 18 | 20 | 22) => pair_mode(sysm - 16).map(BankedReg::Spsr),
        _ => None,
    }
}

fn mrs_banked(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => MrsBanked { rd, spsr, sysm });
    let Some(reg) = banked_register(spsr, sysm).filter(|_| cpu.s.psr.mode.privileged()) else {
        return cpu.undefined();
    };
    let value = match reg {
        BankedReg::General(n, mode) => cpu.s.reg_of_mode(n, mode),
        BankedReg::Spsr(mode) => cpu.s.banked.spsr[bank(mode)],
    };
    cpu.set_reg(rd, value);
    Flow::Next
}

fn msr_banked(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => MsrBanked { rn, spsr, sysm });
    let Some(reg) = banked_register(spsr, sysm).filter(|_| cpu.s.psr.mode.privileged()) else {
        return cpu.undefined();
    };
    let value = cpu.reg(rn);
    match reg {
        BankedReg::General(n, mode) => cpu.s.set_reg_of_mode(n, mode, value),
        BankedReg::Spsr(mode) => cpu.s.banked.spsr[bank(mode)] = value,
    }
    Flow::Next
}

fn cps(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Cps { enable, flags, change_mode, mode });
    if !cpu.s.psr.mode.privileged() {
        // CPS does nothing in User mode.
        return Flow::Next;
    }
    if flags & 4 != 0 {
        cpu.s.psr.abort_masked = !enable;
    }
    if flags & 2 != 0 {
        cpu.s.psr.irq_masked = !enable;
    }
    if flags & 1 != 0 {
        cpu.s.psr.fiq_masked = !enable;
    }
    if change_mode && let Some(mode) = Mode::from_bits(mode.into()) {
        cpu.leave_privilege_level(cpu.s.retired + u64::from(op.idx) + 1);
        cpu.s.switch_mode(mode);
        cpu.select_tlb();
        return Flow::End;
    }
    after_masks(cpu)
}

fn setend(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Setend { big });
    cpu.s.psr.big_endian = big;
    Flow::End
}

fn svc(cpu: &mut Cpu, _op: &Op) -> Flow {
    cpu.raise(Exception::Svc)
}

fn hvc(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Hvc { imm });
    if !cpu.s.psr.mode.privileged() {
        return cpu.undefined();
    }
    cpu.call_firmware(Conduit::Hvc(imm))
}

fn smc(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smc { imm });
    if !cpu.s.psr.mode.privileged() {
        return cpu.undefined();
    }
    cpu.call_firmware(Conduit::Smc(imm))
}

fn bkpt(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.raise(Exception::PrefetchAbort(Fault::breakpoint(op.pc)))
}

fn hint(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Hint { op: kind, .. });
    match kind {
        // One core alone has nobody to yield to.
        HintOp::Yield if cpu.is_alone() => after_masks(cpu),
        HintOp::Yield => cpu.leave(CoreExit::Yield),
        // A kernel signals an event whenever it gives up a lock: one core alone has nobody to wake,
        // and keeps the event for its next WFE.
        HintOp::Sev if cpu.is_alone() => {
            cpu.s.event = true;
            after_masks(cpu)
        }
        HintOp::Sev => cpu.leave(CoreExit::SendEvent),
        HintOp::Wfi => cpu.leave(CoreExit::WaitInterrupt),
        // An event that is there is used up, and nothing is waited for.
        HintOp::Wfe if std::mem::take(&mut cpu.s.event) => cpu.leave(CoreExit::Yield),
        HintOp::Wfe => cpu.leave(CoreExit::WaitEvent),
        HintOp::Nop | HintOp::Dbg => Flow::Next,
    }
}

/// Coprocessors whose registers this core has, besides 10 and 11.
const fn has_coprocessor(cp: u8) -> bool {
    matches!(cp, 14 | 15)
}

/// Returns the register that MCR and MRC name, unless its coprocessor is missing.
fn register(coproc: u8, opc1: u8, crn: u8, crm: u8, opc2: u8) -> Option<CpReg> {
    has_coprocessor(coproc).then_some(CpReg {
        coproc,
        opc1,
        crn,
        crm,
        opc2,
    })
}

/// Returns the register that MCRR and MRRC name, unless its coprocessor is missing.
fn register64(coproc: u8, opc1: u8, crm: u8) -> Option<CpReg64> {
    has_coprocessor(coproc).then_some(CpReg64 { coproc, opc1, crm })
}

fn mcr(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mcr { cp, opc1, rt, crn, crm, opc2 });
    let Some(reg) = register(cp, opc1, crn, crm, opc2) else {
        return cpu.undefined();
    };
    let value = if rt == 15 { op.pc_read() } else { cpu.reg(rt) };
    match cpu.with_env(op.idx, |s, env| cp15::write(s, env, reg, value)) {
        Ok(effects) => cpu.apply(op.pc, effects),
        Err(cp15::Undefined) => cpu.undefined(),
    }
}

fn mrc(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mrc { cp, opc1, rt, crn, crm, opc2 });
    let Some(reg) = register(cp, opc1, crn, crm, opc2) else {
        return cpu.undefined();
    };
    match cpu.with_env(op.idx, |s, env| cp15::read(s, env, reg)) {
        Ok(value) if rt == 15 => cpu.s.flags = Flags::from_bits(value),
        Ok(value) => cpu.set_reg(rt, value),
        Err(cp15::Undefined) => return cpu.undefined(),
    }
    Flow::Next
}

fn mcrr(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mcrr { cp, opc1, rt, rt2, crm });
    let Some(reg) = register64(cp, opc1, crm) else {
        return cpu.undefined();
    };
    let value = u64::from(cpu.reg(rt2)) << 32 | u64::from(cpu.reg(rt));
    match cpu.with_env(op.idx, |s, env| cp15::write64(s, env, reg, value)) {
        Ok(effects) => cpu.apply(op.pc, effects),
        Err(cp15::Undefined) => cpu.undefined(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low one of two words")]
fn mrrc(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mrrc { cp, opc1, rt, rt2, crm });
    let Some(reg) = register64(cp, opc1, crm) else {
        return cpu.undefined();
    };
    match cpu.with_env(op.idx, |s, env| cp15::read64(s, env, reg)) {
        Ok(value) => {
            cpu.set_reg(rt, value as u32);
            cpu.set_reg(rt2, (value >> 32) as u32);
            Flow::Next
        }
        Err(cp15::Undefined) => cpu.undefined(),
    }
}
