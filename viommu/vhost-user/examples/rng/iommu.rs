//! An IOMMU that is programmed by calls, with one endpoint, which is in its one domain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use viommu::{
    Attachment, DmaListener, DmaSpace, DomainId, EndpointId, Fault, FaultReason, Mapping, Miss,
    Model, Requester, TranslationUnit, UnitConfig,
};
use viommu_vhost_user::frontend::{CurrentBackend, Listener};
use vm_memory::{GuestMemoryMmap, Permissions};

/// The memory of the guest.
type Memory = GuestMemoryMmap<()>;

const ENDPOINT: EndpointId = EndpointId(0);
const DOMAIN: DomainId = DomainId(0);

/// The mappings of the domain, by first IOVA.
#[derive(Default)]
struct Table(Mutex<BTreeMap<u64, Mapping>>);

impl Model for Table {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        iova: u64,
        _: Permissions,
    ) -> Result<Mapping, Miss> {
        let table = self.0.lock().unwrap();
        let below = table.range(..=iova).next_back();
        let found = below.map(|(_, mapping)| *mapping);
        let found = found.filter(|mapping| iova <= mapping.last);
        found.ok_or_else(|| Miss::new(FaultReason::Translation))
    }

    fn fault(&self, _: &Fault) {}
}

/// The IOMMU, and the listener of its endpoint.
pub struct Iommu {
    table: Arc<Table>,
    unit: Arc<TranslationUnit<Memory>>,
    listener: Listener<Memory>,
    /// The back end of the device that is the endpoint.
    pub backend: CurrentBackend,
}

impl Iommu {
    pub fn new(memory: Memory) -> Self {
        let table = Arc::new(Table::default());
        let config = UnitConfig::new(1, 1).with_initial(Attachment::Domain(DOMAIN));
        let unit = TranslationUnit::new(
            Arc::new(memory),
            Arc::clone(&table) as Arc<dyn Model>,
            &config,
            None,
        );
        let backend = CurrentBackend::new(|| {});
        let mut this = Self {
            listener: Listener::new(backend.clone(), unit.space(ENDPOINT)),
            table,
            unit,
            backend,
        };
        this.attach(Attachment::Domain(DOMAIN));
        this
    }

    /// Returns what the device sees.
    pub fn space(&self) -> DmaSpace<Memory> {
        self.unit.space(ENDPOINT)
    }

    pub fn attach(&mut self, to: Attachment) {
        self.table.0.lock().unwrap().clear();
        self.unit.invalidate_all();
        self.unit.attach(ENDPOINT, to);
        self.listener.attach(to).expect("it refuses nothing");
        self.listener.commit();
    }

    pub fn map(&mut self, mapping: Mapping) {
        self.table.0.lock().unwrap().insert(mapping.first, mapping);
        self.listener.map(&mapping).expect("it refuses nothing");
        self.listener.commit();
    }

    /// Removes the mappings in a range.
    pub fn unmap(&mut self, first: u64, last: u64) {
        let outside = |iova: &u64| !(first..=last).contains(iova);
        self.table.0.lock().unwrap().retain(|iova, _| outside(iova));
        self.unit.invalidate_range(DOMAIN, first, last);
        self.listener.unmap(first, last);
        self.listener.commit();
    }

    /// Returns whether the device uses nothing any more that was unmapped or detached.
    pub fn is_settled(&mut self) -> bool {
        self.listener.is_settled()
    }
}
