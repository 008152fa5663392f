//! What a run works with, from one run of a machine to the next.

use std::sync::Arc;

use vmm_devices::alarm::Alarm;
use vmm_devices::dma_tester::DmaTester;
use vmm_devices::uart::{Console, InputGate};
use vmm_devices::virtio::deferred_work::DeferredWork;
use vmm_devices::virtio::schedule::Schedule;

use super::timing::{RunCounters, Timing};
use super::{Control, Pace, Passage, StopHandler, Vcpus, Waker};
use crate::targets::Targets;
use crate::wires::Wires;

/// Everything that the run loop looks at, which the machine owns.
pub struct RunContext {
    /// The cores.
    pub vcpus: Box<dyn Vcpus>,
    /// What they ask of the machine.
    pub(crate) wires: Wires,
    /// The guest's clock.
    pub timing: Timing,
    /// The console's input gate.
    pub gate: InputGate,
    /// Where that input goes.
    pub uart: Arc<dyn Console>,
    /// Devices that do something at a time of the guest.
    pub alarms: Vec<Arc<dyn Alarm>>,
    /// The DMA tester, if there is one, which works at times of the guest.
    pub dma_tester: Option<Arc<DmaTester>>,
    /// What devices with faults do later.
    pub(crate) faults: Option<Targets>,
    /// Requests to end.
    pub control: Arc<Control>,
    /// Wakes a sleeping loop.
    pub waker: Arc<Waker>,
    /// What devices can go on with.
    pub deferred_work: Arc<DeferredWork>,
    /// What they go on with later, in virtual time.
    pub schedule: Arc<Schedule>,
    /// Who is told of stops.
    pub observers: Vec<Box<dyn StopHandler>>,
    /// The counts.
    pub counters: RunCounters,
    /// Whether the run is recorded, or recorded already.
    pub pace: Pace,
    /// What there is to do with the machine's history, if it has one.
    pub passage: Passage,
}

impl RunContext {
    /// Has the DMA tester do what is due, and returns whether anything was.
    pub(super) fn test_dma(&self) -> bool {
        self.dma_tester
            .as_ref()
            .is_some_and(|tester| tester.run_due())
    }
}
