//! Registers of the axi-clkgen (offsets and bits of drivers/clk/clk-axi-clkgen.c, Linux 6.1) and of
//! the clock manager inside it.

/// Bit 0 takes the generator out of reset, bit 1 starts it.
pub const RESET: u64 = 0x40;
/// The input clock in use, of two.
pub const CLKSEL: u64 = 0x44;
/// Accesses an inner register.
pub const DRP_CNTRL: u64 = 0x70;
/// Bits 15 to 0: the value last read; bit 16: busy.
pub const DRP_STATUS: u64 = 0x74;

/// In [`DRP_CNTRL`]: make the access.
pub const ACCESS_SELECT: u32 = 1 << 29;
/// In [`DRP_CNTRL`]: read rather than write.
pub const ACCESS_READ: u32 = 1 << 28;
/// In [`DRP_CNTRL`]: the value to write.
pub const ACCESS_VALUE: u32 = 0xffff;

/// The number of inner registers.
pub const INNER_REGISTERS: usize = 128;
/// Inner register: divider of the first output, second half.
pub const CLKOUT0_2: usize = 0x09;
/// Inner register: multiplier, second half.
pub const CLKFB_2: usize = 0x15;
/// Inner register: divider of the input.
pub const CLKIN_DIV: usize = 0x16;
/// In the second half of a divider or multiplier: it divides or multiplies by one.
pub const DIVIDE_BY_ONE: u16 = 1 << 6;
/// In [`CLKIN_DIV`]: no division.
pub const NO_DIVIDER: u16 = 1 << 12;

/// Returns which inner register [`DRP_CNTRL`] names.
pub const fn inner_number(control: u32) -> usize {
    (control >> 16) as usize & (INNER_REGISTERS - 1)
}
