//! The wires between a core and the machine around it: interrupt inputs, timer outputs, firmware calls.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::state::CpuState;

const IRQ: u32 = 1;
const FIQ: u32 = 2;
const STOP: u32 = 4;
/// The core has something to see to between two instructions.
const ATTENTION: u32 = 8;

/// The inputs of one core. The interrupt controller drives them, from any thread.
///
/// All inputs share one word, so that a core sees with one load that nothing wants its attention.
#[derive(Debug, Default)]
pub struct Pins(AtomicU32);

impl Pins {
    /// Drives the IRQ input (level-sensitive).
    pub fn set_irq(&self, level: bool) {
        self.drive(IRQ, level);
    }

    /// Drives the FIQ input (level-sensitive).
    pub fn set_fiq(&self, level: bool) {
        self.drive(FIQ, level);
    }

    /// Asks the core to leave its run loop at the next block boundary. From another thread this is not
    /// deterministic: virtual time uses it only to end a run for good.
    pub fn request_stop(&self) {
        self.drive(STOP, true);
    }

    /// Has the core see to itself before the next block, or not any longer. No input: only the core's own thread drives it.
    pub(crate) fn set_attention(&self, on: bool) {
        self.drive(ATTENTION, on);
    }

    /// Whether the core has something to see to.
    pub(crate) fn attention(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ATTENTION != 0
    }

    fn drive(&self, bit: u32, level: bool) {
        if level {
            self.0.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Whether any input is active, or the core has something to see to.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether an interrupt input is active: what ends a wait, unlike a request to stop.
    pub fn interrupts(&self) -> bool {
        self.0.load(Ordering::Acquire) & (IRQ | FIQ) != 0
    }

    /// The IRQ input.
    pub fn irq(&self) -> bool {
        self.0.load(Ordering::Acquire) & IRQ != 0
    }

    /// The FIQ input.
    pub fn fiq(&self) -> bool {
        self.0.load(Ordering::Acquire) & FIQ != 0
    }

    /// Takes a pending stop request.
    pub fn take_stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STOP != 0
            && self.0.fetch_and(!STOP, Ordering::AcqRel) & STOP != 0
    }
}

/// The interrupt outputs of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The non-secure physical timer (PPI 30 on a GICv2 machine).
    PhysicalTimer,
    /// The virtual timer (PPI 27).
    VirtualTimer,
    /// Performance monitor overflow.
    Pmu,
}

/// How the guest called firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `HVC #imm16`.
    Hvc(u16),
    /// `SMC #imm4`.
    Smc(u8),
}

/// What a firmware call asks of the cluster. Results for the guest are already in R0 to R3 of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareAction {
    /// Continue after the call.
    Return,
    /// The call is not firmware's: take an Undefined Instruction exception.
    Undefined,
    /// Switch the calling core off.
    CpuOff,
    /// Switch core `cpu` on at `entry` (bit 0 set: T32) with `context` in R0.
    CpuOn {
        /// Index of the core to start.
        cpu: usize,
        /// Entry point, physical address.
        entry: u32,
        /// Value for R0.
        context: u32,
    },
    /// Wait as WFI does, then continue after the call.
    Suspend,
    /// Power the machine off.
    SystemOff,
    /// Reset the machine.
    SystemReset,
}

/// The machine, as the cluster sees it between instructions.
pub trait Machine {
    /// An interrupt output of core `cpu` changed.
    fn output(&mut self, cpu: usize, output: Output, level: bool);

    /// Core `cpu` executed HVC or SMC. `powered[i]` tells whether core `i` is on.
    fn firmware(
        &mut self,
        cpu: usize,
        conduit: Conduit,
        state: &mut CpuState,
        powered: &[bool],
    ) -> FirmwareAction;
}
