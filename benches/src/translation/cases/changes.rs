//! What the cache has to learn and to forget.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counts and sizes are small"
)]

use std::time::{Duration, Instant};

use vm_memory::{GuestAddress, GuestMemory};

use super::hits::each;
use super::{BATCH, Contenders};
use crate::translation::peers::{Peer, Viommu, VmMemory, resolve};
use crate::translation::rounds::{Case, clock_overhead};
use crate::translation::table::PAGE;
use crate::translation::world::Order;

/// A case's name: lookups that miss.
pub const MISS: &str = "miss, warm walk";
/// A case's name: an invalidation of a page, and its next lookup.
pub const REFILL: &str = "invalidate, refill";
/// A case's name: an invalidation of everything.
pub const FLUSH: &str = "full flush";

/// Units that are flushed in turn.
const UNITS: u64 = 16;

/// Returns the cases of lookups that miss: everything is invalidated first, then each mapping is
/// looked up once.
pub fn misses<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let (viommu, memory) = (&contenders.viommu, &contenders.vm_memory);
    let world = contenders.world;
    let case = Case::new(MISS)
        .with(
            Peer::Viommu,
            passes(
                world.each(),
                || viommu.flush(),
                |batch| {
                    let pinned = viommu.space.pin();
                    resolve_all(&pinned, batch);
                },
            ),
        )
        .with(
            Peer::VmMemory,
            passes(
                world.each(),
                || memory.iommu().change().invalidate_all(),
                |batch| resolve_all(memory, batch),
            ),
        );
    vec![case]
}

fn resolve_all<M: GuestMemory>(memory: &M, iovas: &[u64]) {
    for iova in iovas {
        resolve(memory, GuestAddress(*iova));
    }
}

/// Invalidates everything, unmeasured, whenever the order begins anew.
fn passes<'w>(
    mut order: Order<'w>,
    forget: impl Fn() + 'w,
    miss: impl Fn(&[u64]) + 'w,
) -> impl FnMut(u64) -> Duration + 'w {
    move |count| {
        let mut left = count as usize;
        let mut taken = Duration::ZERO;
        while left > 0 {
            forget();
            order.begin_anew();
            let start = Instant::now();
            // `some` stops where the order ends, so that no mapping comes twice before all are
            // forgotten.
            let pass = order.some(left);
            for batch in pass.chunks(BATCH) {
                miss(batch);
            }
            taken += start.elapsed();
            left -= pass.len();
        }
        taken
    }
}

/// Returns the cases of a change to one mapping and its undoing, among the others.
pub fn pairs<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let (viommu, memory) = (&contenders.viommu, &contenders.vm_memory);
    let world = contenders.world;
    let refill = Case::new(REFILL)
        .with(
            Peer::Viommu,
            each(world.random_iovas(), |iova| {
                // A random address lies anywhere in its page.
                viommu.invalidate(iova.0 & !(PAGE - 1));
                resolve(&viommu.space.pin(), iova);
            }),
        )
        .with(
            Peer::VmMemory,
            each(world.random_iovas(), |iova| {
                forget(memory, GuestAddress(iova.0 & !(PAGE - 1)));
                resolve(memory, iova);
            }),
        );
    vec![
        map_and_unmap("map, invalidate", contenders, |_| (), |_| ()),
        map_and_unmap(
            "map, use, invalidate",
            contenders,
            |iova| resolve(&viommu.space.pin(), iova),
            |iova| resolve(memory, iova),
        ),
        refill,
    ]
}

/// Returns the case of a mapping that comes, is used as each contender's argument says, and goes.
fn map_and_unmap<'c>(
    name: &'static str,
    contenders: &'c Contenders<'_>,
    use_viommu: impl Fn(GuestAddress) + 'c,
    use_vm_memory: impl Fn(GuestAddress) + 'c,
) -> Case<'c> {
    let (viommu, memory) = (&contenders.viommu, &contenders.vm_memory);
    let world = contenders.world;
    let (table, to) = (&*world.table, world.spare_pages());
    Case::new(name)
        .with(
            Peer::Viommu,
            each(world.holes(), move |iova| {
                table.map(iova.0, to);
                use_viommu(iova);
                table.unmap(iova.0);
                // After the table has changed, or a walk in between could bring the old entry back.
                viommu.invalidate(iova.0);
            }),
        )
        .with(
            Peer::VmMemory,
            each(world.holes(), move |iova| {
                table.map(iova.0, to);
                // vm-memory is told of a new mapping; viommu finds it by a walk when it is first
                // used.
                memory.iommu().learn(iova, GuestAddress(to));
                use_vm_memory(iova);
                table.unmap(iova.0);
                forget(memory, iova);
            }),
        )
}

fn forget(memory: &VmMemory, iova: GuestAddress) {
    memory
        .iommu()
        .change()
        .invalidate_mapping(iova, PAGE as usize);
}

/// Flushes of everything while every mapping is known: one by itself, after which the clock has to
/// be fetched from memory too, and those of [`UNITS`] one after the other.
pub fn flushes<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let (viommu, memory) = (&contenders.viommu, &contenders.vm_memory);
    let world = contenders.world;
    let case = Case::new(FLUSH)
        .with(
            Peer::Viommu,
            after_refill(
                world.each(),
                |iova| resolve(&viommu.space.pin(), iova),
                || viommu.flush(),
            ),
        )
        .with(
            Peer::VmMemory,
            after_refill(
                world.each(),
                |iova| resolve(memory, iova),
                || memory.iommu().change().invalidate_all(),
            ),
        );
    let units: Vec<_> = (0..UNITS).map(|_| Viommu::new(world)).collect();
    let in_turn = Case::new("full flush, 16 units in turn")
        .at_least(UNITS)
        .with(Peer::Viommu, flushes_in_turn(units, world.each()));
    vec![case, in_turn]
}

/// Times flushes of `units` one after the other, each time after every mapping was used through
/// each of them. What only the first of them waits for, its code and the clock, is shared by all;
/// what each has of its own, none has touched since.
fn flushes_in_turn<'w>(
    units: Vec<Viommu>,
    mut order: Order<'w>,
) -> impl FnMut(u64) -> Duration + 'w {
    move |count| {
        let mut left = count;
        let mut taken = Duration::ZERO;
        while left > 0 {
            let some = &units[..left.min(UNITS) as usize];
            for viommu in some {
                let pin = viommu.space.pin();
                order.visit(order.len() as u64, |iova| resolve(&pin, iova));
            }
            let start = Instant::now();
            some.iter().for_each(Viommu::flush);
            taken += start.elapsed();
            left -= some.len() as u64;
        }
        taken
    }
}

/// Times `flush` alone, each time after every mapping was used.
fn after_refill<'w>(
    mut order: Order<'w>,
    fill: impl Fn(GuestAddress) + 'w,
    flush: impl Fn() + 'w,
) -> impl FnMut(u64) -> Duration + 'w {
    let clock = clock_overhead();
    move |count| {
        let mut taken = Duration::ZERO;
        for _ in 0..count {
            order.visit(order.len() as u64, &fill);
            // The clock's own code and data are no longer in the host's caches either.
            let _ = Instant::now();
            let start = Instant::now();
            flush();
            taken += start.elapsed().saturating_sub(clock);
        }
        taken
    }
}
