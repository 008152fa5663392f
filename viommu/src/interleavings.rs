//! Model checking of the lock-free parts: every interleaving, and every order that the memory model
//! allows.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p viommu --release --lib interleavings`, and a
//! target directory of its own.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use crate::fault::DomainId;
use crate::grace::Registry;
use crate::host::RegionExtent;
use crate::iotlb::Iotlb;

const DOMAIN: DomainId = DomainId(0);
const IOVA: u64 = 0x5000;
const READ: u8 = 1;

/// The model's truth: which page of two `IOVA` leads to.
struct Truth(AtomicU64);

/// Returns where page `page` is.
fn place(page: u64) -> RegionExtent {
    RegionExtent {
        region: page,
        offset: page << 12,
        room: 0x1000,
    }
}

/// Translates as a bus master does: by the cache, or else by the truth, which the cache then
/// learns.
fn translate(cache: &Iotlb, truth: &Truth) -> u64 {
    if let Some(found) = cache.lookup(DOMAIN, IOVA, READ) {
        assert_eq!(found, place(found.region), "torn");
        return found.region;
    }
    let ticket = cache.ticket(DOMAIN);
    let page = truth.0.load(Ordering::Relaxed);
    if let Some(ticket) = ticket {
        cache.fill(ticket, IOVA, &place(page), READ, (0, 0xfff), None);
    }
    page
}

/// Translates as [`translate`] does, but first by what was looked up when the pin began.
fn translate_by_kept(cache: &Iotlb, truth: &Truth) -> u64 {
    let seen = cache.changes();
    let pages = cache.pages(DOMAIN);
    let same = cache.changes() == seen;
    if let Some(found) = pages.lookup(IOVA, READ).filter(|_| same) {
        assert_eq!(found, place(found.region), "torn");
        return found.region;
    }
    translate(cache, truth)
}

fn cache() -> Iotlb {
    // As small as can be: each further word multiplies what loom has to try.
    Iotlb::new(1, 1, false)
}

