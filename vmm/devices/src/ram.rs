//! The guest's RAM: memory that says which of its code was overwritten.

use std::sync::Arc;

use vm_memory::GuestMemoryMmap;
use vm_memory::bitmap::{Bitmap, NewBitmap, RefSlice, WithBitmapSlice};
use vmm_base::CodePages;

/// Guest RAM of one region.
///
/// Devices and observers write it by way of vm-memory, which marks what is written in the region's
/// bitmap; here that has predecoded instructions dropped.
pub type GuestRam = GuestMemoryMmap<CodeMarks>;

/// The memory as a device of the machine sees it.
pub type DmaSpace = viommu::DmaSpace<GuestRam>;

/// A region's bitmap that passes on what is written to [`CodePages`], and remembers nothing.
#[derive(Clone, Debug, Default)]
pub struct CodeMarks(Arc<CodePages>);

impl CodeMarks {
    /// Returns the pages that hold predecoded instructions. Their numbers count from the start of
    /// the region.
    pub fn code_pages(&self) -> &CodePages {
        &self.0
    }
}

impl<'a> WithBitmapSlice<'a> for CodeMarks {
    type S = RefSlice<'a, Self>;
}

impl Bitmap for CodeMarks {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.0.written_elsewhere(offset, len);
    }

    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }

    fn slice_at(&self, offset: usize) -> RefSlice<'_, Self> {
        RefSlice::new(self, offset)
    }
}

impl NewBitmap for CodeMarks {
    fn with_len(len: usize) -> Self {
        Self(Arc::new(CodePages::new(len)))
    }
}
