//! A driver of an entropy device.

use std::os::fd::AsFd;
use std::slice::from_ref;

use rustix::event::{EventfdFlags, eventfd};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::common::{Guest, RAM, TRANSLATED, wait_until};
use viommu_vhost_user::frontend::{BackendChannel, BackendEvent, Frontend};

/// The buffer; the queue is at the beginning of memory.
pub const BUFFER: u64 = RAM + 0x8000;
/// A descriptor that the device writes to.
const WRITE: u16 = 2;

/// A guest with a queue of the device, at the same addresses for both.
pub struct Driver<'a> {
    pub frontend: Frontend,
    pub channel: BackendChannel,
    queue: MockSplitQueue<'a, GuestMemoryMmap<()>>,
    kick: rustix::fd::OwnedFd,
    call: rustix::fd::OwnedFd,
}

impl<'a> Driver<'a> {
    pub fn new(frontend: &Frontend, guest: &'a Guest, next: u16) -> Self {
        let offer = frontend.begin().unwrap();
        assert_eq!(offer.features & TRANSLATED, TRANSLATED);
        let channel = frontend.open_backend_channel().unwrap();
        frontend.set_features(TRANSLATED).unwrap();
        frontend.set_memory(from_ref(&guest.region)).unwrap();
        let queue = MockSplitQueue::create(&guest.memory, GuestAddress(RAM), 16);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let driver = Self {
            frontend: frontend.clone(),
            channel,
            queue,
            kick: eventfd(0, flags).unwrap(),
            call: eventfd(0, flags).unwrap(),
        };
        let queue = &driver.queue;
        let places = (
            queue.desc_table_addr().0,
            queue.avail_addr().0,
            queue.used_addr().0,
        );
        frontend.set_queue(0, 16, places, next).unwrap();
        let (kick, call) = (driver.kick.as_fd(), driver.call.as_fd());
        frontend.set_queue_events(0, kick, call).unwrap();
        frontend.enable_queue(0, true).unwrap();
        driver
    }

    /// Requests 16 bytes; returns how many there are, and the faults on the way.
    pub fn request(&mut self, address: u64) -> (u32, Vec<BackendEvent>) {
        let buffer = RawDescriptor::from(Descriptor::new(address, 16, WRITE, 0));
        let used = self.queue.used().idx().load();
        self.queue.add_desc_chains(&[buffer], 0).unwrap();
        rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
        let mut events = Vec::new();
        wait_until(|| {
            events.extend(self.channel.serve().unwrap());
            rustix::io::read(&self.call, &mut [0u8; 8]).is_ok()
        });
        let element = self.queue.used().ring().ref_at(usize::from(used)).unwrap();
        (element.load().len(), events)
    }
}
