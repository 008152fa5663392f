//! A device's work on a virtio queue: take a chain of three descriptors as virtio-blk has them,
//! read its header, fill a sector, write the status, return the chain.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and lengths are chosen below 4 GiB"
)]

use std::fmt::Debug;
use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use super::Contenders;
use crate::translation::peers::Peer;
use crate::translation::rounds::Case;
use crate::translation::table::PAGE;
use crate::translation::world::Order;

/// Entries of the queue.
const SIZE: u16 = 256;
/// Descriptors of a chain.
const CHAIN: u16 = 3;
/// Chains made available at a time.
const CHAINS: u16 = SIZE / CHAIN;
/// `VIRTQ_DESC_F_NEXT` (virtio 1.2, 2.7.5).
const NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`.
const WRITE: u16 = 2;
/// The chain's buffers: bytes and flags.
const BUFFERS: [(u32, u16); CHAIN as usize] = [(16, NEXT), (512, NEXT | WRITE), (1, WRITE)];
/// Random accesses lie on multiples of 64; from here on a page has room for a sector.
const LAST_START: u64 = PAGE - 512;

/// Returns the case of the same chains through each contender.
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let world = contenders.world;
    // The first mappings adjoin each other in IOVA; the plain ring has adjoining pages of its own.
    // What one contender leaves in the others' rings is written anew before they are used.
    let (iova, physical) = (world.iova(0), world.spare_pages());
    let (space, memory) = (&contenders.viommu.space, &contenders.vm_memory);
    let plain = contenders.plain;
    let case = Case::new("virtio-queue chain of 3")
        .with(Peer::Viommu, {
            let mut ring = Ring::new(iova, iova + 3 * PAGE, world.random_iovas());
            move |count| {
                ring.run(space, count, |queue| {
                    let pinned = space.pin();
                    serve(queue, &pinned)
                })
            }
        })
        .with(Peer::VmMemory, {
            let mut ring = Ring::new(iova, iova + 3 * PAGE, world.random_iovas());
            move |count| ring.run(memory, count, |queue| serve(queue, memory))
        })
        .with(Peer::Mmap, {
            let mut ring = Ring::new(physical, 0, world.random_physical());
            move |count| ring.run(plain, count, |queue| serve(queue, plain))
        });
    vec![case]
}

/// Does the device's part for one chain; returns false if there is none.
fn serve<M: GuestMemory>(queue: &mut Queue, memory: &M) -> bool {
    let Some(chain) = queue.pop_descriptor_chain(memory) else {
        return false;
    };
    let head = chain.head_index();
    let mut written = 0;
    for descriptor in chain {
        let length = descriptor.len() as usize;
        // No length in `BUFFERS` is larger.
        let mut buffer = [0; 512];
        if descriptor.is_write_only() {
            memory.write_slice(&buffer[..length], descriptor.addr())
        } else {
            memory.read_slice(&mut buffer[..length], descriptor.addr())
        }
        .expect("buffers are mapped");
        black_box(&buffer);
        written += length as u32;
    }
    queue
        .add_used(memory, head, written)
        .expect("the ring is mapped");
    true
}

/// A queue and the driver's side of it: descriptors, the available ring and the used ring, a page
/// each.
struct Ring<'w> {
    queue: Queue,
    base: u64,
    available: u16,
    buffers: Order<'w>,
    /// Buffers lie at or above this address, so that none is a page of the ring.
    first_buffer: u64,
}

impl<'w> Ring<'w> {
    fn new(base: u64, first_buffer: u64, buffers: Order<'w>) -> Self {
        let mut queue = Queue::new(SIZE).expect("the size is a power of two");
        let address = |page: u64| {
            let address = base + page * PAGE;
            (Some(address as u32), Some((address >> 32) as u32))
        };
        let (low, high) = address(0);
        queue.set_desc_table_address(low, high);
        let (low, high) = address(1);
        queue.set_avail_ring_address(low, high);
        let (low, high) = address(2);
        queue.set_used_ring_address(low, high);
        queue.set_ready(true);
        Self {
            queue,
            base,
            available: 0,
            buffers,
            first_buffer,
        }
    }

    /// Times the device's part of `count` chains.
    fn run<M: Bytes<GuestAddress, E: Debug>>(
        &mut self,
        memory: &M,
        count: u64,
        mut serve: impl FnMut(&mut Queue) -> bool,
    ) -> Duration {
        let mut left = count;
        let mut taken = Duration::ZERO;
        while left > 0 {
            let chains = CHAINS.min(u16::try_from(left).unwrap_or(u16::MAX));
            self.drive(memory, chains);
            let start = Instant::now();
            let mut served = 0;
            while serve(&mut self.queue) {
                served += 1;
            }
            taken += start.elapsed();
            // A contender that loses chains would only seem fast.
            assert_eq!(served, chains);
            left -= u64::from(chains);
        }
        taken
    }

    /// Does the driver's part, unmeasured: makes `chains` with new random buffers available.
    fn drive<M: Bytes<GuestAddress, E: Debug>>(&mut self, memory: &M, chains: u16) {
        let ring = |page: u64, offset: u64| GuestAddress(self.base + page * PAGE + offset);
        for chain in 0..chains {
            let head = chain * CHAIN;
            for (n, (length, flags)) in (0..CHAIN).zip(BUFFERS) {
                let index = head + n;
                let first = self.first_buffer;
                let buffer = self
                    .buffers
                    .next_where(|address| address >= first && address % PAGE <= LAST_START);
                // The last one's `next` is not looked at, as its flags do not have NEXT.
                let descriptor = Descriptor::new(buffer, length, flags, index + 1);
                memory
                    .write_obj(descriptor, ring(0, u64::from(index) * 16))
                    .expect("the ring is mapped");
            }
            // The index runs over all 16 bits; SIZE divides 65536, so that slots follow each other
            // at its wrap too.
            let slot = self.available.wrapping_add(chain) % SIZE;
            memory
                .write_obj(head.to_le(), ring(1, 4 + 2 * u64::from(slot)))
                .expect("the ring is mapped");
        }
        self.available = self.available.wrapping_add(chains);
        // After the entries: a device that sees the index reads what is there.
        memory
            .store(self.available.to_le(), ring(1, 2), Ordering::Release)
            .expect("the ring is mapped");
    }
}
