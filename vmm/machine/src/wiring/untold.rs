//! What other processes write to the guest's memory, of which nobody tells the cores.

use std::sync::{Arc, Weak};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MmapRegion};
use vmm_base::code_pages::{PAGE, Untold};
use vmm_devices::ram::GuestRam;
use vmm_devices::virtio::vhost_user::Writes;

/// Devices that write one region of memory.
struct Others {
    /// Weak: memory has this.
    ram: Weak<GuestRam>,
    /// Physical address of the region's first byte.
    base: u64,
    devices: Vec<Writes>,
}

/// Has what `devices` write to `ram` looked for, if there are any.
pub(super) fn watch(ram: &Arc<GuestRam>, devices: Vec<Writes>) {
    let Some(region) = ram.iter().next().filter(|_| !devices.is_empty()) else {
        return;
    };
    let others = Others {
        ram: Arc::downgrade(ram),
        base: region.start_addr().0,
        devices,
    };
    let marks = MmapRegion::bitmap(region).clone();
    marks.code_pages().set_untold(Box::new(others));
}

impl Untold for Others {
    fn may_have_written(&self) -> bool {
        // All are asked: each remembers what it has answered.
        let written = self.devices.iter().filter(|device| device.any());
        written.count() > 0
    }

    fn read(&self, number: u32, page: &mut [u8; PAGE]) {
        let at = self.base.saturating_add(u64::from(number) * PAGE as u64);
        if let Some(ram) = self.ram.upgrade() {
            // Beyond memory no code was made from anything.
            let _ = ram.read_slice(page, GuestAddress(at));
        }
    }
}
