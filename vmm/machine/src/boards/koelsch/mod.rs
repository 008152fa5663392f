//! `koelsch`: Renesas' evaluation board of R-Car M2-W, of which a kernel is told by its own device
//! tree.
//!
//! A boot loader with PSCI has run before: cores are switched on by its calls, the counter of their
//! timers is set up, and the device tree has a node of it. If the configuration has an IPMMU, what
//! a user must add to the device tree for that is in it as well.

mod layout;
mod overlay;

use super::model::Model;
use crate::board::{Board, Irq};
use crate::config::{BoardModel, Config, Port};
use crate::fdt::{self, Chosen, TreeError};
use crate::layout::Range;
use crate::parts::renesas::{DmacPlace, block, dmac};
use crate::parts::{self, Placed};
use crate::vcpu::{GicMap, Platform};
use vmm_devices::renesas::blocks::Kind;

/// The board.
pub(super) struct Koelsch;

impl Model for Koelsch {
    fn model(&self) -> BoardModel {
        BoardModel::Koelsch
    }

    fn gic(&self, _platform: Platform) -> GicMap {
        GicMap {
            windows: [layout::GICD, layout::GICC],
            irqs: layout::IRQS,
        }
    }

    fn devices(&self, platform: Platform, config: &Config) -> Vec<Placed> {
        let mut devices = vec![
            parts::gic::gic(platform.irqchip, &self.gic(platform)),
            parts::console::scif(
                layout::SCIF,
                Irq {
                    spi: layout::SCIF_SPI,
                },
            ),
            block("cpg", "clock-controller", layout::CPG, Kind::Clocks),
            block("apmu", "apmu", layout::APMU, Kind::CorePower),
            block("rst", "reset-controller", layout::RST, Kind::Reset),
            block(
                "sysc",
                "system-controller",
                layout::SYSC,
                Kind::PowerDomains,
            ),
            block(
                "irqc",
                "interrupt-controller",
                layout::IRQC,
                Kind::ExternalInterrupts,
            ),
            block("pfc", "pinctrl", layout::PFC, Kind::Pins),
            block("counter", "timer", layout::COUNTER, Kind::Counter),
            block("prr", "chipid", layout::PRR, Kind::Product),
        ];
        devices.extend(parts::iommu::all(config, &layout::IPMMU));
        let has_ipmmu = !config.iommu_list().is_empty();
        if !has_ipmmu {
            let Range { base, size } = Range::new(layout::IPMMU.first, layout::IPMMU.stride);
            devices.push(parts::unmodelled::zeros(
                "ipmmu-ds",
                "iommu",
                Range::new(base, size),
            ));
        }
        for (index, place) in layout::DMACS.iter().enumerate() {
            devices.extend(dmac(place, |channel| port(has_ipmmu, index, channel)));
        }
        devices.extend(layout::UNMODELLED.map(|(name, node, base, size)| {
            parts::unmodelled::zeros(name, node, Range::new(base, size))
        }));
        devices
    }

    fn device_tree(
        &self,
        board: &Board,
        chosen: &Chosen<'_>,
        given: Option<&[u8]>,
    ) -> Result<Vec<u8>, TreeError> {
        // A configuration without a device tree is not valid; an empty file is none.
        let given = given.unwrap_or_default();
        let dtb = fdt::complete(given, chosen, board.ram, layout::CONSOLE)?;
        let masters = |place: &DmacPlace| {
            let prefix = format!("{}-ch", place.name);
            let channels = board.devices.iter();
            let channels = channels.filter(|entry| entry.name.starts_with(&prefix));
            let ports = channels.filter_map(|entry| entry.iommu);
            ports.map(|port| port.utlb).collect::<Vec<_>>()
        };
        overlay::apply(&dtb, &masters(&layout::DMACS[0]))
    }
}

/// Returns where a channel of DMA controller `index` is behind IPMMU-DS.
///
/// Channel n of the first is on micro-TLB n (drivers/dma/sh/rcar-dmac.c, `rcar_dmac_probe`). Where
/// those of the second are nothing public says: they stay where the device tree has them, behind
/// none.
fn port(has_ipmmu: bool, index: usize, channel: u32) -> Option<Port> {
    (has_ipmmu && index == 0).then_some(Port {
        iommu: 0,
        utlb: channel,
    })
}
