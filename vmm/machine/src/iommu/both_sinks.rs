//! Two sinks, where a machine has one.

use std::sync::Arc;

use viommu::HitCheck;
use vm_memory::Permissions;

use super::{IommuEvent, IommuInfo, IommuSink};

/// Two sinks, the first of which is told first.
pub struct BothSinks(pub Arc<dyn IommuSink>, pub Arc<dyn IommuSink>);

impl BothSinks {
    /// Returns a sink that tells those that there are, `first` first; `None` if there is none.
    pub fn of(
        first: Option<Arc<dyn IommuSink>>,
        second: Option<Arc<dyn IommuSink>>,
    ) -> Option<Arc<dyn IommuSink>> {
        match (first, second) {
            (Some(first), Some(second)) => Some(Arc::new(Self(first, second))),
            (first, second) => first.or(second),
        }
    }
}

impl IommuSink for BothSinks {
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) {
        self.0.event(iommu, at_ns, event);
        self.1.event(iommu, at_ns, event);
    }

    fn interrupt(&self, device: &str, irq: u32, active: bool) {
        self.0.interrupt(device, irq, active);
        self.1.interrupt(device, irq, active);
    }

    fn wants_interrupts(&self) -> bool {
        self.0.wants_interrupts() || self.1.wants_interrupts()
    }

    fn wants_dma(&self) -> bool {
        self.0.wants_dma() || self.1.wants_dma()
    }

    fn direct(&self, device: &str, at_ns: u64, place: (u64, u64), access: Permissions) {
        self.0.direct(device, at_ns, place, access);
        self.1.direct(device, at_ns, place, access);
    }

    fn wants_direct(&self) -> bool {
        self.0.wants_direct() || self.1.wants_direct()
    }

    fn hit_check(&self) -> HitCheck {
        self.0.hit_check().max(self.1.hit_check())
    }
}
