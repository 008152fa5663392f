//! The memory map and the interrupt map: the numbers from which everything else is generated.
//!
//! Devices lie below [`RAM_BASE_MIN`]; RAM lies where the configuration says, above them.

use vmm_base::ByteSize;

use super::config::MAX_CPUS;

/// Devices lie below this address, RAM at or above it.
pub const RAM_BASE_MIN: u64 = 0x4000_0000;
/// RAM ends at or below this address. The first gigabyte below 4 GiB stays free, so that no size arithmetic of
/// a 32-bit kernel meets the end of its address space.
pub const RAM_END_MAX: u64 = 0xf000_0000;
/// Base and size of RAM are multiples of this: ARM Linux patches its physical offset in steps of 2 MiB
/// (`ARM_PATCH_PHYS_VIRT`).
pub const RAM_ALIGN: u64 = 2 << 20;

/// Where RAM begins by default in a machine with an IOMMU: at the end of the 2 GiB from 1 GiB on in which Linux's IPMMU
/// driver maps DMA on ARM32 (drivers/iommu/ipmmu-vmsa.c, `ipmmu_init_arm_mapping`), so that an IOVA that reaches the
/// bus untranslated finds nothing there instead of somebody's memory.
pub const RAM_BASE_WITH_IOMMU: u64 = 0xc000_0000;
/// A base of RAM that the machine chooses is a multiple of this: a zImage takes the address at which it runs, rounded
/// down to 128 MiB, for the start of RAM (arch/arm/boot/compressed/head.S, AUTO_ZRELADDR).
pub const RAM_BASE_ALIGN: u64 = 128 << 20;

/// Most disks on one machine: the slots of virtio-mmio without the one of the entropy device.
pub const MAX_DISKS: usize = VIRTIO_SLOTS - 1;
/// Number of virtio-mmio slots.
pub const VIRTIO_SLOTS: usize = 16;

/// GIC distributor.
pub const GICD: Range = Range::new(0x0800_0000, 0x1000);
/// GIC CPU interface (with its deactivate register in the second page).
pub const GICC: Range = Range::new(0x0801_0000, 0x2000);
/// GICv3 distributor, in machines that have that in place of a GICv2.
pub const GICV3D: Range = Range::new(0x0800_0000, 0x1_0000);
/// GICv3 redistributors: two frames of 64 KiB for each of [`MAX_CPUS`] cores.
pub const GICR: Range = Range::new(0x080a_0000, 0x2_0000 * MAX_CPUS as u64);
/// Console.
pub const UART: Range = Range::new(0x0900_0000, 0x1000);
/// Real-time clock.
pub const RTC: Range = Range::new(0x0901_0000, 0x1000);
/// First clock generator.
pub const CLKGEN: Range = Range::new(0x0902_0000, 0x1000);
/// Distance between clock generators.
pub const CLKGEN_STRIDE: u64 = 0x1000;
/// The main IPMMU of Gen3, which all others report to.
pub const IPMMU_MAIN: Range = Range::new(0x0970_0000, 0x1000);
/// First IPMMU of the configuration. Addresses, interrupts and the connection of masters to micro-TLBs are this
/// machine's own: those of an R-Car SoC lie where RAM is here, and no mainline device tree connects a master.
pub const IPMMU: Range = Range::new(0x0980_0000, 0x1000);
/// Distance between IPMMUs.
pub const IPMMU_STRIDE: u64 = 0x1000;
/// First virtio-mmio slot.
pub const VIRTIO: Range = Range::new(0x0a00_0000, 0x200);
/// Distance between virtio-mmio slots: one page each, so that an IOMMU or a hypervisor could protect them singly.
pub const VIRTIO_STRIDE: u64 = 0x1000;

/// Shared peripheral interrupt of the console.
pub const UART_SPI: u32 = 1;
/// Shared peripheral interrupt of the real-time clock.
pub const RTC_SPI: u32 = 2;
/// Shared peripheral interrupt of the first virtio-mmio slot; slot `n` has this plus `n`.
pub const VIRTIO_SPI: u32 = 16;
/// Shared peripheral interrupt of the first IPMMU; IPMMU `n` has this plus `n`.
pub const IPMMU_SPI: u32 = 40;
/// Shared peripheral interrupt of the main IPMMU of Gen3.
pub const IPMMU_MAIN_SPI: u32 = 39;
/// Number of interrupt identifiers the GIC implements: 32 private ones and 96 shared ones.
pub const IRQS: u32 = 128;

/// Interrupt identifier of the first shared peripheral interrupt (GICv2 IHI 0048B 2.2.1).
pub const SPI_BASE: u32 = 32;
/// Interrupt identifier of the virtual timer (PPI 11; ARM's base platform convention).
pub const VIRTUAL_TIMER_IRQ: u32 = 27;
/// Interrupt identifier of the hypervisor timer, which this machine names in its device tree only.
pub const HYP_TIMER_IRQ: u32 = 26;
/// Interrupt identifier of the secure physical timer, named in the device tree only.
pub const SECURE_TIMER_IRQ: u32 = 29;
/// Interrupt identifier of the non-secure physical timer (PPI 14).
pub const PHYSICAL_TIMER_IRQ: u32 = 30;
/// Interrupt identifier of the performance monitors (PPI 7).
pub const PMU_IRQ: u32 = 23;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Range {
    /// `size` bytes from `base`.
    pub const fn new(base: u64, size: u64) -> Self {
        Self { base, size }
    }

    /// The first address after the range.
    pub const fn end(&self) -> u64 {
        self.base + self.size
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:#010x}..{:#010x} ({})",
            self.base,
            self.end(),
            ByteSize(self.size)
        )
    }
}
