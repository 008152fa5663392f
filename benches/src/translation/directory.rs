//! The tables of the Rockchip IOMMU in guest memory, as `rockchip-iommu` writes them.

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::table::{IOVA, PAGE};

/// IOVAs that an entry of the directory covers.
const ENTRY: u64 = 4 << 20;
/// The bit of an entry of the directory that is valid.
const VALID: u64 = 1;
/// The bits of an entry of a page table: writable, readable, valid.
const READ_WRITE: u64 = 7;

/// Returns the bytes of tables for IOVAs up to and including `last`: a directory, and page tables
/// in a row.
pub fn size_for(last: u64) -> u64 {
    (1 + page_tables(last)) * PAGE
}

/// Writes tables at `base` in zeroed memory that lead each IOVA of `mappings` to its page, up to
/// `last`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "these IOMMUs and this memory have addresses of 32 bits"
)]
pub fn write(
    memory: &GuestMemoryMmap<()>,
    base: u64,
    last: u64,
    mappings: impl Iterator<Item = (u64, u64)>,
) {
    let store = |address: u64, entry: u64| {
        memory
            .write_obj((entry as u32).to_le(), GuestAddress(address))
            .expect("tables lie in RAM");
    };
    let tables = base + PAGE;
    for n in 0..page_tables(last) {
        store(base + (IOVA / ENTRY + n) * 4, (tables + n * PAGE) | VALID);
    }
    for (iova, page) in mappings {
        // Page tables adjoin each other, and so make one array of entries.
        store(tables + (iova - IOVA) / PAGE * 4, page | READ_WRITE);
    }
}

fn page_tables(last: u64) -> u64 {
    (last - IOVA) / ENTRY + 1
}
