//! The device of the target `vhost_user_backend`.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::Sender;

use vhost::vhost_user::VhostUserProtocolFeatures;
use vhost_user_backend::{VringRwLock, VringT};
use viommu::DmaSpace;
use viommu_vhost_user::backend::VhostUserBackend;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddressSpace};
use vmm_sys_util::epoll::EventSet;

/// A device that takes all chains and reads and writes what they lead to.
pub struct Device {
    spaces: Mutex<Sender<DmaSpace>>,
    space: Mutex<Option<DmaSpace>>,
}

impl Device {
    /// Creates one that sends each space that it is given to `spaces`.
    pub fn new(spaces: Sender<DmaSpace>) -> Self {
        Self {
            spaces: Mutex::new(spaces),
            space: Mutex::new(None),
        }
    }
}

impl VhostUserBackend for Device {
    type Vring = VringRwLock<DmaSpace>;

    fn num_queues(&self) -> usize {
        2
    }

    fn max_queue_size(&self) -> usize {
        16
    }

    fn features(&self) -> u64 {
        1 << 32 | 1 << 29
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let inside = offset < 8;
        (0..size).filter(|_| inside).map(|_| 0xc0).collect()
    }

    fn set_event_idx(&self, _: bool) {}

    fn update_memory(&self, memory: DmaSpace) -> io::Result<()> {
        *self.space.lock().expect("nobody panics") = Some(memory.clone());
        let sender = self.spaces.lock().expect("nobody panics");
        sender.send(memory).map_err(io::Error::other)
    }

    fn handle_event(
        &self,
        _: u16,
        _: EventSet,
        vrings: &[Self::Vring],
        _: usize,
    ) -> io::Result<()> {
        let space = self.space.lock().expect("nobody panics").clone();
        let Some(space) = space else {
            return Ok(());
        };
        for vring in vrings {
            // No more than a queue has, so that an event has an end.
            for _ in 0..16 {
                let memory = space.memory();
                let mut state = vring.get_mut();
                let Some(chain) = state.get_queue_mut().pop_descriptor_chain(&*memory) else {
                    break;
                };
                let head = chain.head_index();
                drop(state);
                for descriptor in chain.writable() {
                    let _ = memory.write_obj(0xa5u8, descriptor.addr());
                }
                drop(memory);
                let _ = vring.add_used(head, 1);
                let _ = vring.signal_used_queue();
            }
        }
        Ok(())
    }
}
