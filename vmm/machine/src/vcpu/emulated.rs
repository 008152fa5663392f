//! Cores by `arm32`: interpreted, and what runs often translated to the host's code.

use std::sync::Arc;

use arm32::wires::{Machine, Pins};
use arm32::{Bus, Clock, Cluster};
use vmm_base::Reason;

use super::{BootState, KvmError, Stop, Vcpus};

/// A cluster of emulated cores.
pub struct Emulated(Cluster);

impl Emulated {
    /// Creates `cpus` cores at reset.
    pub fn new(cpus: usize, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        let mut cluster = Cluster::new(cpus, bus, clock);
        if let Err(why) = cluster.translate_code() {
            tracing::info!("the guest's code is interpreted: {why}");
        }
        Self(cluster)
    }

    /// Returns the interrupt inputs of core `cpu`.
    pub fn pins(&self, cpu: usize) -> Arc<Pins> {
        self.0.pins(cpu)
    }
}

impl Vcpus for Emulated {
    fn boot(&mut self, boot: BootState) -> Result<(), KvmError> {
        // Reset leaves the core as the boot protocol wants it: Supervisor mode, interrupts masked,
        // MMU off.
        let state = self.0.state_mut(0);
        state.r[0] = 0;
        state.r[1] = u32::MAX;
        state.r[2] = boot.dtb;
        state.r[15] = boot.entry;
        Ok(())
    }

    fn retired(&self) -> u64 {
        self.0.retired()
    }

    fn run(&mut self, machine: &mut dyn Machine, budget: u64) -> Result<Stop, Reason> {
        Ok(self.0.run(machine, budget).into())
    }

    fn cluster(&mut self) -> Option<&mut Cluster> {
        Some(&mut self.0)
    }
}
