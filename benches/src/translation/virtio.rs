//! A virtio-iommu, and the driver's side of its request queue.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and lengths are chosen below 4 GiB"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use viommu::DmaSpace;
use viommu::virtio::{EndpointConfig, Observers, VirtioIommu, VirtioIommuConfig};
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::peers::Viommu;
use super::world::World;

/// Bytes of a page.
pub const PAGE: u64 = 0x1000;
/// Where RAM is.
const RAM: u64 = 0x8000_0000;
/// Bytes for rings and buffers, apart from what is mapped.
const RAM_SIZE: usize = 16 * PAGE as usize;
/// Entries of the queue; a chain takes two.
const SIZE: u16 = 128;
/// Bytes from one request to the next in memory.
const SLOT: u64 = 64;
/// `VIRTQ_DESC_F_NEXT` and `VIRTQ_DESC_F_WRITE` (virtio 1.2, 2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A device, a domain with mappings, and the driver's rings.
pub struct Driver {
    /// The device.
    pub iommu: VirtioIommu,
    /// A bus master that the mappings are for.
    pub device: DmaSpace,
    /// Where IOVAs begin that are not mapped.
    spare: u64,
    /// A page that they can lead to.
    frame: u64,
    queue: Queue,
    memory: Arc<GuestMemoryMmap<()>>,
    own: DmaSpace,
    available: u16,
    used: u16,
    next: u16,
}

impl Driver {
    /// Creates a device with an endpoint on a domain that has the mappings of `world`, with a
    /// translation cache or without.
    ///
    /// # Panics
    /// If the device refuses what it documents, or the host has not enough memory.
    pub fn new(world: &World, cached: bool) -> Self {
        let ranges = [(GuestAddress(RAM), RAM_SIZE)];
        let memory: Arc<GuestMemoryMmap<()>> =
            Arc::new(GuestMemoryMmap::from_ranges(&ranges).expect("so much RAM can be had"));
        let mut config = VirtioIommuConfig::new([EndpointConfig::new(8)]);
        if !cached {
            // Each access is then translated by the device's own store of mappings.
            config.cache.entries = 0;
        }
        let (ram, observers) = (Arc::clone(&world.memory), Observers::default());
        let mut iommu = VirtioIommu::new(ram, config, Box::new(|| {}), observers)
            .expect("there is such a device");
        let offered = iommu.offered_features();
        iommu.activate(offered).expect("they are offered");
        let device = iommu.space(8).expect("there is endpoint 8");
        let mut queue = Queue::new(SIZE).expect("the size is a power of two");
        let low = |page: u64| Some((RAM + page * PAGE) as u32);
        queue.set_desc_table_address(low(0), None);
        queue.set_avail_ring_address(low(1), None);
        queue.set_used_ring_address(low(2), None);
        queue.set_ready(true);
        let mut driver = Self {
            iommu,
            device,
            spare: world.iova(world.mappings),
            frame: world.spare_pages(),
            queue,
            own: DmaSpace::pass_through(Arc::clone(&memory)),
            memory,
            available: 0,
            used: 0,
            next: 0,
        };
        // ATTACH of endpoint 8 to domain 1.
        driver.send(&[[1, 0, 0, 0], [1, 0, 0, 0], [8, 0, 0, 0], [0; 4], [0; 4]].concat());
        driver.serve(1);
        for index in 0..world.mappings {
            // Each is served at once, as the queue has room for 64 requests only.
            driver.send_map(world.iova(index), world.physical(index));
            driver.serve(1);
        }
        driver
    }

    /// Returns the path of the bus master's accesses.
    pub fn viommu(&self) -> Viommu {
        Viommu::behind(self.iommu.unit(), self.device.clone())
    }

    /// Returns the IOVA of a page that is not mapped: in the 4 MiB after those that are, as a
    /// driver's allocator has them.
    pub fn spare_iova(&self, page: u64) -> u64 {
        self.spare + page % 1024 * PAGE
    }

    /// Makes a MAP of the page at `iova` available, to read and write.
    pub fn map(&mut self, iova: u64) {
        self.send_map(iova, self.frame);
    }

    fn send_map(&mut self, iova: u64, address: u64) {
        // MAP into domain 1, for reading and writing (virtio 1.2, 5.13.6).
        let mut request = vec![3, 0, 0, 0, 1, 0, 0, 0];
        for number in [iova, iova + (PAGE - 1), address] {
            request.extend(number.to_le_bytes());
        }
        request.extend([3, 0, 0, 0]);
        self.send(&request);
    }

    /// Makes an UNMAP of the page at `iova` available.
    pub fn unmap(&mut self, iova: u64) {
        // UNMAP from domain 1.
        let mut request = vec![4, 0, 0, 0, 1, 0, 0, 0];
        for number in [iova, iova + (PAGE - 1)] {
            request.extend(number.to_le_bytes());
        }
        request.extend([0; 4]);
        self.send(&request);
    }

    fn send(&mut self, request: &[u8]) {
        let slot = u64::from(self.next);
        // The request lies in the slot of its own descriptor and its status in the one of the
        // other, so that no two chains share memory.
        let place = RAM + 3 * PAGE + slot * SLOT;
        self.write(place, request);
        let (readable, writable) = (self.next, self.next + 1);
        self.next = (self.next + 2) % SIZE;
        let tail = place + SLOT;
        // A status that no device writes, so that a missing one shows.
        self.write(tail, &[0xff; 4]);
        let length = request.len() as u32;
        for (index, descriptor) in [
            (readable, Descriptor::new(place, length, NEXT, writable)),
            (writable, Descriptor::new(tail, 4, WRITE, 0)),
        ] {
            self.memory
                .write_obj(descriptor, GuestAddress(RAM + u64::from(index) * 16))
                .expect("the ring is RAM");
        }
        let entry = RAM + PAGE + 4 + u64::from(self.available % SIZE) * 2;
        self.write(entry, &readable.to_le_bytes());
        self.available = self.available.wrapping_add(1);
        // After the entry: a device that sees the index reads what is there.
        self.memory
            .store(
                self.available.to_le(),
                GuestAddress(RAM + PAGE + 2),
                Ordering::Release,
            )
            .expect("the ring is RAM");
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(at))
            .expect("rings and buffers are RAM");
    }

    /// Times the device's part of the `count` requests that are available, and checks that each
    /// succeeded.
    ///
    /// # Panics
    /// If one did not.
    pub fn serve(&mut self, count: u16) -> Duration {
        let start = Instant::now();
        let served = self
            .iommu
            .process_requests(&mut self.queue, &self.own.pin());
        let taken = start.elapsed();
        // The clock has stopped: what follows is the driver's part.
        let served = served.expect("the queue is sound");
        assert!(served.used && !served.pending);
        for _ in 0..count {
            let slot = u64::from(self.used % SIZE);
            let element = RAM + 2 * PAGE + 4 + slot * 8;
            let head: u32 = self.read(element);
            assert_eq!(self.read::<u32>(element + 4), 4);
            let tail = RAM + 3 * PAGE + u64::from(head + 1) * SLOT;
            assert_eq!(self.read::<u32>(tail), 0, "VIRTIO_IOMMU_S_OK");
            self.used = self.used.wrapping_add(1);
        }
        assert_eq!(self.read::<u16>(RAM + 2 * PAGE + 2), self.used);
        taken
    }

    fn read<T: vm_memory::ByteValued>(&self, at: u64) -> T {
        self.memory
            .read_obj(GuestAddress(at))
            .expect("rings and buffers are RAM")
    }
}
