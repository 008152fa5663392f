//! Hits that are compared with the model's mappings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use viommu::{
    Access, Attachment, CacheConfig, DmaSpace, DomainId, Event, FaultReason, HitCheck, Miss, Scope,
    StaleHit, TranslationUnit,
};
use vm_memory::Permissions::{Read, ReadWrite};
use vm_memory::{Bytes, GuestAddress};

use super::common::{DOMAIN, ENDPOINT, PAGE, PlainModel, RAM, Recorder, SetOnDrop, ram, unit_with};

const IOVA: u64 = 0x10_0000;
const CHECKS: [HitCheck; 2] = [HitCheck::On, HitCheck::KeepAll];

/// A unit whose first endpoint has [`IOVA`] cached, which leads to the first page of RAM. Each page
/// of RAM has its own number in its first word.
struct Rig {
    unit: Arc<TranslationUnit>,
    model: Arc<PlainModel>,
    recorder: Arc<Recorder>,
    space: DmaSpace,
}

impl Rig {
    fn new(check: HitCheck, entries: usize) -> Self {
        let ram = ram();
        for page in 0..64u64 {
            ram.write_obj(page, GuestAddress(RAM + page * PAGE))
                .unwrap();
        }
        let recorder = Arc::new(Recorder::default());
        let cache = CacheConfig::default()
            .with_entries(entries)
            .with_check(check);
        let (unit, model) = unit_with(&ram, &cache, Some(Arc::clone(&recorder)));
        let space = unit.space(ENDPOINT);
        let rig = Self {
            unit,
            model,
            recorder,
            space,
        };
        rig.model.map_page(IOVA, RAM, ReadWrite);
        assert_eq!(rig.read(IOVA), Some(0));
        rig.recorder.take();
        rig
    }

    /// Returns the number of the page that `iova` leads to, by a read of its own and under a pin.
    fn read(&self, iova: u64) -> Option<u64> {
        let pinned = self.space.pin().read_obj(GuestAddress(iova)).ok();
        let once = self.space.read_obj(GuestAddress(iova)).ok();
        assert_eq!(pinned, once);
        once
    }

    /// Returns where the stale hits since the last call led, and where they would lead now.
    fn stale(&self) -> Vec<(u64, Result<u64, FaultReason>)> {
        let events = self.recorder.take();
        let stale = events.iter().filter_map(|event| match event {
            Event::StaleHit(hit) => Some((hit.address, hit.now.map_err(|miss| miss.reason))),
            _ => None,
        });
        stale.collect()
    }
}

#[test]
fn what_the_mappings_have_is_no_stale_hit() {
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        let asked = rig.model.asked();
        for _ in 0..3 {
            assert_eq!(rig.read(IOVA), Some(0));
        }
        assert_eq!(rig.recorder.take(), []);
        assert_eq!(rig.model.asked(), asked, "the cache answers as without");
    }
}

#[test]
fn a_mapping_that_is_gone_is_told_and_its_invalidation_too() {
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        rig.model.unmap(DOMAIN, IOVA);
        let hit = rig.space.read_obj::<u64>(GuestAddress(IOVA + 8));
        assert!(hit.is_ok(), "hardware has it still");
        let told = StaleHit {
            endpoint: ENDPOINT,
            source: None,
            domain: DOMAIN,
            iova: IOVA + 8,
            access: Access::Read,
            address: RAM + 8,
            now: Err(Miss::new(FaultReason::Translation)),
        };
        assert_eq!(rig.recorder.take(), [Event::StaleHit(told)]);
        // Of another domain, and of other pages: it stays.
        rig.unit.invalidate_domain(DomainId(2));
        rig.unit.invalidate_range(DOMAIN, 0, IOVA - 1);
        assert_eq!(rig.read(IOVA), Some(0));
        rig.recorder.take();
        let scope = Scope::Range(DOMAIN, IOVA + 0xfff, IOVA + 0xfff);
        rig.unit
            .invalidate_range(DOMAIN, IOVA + 0xfff, IOVA + 0xfff);
        let ended = Event::StaleEnded {
            endpoint: ENDPOINT,
            domain: DOMAIN,
            iova: IOVA,
        };
        assert_eq!(rig.recorder.take(), [Event::Invalidated(scope), ended]);
        assert_eq!(rig.read(IOVA), None);
        // Told once.
        rig.recorder.take();
        rig.unit.invalidate_all();
        assert_eq!(rig.recorder.take(), [Event::Invalidated(Scope::All)]);
    }
}

