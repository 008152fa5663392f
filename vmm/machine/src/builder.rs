//! Makes machines from their configuration, with what watches them and what goes wrong in them.

use std::sync::Arc;

use vmm_devices::uart::ConsoleSink;
use vmm_faults::Injection;

use super::Machine;
use super::assemble;
use super::config::{Accel, Config};
use super::error::Error;
use super::iommu::IommuSink;
use crate::vcpu::Waker;
use crate::wiring::HostConnections;

/// A machine that is still to be made.
#[must_use = "nothing is made before `build`"]
pub struct MachineBuilder<'a> {
    config: &'a Config,
    console: Box<dyn ConsoleSink>,
    iommu_sink: Option<Arc<dyn IommuSink>>,
    injection: Option<&'a Arc<Injection>>,
    /// What the real-time clock shows at power-on, if the run is recorded.
    recorded: Option<u32>,
}

impl<'a> MachineBuilder<'a> {
    pub(super) fn new(config: &'a Config, console: Box<dyn ConsoleSink>) -> Self {
        Self {
            config,
            console,
            iommu_sink: None,
            injection: None,
            recorded: None,
        }
    }

    /// Sets the sink, if any, that is told of all that happens at the IOMMUs.
    pub fn iommu_sink(mut self, sink: impl Into<Option<Arc<dyn IommuSink>>>) -> Self {
        self.iommu_sink = sink.into();
        self
    }

    /// Gives the machine points at which `injection`, if there is one, says what goes wrong. A
    /// machine without any pays nothing for them.
    pub fn injection(mut self, injection: impl Into<Option<&'a Arc<Injection>>>) -> Self {
        self.injection = injection.into();
        self
    }

    /// Makes a machine for a run that is recorded or replayed, with emulated cores: its real-time
    /// clock shows `epoch` at power-on, in seconds since 1970-01-01 00:00 UTC, its clock moves
    /// between slices of work only, and its devices work on the thread that runs it.
    pub(super) fn recorded(mut self, epoch: u32) -> Self {
        self.recorded = Some(epoch);
        self
    }

    /// Opens everything that the configuration names, loads the kernel and leaves the machine ready
    /// at its first instruction.
    ///
    /// # Errors
    /// A sentence for the user; nothing is left behind.
    pub fn build(self) -> Result<Machine, Error> {
        let waker = Arc::new(Waker::default());
        let connections = HostConnections {
            console: self.console,
            sink: self.iommu_sink.as_ref(),
            injection: self.injection,
            waker: &waker,
        };
        let mut config = self.config.with_folders()?;
        if self.recorded.is_some() {
            // Otherwise `auto` may take KVM, whose cores run in no slices that could be recorded.
            config.accel = Accel::Emulated;
        }
        let pieces = assemble::assemble(&config, connections, self.recorded)?;
        let mut machine = Machine::from_pieces(config, pieces, waker);
        // Devices of a recorded machine work on its own thread, at the instruction that notifies.
        if self.recorded.is_none() {
            machine.start_worker()?;
        }
        Ok(machine)
    }
}
