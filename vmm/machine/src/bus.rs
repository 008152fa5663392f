//! The bus: physical addresses to RAM and devices, with every access counted.

#![expect(
    unsafe_code,
    reason = "the bus promises that host pointers to RAM stay valid"
)]

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arm32::{Bus, BusFault, CodePages, RamPage, Size};
use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{Error as BusError, MmioAddress, MmioAddressOffset, MmioRange};
use vm_device::device_manager::{IoManager, MmioManager};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MmapRegion};
use vmm_base::warn_guest;
use vmm_devices::irq::Gic;
use vmm_devices::virtio::deferred_work::DeferredWork;

use super::exit::DeviceAccesses;
use super::layout::Range;
use vmm_devices::ram::{CodeMarks, GuestRam};

const PAGE: u64 = 4096;

/// The index of the core whose turn it is.
pub type CurrentCpu = Arc<AtomicUsize>;

/// A device on the bus, with its accesses counted.
struct Port {
    device: Arc<dyn DeviceMmio + Send + Sync>,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl DeviceMmio for Port {
    fn mmio_read(&self, base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        // Relaxed: a count orders nothing, and is looked at while the cores stand still.
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.device.mmio_read(base, offset, data);
    }

    fn mmio_write(&self, base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.device.mmio_write(base, offset, data);
    }
}

/// The counts of a bus, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusState {
    /// One for each range of registers.
    pub ports: Vec<DeviceAccesses>,
    /// Accesses to which nothing answered.
    pub unmapped: u64,
}

/// RAM and devices by physical address.
pub struct SystemBus {
    ram: Arc<GuestRam>,
    /// Physical address of the first byte of RAM, which is one region.
    base: u64,
    /// Its address in the host, which lives as long as `ram`.
    host: usize,
    /// Bytes of it that whole pages have.
    size: u64,
    code: CodeMarks,
    io: IoManager,
    ports: Vec<(String, Arc<Port>)>,
    current_cpu: CurrentCpu,
    unmapped: AtomicU64,
    deferred_work: Arc<DeferredWork>,
}

impl SystemBus {
    /// Creates a bus with RAM only; after each write to a device the `chores` are done that it left
    /// behind.
    pub fn new(ram: Arc<GuestRam>, deferred_work: Arc<DeferredWork>) -> Self {
        // Without a region no page is ever given out, and the base does not matter.
        let region = ram.iter().next();
        Self {
            base: region.map_or(0, |region| region.start_addr().0),
            host: region.map_or(0, |region| region.as_ptr().expose_provenance()),
            size: region.map_or(0, |region| region.len() & !(PAGE - 1)),
            code: region.map_or_else(CodeMarks::default, |region| {
                MmapRegion::bitmap(region).clone()
            }),
            ram,
            io: IoManager::new(),
            ports: Vec::new(),
            current_cpu: CurrentCpu::default(),
            unmapped: AtomicU64::new(0),
            deferred_work,
        }
    }

    /// Returns the guest's RAM.
    pub fn memory(&self) -> Arc<GuestRam> {
        Arc::clone(&self.ram)
    }

    /// Tells devices with banked registers who asks.
    pub fn current_cpu(&self) -> CurrentCpu {
        Arc::clone(&self.current_cpu)
    }

    /// Puts `device` at `range`.
    ///
    /// # Errors
    /// When another device has these addresses.
    pub fn attach(
        &mut self,
        name: &str,
        range: Range,
        device: Arc<dyn DeviceMmio + Send + Sync>,
    ) -> Result<(), BusError> {
        let port = Arc::new(Port {
            device,
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        });
        // Refuses what overlaps, before the port can be found in the list.
        self.io.register_mmio(
            MmioRange::new(MmioAddress(range.base), range.size)?,
            port.clone(),
        )?;
        self.ports.push((name.into(), port));
        Ok(())
    }

