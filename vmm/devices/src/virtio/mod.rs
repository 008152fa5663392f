//! Virtio devices (OASIS Virtual I/O Device, version 1.2): the MMIO transport and the devices
//! behind it.

pub mod block;
pub mod budget;
mod buffers;
pub mod deferred_work;
mod faults;
pub mod iommu;
pub mod kick;
pub mod mmio;
pub mod net;
pub mod rng;
mod saved;
pub mod schedule;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod vhost_user;
pub mod waits;
pub mod worker;

use crate::ram::DmaSpace;
use virtio_bindings::virtio_config::VIRTIO_F_RING_RESET;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueOwnedT, QueueT};

use crate::disk::Disk;
use budget::Budget;
pub use buffers::{BufferError, Buffers, PIECE, Segment};
pub use mmio::VirtioMmio;
pub use saved::{DeviceState, SavedQueue, VirtioState, WrongState};
pub use viommu::virtio::ServeError;
use vmm_base::warn_guest;
use waits::Waiting;

/// What the rings of devices in this process can do: reset one by one, notifications by index, and
/// buffers that are listed apart from the ring.
pub const RING_FEATURES: u64 =
    1 << VIRTIO_F_RING_RESET | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// A kind of device behind the transport.
pub trait VirtioDevice: Send {
    /// Returns the device identifier (chapter 5).
    fn id(&self) -> u32;

    /// Returns the feature bits 0 to 23 that the device offers.
    fn features(&self) -> u64;

    /// Returns the greatest size of each queue: as many entries as the device has queues, powers of
    /// two.
    fn queue_sizes(&self) -> &[u16];

    /// Returns the configuration space; reads beyond its end see zeros.
    fn config(&self) -> &[u8];

    /// Writes `data` to the configuration space, as the driver does.
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let size = data.len();
        warn_guest!("virtio: {size}-byte write to configuration at {offset:#x}: ignored");
    }

    /// Returns whether in host time a thread serves its queues, so that the cores need not wait.
    fn may_wait(&self) -> bool {
        true
    }

    /// Is called when the driver is ready, having accepted `features`.
    fn activate(&mut self, features: u64) {
        let _ = features;
    }

    /// Does what [`activate`](Self::activate) does, for a device that has its queues served
    /// elsewhere, with the `queues` as their driver has set them up.
    fn start(&mut self, features: u64, queues: &[Queue]) {
        let _ = queues;
        self.activate(features);
    }

    /// Resets the device, as the driver asks.
    fn reset(&mut self) {}

    /// Returns the feature bits 24 to 40 that are about its rings.
    fn ring_features(&self) -> u64 {
        RING_FEATURES
    }

    /// Goes on with what the queue waits for other than its driver. Called when the device's
    /// [`DeferredWork`](deferred_work::DeferredWork) is due.
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn resume(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let _ = turn;
        Ok(Progress::default())
    }

    /// Serves the queue as far as the budget goes; [`Progress::more`] tells whether anything is
    /// left over.
    ///
    /// # Errors
    /// The queue itself is broken; the device then needs a reset. A bad request is answered
    /// instead.
    fn process(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError>;

    /// Sets whom to tell of queues that wait for the host.
    fn set_waiting(&mut self, waiting: Waiting) {
        let _ = waiting;
    }

    /// Returns whether queue `index`, of which more is left, goes on when the host has done
    /// something and not before.
    fn waits(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// Returns which queues are to be served although their driver has not asked for it, and when.
    /// Called after each turn of a queue.
    fn due(&self) -> Option<Due> {
        None
    }

    /// Resets queue `index` alone, as the driver asks.
    fn reset_queue(&mut self, index: usize) {
        let _ = index;
    }

    /// Returns what the device knows apart from its queues, to be saved.
    fn save(&self) -> DeviceState;

    /// Takes over what another device of the kind knew.
    ///
    /// # Errors
    /// It is of another kind, or cannot be this device's; then nothing changes.
    fn restore(&mut self, saved: &DeviceState) -> Result<(), WrongState>;

    /// Returns the device if it is another process.
    fn as_vhost_user(&mut self) -> Option<&mut vhost_user::VhostUser> {
        None
    }

    /// Returns what the device did, if it is a network interface.
    fn net_summary(&self) -> Option<net::NetSummary> {
        None
    }

    /// Returns the disk behind the device, if there is one.
    fn disk(&self) -> Option<&Disk> {
        None
    }

    /// Returns the disk behind the device, if there is one, to give it other contents.
    fn disk_mut(&mut self) -> Option<&mut Disk> {
        None
    }
}

/// A turn in which a device serves one of its queues.
#[derive(Debug)]
pub struct QueueService<'a> {
    /// The queue's number.
    pub index: usize,
    /// The queue, which is live.
    pub queue: &'a mut Queue,
    /// All that the device can reach.
    pub mem: &'a DmaSpace,
    /// How much may be done.
    pub budget: &'a mut Budget,
}

