//! A plain model for tests: mappings in a map, and a list of the faults that the guest was told of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use viommu::{
    Access, Attachment, CacheConfig, DomainId, EndpointId, Event, Fault, FaultReason, Mapping,
    Miss, Model, Observer, Requester, TranslationUnit, UnitConfig,
};
use vm_memory::{GuestAddress, GuestMemoryMmap, Permissions};

pub const PAGE: u64 = 0x1000;
pub const ENDPOINT: EndpointId = EndpointId(0);
pub const DOMAIN: DomainId = DomainId(1);

/// Where RAM is in most tests: two adjacent regions, a hole of a page, one more page.
pub const RAM: u64 = 0x8000_0000;

pub fn ram() -> Arc<GuestMemoryMmap<()>> {
    let ranges = [
        (GuestAddress(RAM), 0x10_0000),
        (GuestAddress(RAM + 0x10_0000), 0x10_0000),
        (GuestAddress(RAM + 0x20_1000), 0x1000),
    ];
    Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap())
}

/// Sets its flag when dropped, so that threads which wait for it end though an assertion failed:
/// else the test would hang.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Mappings of each domain by their first IOVA; they do not overlap.
#[derive(Default)]
pub struct PlainModel {
    pub mappings: Mutex<BTreeMap<(u32, u64), Mapping>>,
    pub faults: Mutex<Vec<Fault>>,
    pub asked: Mutex<u64>,
}

impl PlainModel {
    pub fn map(&self, domain: DomainId, first: u64, last: u64, address: u64, allow: Permissions) {
        let mapping = Mapping {
            first,
            last,
            address,
            permissions: allow,
        };
        self.mappings
            .lock()
            .unwrap()
            .insert((domain.0, first), mapping);
    }

    pub fn map_page(&self, iova: u64, address: u64, allow: Permissions) {
        self.map(DOMAIN, iova, iova + (PAGE - 1), address, allow);
    }

    pub fn unmap(&self, domain: DomainId, first: u64) {
        self.mappings.lock().unwrap().remove(&(domain.0, first));
    }

    pub fn find(&self, domain: DomainId, iova: u64) -> Option<Mapping> {
        let mappings = self.mappings.lock().unwrap();
        let (_, mapping) = mappings
            .range((domain.0, 0)..=(domain.0, iova))
            .next_back()?;
        (mapping.last >= iova).then_some(*mapping)
    }

    fn answer(&self, domain: DomainId, iova: u64, wanted: Permissions) -> Result<Mapping, Miss> {
        let mapping = self
            .find(domain, iova)
            .ok_or(Miss::new(FaultReason::Translation))?;
        if mapping.permissions.allow(wanted) {
            Ok(mapping)
        } else {
            Err(Miss::new(FaultReason::Permission))
        }
    }

    pub fn asked(&self) -> u64 {
        *self.asked.lock().unwrap()
    }

    pub fn take_faults(&self) -> Vec<(u64, Access, FaultReason)> {
        let faults = std::mem::take(&mut *self.faults.lock().unwrap());
        faults
            .iter()
            .map(|fault| (fault.iova, fault.access, fault.reason))
            .collect()
    }
}

impl Model for PlainModel {
    fn translate(
        &self,
        _requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        *self.asked.lock().unwrap() += 1;
        self.answer(domain, iova, wanted)
    }

    fn look(
        &self,
        _requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Option<Result<Mapping, Miss>> {
        Some(self.answer(domain, iova, wanted))
    }

    fn fault(&self, fault: &Fault) {
        self.faults.lock().unwrap().push(*fault);
    }
}

/// Keeps every event.
#[derive(Default)]
pub struct Recorder {
    pub events: Mutex<Vec<Event>>,
    pub dma: bool,
}

impl Recorder {
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

impl Observer for Recorder {
    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(*event);
    }

    fn wants_dma(&self) -> bool {
        self.dma
    }
}

/// Returns a unit over `ram` with four endpoints, attached to [`DOMAIN`], and four domains.
pub fn unit(
    ram: &Arc<GuestMemoryMmap<()>>,
    entries: usize,
    observer: Option<Arc<Recorder>>,
) -> (Arc<TranslationUnit>, Arc<PlainModel>) {
    let cache = CacheConfig::default().with_entries(entries);
    unit_with(ram, &cache, observer)
}

/// Returns the same, with this cache.
pub fn unit_with(
    ram: &Arc<GuestMemoryMmap<()>>,
    cache: &CacheConfig,
    observer: Option<Arc<Recorder>>,
) -> (Arc<TranslationUnit>, Arc<PlainModel>) {
    let model = Arc::new(PlainModel::default());
    let config = UnitConfig::new(4, 4).with_initial(Attachment::Domain(DOMAIN));
    let unit = TranslationUnit::with_cache(
        Arc::clone(ram),
        Arc::clone(&model) as Arc<dyn Model>,
        &config,
        cache,
        observer.map(|observer| observer as Arc<dyn Observer>),
    );
    (unit, model)
}
