//! A block or an entropy device with a driver that starts it as drivers do, and then makes good
//! requests and any others.
//!
//! A model of the disk says what good requests come to. Whatever a hostile request did, reading all
//! of the disk says what the disk then holds, and every later read has to agree.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and lengths are small"
)]

mod driver;

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use driver::{
    AVAILABLE, DATA, DISK_SIZE, Driver, HEADER, Kind, Nowhere, RAM, SECTORS, STRIDE, device,
    register,
};
use vmm::devices::virtio::VirtioMmio;

use super::rest::Rest;

/// Where the ranges of a request to discard or zero are.
const RANGES: u64 = HEADER + 0x40;
/// Descriptors apart from a ring.
const INDIRECT: u64 = RAM + 0x4_0000;

/// Kinds of requests (virtio 1.2, 5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const ID: u32 = 8;
const DISCARD: u32 = 11;
const ZERO: u32 = 13;

/// Lengths of the parts that data is in: one each, 0 for none.
type Parts = [u8; 3];

#[derive(Arbitrary, Debug)]
enum Step {
    Read(u8, Parts),
    Write(u8, u8, Parts),
    Zero(bool, u8, [(u8, u8); 2]),
    Flush,
    Id(u8),
    /// A request that names no kind there is, or a sector that is not there.
    Odd(u32, u64, Parts),
    /// Descriptors of any kind: where, length, flags, next.
    Chain(u8, Vec<(u16, u16, u8, u8)>),
    /// A list of descriptors apart from the ring.
    Indirect(u8, u16, Vec<(u16, u16, u8, u8)>),
    Register(u16, u32),
    Access(u16, u8, u64, bool),
    Poke(u16, u64),
    Index(u8, u16),
    Restart(u64),
    ResetQueue(u8),
    Resume,
    Moved,
}

#[derive(Arbitrary, Debug)]
struct Case {
    kind: Kind,
    platform: bool,
    features: u64,
    steps: Rest<Step>,
}

impl Driver {
    /// Returns all of the disk, as the device reads it.
    fn contents(&mut self) -> Vec<u8> {
        let (status, written) = self.request(IN, 0, &[(DATA, DISK_SIZE as u32, true)]);
        assert_eq!((status, written), (0, DISK_SIZE as u32 + 1));
        self.read(DATA, DISK_SIZE)
    }

    /// Makes sure that good requests can be made, and what the disk holds is known.
    fn ready(&mut self) {
        if !self.live {
            self.start(0);
        }
        if self.model.is_none() && !matches!(self.kind, Kind::Entropy(_)) {
            self.model = Some(self.contents());
        }
    }

    fn transfer(&mut self, write: Option<u8>, sector: u8, parts: Parts) {
        self.ready();
        let mut at = DATA;
        let mut data = Vec::new();
        for part in parts.iter().filter(|part| **part > 0) {
            // Mostly in sectors; an odd one makes the sum none.
            let length = if part & 0x80 == 0 {
                u32::from(*part) * 512
            } else {
                u32::from(*part & 0x7f) + 1
            };
            data.push((at, length, write.is_none()));
            at += u64::from(length) + u64::from(part & 3);
        }
        let total: usize = data.iter().map(|(_, length, _)| *length as usize).sum();
        if let Some(fill) = write {
            let bytes: Vec<u8> = (0..at - DATA)
                .map(|i| fill.wrapping_add((i >> 2) as u8))
                .collect();
            self.write(DATA, &bytes);
        }
        let start = usize::from(sector) * 512;
        let fits = total.is_multiple_of(512) && start + total <= DISK_SIZE;
        let (status, written) =
            self.request(if write.is_some() { OUT } else { IN }, sector.into(), &data);
        let may = fits && (write.is_none() || self.kind != Kind::ReadOnly);
        assert_eq!(status == 0, may, "{total} bytes at sector {sector}");
        if !may {
            return;
        }
        assert_eq!(
            written as usize,
            if write.is_some() { 1 } else { total + 1 }
        );
        let bytes: Vec<u8> = data
            .iter()
            .flat_map(|(at, length, _)| self.read(*at, *length as usize))
            .collect();
        let model = self.model.as_mut().expect("it is known");
        if write.is_some() {
            model[start..start + total].copy_from_slice(&bytes);
        } else {
            assert_eq!(bytes, model[start..start + total]);
        }
    }

