//! Marvell's coherency fabric.

use viommu::SourceId;
use vm_fdt::FdtWriter;

use super::{Part, Placed};
use crate::entry::Entry;
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns the node of a coherency fabric, with nothing at `window`: Linux reads its registers only
/// on machines of Marvell's names (arch/arm/mach-mvebu/board-v7.c).
pub(crate) fn coherency_fabric(window: Range) -> Placed {
    let entry = Entry::new("coherency-fabric", "coherency-fabric", &[window], None);
    Placed::new(entry, CoherencyFabric)
}

#[derive(Debug)]
struct CoherencyFabric;

impl Part for CoherencyFabric {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        node.property_string("compatible", "marvell,armada-380-coherency-fabric")
    }

    fn make(&self, _: &Entry, _: SourceId, _: &mut Wiring<'_>) -> Result<(), Error> {
        Ok(())
    }
}
