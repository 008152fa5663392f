//! Devices that write all the time, and pages that are taken from them: once an unmapping is
//! acknowledged, nothing lands in its frame.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use crate::common::{Machine, PAGE, RAM, TRANSLATED, wait_until};
use viommu::DmaSpace;

const IOVA: u64 = 0x10_0000;
const ROUNDS: u64 = 100;
const LOOKS: u32 = 30;
const MARK: u32 = 0x5a5a_5a5a;

/// Writes to the page in turn through a slice that was kept, and at once.
fn device(space: &DmaSpace, stop: &AtomicBool, written: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let pinned = space.pin();
        let slices = pinned.get_slices(GuestAddress(IOVA), 4, Permissions::Write);
        let kept: Vec<_> = slices.unwrap().flatten().collect();
        thread::yield_now();
        for slice in &kept {
            slice.write_obj(MARK, 0).unwrap();
            written.fetch_add(1, Ordering::Relaxed);
        }
        drop(pinned);
        // Refused while nothing is mapped.
        let _ = space.write_obj(MARK, GuestAddress(IOVA + 4));
    }
}

#[test]
fn nothing_lands_after_an_unmapping_is_acknowledged() {
    let mut machine = Machine::new(TRANSLATED);
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            let (space, stop, written) = (machine.space.clone(), &stop, &written);
            scope.spawn(move || device(&space, stop, written));
        }
        let _stop = Stop(&stop);
        let memory = machine.guest.memory.clone();
        for round in 0..ROUNDS {
            let frame = GuestAddress(RAM + round % 2 * PAGE);
            machine.map(IOVA, frame.0, Permissions::ReadWrite);
            let before = written.load(Ordering::Relaxed);
            wait_until(|| written.load(Ordering::Relaxed) > before);
            machine.unmap(IOVA);
            memory.write_obj(0u64, frame).unwrap();
            for look in 0..LOOKS {
                // Not each time: a busy host takes long to come back.
                if look.is_multiple_of(10) {
                    thread::yield_now();
                }
                let found: u64 = memory.read_obj(frame).unwrap();
                assert_eq!(found, 0, "a write landed after the page was unmapped");
            }
        }
    });
    assert!(written.into_inner() >= ROUNDS);
}

/// Stops the devices though an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