    fn zero(&mut self, discard: bool, flags: u8, ranges: [(u8, u8); 2]) {
        self.ready();
        let mut bytes = Vec::new();
        for (sector, sectors) in ranges {
            bytes.extend_from_slice(&u64::from(sector).to_le_bytes());
            bytes.extend_from_slice(&u32::from(sectors).to_le_bytes());
            bytes.extend_from_slice(&u32::from(flags & 3).to_le_bytes());
        }
        self.write(RANGES, &bytes);
        let kind = if discard { DISCARD } else { ZERO };
        let count = if flags & 4 == 0 { 1 } else { 2 };
        let (status, _) = self.request(kind, 0, &[(RANGES, count * 16, false)]);
        let mut model = self.model.take().expect("it is known");
        let good = ranges[..count as usize]
            .iter()
            .all(|(sector, sectors)| u64::from(*sector) + u64::from(*sectors) <= SECTORS);
        if self.kind == Kind::ReadOnly {
            assert_ne!(status, 0);
            self.model = Some(model);
        } else if status == 0 {
            assert!(good, "there are no such sectors");
            // What a discarded sector holds is for the device to say.
            if !discard {
                for (sector, sectors) in &ranges[..count as usize] {
                    let bytes = &mut model[usize::from(*sector) * 512..];
                    bytes[..usize::from(*sectors) * 512].fill(0);
                }
                self.model = Some(model);
            }
        }
        self.ready();
    }

    /// Requests entropy: as much as there is room for, and not a byte more.
    fn entropy(&mut self, parts: Parts) {
        self.ready();
        let lengths = parts.map(|part| u32::from(part) * 4);
        let mut at = DATA;
        let mut chain = Vec::new();
        for length in lengths.into_iter().filter(|length| *length > 0) {
            chain.push((at, length, true));
            at += u64::from(length);
        }
        if chain.is_empty() {
            return;
        }
        let total = (at - DATA) as u32;
        self.write(at, &[0xa5; 16]);
        assert_eq!(self.good(0, &chain), total);
        assert_eq!(self.read(at, 16), [0xa5; 16]);
        assert!(total < 64 || self.read(DATA, 64) != [0; 64]);
    }

    /// Writes descriptors of any kind to `table`.
    fn descriptors(&self, table: u64, list: &[(u16, u16, u8, u8)]) {
        for (index, (at, length, flags, next)) in (0u64..).zip(list.iter().take(16)) {
            // Mostly in RAM; some beyond it, and some that wrap.
            let to = match at & 3 {
                3 if at & 0x1c == 0 => u64::from(*at) << 48,
                2 => HEADER + u64::from(at >> 9),
                _ => RAM + u64::from(*at) * 16,
            };
            let length = u32::from(*length) << if *flags & 0x40 != 0 { 16 } else { 0 };
            self.descriptor(
                table,
                index,
                to,
                length,
                u16::from(flags & 7),
                u16::from(next & 0x1f),
            );
        }
    }

