//! The driver of an interface: initialisation, rings, and buffers that are as they should be.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::{Bytes, GuestAddress};
use vmm::devices::ram::{DmaSpace, GuestRam};
use vmm::devices::virtio::net::Net;
use vmm::devices::virtio::{VirtioDevice, VirtioMmio};
use vmm_base::{Interrupt, VirtualClock};
use vmm_net::{File, Folder, Peer, PeerState, Responder, WrongPeer};

use super::packets::MAC;

pub const RAM: u64 = 0x4000_0000;
const RAM_SIZE: usize = 1 << 20;
/// Rings of a queue: descriptors, the available and the used ring.
const STRIDE: u64 = STRIDE_BYTES as u64;
/// The same, as the length of a buffer.
const STRIDE_BYTES: usize = 0x2000;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x1400;
const QUEUE_SIZE: u16 = 256;
/// The frame that is sent, behind its header.
const SENT: u64 = RAM + 0x8000;
/// Buffers for frames, one for each descriptor.
const BUFFERS: u64 = RAM + 0x4_0000;
const BUFFER: u64 = 2048;
/// Octets in front of a frame (virtio 1.2, 5.1.6).
pub const HEADER: usize = 12;
pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;

/// Registers (virtio 1.2, 4.2.2).
pub mod register {
    pub const FEATURES: u64 = 0x10;
    pub const FEATURES_SELECT: u64 = 0x14;
    pub const DRIVER_FEATURES: u64 = 0x20;
    pub const DRIVER_FEATURES_SELECT: u64 = 0x24;
    pub const QUEUE_SELECT: u64 = 0x30;
    pub const QUEUE_SIZE: u64 = 0x38;
    pub const QUEUE_READY: u64 = 0x44;
    pub const QUEUE_NOTIFY: u64 = 0x50;
    pub const STATUS: u64 = 0x70;
    pub const QUEUE_RINGS: [u64; 3] = [0x80, 0x90, 0xa0];
    pub const QUEUE_RESET: u64 = 0xc0;
}

struct Nowhere;

impl Interrupt for Nowhere {
    fn set(&self, _level: bool) {}
}

/// Frames that a peer has for the guest.
pub type Frames = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// A peer that gives any frames, and keeps nothing.
struct Anything(Frames);

impl Peer for Anything {
    fn take(&mut self, _now_ns: u64, _frame: &[u8]) {}

    fn give(&mut self, _now_ns: u64) -> Option<Vec<u8>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn next_ns(&self) -> Option<u64> {
        None
    }

    fn save(&self) -> PeerState {
        PeerState::User
    }

    fn restore(&mut self, saved: &PeerState) -> Result<(), WrongPeer> {
        match saved {
            PeerState::User => Ok(()),
            PeerState::Responder(_) => Err(WrongPeer::Kind),
        }
    }
}

/// Returns a built-in peer with some files.
pub fn responder() -> Responder {
    let file = |name: &str, len: usize| File {
        name: name.to_owned(),
        data: (0..=250).cycle().take(len).collect(),
    };
    Responder::new(Arc::new(Folder::of(vec![
        file("a", 5),
        file("sub/large", 5000),
    ])))
}

/// A driver and its device.
pub struct Driver {
    pub mmio: VirtioMmio,
    pub clock: Arc<VirtualClock>,
    /// Frames of the peer, if that is no built-in one.
    pub others: Option<Frames>,
    mem: DmaSpace,
    available: [u16; 2],
    seen: u16,
    merged: bool,
    /// Whether the driver has started the device and done nothing to break it.
    pub live: bool,
}

