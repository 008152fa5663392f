//! What a pin keeps of the cache: where its domain's pages are, for all accesses under it.

use super::table::{self, Set, Target};
use super::{BLOCK_BITS, Iotlb, SIZES, hash, owner};
use crate::fault::DomainId;
use crate::host::RegionExtent;
use crate::sync::Ordering;

/// How to find the cached pages of one domain.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a> {
    sets: &'a [Set],
    salt: u64,
    stamp: u64,
}

impl Pages<'_> {
    /// Those of a domain that has none cached.
    pub const NONE: Self = Self {
        sets: &[],
        salt: 0,
        stamp: 0,
    };

    /// Returns where `iova` leads, if the cache has a page in its first place that allows `wanted`
    /// (as bits).
    ///
    /// Pages are by far the most frequent. This is for the common case only: it may miss what
    /// [`Iotlb::lookup`] finds.
    #[inline(always)]
    pub fn lookup(&self, iova: u64, wanted: u8) -> Option<RegionExtent> {
        let set = table::set(self.sets, hash(iova, 0, self.salt))?;
        // One attempt: a set with a writer in it is rare, and `Iotlb::lookup` tries again.
        find(set, 0, self.stamp, iova, wanted, 1)
    }
}

/// Looks among blocks of one size in one set.
#[inline(always)]
pub(super) fn find(
    set: &Set,
    size: usize,
    stamp: u64,
    iova: u64,
    wanted: u8,
    attempts: u32,
) -> Option<RegionExtent> {
    let (block, owner) = owner(iova, size, stamp);
    let Target { region, page } = table::find(set, owner, block, wanted, attempts)?;
    let beyond = (1 << BLOCK_BITS[size]) - 1;
    Some(RegionExtent {
        region: u64::from(region),
        // `HostMemory::slice` checks the offset.
        offset: (u64::from(page) << BLOCK_BITS[0]) + (iova & beyond),
        room: (beyond - (iova & beyond)) + 1,
    })
}

impl Iotlb {
    /// Returns how to find the pages of a domain, for who is pinned: the answer may be kept until
    /// the pin ends.
    #[inline(always)]
    pub fn pages(&self, domain: DomainId) -> Pages<'_> {
        let domain = self.domains.get(domain.0 as usize);
        let live = domain.and_then(|domain| Some((domain, self.live_word(domain)?)));
        match live {
            // Bit 0 declares single pages: without it the table need not be touched.
            Some((domain, word)) if word & 1 != 0 => Pages {
                sets: self.table.sets(),
                salt: domain.salt,
                stamp: word & !SIZES,
            },
            _ => Pages::NONE,
        }
    }

    /// Returns a count of what makes a kept [`Pages`] say what is no longer so: it is other than
    /// before when a domain, or everything, was forgotten since, or [`Iotlb::change`] was called.
    #[inline(always)]
    pub fn changes(&self) -> u64 {
        // Acquire: what is looked at after it is at least as new.
        self.changes.load(Ordering::Acquire)
    }

    /// Makes [`Iotlb::changes`] another number, after something has changed.
    #[inline]
    pub fn change(&self) {
        // Release: whoever sees it sees the change.
        self.changes.fetch_add(1, Ordering::Release);
    }
}
