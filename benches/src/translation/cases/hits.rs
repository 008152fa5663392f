//! Accesses to what the cache knows.

use std::fmt::Debug;
use std::hint::black_box;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress, GuestMemory, Iotlb, Permissions};

use super::{BATCH, Contenders};
use crate::translation::peers::{Peer, resolve};
use crate::translation::rounds::Case;
use crate::translation::world::{ACCESS, Order};

/// A case's name: lookups.
pub const LOOKUP: &str = "lookup, to a host slice";
/// A case's name: reads.
pub const READ: &str = "read 64 B, pinned";

/// Returns the cases of lookups and reads.
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let mut cases = lookups(contenders);
    cases.extend(reads(contenders));
    cases
}

/// Returns cases that go from an address to host memory, without reading it.
fn lookups<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let world = contenders.world;
    let (space, memory) = (&contenders.viommu.space, &contenders.vm_memory);
    let plain = contenders.plain;
    let pinned = || {
        in_batches(world.random_iovas(), |batch| {
            let pinned = space.pin();
            for iova in batch {
                resolve(&pinned, GuestAddress(*iova));
            }
        })
    };
    let slice = Case::new(LOOKUP)
        .with(Peer::Viommu, pinned())
        .with(
            Peer::VmMemory,
            each(world.random_iovas(), |at| resolve(memory, at)),
        )
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| resolve(plain, at)),
        );
    // vm-memory's cache alone: without IommuMemory's lock, and only as far as the guest physical
    // address.
    let cache = Case::new("lookup, Iotlb alone")
        .with(Peer::Viommu, pinned())
        .with(Peer::VmMemory, {
            let mut order = world.random_iovas();
            let iommu = memory.iommu();
            move |count| {
                let cache = iommu.cache();
                let start = Instant::now();
                order.visit(count, |iova| {
                    let found = Iotlb::lookup(&*cache, iova, ACCESS, Permissions::Read);
                    let range = found.ok().and_then(|mut ranges| ranges.next());
                    black_box(range.expect("the address is mapped"));
                });
                start.elapsed()
            }
        });
    vec![slice, cache]
}

/// Reads with a pin for many and with one for each, and reads of which each address depends on what
/// the last one found, as in a chain of descriptors: there no access can begin before the last one
/// has ended.
fn reads<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let world = contenders.world;
    let (space, memory) = (&contenders.viommu.space, &contenders.vm_memory);
    let plain = contenders.plain;
    let pinned = Case::new(READ).with(
        Peer::Viommu,
        in_batches(world.random_iovas(), |batch| {
            let pinned = space.pin();
            for iova in batch {
                read(&pinned, GuestAddress(*iova));
            }
        }),
    );
    let pinned = with_reads_of_others(pinned, contenders);
    let dependent = Case::new("read 64 B, pinned, dependent")
        .with(
            Peer::Viommu,
            in_batches(world.random_iovas(), |batch| {
                read_dependent(&space.pin(), batch);
            }),
        )
        .with(
            Peer::VmMemory,
            in_batches(world.random_iovas(), |batch| read_dependent(memory, batch)),
        )
        .with(
            Peer::Mmap,
            in_batches(world.random_physical(), |batch| {
                read_dependent(plain, batch)
            }),
        );
    let direct = Case::new("read 64 B").with(
        Peer::Viommu,
        each(world.random_iovas(), |at| {
            read(space, at);
        }),
    );
    let direct = with_reads_of_others(direct, contenders);
    // Without vm-memory's `read_slice`, whose iterators the compiler leaves as calls: as fast as
    // each can be.
    let slice = Case::new("copy 64 B from the slice, pinned")
        .with(
            Peer::Viommu,
            in_batches(world.random_iovas(), |batch| {
                let pinned = space.pin();
                for iova in batch {
                    copy(&pinned, GuestAddress(*iova));
                }
            }),
        )
        .with(
            Peer::VmMemory,
            each(world.random_iovas(), |at| copy(memory, at)),
        )
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| copy(plain, at)),
        );
    vec![pinned, dependent, slice, direct]
}

/// Adds the reads of those that are compared with: translated by vm-memory, and without an IOMMU.
pub fn with_reads_of_others<'c>(case: Case<'c>, contenders: &'c Contenders<'_>) -> Case<'c> {
    let world = contenders.world;
    let (memory, plain) = (&contenders.vm_memory, contenders.plain);
    let theirs = each(world.random_iovas(), |at| {
        read(memory, at);
    });
    let without = each(world.random_physical(), |at| {
        read(plain, at);
    });
    case.with(Peer::VmMemory, theirs).with(Peer::Mmap, without)
}

/// Copies 64 bytes out of the first slice.
#[inline(never)]
pub fn copy<M: GuestMemory>(memory: &M, address: GuestAddress) {
    let mut bytes = [0_u8; ACCESS];
    let copied = memory
        .get_slices(address, ACCESS, Permissions::Read)
        .ok()
        .and_then(|mut slices| slices.next())
        .and_then(Result::ok)
        .map(|slice| slice.copy_to(&mut bytes[..]));
    black_box((&bytes, copied.expect("the address is mapped")));
}

/// Reads of which each needs the last one's result for its address.
fn read_dependent<M: GuestMemory>(memory: &M, addresses: &[u64]) {
    let mut zero = 0;
    for address in addresses {
        zero = read(memory, GuestAddress(address + zero));
    }
}

/// Makes one access of 64 bytes; returns the last byte, which is always 0, though the compiler does
/// not know.
///
/// Never inlined, into a buffer of a length that the compiler does not know: as a device's code
/// calls it, and so that no contender gains or loses by how its loop was optimised.
#[inline(never)]
pub fn read<M: Bytes<GuestAddress, E: Debug>>(memory: &M, address: GuestAddress) -> u64 {
    let mut bytes = [0; ACCESS];
    let length = black_box(ACCESS);
    memory
        .read_slice(&mut bytes[..length], address)
        .expect("the address is mapped");
    u64::from(black_box(&bytes)[ACCESS - 1])
}

/// Times `operation` on each address of an order.
pub fn each<'w>(
    mut order: Order<'w>,
    operation: impl Fn(GuestAddress) + 'w,
) -> impl FnMut(u64) -> Duration + 'w {
    move |count| {
        let start = Instant::now();
        order.visit(count, &operation);
        start.elapsed()
    }
}

/// Times `operation` on batches of the addresses of an order.
pub fn in_batches<'w>(
    mut order: Order<'w>,
    operation: impl Fn(&[u64]) + 'w,
) -> impl FnMut(u64) -> Duration + 'w {
    move |count| {
        let start = Instant::now();
        order.batches(count, BATCH, &operation);
        start.elapsed()
    }
}
