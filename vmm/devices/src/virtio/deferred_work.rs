//! Work that a device can go on with when something has happened that its driver has no part in.
//!
//! A virtio-iommu has such work: requests wait until an access of another device has ended, and
//! faults of other devices are to be reported. Both come to pass on a thread, and under locks,
//! where the virtio-iommu cannot be served.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use vmm_base::Waker;

use super::VirtioMmio;

/// Devices with such work, and whether there is any.
#[derive(Default)]
pub struct DeferredWork {
    due: AtomicBool,
    /// Weak, as they are no owners: these devices hold the deferred work themselves, to announce
    /// it.
    devices: OnceLock<Vec<Weak<Mutex<VirtioMmio>>>>,
    waker: Option<Arc<Waker>>,
}

impl DeferredWork {
    /// Creates deferred work without devices; `waker` is woken when there is work.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            waker: Some(waker),
            ..Self::default()
        }
    }

    /// Sets the devices to serve. To be called once.
    pub fn connect(&self, devices: &[Arc<Mutex<VirtioMmio>>]) {
        let devices = devices.iter().map(Arc::downgrade).collect();
        let first = self.devices.set(devices);
        debug_assert!(first.is_ok(), "the devices are known already");
    }

    /// Announces work, for whoever comes next. May be called under any lock.
    pub fn announce(&self) {
        // In one order with the loads and the store in `run_with`: the flag may be raised on any
        // thread, at any time.
        self.due.store(true, Ordering::SeqCst);
        // After the flag, so that the run loop finds it raised when it wakes.
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// Forgets what was announced, for devices whose states are restored next.
    pub fn forget(&self) {
        self.due.store(false, Ordering::SeqCst);
    }

    /// Returns whether there is work.
    pub fn are_due(&self) -> bool {
        self.due.load(Ordering::SeqCst)
    }

    /// Does what there is to do, and returns whether there was anything. To be called with no
    /// device locked and nothing pinned: in virtual time after each write to a device's register
    /// and between slices, in host time also by the device thread after each piece of its work.
    pub fn run(&self) -> bool {
        let devices = self.devices.get().into_iter().flatten();
        self.run_with(devices.filter_map(Weak::upgrade))
    }

    /// Does the deferred work of these devices, as [`run`](Self::run) does.
    pub(super) fn run_with(&self, devices: impl Iterator<Item = Arc<Mutex<VirtioMmio>>>) -> bool {
        // A load is all that this costs when there is nothing to do.
        if !self.due.load(Ordering::SeqCst) {
            return false;
        }
        // Before the work: what is announced meanwhile is not forgotten.
        self.due.store(false, Ordering::SeqCst);
        for device in devices {
            // A poisoned device is served all the same: the panic was reported by its own thread.
            let mut device = device.lock().unwrap_or_else(PoisonError::into_inner);
            // All of them are asked: the flag does not say which one announced it.
            device.resume();
        }
        true
    }
}
