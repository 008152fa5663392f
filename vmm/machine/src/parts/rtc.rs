//! The real-time clock: a PL031.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::rtc::Rtc;

use super::{Part, Placed};
use crate::entry::{Entry, Irq};
use crate::error::Error;
use crate::fdt;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns a PL031 at `window`.
pub(crate) fn pl031(window: Range, irq: Irq) -> Placed {
    Placed::new(Entry::new("rtc", "rtc", &[window], irq), Pl031)
}

#[derive(Debug)]
struct Pl031;

impl Part for Pl031 {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        // By the second Linux puts it on the AMBA bus, where the driver looks for it.
        let compatible = ["arm,pl031", "arm,primecell"].map(Into::into);
        node.property_string_list("compatible", compatible.into())?;
        // The AMBA bus enables this clock before it reads what the device is (drivers/amba/bus.c).
        node.property_u32("clocks", fdt::PHANDLE_APB_CLOCK)?;
        node.property_string("clock-names", "apb_pclk")
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let control = wiring.control();
        let rtc = Arc::new(Rtc::new(
            wiring.clock(),
            wiring.epoch(),
            wiring.line(entry)?,
            // The alarm that the guest sets may be due before the slice that is under way ends.
            Box::new(move || control.recheck()),
        ));
        wiring.devices.rtc = Some(Arc::clone(&rtc));
        wiring.attach(entry, 0, rtc)
    }
}
