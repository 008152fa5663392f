//! A virtio-iommu under any rings and requests, with DMA, pins, resets and moves to a new device in
//! between. What its state says is mapped is what an access finds.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses and lengths are small"
)]

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use viommu::DmaSpace;
use viommu::virtio::{
    EndpointConfig, Observers, ReservedKind, ReservedRegion, VirtioIommu, VirtioIommuConfig,
    VirtioIommuState,
};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Sixteen pages of RAM: three for each queue's rings, the rest for buffers and for what is mapped.
pub(super) const RAM: u64 = 0xc000_0000;
pub(super) const RAM_SIZE: u64 = 0x1_0000;
pub(super) const BUFFERS: u64 = RAM + 0x6000;
const SIZE: u16 = 16;
pub(super) const ENDPOINTS: [u32; 3] = [0, 8, u32::MAX];

pub(super) struct Machine {
    pub(super) ram: Arc<GuestMemoryMmap<()>>,
    pub(super) config: VirtioIommuConfig,
    pub(super) iommu: VirtioIommu,
    own: DmaSpace,
    queues: [Queue; 2],
    available: [u16; 2],
}

fn config(u: &mut Unstructured<'_>) -> Result<VirtioIommuConfig> {
    let mut config = VirtioIommuConfig::new(ENDPOINTS.map(EndpointConfig::new));
    config.endpoints[1].reserved = vec![ReservedRegion {
        first: 0x3000,
        last: 0x3fff,
        kind: ReservedKind::Msi,
    }];
    config.page_size_mask = *u.choose(&[!0xfff, !0, 0x1000])?;
    config.bypass_config = *u.choose(&[None, Some(false), Some(true)])?;
    config.bypass = config.bypass_config.is_none() && u.arbitrary()?;
    if u.arbitrary()? {
        config.input_range = None;
    }
    if u.arbitrary()? {
        config.domain_range = Some((0, 3));
    }
    config.map_unmap = u.ratio(15, 16)?;
    config.mmio = u.arbitrary()?;
    config.probe_size = *u.choose(&[None, Some(24), Some(64)])?;
    config.max_mappings = 20;
    config.cache.entries = 16;
    Ok(config)
}

impl Machine {
    /// Creates one of any configuration.
    pub(super) fn any(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(Self::new(config(u)?))
    }

    fn new(config: VirtioIommuConfig) -> Self {
        let ranges = [(GuestAddress(RAM), RAM_SIZE as usize)];
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&ranges).expect("16 pages can be had"));
        let (memory, observers) = (Arc::clone(&ram), Observers::default());
        let iommu = VirtioIommu::new(memory, config.clone(), Box::new(|| {}), observers)
            .expect("there are such devices");
        let queue = || Queue::new(SIZE).expect("a power of two");
        Self {
            own: DmaSpace::pass_through(Arc::clone(&ram)),
            ram,
            config,
            iommu,
            queues: [queue(), queue()],
            available: [0; 2],
        }
    }

    /// Sets the device up as a driver does at first.
    pub(super) fn start(&mut self, features: u64) {
        let offered = self.iommu.offered_features();
        let features = features & offered;
        self.iommu.activate(features).expect("they are offered");
        for (n, queue) in (0u32..).zip(&mut self.queues) {
            let base = RAM as u32 + n * 0x3000;
            queue.reset();
            queue.set_desc_table_address(Some(base), None);
            queue.set_avail_ring_address(Some(base + 0x1000), None);
            queue.set_used_ring_address(Some(base + 0x2000), None);
            queue.set_ready(true);
        }
        self.available = [0; 2];
        for page in 0..6 {
            self.write(RAM + page * 0x1000, &[0; 0x1000]);
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        // Beyond RAM nothing is written.
        let _ = self.ram.write_slice(bytes, GuestAddress(at));
    }

    fn offer(&mut self, queue: usize, head: u16) {
        let base = RAM + queue as u64 * 0x3000 + 0x1000;
        let slot = u64::from(self.available[queue] % SIZE);
        self.write(base + 4 + slot * 2, &head.to_le_bytes());
        self.available[queue] = self.available[queue].wrapping_add(1);
        self.write(base + 2, &self.available[queue].to_le_bytes());
    }

    fn descriptor(&self, queue: usize, index: u16, address: u64, length: u32, flags: u16) {
        let mut bytes = [0; 16];
        bytes[0..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..16].copy_from_slice(&((index + 1) % SIZE).to_le_bytes());
        let table = RAM + queue as u64 * 0x3000;
        self.write(table + u64::from(index % SIZE) * 16, &bytes);
    }

    /// Sends a request that is likely to mean something.
    pub(super) fn request(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let mut bytes = vec![u.int_in_range(0..=6)?, 0, 0, 0];
        let domain = u.int_in_range(0..=4u32)?.to_le_bytes();
        let endpoint = (*u.choose(&ENDPOINTS)?).to_le_bytes();
        let page = |u: &mut Unstructured<'_>| {
            let page = u64::from(u.int_in_range(0..=15u8)?);
            Ok((page << 12).wrapping_sub(if u.ratio(1, 4)? { 0x8000 } else { 0 }))
        };
        // 1 attaches, 2 detaches, 3 maps, 4 unmaps; others have an endpoint and room (virtio 1.2,
        // 5.13.6).
        match bytes[0] {
            1 => {
                let flags = u32::from(u.ratio(1, 4)?).to_le_bytes();
                bytes.extend([domain, endpoint, flags, [0; 4]].concat());
            }
            2 => bytes.extend([domain, endpoint, [0; 4], [0; 4]].concat()),
            kind @ (3 | 4) => {
                let first: u64 = page(u)?;
                let length = u.int_in_range(0..=4u64)? << 12;
                let last = first.wrapping_add(length).wrapping_add(0xfff);
                bytes.extend(domain);
                bytes.extend(first.to_le_bytes());
                bytes.extend(last.to_le_bytes());
                if kind == 3 {
                    let to = RAM + page(u)?.wrapping_add(0x8000) % RAM_SIZE;
                    bytes.extend(to.to_le_bytes());
                }
                bytes.extend(u.int_in_range(0..=7u32)?.to_le_bytes());
            }
            _ => {
                bytes.extend(endpoint);
                bytes.extend([0; 64]);
            }
        }
        if u.ratio(1, 16)? {
            let at = u.choose_index(bytes.len())?;
            bytes[at] = u.arbitrary()?;
        }
        let index = u.int_in_range(0..=7u16)? * 2;
        let place = BUFFERS + u64::from(index) * 0x100;
        self.write(place, &bytes);
        self.descriptor(0, index, place, bytes.len() as u32, 1);
        let writable = *u.choose(&[4, 4, 4, 68, 28, 3])?;
        self.descriptor(0, index + 1, place + 0x100, writable, 2);
        self.offer(0, index);
        Ok(())
    }

    /// Writes anything at all to a ring or a buffer.
    fn poke(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let queue = u.int_in_range(0..=1usize)?;
        let at = RAM + u64::from(u.arbitrary::<u16>()?);
        let bytes: [u8; 8] = u.arbitrary()?;
        self.write(at, &bytes);
        let address = BUFFERS + u64::from(u.arbitrary::<u16>()? & 0xfff);
        let (index, flags) = (u.int_in_range(0..=SIZE)?, u.int_in_range(0..=7)?);
        let length = u32::from(u.arbitrary::<u8>()?);
        self.descriptor(queue, index, address, length, flags);
        self.offer(queue, index);
        Ok(())
    }

    /// Does what the device does when it is notified, or polled.
    pub(super) fn serve(&mut self) {
        let [requests, events] = &mut self.queues;
        let served = self.iommu.process_requests(requests, &self.own.pin());
        let events = self.iommu.process_events(events, &self.own.pin());
        if served.is_err() || events.is_err() {
            // A broken queue: the driver has to begin anew.
            self.iommu.reset();
            self.start(!0);
        }
    }

    /// Asserts that an access leads where the state says.
    pub(super) fn check(&self, u: &mut Unstructured<'_>) -> Result<()> {
        let state = self.iommu.save();
        let endpoint = u.choose_index(ENDPOINTS.len())?;
        let page = u64::from(u.int_in_range(0..=15u8)?) << 12;
        let iova = page.wrapping_sub(if u.ratio(1, 4)? { 0x8000 } else { 0 });
        let iova = if u.ratio(1, 8)? { RAM + page } else { iova };
        let expected = resolve(&state, &self.config, endpoint, iova);
        let expected = expected.and_then(|at| self.ram.read_obj::<u8>(GuestAddress(at)).ok());
        let dma = self.iommu.space(ENDPOINTS[endpoint]).expect("it is there");
        let found = dma.read_obj::<u8>(GuestAddress(iova)).ok();
        assert_eq!(
            found, expected,
            "{iova:#x} of endpoint {endpoint}: {state:?}"
        );
        Ok(())
    }
}

