//! Debug registers of coprocessor 14: v7.1 Debug as the Cortex-A15 has it (ARM ARM DDI 0406C chapter C11), in Monitor
//! debug-mode.
//!
//! Here the registers are read and written; `events` says which instruction or access makes a debug event. There is
//! no external debugger, so nothing ever halts: a debug event is a Prefetch Abort or a Data Abort, or nothing.

pub(crate) mod events;
mod spec;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use spec::DebugEvent;

use crate::cp15::{CpReg, Undefined};
use crate::state::CpuState;

/// Breakpoints.
const BREAKPOINTS: usize = 6;
/// Watchpoints.
const WATCHPOINTS: usize = 4;
/// Breakpoints that can match a context: the last ones.
const CONTEXT_BREAKPOINTS: usize = 2;

/// DBGDIDR: 4 watchpoints, 6 breakpoints of which 2 match contexts, v7.1 Debug, DBGDEVID, Security Extensions without
/// secure debug in User mode, r4p0. Unlike the A15 there is no DBGPCSR (PCSR_imp), which only memory-mapped accesses
/// reach.
const DIDR: u32 = 0x3515_d040;
/// DBGDEVID: the OS double lock, vector catch by address, address masks for watchpoints and not for
/// breakpoints. Unlike the A15 no VMID matching (there are no Virtualization Extensions), no
/// sampling of the program counter and no DBGEACR (there are no memory-mapped debug registers).
const DEVID: u32 = 0x0010_0f10;
/// DBGAUTHSTATUS: everything implemented and enabled for this world.
const AUTHSTATUS: u32 = 0xaf;

/// DBGDSCR bits that software may change: MDBGen, UDCCdis and MOE.
const DSCR_WRITABLE: u32 = MDBGEN | UDCCDIS | MOE;
/// DBGDSCR bits that always read as one: NS, SPNIDdis, SPIDdis and RESTARTED.
const DSCR_FIXED: u32 = 0x0007_0002;
/// Monitor debug-mode is enabled.
const MDBGEN: u32 = 1 << 15;
/// PL0 may not use the debug communication channel registers.
const UDCCDIS: u32 = 1 << 12;
/// Method of entry.
const MOE: u32 = 0xf << 2;

/// Bits of a breakpoint's control register: BT without VMID matching, LBN, SSC, BAS, PMC and E.
/// MASK and HMC do not exist.
const BCR_WRITABLE: u32 = 0x007f_c1e7;
/// Bits of a watchpoint's control register: MASK, WT, LBN, SSC, BAS, LSC, PAC and E. HMC does not exist.
const WCR_WRITABLE: u32 = 0x1f1f_dfff;
/// Vector catch bits of both worlds, without Monitor and Hyp modes.
const VCR_WRITABLE: u32 = 0xde00_00df;

/// What to write to DBGOSLAR to lock.
const OS_LOCK_KEY: u32 = 0xc5ac_ce55;

/// Debug registers of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Debug {
    /// DBGDSCR, its writable bits.
    dscr: u32,
    /// DBGWFAR.
    wfar: u32,
    /// DBGVCR.
    vcr: u32,
    /// DBGBVRn.
    breakpoint_values: [u32; BREAKPOINTS],
    /// DBGBCRn.
    breakpoint_controls: [u32; BREAKPOINTS],
    /// DBGWVRn.
    watchpoint_values: [u32; WATCHPOINTS],
    /// DBGWCRn.
    watchpoint_controls: [u32; WATCHPOINTS],
    /// The OS lock is *open* (it is locked at reset).
    os_unlocked: bool,
    /// The OS double lock.
    os_double_lock: bool,
    /// DBGPRCR.CORENPDRQ.
    no_power_down: bool,
    /// DBGCLAIM tags.
    claim: u32,
}

impl Debug {
    /// Records the debug event at the instruction at `pc`: DBGDSCR.MOE, and for a watchpoint
    /// DBGWFAR (the address of the instruction plus 8 in A32 state, plus 4 in T32 state).
    pub(crate) fn note_event(&mut self, event: DebugEvent, pc: u32, thumb: bool) {
        self.dscr = self.dscr & !MOE | event.method_of_entry() << 2;
        if event == DebugEvent::Watchpoint {
            self.wfar = pc.wrapping_add(if thumb { 4 } else { 8 });
        }
    }

