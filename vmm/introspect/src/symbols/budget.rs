//! How much a search may look at, and how it reads.

/// The search did more work than an honest image can need.
pub(super) struct GaveUp;

/// Work left to a search, in table entries looked at. Keeps images that are made to look like
/// tables everywhere from taking time out of proportion to their size.
pub(super) struct Budget(usize);

impl Budget {
    /// Returns the budget for an image of `size` bytes. Real ones need a few steps for each byte of
    /// the tables.
    pub(super) fn for_image(size: usize) -> Self {
        Self(size.saturating_mul(4).saturating_add(16 << 20))
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), GaveUp> {
        self.0 = self.0.checked_sub(steps).ok_or(GaveUp)?;
        Ok(())
    }
}

/// Returns the word at `at`.
pub(super) fn word(image: &[u8], at: usize) -> Option<u32> {
    let bytes = image.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}
