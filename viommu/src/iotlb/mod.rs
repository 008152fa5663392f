//! The translation cache of one unit, shared by all its endpoints.
//!
//! Every domain has a *stamp*, a number used once, which its entries carry. Forgetting a domain is forgetting its stamp;
//! forgetting everything is declaring all stamps below a *floor* dead. Dead entries are found by nobody and are
//! replaced first. A stamp is given to a domain when something is first cached for it, so a domain that is flushed
//! without having been used costs none.
//!
//! A translation is cached only if nothing of its domain was invalidated since before the model was asked for it: the
//! filler keeps a [`Ticket`] from then, and the fill compares. Invalidations count first and look for entries then;
//! fills enter a set first and look at the count then; with a fence between, at least one of the two sees the other.

mod table;

use crate::counters::{Count, HandleCounters};
use crate::fault::DomainId;
use crate::host::Place;
use crate::sync::{AtomicU64, Ordering, fence};
use table::{Filled, Table, Target};

/// The sizes of block that an entry may have, as powers of two: the pages and blocks of the ARM long-descriptor
/// format with 4 KiB granule (ARM ARM DDI 0406C B3.6.1) and its contiguous hint (B3.6.4), which are those of other
/// architectures too.
pub(crate) const BLOCK_BITS: [u32; 4] = [12, 16, 21, 30];

/// Domains that can have cached translations; those with a higher number always ask the model.
const MAX_DOMAINS: usize = 1 << DOMAIN_BITS;

/// Most entries of a cache: 128 MiB of host memory.
const MAX_ENTRIES: usize = 1 << 22;

/// Most blocks that the invalidation of a range looks for one by one; a longer range flushes its domain instead.
/// 512 pages of 4 KiB are the reach of one table of the long-descriptor format.
const MAX_PROBES: u64 = 512;

// A domain's word: which block sizes it has entries of, its own number, and a generation; the last two are the stamp.
const SIZES: u64 = (1 << BLOCK_BITS.len()) - 1;
const DOMAIN_SHIFT: u32 = BLOCK_BITS.len() as u32;
const DOMAIN_BITS: u32 = 14;
const GENERATION_SHIFT: u32 = DOMAIN_SHIFT + DOMAIN_BITS;

/// Generations are never used twice: at a million flushes a second they last two years. Then nothing more is cached.
const GENERATIONS: u64 = 1 << (u64::BITS - GENERATION_SHIFT);

/// Multiplier that spreads domains over the sets (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Most attempts at changing a domain's word before a fill is given up.
const WORD_ATTEMPTS: usize = 8;

/// What the cache keeps about a domain.
#[derive(Default)]
#[repr(align(64))]
struct Domain {
    /// Stamp and sizes; 0 for a domain that has nothing cached.
    word: AtomicU64,
    /// How often something of it was invalidated.
    invalidations: AtomicU64,
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
    /// Flushes of a domain or of everything, if counted.
    pub flushes: Count,
    /// Invalidations of a range, if counted.
    pub range_invalidations: Count,
    count: bool,
}

fn key(iova: u64, size: usize) -> u64 {
    (iova >> BLOCK_BITS[size]) << 4 | (size as u64) << 2
}

fn hash(iova: u64, size: usize, stamp: u64) -> u64 {
    let domain = (stamp >> DOMAIN_SHIFT) & (MAX_DOMAINS as u64 - 1);
    // Neighbouring blocks are neighbours in the table; domains and sizes begin at different places.
    (iova >> BLOCK_BITS[size]).wrapping_add((domain << 2 | size as u64).wrapping_mul(SPREAD) >> 40)
}

impl Iotlb {
    /// A cache of about `entries` entries for `domains` domains.
    pub fn new(entries: usize, domains: u32, count: bool) -> Self {
        let domains = (domains as usize).min(MAX_DOMAINS);
        Self {
            table: Table::new(entries.min(MAX_ENTRIES)),
            domains: (0..domains).map(|_| Domain::default()).collect(),
            floor: AtomicU64::new(1),
            next: AtomicU64::new(1),
            flushes: Count::default(),
            range_invalidations: Count::default(),
            count,
        }
    }

    /// Where `iova` leads, if the cache knows and it allows `wanted` (as bits).
    #[inline]
    pub fn lookup(&self, domain: DomainId, iova: u64, wanted: u8) -> Option<Place> {
        let word = self
            .domains
            .get(domain.0 as usize)?
            .word
            .load(Ordering::Acquire);
        if word >> GENERATION_SHIFT < self.floor.load(Ordering::Acquire) {
            return None;
        }
        let stamp = word & !SIZES;
        let mut sizes = word & SIZES;
        while sizes != 0 {
            let size = sizes.trailing_zeros() as usize;
            sizes &= sizes - 1;
            let set = self.table.set(hash(iova, size, stamp));
            if let Some(target) = table::find(set, key(iova, size) | u64::from(wanted), stamp) {
                let beyond = (1 << BLOCK_BITS[size]) - 1;
                return Some(Place {
                    region: target.region,
                    offset: iova.wrapping_add(target.delta),
                    room: (beyond - (iova & beyond)) + 1,
                });
            }
        }
        None
    }

