//! Reads and writes of coprocessor registers.

use super::table::{self, Kind, Operation, Register, Special, TimerReg, TlbScope, Who};
use super::{CpReg, CpReg64, Effects, Env, TlbFlush, Undefined, address, id, sctlr, ttbcr};
use crate::state::CpuState;
use crate::timer::FREQUENCY_HZ;
use crate::{debug, pmu};

/// CNTKCTL.PL0PCTEN: PL0 reads the physical counter.
const PL0PCTEN: u32 = 1;
/// CNTKCTL.PL0VCTEN: PL0 reads the virtual counter.
const PL0VCTEN: u32 = 1 << 1;
/// CNTKCTL.PL0VTEN: PL0 uses the virtual timer.
const PL0VTEN: u32 = 1 << 8;
/// CNTKCTL.PL0PTEN: PL0 uses the physical timer.
const PL0PTEN: u32 = 1 << 9;
/// Bits of CNTKCTL that exist.
const CNTKCTL_WRITABLE: u32 = 0x3ff;

/// CPACR: ASEDIS, D32DIS and the fields of coprocessors 11 and 10; the others do not exist.
const CPACR_WRITABLE: u32 = 0xc0f0_0000;
/// ASID and 40 address bits.
const TTBR_WRITABLE: u64 = 0x00ff_00ff_ffff_ffff;

/// Reads a 32-bit register (MRC).
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn read(state: &mut CpuState, env: &Env<'_>, reg: CpReg) -> Result<u32, Undefined> {
    if reg.coproc == 14 && reg.opc1 == 0 {
        return debug::read(state, reg);
    }
    let register = find(state, reg, |r| r.read)?;
    Ok(match register.kind {
        Kind::Constant(value) => value,
        Kind::Plain { slot, .. } => *slot(&mut state.cp15),
        Kind::Special(which) => read_special(state, env, which),
        Kind::Timer(which) => read_timer(state, env, which),
        Kind::Pmu(which) => {
            let privileged = state.psr.mode.privileged();
            pmu::read(&mut state.pmu, env.cycles, privileged, which)
        }
        Kind::Operation(_) => return Err(Undefined),
    })
}

/// Writes a 32-bit register (MCR).
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn write(
    state: &mut CpuState,
    env: &Env<'_>,
    reg: CpReg,
    value: u32,
) -> Result<Effects, Undefined> {
    if reg.coproc == 14 && reg.opc1 == 0 {
        return debug::write(state, reg, value).map(|()| Effects {
            debug: true,
            ..Effects::default()
        });
    }
    let register = find(state, reg, |r| r.write)?;
    let before = Context::of(state);
    match register.kind {
        Kind::Constant(_) => {}
        Kind::Plain { slot, writable } => {
            let slot = slot(&mut state.cp15);
            *slot = *slot & !writable | value & writable;
        }
        Kind::Special(which) => write_special(state, which, value),
        Kind::Timer(which) => return Ok(write_timer(state, env, which, value)),
        Kind::Pmu(which) => {
            let privileged = state.psr.mode.privileged();
            pmu::write(&mut state.pmu, env.cycles, privileged, which, value);
            return Ok(Effects {
                pmu: true,
                ..Effects::default()
            });
        }
        Kind::Operation(operation) => return Ok(operate(state, env, operation, value)),
    }
    Ok(before.effects_of(&Context::of(state)))
}

/// Returns the register, if it exists and the current privilege level may perform the access.
fn find(
    state: &CpuState,
    reg: CpReg,
    who: fn(&Register) -> Who,
) -> Result<&'static Register, Undefined> {
    let register = table::find(reg).ok_or(Undefined)?;
    if permits(state, who(register)) {
        Ok(register)
    } else {
        Err(Undefined)
    }
}

