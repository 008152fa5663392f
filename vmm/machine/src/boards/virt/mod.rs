//! `virt`: a board of this project's own, with what a configuration asks for.

pub(super) mod layout;
mod soc;

use super::model::Model;
use super::tree::{self, Identity};
use crate::board::{Board, Irq};
use crate::config::{BoardModel, Config};
use crate::fdt::{self, Chosen, TreeError};
use crate::layout::Range;
use crate::parts::{self, Placed};
use crate::vcpu::{GicMap, Irqchip, Platform, Width};

pub(super) use soc::Soc;

/// The board, with what makes Linux's platform code for an SoC run on it, if anything.
pub(super) struct Virt(pub Option<Soc>);

impl Model for Virt {
    fn model(&self) -> BoardModel {
        match self.0 {
            None => BoardModel::Virt,
            Some(Soc::Mvebu) => BoardModel::VirtMvebu,
            Some(Soc::Highbank) => BoardModel::VirtHighbank,
        }
    }

    fn gic(&self, platform: Platform) -> GicMap {
        GicMap {
            windows: match platform.irqchip {
                Irqchip::GicV2 => [layout::GICD, layout::GICC],
                Irqchip::GicV3 => [layout::GICV3D, layout::GICR],
            },
            irqs: layout::IRQS,
        }
    }

    fn devices(&self, platform: Platform, config: &Config) -> Vec<Placed> {
        let spi = |spi| Irq { spi };
        let mut devices = vec![
            parts::gic::gic(platform.irqchip, &self.gic(platform)),
            parts::console::ns16550a(layout::UART, spi(layout::UART_SPI)),
            parts::rtc::pl031(layout::RTC, spi(layout::RTC_SPI)),
        ];
        for (index, name) in config.clock_list().iter().enumerate() {
            let base = layout::CLKGEN.base + index as u64 * layout::CLKGEN_STRIDE;
            let window = Range::new(base, layout::CLKGEN.size);
            devices.push(parts::clock::axi_clkgen(name, index, window));
        }
        devices.extend(self.0.map(Soc::device));
        devices.extend(parts::iommu::all(config, &layout::IOMMUS));
        let disks_are = self.0.and_then(Soc::disks_are);
        devices.extend(parts::virtio::in_slots(config, slots(), disks_are));
        let irq = spi(layout::DMA_TESTER_SPI);
        devices.extend(parts::dma_tester::tester(config, layout::DMA_TESTER, irq));
        // What this machine's devices do is coherent with the host's caches; arm64 kernels have no
        // trouble to be told so.
        if platform.width == Width::Bits64 {
            let virtio = devices.iter_mut().filter(|device| device.entry.virtio);
            virtio.for_each(|device| device.entry.coherent = true);
        }
        devices
    }

    fn device_tree(
        &self,
        board: &Board,
        chosen: &Chosen<'_>,
        _given: Option<&[u8]>,
    ) -> Result<Vec<u8>, TreeError> {
        let identity = Identity {
            // As QEMU and kvmtool name theirs: ARM Linux has a machine description for it.
            compatible: self.0.and_then(Soc::machine).unwrap_or("linux,dummy-virt"),
            model: "viommu virtual machine",
        };
        tree::generate(board, chosen, &identity, |fdt| {
            fdt::psci(fdt)?;
            fdt::core_devices(fdt, board.cpus, board.platform)?;
            // Any rate would do: the PL031's driver reads none, and the AMBA bus only enables the
            // clock.
            let (hz, phandle) = (24_000_000, fdt::PHANDLE_APB_CLOCK);
            fdt::fixed_clock(fdt, ("apb-pclk", "clk24mhz"), hz, phandle)
        })
        .map_err(TreeError::Generated)
    }
}

/// Returns the windows and interrupts of its virtio-mmio slots.
fn slots() -> impl Iterator<Item = (Range, Irq)> {
    (0..BoardModel::Virt.facts().virtio_slots).map(|slot| {
        let base = layout::VIRTIO.base + slot as u64 * layout::VIRTIO_STRIDE;
        let irq = Irq {
            #[expect(clippy::cast_possible_truncation, reason = "there are few slots")]
            spi: layout::VIRTIO_SPI + slot as u32,
        };
        (Range::new(base, layout::VIRTIO.size), irq)
    })
}
