//! The targets of delayed actions: the devices of a machine by their names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress};
use vmm_base::warn_guest;
use vmm_devices::ram::DmaSpace;
use vmm_devices::virtio::{PIECE, VirtioMmio};
use vmm_faults::{DelayedAction, FaultyLine, Injection};

/// How long a line is raised for a status that has no flag which raises it, in nanoseconds.
const STATUS_PULSE_NS: u64 = 50_000;

/// Has the IOMMU that a device stands behind show a status; the name of that IOMMU.
pub(crate) type ShowStatus = Box<dyn Fn(&str, u32) -> Option<String> + Send + Sync>;

/// A device that accesses memory.
pub(crate) struct Target {
    pub slot: Arc<Mutex<VirtioMmio>>,
    pub dma: DmaSpace,
}

/// The devices of a machine with faults, and its injection.
pub(crate) struct Targets {
    pub injection: Arc<Injection>,
    pub devices: BTreeMap<String, Target>,
    pub lines: BTreeMap<String, Arc<FaultyLine>>,
    pub show_status: ShowStatus,
}

impl Targets {
    /// Does what is due. Between two slices of a run, so that nothing is locked.
    pub fn run_due(&self) {
        // Taken out first, as an action may set another one, which needs the injection's lock.
        for alarm in self.injection.due() {
            self.run(alarm);
        }
    }

    fn run(&self, alarm: DelayedAction) {
        match alarm {
            DelayedAction::Serve { device, queue } => {
                if let Some(target) = self.devices.get(&device) {
                    // Poisoned only by a panic that its own thread has reported; another one here
                    // would hide it.
                    let mut slot = target.slot.lock().unwrap_or_else(|e| e.into_inner());
                    // The driver may have reset the queue since: one that is not live is left
                    // alone.
                    slot.process_queue(queue);
                }
            }
            DelayedAction::Line { device, level } => {
                if let Some(line) = self.lines.get(&device) {
                    line.force(level);
                }
            }
            DelayedAction::Release { device } => {
                if let Some(line) = self.lines.get(&device) {
                    line.release();
                }
            }
            DelayedAction::Dma {
                device,
                writes,
                reads,
            } => {
                if let Some(target) = self.devices.get(&device) {
                    target.access(&writes, &reads);
                }
            }
            DelayedAction::Status { device, status } => {
                if let Some(iommu) = (self.show_status)(&device, status)
                    && let Some(line) = self.lines.get(&iommu)
                {
                    // The registers raise the line only for the flags that hardware raises it for.
                    line.force(true);
                    self.injection
                        .later(STATUS_PULSE_NS, DelayedAction::Release { device: iommu });
                }
            }
        }
    }
}

impl Target {
    fn access(&self, writes: &[(GuestAddress, Vec<u8>)], reads: &[(GuestAddress, u32)]) {
        // Through the IOMMU as it is now: the driver may have unmapped the buffer meanwhile, and
        // that is what late accesses are to show. Each is pinned by itself, so that a flush waits
        // for one.
        for (addr, bytes) in writes {
            if let Err(error) = self.dma.pin().write_slice(bytes, *addr) {
                warn_guest!("a late access of a device: {error}");
            }
        }
        for (addr, len) in reads {
            // The length comes from the guest, and must not decide how much is allocated here.
            let mut bytes = vec![0; (*len).min(PIECE) as usize];
            if let Err(error) = self.dma.pin().read_slice(&mut bytes, *addr) {
                warn_guest!("a late access of a device: {error}");
            }
        }
    }
}
