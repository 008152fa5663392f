//! A machine of RAM and one virtio-iommu, and the driver's side of its queues.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::dma::DmaSpace;
use crate::event::{Event, Observer};
use crate::virtio::spec::*;
use crate::virtio::{
    EndpointConfig, Observers, Quota, ServeError, Served, VirtioIommu, VirtioIommuConfig,
};

/// RAM is far from the IOVAs of most tests, so that stray IOVAs are bus errors.
pub(super) const RAM: u64 = 0x8000_0000;
pub(super) const RAM_SIZE: u64 = 4 << 20;
/// Endpoints of most tests.
pub(super) const EP: u32 = 8;
pub(super) const OTHER: u32 = 0x1_0000;
/// Entries of the queues.
pub(super) const SIZE: u16 = 64;
/// `VIRTQ_DESC_F_NEXT`, `_WRITE` and `_INDIRECT` (virtio 1.2, 2.7.5).
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;
/// What buffers hold before the device writes to them.
pub(super) const FILL: u8 = 0xa5;

/// A descriptor to be: bytes for the device to read, or a number of bytes for it to write.
#[derive(Clone, Debug)]
pub(super) enum Part {
    In(Vec<u8>),
    Out(u32),
}

/// A queue from the driver's side: rings in the first pages at `base`, buffers after them.
pub(super) struct Ring {
    pub(super) queue: Queue,
    memory: Arc<GuestMemoryMmap<()>>,
    base: u64,
    available: u16,
    used: u16,
    next_descriptor: u16,
    next_buffer: u64,
}

impl Ring {
    pub(super) fn new(memory: &Arc<GuestMemoryMmap<()>>, base: u64) -> Self {
        let mut ring = Self {
            queue: Queue::new(SIZE).unwrap(),
            memory: Arc::clone(memory),
            base,
            available: 0,
            used: 0,
            next_descriptor: 0,
            next_buffer: 0,
        };
        ring.set_up();
        ring
    }

    /// Sets the queue up as a driver does after a reset.
    pub(super) fn set_up(&mut self) {
        self.queue.reset();
        let low = |page: u64| Some((self.base + page * 0x1000) as u32);
        self.queue.set_desc_table_address(low(0), None);
        self.queue.set_avail_ring_address(low(1), None);
        self.queue.set_used_ring_address(low(2), None);
        self.queue.set_ready(true);
        (self.available, self.used) = (0, 0);
        self.memory
            .write_slice(&[0; 0x3000], GuestAddress(self.base))
            .unwrap();
    }

    fn at(&self, page: u64, offset: u64) -> GuestAddress {
        GuestAddress(self.base + page * 0x1000 + offset)
    }

    /// Allocates room for a buffer of `length` bytes, filled with [`FILL`].
    pub(super) fn buffer(&mut self, length: usize) -> u64 {
        let room = (length as u64).next_multiple_of(16);
        // Used anew: what was there has been answered long ago.
        if self.next_buffer + room > 0x4_0000 {
            self.next_buffer = 0;
        }
        let address = self.at(3, self.next_buffer);
        self.next_buffer += room;
        self.memory
            .write_slice(&vec![FILL; length], address)
            .unwrap();
        address.0
    }

    pub(super) fn put_descriptor(
        &mut self,
        index: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let descriptor = Descriptor::new(address, length, flags, next);
        self.memory
            .write_obj(descriptor, self.at(0, u64::from(index) * 16))
            .unwrap();
    }

    pub(super) fn offer(&mut self, head: u16) {
        let slot = u64::from(self.available % SIZE);
        self.memory
            .write_obj(head.to_le(), self.at(1, 4 + 2 * slot))
            .unwrap();
        // The entry comes before the index that announces it.
        self.available = self.available.wrapping_add(1);
        self.memory
            .store(self.available.to_le(), self.at(1, 2), Ordering::Release)
            .unwrap();
    }

    /// Makes a chain of these parts available: its head, and where the device may write.
    pub(super) fn send(&mut self, parts: &[Part]) -> (u16, Vec<(u64, u32)>) {
        let head = self.next_descriptor;
        let mut writable = Vec::new();
        for (n, part) in parts.iter().enumerate() {
            let index = self.next_descriptor;
            self.next_descriptor = (index + 1) % SIZE;
            let last = n + 1 == parts.len();
            let (length, mut flags) = match part {
                Part::In(bytes) => (bytes.len() as u32, 0),
                Part::Out(length) => (*length, WRITE),
            };
            let address = self.buffer(length as usize);
            match part {
                Part::In(bytes) => self
                    .memory
                    .write_slice(bytes, GuestAddress(address))
                    .unwrap(),
                Part::Out(length) => writable.push((address, *length)),
            }
            if !last {
                flags |= NEXT;
            }
            self.put_descriptor(index, address, length, flags, self.next_descriptor);
        }
        self.offer(head);
        (head, writable)
    }

