//! The system registers of Calxeda's SoCs.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::sregs::{PowerRequest, SystemRegisters};

use super::{Part, Placed};
use crate::entry::Entry;
use crate::error::Error;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns the system registers at `window`.
pub(crate) fn system_registers(window: Range) -> Placed {
    let entry = Entry::new("sregs", "sregs", &[window], None);
    Placed::new(entry, HbSregs)
}

#[derive(Debug)]
struct HbSregs;

impl Part for HbSregs {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        node.property_string("compatible", "calxeda,hb-sregs")
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let control = wiring.control();
        let sregs = Arc::new(SystemRegisters::new(Box::new(
            move |request| match request {
                PowerRequest::Off => control.power_off(),
                PowerRequest::Reset => control.reset(),
            },
        )));
        wiring.devices.sregs = Some(Arc::clone(&sregs));
        wiring.attach(entry, 0, sregs)
    }
}