/// Returns where a read of `iova` leads, by the state alone.
fn resolve(
    state: &VirtioIommuState,
    config: &VirtioIommuConfig,
    endpoint: usize,
    iova: u64,
) -> Option<u64> {
    let Some(id) = state.endpoints[endpoint].domain else {
        let bypass = match config.bypass_config {
            Some(_) => state.bypass,
            // VIRTIO_IOMMU_F_BYPASS.
            None => state.features & 8 != 0,
        };
        return bypass.then_some(iova);
    };
    let domain = state.domains.iter().find(|domain| domain.id == id);
    let Some(mappings) = &domain.expect("a domain of its own").mappings else {
        return Some(iova);
    };
    let mut within = mappings
        .iter()
        .filter(|m| (m.first..=m.last).contains(&iova));
    let mapping = within.next()?;
    assert!(within.next().is_none(), "mappings do not overlap");
    (mapping.flags & 1 != 0).then(|| mapping.address + (iova - mapping.first))
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::new(config(u)?);
    let features = if u.ratio(7, 8)? { !0 } else { u.arbitrary()? };
    machine.start(features);
    for _ in 0..200 {
        match u.int_in_range(0..=15)? {
            0..=6 => machine.request(u)?,
            7 => machine.poke(u)?,
            8 => {
                let value = u.arbitrary()?;
                machine
                    .iommu
                    .write_config(u.int_in_range(30..=40)?, &[value]);
            }
            9 if u.ratio(1, 8)? => {
                machine.iommu.reset();
                machine.start(!0);
            }
            10 => {
                // A machine of the same kind carries on, with the same RAM and queues.
                let saved = machine.iommu.save();
                machine.iommu.system_reset();
                machine
                    .iommu
                    .restore(&saved)
                    .expect("it is of the same kind");
                assert_eq!(machine.iommu.save(), saved);
            }
            11 => {
                // A device is at work while the driver's requests are served.
                let id = *u.choose(&ENDPOINTS)?;
                let dma = machine.iommu.space(id).expect("it is there");
                let pin = dma.pin();
                machine.serve();
                drop(pin);
                machine.serve();
                assert!(!machine.iommu.is_pending());
            }
            12 | 13 => machine.serve(),
            _ => {
                machine.serve();
                machine.check(u)?;
            }
        }
    }
    Ok(())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Input may end anywhere.
    let _ = run(&mut Unstructured::new(data));
}