    /// Returns the same through an indirect table.
    pub(super) fn send_indirect(&mut self, parts: &[Part]) -> (u16, Vec<(u64, u32)>) {
        let table = self.buffer(parts.len() * 16);
        let mut writable = Vec::new();
        for (n, part) in (0u16..).zip(parts) {
            let (bytes, mut flags) = match part {
                Part::In(bytes) => (bytes.clone(), 0),
                Part::Out(length) => (vec![FILL; *length as usize], WRITE),
            };
            let address = self.buffer(bytes.len());
            self.memory
                .write_slice(&bytes, GuestAddress(address))
                .unwrap();
            if flags & WRITE != 0 {
                writable.push((address, bytes.len() as u32));
            }
            if usize::from(n) + 1 < parts.len() {
                flags |= NEXT;
            }
            let descriptor = Descriptor::new(address, bytes.len() as u32, flags, n + 1);
            self.memory
                .write_obj(descriptor, GuestAddress(table + u64::from(n) * 16))
                .unwrap();
        }
        let head = self.next_descriptor;
        self.next_descriptor = (head + 1) % SIZE;
        self.put_descriptor(head, table, parts.len() as u32 * 16, INDIRECT, 0);
        self.offer(head);
        (head, writable)
    }

    /// Returns the next used element: head and length.
    pub(super) fn take_used(&mut self) -> Option<(u32, u32)> {
        let index: u16 = self.memory.load(self.at(2, 2), Ordering::Acquire).unwrap();
        if u16::from_le(index) == self.used {
            return None;
        }
        let slot = u64::from(self.used % SIZE);
        let element: [u32; 2] = [0, 4].map(|offset| {
            let at = self.at(2, 4 + slot * 8 + offset);
            u32::from_le(self.memory.read_obj(at).unwrap())
        });
        self.used = self.used.wrapping_add(1);
        Some((element[0], element[1]))
    }

    pub(super) fn bytes(&self, places: &[(u64, u32)]) -> Vec<u8> {
        let mut all = Vec::new();
        for (address, length) in places {
            let mut bytes = vec![0; *length as usize];
            self.memory
                .read_slice(&mut bytes, GuestAddress(*address))
                .unwrap();
            all.extend(bytes);
        }
        all
    }
}

/// Counts what the translation path tells.
#[derive(Default)]
pub(super) struct Log {
    pub(super) events: Mutex<Vec<Event>>,
    /// How often reports were said to be waiting.
    pub(super) waiting: AtomicU64,
}

impl Observer for Log {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(*event);
    }
}

pub(super) struct Machine {
    pub(super) ram: Arc<GuestMemoryMmap<()>>,
    pub(super) iommu: VirtioIommu,
    pub(super) requests: Ring,
    pub(super) events: Ring,
    pub(super) log: Arc<Log>,
    pub(super) mem: DmaSpace,
}

/// Returns two endpoints that are blocked until they are attached, all of RAM with a pattern in it.
pub(super) fn config() -> VirtioIommuConfig {
    let mut config = VirtioIommuConfig::new([EP, OTHER].map(EndpointConfig::new));
    config.bypass_config = Some(false);
    config
}

impl Machine {
    pub(super) fn new(config: VirtioIommuConfig) -> Self {
        let ranges = [(GuestAddress(RAM), RAM_SIZE as usize)];
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
        let log = Arc::new(Log::default());
        let told = Arc::clone(&log);
        let waiting = move || {
            told.waiting.fetch_add(1, Ordering::Relaxed);
        };
        let observers = Observers {
            requests: None,
            translation: Some(Arc::clone(&log) as Arc<dyn Observer>),
        };
        let iommu = VirtioIommu::new(Arc::clone(&ram), config, Box::new(waiting), observers);
        Self {
            requests: Ring::new(&ram, RAM),
            events: Ring::new(&ram, RAM + 0x8_0000),
            mem: DmaSpace::pass_through(Arc::clone(&ram)),
            iommu: iommu.unwrap(),
            ram,
            log,
        }
    }

    /// Creates a machine that has negotiated everything that is offered.
    pub(super) fn active(config: VirtioIommuConfig) -> Self {
        let mut machine = Self::new(config);
        let offered = machine.iommu.offered_features();
        machine.iommu.activate(offered).unwrap();
        machine
    }

    pub(super) fn usual() -> Self {
        Self::active(config())
    }

