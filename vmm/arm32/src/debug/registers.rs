//! What the debug registers of one core hold, and which of their bits can be written.

use serde::{Deserialize, Serialize};

use super::spec::DebugEvent;

/// Breakpoints.
pub(super) const BREAKPOINTS: usize = 6;
/// Watchpoints.
pub(super) const WATCHPOINTS: usize = 4;
/// Breakpoints that can match a context: the last ones.
const CONTEXT_BREAKPOINTS: usize = 2;

/// DBGDSCR bits that software may change: MDBGen, UDCCdis and MOE.
pub(super) const DSCR_WRITABLE: u32 = MDBGEN | UDCCDIS | MOE;
/// Monitor debug-mode is enabled.
pub(super) const MDBGEN: u32 = 1 << 15;
/// PL0 may not use the debug communication channel registers.
pub(super) const UDCCDIS: u32 = 1 << 12;
/// Method of entry.
const MOE: u32 = 0xf << 2;

/// Bits of a breakpoint's control register: BT without VMID matching, LBN, SSC, BAS, PMC and E.
/// MASK and HMC do not exist.
pub(super) const BCR_WRITABLE: u32 = 0x007f_c1e7;
/// Bits of a watchpoint's control register: MASK, WT, LBN, SSC, BAS, LSC, PAC and E. HMC does not
/// exist.
pub(super) const WCR_WRITABLE: u32 = 0x1f1f_dfff;
/// Vector catch bits of both worlds, without Monitor and Hyp modes.
pub(super) const VCR_WRITABLE: u32 = 0xde00_00df;

/// Debug registers of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Debug {
    /// DBGDSCR, its writable bits.
    pub(super) dscr: u32,
    /// DBGWFAR.
    pub(super) wfar: u32,
    /// DBGVCR.
    pub(super) vcr: u32,
    /// DBGBVRn.
    pub(super) breakpoint_values: [u32; BREAKPOINTS],
    /// DBGBCRn.
    pub(super) breakpoint_controls: [u32; BREAKPOINTS],
    /// DBGWVRn.
    pub(super) watchpoint_values: [u32; WATCHPOINTS],
    /// DBGWCRn.
    pub(super) watchpoint_controls: [u32; WATCHPOINTS],
    /// The OS lock is *open* (it is locked at reset).
    pub(super) os_unlocked: bool,
    /// The OS double lock.
    pub(super) os_double_lock: bool,
    /// DBGPRCR.CORENPDRQ.
    pub(super) no_power_down: bool,
    /// DBGCLAIM tags.
    pub(super) claim: u32,
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

    /// Returns whether the OS double lock holds (DBGPRSR.DLK).
    pub(super) const fn double_locked(&self) -> bool {
        self.os_double_lock && !self.no_power_down
    }

    /// Returns whether events other than BKPT become exceptions: Monitor debug-mode is on, and no
    /// lock holds (C3.1, C7.3).
    pub(super) const fn enabled(&self) -> bool {
        self.dscr & MDBGEN != 0 && self.os_unlocked && !self.double_locked()
    }

    /// Returns whether a vector may be caught, so that what is looked out for depends on where
    /// vectors are.
    pub(crate) const fn catches_vectors(&self) -> bool {
        self.vcr != 0
    }

    /// Returns whether every register holds only bits that a write could have left there.
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
pub(super) const CLAIM_TAGS: u32 = 0xff;

/// Returns whether breakpoint `i` can match contexts.
pub(super) const fn matches_contexts(i: usize) -> bool {
    i >= BREAKPOINTS - CONTEXT_BREAKPOINTS && i < BREAKPOINTS
}

/// Returns the bits of DBGBVR`i`: all where it may be a context, else a word's address.
pub(super) const fn value_bits(i: usize) -> u32 {
    if matches_contexts(i) { u32::MAX } else { !3 }
}