#[test]
fn a_mapping_that_leads_elsewhere_is_told_with_where_it_leads() {
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        rig.model.map_page(IOVA, RAM + 5 * PAGE, ReadWrite);
        assert_eq!(rig.read(IOVA), Some(0), "the old page");
        assert_eq!(rig.stale(), [(RAM, Ok(RAM + 5 * PAGE)); 2]);
        rig.unit.invalidate_domain(DOMAIN);
        assert_eq!(rig.read(IOVA), Some(5));
        assert_eq!(rig.stale(), []);
        // Unmapped and mapped to the same page again: nothing is wrong to be seen.
        rig.model.unmap(DOMAIN, IOVA);
        rig.model.map_page(IOVA, RAM + 5 * PAGE, ReadWrite);
        assert_eq!(rig.read(IOVA), Some(5));
        assert_eq!(rig.stale(), []);
    }
}

#[test]
fn permissions_that_were_taken_away_are_told_when_they_are_used() {
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        rig.model.map_page(IOVA, RAM, Read);
        assert_eq!(rig.read(IOVA), Some(0));
        assert_eq!(rig.stale(), []);
        rig.space.write_obj(0u64, GuestAddress(IOVA)).unwrap();
        assert_eq!(rig.stale(), [(RAM, Err(FaultReason::Permission))]);
    }
}

#[test]
fn blocks_are_compared_where_they_are_accessed() {
    const BLOCK: u64 = 0x1_0000;
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        let (model, first) = (&rig.model, 4 * BLOCK);
        model.map(DOMAIN, first, first + BLOCK - 1, RAM + BLOCK, ReadWrite);
        assert_eq!(rig.read(first), Some(16));
        // Broken up into pages, of which one leads elsewhere.
        for page in 0..16 {
            let to = if page == 3 { 40 } else { 16 + page };
            model.map_page(first + page * PAGE, RAM + to * PAGE, ReadWrite);
        }
        assert_eq!(rig.read(first + 2 * PAGE), Some(18));
        assert_eq!(rig.stale(), []);
        assert_eq!(rig.read(first + 3 * PAGE), Some(19));
        let hit = (RAM + 19 * PAGE, Ok(RAM + 40 * PAGE));
        assert_eq!(rig.stale(), [hit; 2]);
    }
}

#[test]
fn a_small_cache_evicts_unless_everything_is_kept() {
    for check in CHECKS {
        let rig = Rig::new(check, 8);
        // One set, and its cluster of pages; others take its place.
        for page in 8..64 {
            rig.model
                .map_page(IOVA + page * PAGE, RAM + page * PAGE, ReadWrite);
            assert_eq!(rig.read(IOVA + page * PAGE), Some(page));
        }
        rig.model.unmap(DOMAIN, IOVA);
        let expected = match check {
            HitCheck::KeepAll => Some(0),
            _ => None,
        };
        assert_eq!(rig.read(IOVA), expected, "{check:?}");
        assert_eq!(rig.stale().is_empty(), expected.is_none());
    }
}

#[test]
fn an_invalidation_takes_nothing_else_where_everything_is_kept() {
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        rig.model.unmap(DOMAIN, IOVA);
        // Longer than the ordinary cache looks for pages one by one.
        rig.unit
            .invalidate_range(DOMAIN, IOVA + PAGE, IOVA + (1 << 30));
        let kept = check == HitCheck::KeepAll;
        assert_eq!(rig.read(IOVA).is_some(), kept, "{check:?}");
    }
}

#[test]
fn a_unit_that_does_not_check_tells_nothing() {
    let rig = Rig::new(HitCheck::Off, 1024);
    rig.model.unmap(DOMAIN, IOVA);
    assert_eq!(rig.read(IOVA), Some(0));
    rig.unit.invalidate_all();
    assert_eq!(rig.recorder.take(), [Event::Invalidated(Scope::All)]);
}

#[test]
fn a_saved_cache_is_that_of_a_unit_that_does_not_check() {
    let (off, on) = (Rig::new(HitCheck::Off, 1024), Rig::new(HitCheck::On, 1024));
    assert_eq!(off.unit.save_cache(), on.unit.save_cache());
    let saved = off.unit.save_cache();
    for (check, expected) in [(HitCheck::On, Some(0)), (HitCheck::KeepAll, None)] {
        let other = Rig::new(check, 1024);
        other.unit.restore_cache(&saved).unwrap();
        other.unit.attach(ENDPOINT, Attachment::Domain(DOMAIN));
        other.model.unmap(DOMAIN, IOVA);
        // What keeps everything begins with what it had itself.
        let kept = other.read(IOVA);
        if check == HitCheck::On {
            assert_eq!(kept, expected);
        }
        other.unit.invalidate_all();
        assert_eq!(other.read(IOVA), None);
    }
}

