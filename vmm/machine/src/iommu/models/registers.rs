//! What IOMMUs with a window of registers have in common.

use std::sync::Arc;

use viommu::{Event, Observer, RegisterEvent, RegisterObserver};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use super::super::tally::Tally;
use super::Face;

/// Sees all that happens at one IOMMU.
pub(super) struct Watch(pub Tally);

impl RegisterObserver for Watch {
    fn event(&self, event: &dyn RegisterEvent) {
        self.0.registers(event);
    }
}

impl Observer for Watch {
    fn event(&self, event: &Event) {
        self.0.path(event);
    }

    fn wants_dma(&self) -> bool {
        self.0.wants_dma()
    }
}

/// Returns the registers of `iommu`, which these read and write, on the bus.
pub(super) fn window<T: Send + Sync + 'static>(
    iommu: T,
    read: fn(&T, u64, &mut [u8]),
    write: fn(&T, u64, &[u8]),
) -> Face {
    Face::Window(Arc::new(Window { iommu, read, write }))
}

struct Window<T> {
    iommu: T,
    read: fn(&T, u64, &mut [u8]),
    write: fn(&T, u64, &[u8]),
}

impl<T> DeviceMmio for Window<T> {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        (self.read)(&self.iommu, offset, data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        (self.write)(&self.iommu, offset, data);
    }
}
