//! Memory that a machine has used becomes a snapshot's again, for the next machine.

#![expect(
    unsafe_code,
    reason = "pages of guest memory are given back to the host"
)]

use std::sync::Arc;

use rustix::mm::{Advice, madvise};
use vm_memory::mmap::MmapRegion;
use vm_memory::{
    FileOffset, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
    VolatileMemory,
};
use vmm_base::UnwrittenPages;
use vmm_devices::ram::{CodeMarks, GuestRam};

use super::{Memory, PAGE};

/// Most pages that memory keeps as its own, when nobody uses it, of those that were ever written:
/// 64 MiB. The host need not copy them for the next machine that writes them.
const MOST_OWN_PAGES: usize = 1 << 14;

/// Returns the map of the pages of `region` that nobody has written.
pub(super) fn unwritten(region: &GuestRegionMmap<CodeMarks>) -> &UnwrittenPages {
    MmapRegion::bitmap(region).code_pages().unwritten()
}

impl Memory {
    /// Makes `memory`, which [`map`](Self::map) made of these contents and nobody else has, what it
    /// was at first, and all the host's addresses the same. Whether it could.
    pub fn rewind(&self, memory: &mut GuestRam) -> bool {
        memory.iter().all(|region| {
            let unwritten = unwritten(region);
            if self.copy_back(region).is_none() || unwritten.restored() > MOST_OWN_PAGES {
                unwritten.forget();
                return give_back(region);
            }
            true
        })
    }

    /// Copies back what was written; `None` if some of it could not be.
    fn copy_back(&self, region: &GuestRegionMmap<CodeMarks>) -> Option<()> {
        let original = self.original()?;
        // Both are whole mappings of the same file.
        let len = usize::try_from(region.len()).ok()?.min(original.len());
        for number in unwritten(region).written() {
            let at = usize::try_from(number).ok()? * PAGE;
            if at >= len {
                break;
            }
            let part = PAGE.min(len - at);
            let from = original.get_slice(at, part).ok()?;
            let to = region.get_slice(MemoryRegionAddress(at as u64), part);
            from.copy_to_volatile_slice(to.ok()?);
        }
        Some(())
    }

    /// Returns the contents, mapped to be read.
    fn original(&self) -> Option<&MmapRegion> {
        let map = || {
            let file = FileOffset::from_arc(Arc::clone(&self.file), 0);
            let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE;
            let size = usize::try_from(self.size).ok()?;
            MmapRegion::build(Some(file), size, libc::PROT_READ, flags).ok()
        };
        self.original.get_or_init(map).as_ref()
    }
}

/// Has a region's mapping show the file below it. Whether it could.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the region is mapped, so its length is one of the host's"
)]
fn give_back(region: &GuestRegionMmap<CodeMarks>) -> bool {
    let Ok(host) = region.get_host_address(MemoryRegionAddress(0)) else {
        return false;
    };
    // SAFETY: the range is one region's whole private mapping of a sealed file, so dropping its
    // pages has it show the file again. The caller has the memory for itself, so nobody is
    // accessing it; accesses are volatile, and no reference into it ever exists.
    unsafe { madvise(host.cast(), region.len() as usize, Advice::LinuxDontNeed) }.is_ok()
}
