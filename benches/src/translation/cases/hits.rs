//! Accesses to what the cache knows.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress, GuestMemory, Iotlb, Permissions};

use super::{BATCH, Contenders};
use crate::translation::peers::{Peer, resolve};
use crate::translation::rounds::Case;
use crate::translation::world::{ACCESS, Order};

/// Lookups, and reads with a pin for many and with one for each.
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let space = &contenders.viommu.space;
    let world = contenders.world;
    let plain = contenders.plain;
    let lookup = Case::new("lookup")
        .with(Peer::Viommu, {
            let mut order = world.random_iovas();
            move |count| {
                let start = Instant::now();
                order.batches(count, BATCH, |batch| {
                    let pinned = space.pin();
                    for iova in batch {
                        resolve(&pinned, GuestAddress(*iova));
                    }
                });
                start.elapsed()
            }
        })
        .with(Peer::VmMemory, {
            let mut order = world.random_iovas();
            let iommu = contenders.vm_memory.iommu();
            move |count| {
                // Without the lock that IommuMemory takes each time, and only to the guest physical address.
                let cache = iommu.cache();
                let start = Instant::now();
                order.visit(count, |iova| {
                    let found = Iotlb::lookup(&*cache, iova, ACCESS, Permissions::Read);
                    let range = found.ok().and_then(|mut ranges| ranges.next());
                    black_box(range.expect("the address is mapped"));
                });
                start.elapsed()
            }
        })
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| resolve(plain, at)),
        );
    let pinned = Case::new("read 64 B, pinned")
        .with(Peer::Viommu, {
            let mut order = world.random_iovas();
            move |count| {
                let start = Instant::now();
                order.batches(count, BATCH, |batch| {
                    let pinned = space.pin();
                    for iova in batch {
                        read(&pinned, GuestAddress(*iova));
                    }
                });
                start.elapsed()
            }
        })
        .with(
            Peer::VmMemory,
            each(world.random_iovas(), |at| read(&contenders.vm_memory, at)),
        )
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| read(plain, at)),
        );
    let direct = Case::new("read 64 B")
        .with(
            Peer::Viommu,
            each(world.random_iovas(), |at| read(space, at)),
        )
        .with(
            Peer::VmMemory,
            each(world.random_iovas(), |at| read(&contenders.vm_memory, at)),
        )
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| read(plain, at)),
        );
    vec![lookup, pinned, direct]
}

/// One access of 64 bytes.
pub fn read<M: GuestMemory>(memory: &M, address: GuestAddress) {
    let mut bytes = [0; ACCESS];
    memory
        .read_slice(&mut bytes, address)
        .expect("the address is mapped");
    black_box(&bytes);
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
