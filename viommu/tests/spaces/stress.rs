//! Real threads on real memory: after a completed invalidation nothing lands through the old
//! translation, and nothing waits for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use super::common::{DOMAIN, ENDPOINT, PAGE, RAM, SetOnDrop, ram, unit};
use viommu::{Attachment, DmaSpace, EndpointId};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestRegionMmap, Permissions,
};

const IOVA: GuestAddress = GuestAddress(0x7000);
const ROUNDS: u64 = 500;

/// One way of a device to write the word that it is told to.
type Write = fn(&DmaSpace, u64);

fn at_once(space: &DmaSpace, value: u64) {
    let _ = space.write_obj(value, IOVA);
}

fn under_a_pin(space: &DmaSpace, value: u64) {
    keeping_slices(&space.pin(), value);
}

/// As device code does that is generic over where its memory is.
fn by_an_address_space(space: &impl GuestAddressSpace, value: u64) {
    keeping_slices(&*space.memory(), value);
}

/// As `Reader` and `Writer` of virtio-queue do: the slices outlive the iterator.
fn keeping_slices(memory: &impl GuestMemory, value: u64) {
    let slices: Vec<_> = memory
        .get_slices(IOVA, 8, Permissions::Write)
        .unwrap()
        .flatten()
        .collect();
    thread::yield_now();
    for slice in slices {
        slice.write_obj(value, 0).unwrap();
    }
}

fn nested(space: &DmaSpace, value: u64) {
    let _pinned = space.pin();
    at_once(space, value);
}

/// With a guard for which no slot was left, when those that had them are gone.
fn among_many_guards(space: &DmaSpace, value: u64) {
    let mut guards: Vec<_> = (0..6).map(|_| space.memory()).collect();
    let last = guards.pop();
    drop(guards);
    keeping_slices(&*last.expect("one of six"), value);
}

/// With a handle that no grace period has seen yet.
fn by_a_new_handle(space: &DmaSpace, value: u64) {
    under_a_pin(&space.clone(), value);
}

/// With a handle that grace periods have found idle.
fn after_a_rest(space: &DmaSpace, value: u64) {
    for _ in 0..3 {
        thread::yield_now();
    }
    at_once(space, value);
}

/// Devices write to one IOVA while it is mapped to one frame after the other. Each round, after the
/// old frame has been unmapped, invalidated and waited for, it is read twice: nobody may have
/// written in between. `remap` makes the next frame visible before the invalidation, as a guest
/// that remaps does, or after it.
fn frames_stay_quiet(writes: &[Write], remap: bool, invalidate: fn(&viommu::TranslationUnit)) {
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    let stop = AtomicBool::new(false);
    let (begin, begun) = mpsc::channel();
    let frame = |round: u64| RAM + round % 2 * PAGE;
    model.map_page(IOVA.0, frame(0), Permissions::ReadWrite);
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for (index, write) in writes.iter().enumerate() {
            let space = unit.space(ENDPOINT);
            let (stop, begin) = (&stop, begin.clone());
            scope.spawn(move || {
                let mut value = (index as u64) << 56;
                let mut next = || {
                    value += 1;
                    write(&space, value);
                };
                next();
                begin.send(()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    next();
                }
            });
        }
        // A busy host may start a thread when all rounds would be over.
        drop(begin);
        for _ in writes {
            begun.recv().expect("a device writes");
        }
        for round in 0..ROUNDS {
            if remap {
                model.map_page(IOVA.0, frame(round + 1), Permissions::ReadWrite);
            } else {
                model.unmap(DOMAIN, IOVA.0);
            }
            invalidate(&unit);
            assert!(unit.begin_grace_period().wait_until(|| false));
            let read = || ram.read_obj::<u64>(GuestAddress(frame(round))).unwrap();
            let before = read();
            for spin in 0..200 {
                if spin % 100 == 0 {
                    thread::yield_now();
                }
                assert_eq!(
                    read(),
                    before,
                    "written after the invalidation of round {round}"
                );
            }
            if !remap {
                model.map_page(IOVA.0, frame(round + 1), Permissions::ReadWrite);
            }
        }
    });
    model.take_faults();
}

#[test]
fn direct_accesses() {
    frames_stay_quiet(&[at_once, at_once], false, |unit| {
        unit.invalidate_domain(DOMAIN)
    });
}

#[test]
fn pinned_accesses() {
    frames_stay_quiet(&[under_a_pin, nested], false, |unit| {
        unit.invalidate_range(DOMAIN, IOVA.0, IOVA.0 + 7);
    });
}

#[test]
fn accesses_of_generic_devices() {
    frames_stay_quiet(&[by_an_address_space, at_once], false, |unit| {
        unit.invalidate_range(DOMAIN, IOVA.0, IOVA.0 + 7);
    });
}

#[test]
fn remapped_without_a_gap() {
    frames_stay_quiet(&[at_once, under_a_pin], true, |unit| {
        unit.invalidate_range(DOMAIN, IOVA.0, IOVA.0);
    });
    frames_stay_quiet(&[nested, under_a_pin], true, |unit| unit.invalidate_all());
}

