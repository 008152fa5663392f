//! The memory map and the interrupt map of Calxeda's ECX-2000, as its device tree in Linux has them
//! (arch/arm/boot/dts, ecx-2000.dts and ecx-common.dtsi): there is no public manual.

use crate::layout::Range;

const PAGE: u64 = 0x1000;

/// GIC distributor.
pub const GICD: Range = Range::new(0xfff1_1000, PAGE);
/// GIC CPU interface (with its deactivate register in the second page).
pub const GICC: Range = Range::new(0xfff1_2000, 2 * PAGE);
/// Number of interrupt identifiers of the GIC, as in QEMU's model (hw/arm/highbank.c); the device
/// tree names them up to 124.
pub const IRQS: u32 = 160;
/// SATA controller. Its node says 64 KiB, in which the eMMC controller's is; registers are in the
/// first five.
pub const SATA: Range = Range::new(0xffe0_8000, 0x6000);
/// Dual timer.
pub const TIMER: Range = Range::new(0xfff3_4000, PAGE);
/// Real-time clock.
pub const RTC: Range = Range::new(0xfff3_5000, PAGE);
/// Console.
pub const UART: Range = Range::new(0xfff3_6000, PAGE);
/// System registers.
pub const SREGS: Range = Range::new(0xfff3_c000, PAGE);
/// The console's node.
pub const CONSOLE: &str = "/soc/serial@fff36000";
/// Frequency of the clock of peripherals (`pclk`), in hertz.
pub const PCLK_HZ: u32 = 150_000_000;

/// Shared peripheral interrupt of the dual timer.
pub const TIMER_SPI: u32 = 18;
/// Shared peripheral interrupt of the real-time clock.
pub const RTC_SPI: u32 = 19;
/// Shared peripheral interrupt of the console.
pub const UART_SPI: u32 = 20;
/// Shared peripheral interrupt of the SATA controller.
pub const SATA_SPI: u32 = 83;

/// The devices that are not modelled: their names here, the names of their nodes, and where they
/// are.
pub const UNMODELLED: [(&str, &str, Range); 14] = [
    ("sdhci", "sdhci", page(0xffe0_e000)),
    ("ddr-ctrl", "memory-controller", page(0xfff0_0000)),
    (
        "gic-virt",
        "interrupt-controller",
        Range::new(0xfff1_4000, 4 * PAGE),
    ),
    ("pl320", "ipc", page(0xfff2_0000)),
    ("gpioe", "gpio", page(0xfff3_0000)),
    ("gpiof", "gpio", page(0xfff3_1000)),
    ("gpiog", "gpio", page(0xfff3_2000)),
    ("gpioh", "gpio", page(0xfff3_3000)),
    ("smic", "smic", page(0xfff3_a000)),
    ("pl330", "dma", page(0xfff3_d000)),
    ("xgmac0", "ethernet", page(0xfff5_0000)),
    ("xgmac1", "ethernet", page(0xfff5_1000)),
    ("combophy0", "combo-phy", page(0xfff5_8000)),
    ("combophy5", "combo-phy", page(0xfff5_d000)),
];

const fn page(base: u64) -> Range {
    Range::new(base, PAGE)
}
