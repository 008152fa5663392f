//! What is in the same place on every board: the interrupts of the cores themselves.

use vmm_base::ByteSize;

/// Interrupt identifier of the first shared peripheral interrupt (GICv2 IHI 0048B 2.2.1).
pub const SPI_BASE: u32 = 32;
/// Interrupt identifier of the virtual timer (PPI 11; ARM's base platform convention).
pub const VIRTUAL_TIMER_IRQ: u32 = 27;
/// Interrupt identifier of the hypervisor timer, which the device tree names and no core raises.
pub const HYP_TIMER_IRQ: u32 = 26;
/// Interrupt identifier of the secure physical timer, likewise.
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
    /// Creates a range of `size` bytes from `base`.
    pub const fn new(base: u64, size: u64) -> Self {
        Self { base, size }
    }

    /// Returns the first address after the range.
    pub const fn end(&self) -> u64 {
        // No overflow: boards and the loader stay below 4 GiB, and RAM is validated before its end
        // is asked for.
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