    /// Returns the accesses so far, by device; those of several ranges of one device together.
    pub fn accesses(&self) -> BTreeMap<String, DeviceAccesses> {
        let mut accesses = BTreeMap::<String, DeviceAccesses>::new();
        for (name, port) in &self.ports {
            let sum = accesses.entry(name.clone()).or_default();
            sum.reads += port.reads.load(Ordering::Relaxed);
            sum.writes += port.writes.load(Ordering::Relaxed);
        }
        accesses
    }

    /// Returns the counts, to be saved.
    pub fn save(&self) -> BusState {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In the order of attachment, which the board fixes: by it `restore` finds them again.
        let ports = self.ports.iter();
        BusState {
            ports: ports
                .map(|(_, port)| DeviceAccesses {
                    reads: get(&port.reads),
                    writes: get(&port.writes),
                })
                .collect(),
            unmapped: self.unmapped(),
        }
    }

    /// Takes over what a bus with the same devices has counted.
    pub fn restore(&self, saved: &BusState) {
        let BusState { ports, unmapped } = saved;
        // A damaged state may have more or fewer: counts without a counterpart are ignored.
        for ((_, port), counts) in self.ports.iter().zip(ports) {
            port.reads.store(counts.reads, Ordering::Relaxed);
            port.writes.store(counts.writes, Ordering::Relaxed);
        }
        self.unmapped.store(*unmapped, Ordering::Relaxed);
    }

    /// Returns the number of accesses so far to unmapped addresses.
    pub fn unmapped(&self) -> u64 {
        self.unmapped.load(Ordering::Relaxed)
    }

    fn fault(&self, what: &str, pa: u64) -> BusFault {
        self.unmapped.fetch_add(1, Ordering::Relaxed);
        warn_guest!("{what} at {pa:#x}, an unmapped address");
        BusFault
    }
}

// SAFETY: `ram` answers only for pages that lie whole in a region of `self.ram`; a region is a
// mapping made by mmap, so it starts on a host page, and its guest base is a multiple of 4096 (the
// configuration demands RAM_ALIGN), which keeps guest pages aligned in the host. The mapping is
// readable and writable and lives as long as `self.ram`, which lives as long as the bus. vm-memory
// hands out volatile slices only, never references.
unsafe impl Bus for SystemBus {
    fn read(&self, pa: u64, size: Size) -> Result<u64, BusFault> {
        let mut data = [0; 8];
        let part = &mut data[..size.bytes() as usize];
        // One window must hold the whole access: across its end nothing answers.
        match self.io.mmio_read(MmioAddress(pa), part) {
            Ok(()) => Ok(u64::from_le_bytes(data)),
            Err(_) => Err(self.fault("read", pa)),
        }
    }

    fn write(&self, pa: u64, size: Size, value: u64) -> Result<(), BusFault> {
        // The low bytes come first, so that a part of them is the value at any size.
        let data = value.to_le_bytes();
        let part = &data[..size.bytes() as usize];
        let written = self.io.mmio_write(MmioAddress(pa), part);
        // Not before the device is unlocked again: the work locks devices itself.
        self.deferred_work.run();
        written.map_err(|_| self.fault("write", pa))
    }

    fn ram(&self, pa: u64) -> Option<RamPage> {
        let offset = pa.checked_sub(self.base).filter(|at| *at < self.size)? & !(PAGE - 1);
        // The addition does not overflow: the sum is an address of the mapping.
        let host = self.host + usize::try_from(offset).ok()?;
        Some(RamPage {
            host: NonNull::new(std::ptr::with_exposed_provenance_mut(host))?,
            writable: true,
            number: u32::try_from(offset / PAGE).ok()?,
        })
    }

    fn code_pages(&self) -> &CodePages {
        self.code.code_pages()
    }

    fn physical(&self, host: usize) -> Option<u64> {
        let offset = u64::try_from(host.checked_sub(self.host)?).ok()?;
        (offset < self.size).then(|| self.base + offset)
    }

    fn ram_offset(&self) -> Option<u64> {
        Some(self.base.wrapping_sub(self.host as u64))
    }

    fn turn(&self, cpu: usize) {
        // Relaxed: cores take turns on one thread, and that makes their accesses too.
        self.current_cpu.store(cpu, Ordering::Relaxed);
    }
}

