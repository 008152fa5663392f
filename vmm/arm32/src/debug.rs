//! Debug registers of coprocessor 14: v7.1 Debug as the Cortex-A15 has it (ARM ARM DDI 0406C
//! chapter C11), in Monitor debug-mode.
//!
//! Here the registers are read and written; `events` says which instruction or access makes a debug
//! event. There is no external debugger, so nothing ever halts: a debug event is a Prefetch Abort
//! or a Data Abort, or nothing.

mod controls;
pub(crate) mod events;
pub(crate) mod registers;
pub(crate) mod spec;
#[cfg(test)]
mod tests;

pub use registers::Debug;
pub use spec::DebugEvent;

use registers::{
    BCR_WRITABLE, BREAKPOINTS, CLAIM_TAGS, DSCR_WRITABLE, UDCCDIS, VCR_WRITABLE, WATCHPOINTS,
    WCR_WRITABLE, value_bits,
};

use crate::cp15::{CpReg, Undefined};
use crate::state::CpuState;

/// DBGDIDR: 4 watchpoints, 6 breakpoints of which 2 match contexts, v7.1 Debug, DBGDEVID, Security
/// Extensions without secure debug in User mode, r4p0. Unlike the A15 there is no DBGPCSR
/// (PCSR_imp), which only memory-mapped accesses reach.
const DIDR: u32 = 0x3515_d040;
/// DBGDEVID: the OS double lock, vector catch by address, address masks for watchpoints and not for
/// breakpoints. Unlike the A15 no VMID matching (there are no Virtualization Extensions), no
/// sampling of the program counter and no DBGEACR (there are no memory-mapped debug registers).
const DEVID: u32 = 0x0010_0f10;
/// DBGAUTHSTATUS: everything implemented and enabled for this world.
const AUTHSTATUS: u32 = 0xaf;

/// DBGDSCR bits that always read as one: NS, SPNIDdis, SPIDdis and RESTARTED.
const DSCR_FIXED: u32 = 0x0007_0002;
/// What to write to DBGOSLAR to lock.
const OS_LOCK_KEY: u32 = 0xc5ac_ce55;

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

/// Returns the register with this encoding (C11.8: CRn, opc2 and CRm are the parts of the register
/// number).
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

/// Returns whether the current mode may use the registers that DBGDSCR.UDCCdis guards (C11.9).
pub(crate) fn open_to_user(state: &CpuState) -> bool {
    state.psr.mode.privileged() || state.debug.dscr & UDCCDIS == 0
}

/// Returns the register, if the current mode may access it.
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
        // It can only be written.
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
