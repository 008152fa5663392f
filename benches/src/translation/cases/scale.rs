//! What invalidations and guards cost by how many handles and guards there are.

use std::hint::black_box;
use std::time::{Duration, Instant};

use viommu::{DmaSpace, GracePeriod, PinnedSpace};
use vm_memory::{GuestAddress, GuestAddressSpace};

use super::Contenders;
use crate::translation::peers::{Peer, Viommu, resolve};
use crate::translation::rounds::Case;
use crate::translation::table::PAGE;

/// Handles or guards that are many.
const MANY: usize = 4096;

const ONE_HANDLE: &str = "invalidate, 1 idle handle";
const HANDLES: &str = "invalidate, 4096 idle handles";
const ONE_GUARD: &str = "guard, 1 at once";
const GUARDS: &str = "guard, 4096 at once";
const ONE_POLL: &str = "poll, 1 guard held";
const POLLS: &str = "poll, 4096 guards held";

/// What the cases tell together: its name, the case of many, the case of one.
pub const COMPARED: [(&str, &str, &str); 3] = [
    ("4096 idle handles by 1", HANDLES, ONE_HANDLE),
    ("a guard of 4096 by one alone", GUARDS, ONE_GUARD),
    ("a poll with 4096 guards by one with 1", POLLS, ONE_POLL),
];

/// Returns all of them. Units of their own: no handle of another case is among theirs.
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let fresh = || Viommu::new(contenders.world);
    let iova = contenders.world.iova(0);
    let handles = |name, count| {
        let viommu = fresh();
        let idle = used(&viommu, count, iova);
        Case::new(name).with(Peer::Viommu, move |times| {
            let _ = black_box(&idle);
            let start = Instant::now();
            for _ in 0..times {
                viommu.invalidate(iova & !(PAGE - 1));
            }
            start.elapsed()
        })
    };
    let guards = |name, count| {
        let viommu = fresh();
        // So that as many as are said are held at some time in each turn.
        Case::new(name)
            .at_least(2 * count as u64)
            .with(Peer::Viommu, move |times| {
                guard_and_drop(&viommu.space, count, times)
            })
    };
    let polls = |name, count| {
        let viommu = fresh();
        let guards: Vec<_> = (0..count).map(|_| viommu.space.memory()).collect();
        let grace = viommu.unit.begin_grace_period();
        Case::new(name).with(Peer::Viommu, poll(guards, grace))
    };
    vec![
        handles(ONE_HANDLE, 1),
        handles(HANDLES, MANY),
        guards(ONE_GUARD, 1),
        guards(GUARDS, MANY),
        polls(ONE_POLL, 1),
        polls(POLLS, MANY),
    ]
}

/// Returns `count` further handles that were used once each.
fn used(viommu: &Viommu, count: usize, iova: u64) -> Vec<DmaSpace> {
    let handles: Vec<_> = (0..count).map(|_| viommu.space.clone()).collect();
    for space in &handles {
        resolve(&space.pin(), GuestAddress(iova));
    }
    handles
}

/// Times taking and dropping guards of which `count` are held at once, for each of them.
fn guard_and_drop(space: &DmaSpace, count: usize, times: u64) -> Duration {
    let mut held = Vec::with_capacity(count);
    let mut left = times;
    let start = Instant::now();
    while left > 0 {
        let some = usize::try_from(left).unwrap_or(count).min(count);
        held.extend((0..some).map(|_| space.memory()));
        black_box(&held);
        held.clear();
        left -= some as u64;
    }
    start.elapsed()
}

/// Times polls of a grace period that the guards hold up.
fn poll<G: AsRef<PinnedSpace>>(
    guards: Vec<G>,
    mut grace: GracePeriod,
) -> impl FnMut(u64) -> Duration {
    move |times| {
        let start = Instant::now();
        for _ in 0..times {
            assert!(!black_box(&mut grace).is_over(), "the guards are held");
        }
        let taken = start.elapsed();
        let _ = black_box(&guards);
        taken
    }
}