fn permits(state: &CpuState, who: Who) -> bool {
    let kernel = state.psr.mode.privileged();
    let gate = |bits| kernel || state.timer.kernel_control & bits != 0;
    match who {
        Who::Nobody => false,
        Who::Kernel => kernel,
        Who::Everyone => true,
        Who::Counters => gate(PL0PCTEN | PL0VCTEN),
        Who::PhysTimer => gate(PL0PTEN),
        Who::VirtTimer => gate(PL0VTEN),
        Who::Monitors => kernel || state.pmu.user_enable,
        Who::Barriers => state.cp15.sctlr & sctlr::CP15BEN != 0,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a 32-bit access reads the low word"
)]
fn read_special(state: &CpuState, env: &Env<'_>, which: Special) -> u32 {
    let cp15 = &state.cp15;
    match which {
        Special::Mpidr => id::mpidr(cp15.cpu_index),
        Special::Ccsidr => id::ccsidr(cp15.csselr),
        Special::Cpacr => cp15.cpacr,
        Special::Ttbr0 => cp15.ttbr0 as u32,
        Special::Ttbr1 => cp15.ttbr1 as u32,
        Special::Ttbcr => cp15.ttbcr,
        Special::Par => cp15.par as u32,
        Special::Isr => u32::from(env.irq) << 7 | u32::from(env.fiq) << 6,
        Special::L2ctlr => u32::from(env.cpu_count.clamp(1, 4) - 1) << 24,
    }
}

fn write_special(state: &mut CpuState, which: Special, value: u32) {
    let cp15 = &mut state.cp15;
    // A 32-bit write leaves the upper half of a 64-bit register as it is.
    let low = |old: u64| old & !0xffff_ffff | u64::from(value);
    match which {
        Special::Cpacr => {
            // The fields of coprocessors 10 and 11 are one: 11's write is ignored (B4.1.40 makes
            // differing values UNPREDICTABLE).
            let fp = value >> 20 & 3;
            cp15.cpacr = value & CPACR_WRITABLE & !(3 << 22) | fp << 22;
        }
        Special::Ttbr0 => cp15.ttbr0 = low(cp15.ttbr0),
        Special::Ttbr1 => cp15.ttbr1 = low(cp15.ttbr1),
        Special::Ttbcr => {
            // The value that is written decides itself which bits exist.
            let long = value & ttbcr::EAE != 0;
            cp15.ttbcr = value & if long { ttbcr::LONG } else { ttbcr::SHORT };
        }
        Special::Par => cp15.par = low(cp15.par),
        // Read-only, or with nothing to configure.
        Special::Mpidr | Special::Ccsidr | Special::Isr | Special::L2ctlr => {}
    }
}

fn read_timer(state: &CpuState, env: &Env<'_>, which: TimerReg) -> u32 {
    let t = &state.timer;
    match which {
        TimerReg::Frequency => FREQUENCY_HZ,
        TimerReg::KernelControl => t.kernel_control,
        TimerReg::PhysValue => t.phys.value(env.count),
        TimerReg::PhysControl => t.phys.control(env.count),
        TimerReg::VirtValue => t.virt.value(env.count),
        TimerReg::VirtControl => t.virt.control(env.count),
    }
}

fn write_timer(state: &mut CpuState, env: &Env<'_>, which: TimerReg, value: u32) -> Effects {
    let t = &mut state.timer;
    match which {
        TimerReg::Frequency => {}
        TimerReg::KernelControl => t.kernel_control = value & CNTKCTL_WRITABLE,
        TimerReg::PhysValue => t.phys.set_value(env.count, value),
        TimerReg::PhysControl => t.phys.set_control(value),
        TimerReg::VirtValue => t.virt.set_value(env.count, value),
        TimerReg::VirtControl => t.virt.set_control(value),
    }
    TIMER_CHANGED
}

const TIMER_CHANGED: Effects = Effects {
    timer: true,
    ..Effects::NONE
};

fn operate(state: &mut CpuState, env: &Env<'_>, operation: Operation, value: u32) -> Effects {
    let mut effects = Effects::default();
    match operation {
        Operation::Nothing => {}
        Operation::Isb => effects.sync = true,
        Operation::Fetch => effects.fetch = true,
        Operation::Tlb { scope, shared } => {
            effects.tlb = match scope {
                TlbScope::All => TlbFlush::All,
                TlbScope::Va => TlbFlush::Va(value & 0xffff_f000),
                TlbScope::Asid => TlbFlush::NonGlobal,
            };
            effects.broadcast = shared.then_some(effects.tlb);
        }
        Operation::Translate { write, privileged } => {
            state.cp15.par = address::translate(state, env, value, write, privileged);
        }
    }
    effects
}

