//! Pages in which words and halfwords may be at misaligned addresses.

use super::Tlb;

/// The bit of a [`PageNumber`] that says that addresses may be misaligned.
pub const FREE_BIT: u8 = 31;

/// The number of a page in RAM, and whether loads and stores of words and halfwords may be
/// misaligned in it: it is normal memory, and SCTLR.A is clear. Generated code looks at it.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(super) struct PageNumber(u32);

impl PageNumber {
    const FREE: u32 = 1 << FREE_BIT;

    pub const fn new(number: u32, free: bool) -> Self {
        Self(number | if free { Self::FREE } else { 0 })
    }

    /// Returns the number in RAM.
    pub const fn in_ram(self) -> u32 {
        self.0 & !Self::FREE
    }

    pub const fn is_free(self) -> bool {
        self.0 & Self::FREE != 0
    }
}

impl Tlb {
    /// Returns the address of the numbers of the pages of all sets, for generated code.
    pub fn numbers_address(&self) -> usize {
        self.numbers.as_ptr().expose_provenance()
    }

    /// Has no address be misaligned any more: SCTLR.A was set.
    pub fn make_strict(&mut self) {
        for number in &mut self.numbers {
            *number = PageNumber::new(number.in_ram(), false);
        }
    }
}
