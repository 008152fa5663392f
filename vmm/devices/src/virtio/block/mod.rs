//! The block device (5.2) over a raw file.
//!
//! | offered | |
//! |---|---|
//! | VIRTIO_BLK_F_SEG_MAX, SIZE_MAX, BLK_SIZE, FLUSH | always |
//! | VIRTIO_BLK_F_RO | when the disk is read-only |
//! | VIRTIO_BLK_F_DISCARD, WRITE_ZEROES | when it is not |
//! | VIRTIO_BLK_F_MQ | when it has more than one queue |
//! | geometry, topology, CONFIG_WCE, secure erase, zones, lifetime | not offered |
//!
//! What a guest sees when memory is out of reach of the device, through its IOMMU or because the
//! address is unmapped, as well as the IOMMU's own report:
//!
//! | out of reach | |
//! |---|---|
//! | header, ranges or data | the request ends with VIRTIO_BLK_S_IOERR; data before the fault may have been moved |
//! | status byte | the buffer is used with length 0 (what of the data was written, if any): nobody can be told more |
//! | chain's descriptors | the buffer is used with length 0 |
//! | rings | DEVICE_NEEDS_RESET and a configuration change interrupt (2.1.2) |
//!
//! The device has a volatile write cache (the host's): what was flushed survives.

mod begun;
mod failure;
mod faults;
mod flush;
mod request;
pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::QueueT;

use crate::disk::{Counters, Disk, Flight, count};
pub use begun::Begun;
use spec::*;
use vmm_faults::DeviceFaults;

use super::faults::change_chain;
use super::waits::Waiting;
use super::{
    Buffers, DeviceState, Progress, QueueService, ServeError, VirtioDevice, WrongState, serve,
};

/// A block device.
pub struct Block {
    disk: Disk,
    id: [u8; ID_BYTES],
    queue_sizes: Vec<u16>,
    config: Vec<u8>,
    counters: Arc<Counters>,
    /// Faults that are put in, if any may be.
    faults: Option<DeviceFaults>,
    /// The request of each queue that goes on in its next turn.
    begun: Vec<Option<Begun>>,
    /// The flush of each queue that is under way.
    flights: Vec<Option<Flight>>,
    /// Whom to tell of them; without, they are waited for.
    waiting: Option<Waiting>,
}

impl Block {
    /// Creates a device with `queues` queues over `disk`, which calls itself `id` (at most 20 bytes
    /// are shown).
    pub fn new(disk: Disk, id: &str, queues: u16) -> Self {
        let mut name = [0; ID_BYTES];
        for (to, from) in name.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        Self {
            config: config(disk.sectors, queues, !disk.read_only),
            queue_sizes: vec![QUEUE_SIZE; usize::from(queues)],
            id: name,
            disk,
            counters: Arc::default(),
            faults: None,
            begun: vec![None; usize::from(queues)],
            flights: (0..queues).map(|_| None).collect(),
            waiting: None,
        }
    }

    /// Has faults put in where requests are fetched and executed.
    pub fn set_faults(&mut self, faults: DeviceFaults) {
        self.faults = Some(faults);
    }

    /// Returns the counters of what the disk did, to be looked at while it works.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl VirtioDevice for Block {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let mut features = 1 << VIRTIO_BLK_F_SEG_MAX
            | 1 << VIRTIO_BLK_F_SIZE_MAX
            | 1 << VIRTIO_BLK_F_BLK_SIZE
            | 1 << VIRTIO_BLK_F_FLUSH;
        if self.disk.read_only {
            features |= 1 << VIRTIO_BLK_F_RO;
        } else {
            features |= 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES;
        }
        if self.queue_sizes.len() > 1 {
            features |= 1 << VIRTIO_BLK_F_MQ;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn reset(&mut self) {
        self.begun.fill(None);
        // The threads go on to their end and find nobody that asks for their results.
        self.flights.fill_with(|| None);
    }

    fn reset_queue(&mut self, index: usize) {
        // As in `reset`, a flush under way ends by itself, unseen.
        self.begun[index] = None;
        self.flights[index] = None;
    }

    fn set_waiting(&mut self, waiting: Waiting) {
        self.waiting = Some(waiting);
    }

    fn waits(&self, index: usize) -> bool {
        self.flights[index].is_some()
    }

    fn process(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let QueueService {
            index,
            queue,
            mem,
            budget,
        } = turn;
        let mut finished = false;
        // The request that the last turn has left comes first: requests of a queue are answered in
        // their order.
        if let Some(begun) = self.begun[index].take() {
            // Taken out above, since `go_on` borrows all of the device; that puts it back if it is
            // not over.
            let head = begun.head;
            // No new request is fetched before this one is over.
            let Some(written) = self.go_on(index, begun, mem, budget) else {
                return Ok(Progress {
                    used: false,
                    more: true,
                });
            };
            queue.add_used(&mem.pin(), head, written)?;
            finished = true;
        }
        let answer = |head, mut buffers: Result<Buffers, _>, mem: &_, budget: &mut _| {
            // Only the device's copy changes: the descriptors in guest memory stay right.
            if let (Some(faults), Ok(buffers)) = (&self.faults, &mut buffers) {
                change_chain(faults, buffers);
            }
            self.answer(index, head, buffers, mem, budget)
        };
        let progress = serve(queue, mem, MAX_DESCRIPTORS, budget, answer)?;
        Ok(Progress {
            used: progress.used || finished,
            ..progress
        })
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block {
            summary: self.counters.summary(),
            begun: self.begun.clone(),
        }
    }

    fn restore(&mut self, saved: &DeviceState) -> Result<(), WrongState> {
        let DeviceState::Block { summary, begun } = saved else {
            return Err(WrongState::Kind);
        };
        // A snapshot is a file: offsets in it may lie beyond this disk.
        let possible = |begun: &Begun| begun.is_possible(&self.disk);
        if begun.len() != self.begun.len() || !begun.iter().flatten().all(possible) {
            return Err(WrongState::Begun);
        }
        self.begun.clone_from(begun);
        // A flush that was under way elsewhere begins anew: its request is among those begun.
        self.flights.fill_with(|| None);
        self.counters.restore(*summary);
        Ok(())
    }

    fn disk(&self) -> Option<&Disk> {
        Some(&self.disk)
    }

    fn disk_mut(&mut self) -> Option<&mut Disk> {
        Some(&mut self.disk)
    }
}