/// Queues that a device has something to do for by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// In how many nanoseconds; `None` is as soon as can be.
    pub after_ns: Option<u64>,
    /// A bit for each queue.
    pub queues: u64,
}

/// The result of serving a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// At least one buffer was used.
    pub used: bool,
    /// More buffers are available: serve the queue again, after letting others have a turn.
    pub more: bool,
}

/// Serves what is available in `queue`, at most one buffer for each entry of the ring, and none
/// once `budget` is spent. `answer` gets the buffers of each chain, of at most `max` descriptors,
/// or what is wrong with it. It returns how many bytes it wrote, or nothing if it goes on with this
/// chain in its next turn: then the queue has to be served again, and that chain first.
///
/// The rings are read and written under one pin of `mem` each time, and none is held while `answer`
/// runs: it takes those it needs. So an invalidation waits for a piece of the work and never for
/// all of it.
///
/// # Errors
/// The queue itself is broken.
pub fn serve(
    queue: &mut Queue,
    mem: &DmaSpace,
    max: usize,
    budget: &mut Budget,
    mut answer: impl FnMut(u16, Result<Buffers, BufferError>, &DmaSpace, &mut Budget) -> Option<u32>,
) -> Result<Progress, ServeError> {
    // A ring's worth, or a driver that refills it meanwhile would keep this loop going for good.
    let mut left = queue.size();
    loop {
        // While buffers are taken the driver need not notify of more: they are found anyway.
        queue.disable_notification(&mem.pin())?;
        let before = left;
        while left > 0 {
            let used = left < queue.size();
            // The driver's notifications stay off: the queue is served again without.
            if budget.is_spent() {
                return Ok(Progress { used, more: true });
            }
            let Some((head, buffers)) = fetch(queue, mem, max)? else {
                break;
            };
            // The least that a chain costs, for fetching it.
            budget.spend(0);
            // The chain is off the available ring by now: if it is not over, the device remembers
            // it.
            let Some(written) = answer(head, buffers, mem, budget) else {
                return Ok(Progress { used, more: true });
            };
            queue.add_used(&mem.pin(), head, written)?;
            left -= 1;
        }
        // Looks once more after notifications are on, or a buffer that came in between would wait
        // for the next one.
        let more = queue.enable_notification(&mem.pin())?;
        // The ring announces buffers and none could be fetched: a further round would find the
        // same.
        if more && before == left {
            return Err(ServeError::Stuck);
        }
        if !more || left == 0 {
            return Ok(Progress {
                used: left < queue.size(),
                more,
            });
        }
    }
}

/// The index of a chain's head, and the chain's buffers.
type Fetched = (u16, Result<Buffers, BufferError>);

/// Fetches the next chain.
fn fetch(queue: &mut Queue, mem: &DmaSpace, max: usize) -> Result<Option<Fetched>, ServeError> {
    // Held while the chain is walked, since its descriptors are in guest memory as well.
    let pin = mem.pin();
    let Some(chain) = queue.iter(&pin)?.next() else {
        return Ok(None);
    };
    let head = chain.head_index();
    Ok(Some((head, Buffers::new(chain, max))))
}
