//! A small virtio driver for unit tests, on fake guest memory.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ram::{DmaSpace, GuestRam};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use vm_memory::{Bytes, GuestAddress};
use vmm_base::Interrupt;

use super::{VirtioDevice, VirtioMmio};

pub(crate) const RAM: u64 = 0x4000_0000;
const RAM_SIZE: usize = 8 << 20;
/// Distance between the rings of two queues; buffers follow the rings of 16 queues.
const RING_STRIDE: u64 = 0x1_0000;
const BUFFERS: u64 = RAM + 16 * RING_STRIDE;

/// Creates guest memory from [`RAM`] on.
pub(crate) fn ram() -> Arc<GuestRam> {
    Arc::new(GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]).unwrap())
}

/// An interrupt line to look at.
#[derive(Debug, Default)]
pub(crate) struct Line(AtomicBool);

impl Line {
    pub(crate) fn level(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Interrupt for Line {
    fn set(&self, level: bool) {
        self.0.store(level, Ordering::Relaxed);
    }
}

/// Returns a descriptor that the device reads.
pub(crate) fn readable(addr: u64, len: u32) -> Descriptor {
    Descriptor::new(addr, len, 0, 0)
}

/// Returns a descriptor that the device writes.
pub(crate) fn writable(addr: u64, len: u32) -> Descriptor {
    Descriptor::new(addr, len, VRING_DESC_F_WRITE as u16, 0)
}

/// A driver with its device.
pub(crate) struct Driver {
    pub(crate) mmio: VirtioMmio,
    pub(crate) mem: DmaSpace,
    pub(crate) line: Arc<Line>,
    sizes: Vec<u16>,
    avail: Vec<u16>,
}

impl Driver {
    pub(crate) fn new(device: Box<dyn VirtioDevice>) -> Self {
        let line = Arc::new(Line::default());
        Self::with(device, DmaSpace::pass_through(ram()), line.clone(), line)
    }

    /// Creates a driver with a device that sees `mem`, which the driver uses too, and whose
    /// interrupt is `output`.
    pub(crate) fn with(
        device: Box<dyn VirtioDevice>,
        mem: DmaSpace,
        output: Arc<dyn Interrupt>,
        line: Arc<Line>,
    ) -> Self {
        let sizes = device.queue_sizes().to_vec();
        let avail = vec![0; sizes.len()];
        let mmio = VirtioMmio::new(device, mem.clone(), output, false);
        Self {
            mmio,
            mem,
            line,
            sizes,
            avail,
        }
    }

    pub(crate) fn reg(&self, offset: u32) -> u32 {
        self.mmio.read(u64::from(offset), 4) as u32
    }

    pub(crate) fn set(&mut self, offset: u32, value: u32) {
        self.mmio.write(u64::from(offset), 4, u64::from(value));
    }

    /// Does the whole initialisation, accepting VERSION_1 and `features`.
    pub(crate) fn start(&mut self, features: u64) {
        for status in [0, 1, 3] {
            self.set(VIRTIO_MMIO_STATUS, status);
        }
        for (select, word) in [(0, features as u32), (1, (features >> 32) as u32 | 1)] {
            self.set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, select);
            self.set(VIRTIO_MMIO_DRIVER_FEATURES, word);
        }
        // ACKNOWLEDGE, DRIVER and FEATURES_OK; with DRIVER_OK it is 15.
        self.set(VIRTIO_MMIO_STATUS, 11);
        assert_eq!(self.reg(VIRTIO_MMIO_STATUS), 11, "features were refused");
        for queue in 0..self.sizes.len() {
            self.set_up_queue(queue);
        }
        self.set(VIRTIO_MMIO_STATUS, 15);
        self.avail.fill(0);
    }

    pub(crate) fn set_up_queue(&mut self, queue: usize) {
        let [desc, avail, used] = rings(queue);
        // The indices may be left from before a reset, and the device begins at 0.
        for at in [avail, used] {
            self.mem.write_slice(&[0; 4], GuestAddress(at)).unwrap();
        }
        self.set(VIRTIO_MMIO_QUEUE_SEL, queue as u32);
        self.set(VIRTIO_MMIO_QUEUE_NUM, u32::from(self.sizes[queue]));
        self.set(VIRTIO_MMIO_QUEUE_DESC_LOW, desc as u32);
        self.set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, avail as u32);
        self.set(VIRTIO_MMIO_QUEUE_USED_LOW, used as u32);
        self.set(VIRTIO_MMIO_QUEUE_READY, 1);
        self.avail[queue] = 0;
    }

    /// Address of the `n`th buffer; each has 1 MiB.
    pub(crate) fn buffer(&self, n: u64) -> u64 {
        BUFFERS + (n << 20)
    }

    pub(crate) fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.mem.read_slice(&mut data, GuestAddress(addr)).unwrap();
        data
    }

    pub(crate) fn write(&self, addr: u64, data: &[u8]) {
        self.mem.write_slice(data, GuestAddress(addr)).unwrap();
    }

    /// Makes a chain available without telling the device.
    pub(crate) fn offer(&mut self, queue: usize, chain: &[Descriptor]) {
        let [desc, avail, _] = rings(queue);
        for (i, descriptor) in chain.iter().enumerate() {
            let mut descriptor = *descriptor;
            if i + 1 < chain.len() {
                descriptor.set_flags(descriptor.flags() | VRING_DESC_F_NEXT as u16);
                descriptor.set_next(i as u16 + 1);
            }
            let at = GuestAddress(desc + 16 * i as u64);
            self.mem
                .write_obj(RawDescriptor::from(descriptor), at)
                .unwrap();
        }
        let slot = u64::from(self.avail[queue] % self.sizes[queue]);
        self.mem
            // Every chain begins at descriptor 0, so only one can be under way.
            .write_obj(0_u16, GuestAddress(avail + 4 + 2 * slot))
            .unwrap();
        self.avail[queue] = self.avail[queue].wrapping_add(1);
        self.mem
            .write_obj(self.avail[queue], GuestAddress(avail + 2))
            .unwrap();
    }

    pub(crate) fn used_index(&self, queue: usize) -> u16 {
        self.mem
            .read_obj(GuestAddress(rings(queue)[2] + 2))
            .unwrap()
    }

    /// Returns the length that the device reported for its `n`th used buffer.
    pub(crate) fn used_len(&self, queue: usize, n: u16) -> u32 {
        let slot = u64::from(n % self.sizes[queue]);
        self.mem
            .read_obj(GuestAddress(rings(queue)[2] + 4 + 8 * slot + 4))
            .unwrap()
    }

    /// Sends one request and returns the length used.
    pub(crate) fn request(&mut self, queue: usize, chain: &[Descriptor]) -> u32 {
        let before = self.used_index(queue);
        self.offer(queue, chain);
        self.set(VIRTIO_MMIO_QUEUE_NOTIFY, queue as u32);
        assert_eq!(
            self.used_index(queue),
            before.wrapping_add(1),
            "the request was not answered"
        );
        self.used_len(queue, before)
    }
}

/// Returns the addresses of the descriptor table, available ring and used ring of a queue.
pub(crate) fn rings(queue: usize) -> [u64; 3] {
    let base = RAM + queue as u64 * RING_STRIDE;
    [base, base + 0x4000, base + 0x8000]
}
