//! The translation cache of one unit, shared by all its endpoints.
//!
//! Every domain has a *stamp*, a number used once, which its entries carry. Forgetting a domain is
//! forgetting its stamp; forgetting everything is declaring all stamps below a *floor* dead. Dead
//! entries are found by nobody and are replaced first. A stamp is given to a domain when something
//! is first cached for it, so a domain that is flushed without having been used costs none.
//!
//! A translation is cached only if nothing of its domain was invalidated since before the model was
//! asked for it: the filler keeps a [`Ticket`] from then, and the fill compares. Invalidations
//! count first and look for entries then; fills enter a set first and look at the count then; with
//! a fence between, at least one of the two sees the other.

mod pages;
mod saved;
mod table;

pub(crate) use pages::Pages;
pub use saved::{CacheRestoreError, CacheState};

use crate::counters::{Count, HandleCounters};
use crate::fault::DomainId;
use crate::host::RegionExtent;
use crate::sync::{AtomicU64, Ordering, fence_after_rmw};
use pages::find;
use table::{Owner, READ_ATTEMPTS, Set, Table, Target};

/// The sizes of block that an entry may have, as powers of two: the pages and blocks of the ARM
/// long-descriptor format with 4 KiB granule (ARM ARM DDI 0406C B3.6.1) and its contiguous hint
/// (B3.6.4), which are those of other architectures too.
pub(crate) const BLOCK_BITS: [u32; 4] = [12, 16, 21, 30];

/// Domains that can have cached translations; those with a higher number always ask the model.
const MAX_DOMAINS: usize = 1 << DOMAIN_BITS;

/// Most entries of a cache: 128 MiB of host memory.
const MAX_ENTRIES: usize = 1 << 22;

/// Most clusters of blocks that the invalidation of a range looks for one by one; a longer range
/// flushes its domain instead. 256 clusters of pages are 8 MiB, more than drivers map at once;
/// looking for them takes a few microseconds, about what refilling a small domain does.
const MAX_PROBES: u64 = 256;

/// The number of a cluster's last block.
const LAST_BLOCK: u64 = table::CLUSTER as u64 - 1;
/// All blocks of a cluster, a bit each.
const ALL_BLOCKS: u8 = u8::MAX;

// A domain's word: which block sizes it has entries of, its own number, and a generation; the last
// two are the stamp.
const SIZES: u64 = (1 << BLOCK_BITS.len()) - 1;
#[expect(clippy::cast_possible_truncation, reason = "there are few block sizes")]
const DOMAIN_SHIFT: u32 = BLOCK_BITS.len() as u32;
const DOMAIN_BITS: u32 = 14;
const GENERATION_SHIFT: u32 = DOMAIN_SHIFT + DOMAIN_BITS;

/// Generations are never used twice: at a million flushes a second they last two years. Then
/// nothing more is cached.
const GENERATIONS: u64 = 1 << (u64::BITS - GENERATION_SHIFT);

/// Multiplier that spreads domains over the sets (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Most attempts at changing a domain's word before a fill is given up.
const WORD_ATTEMPTS: usize = 8;

/// What the cache keeps about a domain.
#[repr(align(64))]
struct Domain {
    /// Stamp and sizes; 0 for a domain that has nothing cached.
    word: AtomicU64,
    /// How often something of it was invalidated.
    invalidations: AtomicU64,
    /// Where in the table its clusters begin.
    salt: u64,
}

/// The state of a domain from before the model was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    domain: usize,
    stamp: u64,
    invalidations: u64,
}

/// The cache.
pub(crate) struct Iotlb {
    table: Table,
    domains: Box<[Domain]>,
    /// Generations below are dead.
    floor: AtomicU64,
    /// The next generation.
    next: AtomicU64,
    /// [`Iotlb::changes`].
    changes: AtomicU64,
    /// Not 0 once something was cached.
    used: AtomicU64,
    /// Flushes of a domain or of everything, if counted.
    pub flushes: Count,
    /// Invalidations of a range, if counted.
    pub range_invalidations: Count,
    count: bool,
}

