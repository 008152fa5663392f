//! Registers of the system block of Calxeda's ECX-1000 and ECX-2000 (`calxeda,hb-sregs`).
//!
//! Offsets are those that Linux uses (arch/arm/mach-highbank/sysregs.h and highbank.c of Linux
//! 5.10, drivers/clk/clk-highbank.c); values at reset and the lock bits are those of QEMU's model
//! (hw/arm/highbank.c), as there is no public manual.

/// Number of words that are kept from offset 0 on, which is up to 0x300: coherency of bus masters
/// from 0x000 on, PLLs from 0x100 on, power of cores and the errors of the L2 cache from 0x200 on.
pub const KEPT: usize = 0xc0;
/// Control of the PLL of the cores.
pub const A9_PLL: u64 = 0x100;
/// Divider of the cores' clock.
pub const A9_DIVIDER: u64 = 0x104;
/// Control of the PLL of the memory controller.
pub const DDR_PLL: u64 = 0x108;
/// Control of the PLL of the eMMC controller.
pub const EMMC_PLL: u64 = 0x10c;
/// The power request.
pub const POWER_REQUEST: u64 = 0xf00;
/// Status of the boot loader: a word that is kept.
pub const BOOT_STATUS: u64 = 0xf04;
/// What the boot loader is told: a word that is kept.
pub const BOOT_DATA: u64 = 0xf08;

/// What these registers hold at reset; all others hold zero.
pub const AT_RESET: [(u64, u32); 4] = [
    (A9_PLL, 0x05f2_0121),
    (A9_DIVIDER, 2),
    (DDR_PLL, 0x05f3_0121),
    (EMMC_PLL, 0x05f4_0121),
];
/// In what is read from the control of a PLL: it is locked.
pub const PLL_LOCKED: u32 = 0x3000_0000;

/// In [`POWER_REQUEST`]: reset, but not all of it.
pub const SOFT_RESET: u32 = 1;
/// In [`POWER_REQUEST`]: reset.
pub const HARD_RESET: u32 = 2;
/// In [`POWER_REQUEST`]: power off. 0 would suspend.
pub const SHUTDOWN: u32 = 3;
