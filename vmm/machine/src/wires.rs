//! What the cores ask of the machine between instructions.

use std::sync::Arc;

use arm32::state::CpuState;
use arm32::wires::{Conduit, FirmwareAction, Machine, Output};
use vmm_base::warn_guest;
use vmm_devices::irq::Gic;

use super::layout;
use crate::psci::Firmware;

/// Brings the cores' outputs to the interrupt controller and their calls to the firmware.
pub struct Wires {
    /// The emulated interrupt controller; cores that have another have no wires either.
    gic: Option<Arc<Gic>>,
    /// Which firmware the board has.
    kind: Firmware,
    /// Firmware calls so far.
    pub calls: u64,
}

impl Wires {
    /// Wires to `gic`, and to the firmware of that kind.
    pub fn new(gic: Option<Arc<Gic>>, kind: Firmware) -> Self {
        Self {
            gic,
            kind,
            calls: 0,
        }
    }
}

impl Machine for Wires {
    fn output(&mut self, cpu: usize, output: Output, level: bool) {
        let irq = match output {
            Output::PhysicalTimer => layout::PHYSICAL_TIMER_IRQ,
            Output::VirtualTimer => layout::VIRTUAL_TIMER_IRQ,
            Output::Pmu => layout::PMU_IRQ,
        };
        if let Some(gic) = &self.gic {
            gic.set_private(cpu, irq, level);
        }
    }

    fn firmware(
        &mut self,
        cpu: usize,
        conduit: Conduit,
        state: &mut CpuState,
        powered: &[bool],
    ) -> FirmwareAction {
        self.calls += 1;
        let call = [state.r[0], state.r[1], state.r[2], state.r[3]];
        let answer = self.kind.answer(conduit, call, powered);
        if answer.action == FirmwareAction::Undefined {
            warn_guest!("core {cpu} made a firmware call by {conduit:?}, which does not exist");
        }
        // Calls that do not return, and those that take an exception, leave the registers as they
        // are.
        if let Some(result) = answer.result {
            state.r[0] = result;
        }
        answer.action
    }
}