/// Devices write to a region that comes and goes, by a mapping and untranslated. What was removed
/// is unmapped from the host when that is over: whoever still wrote to it would bring down the
/// test.
#[test]
fn memory_that_is_removed() {
    const MORE: u64 = RAM + 0x40_0000;
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    model.map_page(IOVA.0, MORE, Permissions::ReadWrite);
    unit.attach(EndpointId(1), Attachment::Bypass);
    let writes: [Write; 3] = [
        at_once,
        |space, value| if_there(&space.pin(), IOVA, value),
        |space, value| {
            if_there(&*space.memory(), GuestAddress(MORE), value);
        },
    ];
    let stop = AtomicBool::new(false);
    let written = [const { AtomicU64::new(0) }; 3];
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for (n, write) in (0u32..).zip(writes) {
            let space = unit.space(EndpointId(n / 2));
            let (stop, written) = (&stop, &written[n as usize]);
            scope.spawn(move || {
                let mut value = 0;
                while !stop.load(Ordering::Relaxed) {
                    value += 1;
                    write(&space, value);
                    written.store(value, Ordering::Relaxed);
                }
            });
        }
        for round in 0..ROUNDS {
            let region = GuestRegionMmap::from_range(GuestAddress(MORE), 0x1_0000, None);
            let region = Arc::new(region.unwrap());
            let gone = Arc::downgrade(&region);
            let more = Arc::new(ram.insert_region(region).unwrap());
            let added = unit.set_memory(Arc::clone(&more)).wait_until(|| false);
            let before = written.each_ref().map(|n| n.load(Ordering::Relaxed));
            // Each has found it, or at least looked for it.
            while (written.iter().zip(before))
                .any(|(n, before)| n.load(Ordering::Relaxed) < before + 2)
            {
                thread::yield_now();
            }
            assert!(added && more.read_obj::<u64>(GuestAddress(MORE)).unwrap() > 0);
            drop(more);
            assert!(unit.set_memory(Arc::clone(&ram)).wait_until(|| false));
            assert!(
                gone.upgrade().is_none(),
                "round {round}: the host has it back"
            );
        }
    });
    model.take_faults();
}

/// Writes, if there is memory.
fn if_there(memory: &impl GuestMemory, at: GuestAddress, value: u64) {
    let slices = memory.get_slices(at, 8, Permissions::Write).unwrap();
    let slices: Vec<_> = slices.flatten().collect();
    thread::yield_now();
    for slice in slices {
        slice.write_obj(value, 0).unwrap();
    }
}

#[test]
fn guards_without_a_slot() {
    frames_stay_quiet(&[among_many_guards, nested], false, |unit| {
        unit.invalidate_range(DOMAIN, IOVA.0, IOVA.0 + 7);
    });
}

#[test]
fn handles_that_come_and_rest_and_go() {
    frames_stay_quiet(&[by_a_new_handle, after_a_rest], true, |unit| {
        unit.invalidate_domain(DOMAIN);
        // Each of these takes idle handles off the list.
        for _ in 0..3 {
            drop(unit.begin_grace_period());
        }
    });
}

#[test]
fn detached() {
    let ram = ram();
    let (unit, model) = unit(&ram, 64, None);
    model.map_page(IOVA.0, RAM, Permissions::ReadWrite);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        let space = unit.space(EndpointId(1));
        scope.spawn(|| {
            let space = space;
            let mut value = 0;
            while !stop.load(Ordering::Relaxed) {
                value += 1;
                under_a_pin(&space, value);
            }
        });
        for round in 0..ROUNDS {
            let read = || ram.read_obj::<u64>(GuestAddress(RAM)).unwrap();
            let at_first = read();
            // The device is at it.
            while read() == at_first {
                thread::yield_now();
            }
            unit.attach(EndpointId(1), Attachment::Blocked);
            assert!(unit.begin_grace_period().wait_until(|| false));
            let before = read();
            for _ in 0..2 {
                thread::yield_now();
                assert_eq!(read(), before, "written after the detach of round {round}");
            }
            unit.attach(EndpointId(1), Attachment::Domain(DOMAIN));
        }
    });
}

/// A device that, pinned, waits for a vCPU; the vCPU polls the end of an invalidation, and goes on
/// in between.
#[test]
fn a_vcpu_that_polls_never_deadlocks_with_a_device_that_waits_for_it() {
    let (unit, _model) = unit(&ram(), 64, None);
    let space = unit.space(ENDPOINT);
    let (pinned, answered) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let answer = SetOnDrop(&answered);
        scope.spawn(|| {
            let _pin = space.pin();
            pinned.store(true, Ordering::Release);
            while !answered.load(Ordering::Acquire) {
                thread::yield_now();
            }
        });
        while !pinned.load(Ordering::Acquire) {
            thread::yield_now();
        }
        unit.invalidate_all();
        let mut grace = unit.begin_grace_period();
        let other = unit.space(EndpointId(1));
        for _ in 0..1000 {
            assert!(!grace.is_over());
            // New work of others goes on, invalidations and grace periods too.
            let _pin = other.pin();
            unit.invalidate_all();
        }
        drop(answer);
        assert!(grace.wait_until(|| false));
    });
}
