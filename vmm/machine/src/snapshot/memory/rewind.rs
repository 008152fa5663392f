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

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    #[test]
    fn memory_that_has_too_many_pages_of_its_own_gives_them_back() {
        let pages = MOST_OWN_PAGES + 2;
        let place = |page: usize| GuestAddress((page * PAGE) as u64);
        let first = GuestRam::from_ranges(&[(place(0), pages * PAGE)]).unwrap();
        first.write_obj(7_u8, place(1)).unwrap();
        let memory = Memory::capture(&first).unwrap();
        let mut second = memory.map(0).unwrap();
        // Two times half of them, which are counted together, and then all at once.
        let half = pages / 2;
        for (written, own) in [(0..half, half), (half..pages, 0), (0..pages, 0)] {
            for page in written {
                second.write_obj(9_u8, place(page)).unwrap();
            }
            let ram = Arc::get_mut(&mut second).unwrap();
            assert!(memory.rewind(ram));
            let region = ram.iter().next().unwrap();
            assert_eq!(unwritten(region).restored(), own);
            for page in 0..pages {
                let found: u8 = second.read_obj(place(page)).unwrap();
                assert_eq!(found, if page == 1 { 7 } else { 0 }, "page {page}");
            }
        }
    }
}
