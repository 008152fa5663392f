//! A driver of an entropy device.

use std::os::fd::AsFd;

use rustix::event::{EventfdFlags, eventfd};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::common::{Guest, Iommu, RAM, TRANSLATED, wait_until};
use viommu::DmaSpace;
use viommu_vhost_user::frontend::{BackendChannel, Frontend, Notice, Offer, Ring};

/// The buffer; the queue is at the beginning of memory.
pub const BUFFER: u64 = RAM + 0x8000;
/// A descriptor that the device writes to.
const WRITE: u16 = 2;

/// A guest with a queue of the device, at the same addresses for both.
pub struct Driver<'a> {
    pub frontend: Frontend,
    pub offer: Offer,
    pub channel: BackendChannel,
    space: DmaSpace,
    queue: MockSplitQueue<'a, GuestMemoryMmap<()>>,
    kick: rustix::fd::OwnedFd,
    call: rustix::fd::OwnedFd,
}

impl<'a> Driver<'a> {
    pub fn new(frontend: &Frontend, guest: &'a Guest, iommu: &Iommu, base: u16) -> Self {
        let offer = guest.set_up(frontend, iommu, TRANSLATED);
        let queue = MockSplitQueue::create(&guest.memory, GuestAddress(RAM), 16);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let driver = Self {
            frontend: frontend.clone(),
            offer,
            channel: frontend.open_channel().unwrap(),
            space: iommu.space(),
            queue,
            kick: eventfd(0, flags).unwrap(),
            call: eventfd(0, flags).unwrap(),
        };
        let queue = &driver.queue;
        let ring = Ring {
            size: 16,
            base,
            descriptors: queue.desc_table_addr().0,
            available: queue.avail_addr().0,
            used: queue.used_addr().0,
            kick: driver.kick.as_fd(),
            call: driver.call.as_fd(),
        };
        frontend.start_ring(&offer, 0, &ring).unwrap();
        driver
    }

    /// Requests 16 bytes; returns how many there are, and what the device had to say.
    pub fn request(&mut self, address: u64) -> (u32, Vec<Notice>) {
        let buffer = RawDescriptor::from(Descriptor::new(address, 16, WRITE, 0));
        let used = self.queue.used().idx().load();
        self.queue.add_desc_chains(&[buffer], 0).unwrap();
        rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
        let mut events = Vec::new();
        wait_until(|| {
            events.extend(self.channel.serve(Some(&self.space)).unwrap());
            rustix::io::read(&self.call, &mut [0u8; 8]).is_ok()
        });
        let element = self.queue.used().ring().ref_at(usize::from(used)).unwrap();
        (element.load().len(), events)
    }

    /// Stops the queue; returns where the device would go on.
    pub fn stop(&self) -> u16 {
        self.frontend.stop_ring(&self.offer, 0).unwrap()
    }
}