    fn step(&mut self, step: &Step) {
        let block = !matches!(self.kind, Kind::Entropy(_));
        match step {
            Step::Read(_, parts) | Step::Write(_, _, parts) if !block => self.entropy(*parts),
            Step::Read(sector, parts) => self.transfer(None, *sector % 80, *parts),
            Step::Write(sector, fill, parts) => self.transfer(Some(*fill), *sector % 80, *parts),
            Step::Zero(discard, flags, ranges) if block => self.zero(*discard, *flags, *ranges),
            Step::Flush if block => {
                self.ready();
                assert_eq!(self.request(FLUSH, 0, &[]).0, 0);
            }
            Step::Id(length) if block => {
                self.ready();
                let (status, _) = self.request(ID, 0, &[(DATA, u32::from(*length) + 1, true)]);
                if *length >= 19 {
                    assert_eq!((status, self.read(DATA, 4)), (0, b"fuzz".to_vec()));
                }
            }
            Step::Odd(kind, sector, parts) if block => {
                self.ready();
                let lengths = parts.iter().filter(|p| **p > 0).map(|p| u32::from(*p));
                let data: Vec<_> = lengths
                    .map(|length| (DATA, length * 64, *kind & 1 == 0))
                    .collect();
                self.request(*kind, *sector, &data);
                self.model = None;
            }
            Step::Zero(..) | Step::Flush | Step::Id(_) | Step::Odd(..) => {}
            Step::Restart(features) => self.start(*features),
            Step::ResetQueue(queue) => {
                self.set(register::QUEUE_SELECT, u64::from(*queue & 3));
                self.set(register::QUEUE_RESET, 1);
                self.live = false;
            }
            Step::Resume => {
                self.set(register::INTERRUPT_ACK, 3);
                self.mmio.resume();
            }
            Step::Moved => self.moved(),
            other => self.wild(other),
        }
    }

    /// Does what no driver does.
    fn wild(&mut self, step: &Step) {
        match step {
            Step::Chain(queue, list) => {
                let queue = usize::from(*queue) % self.sizes.len();
                self.descriptors(RAM + queue as u64 * STRIDE, list);
                self.offer(queue, 0);
                self.unknown();
            }
            Step::Indirect(queue, length, list) => {
                let queue = usize::from(*queue) % self.sizes.len();
                let table = INDIRECT;
                self.descriptors(table, list);
                self.descriptor(
                    RAM + queue as u64 * STRIDE,
                    0,
                    table,
                    u32::from(*length),
                    4,
                    0,
                );
                self.offer(queue, 0);
                self.unknown();
            }
            Step::Register(offset, value) => {
                self.set(u64::from(*offset & 0x1fc), (*value).into());
                self.unknown();
            }
            Step::Access(offset, size, value, write) => {
                let size = 1 << (size & 3);
                if *write {
                    self.mmio.write((*offset & 0x3ff).into(), size, *value);
                    self.unknown();
                } else {
                    self.mmio.read((*offset & 0x3ff).into(), size);
                }
            }
            Step::Poke(at, value) => {
                self.write(RAM + u64::from(*at) * 8, &value.to_le_bytes());
                self.unknown();
            }
            Step::Index(queue, index) => {
                let queue = usize::from(*queue) % self.sizes.len();
                let ring = RAM + queue as u64 * STRIDE + AVAILABLE;
                self.write(ring + 2, &index.to_le_bytes());
                self.set(register::QUEUE_NOTIFY, queue as u64);
                self.unknown();
            }
            Step::Read(..)
            | Step::Write(..)
            | Step::Zero(..)
            | Step::Flush
            | Step::Id(_)
            | Step::Odd(..)
            | Step::Restart(_)
            | Step::ResetQueue(_)
            | Step::Resume
            | Step::Moved => unreachable!("drivers do it"),
        }
    }

    /// Notes that rings, registers and the disk may be anything now.
    fn unknown(&mut self) {
        self.live = false;
        if self.kind != Kind::ReadOnly {
            self.model = None;
        }
    }

    /// Lets another device go on with what was saved; the changes of an overlay are the disk's, not
    /// the device's.
    fn moved(&mut self) {
        if matches!(self.kind, Kind::Overlay(_)) {
            return;
        }
        let saved = self.mmio.save();
        let device = device(self.kind);
        let mut next = VirtioMmio::new(device, self.mem.clone(), Arc::new(Nowhere), self.platform);
        if next.restore(&saved).is_ok() {
            assert_eq!(next.save(), saved, "what is restored is what was saved");
            self.mmio = next;
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut driver = Driver::new(case.kind, case.platform);
    driver.start(case.features);
    for step in case.steps.0.iter().take(64) {
        driver.step(step);
    }
    driver.ready();
}
