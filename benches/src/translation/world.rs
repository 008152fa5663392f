//! What every contender works on: one guest memory, one set of mappings, one order of accesses.

#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of pages are small"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::directory;
use super::table::{IOVA, PAGE, PageTable};

/// Bytes of one access.
pub const ACCESS: usize = 64;
/// Where RAM begins: above that window, so that an untranslated IOVA reaches nothing.
pub const RAM: u64 = 0xc000_0000;
/// One slot in so many is a hole: not mapped, but for the cases that map and unmap.
const HOLE_EVERY: u64 = 33;
/// Pages that nothing is mapped to.
pub const SPARE: u64 = 4;
/// Most accesses in an order before it repeats; with 64 bytes each they touch more than the
/// last-level cache holds.
const ORDER_MAX: usize = 1 << 20;
/// Accesses for each mapping in an order, up to [`ORDER_MAX`].
const ORDER_PER_MAPPING: usize = 64;
/// The seed of everything random here.
const SEED: u64 = 0x1_0000_0001;

/// Guest memory with mappings in it, and the order in which they are accessed.
#[derive(Debug)]
pub struct World {
    /// Guest memory: the mapped pages in its lower part, then the spare ones, then the page tables.
    pub memory: Arc<GuestMemoryMmap<()>>,
    /// Number of mappings.
    pub mappings: u64,
    /// Leads each mapping to its page.
    pub table: Arc<PageTable>,
    /// Where the directory of the tables is that do the same for a Rockchip IOMMU.
    pub directory: u64,
    /// Page number of each mapping: a permutation, in which no two neighbours are neighbours in
    /// memory.
    pages: Vec<u64>,
    /// Addresses to access, uniformly random over mappings and offsets.
    iovas: Vec<u64>,
    /// The guest physical addresses of the same.
    physical: Vec<u64>,
    /// Every mapping once, in random order.
    each: Vec<u64>,
    /// Slots that are not mapped, in random order.
    holes: Vec<u64>,
    /// How many orders were asked for.
    orders: AtomicUsize,
}

impl World {
    /// Creates a world of `mappings` pages of 4 KiB, in RAM of `regions` regions of one size.
    ///
    /// # Panics
    /// If the host has not enough memory, or a world leads elsewhere than it says.
    pub fn new(mappings: u64, regions: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(SEED);
        let pages = permutation(mappings, &mut random);
        let (iovas, physical) = order(&pages, &mut random);
        let mut each: Vec<u64> = (0..mappings).map(iova_of).collect();
        shuffle(&mut each, &mut random);
        let mut holes: Vec<u64> = (0..mappings / (HOLE_EVERY - 1)).map(hole).collect();
        shuffle(&mut holes, &mut random);

        // `iova_of(mappings)` is above the last mapping and the last hole: tables reach up to
        // there.
        let last = iova_of(mappings);
        let tables = RAM + (mappings + SPARE) * PAGE;
        let directory = tables + PageTable::size_for(last);
        let size = directory + directory::size_for(last) - RAM;
        let memory = Arc::new(ram(size, regions));
        let table = PageTable::new(Arc::clone(&memory), tables, last);
        let leads = (0..).zip(&pages);
        let leads = leads.map(|(index, page)| (iova_of(index), RAM + page * PAGE));
        for (iova, physical) in leads.clone() {
            table.map(iova, physical);
        }
        directory::write(&memory, directory, last, leads);
        Self {
            memory,
            mappings,
            table: Arc::new(table),
            directory,
            pages,
            iovas,
            physical,
            each,
            holes,
            orders: AtomicUsize::new(0),
        }
    }

    /// Labels each line of each page with its own address, which also makes the host back it with
    /// memory.
    ///
    /// # Panics
    /// If a page is not in memory.
    pub fn label(&self) {
        for page in &self.pages {
            for line in 0..PAGE / ACCESS as u64 {
                let address = RAM + page * PAGE + line * ACCESS as u64;
                self.memory
                    .write_obj(address, GuestAddress(address))
                    .expect("pages lie in RAM");
            }
        }
    }

