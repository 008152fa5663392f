//! An entropy device, as a vhost-user back end: all that a device has to say.

use std::fs::File;
use std::io::{Read, Result};
use std::sync::Mutex;

use vhost_user_backend::{VringRwLock, VringT};
use viommu::DmaSpace;
use viommu_vhost_user::backend::VhostUserBackend;
use virtio_queue::QueueT;
use vm_memory::GuestAddressSpace;
use vmm_sys_util::epoll::EventSet;

/// The only queue, of requests.
const QUEUES: usize = 1;
const QUEUE_SIZE: usize = 256;
/// `VIRTIO_F_VERSION_1`.
const VERSION_1: u64 = 1 << 32;
/// The most bytes for one request.
const MAX_REQUEST: usize = 64 << 10;

/// Fills the guest's buffers from a source of entropy.
pub struct Rng {
    source: Mutex<File>,
    memory: Mutex<Option<DmaSpace>>,
}

impl Rng {
    /// Creates a device that reads from `source`.
    pub fn new(source: File) -> Self {
        Self {
            source: Mutex::new(source),
            memory: Mutex::new(None),
        }
    }

    /// Answers the requests that are there.
    fn answer(&self, vring: &VringRwLock<DmaSpace>, space: &DmaSpace) -> Result<()> {
        loop {
            // A pin for each request: who unmaps its buffer waits for no other.
            let memory = space.memory();
            let chain = {
                let mut state = vring.get_mut();
                state.get_queue_mut().pop_descriptor_chain(&*memory)
            };
            let Some(chain) = chain else {
                return Ok(());
            };
            let head = chain.head_index();
            let mut written = 0;
            if let Ok(mut writer) = chain.writer(&*memory) {
                let wanted = writer.available_bytes().min(MAX_REQUEST);
                let mut bytes = vec![0; wanted];
                self.source.lock().unwrap().read_exact(&mut bytes)?;
                // What is out of reach ends the request: the driver is told how much it has.
                written = std::io::Write::write(&mut writer, &bytes).unwrap_or(0);
            }
            drop(memory);
            let written = u32::try_from(written).unwrap_or(0);
            let added = vring.add_used(head, written);
            added.map_err(std::io::Error::other)?;
            vring.signal_used_queue()?;
        }
    }
}

impl VhostUserBackend for Rng {
    type Vring = VringRwLock<DmaSpace>;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        VERSION_1
    }

    fn set_event_idx(&self, _: bool) {}

    fn update_memory(&self, memory: DmaSpace) -> Result<()> {
        *self.memory.lock().unwrap() = Some(memory);
        Ok(())
    }

    fn handle_event(&self, _: u16, _: EventSet, vrings: &[Self::Vring], _: usize) -> Result<()> {
        let space = self.memory.lock().unwrap().clone();
        match (vrings.first(), space) {
            (Some(vring), Some(space)) => self.answer(vring, &space),
            _ => Ok(()),
        }
    }
}
