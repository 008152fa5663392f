//! What a virtio slot and the device in it *are*, as plain data.

use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use viommu::virtio::{RestoreError, VirtioIommuState};
use virtio_queue::{Queue, QueueState, QueueT};

use super::VirtioMmio;
use super::block::Begun;
use super::mmio::Registers;
use super::net::NetState;
use super::schedule::Deferred;
use crate::disk::DiskSummary;
use vmm_net::WrongPeer;

/// A slot: what the driver has told it, its queues and its device. What a disk holds is not part of
/// it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtioState {
    /// The registers of the transport.
    pub registers: Registers,
    /// One for each queue.
    pub queues: Vec<SavedQueue>,
    /// The device.
    pub device: DeviceState,
    /// Queues that are to be served again.
    pub deferred: Option<Deferred>,
}

/// The state of a device apart from its queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// A disk.
    Block {
        /// Its activity.
        summary: DiskSummary,
        /// The request that it has begun, for each queue.
        begun: Vec<Option<Begun>>,
    },
    /// A network interface, with what its cable leads to.
    Net(Box<NetState>),
    /// The entropy device: its generator.
    Rng(Xoshiro256PlusPlus),
    /// A device in another process, which has its state.
    Elsewhere,
    /// A virtio-iommu.
    Iommu {
        /// The state that its driver has set up.
        state: Box<VirtioIommuState>,
        /// Whether requests are left to be served or answered.
        unfinished: bool,
    },
}

/// A queue. Between two pieces of work a queue has no more state than this: what it has counted
/// since the driver was last notified is looked at, and begun anew, at the end of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedQueue(#[serde(with = "QueueData")] QueueState);

/// [`QueueState`], which has no `serde` of its own.
#[derive(Serialize, Deserialize)]
#[serde(remote = "QueueState")]
struct QueueData {
    max_size: u16,
    next_avail: u16,
    next_used: u16,
    event_idx_enabled: bool,
    size: u16,
    ready: bool,
    desc_table: u64,
    avail_ring: u64,
    used_ring: u64,
}

/// A saved state that does not fit the slot or its device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongState {
    /// It is of another kind of device.
    #[error("the saved state is of another kind of virtio device")]
    Kind,
    /// It is of queues that the device does not have.
    #[error("the saved state has queues that the virtio device cannot have")]
    Queues,
    /// It has a request that cannot have been begun.
    #[error("the saved state of a disk has begun a request that it cannot have begun")]
    Begun,
    /// It has a frame that no network has.
    #[error("the saved state of a network interface has a frame of a size that no frame has")]
    Frame,
    /// It is of another network.
    #[error(transparent)]
    Peer(#[from] WrongPeer),
    /// It is of another virtio-iommu.
    #[error(transparent)]
    Iommu(#[from] RestoreError),
}

impl VirtioMmio {
    /// Returns the state to be saved. Kicks that nobody has seen yet are not part of it.
    pub fn save(&self) -> VirtioState {
        VirtioState {
            registers: self.regs,
            queues: self.queues.iter().map(|q| SavedQueue(q.state())).collect(),
            device: self.device.save(),
            deferred: self.left_over(),
        }
    }

    /// Takes over a saved state. The interrupt line is left to the controller's own state.
    ///
    /// # Errors
    /// The state does not fit; then nothing changes.
    pub fn restore(&mut self, saved: &VirtioState) -> Result<(), WrongState> {
        let VirtioState {
            registers,
            queues,
            device,
            deferred,
        } = saved;
        // A bit for a queue that does not exist would have it served.
        let unknown = |deferred: &Deferred| {
            let known = self.queues.len().try_into().unwrap_or(u32::MAX);
            // A shift by 64 or more leaves nothing unknown, but would overflow.
            deferred.queues.checked_shr(known).unwrap_or(0) != 0
        };
        if queues.len() != self.queues.len() || deferred.as_ref().is_some_and(unknown) {
            return Err(WrongState::Queues);
        }
        let fits = |(mine, saved): (&Queue, &SavedQueue)| {
            // This checks size and alignment as writes of the registers do.
            let queue = Queue::try_from(saved.0).map_err(|_| WrongState::Queues)?;
            // The device bounds its work by the sizes that it offers, so that no other is taken.
            let same = queue.max_size() == mine.max_size();
            same.then_some(queue).ok_or(WrongState::Queues)
        };
        let queues = self.queues.iter().zip(queues).map(fits);
        let queues = queues.collect::<Result<Vec<_>, _>>()?;
        // The last step that can fail: what follows changes the slot.
        self.device.restore(device)?;
        self.queues = queues;
        // Unchecked: at worst these make a device that its driver cannot use before it resets it.
        self.regs = *registers;
        self.set_deferred(*deferred);
        Ok(())
    }
}