/// Returns the number of the block of this size that `iova` is in, and the owner that tells its
/// cluster from others.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "hosts have 64 bits")]
fn owner(iova: u64, size: usize, stamp: u64) -> (usize, Owner) {
    let block = iova >> BLOCK_BITS[size];
    let key = (block >> table::CLUSTER_BITS) << 2 | size as u64;
    (block as usize, Owner { key, stamp })
}

/// Returns where the block of this size begins that `iova`, which leads to `place`, is in; `None`
/// if an entry has not enough bits for that.
///
/// What is not cached for that: memory from the 256th region on or beyond 4 TiB in one, and pages
/// that do not begin at a multiple of 4 KiB of their region.
fn target(iova: u64, size: usize, place: &RegionExtent) -> Option<Target> {
    let within = iova & ((1 << BLOCK_BITS[size]) - 1);
    let start = place.offset.checked_sub(within)?;
    let page = start >> BLOCK_BITS[0];
    let fits = page < table::MAX_PAGES && start == page << BLOCK_BITS[0];
    Some(Target {
        region: u8::try_from(place.region).ok()?,
        page: u32::try_from(page).ok().filter(|_| fits)?,
    })
}

/// Returns the hash of a block's cluster: the place in the table where it is looked for first.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "there are few block sizes")]
fn hash(iova: u64, size: usize, salt: u64) -> u64 {
    // Neighbouring clusters are neighbours in the table; domains and sizes begin at different
    // places.
    (iova >> (BLOCK_BITS[size] + table::CLUSTER_BITS))
        .wrapping_add(salt.rotate_left(16 * size as u32))
}

/// Returns the second place of a cluster, which it takes when the first is not free: the other of
/// two cache lines that processors like to fetch together.
fn other(hash: u64) -> u64 {
    hash ^ 1
}

impl Iotlb {
    /// Creates a cache of about `entries` entries for `domains` domains.
    pub fn new(entries: usize, domains: u32, count: bool) -> Self {
        let domains = (domains as usize).min(MAX_DOMAINS);
        Self {
            table: Table::new(entries.min(MAX_ENTRIES)),
            domains: (0..domains as u64)
                .map(|number| Domain {
                    word: AtomicU64::new(0),
                    invalidations: AtomicU64::new(0),
                    salt: number.wrapping_mul(SPREAD),
                })
                .collect(),
            // Not 0: the word of a domain with nothing cached has generation 0, which must be dead.
            floor: AtomicU64::new(1),
            next: AtomicU64::new(1),
            changes: AtomicU64::new(0),
            used: AtomicU64::new(0),
            flushes: Count::default(),
            range_invalidations: Count::default(),
            count,
        }
    }

    /// Returns where `iova` leads, if the cache has an entry for it that allows `wanted` (as bits).
    pub fn lookup(&self, domain: DomainId, iova: u64, wanted: u8) -> Option<RegionExtent> {
        let domain = self.domains.get(domain.0 as usize)?;
        let word = self.live_word(domain)?;
        (0..BLOCK_BITS.len())
            .filter(|size| word & (1 << size) != 0)
            .find_map(|size| {
                let hash = hash(iova, size, domain.salt);
                let stamp = word & !SIZES;
                let set = |hash| self.table.set(hash);
                let at = |hash| find(set(hash)?, size, stamp, iova, wanted, READ_ATTEMPTS);
                // The blocks of one cluster may be spread over both places.
                at(hash).or_else(|| at(other(hash)))
            })
    }

    /// Returns the word of a domain if its stamp is live.
    #[inline(always)]
    fn live_word(&self, domain: &Domain) -> Option<u64> {
        // Called under a pin: what was invalidated before its fence is seen here (see `grace`).
        let word = domain.word.load(Ordering::Acquire);
        let live = word >> GENERATION_SHIFT >= self.floor.load(Ordering::Acquire);
        live.then_some(word)
    }

    fn is_live(&self, stamp: u64) -> bool {
        // Relaxed: a wrong answer displaces a live entry or spares a dead one, and never makes one
        // be found.
        let number = (stamp >> DOMAIN_SHIFT) as usize & (MAX_DOMAINS - 1);
        stamp >> GENERATION_SHIFT >= self.floor.load(Ordering::Relaxed)
            && self
                .domains
                .get(number)
                .is_some_and(|domain| domain.word.load(Ordering::Relaxed) & !SIZES == stamp)
    }

