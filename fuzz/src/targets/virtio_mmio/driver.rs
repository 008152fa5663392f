//! The driver: initialisation, rings, and requests that are as they should be.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and lengths are small"
)]

use std::sync::{Arc, OnceLock};

use arbitrary::Arbitrary;
use tempfile::NamedTempFile;
use vm_memory::{Bytes, GuestAddress};
use vmm::devices::disk::{Access, Disk};
use vmm::devices::ram::{DmaSpace, GuestRam};
use vmm::devices::virtio::block::Block;
use vmm::devices::virtio::rng::Rng;
use vmm::devices::virtio::{VirtioDevice, VirtioMmio};
use vmm_base::Interrupt;

pub const RAM: u64 = 0x4000_0000;
pub const RAM_SIZE: usize = 1 << 20;
/// Rings of a queue: descriptors, the available and the used ring.
pub const STRIDE: u64 = 0x2000;
pub const AVAILABLE: u64 = 0x1000;
pub const USED: u64 = 0x1400;
/// Buffers of good requests: header, status byte, ranges, data.
pub const HEADER: u64 = RAM + 0x1_0000;
pub const STATUS: u64 = HEADER + 0x20;
pub const DATA: u64 = RAM + 0x2_0000;
pub const SECTORS: u64 = 64;
pub const DISK_SIZE: usize = SECTORS as usize * 512;

/// Registers (virtio 1.2, 4.2.2).
pub mod register {
    pub const FEATURES: u64 = 0x10;
    pub const FEATURES_SELECT: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub const QUEUE_SELECT: u64 = 0x30;
    pub const QUEUE_SIZE_MAX: u64 = 0x34;
    pub const QUEUE_SIZE: u64 = 0x38;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const INTERRUPT_ACK: u64 = 0x64;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_RINGS: [u64; 3] = [0x80, 0x90, 0xa0];
    pub const QUEUE_RESET: u64 = 0xc0;
}

pub struct Nowhere;

impl Interrupt for Nowhere {
    fn set(&self, _level: bool) {}
}

/// Which device.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Entropy(u8),
    ReadOnly,
    Overlay(u8),
}

/// A driver and its device.
pub struct Driver {
    pub kind: Kind,
    pub mmio: VirtioMmio,
    pub mem: DmaSpace,
    pub sizes: Vec<u16>,
    pub available: Vec<u16>,
    /// What the disk holds, while that is known.
    pub model: Option<Vec<u8>>,
    /// Whether the driver has started the device and done nothing to break it.
    pub live: bool,
    pub platform: bool,
}

pub fn disk() -> &'static NamedTempFile {
    static DISK: OnceLock<NamedTempFile> = OnceLock::new();
    DISK.get_or_init(|| {
        let file = NamedTempFile::new().expect("a temporary file");
        let bytes: Vec<u8> = (0..DISK_SIZE).map(|i| (i / 512 * 7 + i) as u8).collect();
        std::fs::write(file.path(), bytes).expect("room for it");
        file
    })
}

pub fn device(kind: Kind) -> Box<dyn VirtioDevice> {
    let (access, queues) = match kind {
        Kind::Entropy(seed) => return Box::new(Rng::new(seed.into())),
        Kind::ReadOnly => (Access::Read, 1),
        Kind::Overlay(queues) => (Access::Overlay, 1 + u16::from(queues & 3)),
    };
    let opened = Disk::open(disk().path(), access).expect("the file just made");
    Box::new(Block::new(opened, "fuzz", queues))
}

