//! `ecx2000`: Calxeda's ECX-2000 ("Midway"), a server node with Cortex-A15 and GICv2, of which a
//! kernel is told by its own device tree.

mod layout;

use super::model::Model;
use crate::board::{Board, Irq};
use crate::config::{BoardModel, Config};
use crate::fdt::{self, Chosen, TreeError};
use crate::parts::{self, Placed};
use crate::psci::Firmware;
use crate::vcpu::{GicMap, Platform};

/// The board.
pub(super) struct Ecx2000;

impl Model for Ecx2000 {
    fn model(&self) -> BoardModel {
        BoardModel::Ecx2000
    }

    fn gic(&self, _platform: Platform) -> GicMap {
        GicMap {
            windows: [layout::GICD, layout::GICC],
            irqs: layout::IRQS,
        }
    }

    fn firmware(&self) -> Firmware {
        Firmware::Calxeda
    }

    fn devices(&self, platform: Platform, config: &Config) -> Vec<Placed> {
        let spi = |spi| Irq { spi };
        let mut devices = vec![
            parts::gic::gic(platform.irqchip, &self.gic(platform)),
            parts::ahci::controller(
                layout::SATA,
                spi(layout::SATA_SPI),
                !config.disks.is_empty(),
            ),
            parts::timer::sp804(layout::TIMER, spi(layout::TIMER_SPI), layout::PCLK_HZ),
            parts::rtc::pl031(layout::RTC, spi(layout::RTC_SPI)),
            parts::console::pl011(layout::UART, spi(layout::UART_SPI)),
            parts::soc::system_registers(layout::SREGS),
        ];
        let unmodelled = layout::UNMODELLED.into_iter();
        devices.extend(
            unmodelled.map(|(name, node, window)| parts::unmodelled::zeros(name, node, window)),
        );
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
        fdt::complete(given, chosen, board.ram, layout::CONSOLE)
    }
}
