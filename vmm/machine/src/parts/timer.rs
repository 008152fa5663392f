//! Timers that all cores share: an SP804.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::sp804::DualTimer;

use super::{Part, Placed};
use crate::entry::{Entry, Irq};
use crate::error::Error;
use crate::fdt;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns an SP804 at `window`, whose input clock has `hz` hertz.
pub(crate) fn sp804(window: Range, irq: Irq, hz: u32) -> Placed {
    Placed::new(Entry::new("timer", "timer", &[window], irq), Sp804 { hz })
}

#[derive(Debug)]
struct Sp804 {
    hz: u32,
}

impl Part for Sp804 {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let compatible = ["arm,sp804", "arm,primecell"].map(Into::into);
        node.property_string_list("compatible", compatible.into())?;
        node.property_u32("clocks", fdt::PHANDLE_APB_CLOCK)?;
        node.property_string("clock-names", "apb_pclk")
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let control = wiring.control();
        let timer = Arc::new(DualTimer::new(
            wiring.clock(),
            self.hz,
            wiring.line(entry)?,
            // What the guest sets may be due before the slice that is under way ends.
            Box::new(move || control.recheck()),
        ));
        wiring.devices.timer = Some(Arc::clone(&timer));
        wiring.attach(entry, 0, timer)
    }
}