    /// Takes a ticket, before the model is asked; `None` if nothing can be cached for this domain.
    pub fn ticket(&self, domain: DomainId) -> Option<Ticket> {
        let number = domain.0 as usize;
        let Domain {
            word,
            invalidations,
            ..
        } = self
            .domains
            .get(number)
            .filter(|_| !self.table.is_empty())?;
        let invalidations = invalidations.load(Ordering::Acquire);
        let mut now = word.load(Ordering::Acquire);
        for _ in 0..WORD_ATTEMPTS {
            if now >> GENERATION_SHIFT >= self.floor.load(Ordering::Acquire) {
                return Some(Ticket {
                    domain: number,
                    stamp: now & !SIZES,
                    invalidations,
                });
            }
            // Looked at first: once they are used up, misses must not count `next` up for ever.
            if self.next.load(Ordering::Relaxed) >= GENERATIONS {
                return None;
            }
            let generation = self.next.fetch_add(1, Ordering::AcqRel);
            // Others may have taken the last ones since that look.
            if generation >= GENERATIONS {
                return None;
            }
            // No sizes yet: each fill declares its own before its entry is there.
            let new = generation << GENERATION_SHIFT | (number as u64) << DOMAIN_SHIFT;
            // Another filler may have given the domain a stamp meanwhile: then that one is looked
            // at.
            now = match word.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => new,
                Err(other) => other,
            };
        }
        None
    }

    /// Caches that `iova` leads to `place`, with `permissions` (as bits), for as large a block
    /// around it as lies within `before` bytes before it and `after` bytes after it. Returns
    /// whether it did.
    ///
    /// `ticket` is from before the model was asked; both numbers are of bytes mapped and backed
    /// alike.
    pub fn fill(
        &self,
        ticket: Ticket,
        iova: u64,
        place: &RegionExtent,
        permissions: u8,
        (before, after): (u64, u64),
        counters: Option<&HandleCounters>,
    ) -> bool {
        let fits = |size: &usize| {
            let beyond = (1 << BLOCK_BITS[*size]) - 1;
            let within = iova & beyond;
            within <= before && beyond - within <= after
        };
        // The largest first: one entry then covers all of the block.
        let Some(size) = (0..BLOCK_BITS.len()).rev().find(fits) else {
            return false;
        };
        let Some(target) = target(iova, size, place) else {
            return false;
        };
        let domain = &self.domains[ticket.domain];
        let (block, owner) = owner(iova, size, ticket.stamp);
        let Some(set) = self.set_for(hash(iova, size, domain.salt), owner) else {
            return false;
        };
        // An entry that allows nothing would look like a block that is absent.
        // Before the entry is there: an invalidation looks only among sizes that the word declares.
        if permissions == 0 || !declare_size(domain, ticket.stamp, size) {
            return false;
        }
        // Asked within the set, after its fence: see `table::try_enter`. Relaxed is enough after
        // that fence.
        let good = || domain.invalidations.load(Ordering::Relaxed) == ticket.invalidations;
        let live = |stamp| self.is_live(stamp);
        // Never taken back by a flush: it spares saving and restoring a table that was not touched.
        self.used.store(1, Ordering::Relaxed);
        let filled = table::fill(set, owner, block, permissions, target, good, live);
        if let (Some(displaced), Some(counters)) = (filled, counters) {
            counters.fills.add_one();
            counters.evictions.add(u64::from(displaced));
        }
        filled.is_some()
    }

    /// Returns the set for a cluster: the place where it is, else one where nothing live is, else
    /// its first place.
    fn set_for(&self, hash: u64, owner: Owner) -> Option<&Set> {
        let first = self.table.set(hash)?;
        let second = self.table.set(other(hash))?;
        let free = |set| table::is_free_for(set, owner, |stamp| self.is_live(stamp));
        Some(if !free(first) && free(second) {
            second
        } else {
            first
        })
    }

    /// Forgets everything, in constant time.
    #[inline]
    pub fn flush_all(&self) {
        self.count_flush();
        // A fill that is under way has a stamp from before, which is below the new floor: it is
        // found by nobody.
        let floor = self.next.fetch_add(1, Ordering::AcqRel) + 1;
        // The maximum: of two flushes at once, the one with the lower floor must not undo the
        // other.
        self.floor.fetch_max(floor, Ordering::AcqRel);
        self.change();
    }

    /// Forgets `domain`.
    pub fn flush(&self, domain: DomainId) {
        self.count_flush();
        if let Some(domain) = self.domains.get(domain.0 as usize) {
            self.forget(domain, begin_invalidation(domain));
        }
    }

    /// Forgets what `domain` has for `first..=last`.
    pub fn flush_range(&self, domain: DomainId, first: u64, last: u64) {
        if self.count {
            self.range_invalidations.add_one();
        }
        let Some(domain) = self.domains.get(domain.0 as usize) else {
            return;
        };
        // Counted up even if nothing is cached: a fill may be under way.
        let word = begin_invalidation(domain);
        if word == 0 || first > last {
            return;
        }
        let sizes = (0..BLOCK_BITS.len()).filter(|size| word & (1 << size) != 0);
        let clusters = |size| {
            let bits: u32 = BLOCK_BITS[size] + table::CLUSTER_BITS;
            first >> bits..=last >> bits
        };
        // Saturates: the range may be all of 64 bits.
        let probes = sizes.clone().fold(0u64, |sum, size| {
            sum.saturating_add(clusters(size).end() - clusters(size).start())
                .saturating_add(1)
        });
        if probes > MAX_PROBES {
            self.count_flush();
            self.forget(domain, word);
            return;
        }
        for size in sizes {
            for cluster in clusters(size) {
                let iova = cluster << (BLOCK_BITS[size] + table::CLUSTER_BITS);
                // Of the cluster's blocks those from the first to the last that the range touches.
                let below = first.saturating_sub(iova) >> BLOCK_BITS[size];
                let above = LAST_BLOCK.saturating_sub((last - iova) >> BLOCK_BITS[size]);
                let blocks = (ALL_BLOCKS << below) & (ALL_BLOCKS >> above);
                // An entry is of its block as a whole: any byte of it in the range removes it.
                let (_, owner) = owner(iova, size, word & !SIZES);
                let hash = hash(iova, size, domain.salt);
                // A fill may have taken either place, or each for some of the blocks.
                for set in [hash, other(hash)] {
                    if let Some(set) = self.table.set(set) {
                        table::remove(set, owner, blocks);
                    }
                }
            }
        }
    }

    /// Takes the stamp from a domain, unless no entry carries it.
    fn forget(&self, domain: &Domain, word: u64) {
        // Without a size no entry has the stamp, and a fill that is about to declare one finds its
        // ticket bad.
        if word & SIZES != 0 {
            domain.word.store(0, Ordering::Release);
            self.change();
        }
    }

    fn count_flush(&self) {
        if self.count {
            self.flushes.add_one();
        }
    }
}

/// Makes all tickets of a domain bad; returns the domain's word, read after that.
fn begin_invalidation(domain: &Domain) -> u64 {
    // The counterpart of a fill, which enters its set, fences and reads this count: one of the two
    // sees the other.
    domain.invalidations.fetch_add(1, Ordering::SeqCst);
    fence_after_rmw();
    domain.word.load(Ordering::Acquire)
}

/// Notes that a domain is about to have an entry of `size`; false if it has another stamp by now.
fn declare_size(domain: &Domain, stamp: u64, size: usize) -> bool {
    let mut now = domain.word.load(Ordering::Relaxed);
    // Bounded: giving up costs one more miss, spinning would hold up the access.
    for _ in 0..WORD_ATTEMPTS {
        // The domain was flushed since the ticket was taken: the answer may be from before.
        if now & !SIZES != stamp {
            return false;
        }
        if now & (1 << size) != 0 {
            return true;
        }
        let new = now | 1 << size;
        match domain
            .word
            .compare_exchange(now, new, Ordering::AcqRel, Ordering::Relaxed)
        {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}
