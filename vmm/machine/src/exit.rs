//! What a run did, in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vmm_base::Reason;
use vmm_devices::disk::{DiskSummary, overlay::OverlaySummary};
use vmm_devices::dma_tester::script::{Expect, Step, StepResult};
use vmm_devices::dma_tester::{DmaTester, OperationKind};
use vmm_devices::virtio::net::NetSummary;

use super::config::TimeMode;
use super::iommu::IommuSummary;

/// Accesses to one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccesses {
    /// Register reads.
    pub reads: u64,
    /// Register writes.
    pub writes: u64,
}

/// The counts of the reasons for which the cores had to be served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    /// Register accesses, by device.
    pub mmio: BTreeMap<String, DeviceAccesses>,
    /// Accesses to unmapped addresses.
    pub unmapped: u64,
    /// Firmware calls (HVC and SMC).
    pub firmware: u64,
    /// Times that every core waited for an interrupt at once.
    pub idle: u64,
    /// Slices of work given to the cores.
    pub slices: u64,
}

/// A run in numbers. Everything but `wall_ns` and `mips` repeats exactly in virtual time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Why the last run ended; `None` before the first.
    pub exit: Option<Reason>,
    /// Which clock the guest saw.
    pub time: TimeMode,
    /// Seed.
    pub seed: u64,
    /// Number of cores.
    pub cpus: u8,
    /// Whether KVM ran the cores.
    pub kvm: bool,
    /// Instructions retired by all cores; 0 with KVM, which does not count them.
    pub instructions: u64,
    /// Guest time since power-on in nanoseconds.
    pub guest_ns: u64,
    /// Guest time that was skipped because every core slept (virtual time only), in nanoseconds.
    pub skipped_ns: u64,
    /// Host time spent in `run`, in nanoseconds.
    pub wall_ns: u64,
    /// Millions of instructions per second of host time.
    pub mips: f64,
    /// Bytes the guest wrote to its console.
    pub console_bytes: u64,
    /// Interrupts acknowledged by the cores.
    pub interrupts: u64,
    /// Why the cores left their own world.
    pub exits: Exits,
    /// One entry a disk, in the order of the configuration.
    pub disks: Vec<DiskSummary>,
    /// What the overlays of disks take, in the order of the configuration; `None` for a disk
    /// without one.
    pub overlays: Vec<Option<OverlaySummary>>,
    /// One entry a network interface, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<NetSummary>,
    /// One entry an IOMMU, in the order of the configuration; before those of Gen3 the main one.
    pub iommus: Vec<IommuSummary>,
    /// The steps of the DMA tester's script, if there is a DMA tester.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dma_script: Option<Vec<StepSummary>>,
}

/// A step of the DMA tester's script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSummary {
    /// What it did.
    pub op: OperationKind,
    /// What was expected of it.
    pub expect: Expect,
    /// What happened: "ok", "data", "differs", "fault", "bus-error"; "no-address" if its event had
    /// none, and "not-begun" if it never began.
    pub outcome: String,
    /// Whether that is what was expected.
    pub holds: bool,
    /// The rest, if it began and came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<StepResult>,
}

impl StepSummary {
    /// Returns all steps of the script of `tester`.
    pub(crate) fn all(tester: &DmaTester) -> Vec<Self> {
        let results = tester.results().into_iter().map(Some);
        let results = results.chain(std::iter::repeat(None));
        let steps = tester.script().iter().zip(results);
        let summary = |(step, result): (&Step, Option<StepResult>)| Self {
            op: step.op,
            expect: step.expect,
            outcome: match &result {
                Some(result) => result.outcome(step.op).to_owned(),
                None => "not-begun".to_owned(),
            },
            holds: result.as_ref().is_some_and(|result| result.holds(step)),
            result,
        };
        steps.map(summary).collect()
    }
}
