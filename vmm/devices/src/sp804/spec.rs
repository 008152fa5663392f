//! Registers of an SP804 dual timer (Arm DDI 0271D, chapter 3).

/// The distance between the registers of the two timers.
pub const STRIDE: u64 = 0x20;

/// Offsets of a timer's registers.
pub mod offset {
    /// The value from which the counter counts down; a write has it begin there.
    pub const LOAD: u64 = 0x00;
    /// The counter, read-only.
    pub const VALUE: u64 = 0x04;
    /// Control.
    pub const CONTROL: u64 = 0x08;
    /// Interrupt clear, write-only: any value.
    pub const INT_CLR: u64 = 0x0c;
    /// The interrupt before the mask, read-only.
    pub const RIS: u64 = 0x10;
    /// The interrupt behind the mask, read-only.
    pub const MIS: u64 = 0x14;
    /// The value from which it counts when it begins anew; the counter goes on.
    pub const BG_LOAD: u64 = 0x18;
}

/// First of the eight words that say what the part is.
pub const ID: u64 = 0xfe0;

/// Control.
pub mod control {
    /// The counter stops at zero.
    pub const ONE_SHOT: u32 = 1 << 0;
    /// A counter of 32 bits, else of 16.
    pub const SIZE_32: u32 = 1 << 1;
    /// Position of the prescaler, of two bits: by 1, 16 or 256. 3 is undefined, and taken for 256.
    pub const PRESCALE_SHIFT: u32 = 2;
    /// The interrupt is let through.
    pub const INTERRUPT: u32 = 1 << 5;
    /// The counter begins anew with the value that was loaded, else with all ones.
    pub const PERIODIC: u32 = 1 << 6;
    /// The counter counts.
    pub const ENABLE: u32 = 1 << 7;
    /// Bits that exist.
    pub const MASK: u32 = 0xef;
    /// At reset.
    pub const AT_RESET: u32 = INTERRUPT;
}

/// TimerPeriphID0 to 3, and TimerPCellID0 to 3.
pub const IDS: [u8; 8] = [0x04, 0x18, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