/// A vCPU that waits for each invalidation, and devices that never rest: hits are stale only between
/// an unmapping and its invalidation, and each of them ends with it.
#[test]
fn threads_make_no_mistake_of_a_guest_that_makes_none() {
    const ROUNDS: u64 = 150;
    for check in CHECKS {
        let rig = Rig::new(check, 1024);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = SetOnDrop(&stop);
            for _ in 0..2 {
                let space = rig.space.clone();
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let _ = space.pin().read_obj::<u64>(GuestAddress(IOVA));
                    }
                });
            }
            for round in 0..ROUNDS {
                rig.model.unmap(DOMAIN, IOVA);
                thread::yield_now();
                match round % 3 {
                    0 => rig.unit.invalidate_all(),
                    1 => rig.unit.invalidate_domain(DOMAIN),
                    _ => rig.unit.invalidate_range(DOMAIN, IOVA, IOVA + 0xfff),
                }
                let mut grace = rig.unit.begin_grace_period();
                assert!(grace.wait_until(|| false));
                rig.model.map_page(IOVA, RAM + round % 64 * PAGE, ReadWrite);
            }
        });
        let mut open = false;
        for event in rig.recorder.take() {
            match event {
                Event::StaleHit(hit) => {
                    assert_eq!(hit.now, Err(Miss::new(FaultReason::Translation)));
                    open = true;
                }
                Event::StaleEnded { .. } => {
                    assert!(open, "an end without a hit");
                    open = false;
                }
                _ => {}
            }
        }
        assert!(!open, "a hit whose invalidation was not told of");
    }
}

/// What a guest and its devices do.
#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64),
    Unmap(u64),
    Read(u64),
    Invalidate(u64, u64),
    InvalidateDomain,
    InvalidateAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let page = 0..24u64;
    let step = prop_oneof![
        2 => (page.clone(), 0..64u64).prop_map(|(page, to)| Step::Map(page, to)),
        1 => page.clone().prop_map(Step::Unmap),
        6 => page.clone().prop_map(Step::Read),
        1 => (page.clone(), page).prop_map(|(one, other)| Step::Invalidate(one.min(other), one.max(other))),
        1 => Just(Step::InvalidateDomain),
        1 => Just(Step::InvalidateAll),
    ];
    vec(step, 1..120)
}

impl Step {
    /// Does it; returns what is read.
    fn take(&self, rig: &Rig) -> Option<u64> {
        let at = |page: u64| IOVA + page * PAGE;
        match *self {
            Self::Map(page, to) => rig.model.map_page(at(page), RAM + to * PAGE, ReadWrite),
            Self::Unmap(page) => rig.model.unmap(DOMAIN, at(page)),
            Self::Read(page) => return rig.read(at(page)),
            Self::Invalidate(first, last) => {
                rig.unit
                    .invalidate_range(DOMAIN, at(first), at(last) + PAGE - 1);
            }
            Self::InvalidateDomain => rig.unit.invalidate_domain(DOMAIN),
            Self::InvalidateAll => rig.unit.invalidate_all(),
        }
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever looks changes nothing, and tells exactly the reads that are not of the mappings.
    #[test]
    fn accesses_meet_what_they_would_meet_without(steps in steps(), entries in 0usize..64) {
        let off = Rig::new(HitCheck::Off, entries);
        let on = Rig::new(HitCheck::On, entries);
        for step in &steps {
            let read = step.take(&on);
            prop_assert_eq!(read, step.take(&off));
            let Step::Read(page) = *step else {
                on.stale();
                continue;
            };
            let iova = IOVA + page * PAGE;
            let mapped = on.model.find(DOMAIN, iova).map(|mapping| (mapping.address - RAM) / PAGE);
            let stale = on.stale();
            prop_assert_eq!(read != mapped, !stale.is_empty());
            // Each of the two accesses is told of.
            prop_assert!(stale.is_empty() || stale.len() == 2);
        }
        prop_assert_eq!(off.unit.counters(), on.unit.counters());
        prop_assert_eq!(off.unit.save_cache(), on.unit.save_cache());
    }

    /// Where everything is kept, a read is of the mapping of when its page was first read after it
    /// was last invalidated.
    #[test]
    fn what_is_kept_ends_with_an_invalidation(steps in steps()) {
        let rig = Rig::new(HitCheck::KeepAll, 64);
        let mut kept = std::collections::BTreeMap::from([(0u64, 0u64)]);
        for step in &steps {
            let read = step.take(&rig);
            match *step {
                Step::Read(page) => {
                    let mapped = rig.model.find(DOMAIN, IOVA + page * PAGE);
                    let mapped = mapped.map(|mapping| (mapping.address - RAM) / PAGE);
                    let expected = kept.get(&page).copied().or(mapped);
                    prop_assert_eq!(read, expected);
                    if let Some(to) = expected {
                        kept.insert(page, to);
                    }
                }
                Step::Invalidate(first, last) => kept.retain(|page, _| !(first..=last).contains(page)),
                Step::InvalidateDomain | Step::InvalidateAll => kept.clear(),
                Step::Map(..) | Step::Unmap(_) => {}
            }
        }
    }
}
