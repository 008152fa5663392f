//! Devices of a board that are not modelled.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::unmodelled::Unmodelled;

use super::{Part, Placed};
use crate::entry::Entry;
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns a device at `window` whose registers read as zero.
pub(crate) fn zeros(name: &str, node: &'static str, window: Range) -> Placed {
    Placed::new(Entry::new(name, node, &[window], None), Zeros)
}

#[derive(Debug)]
struct Zeros;

impl Part for Zeros {
    /// Boards that have such devices do not generate their device tree.
    fn describe(&self, _entry: &Entry, _node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        Ok(())
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        wiring.attach(entry, 0, Arc::new(Unmodelled))
    }
}
