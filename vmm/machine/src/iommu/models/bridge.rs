//! Bus bridges through which devices reach a part of RAM only, and which the kernel is told nothing
//! of: no IOMMUs, but they stand where one would.

use std::sync::Arc;

use viommu::{
    Attachment, CacheConfig, DmaListener, DomainId, EndpointId, Event, Fault, FaultReason, Mapping,
    Miss, Observer, Requester, TranslationUnit, UnitConfig,
};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, Permissions};
use vmm_devices::ram::{DmaSpace, GuestRam};

use super::super::tally::Tally;
use super::super::{IommuInfo, IommuSummary};
use super::{
    Face, IommuContext, IommuDevice, IommuWindows, Listening, MadeIommus, Model, UnitState,
    WrongIommu, registers,
};
use crate::config::{IommuModel, Port};
use crate::entry::{Entry, IommuPart, Role};

const MODEL: IommuModel = IommuModel::Bridge;

/// How much of RAM devices reach, from its beginning: as on IXP4xx, whose PCI bridge has a window
/// of 64 MiB (Linux 5.10, arch/arm/mach-ixp4xx/common-pci.c).
const WINDOW: u64 = 64 << 20;

/// The model of bridges.
pub(super) struct Bridge;

impl Model for Bridge {
    fn model(&self) -> IommuModel {
        MODEL
    }

    /// Returns entries without registers and interrupts.
    fn place(&self, instances: &[(usize, String)], _: &IommuWindows) -> Vec<Entry> {
        let entry = |(index, name): &(usize, String)| {
            let mut entry = Entry::new(name, "bridge", &[], None);
            entry.role = Some(Role::Iommu(MODEL, IommuPart::Instance(*index)));
            entry
        };
        instances.iter().map(entry).collect()
    }

    /// Returns nothing: no device tree names it.
    fn compatible(&self) -> &'static [&'static str] {
        &[]
    }

    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus {
        registers::each(entries, |entry, index| {
            Ok(BridgeUnit::new(entry, index, context))
        })
    }
}

/// What passes a bridge: addresses up to the last one, as they are.
struct Window {
    last: u64,
}

impl viommu::Model for Window {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        iova: u64,
        _: Permissions,
    ) -> Result<Mapping, Miss> {
        if iova > self.last {
            return Err(Miss::new(FaultReason::AddressSize));
        }
        Ok(Mapping {
            first: 0,
            last: self.last,
            address: 0,
            permissions: Permissions::ReadWrite,
        })
    }

    /// The device sees that its access fails; nobody else is told.
    fn fault(&self, _: &Fault) {}
}

/// A bridge.
struct BridgeUnit {
    index: usize,
    unit: Arc<TranslationUnit<GuestRam>>,
    watch: Arc<Watch>,
}

impl BridgeUnit {
    /// Creates bridge `index` of the configuration, which is `entry` on the board.
    fn new(entry: &Entry, index: usize, context: &IommuContext<'_>) -> Self {
        let ports = MODEL.facts().ports;
        let info = IommuInfo {
            name: entry.name.clone(),
            contexts_of: entry.name.clone(),
            model: MODEL,
            masters: context.masters_of(entry, ports as usize),
            sources: context.sources.to_vec(),
        };
        let tally = Tally::new(info, Arc::clone(context.clock), context.sink.cloned());
        let watch = Arc::new(Watch(tally));
        let ram = context.ram.iter().map(|region| region.start_addr());
        let first = ram.min().map_or(0, |first| first.raw_value());
        let window = Window {
            last: first.saturating_add(WINDOW - 1),
        };
        let config = UnitConfig::new(ports, 1).with_initial(Attachment::Domain(DomainId(0)));
        // One mapping for all there is.
        let cache = CacheConfig::default().with_entries(16);
        let ram = Arc::clone(context.ram);
        let unit = TranslationUnit::with_cache(
            ram,
            Arc::new(window),
            &config,
            &cache,
            Some(watch.clone()),
        );
        Self { index, unit, watch }
    }
}

impl IommuDevice for BridgeUnit {
    fn face(&self, _: Role) -> Option<Face> {
        None
    }

    fn space(&self, port: Port) -> Option<DmaSpace> {
        (port.iommu == self.index).then(|| self.unit.space(EndpointId(port.utlb)))
    }

    fn listen(&self, port: Port, listener: &mut Option<Box<dyn DmaListener>>) -> Listening {
        let listener = listener.take_if(|_| port.iommu == self.index)?;
        self.unit.add_listener(EndpointId(port.utlb), listener);
        Some(Ok(()))
    }

    fn save(&self) -> UnitState {
        UnitState::Bridge {
            cache: self.unit.save_cache(),
            tally: self.watch.0.save(),
        }
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let UnitState::Bridge { cache, tally } = saved else {
            return Err(WrongIommu::Model);
        };
        self.unit.restore_cache(cache)?;
        self.watch.0.restore(tally);
        Ok(())
    }

    fn summaries(&self) -> Vec<IommuSummary> {
        let counters = self.unit.counters();
        vec![IommuSummary {
            model: MODEL.name().into(),
            hits: counters.hits,
            misses: counters.misses,
            evictions: counters.evictions,
            ..self.watch.0.summary()
        }]
    }
}

/// Sees all that happens at one bridge.
struct Watch(Tally);

impl Observer for Watch {
    fn event(&self, event: &Event) {
        self.0.path(event);
    }

    fn wants_dma(&self) -> bool {
        self.0.wants_dma()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use viommu::Model as _;

    #[test]
    fn what_is_in_the_window_passes_as_it_is_and_nothing_else_does() {
        let window = Window { last: 0x83ff_ffff };
        let requester = Requester::from(EndpointId(3));
        let pass = |iova| window.translate(requester, DomainId(0), iova, Permissions::Write);
        for iova in [0, 0x8000_0000, 0x83ff_ffff] {
            let mapping = pass(iova).unwrap();
            assert_eq!((mapping.first, mapping.address), (0, 0));
            assert_eq!(mapping.last, 0x83ff_ffff);
        }
        for iova in [0x8400_0000, u64::MAX] {
            assert_eq!(pass(iova), Err(Miss::new(FaultReason::AddressSize)));
        }
    }
}
