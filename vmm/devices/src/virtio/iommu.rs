//! The virtio-iommu (5.13) on its transport.
//!
//! Its requests are served at the notification, also in host time where other devices have a
//! thread: the driver spins until they are answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ram::GuestRam;
use viommu::virtio::spec::{CONFIG_SIZE, DEVICE_ID, EVENT_QUEUE, REQUEST_QUEUE};
use viommu::virtio::{Quota, Served, VirtioIommu};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use vmm_base::warn_guest;

use super::budget::MIN_COST;
use super::deferred_work::DeferredWork;
use super::{
    DeviceState, Progress, QueueService, RING_FEATURES, ServeError, VirtioDevice, WrongState,
};

/// Entries of the request queue and of the event queue. The driver sends a batch when the first is
/// full, and keeps buffers for as many fault reports as the second has entries.
const QUEUE_SIZES: [u16; 2] = [256, 64];

/// The cost of removing a mapping, in bytes: one request can remove a million mappings, which takes
/// some tens of milliseconds.
const MAPPING_COST: u64 = 32;

/// The number of looks at whether a batch is complete, with others given the processor in between:
/// far longer than the tens of microseconds for which a device is pinned at a time. A pin that
/// lasts longer is left to deferred work.
const PATIENCE: u32 = 10_000;

/// Sees what the driver does to the device, apart from its requests.
pub trait DriverObserver: Send + Sync {
    /// Is told that `event` has happened.
    fn event(&self, event: DriverEvent);
}

/// An action of the driver, apart from its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverEvent {
    /// It accepts features.
    Features(u64),
    /// It has the requests in the queue served.
    Notified,
    /// It writes to the field `bypass`: the value that this has now.
    Bypass(bool),
    /// It resets the device: everything is detached.
    Reset,
}

/// The device.
pub struct Iommu {
    iommu: Arc<Mutex<VirtioIommu<GuestRam>>>,
    deferred_work: Arc<DeferredWork>,
    observer: Arc<dyn DriverObserver>,
    /// The configuration space.
    config: [u8; CONFIG_SIZE],
    /// Whether indirect descriptors are offered.
    indirect: bool,
    /// Whether requests are left to be served or answered.
    unfinished: bool,
}

impl Iommu {
    /// Creates the transport's side of `iommu`, which announces as `deferred_work` what it cannot
    /// do at once, and offers `indirect` descriptors or not.
    pub fn new(
        iommu: Arc<Mutex<VirtioIommu<GuestRam>>>,
        deferred_work: Arc<DeferredWork>,
        observer: Arc<dyn DriverObserver>,
        indirect: bool,
    ) -> Self {
        let config = lock(&iommu).config_space();
        Self {
            iommu,
            deferred_work,
            observer,
            config,
            indirect,
            unfinished: false,
        }
    }

    /// Serves the request queue, as far as `budget` goes. If that has to wait for another device,
    /// it looks `patience` times more: the driver could only spin meanwhile, and nothing would tell
    /// it when the wait is over.
    fn serve_requests(
        &mut self,
        turn: QueueService<'_>,
        patience: u32,
    ) -> Result<Served, ServeError> {
        let QueueService {
            queue, mem, budget, ..
        } = turn;
        let mut iommu = lock(&self.iommu);
        // The device counts requests and mappings, the transport bytes: the budget is cut into
        // both, at their costs.
        let all = Quota {
            requests: u16::try_from(budget.left() / MIN_COST).unwrap_or(u16::MAX),
            mappings: usize::try_from(budget.left() / MAPPING_COST).unwrap_or(usize::MAX),
        };
        let mut quota = all;
        let mut served = iommu.process_requests_within(queue, &mem.pin(), &mut quota)?;
        for _ in 0..patience {
            if !served.pending {
                break;
            }
            std::thread::yield_now();
            let next = iommu.process_requests_within(queue, &mem.pin(), &mut quota)?;
            // Buffers that an earlier look used still need an interrupt.
            served = Served {
                used: served.used || next.used,
                ..next
            };
        }
        drop(iommu);
        let requests = u64::from(all.requests - quota.requests);
        let mappings = (all.mappings - quota.mappings) as u64;
        budget.spend(requests * MIN_COST + mappings * MAPPING_COST);
        // Without this `resume` leaves the queue alone; no notification will come for what is left.
        self.unfinished = served.pending || served.more;
        Ok(served)
    }

