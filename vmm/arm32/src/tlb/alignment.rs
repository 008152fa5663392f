//! Pages in which words and halfwords may be at misaligned addresses.

use super::Tlb;

/// Added to the number of a page in which loads and stores of words and halfwords may be
/// misaligned: it is normal memory, and SCTLR.A is clear.
pub(super) const FREE: u32 = 1 << FREE_BIT;
/// Its bit.
pub const FREE_BIT: u8 = 31;

impl Tlb {
    /// Returns the address of the numbers of the pages of all sets, for generated code.
    pub fn numbers_address(&self) -> usize {
        self.numbers.as_ptr().expose_provenance()
    }

    /// Has no address be misaligned any more: SCTLR.A was set.
    pub fn make_strict(&mut self) {
        self.numbers.iter_mut().for_each(|number| *number &= !FREE);
    }
}
