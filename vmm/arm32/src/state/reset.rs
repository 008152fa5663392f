//! What a core is after reset.

use arm32_fpu::FpRegs;

use super::{Banked, CpuState, Flags, Mode, Monitor, Psr};
use crate::cp15::Cp15;
use crate::debug::Debug;
use crate::pmu::Pmu;
use crate::timer::GenericTimer;

impl CpuState {
    /// Creates the state of core `cpu_index` after a reset (ARM ARM DDI 0406C B1.9.1): Supervisor
    /// mode, all interrupts masked, MMU off, at address 0. Registers that the architecture leaves
    /// UNKNOWN are 0.
    pub fn reset(cpu_index: u8) -> Self {
        Self {
            r: [0; 16],
            flags: Flags::from_bits(0),
            psr: Psr {
                mode: Mode::Svc,
                thumb: false,
                fiq_masked: true,
                irq_masked: true,
                abort_masked: true,
                big_endian: false,
                it: 0,
                ge: 0,
                q: false,
            },
            banked: Banked::default(),
            monitor: Monitor::default(),
            event: false,
            fp: FpRegs::default(),
            fpexc: 0,
            cp15: Cp15::reset(cpu_index),
            timer: GenericTimer::default(),
            pmu: Pmu::default(),
            debug: Debug::default(),
            retired: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_starts_in_supervisor_mode_with_everything_masked() {
        let s = CpuState::reset(3);
        assert_eq!(s.cpsr(), 0x1d3);
        assert_eq!(s.r, [0; 16]);
        assert_eq!(s.cp15.cpu_index, 3);
        assert_eq!(s.cp15.sctlr & 0x2001, 0, "MMU off, low vectors");
    }
}
