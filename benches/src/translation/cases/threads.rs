//! Several threads at once. Times are of the wall clock by all reads together, so half is twice the
//! throughput.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use vm_memory::GuestAddress;

use super::hits::read;
use super::{BATCH, Contenders};
use crate::translation::peers::Peer;
use crate::translation::rounds::Case;
use crate::translation::table::PAGE;
use crate::translation::world::Order;

/// Names of the cases that tell whether threads hinder each other.
pub const ONE_THREAD: &str = "read 64 B, 1 thread";
/// The same, of both.
pub const TWO_THREADS: &str = "read 64 B, 2 threads";

/// Mappings that the invalidating thread invalidates at a time.
const BURST: usize = 8;
/// The fewest reads of a turn: what starting threads takes on a busy host must not count.
pub const LEAST: u64 = 1 << 15;
/// How long it sleeps between.
const PAUSE: Duration = Duration::from_micros(50);

/// Returns the cases of one thread that reads, of two, and of two while another invalidates.
#[expect(clippy::cast_possible_truncation, reason = "a page is small")]
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    // A clone has pins of its own, as each thread of a device would have.
    let spaces = [(); 2].map(|()| contenders.viommu.space.clone());
    let ours = move |thread: usize, order: &mut Order<'_>, count| {
        order.batches(count, BATCH, |batch| {
            let pinned = spaces[thread].pin();
            for iova in batch {
                read(&pinned, GuestAddress(*iova));
            }
        });
    };
    let memory = &contenders.vm_memory;
    let theirs = move |_: usize, order: &mut Order<'_>, count| {
        order.visit(count, |iova| {
            read(memory, iova);
        });
    };
    let plain = contenders.plain;
    let without = move |_: usize, order: &mut Order<'_>, count| {
        order.visit(count, |address| {
            read(plain, address);
        });
    };
    let case = |name, readers| {
        Case::new(name)
            .at_least(LEAST)
            .with(
                Peer::Viommu,
                reading(readers, iovas(contenders), ours.clone(), || {}),
            )
            .with(
                Peer::VmMemory,
                reading(readers, iovas(contenders), theirs, || {}),
            )
            .with(
                Peer::Mmap,
                reading(readers, physical(contenders), without, || {}),
            )
    };
    let invalidated = Case::new("read 64 B, 2 threads, 1 invalidating")
        .at_least(LEAST)
        .with(Peer::Viommu, {
            let ours = ours.clone();
            let viommu = &contenders.viommu;
            let invalidate = invalidating(contenders, |iova| viommu.invalidate(iova));
            reading(2, iovas(contenders), ours, invalidate)
        })
        .with(Peer::VmMemory, {
            let invalidate = invalidating(contenders, |iova| {
                memory
                    .iommu()
                    .change()
                    .invalidate_mapping(GuestAddress(iova), PAGE as usize);
            });
            reading(2, iovas(contenders), theirs, invalidate)
        });
    vec![case(ONE_THREAD, 1), case(TWO_THREADS, 2), invalidated]
}

/// Returns orders of IOVAs for two readers.
pub fn iovas<'c>(contenders: &'c Contenders<'_>) -> [Order<'c>; 2] {
    [(); 2].map(|()| contenders.world.random_iovas())
}

/// Returns orders of guest physical addresses for two readers.
pub fn physical<'c>(contenders: &'c Contenders<'_>) -> [Order<'c>; 2] {
    [(); 2].map(|()| contenders.world.random_physical())
}

/// Returns a burst of invalidations of random mappings, and a pause.
fn invalidating<'c>(
    contenders: &'c Contenders<'_>,
    invalidate: impl Fn(u64) + 'c,
) -> impl FnMut() + 'c {
    let mut order = contenders.world.random_iovas();
    move || {
        for iova in order.some(BURST) {
            invalidate(iova & !(PAGE - 1));
        }
        thread::sleep(PAUSE);
    }
}

/// Times `readers` threads that read, each on a core of its own, while another does `meanwhile`
/// over and over if it does anything.
pub fn reading<'c, B: FnMut() + Send + 'c>(
    readers: usize,
    mut orders: [Order<'c>; 2],
    read: impl Fn(usize, &mut Order<'_>, u64) + Sync + 'c,
    mut meanwhile: B,
) -> impl FnMut(u64) -> Duration + 'c {
    move |count| {
        let arrived = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // A closure without state is the one that does nothing.
            if size_of::<B>() > 0 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        meanwhile();
                    }
                });
            }
            let threads: Vec<_> = orders
                .iter_mut()
                .take(readers)
                .enumerate()
                .map(|(thread, order)| {
                    let (arrived, read) = (&arrived, &read);
                    scope.spawn(move || {
                        stay_on_core(thread);
                        // On this thread's stack: the orders share cache lines.
                        let mut own = order.clone();
                        arrived.fetch_add(1, Ordering::Relaxed);
                        // All readers begin together.
                        while arrived.load(Ordering::Relaxed) < readers {
                            hint::spin_loop();
                        }
                        let start = Instant::now();
                        read(thread, &mut own, count.div_ceil(readers as u64));
                        let end = Instant::now();
                        *order = own;
                        (start, end)
                    })
                })
                .collect();
            let times: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("a reader ends"))
                .collect();
            // Here and not after the scope, whose end waits for the thread that invalidates.
            done.store(true, Ordering::Relaxed);
            let start = times.iter().map(|(start, _)| *start).min();
            let end = times.iter().map(|(_, end)| *end).max();
            start
                .zip(end)
                .map_or(Duration::ZERO, |(start, end)| end - start)
        })
    }
}

/// Keeps this thread on the `nth` of the cores that it may use, each reader on one of its own: a
/// turn is shorter than the host's scheduler needs to spread new threads.
fn stay_on_core(nth: usize) {
    // A host that does not allow it places the threads as it likes.
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    if let Some(core) = cores.nth(nth) {
        let mut one = CpuSet::new();
        one.set(core);
        let _ = sched_setaffinity(None, &one);
    }
}