/// Reads a 64-bit register (MRRC).
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn read64(state: &mut CpuState, env: &Env<'_>, reg: CpReg64) -> Result<u64, Undefined> {
    let kernel = state.psr.mode.privileged();
    let open = |bit| kernel || state.timer.kernel_control & bit != 0;
    let (allowed, value) = match (reg.coproc, reg.opc1, reg.crm) {
        (15, 0, 2) => (kernel, state.cp15.ttbr0),
        (15, 1, 2) => (kernel, state.cp15.ttbr1),
        (15, 0, 7) => (kernel, state.cp15.par),
        (15, 0, 14) => (open(PL0PCTEN), env.count),
        // The virtual offset is 0.
        (15, 1, 14) => (open(PL0VCTEN), env.count),
        (15, 2, 14) => (open(PL0PTEN), state.timer.phys.compare),
        (15, 3, 14) => (open(PL0VTEN), state.timer.virt.compare),
        // CPUMERRSR and L2MERRSR of the A15: no memory error happened.
        (15, 0 | 1, 15) => (kernel, 0),
        // DBGDRAR and DBGDSAR: no memory-mapped debug registers.
        (14, 0, 1 | 2) => (debug::open_to_user(state), 0),
        _ => return Err(Undefined),
    };
    if allowed { Ok(value) } else { Err(Undefined) }
}

/// Writes a 64-bit register (MCRR).
///
/// # Errors
/// [`Undefined`] when the access is UNDEFINED at the current privilege level.
pub fn write64(
    state: &mut CpuState,
    _env: &Env<'_>,
    reg: CpReg64,
    value: u64,
) -> Result<Effects, Undefined> {
    let who = match (reg.coproc, reg.opc1, reg.crm) {
        (15, 0 | 1, 2) | (15, 0, 7) | (15, 0 | 1, 15) => Who::Kernel,
        (15, 2, 14) => Who::PhysTimer,
        (15, 3, 14) => Who::VirtTimer,
        _ => Who::Nobody,
    };
    if !permits(state, who) {
        return Err(Undefined);
    }
    let before = Context::of(state);
    match (reg.opc1, reg.crm) {
        (0, 2) => state.cp15.ttbr0 = value & TTBR_WRITABLE,
        (1, 2) => state.cp15.ttbr1 = value & TTBR_WRITABLE,
        (0, 7) => state.cp15.par = value,
        (2, 14) => {
            state.timer.phys.compare = value;
            return Ok(TIMER_CHANGED);
        }
        (3, 14) => {
            state.timer.virt.compare = value;
            return Ok(TIMER_CHANGED);
        }
        _ => {}
    }
    Ok(before.effects_of(&Context::of(state)))
}

/// SCTLR bits that decide how descriptors are read or what a fetch with the MMU off is.
const SCTLR_REGIME: u32 = sctlr::M | sctlr::AFE | sctlr::TRE | sctlr::WXN | sctlr::UWXN | sctlr::EE;
/// SCTLR bits that change what instructions do.
const SCTLR_EXECUTION: u32 = sctlr::A | sctlr::SW | sctlr::CP15BEN;
/// TTBCR bits that only switch walks or the ASID.
const TTBCR_WALKS: u32 = ttbcr::A1 | ttbcr::EPD0 | ttbcr::EPD1;

/// The registers that a write may change with consequences for the core loop.
struct Context {
    asid: u8,
    ttbr: [u64; 2],
    ttbcr: u32,
    dacr: u32,
    sctlr: u32,
    cpacr: u32,
    attributes: [u32; 2],
}

impl Context {
    fn of(state: &CpuState) -> Self {
        let c = &state.cp15;
        Self {
            asid: c.asid(),
            ttbr: [c.ttbr0, c.ttbr1],
            ttbcr: c.ttbcr,
            dacr: c.dacr,
            sctlr: c.sctlr,
            cpacr: c.cpacr,
            attributes: [c.prrr_mair0, c.nmrr_mair1],
        }
    }

    /// Returns the effects of going from `self` to `new`.
    fn effects_of(&self, new: &Self) -> Effects {
        let sctlr = self.sctlr ^ new.sctlr;
        let ttbcr = self.ttbcr ^ new.ttbcr;
        // With short descriptors, bits 7, 22 and 23 do not exist and do not change.
        Effects {
            asid: self.asid != new.asid,
            tables: self.ttbr != new.ttbr || ttbcr & TTBCR_WALKS != 0,
            dacr: self.dacr != new.dacr,
            regime: sctlr & SCTLR_REGIME != 0
                || ttbcr & !TTBCR_WALKS != 0
                || self.attributes != new.attributes,
            execution: sctlr & SCTLR_EXECUTION != 0 || self.cpacr != new.cpacr,
            ..Effects::default()
        }
    }
}