impl Driver {
    pub fn new(kind: Kind, platform: bool) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]).expect("1 MiB");
        let mem = DmaSpace::pass_through(Arc::new(ram));
        let device = device(kind);
        let sizes = device.queue_sizes().to_vec();
        let block = !matches!(kind, Kind::Entropy(_));
        Self {
            kind,
            mmio: VirtioMmio::new(device, mem.clone(), Arc::new(Nowhere), platform),
            mem,
            available: vec![0; sizes.len()],
            sizes,
            model: block.then(|| std::fs::read(disk().path()).expect("the file just made")),
            live: false,
            platform,
        }
    }

    pub fn set(&mut self, register: u64, value: u64) {
        self.mmio.write(register, 4, value & 0xffff_ffff);
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.mem
            .write_slice(bytes, GuestAddress(at))
            .expect("it is RAM");
    }

    pub fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.mem
            .read_slice(&mut bytes, GuestAddress(at))
            .expect("it is RAM");
        bytes
    }

    /// Does the initialisation of virtio 1.2, 3.1.1, with the `features` of those that are offered.
    pub fn start(&mut self, features: u64) {
        // Reset, ACKNOWLEDGE and DRIVER; below FEATURES_OK and DRIVER_OK (virtio 1.2, 2.1).
        for status in [0, 1, 3] {
            self.set(register::STATUS, status);
        }
        let mut offered = 0;
        for word in [0, 1] {
            self.set(register::FEATURES_SELECT, word);
            offered |= self.mmio.read(register::FEATURES, 4) << (32 * word);
        }
        // VERSION_1 and, where it is offered, ACCESS_PLATFORM are not for the driver to choose.
        let features = (features | 1 << 32 | 1 << 33) & offered;
        for word in [0, 1] {
            self.set(register::DRIVER_FEATURES_SELECT, word);
            self.set(register::DRIVER_FEATURES, features >> (32 * word));
        }
        self.set(register::STATUS, 11);
        assert_eq!(
            self.mmio.read(register::STATUS, 4),
            11,
            "features that were offered"
        );
        for queue in 0..self.sizes.len() {
            self.start_queue(queue);
        }
        self.set(register::STATUS, 15);
        self.live = true;
    }

    pub fn start_queue(&mut self, queue: usize) {
        let base = RAM + queue as u64 * STRIDE;
        self.write(base + AVAILABLE, &[0; (STRIDE - AVAILABLE) as usize]);
        self.set(register::QUEUE_SELECT, queue as u64);
        let size = self.mmio.read(register::QUEUE_SIZE_MAX, 4);
        assert_eq!(size, u64::from(self.sizes[queue]));
        self.set(register::QUEUE_SIZE, size);
        for (register, at) in register::QUEUE_RINGS.into_iter().zip([0, AVAILABLE, USED]) {
            self.set(register, base + at);
            self.set(register + 4, 0);
        }
        self.set(register::QUEUE_READY, 1);
        self.available[queue] = 0;
    }

    pub fn descriptor(&self, table: u64, index: u64, to: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&to.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.write(table + index * 16, &bytes);
    }

    /// Offers the chain that begins at descriptor `head`, and has it served.
    pub fn offer(&mut self, queue: usize, head: u16) {
        let ring = RAM + queue as u64 * STRIDE + AVAILABLE;
        let slot = u64::from(self.available[queue] % self.sizes[queue]);
        self.write(ring + 4 + slot * 2, &head.to_le_bytes());
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.write(ring + 2, &self.available[queue].to_le_bytes());
        // A device may do its work in several turns.
        for _ in 0..4 {
            self.set(register::QUEUE_NOTIFY, queue as u64);
            if self.used(queue) == self.available[queue] {
                break;
            }
            self.mmio.resume();
        }
    }

    pub fn used(&self, queue: usize) -> u16 {
        let at = RAM + queue as u64 * STRIDE + USED + 2;
        self.mem.read_obj(GuestAddress(at)).expect("it is RAM")
    }

    /// Serves a good chain of (address, length, device writes it); how many bytes were written.
    pub fn good(&mut self, queue: usize, chain: &[(u64, u32, bool)]) -> u32 {
        let table = RAM + queue as u64 * STRIDE;
        for (index, (to, length, writable)) in (0u16..).zip(chain) {
            let more = usize::from(index) + 1 < chain.len();
            let flags = u16::from(more) | u16::from(*writable) << 1;
            self.descriptor(table, index.into(), *to, *length, flags, index + 1);
        }
        self.offer(queue, 0);
        assert_eq!(
            self.used(queue),
            self.available[queue],
            "a good chain is served"
        );
        let slot = u64::from(self.available[queue].wrapping_sub(1) % self.sizes[queue]);
        let at = table + USED + 4 + slot * 8;
        assert_eq!(self.read(at, 4), [0; 4], "the chain was at descriptor 0");
        self.mem.read_obj(GuestAddress(at + 4)).expect("it is RAM")
    }

    /// Sends a request with data in `parts`; returns its status.
    pub fn request(&mut self, kind: u32, sector: u64, data: &[(u64, u32, bool)]) -> (u8, u32) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.write(HEADER, &header);
        self.write(STATUS, &[0xff]);
        let mut chain = vec![(HEADER, 16, false)];
        chain.extend(data);
        chain.push((STATUS, 1, true));
        let queue = sector as usize % self.sizes.len();
        let written = self.good(queue, &chain);
        let status = self.read(STATUS, 1)[0];
        assert!(status <= 2, "a status that there is");
        (status, written)
    }
}