    /// Writes to each page, so that the host backs it with memory of its own.
    ///
    /// # Panics
    /// If a page is not in memory.
    pub fn label_pages(&self) {
        for page in &self.pages {
            let address = RAM + page * PAGE;
            self.memory
                .write_obj(address, GuestAddress(address))
                .expect("pages lie in RAM");
        }
    }

    /// Asserts that `memory`, addressed by IOVA, leads where the mappings say.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self, memory: &impl Bytes<GuestAddress>) {
        for (iova, physical) in self.iovas.iter().zip(&self.physical).take(10_000) {
            let label: Option<u64> = memory.read_obj(GuestAddress(*iova)).ok();
            assert_eq!(label, Some(*physical), "IOVA {iova:#x}");
        }
    }

    /// Begins elsewhere each time, so that no contender finds its data in the host's caches because
    /// another has just been there.
    fn order<'w>(&'w self, addresses: &'w [u64]) -> Order<'w> {
        Order::new(addresses, 3 * self.orders.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the random accesses, as IOVA.
    pub fn random_iovas(&self) -> Order<'_> {
        self.order(&self.iovas)
    }

    /// Returns the random accesses, as guest physical addresses.
    pub fn random_physical(&self) -> Order<'_> {
        self.order(&self.physical)
    }

    /// Returns the first IOVA of every mapping, once each before any comes again.
    pub fn each(&self) -> Order<'_> {
        self.order(&self.each)
    }

    /// Returns the first IOVA of slots that are not mapped.
    pub fn holes(&self) -> Order<'_> {
        self.order(&self.holes)
    }

    /// Empties all tables, as a guest does that unmaps everything and has not invalidated yet.
    ///
    /// # Panics
    /// If a table is not in memory.
    pub fn unmap_all(&self) {
        let (first, last) = (self.table.base(), iova_of(self.mappings));
        let end = self.directory + directory::size_for(last);
        for address in (first..end).step_by(8) {
            self.memory
                .write_obj(0_u64, GuestAddress(address))
                .expect("tables lie in RAM");
        }
    }

    /// Returns the address of four adjoining pages that nothing is mapped to.
    pub fn spare_pages(&self) -> u64 {
        RAM + self.mappings * PAGE
    }

    /// Returns where mapping `index` begins: the first 32 adjoin each other.
    pub fn iova(&self, index: u64) -> u64 {
        iova_of(index)
    }

    /// Returns where it leads.
    pub fn physical(&self, index: u64) -> u64 {
        RAM + self.pages[index as usize] * PAGE
    }
}

/// Returns where the IOVA of mapping `index` begins; holes are left out.
fn iova_of(index: u64) -> u64 {
    IOVA + (index + index / (HOLE_EVERY - 1)) * PAGE
}

fn hole(index: u64) -> u64 {
    IOVA + (index * HOLE_EVERY + HOLE_EVERY - 1) * PAGE
}

/// Creates at least `size` bytes of RAM, in regions of one size that adjoin each other.
fn ram(size: u64, regions: u64) -> GuestMemoryMmap<()> {
    let each = size.div_ceil(regions).next_multiple_of(PAGE);
    let length = usize::try_from(each).expect("a region fits the host's address space");
    let ranges: Vec<_> = (0..regions)
        .map(|n| (GuestAddress(RAM + n * each), length))
        .collect();
    GuestMemoryMmap::from_ranges(&ranges).expect("the host has memory for the guest")
}

fn below(limit: u64, random: &mut Xoshiro256PlusPlus) -> u64 {
    // The bias of a remainder of 64 bits does not show in a benchmark.
    random.next_u64() % limit
}

fn shuffle(values: &mut [u64], random: &mut Xoshiro256PlusPlus) {
    for last in (1..values.len()).rev() {
        let other = below(last as u64 + 1, random) as usize;
        values.swap(last, other);
    }
}