impl Driver {
    pub fn new(anything: bool) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]).expect("1 MiB");
        let mem = DmaSpace::pass_through(Arc::new(ram));
        let (clock, others) = (Arc::default(), anything.then(Frames::default));
        Self {
            mmio: slot(&clock, others.as_ref(), &mem),
            clock,
            others,
            mem,
            available: [0; 2],
            seen: 0,
            merged: false,
            live: false,
        }
    }

    /// Returns a device like this one as at power-on, at the same cable.
    pub fn another(&self) -> VirtioMmio {
        slot(&self.clock, self.others.as_ref(), &self.mem)
    }

    pub fn set(&mut self, register: u64, value: u64) {
        self.mmio.write(register, 4, value & 0xffff_ffff);
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.mem
            .write_slice(bytes, GuestAddress(at))
            .expect("it is RAM");
    }

    fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
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
        let features = (features | 1 << 32) & offered;
        // VIRTIO_NET_F_MRG_RXBUF (virtio 1.2, 5.1.3).
        self.merged = features & 1 << 15 != 0;
        for word in [0, 1] {
            self.set(register::DRIVER_FEATURES_SELECT, word);
            self.set(register::DRIVER_FEATURES, features >> (32 * word));
        }
        self.set(register::STATUS, 11);
        assert_eq!(self.mmio.read(register::STATUS, 4), 11, "what was offered");
        for queue in [RECEIVE, TRANSMIT] {
            let base = RAM + queue as u64 * STRIDE;
            self.write(base, &[0; STRIDE_BYTES]);
            self.set(register::QUEUE_SELECT, queue as u64);
            self.set(register::QUEUE_SIZE, QUEUE_SIZE.into());
            for (register, at) in register::QUEUE_RINGS.into_iter().zip([0, AVAILABLE, USED]) {
                self.set(register, base + at);
                self.set(register + 4, 0);
            }
            self.set(register::QUEUE_READY, 1);
        }
        (self.available, self.seen) = ([0; 2], 0);
        self.set(register::STATUS, 15);
        self.live = true;
    }

    /// Makes a descriptor of `queue`: where, length, flags, and the next.
    pub fn descriptor(&self, queue: usize, index: u16, to: u64, rest: (u32, u16, u16)) {
        let (length, flags, next) = rest;
        let mut bytes = to.to_le_bytes().to_vec();
        bytes.extend(length.to_le_bytes());
        bytes.extend([flags, next].map(u16::to_le_bytes).concat());
        let at = RAM + queue as u64 * STRIDE + u64::from(index) * 16;
        self.write(at, &bytes);
    }

    /// Offers the chain that begins at descriptor `head`, and has it served.
    pub fn offer(&mut self, queue: usize, head: u16) {
        let ring = RAM + queue as u64 * STRIDE + AVAILABLE;
        let slot = u64::from(self.available[queue] % QUEUE_SIZE);
        self.write(ring + 4 + slot * 2, &head.to_le_bytes());
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.write(ring + 2, &self.available[queue].to_le_bytes());
        self.set(register::QUEUE_NOTIFY, queue as u64);
        self.go_on();
    }

    /// Has what is left over done.
    pub fn go_on(&mut self) {
        for _ in 0..4 {
            if !self.mmio.go_on(u64::MAX) {
                break;
            }
        }
    }

    fn used(&self, queue: usize) -> u16 {
        let at = RAM + queue as u64 * STRIDE + USED + 2;
        u16::from_le_bytes(self.read(at))
    }

    /// Sends a frame behind `header`, in two parts of which the first has `first` octets.
    pub fn send(&mut self, header: [u8; HEADER], frame: &[u8], first: u8) {
        self.write(SENT, &header);
        self.write(SENT + HEADER as u64, frame);
        let all = u32::try_from(HEADER + frame.len()).expect("a frame is short");
        let first = u32::from(first).clamp(1, all - 1);
        self.descriptor(TRANSMIT, 0, SENT, (first, 1, 1));
        let second = SENT + u64::from(first);
        self.descriptor(TRANSMIT, 1, second, (all - first, 0, 0));
        self.offer(TRANSMIT, 0);
        let (used, all) = (self.used(TRANSMIT), self.available[TRANSMIT]);
        assert_eq!(used, all, "a frame is sent, or lost");
    }

    /// Makes room for a frame, or for a part of one.
    pub fn room(&mut self, length: u16) {
        // A chain that has not come back keeps its descriptor.
        if self.available[RECEIVE].wrapping_sub(self.used(RECEIVE)) >= QUEUE_SIZE {
            return;
        }
        let index = self.available[RECEIVE] % QUEUE_SIZE;
        let length = u32::from(length).clamp(1, 2048);
        let at = BUFFERS + u64::from(index) * BUFFER;
        self.descriptor(RECEIVE, index, at, (length, 2, 0));
        self.offer(RECEIVE, index);
    }

    /// Returns the frames that came, as a driver sees them.
    pub fn received(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while self.seen != self.used(RECEIVE) {
            let mut data = self.part();
            if data.is_empty() {
                // It was lost.
                continue;
            }
            assert!(data.len() >= HEADER || self.merged, "a header is whole");
            let mut parts: u16 = 1;
            let count = |data: &[u8]| data.get(10..12).map(|b| u16::from_le_bytes([b[0], b[1]]));
            while count(&data).is_none_or(|count| parts < count) {
                assert!(self.merged, "a frame is in one buffer");
                data.extend(self.part());
                parts += 1;
            }
            frames.push(data.split_off(HEADER));
        }
        frames
    }

    /// Returns what is in the next chain that came back.
    fn part(&mut self) -> Vec<u8> {
        assert_ne!(self.seen, self.used(RECEIVE), "there is a part");
        let slot = u64::from(self.seen % QUEUE_SIZE);
        let element = RAM + USED + 4 + slot * 8;
        let number = |at| u32::from_le_bytes(self.read(at));
        let (head, length) = (number(element), number(element + 4));
        assert_eq!(u64::from(head), slot, "chains come back in their order");
        assert!(u64::from(length) <= BUFFER, "there was so much room");
        self.seen = self.seen.wrapping_add(1);
        let mut data = vec![0; length as usize];
        self.mem
            .read_slice(&mut data, GuestAddress(BUFFERS + slot * BUFFER))
            .expect("it is RAM");
        data
    }
}

fn slot(clock: &Arc<VirtualClock>, others: Option<&Frames>, mem: &DmaSpace) -> VirtioMmio {
    let peer: Box<dyn Peer> = match others {
        Some(frames) => Box::new(Anything(Arc::clone(frames))),
        None => Box::new(responder()),
    };
    let device: Box<dyn VirtioDevice> = Box::new(Net::new(MAC, peer, clock.clone()));
    VirtioMmio::new(device, mem.clone(), Arc::new(Nowhere), false)
}
