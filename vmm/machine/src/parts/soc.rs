//! What Linux's platform code for an SoC looks for.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::sregs::{PowerRequest, SystemRegisters};

use super::{Part, Placed};
use crate::entry::Entry;
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns the node of Marvell's coherency fabric, with nothing at `window`: Linux reads its
/// registers only on machines of Marvell's names (arch/arm/mach-mvebu/board-v7.c).
pub(crate) fn coherency_fabric(window: Range) -> Placed {
    let part = Soc {
        compatible: "marvell,armada-380-coherency-fabric",
        make: |_, _| Ok(()),
    };
    Placed::new(entry("coherency-fabric", window), part)
}

/// Returns the system registers of Calxeda's SoCs at `window`.
pub(crate) fn system_registers(window: Range) -> Placed {
    let part = Soc {
        compatible: "calxeda,hb-sregs",
        make: make_sregs,
    };
    Placed::new(entry("sregs", window), part)
}

fn entry(name: &'static str, window: Range) -> Entry {
    Entry::new(name, name, &[window], None)
}

/// A device without an interrupt, and how it is made.
#[derive(Debug)]
struct Soc {
    compatible: &'static str,
    make: fn(&Entry, &mut Wiring<'_>) -> Result<(), Error>,
}

impl Part for Soc {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        node.property_string("compatible", self.compatible)
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        (self.make)(entry, wiring)
    }
}

fn make_sregs(entry: &Entry, wiring: &mut Wiring<'_>) -> Result<(), Error> {
    let control = wiring.control();
    let power = move |request| match request {
        PowerRequest::Off => control.power_off(),
        PowerRequest::Reset => control.reset(),
    };
    let sregs = Arc::new(SystemRegisters::new(Box::new(power)));
    wiring.devices.sregs = Some(Arc::clone(&sregs));
    wiring.attach(entry, 0, sregs)
}