    fn is_live(&self, stamp: u64) -> bool {
        let number = (stamp >> DOMAIN_SHIFT) as usize & (MAX_DOMAINS - 1);
        stamp >> GENERATION_SHIFT >= self.floor.load(Ordering::Relaxed)
            && self
                .domains
                .get(number)
                .is_some_and(|domain| domain.word.load(Ordering::Relaxed) & !SIZES == stamp)
    }

    /// To be taken before the model is asked; `None` if nothing can be cached for this domain.
    pub fn ticket(&self, domain: DomainId) -> Option<Ticket> {
        let number = domain.0 as usize;
        let Domain {
            word,
            invalidations,
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
            if self.next.load(Ordering::Relaxed) >= GENERATIONS {
                return None;
            }
            let generation = self.next.fetch_add(1, Ordering::AcqRel);
            if generation >= GENERATIONS {
                return None;
            }
            let new = generation << GENERATION_SHIFT | (number as u64) << DOMAIN_SHIFT;
            now = match word.compare_exchange(now, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => new,
                Err(other) => other,
            };
        }
        None
    }

    /// Caches that `iova` leads to `place`, with `permissions` (as bits), for as large a block around it as lies
    /// within `before` bytes before it and `after` bytes after it. Whether it did.
    ///
    /// `ticket` is from before the model was asked; both numbers are of bytes mapped and backed alike.
    pub fn fill(
        &self,
        ticket: Ticket,
        iova: u64,
        place: &Place,
        permissions: u8,
        (before, after): (u64, u64),
        counters: Option<&HandleCounters>,
    ) -> bool {
        let fits = |size: &usize| {
            let beyond = (1 << BLOCK_BITS[*size]) - 1;
            let within = iova & beyond;
            within <= before && beyond - within <= after
        };
        let Some(size) = (0..BLOCK_BITS.len()).rev().find(fits) else {
            return false;
        };
        let domain = &self.domains[ticket.domain];
        if !declare_size(domain, ticket.stamp, size) {
            return false;
        }
        let filled = table::fill(
            self.table.set(hash(iova, size, ticket.stamp)),
            key(iova, size) | u64::from(permissions),
            ticket.stamp,
            Target {
                region: place.region,
                delta: place.offset.wrapping_sub(iova),
            },
            || domain.invalidations.load(Ordering::Relaxed) == ticket.invalidations,
            |stamp| self.is_live(stamp),
        );
        if let Some(counters) = counters {
            match filled {
                Some(Filled::Free) => counters.fills.add_one(),
                Some(Filled::Evicted) => {
                    counters.fills.add_one();
                    counters.evictions.add_one();
                }
                None => {}
            }
        }
        filled.is_some()
    }

    /// Forgets everything.
    pub fn flush_all(&self) {
        self.count_flush();
        let floor = self.next.fetch_add(1, Ordering::AcqRel) + 1;
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }

    /// Forgets `domain`.
    pub fn flush(&self, domain: DomainId) {
        self.count_flush();
        if let Some(domain) = self.domains.get(domain.0 as usize) {
            forget(domain, begin_invalidation(domain));
        }
    }

    /// Forgets what `domain` has for `first..=last`.
    pub fn flush_range(&self, domain: DomainId, first: u64, last: u64) {
        if self.count {
            self.range_invalidations.add_one_shared();
        }
        let Some(domain) = self.domains.get(domain.0 as usize) else {
            return;
        };
        let word = begin_invalidation(domain);
        if word == 0 || first > last {
            return;
        }
        let sizes = (0..BLOCK_BITS.len()).filter(|size| word & (1 << size) != 0);
        let blocks = |size| {
            let bits: u32 = BLOCK_BITS[size];
            first >> bits..=last >> bits
        };
        let probes = sizes.clone().fold(0u64, |sum, size| {
            sum.saturating_add(blocks(size).end() - blocks(size).start())
                .saturating_add(1)
        });
        if probes > MAX_PROBES {
            self.count_flush();
            forget(domain, word);
            return;
        }
        let stamp = word & !SIZES;
        for size in sizes {
            for block in blocks(size) {
                let iova = block << BLOCK_BITS[size];
                table::remove(
                    self.table.set(hash(iova, size, stamp)),
                    key(iova, size),
                    stamp,
                );
            }
        }
    }

    fn count_flush(&self) {
        if self.count {
            self.flushes.add_one_shared();
        }
    }
}

/// Makes all tickets of a domain bad; what it has cached is looked at after that.
fn begin_invalidation(domain: &Domain) -> u64 {
    domain.invalidations.fetch_add(1, Ordering::AcqRel);
    fence(Ordering::SeqCst);
    domain.word.load(Ordering::Acquire)
}

/// Takes its stamp from a domain, unless nothing carries it.
fn forget(domain: &Domain, word: u64) {
    if word & SIZES != 0 {
        domain.word.store(0, Ordering::Release);
    }
}

/// Notes that a domain is about to have an entry of `size`; false if it has another stamp by now.
fn declare_size(domain: &Domain, stamp: u64, size: usize) -> bool {
    let mut now = domain.word.load(Ordering::Relaxed);
    for _ in 0..WORD_ATTEMPTS {
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
