//! Registers of the blocks that an R-Car Gen2 SoC is controlled by.
//!
//! Offsets and bits are those that Linux 6.1 uses, in the file that each module names, as there is
//! no public manual.

/// Clock pulse generator and module standby (drivers/clk/renesas/renesas-cpg-mssr.c and
/// rcar-gen2-cpg.c).
pub mod cpg {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x1000;
    /// Where a module is stopped, one bit each, and where that is shown: the n-th pair is of module
    /// clocks n * 100 to n * 100 + 31.
    pub const STOP_AND_STATUS: [(u64, u64); 12] = [
        (0x130, 0x030),
        (0x134, 0x038),
        (0x138, 0x040),
        (0x13c, 0x048),
        (0x140, 0x04c),
        (0x144, 0x03c),
        (0x148, 0x1c0),
        (0x14c, 0x1c4),
        (0x990, 0x9a0),
        (0x994, 0x9a4),
        (0x998, 0x9a8),
        (0x99c, 0x9ac),
    ];
    /// Resets modules, one bit each: what is set here is cleared at the same place of
    /// [`RESET_CLEAR`].
    pub const RESET: [u64; 12] = [
        0x0a0, 0x0a8, 0x0b0, 0x0b8, 0x0bc, 0x0c4, 0x1c8, 0x1cc, 0x920, 0x924, 0x928, 0x92c,
    ];
    /// Ends the reset of modules.
    pub const RESET_CLEAR: [u64; 12] = [
        0x940, 0x944, 0x948, 0x94c, 0x950, 0x954, 0x958, 0x95c, 0x960, 0x964, 0x968, 0x96c,
    ];
    /// Frequency control B.
    pub const FRQCRB: u64 = 0x004;
    /// In [`FRQCRB`]: has the divisors taken over; clear again when that is done.
    pub const KICK: u32 = 1 << 31;
    /// PLL 0.
    pub const PLL0CR: u64 = 0x0d8;
    /// [`PLL0CR`] as a boot loader leaves it: EXTAL * (74 + 1) * 2 / 2 = 1.5 GHz, which the cores
    /// have (`cpu@0/clock-frequency` of arch/arm/boot/dts/r8a7791.dtsi).
    pub const PLL0CR_AT_START: u32 = 74 << 24;
    /// Dividers of the SD card controllers' clocks.
    pub const SDCKCR: u64 = 0x074;
    /// [`SDCKCR`] at the start: a divider of 8 for either, the least that Linux's table has.
    /// What it is on the board nothing public says.
    pub const SDCKCR_AT_START: u32 = 0x44;
    /// Divider of the signal processor's clock.
    pub const ADSPCKCR: u64 = 0x25c;
    /// [`ADSPCKCR`] at the start: likewise, a divider of 3.
    pub const ADSPCKCR_AT_START: u32 = 1;
}

/// Reset (drivers/soc/renesas/rcar-rst.c, arch/arm/mach-shmobile/pm-rcar-gen2.c).
pub mod rst {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x100;
    /// Where cores begin after their reset: kept, and means nothing here.
    #[cfg(test)]
    pub const CA15BAR: u64 = 0x20;
    /// Pins at reset; read-only.
    pub const MODEMR: u64 = 0x60;
    /// [`MODEMR`] with a 20 MHz crystal: MD14 = 0, MD13 = 1
    /// (drivers/clk/renesas/r8a7791-cpg-mssr.c, the table of PLL configurations).
    pub const MODE: u32 = 1 << 13;
}

/// Power domains (drivers/soc/renesas/rcar-sysc.c, r8a7791-sysc.c).
pub mod sysc {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x200;
    /// Which requests are taken; read-only.
    pub const SYSCSR: u64 = 0x00;
    /// [`SYSCSR`]: power may be switched off, and on.
    pub const READY: u32 = 3;
    /// Which domains are done, one bit each.
    pub const SYSCISR: u64 = 0x04;
    /// Clears bits of [`SYSCISR`].
    pub const SYSCISCR: u64 = 0x08;
    /// Domains: where their registers are, their bit there, and in [`SYSCISR`].
    pub const DOMAINS: [(u64, u32, u32); 5] = [
        (0x180, 0, 12),
        (0x040, 0, 0),
        (0x040, 1, 1),
        (0x080, 0, 16),
        (0x0c0, 0, 20),
    ];
    /// From the registers of a domain: it is off.
    pub const PWRSR: u64 = 0x00;
    /// Switches off.
    pub const PWROFFCR: u64 = 0x04;
    /// Switches on.
    pub const PWRONCR: u64 = 0x0c;
}

/// Power of cores (arch/arm/mach-shmobile/platsmp-apmu.c).
pub mod apmu {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x188;
    /// Wakes cores, one bit each; clear again when that is done.
    pub const WUPCR: u64 = 0x10;
    /// What cores do, four bits each; read-only.
    pub const PSTR: u64 = 0x40;
}

/// The module that says which SoC this is (drivers/soc/renesas/renesas-soc.c).
pub mod prr {
    /// Bytes of the registers.
    pub const BYTES: usize = 4;
    /// M2-W (0x47 from bit 8 on), ES3.0 (major version less one from bit 4 on).
    pub const R8A7791_ES3: u32 = 0x4720;
}

/// Functions of pins (drivers/pinctrl/renesas/core.c).
pub mod pfc {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x250;
}

/// The counter that the cores' timers show (arch/arm/mach-shmobile/setup-rcar-gen2.c).
pub mod counter {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x1000;
    /// Control: it counts.
    pub const CNTCR: u64 = 0x00;
    /// Its rate in hertz.
    pub const CNTFID0: u64 = 0x20;
    /// What Linux sets on this board, EXTAL / 2, which a boot loader has set before.
    pub const HERTZ: u32 = 10_000_000;
}

/// External interrupts (arch/arm/mach-shmobile/regulator-quirk-rcar-gen2.c).
pub mod irqc {
    /// Bytes of the registers.
    pub const BYTES: usize = 0x200;
    /// Levels of the inputs, which are active low; read-only.
    pub const MONITOR: u64 = 0x104;
    /// No input asks for an interrupt.
    pub const QUIET: u32 = 0x3ff;
}
