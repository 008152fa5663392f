//! Clock generators, which drivers' probes can be made to wait for.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::clkgen::ClockGenerator;

use super::{Part, Placed};
use crate::entry::{Entry, Role};
use crate::error::Error;
use crate::fdt;
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns clock generator `index` of the configuration at `window`.
pub(crate) fn axi_clkgen(name: &str, index: usize, window: Range) -> Placed {
    let mut entry = Entry::new(name, "clock-controller", &[window], None);
    entry.role = Some(Role::ClockGenerator(index));
    Placed::new(entry, AxiClkgen(index))
}

/// Analog Devices' AXI clock generator (Linux, bindings/clock/adi,axi-clkgen.yaml).
#[derive(Debug)]
struct AxiClkgen(usize);

impl Part for AxiClkgen {
    fn describe(&self, entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        node.property_string("compatible", "adi,axi-clkgen-2.00.a")?;
        node.property_u32("#clock-cells", 0)?;
        let oscillator = fdt::PHANDLE_OSCILLATOR;
        node.property_array_u32("clocks", &[oscillator, oscillator])?;
        let names = ["clkin1", "s_axi_aclk"].map(Into::into);
        node.property_string_list("clock-names", names.into())?;
        // Otherwise the driver takes the node's name, which is the same for all generators, and
        // Linux refuses a second clock of one name.
        node.property_string("clock-output-names", &entry.name)?;
        node.property_phandle(fdt::phandle_clkgen(self.0))
    }

    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let clock = Arc::new(ClockGenerator::default());
        wiring.devices.clocks.push(Arc::clone(&clock));
        wiring.attach(entry, 0, clock)
    }
}
