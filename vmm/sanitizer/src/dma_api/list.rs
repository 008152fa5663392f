//! Scatter lists in guest memory, and the addresses in them.

use vmm_introspect::memory::Memory;
use vmm_introspect::types::Types;

use super::call::ApiCall;
use super::spec::{MAX_SEGMENTS, SG_CHAIN, SG_END};

/// Returns whether a `dma_addr_t` has 64 bits; `None` if the types do not tell.
pub fn has_wide_addresses(types: &Types) -> Option<bool> {
    let path = types.resolve("scatterlist", "dma_address").ok()?;
    Some(types.size(path.ty)? == 8)
}

/// Offsets in `struct scatterlist` (include/linux/scatterlist.h), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    page_link: u64,
    dma_address: u64,
    /// `dma_length`, or `length` where the kernel has no other.
    length: u64,
    /// Where an entry has its memory in the page: `offset` and `length`.
    memory: Option<(u64, u64)>,
    size: u64,
}

impl Layout {
    /// Returns that of a kernel with these types; `None` if they do not tell.
    pub fn of(types: &Types) -> Option<Self> {
        let offset = |member| {
            let path = types.resolve("scatterlist", member).ok()?;
            path.offset().map(u64::from)
        };
        Some(Self {
            page_link: offset("page_link")?,
            dma_address: offset("dma_address")?,
            length: offset("dma_length").or_else(|| offset("length"))?,
            memory: offset("offset").zip(offset("length")),
            size: types.size(types.structure("scatterlist")?)?.into(),
        })
    }

    /// Returns the first `count` segments of the list at `list`, as address and length; as many as
    /// can be read.
    pub fn segments(self, call: &ApiCall<'_, '_, '_>, list: u64, count: u64) -> Vec<(u64, u64)> {
        let segment = |at: u64| {
            let address = call.read_address(at.wrapping_add(self.dma_address))?;
            let length = call.moment.word(at.wrapping_add(self.length)).ok()?;
            Some((address, length.into()))
        };
        self.entries(call, list, count, segment)
    }

    /// Returns the memory of the first `count` entries of the list at `list`, as `struct page`,
    /// first byte from the beginning of that page, and length.
    pub fn memory(self, call: &ApiCall<'_, '_, '_>, list: u64, count: u64) -> Vec<(u64, u64, u64)> {
        let Some((offset, length)) = self.memory else {
            return Vec::new();
        };
        let word = |at: u64| call.moment.word(at).ok().map(u64::from);
        let part = |at: u64| {
            let link = word(at.wrapping_add(self.page_link))?;
            let page = link & !u64::from(SG_CHAIN | SG_END);
            let offset = word(at.wrapping_add(offset))?;
            Some((page, offset, word(at.wrapping_add(length))?))
        };
        self.entries(call, list, count, part)
    }

    /// Returns what `read` makes of the addresses of the first `count` entries.
    fn entries<T>(
        self,
        call: &ApiCall<'_, '_, '_>,
        list: u64,
        count: u64,
        read: impl Fn(u64) -> Option<T>,
    ) -> Vec<T> {
        let mut entries = Vec::new();
        let mut at = list;
        // Also bounds the entries that only lead to others: a damaged list may be a circle of them.
        for _ in 0..2 * MAX_SEGMENTS {
            let Ok(link) = call.moment.word(at.wrapping_add(self.page_link)) else {
                break;
            };
            if link & SG_CHAIN != 0 {
                at = u64::from(link & !(SG_CHAIN | SG_END));
                continue;
            }
            if entries.len() as u64 >= count.min(MAX_SEGMENTS) {
                break;
            }
            let Some(entry) = read(at) else {
                break;
            };
            entries.push(entry);
            if link & SG_END != 0 {
                break;
            }
            at = at.wrapping_add(self.size);
        }
        entries
    }
}
