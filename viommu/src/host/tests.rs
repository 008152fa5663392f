//! Tests of maps and of their replacement.

use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

use super::*;
use crate::grace::Registry;

type Memory = GuestMemoryMmap<AtomicBitmap>;

fn host() -> HostMemory<Memory> {
    let ranges = [
        (GuestAddress(0x1000), 0x3000),
        (GuestAddress(0x8000), 0x1000),
    ];
    let memory = Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
    HostMemory::new(CurrentMemory::new(memory))
}

fn memory() -> Arc<Map<Memory>> {
    host().snapshot()
}

/// Replaces the memory as a unit does; returns the number of the change, and whether anything was
/// to be forgotten.
fn replace(host: &HostMemory<Memory>, registry: &Registry, memory: &Memory) -> (u64, bool) {
    let mut forgotten = false;
    let memory = Arc::new(memory.clone());
    let change = host.replace(memory, || forgotten = true, || registry.begin());
    assert_eq!(change.1, forgotten);
    change
}

#[test]
fn regions_keep_their_numbers_and_free_ones_are_used_only_after_a_grace_period() {
    let (host, registry) = (host(), Arc::new(Registry::default()));
    let handle = registry.register();
    let number = |address| host.snapshot().find(address).map(|place| place.region);
    let region = |start, len| {
        let start = GuestAddress(start);
        let region = GuestRegionMmap::from_range(start, len, None).unwrap();
        Arc::new(region)
    };
    let now = || Memory::clone(&host.memory().get());
    // Added before the others: they keep their numbers.
    let more = now().insert_region(region(0, 0x1000)).unwrap();
    let added = replace(&host, &registry, &more);
    drop(more);
    assert!(!added.1 && host.reclaim(added.0));
    assert_eq!([0, 0x1000, 0x8000].map(number), [Some(2), Some(0), Some(1)]);
    // A pin from before the removal keeps the number, and the memory itself.
    let pin = handle.pin(&registry);
    let held = host.map(pin.held());
    let (less, gone) = now().remove_region(GuestAddress(0x1000), 0x3000).unwrap();
    let gone = (Arc::downgrade(&gone), drop(gone)).0;
    let removed = replace(&host, &registry, &less);
    assert!(removed.1 && !host.reclaim(removed.0) && !host.is_current(held));
    assert_eq!(number(0x1000), None);
    assert_eq!(host.snapshot().gap(0x1000), 0x7000);
    let place = held.find(0x1000).unwrap();
    assert!(held.slice(&place, 0x3000).is_some());
    assert!(host.snapshot().slice(&place, 1).is_none());
    assert!(host.snapshot().address(&place).is_none());
    let more = less.insert_region(region(0x1000, 0x1000)).unwrap();
    replace(&host, &registry, &more);
    assert_eq!(number(0x1000), Some(3));
    assert!(gone.upgrade().is_some());
    drop(pin);
    assert!(host.reclaim(u64::MAX));
    assert!(gone.upgrade().is_none(), "it is unmapped");
    let more = more.insert_region(region(0x10_0000, 0x1000)).unwrap();
    replace(&host, &registry, &more);
    assert_eq!(number(0x10_0000), Some(0));
    let lengths: Vec<u64> = host.snapshot().regions().map(|(_, len)| len).collect();
    assert_eq!(lengths, [0x1000; 4]);
}

#[test]
fn a_region_in_the_place_of_another_is_another() {
    let (host, registry) = (host(), Arc::new(Registry::default()));
    let ranges = [(GuestAddress(0x1000), 0x3000)];
    let next = Memory::from_ranges(&ranges).unwrap();
    let (change, removed) = replace(&host, &registry, &next);
    assert!(removed && host.reclaim(change));
    assert_eq!(host.snapshot().find(0x1000).unwrap().region, 2);
}

#[test]
fn finds_places_up_to_the_last_byte() {
    let host = memory();
    let at = |region: u64, offset, room| {
        Some(RegionExtent {
            region,
            offset,
            room,
        })
    };
    assert_eq!(host.find(0xfff), None);
    assert_eq!(host.find(0x1000), at(0, 0, 0x3000));
    assert_eq!(host.find(0x3fff), at(0, 0x2fff, 1));
    assert_eq!(host.find(0x4000), None);
    assert_eq!(host.find(0x8001), at(1, 1, 0xfff));
    assert_eq!(host.find(0x9000), None);
    assert_eq!(host.find(u64::MAX), None);
    assert_eq!(host.address(&host.find(0x8001).unwrap()), Some(0x8001));
}

#[test]
fn gives_no_slice_beyond_a_region() {
    let host = memory();
    let place = |region: u64, offset| RegionExtent {
        region,
        offset,
        room: u64::MAX,
    };
    assert_eq!(host.slice(&place(0, 0x2fff), 1).unwrap().len(), 1);
    assert_eq!(host.slice(&place(0, 0x3000), 0).unwrap().len(), 0);
    for (region, offset, len) in [
        (0, 0x3000, 1),
        (0, 0, 0x3001),
        (0, u64::MAX, 1),
        (0, 1, usize::MAX),
        (2, 0, 0),
        (0, u64::MAX, 0),
        (u64::from(u32::MAX), 0, 1),
    ] {
        assert!(host.slice(&place(region, offset), len).is_none());
    }
}

#[test]
fn writes_mark_the_dirty_bitmap_of_the_right_region() {
    let host = memory();
    let place = host.find(0x8800).unwrap();
    let slice = host.slice(&place, 16).unwrap();
    slice.write_obj(7u32, 0).unwrap();
    let mut regions = host.memory.iter();
    assert!(!regions.next().unwrap().bitmap().dirty_at(0x800));
    assert!(regions.next().unwrap().bitmap().dirty_at(0x800));
    let value: u32 = host.memory.read_obj(GuestAddress(0x8800)).unwrap();
    assert_eq!(value, 7);
}
