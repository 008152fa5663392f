//! Work that a device can go on with when something else than its driver has happened.
//!
//! A virtio-iommu has such work: requests wait until an access of another device has ended, and faults of other
//! devices are to be reported. Both come to pass on a thread, and under locks, where the virtio-iommu cannot be served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use vmm_base::Waker;

use super::VirtioMmio;

/// Devices with such work, and whether there is any.
#[derive(Default)]
pub struct DeferredWork {
    due: AtomicBool,
    /// Not their owner: these devices have the chores themselves, to announce them.
    devices: OnceLock<Vec<Weak<Mutex<VirtioMmio>>>>,
    waker: Option<Arc<Waker>>,
}

impl DeferredWork {
    /// No devices yet; `waker` is woken when there is work.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            waker: Some(waker),
            ..Self::default()
        }
    }

    /// The devices to serve. To be called once.
    pub fn connect(&self, devices: &[Arc<Mutex<VirtioMmio>>]) {
        let devices = devices.iter().map(Arc::downgrade).collect();
        let first = self.devices.set(devices);
        debug_assert!(first.is_ok(), "the devices are known already");
    }

    /// There is work, for whoever comes next: may be called under any lock.
    pub fn announce(&self) {
        self.due.store(true, Ordering::SeqCst);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// Whether there is work.
    pub fn are_due(&self) -> bool {
        self.due.load(Ordering::SeqCst)
    }

    /// Does what there is to do; whether there was anything. To be called with no device locked and nothing pinned: in
    /// virtual time after each write to a device's register and between slices, in host time also by the device
    /// thread after each piece of its work.
    pub fn run(&self) -> bool {
        let devices = self.devices.get().into_iter().flatten();
        self.run_with(devices.filter_map(Weak::upgrade))
    }

    /// The same for these devices.
    pub(super) fn run_with(&self, devices: impl Iterator<Item = Arc<Mutex<VirtioMmio>>>) -> bool {
        // A load is all that this costs when there is nothing to do.
        if !self.due.load(Ordering::SeqCst) {
            return false;
        }
        // Before the work: what is announced meanwhile is not forgotten.
        self.due.store(false, Ordering::SeqCst);
        for device in devices {
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            device.resume();
        }
        true
    }
}