/// Returns a permutation of `0..count` in which no value is followed by the next higher one, so
/// that no two mappings could be kept as one.
fn permutation(count: u64, random: &mut Xoshiro256PlusPlus) -> Vec<u64> {
    let mut pages: Vec<u64> = (0..count).collect();
    shuffle(&mut pages, random);
    // A swap may make another such pair, which the next look finds.
    while let Some(at) = pages.windows(2).position(|pair| pair[0] + 1 == pair[1]) {
        let other = below(count, random) as usize;
        pages.swap(at, other);
    }
    pages
}

/// Returns uniformly random accesses: their IOVAs and their guest physical addresses.
fn order(pages: &[u64], random: &mut Xoshiro256PlusPlus) -> (Vec<u64>, Vec<u64>) {
    let length = (pages.len() * ORDER_PER_MAPPING).min(ORDER_MAX);
    (0..length)
        .map(|_| {
            let index = below(pages.len() as u64, random);
            let offset = below(PAGE / ACCESS as u64, random) * ACCESS as u64;
            (
                iova_of(index) + offset,
                RAM + pages[index as usize] * PAGE + offset,
            )
        })
        .unzip()
}

/// Addresses in a fixed order that begins anew at its end.
#[derive(Clone, Debug)]
pub struct Order<'w> {
    addresses: &'w [u64],
    next: usize,
}

impl<'w> Order<'w> {
    fn new(addresses: &'w [u64], eighth: usize) -> Self {
        Self {
            addresses,
            next: addresses.len() * (eighth % 8) / 8,
        }
    }

    /// Returns how many addresses come before the order begins anew.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Returns whether there are no addresses.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Begins anew now.
    pub fn begin_anew(&mut self) {
        self.next = 0;
    }

    /// Returns the next address that is `wanted`; at least one must be.
    pub fn next_where(&mut self, wanted: impl Fn(u64) -> bool) -> u64 {
        loop {
            let address = self.some(1)[0];
            if wanted(address) {
                return address;
            }
        }
    }

    /// Returns the next addresses, at most `count` of them; as many as are left before the order
    /// begins anew.
    pub fn some(&mut self, count: usize) -> &'w [u64] {
        let end = self.addresses.len().min(self.next + count);
        let some = &self.addresses[self.next..end];
        self.next = end % self.addresses.len();
        some
    }

    /// Calls `each` for the next `count` addresses.
    pub fn visit(&mut self, count: u64, mut each: impl FnMut(GuestAddress)) {
        // In one batch; half of usize, so that `next + count` in `some` does not overflow.
        self.batches(count, usize::MAX >> 1, |batch| {
            for address in batch {
                each(GuestAddress(*address));
            }
        });
    }

    /// Calls `each` for batches of at most `size` that are the next `count` addresses.
    pub fn batches(&mut self, count: u64, size: usize, mut each: impl FnMut(&[u64])) {
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        while left > 0 {
            let batch = self.some(size.min(left));
            left -= batch.len();
            each(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_lead_to_permuted_pages_and_never_merge() {
        for regions in [1, 4] {
            let world = World::new(4096, regions);
            let mut sorted = world.pages.clone();
            assert!(sorted.windows(2).all(|pair| pair[0] + 1 != pair[1]));
            sorted.sort_unstable();
            assert!(sorted.iter().copied().eq(0..4096));
            for iova in &world.each {
                assert!(world.table.lookup(*iova).is_some());
            }
            for iova in &world.holes {
                assert!(world.table.lookup(*iova).is_none());
            }
            for (iova, physical) in world.iovas.iter().zip(&world.physical) {
                let offset = iova % PAGE;
                assert_eq!(
                    world.table.lookup(*iova).map(|page| page + offset),
                    Some(*physical)
                );
            }
        }
    }

    #[test]
    fn an_order_begins_anew_at_its_end() {
        let mut order = Order {
            addresses: &[1, 2, 3],
            next: 1,
        };
        let mut seen = Vec::new();
        order.visit(7, |address| seen.push(address.0));
        assert_eq!(seen, [2, 3, 1, 2, 3, 1, 2]);
        order.batches(4, 2, |batch| seen.push(batch.len() as u64));
        assert_eq!(seen[7..], [1, 2, 1]);
    }
}
