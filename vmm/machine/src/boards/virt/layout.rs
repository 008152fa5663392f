//! The memory map and the interrupt map of `virt`: the numbers from which everything else is
//! generated.
//!
//! Devices lie below where RAM may begin (`BoardFacts::ram_min`).

use crate::config::MAX_CPUS;
use crate::iommu::IommuWindows;
use crate::layout::Range;

/// GIC distributor.
pub const GICD: Range = Range::new(0x0800_0000, 0x1000);
/// GIC CPU interface (with its deactivate register in the second page).
pub const GICC: Range = Range::new(0x0801_0000, 0x2000);
/// GICv3 distributor, in machines that have that in place of a GICv2.
pub const GICV3D: Range = Range::new(0x0800_0000, 0x1_0000);
/// GICv3 redistributors: two frames of 64 KiB for each of [`MAX_CPUS`] cores.
pub const GICR: Range = Range::new(0x080a_0000, 0x2_0000 * MAX_CPUS as u64);
/// Number of interrupt identifiers the GIC implements: 32 private ones and 96 shared ones.
pub const IRQS: u32 = 128;
/// Console.
pub const UART: Range = Range::new(0x0900_0000, 0x1000);
/// Real-time clock.
pub const RTC: Range = Range::new(0x0901_0000, 0x1000);
/// First clock generator.
pub const CLKGEN: Range = Range::new(0x0902_0000, 0x1000);
/// Distance between clock generators.
pub const CLKGEN_STRIDE: u64 = 0x1000;
/// System registers of Calxeda's SoCs: of a size as in theirs, at an address of this machine's own.
pub const SREGS: Range = Range::new(0x0903_0000, 0x1000);
/// Coherency fabric of Marvell's SoCs: its node has a window, and nothing is there.
pub const COHERENCY_FABRIC: Range = Range::new(0x0904_0000, 0x1000);
/// DMA tester.
pub const DMA_TESTER: Range = Range::new(0x0905_0000, 0x1000);
/// The IOMMUs of the configuration. Addresses, interrupts and the connection of masters to
/// micro-TLBs are this machine's own: those of an R-Car SoC lie where RAM is here, and no mainline
/// device tree connects a master.
pub const IOMMUS: IommuWindows = IommuWindows {
    first: 0x0980_0000,
    stride: 0x1000,
    large_first: 0x0990_0000,
    large_stride: 0x1_0000,
    first_spi: 40,
    shared: 0x0970_0000,
    shared_spi: 39,
};
/// First virtio-mmio slot.
pub const VIRTIO: Range = Range::new(0x0a00_0000, 0x200);
/// Distance between virtio-mmio slots: one page each, so that an IOMMU or a hypervisor could
/// protect them singly.
pub const VIRTIO_STRIDE: u64 = 0x1000;

/// Shared peripheral interrupt of the console.
pub const UART_SPI: u32 = 1;
/// Shared peripheral interrupt of the real-time clock.
pub const RTC_SPI: u32 = 2;
/// Shared peripheral interrupt of the DMA tester.
pub const DMA_TESTER_SPI: u32 = 3;
/// Shared peripheral interrupt of the first virtio-mmio slot; slot `n` has this plus `n`.
pub const VIRTIO_SPI: u32 = 16;
