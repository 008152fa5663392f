//! Devices that stand behind no IOMMU and whose accesses someone wants to see.

use std::sync::Arc;

use viommu::{
    Attachment, CacheConfig, DomainId, EndpointId, Event, Fault, FaultReason, Mapping, Miss, Model,
    Observer, Requester, TranslationUnit, UnitConfig,
};
use vm_memory::Permissions;
use vmm_base::Clock;
use vmm_devices::ram::{DmaSpace, GuestRam};

use crate::iommu::IommuSink;

/// The only port of such a unit.
const PORT: EndpointId = EndpointId(0);

/// Returns all of memory as `device` sees it, with `sink` told of each access.
pub(super) fn space(
    ram: Arc<GuestRam>,
    device: &str,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn IommuSink>,
) -> DmaSpace {
    let config = UnitConfig::new(1, 0).with_initial(Attachment::Bypass);
    let cache = CacheConfig::default().with_entries(0).with_count(false);
    let observer = Arc::new(Direct {
        device: device.to_owned(),
        clock,
        sink,
    });
    let model = Arc::new(NoModel);
    TranslationUnit::with_cache(ram, model, &config, &cache, Some(observer)).space(PORT)
}

/// Tells the sink of each access.
struct Direct {
    device: String,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn IommuSink>,
}

impl Observer for Direct {
    fn event(&self, event: &Event) {
        if let Event::Dma {
            iova,
            length,
            access,
            ..
        } = *event
        {
            let place = (iova, length as u64);
            self.sink
                .direct(&self.device, self.clock.now_ns(), place, access);
        }
    }

    fn wants_dma(&self) -> bool {
        true
    }
}

/// A model that is never asked, as its only port bypasses it.
struct NoModel;

impl Model for NoModel {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        _: u64,
        _: Permissions,
    ) -> Result<Mapping, Miss> {
        Err(Miss::new(FaultReason::Blocked))
    }

    fn fault(&self, _: &Fault) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use vm_memory::{Bytes, GuestAddress};
    use vmm_base::VirtualClock;

    use super::*;
    use crate::iommu::{IommuEvent, IommuInfo};

    #[derive(Default)]
    struct Log(Mutex<Vec<(String, u64, u64, bool)>>);

    impl IommuSink for Log {
        fn event(&self, _: &IommuInfo, _: u64, _: &IommuEvent<'_>) {}

        fn direct(&self, device: &str, _: u64, (first, bytes): (u64, u64), access: Permissions) {
            let write = access == Permissions::Write;
            let entry = (device.to_owned(), first, bytes, write);
            self.0.lock().unwrap().push(entry);
        }
    }

    #[test]
    fn accesses_go_to_memory_and_are_told() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0x4000_0000), 0x2000)]).unwrap();
        let ram = Arc::new(ram);
        let log = Arc::new(Log::default());
        let clock = Arc::new(VirtualClock::default());
        let dma = space(Arc::clone(&ram), "disk0", clock, log.clone());
        // Across a page, which needs no translation.
        dma.write_obj(0x1122_3344_5566_7788u64, GuestAddress(0x4000_0ffc))
            .unwrap();
        assert_eq!(
            ram.read_obj::<u64>(GuestAddress(0x4000_0ffc)).unwrap(),
            0x1122_3344_5566_7788
        );
        assert!(dma.read_obj::<u32>(GuestAddress(0x1000)).is_err());
        let told = log.0.lock().unwrap();
        let disk = || "disk0".to_owned();
        assert_eq!(
            *told,
            [(disk(), 0x4000_0ffc, 8, true), (disk(), 0x1000, 4, false)]
        );
    }
}