    /// The OS double lock holds (DBGPRSR.DLK).
    const fn double_locked(&self) -> bool {
        self.os_double_lock && !self.no_power_down
    }

    /// Whether events other than BKPT become exceptions: Monitor debug-mode is on, and no lock holds (C3.1, C7.3).
    const fn enabled(&self) -> bool {
        self.dscr & MDBGEN != 0 && self.os_unlocked && !self.double_locked()
    }

    /// Whether a vector may be caught, so that what is looked out for depends on where vectors are.
    pub(crate) const fn catches_vectors(&self) -> bool {
        self.vcr != 0
    }

    /// Whether every register holds only bits that a write could have left there.
    pub(crate) fn is_possible(&self) -> bool {
        let Self {
            dscr,
            wfar: _,
            vcr,
            breakpoint_values,
            breakpoint_controls,
            watchpoint_values,
            watchpoint_controls,
            os_unlocked: _,
            os_double_lock: _,
            no_power_down: _,
            claim,
        } = self;
        dscr & !DSCR_WRITABLE == 0
            && vcr & !VCR_WRITABLE == 0
            && (0..)
                .zip(breakpoint_values)
                .all(|(i, v)| v & !value_bits(i) == 0)
            && breakpoint_controls.iter().all(|c| c & !BCR_WRITABLE == 0)
            && watchpoint_values.iter().all(|v| v & 3 == 0)
            && watchpoint_controls.iter().all(|c| c & !WCR_WRITABLE == 0)
            && claim & !CLAIM_TAGS == 0
    }
}

/// The claim tags that exist.
const CLAIM_TAGS: u32 = 0xff;

/// Whether breakpoint `i` can match contexts.
const fn matches_contexts(i: usize) -> bool {
    i >= BREAKPOINTS - CONTEXT_BREAKPOINTS && i < BREAKPOINTS
}

/// Bits of DBGBVR`i`: all where it may be a context, else a word's address.
const fn value_bits(i: usize) -> u32 {
    if matches_contexts(i) { u32::MAX } else { !3 }
}

/// A debug register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Didr,
    DscrInt,
    DscrExt,
    /// Data transfer with a debugger that is not there.
    Dtr,
    Wfar,
    Vcr,
    Bvr(usize),
    Bcr(usize),
    Wvr(usize),
    Wcr(usize),
    Oslar,
    Oslsr,
    Osdlr,
    Prcr,
    Prsr,
    ClaimSet,
    ClaimClear,
    AuthStatus,
    Devid,
    /// DBGDRAR and DBGDSAR: no memory-mapped debug registers.
    Address,
    /// DBGECR, DBGOSECCR, DBGITCTRL, DBGDEVID1 and DBGDEVID2: zero.
    Zero,
}

/// The register with this encoding (C11.8: CRn, opc2 and CRm are the parts of the register number).
fn find(reg: CpReg) -> Option<Register> {
    use Register::{
        Address, AuthStatus, Bcr, Bvr, ClaimClear, ClaimSet, Devid, Didr, DscrExt, DscrInt, Dtr,
        Osdlr, Oslar, Oslsr, Prcr, Prsr, Vcr, Wcr, Wfar, Wvr, Zero,
    };
    let m = usize::from(reg.crm);
    Some(match (reg.crn, reg.crm, reg.opc2) {
        (0, 0, 0) => Didr,
        (0, 1, 0) => DscrInt,
        (0, 5, 0) | (0, 0 | 3, 2) => Dtr,
        (0, 6, 0) => Wfar,
        (0, 7, 0) => Vcr,
        (0, 9, 0) | (0, 6, 2) => Zero,
        (0, 2, 2) => DscrExt,
        (0, _, 4) if m < BREAKPOINTS => Bvr(m),
        (0, _, 5) if m < BREAKPOINTS => Bcr(m),
        (0, _, 6) if m < WATCHPOINTS => Wvr(m),
        (0, _, 7) if m < WATCHPOINTS => Wcr(m),
        (1, 0, 0) | (2, 0, 0) => Address,
        (1, 0, 4) => Oslar,
        (1, 1, 4) => Oslsr,
        (1, 3, 4) => Osdlr,
        (1, 4, 4) => Prcr,
        (1, 5, 4) => Prsr,
        (7, 0, 4) | (7, 0 | 1, 7) => Zero,
        (7, 2, 7) => Devid,
        (7, 8, 6) => ClaimSet,
        (7, 9, 6) => ClaimClear,
        (7, 14, 6) => AuthStatus,
        _ => return None,
    })
}

