//! The same read by every kind of memory that the library gives out.

use std::sync::Arc;

use viommu::DmaSpace;
use viommu::vm_memory_iommu::IommuSpace;
use vm_memory::{GuestAddress, GuestAddressSpace};

use super::Contenders;
use super::hits::{copy, each, in_batches, read, with_reads_of_others};
use crate::translation::peers::Peer;
use crate::translation::rounds::Case;

/// Returns the cases of spaces without an IOMMU, and of guards that device code is generic over.
pub fn cases<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let mut cases = untranslated(contenders);
    cases.extend(guards(contenders));
    cases
}

/// Returns the cases of a space that passes through.
fn untranslated<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let world = contenders.world;
    let plain = contenders.plain;
    let space = || DmaSpace::pass_through(Arc::clone(&world.memory));
    let (reading, copying) = (space(), space());
    let read = Case::new("read 64 B, pass-through, pinned")
        .with(
            Peer::Viommu,
            in_batches(world.random_physical(), move |batch| {
                let pinned = reading.pin();
                for address in batch {
                    read(&pinned, GuestAddress(*address));
                }
            }),
        )
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| {
                read(plain, at);
            }),
        );
    let copy = Case::new("copy 64 B, pass-through, pinned")
        .with(
            Peer::Viommu,
            in_batches(world.random_physical(), move |batch| {
                let pinned = copying.pin();
                for address in batch {
                    copy(&pinned, GuestAddress(*address));
                }
            }),
        )
        .with(
            Peer::Mmap,
            each(world.random_physical(), |at| copy(plain, at)),
        );
    vec![read, copy]
}

/// Returns the cases of guards that borrow from nothing, one for a batch.
fn guards<'c>(contenders: &'c Contenders<'_>) -> Vec<Case<'c>> {
    let world = contenders.world;
    let space = &contenders.viommu.space;
    let guard = Case::new("read 64 B, a guard for 64").with(
        Peer::Viommu,
        in_batches(world.random_iovas(), |batch| {
            let guard = space.memory();
            for iova in batch {
                read(&*guard, GuestAddress(*iova));
            }
        }),
    );
    let iommu_space = IommuSpace::new(space.clone(), ());
    let iommu_memory = Case::new("read 64 B, IommuMemory<SpaceIommu>").with(
        Peer::Viommu,
        in_batches(world.random_iovas(), move |batch| {
            let guard = iommu_space.memory();
            for iova in batch {
                read(&*guard, GuestAddress(*iova));
            }
        }),
    );
    [guard, iommu_memory]
        .map(|case| with_reads_of_others(case, contenders))
        .into()
}
