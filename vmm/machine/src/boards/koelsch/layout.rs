//! The memory map and the interrupt map of R-Car M2-W, as its device tree in Linux has them
//! (arch/arm/boot/dts, r8a7791.dtsi of Linux 6.1): there is no public manual.

use crate::iommu::IommuWindows;
use crate::layout::Range;
use crate::parts::renesas::DmacPlace;

const PAGE: u64 = 0x1000;

/// GIC distributor.
pub const GICD: Range = Range::new(0xf100_1000, PAGE);
/// GIC CPU interface (with its deactivate register in the second page).
pub const GICC: Range = Range::new(0xf100_2000, 2 * PAGE);
/// Number of interrupt identifiers of the GIC: the device tree names them up to 379.
pub const IRQS: u32 = 384;
/// Console: SCIF 0.
pub const SCIF: Range = Range::new(0xe6e6_0000, 0x40);
/// Shared peripheral interrupt of the console.
pub const SCIF_SPI: u32 = 152;
/// The console's node.
pub const CONSOLE: &str = "/soc/serial@e6e60000";
/// Clock pulse generator and module standby.
pub const CPG: u64 = 0xe615_0000;
/// Power of cores.
pub const APMU: u64 = 0xe615_2000;
/// Reset.
pub const RST: u64 = 0xe616_0000;
/// Power domains.
pub const SYSC: u64 = 0xe618_0000;
/// External interrupts.
pub const IRQC: u64 = 0xe61c_0000;
/// Functions of pins.
pub const PFC: u64 = 0xe606_0000;
/// Counter of the cores' timers, which no node has (arch/arm/mach-shmobile/setup-rcar-gen2.c).
pub const COUNTER: u64 = 0xe608_0000;
/// Product register.
pub const PRR: u64 = 0xff00_0044;
/// The node of IPMMU-DS.
pub const IPMMU_NODE: &str = "/soc/iommu@e6740000";
/// The node of the first DMA controller.
pub const DMAC0_NODE: &str = "/soc/dma-controller@e6700000";

/// IPMMU-DS, the only one that is modelled. It has a second interrupt, which Linux does not ask
/// for.
pub const IPMMU: IommuWindows = IommuWindows {
    first: 0xe674_0000,
    stride: PAGE,
    large_first: 0xe674_0000,
    large_stride: PAGE,
    first_spi: 198,
    shared: 0xe674_0000,
    shared_spi: 198,
};

/// The DMA controllers: SYS-DMAC 0 and 1, and those of the audio modules, which are the same with
/// fewer channels.
pub const DMACS: [DmacPlace; 4] = [
    DmacPlace {
        name: "dmac0",
        base: 0xe670_0000,
        size: 0x2_0000,
        error: 197,
        channels: &[
            200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212, 213, 214,
        ],
    },
    DmacPlace {
        name: "dmac1",
        base: 0xe672_0000,
        size: 0x2_0000,
        error: 220,
        channels: &[
            216, 217, 218, 219, 308, 309, 310, 311, 312, 313, 314, 315, 316, 317, 318,
        ],
    },
    DmacPlace {
        name: "audma0",
        base: 0xec70_0000,
        size: 0x1_0000,
        error: 346,
        channels: &[
            320, 321, 322, 323, 324, 325, 326, 327, 328, 329, 330, 331, 332,
        ],
    },
    DmacPlace {
        name: "audma1",
        base: 0xec72_0000,
        size: 0x1_0000,
        error: 347,
        channels: &[
            333, 334, 335, 336, 337, 338, 339, 340, 341, 342, 343, 344, 345,
        ],
    },
];

/// The devices that are enabled and not modelled: their names here, the names of their nodes, and
/// where they are.
pub const UNMODELLED: [(&str, &str, u64, u64); 41] = [
    ("rwdt", "watchdog", 0xe602_0000, 0xc),
    ("gpio0", "gpio", 0xe605_0000, 0x50),
    ("gpio1", "gpio", 0xe605_1000, 0x50),
    ("gpio2", "gpio", 0xe605_2000, 0x50),
    ("gpio3", "gpio", 0xe605_3000, 0x50),
    ("gpio4", "gpio", 0xe605_4000, 0x50),
    ("gpio5", "gpio", 0xe605_5000, 0x50),
    ("gpio6", "gpio", 0xe605_5400, 0x50),
    ("gpio7", "gpio", 0xe605_5800, 0x50),
    ("i2c6", "i2c", 0xe60b_0000, 0x428),
    ("thermal", "thermal", 0xe61f_0000, 0x138),
    ("icram0", "sram", 0xe63a_0000, 0x1_2000),
    ("icram1", "sram", 0xe63c_0000, 0x1000),
    ("hsusb", "usb", 0xe659_0000, 0x100),
    ("usbphy", "usb-phy-controller", 0xe659_0100, 0x100),
    ("usb-dmac0", "dma-controller", 0xe65a_0000, 0x100),
    ("usb-dmac1", "dma-controller", 0xe65b_0000, 0x100),
    ("qspi", "spi", 0xe6b1_0000, 0x2c),
    ("msiof0", "spi", 0xe6e2_0000, 0x64),
    ("scif1", "serial", 0xe6e6_8000, 0x40),
    ("vin0", "video", 0xe6ef_0000, 0x1000),
    ("vin1", "video", 0xe6ef_1000, 0x1000),
    ("sound-scu", "sound", 0xec50_0000, 0x1000),
    ("sound-ssiu", "sound", 0xec54_0000, 0x1280),
    ("sound-adg", "sound", 0xec5a_0000, 0x100),
    ("sound-audmapp", "sound", 0xec74_0000, 0x200),
    ("pci0", "pci", 0xee08_0000, 0x1_0c00),
    ("pci1", "pci", 0xee0c_0000, 0x1_0c00),
    ("sdhi0", "mmc", 0xee10_0000, 0x328),
    ("sdhi1", "mmc", 0xee14_0000, 0x100),
    ("sdhi2", "mmc", 0xee16_0000, 0x100),
    ("sata0", "sata", 0xee30_0000, 0x20_0000),
    ("ether", "ethernet", 0xee70_0000, 0x400),
    ("gic-virt", "interrupt-controller", 0xf100_4000, 0x4000),
    ("pcie", "pcie", 0xfe00_0000, 0x8_0000),
    ("vsps", "vsp", 0xfe92_8000, 0x1_8000),
    ("fdp0", "fdp1", 0xfe94_0000, 0x2400),
    ("fdp1", "fdp1", 0xfe94_4000, 0x2400),
    ("jpu", "jpeg-codec", 0xfe98_0000, 0x1_0300),
    ("du", "display", 0xfeb0_0000, 0x4_0000),
    ("cmt0", "timer", 0xffca_0000, 0x1004),
];
