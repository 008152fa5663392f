//! Debug registers of coprocessor 14: v7.1 Debug as the Cortex-A15 has it (ARM ARM DDI 0406C chapter C11).
//!
//! The registers hold what is written and read back as hardware does. Breakpoints and watchpoints do not
//! fire: only BKPT makes a debug event.

use serde::{Deserialize, Serialize};

use crate::cp15::{CpReg, Undefined};
use crate::state::CpuState;

/// Breakpoints.
const BREAKPOINTS: usize = 6;
/// Watchpoints.
const WATCHPOINTS: usize = 4;
/// Breakpoints that can match a context: the last ones.
const CONTEXT_BREAKPOINTS: usize = 2;

/// DBGDIDR: 4 watchpoints, 6 breakpoints of which 2 match contexts, v7.1 Debug, r4p0.
const DIDR: u32 = 0x3515_f040;
/// DBGDEVID of the A15.
const DEVID: u32 = 0x0111_0f13;
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
/// Method of entry: BKPT.
const MOE_BKPT: u32 = 3 << 2;

/// Control bits of a breakpoint.
const BCR_WRITABLE: u32 = 0x1fff_e1e7;
/// Control bits of a watchpoint.
const WCR_WRITABLE: u32 = 0x1f1f_ffff;
/// Vector catch bits of one world.
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
    /// DBGBXVRn, for the breakpoints that match contexts (VMID).
    breakpoint_extended: [u32; BREAKPOINTS],
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
    /// Records that BKPT was executed (DBGDSCR.MOE).
    pub(crate) fn note_breakpoint_instruction(&mut self) {
        self.dscr = self.dscr & !MOE | MOE_BKPT;
    }
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
    Bxvr(usize),
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
        Address, AuthStatus, Bcr, Bvr, Bxvr, ClaimClear, ClaimSet, Devid, Didr, DscrExt, DscrInt,
        Dtr, Osdlr, Oslar, Oslsr, Prcr, Prsr, Vcr, Wcr, Wfar, Wvr, Zero,
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
        (1, _, 1) if (BREAKPOINTS - CONTEXT_BREAKPOINTS..BREAKPOINTS).contains(&m) => Bxvr(m),
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
        Register::Bxvr(i) => d.breakpoint_extended[i],
        Register::Wvr(i) => d.watchpoint_values[i],
        Register::Wcr(i) => d.watchpoint_controls[i],
        Register::Oslar => return Err(Undefined),
        // OSLM is 0b10: the lock is implemented, save and restore go by the registers themselves.
        Register::Oslsr => 1 << 3 | u32::from(!d.os_unlocked) << 1,
        Register::Osdlr => d.os_double_lock.into(),
        Register::Prcr => d.no_power_down.into(),
        // PU: powered up.
        Register::Prsr => 1 | u32::from(!d.os_unlocked) << 5 | u32::from(d.os_double_lock) << 6,
        Register::ClaimSet => 0xff,
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
        Register::Bvr(i) => {
            let context = i >= BREAKPOINTS - CONTEXT_BREAKPOINTS;
            d.breakpoint_values[i] = if context { value } else { value & !3 };
        }
        Register::Bcr(i) => d.breakpoint_controls[i] = value & BCR_WRITABLE,
        Register::Bxvr(i) => d.breakpoint_extended[i] = value & 0xff,
        Register::Wvr(i) => d.watchpoint_values[i] = value & !3,
        Register::Wcr(i) => d.watchpoint_controls[i] = value & WCR_WRITABLE,
        Register::Oslar => d.os_unlocked = value != OS_LOCK_KEY,
        Register::Osdlr => d.os_double_lock = value & 1 != 0,
        Register::Prcr => d.no_power_down = value & 1 != 0,
        Register::ClaimSet => d.claim |= value & 0xff,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Mode;

    fn reg(crn: u8, crm: u8, opc2: u8) -> CpReg {
        CpReg {
            coproc: 14,
            opc1: 0,
            crn,
            crm,
            opc2,
        }
    }

    /// What `arch/arm/kernel/hw_breakpoint.c` does at boot.
    #[test]
    fn linux_probes_it_in_this_order() {
        let mut s = CpuState::reset(0);
        let didr = read(&s, reg(0, 0, 0)).unwrap();
        assert_eq!(didr >> 16 & 15, 5, "v7.1 Debug");
        let (brps, wrps) = ((didr >> 24 & 15) + 1, (didr >> 28) + 1);
        assert_eq!((brps, wrps), (6, 4));

        let oslsr = read(&s, reg(1, 1, 4)).unwrap();
        assert_eq!(oslsr & 0b1001, 0b1000, "OS lock is implemented");
        assert_eq!(oslsr & 2, 2, "locked at reset");
        write(&mut s, reg(1, 0, 4), !OS_LOCK_KEY).unwrap();
        assert_eq!(read(&s, reg(1, 1, 4)).unwrap() & 2, 0);
        assert_eq!(read(&s, reg(1, 3, 4)).unwrap(), 0, "no double lock");
        write(&mut s, reg(0, 7, 0), 0).unwrap();
        for i in 0..brps as u8 {
            write(&mut s, reg(0, i, 5), 0).unwrap();
            write(&mut s, reg(0, i, 4), 0).unwrap();
        }

        let dscr = read(&s, reg(0, 1, 0)).unwrap();
        assert_eq!(dscr & MDBGEN, 0);
        write(&mut s, reg(0, 2, 2), dscr | MDBGEN).unwrap();
        assert_ne!(read(&s, reg(0, 1, 0)).unwrap() & MDBGEN, 0);

        // Watchpoints of eight bytes: the byte address select keeps eight bits.
        let control = 0xff << 5;
        write(&mut s, reg(0, 0, 6), 0).unwrap();
        write(&mut s, reg(0, 0, 7), control).unwrap();
        assert_eq!(read(&s, reg(0, 0, 7)).unwrap() & control, control);
    }

    #[test]
    fn values_read_back_within_their_bits() {
        let mut s = CpuState::reset(0);
        for (at, want) in [
            (reg(0, 0, 4), !3),
            (reg(0, 5, 4), u32::MAX),
            (reg(0, 0, 5), BCR_WRITABLE),
            (reg(0, 3, 6), !3),
            (reg(0, 3, 7), WCR_WRITABLE),
            (reg(1, 5, 1), 0xff),
            (reg(7, 9, 6), 0),
        ] {
            write(&mut s, at, u32::MAX).unwrap();
            assert_eq!(read(&s, at), Ok(want), "{at:?}");
        }
        write(&mut s, reg(7, 8, 6), 0x105).unwrap();
        assert_eq!(read(&s, reg(7, 9, 6)), Ok(5));
    }

    #[test]
    fn what_does_not_exist_is_undefined() {
        let mut s = CpuState::reset(0);
        for at in [
            reg(0, 6, 4),
            reg(0, 4, 6),
            reg(1, 3, 1),
            reg(3, 0, 0),
            reg(1, 0, 4),
        ] {
            assert_eq!(read(&s, at), Err(Undefined), "{at:?}");
        }
        assert_eq!(write(&mut s, reg(0, 0, 0), 0), Err(Undefined));
        assert_eq!(write(&mut s, reg(0, 1, 0), 0), Err(Undefined));
    }

    #[test]
    fn pl0_reads_the_channel_registers_until_it_may_not() {
        let mut s = CpuState::reset(0);
        s.switch_mode(Mode::Usr);
        assert_eq!(read(&s, reg(0, 0, 0)), Ok(DIDR));
        assert_eq!(read(&s, reg(0, 0, 5)), Err(Undefined));
        assert_eq!(read(&s, reg(0, 2, 2)), Err(Undefined));
        s.debug.dscr = UDCCDIS;
        assert_eq!(read(&s, reg(0, 0, 0)), Err(Undefined));
    }
}
