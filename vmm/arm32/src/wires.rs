//! The wires between a core and the machine around it: interrupt inputs, timer outputs, firmware
//! calls.

pub use vmm_base::Pins;

use crate::state::CpuState;

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

/// What a firmware call asks of the cluster. Results for the guest are already in R0 to R3 of its
/// state.
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
    /// Learns that an interrupt output of core `cpu` changed.
    fn output(&mut self, cpu: usize, output: Output, level: bool);

    /// Carries out a call of firmware: core `cpu` executed HVC or SMC. `powered[i]` tells whether
    /// core `i` is on.
    fn firmware(
        &mut self,
        cpu: usize,
        conduit: Conduit,
        state: &mut CpuState,
        powered: &[bool],
    ) -> FirmwareAction;
}