    /// Returns what the transport is to know. What is left to do becomes deferred work.
    fn progress(&self, served: Served) -> Progress {
        if served.pending || served.more {
            self.deferred_work.announce();
        }
        // `more` stays false: the transport's own turns are not needed, as deferred work serves the
        // queue again.
        Progress {
            used: served.used,
            more: false,
        }
    }
}

fn lock(iommu: &Mutex<VirtioIommu<GuestRam>>) -> MutexGuard<'_, VirtioIommu<GuestRam>> {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    iommu.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VirtioDevice for Iommu {
    fn id(&self) -> u32 {
        DEVICE_ID
    }

    fn features(&self) -> u64 {
        lock(&self.iommu).offered_features()
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let mut iommu = lock(&self.iommu);
        iommu.write_config(offset, data);
        let config = iommu.config_space();
        drop(iommu);
        // The device decides which fields can be written: what it shows then tells whether it took
        // the value.
        if config == self.config {
            warn_guest!("virtio-iommu: write to its configuration at {offset:#x}: no change");
            return;
        }
        self.config = config;
        let bypass = config[viommu::virtio::spec::config::BYPASS] != 0;
        self.observer.event(DriverEvent::Bypass(bypass));
    }

    fn ring_features(&self) -> u64 {
        match self.indirect {
            true => RING_FEATURES,
            false => RING_FEATURES & !(1 << VIRTIO_RING_F_INDIRECT_DESC),
        }
    }

    /// Returns false: the driver spins until it is answered.
    fn may_wait(&self) -> bool {
        false
    }

    fn activate(&mut self, features: u64) {
        let offered = self.features();
        // Without the bits of the transport, which mean nothing to the device.
        self.observer
            .event(DriverEvent::Features(features & offered));
        // The transport has seen to it that none is accepted that is not offered.
        if let Err(error) = lock(&self.iommu).activate(features) {
            warn_guest!("virtio-iommu: {error}");
        }
    }

    fn reset(&mut self) {
        self.observer.event(DriverEvent::Reset);
        self.unfinished = false;
        lock(&self.iommu).reset();
    }

    fn process(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let served = match turn.index {
            REQUEST_QUEUE => {
                self.observer.event(DriverEvent::Notified);
                self.serve_requests(turn, PATIENCE)?
            }
            EVENT_QUEUE => lock(&self.iommu).process_events(turn.queue, &turn.mem.pin())?,
            _ => Served::default(),
        };
        Ok(self.progress(served))
    }

    fn resume(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let served = match turn.index {
            // No patience: this runs again when the access that is waited for has ended.
            REQUEST_QUEUE if self.unfinished => self.serve_requests(turn, 0)?,
            // Whether or not requests are left: faults to be reported are deferred work, too.
            EVENT_QUEUE => lock(&self.iommu).process_events(turn.queue, &turn.mem.pin())?,
            _ => Served::default(),
        };
        Ok(self.progress(served))
    }

    fn save(&self) -> DeviceState {
        DeviceState::Iommu {
            state: Box::new(lock(&self.iommu).save()),
            unfinished: self.unfinished,
        }
    }

    fn restore(&mut self, saved: &DeviceState) -> Result<(), WrongState> {
        let DeviceState::Iommu { state, unfinished } = saved else {
            return Err(WrongState::Kind);
        };
        let mut iommu = lock(&self.iommu);
        // First, as it can fail: nothing has changed by then.
        iommu.restore(state)?;
        self.config = iommu.config_space();
        self.unfinished = *unfinished;
        drop(iommu);
        // Nobody notifies again what the driver had notified before the snapshot.
        if self.unfinished {
            self.deferred_work.announce();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