/// Whether the current mode may use the registers that DBGDSCR.UDCCdis guards (C11.9).
pub(crate) fn open_to_user(state: &CpuState) -> bool {
    state.psr.mode.privileged() || state.debug.dscr & UDCCDIS == 0
}

/// The register, if the current mode may access it.
fn access(state: &CpuState, reg: CpReg) -> Result<Register, Undefined> {
    let register = find(reg).ok_or(Undefined)?;
    let guarded = matches!(
        (register, reg.opc2),
        (
            Register::Didr | Register::DscrInt | Register::Dtr | Register::Address,
            0
        )
    );
    if state.psr.mode.privileged() || guarded && open_to_user(state) {
        Ok(register)
    } else {
        Err(Undefined)
    }
}

/// Reads a debug register.
pub(crate) fn read(state: &CpuState, reg: CpReg) -> Result<u32, Undefined> {
    let d = &state.debug;
    Ok(match access(state, reg)? {
        Register::Didr => DIDR,
        Register::DscrInt | Register::DscrExt => d.dscr | DSCR_FIXED,
        Register::Wfar => d.wfar,
        Register::Vcr => d.vcr,
        Register::Bvr(i) => d.breakpoint_values[i],
        Register::Bcr(i) => d.breakpoint_controls[i],
        Register::Wvr(i) => d.watchpoint_values[i],
        Register::Wcr(i) => d.watchpoint_controls[i],
        Register::Oslar => return Err(Undefined),
        // OSLM is 0b10: the lock is implemented, save and restore go by the registers themselves.
        Register::Oslsr => 1 << 3 | u32::from(!d.os_unlocked) << 1,
        Register::Osdlr => d.os_double_lock.into(),
        Register::Prcr => d.no_power_down.into(),
        // PU: powered up.
        Register::Prsr => 1 | u32::from(!d.os_unlocked) << 5 | u32::from(d.double_locked()) << 6,
        Register::ClaimSet => CLAIM_TAGS,
        Register::ClaimClear => d.claim,
        Register::AuthStatus => AUTHSTATUS,
        Register::Devid => DEVID,
        Register::Dtr | Register::Address | Register::Zero => 0,
    })
}

/// Writes a debug register. Writes to read-only ones are UNDEFINED.
pub(crate) fn write(state: &mut CpuState, reg: CpReg, value: u32) -> Result<(), Undefined> {
    let register = access(state, reg)?;
    let d = &mut state.debug;
    match register {
        Register::DscrExt => d.dscr = value & DSCR_WRITABLE,
        Register::Wfar => d.wfar = value,
        Register::Vcr => d.vcr = value & VCR_WRITABLE,
        Register::Bvr(i) => d.breakpoint_values[i] = value & value_bits(i),
        Register::Bcr(i) => d.breakpoint_controls[i] = value & BCR_WRITABLE,
        Register::Wvr(i) => d.watchpoint_values[i] = value & !3,
        Register::Wcr(i) => d.watchpoint_controls[i] = value & WCR_WRITABLE,
        Register::Oslar => d.os_unlocked = value != OS_LOCK_KEY,
        Register::Osdlr => d.os_double_lock = value & 1 != 0,
        Register::Prcr => d.no_power_down = value & 1 != 0,
        Register::ClaimSet => d.claim |= value & CLAIM_TAGS,
        Register::ClaimClear => d.claim &= !value,
        Register::Dtr | Register::Zero => {}
        Register::Didr
        | Register::DscrInt
        | Register::Oslsr
        | Register::Prsr
        | Register::AuthStatus
        | Register::Devid
        | Register::Address => return Err(Undefined),
    }
    Ok(())
}