    /// Creates an active machine whose configuration is the usual one but for a change.
    pub(super) fn active_with(change: impl FnOnce(&mut VirtioIommuConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        Self::active(config)
    }

    pub(super) fn try_serve(&mut self) -> Result<Served, ServeError> {
        self.iommu
            .process_requests(&mut self.requests.queue, &self.mem.pin())
    }

    pub(super) fn serve(&mut self) -> Served {
        self.try_serve().unwrap()
    }

    pub(super) fn poll(&mut self) -> Served {
        self.iommu
            .poll(&mut self.requests.queue, &self.mem.pin())
            .unwrap()
    }

    pub(super) fn serve_within(&mut self, quota: &mut Quota) -> Served {
        self.iommu
            .process_requests_within(&mut self.requests.queue, &self.mem.pin(), quota)
            .unwrap()
    }

    /// Sends a chain and waits for it: the used length and what is in the writable bytes then.
    pub(super) fn exchange(&mut self, parts: &[Part]) -> (u32, Vec<u8>) {
        let (head, writable) = self.requests.send(parts);
        let served = self.serve();
        assert!(served.used && !served.pending && !served.more, "{served:?}");
        let (id, length) = self.requests.take_used().unwrap();
        assert_eq!(id, u32::from(head));
        (length, self.requests.bytes(&writable))
    }

    /// Returns the status of a request that has one.
    pub(super) fn status(&mut self, request: Vec<u8>) -> u8 {
        let (length, answer) = self.exchange(&[Part::In(request), Part::Out(4)]);
        assert_eq!(length, 4);
        assert_eq!(answer[1..], [0, 0, 0]);
        answer[0]
    }

    #[track_caller]
    pub(super) fn ok(&mut self, request: Vec<u8>) {
        assert_eq!(self.status(request), Status::Ok as u8);
    }

    #[track_caller]
    pub(super) fn refused(&mut self, request: Vec<u8>, status: Status) {
        let before = self.iommu.save();
        assert_eq!(self.status(request), status as u8);
        assert_eq!(self.iommu.save(), before, "a refused request left a trace");
    }

    /// Checks that a request of a type unknown to the device is given back unwritten.
    #[track_caller]
    pub(super) fn unanswered(&mut self, parts: &[Part]) {
        let before = self.iommu.save();
        let (length, bytes) = self.exchange(parts);
        assert_eq!(length, 0);
        assert!(bytes.iter().all(|byte| *byte == FILL), "{bytes:?}");
        assert_eq!(self.iommu.save(), before);
    }

    pub(super) fn dma(&self, endpoint: u32) -> DmaSpace {
        self.iommu.space(endpoint).unwrap()
    }

    pub(super) fn reads(&self, endpoint: u32, iova: u64) -> bool {
        self.dma(endpoint)
            .read_obj::<u8>(GuestAddress(iova))
            .is_ok()
    }

    pub(super) fn writes(&self, endpoint: u32, iova: u64) -> bool {
        self.dma(endpoint)
            .write_obj(1u8, GuestAddress(iova))
            .is_ok()
    }

    /// Returns fault reports, each as bytes, delivered into fresh buffers.
    pub(super) fn reports(&mut self) -> Vec<Vec<u8>> {
        let count = self.iommu.waiting_reports();
        let mut reports = Vec::new();
        for _ in 0..count {
            let (_, writable) = self.events.send(&[Part::Out(fault::SIZE as u32)]);
            self.iommu
                .process_events(&mut self.events.queue, &self.mem.pin())
                .unwrap();
            let (_, length) = self.events.take_used().unwrap();
            assert_eq!(length, fault::SIZE as u32);
            reports.push(self.events.bytes(&writable));
        }
        reports
    }
}

/// Returns little-endian fields after a head with this type.
fn request(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    for field in fields {
        bytes.extend_from_slice(field);
    }
    bytes
}

pub(super) fn attach_with(domain: u32, endpoint: u32, flags: u32, reserved: u32) -> Vec<u8> {
    let fields = [domain, endpoint, flags, reserved].map(u32::to_le_bytes);
    request(1, &fields.each_ref().map(|field| field.as_slice()))
}

pub(super) fn attach(domain: u32, endpoint: u32) -> Vec<u8> {
    attach_with(domain, endpoint, 0, 0)
}

pub(super) fn detach(domain: u32, endpoint: u32) -> Vec<u8> {
    request(
        2,
        &[&domain.to_le_bytes(), &endpoint.to_le_bytes(), &[0; 8]],
    )
}

pub(super) fn map(domain: u32, first: u64, last: u64, address: u64, flags: u32) -> Vec<u8> {
    let numbers = [first, last, address].map(u64::to_le_bytes);
    let [first, last, address] = &numbers;
    let flags = flags.to_le_bytes();
    request(3, &[&domain.to_le_bytes(), first, last, address, &flags])
}

pub(super) fn map_rw(domain: u32, first: u64, last: u64, address: u64) -> Vec<u8> {
    map(
        domain,
        first,
        last,
        address,
        map_flag::READ | map_flag::WRITE,
    )
}

pub(super) fn unmap(domain: u32, first: u64, last: u64) -> Vec<u8> {
    let numbers = [first, last].map(u64::to_le_bytes);
    request(
        4,
        &[&domain.to_le_bytes(), &numbers[0], &numbers[1], &[0; 4]],
    )
}

pub(super) fn probe(endpoint: u32) -> Vec<u8> {
    request(5, &[&endpoint.to_le_bytes(), &[0; 64]])
}