/// Checks all executions with at most so many switches of threads where none is needed; most bugs
/// need two.
fn check(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

fn forget(cache: &Iotlb, how: usize) {
    match how {
        0 => cache.flush(DOMAIN),
        1 => cache.flush_range(DOMAIN, IOVA, IOVA),
        _ => cache.flush_all(),
    }
}

/// Lets a bus master read through a translation while it is invalidated. After the grace period the
/// old page belongs to the invalidating thread alone: loom's cells see any access that is not
/// ordered before.
fn nobody_uses_what_was_invalidated(how: usize, warm: bool) {
    nobody_uses_by(translate, how, warm);
}

fn nobody_uses_by(by: fn(&Iotlb, &Truth) -> u64, how: usize, warm: bool) {
    check(3, move || {
        let cache = Arc::new(cache());
        let truth = Arc::new(Truth(AtomicU64::new(0)));
        let registry = Arc::new(Registry::default());
        let handle = registry.register();
        let pages = Arc::new([UnsafeCell::new(0u32), UnsafeCell::new(0)]);
        if warm {
            translate(&cache, &truth);
        }
        let device = thread::spawn({
            let (cache, truth) = (Arc::clone(&cache), Arc::clone(&truth));
            let (pages, registry) = (Arc::clone(&pages), Arc::clone(&registry));
            move || {
                // Dropped after the pin: then a grace period that finds no handle must wait for
                // nobody.
                let handle = handle;
                let _pin = handle.pin(&registry);
                let page = by(&cache, &truth);
                // Stands for the access: loom wants it ordered before the write below.
                pages[page as usize].with(|_| ());
            }
        });
        // Relaxed: the order must come from the cache and the grace period alone.
        truth.0.store(1, Ordering::Relaxed);
        forget(&cache, how);
        let mut grace = registry.begin();
        while !grace.is_over() {
            thread::yield_now();
        }
        pages[0].with_mut(|_| ());
        device.join().unwrap();
    });
}

#[test]
fn nobody_uses_what_was_invalidated_by_domain() {
    nobody_uses_what_was_invalidated(0, true);
    nobody_uses_what_was_invalidated(0, false);
}

#[test]
fn nobody_uses_what_was_invalidated_by_range() {
    nobody_uses_what_was_invalidated(1, true);
    nobody_uses_what_was_invalidated(1, false);
}

#[test]
fn nobody_uses_what_was_invalidated_with_everything() {
    nobody_uses_what_was_invalidated(2, true);
    nobody_uses_what_was_invalidated(2, false);
}

#[test]
fn nobody_uses_what_a_pin_keeps_of_it() {
    for how in 0..3 {
        nobody_uses_by(translate_by_kept, how, true);
    }
}

/// How a bus master comes to the pin that it uses.
#[derive(Clone, Copy)]
enum Pinning {
    /// Its handle is on the list, and about to be taken off by the next grace period.
    Listed,
    /// There is no slot free for it any more; the pin that has the slot ends first.
    WithoutSlot,
}

/// As [`nobody_uses_what_was_invalidated`], without a cache, for what a pin may race with in the
/// registry. `others` further threads begin grace periods too, which take idle handles off the
/// list.
fn every_pin_is_waited_for(pinning: Pinning, others: usize, preemptions: usize) {
    check(preemptions, move || {
        let truth = Arc::new(AtomicU64::new(0));
        let registry = Arc::new(Registry::default());
        let handle = registry.register();
        drop(handle.pin(&registry));
        // Now the next one finds it as it was, and takes it off.
        assert!(registry.begin().is_over());
        let pages = Arc::new([UnsafeCell::new(0u32), UnsafeCell::new(0)]);
        let device = thread::spawn({
            let (pages, registry) = (Arc::clone(&pages), Arc::clone(&registry));
            let truth = Arc::clone(&truth);
            move || {
                let handle = handle;
                let first = handle.pin(&registry);
                let _pin = match pinning {
                    Pinning::Listed => first,
                    Pinning::WithoutSlot => {
                        let second = handle.pin(&registry);
                        drop(first);
                        second
                    }
                };
                let page = truth.load(Ordering::Relaxed);
                pages[page as usize].with(|_| ());
            }
        });
        let sweepers: Vec<_> = (0..others)
            .map(|_| {
                let registry = Arc::clone(&registry);
                thread::spawn(move || drop(registry.begin()))
            })
            .collect();
        truth.store(1, Ordering::Relaxed);
        let mut grace = registry.begin();
        while !grace.is_over() {
            thread::yield_now();
        }
        pages[0].with_mut(|_| ());
        device.join().unwrap();
        for sweeper in sweepers {
            sweeper.join().unwrap();
        }
    });
}

#[test]
fn a_pin_on_a_handle_that_leaves_the_list_is_waited_for() {
    every_pin_is_waited_for(Pinning::Listed, 0, 4);
}

#[test]
fn a_pin_on_a_handle_that_others_take_off_the_list_is_waited_for() {
    every_pin_is_waited_for(Pinning::Listed, 1, 2);
}

#[test]
fn a_pin_without_a_slot_is_waited_for() {
    every_pin_is_waited_for(Pinning::WithoutSlot, 0, 3);
}

/// Two threads pin one handle, of which one finds the slot taken or the handle not listed yet.
#[test]
fn two_pins_of_one_handle_are_both_waited_for() {
    check(2, || {
        let truth = Arc::new(AtomicU64::new(0));
        let registry = Arc::new(Registry::default());
        let handle = registry.register();
        let pages = Arc::new([UnsafeCell::new(0u32), UnsafeCell::new(0)]);
        let devices = [(); 2].map(|()| {
            let (pages, registry) = (Arc::clone(&pages), Arc::clone(&registry));
            let (truth, handle) = (Arc::clone(&truth), handle.clone());
            thread::spawn(move || {
                let _pin = handle.pin(&registry);
                let page = truth.load(Ordering::Relaxed);
                pages[page as usize].with(|_| ());
            })
        });
        truth.store(1, Ordering::Relaxed);
        let mut grace = registry.begin();
        while !grace.is_over() {
            thread::yield_now();
        }
        pages[0].with_mut(|_| ());
        for device in devices {
            device.join().unwrap();
        }
    });
}

/// Lets a fill race with an invalidation: once both are done, the cache has the new page or none.
fn no_stale_entry_stays(how: usize) {
    check(4, move || {
        let cache = Arc::new(cache());
        let truth = Arc::new(Truth(AtomicU64::new(0)));
        let filler = thread::spawn({
            let (cache, truth) = (Arc::clone(&cache), Arc::clone(&truth));
            move || {
                translate(&cache, &truth);
            }
        });
        truth.0.store(1, Ordering::Relaxed);
        forget(&cache, how);
        filler.join().unwrap();
        let found = cache.lookup(DOMAIN, IOVA, READ);
        assert!(found.is_none_or(|found| found == place(1)), "{found:?}");
    });
}

#[test]
fn no_stale_entry_stays_after_a_domain_flush() {
    no_stale_entry_stays(0);
}

#[test]
fn no_stale_entry_stays_after_a_range_flush() {
    no_stale_entry_stays(1);
}

#[test]
fn no_stale_entry_stays_after_a_full_flush() {
    no_stale_entry_stays(2);
}

/// Two translations take turns in one place while a third thread looks: it never sees a mixture.
#[test]
fn no_entry_is_seen_half_written() {
    check(3, || {
        let cache = Arc::new(cache());
        let ticket = cache.ticket(DOMAIN).unwrap();
        let fill = move |cache: &Iotlb, page| {
            cache.fill(ticket, IOVA, &place(page), READ, (0, 0xfff), None);
        };
        fill(&cache, 0);
        let writer = thread::spawn({
            let cache = Arc::clone(&cache);
            move || fill(&cache, 1)
        });
        if let Some(found) = cache.lookup(DOMAIN, IOVA, READ) {
            assert_eq!(found, place(found.region), "torn");
        }
        writer.join().unwrap();
    });
}
