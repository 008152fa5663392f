//! The interrupt controller.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;

use super::{Part, Placed};
use crate::bus::{DistributorPort, InterfacePort};
use crate::entry::Entry;
use crate::error::Error;
use crate::fdt;
use crate::vcpu::{GicMap, Irqchip};
use crate::wiring::Wiring;

/// Returns the controller of this kind in its place.
pub(crate) fn gic(kind: Irqchip, map: &GicMap) -> Placed {
    let entry = Entry::new("gic", "interrupt-controller", &map.windows, None);
    Placed::new(entry, Controller(kind))
}

/// Distributor, and CPU interface (GICv2) or redistributors (GICv3).
#[derive(Debug)]
struct Controller(Irqchip);

impl Part for Controller {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let compatible = match self.0 {
            Irqchip::GicV2 => "arm,cortex-a15-gic",
            Irqchip::GicV3 => "arm,gic-v3",
        };
        node.property_string("compatible", compatible)?;
        node.property_null("interrupt-controller")?;
        // Kind, number and flags (bindings/interrupt-controller/arm,gic.yaml).
        node.property_u32("#interrupt-cells", 3)?;
        node.property_phandle(fdt::PHANDLE_GIC)
    }

    /// Unless the host's kernel has it.
    fn make(&self, entry: &Entry, _source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        // KVM serves the registers of its own controller.
        let Some(gic) = wiring.controller().emulated().cloned() else {
            return Ok(());
        };
        let current_cpu = wiring.current_cpu();
        let distributor = DistributorPort(Arc::clone(&gic), Arc::clone(&current_cpu));
        wiring.attach(entry, 0, Arc::new(distributor))?;
        wiring.attach(entry, 1, Arc::new(InterfacePort(gic, current_cpu)))
    }
}
