//! The disks of a machine, whatever they stand behind.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmm_devices::disk::Disk;
use vmm_devices::disk::overlay::OverlaySummary;

use super::Machine;

fn lock<T>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine {
    /// Calls `what` with each disk and its place in the configuration, in the order of the board.
    pub(crate) fn each_disk(&self, mut what: impl FnMut(usize, &mut Disk)) {
        let entries = &self.board.devices;
        let slots = entries.iter().filter(|entry| entry.virtio);
        for (entry, slot) in slots.zip(&self.devices.virtio) {
            let mut slot = lock(slot);
            if let (Some(index), Some(disk)) = (entry.disk_index(), slot.device_mut().disk_mut()) {
                what(index, disk);
            }
        }
        let mut others = entries.iter().filter(|entry| !entry.virtio);
        let index = others.find_map(super::entry::Entry::disk_index);
        if let (Some(index), Some(ahci)) = (index, &self.devices.ahci)
            && let Some(disk) = lock(ahci).disk_mut()
        {
            what(index, disk);
        }
    }

    /// Fills `data` with what is on a disk now, from its `offset` on. Between two calls of
    /// [`run`](Self::run). What lies beyond its end is zero.
    ///
    /// # Errors
    /// There is no such disk, or the host cannot read it.
    pub fn read_disk(&self, disk: usize, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        self.each_disk(|index, found| {
            if index == disk {
                result = found.storage.read_at(offset, data);
            }
        });
        result
    }

    /// Returns the bytes that the overlays of disks take.
    pub(crate) fn overlays(&self) -> Vec<Option<OverlaySummary>> {
        let mut summaries = Vec::new();
        self.each_disk(|_, disk| summaries.push(disk.storage.summary()));
        summaries
    }
}