/// The distributor on the bus.
pub struct DistributorPort(pub Arc<Gic>, pub CurrentCpu);
/// The CPU interfaces on the bus: every core finds its own at the same address.
pub struct InterfacePort(pub Arc<Gic>, pub CurrentCpu);

fn word(data: &[u8]) -> u32 {
    // Registers have 32 bits: of a doubleword the upper half is dropped.
    data.iter()
        .take(4)
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn put(data: &mut [u8], value: u32) {
    // Registers have 32 bits: what is read beyond is zero.
    data.fill(0);
    for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
        *to = from;
    }
}

impl DeviceMmio for DistributorPort {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an access has at most 8 bytes"
    )]
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let value = self
            .0
            .dist_read(self.1.load(Ordering::Relaxed), offset, data.len() as u32);
        put(data, value);
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "an access has at most 8 bytes"
    )]
    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.0.dist_write(
            self.1.load(Ordering::Relaxed),
            offset,
            data.len() as u32,
            word(data),
        );
    }
}

impl DeviceMmio for InterfacePort {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let value = self.0.cpu_read(self.1.load(Ordering::Relaxed), offset);
        put(data, value);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        self.0
            .cpu_write(self.1.load(Ordering::Relaxed), offset, word(data));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use vm_device::MutDeviceMmio;
    use vm_memory::GuestAddress;

    use super::*;

    #[derive(Default)]
    struct Register(u64);

    impl MutDeviceMmio for Register {
        fn mmio_read(&mut self, _: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
            let len = data.len();
            data.copy_from_slice(&(self.0 >> (8 * offset)).to_le_bytes()[..len]);
        }

        fn mmio_write(&mut self, _: MmioAddress, _: MmioAddressOffset, data: &[u8]) {
            self.0 = u64::from(word(data));
        }
    }

    fn bus() -> SystemBus {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0x4000_0000), 0x4000)]).unwrap();
        let mut bus = SystemBus::new(Arc::new(ram), Arc::default());
        bus.attach(
            "thing",
            Range::new(0x1000, 8),
            Arc::new(Mutex::new(Register(0))),
        )
        .unwrap();
        bus
    }

    #[test]
    fn devices_answer_and_are_counted() {
        let bus = bus();
        bus.write(0x1000, Size::Word, 0x1234_5678).unwrap();
        assert_eq!(bus.read(0x1000, Size::Word), Ok(0x1234_5678));
        assert_eq!(bus.read(0x1001, Size::Byte), Ok(0x56));
        assert_eq!(
            bus.accesses()["thing"],
            DeviceAccesses {
                reads: 2,
                writes: 1
            }
        );
    }

    #[test]
    fn nothing_answers_outside_or_across_an_end() {
        let mut bus = bus();
        for pa in [0, 0xfff, 0x1005, 0x1008, u64::MAX] {
            assert_eq!(bus.read(pa, Size::Word), Err(BusFault), "{pa:#x}");
            assert_eq!(bus.write(pa, Size::Word, 0), Err(BusFault), "{pa:#x}");
        }
        assert_eq!(bus.unmapped(), 10);
        assert!(
            bus.attach(
                "other",
                Range::new(0x1004, 8),
                Arc::new(Mutex::new(Register(0)))
            )
            .is_err()
        );
    }

    #[test]
    fn ram_is_given_by_aligned_pages() {
        let bus = bus();
        let page = bus.ram(0x4000_1234).unwrap();
        assert_eq!(page.host.as_ptr() as usize % 4096, 0);
        let first = bus.ram(0x4000_0000).unwrap();
        assert_eq!(
            page.host.as_ptr() as usize - first.host.as_ptr() as usize,
            0x1000
        );
        assert!(bus.ram(0x4000_3fff).is_some());
        for pa in [0x3fff_ffff, 0x4000_4000, 0, u64::MAX] {
            assert!(bus.ram(pa).is_none(), "{pa:#x}");
        }
    }
}
