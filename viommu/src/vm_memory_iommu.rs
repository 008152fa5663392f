//! For VMMs whose devices run on [`vm_memory::IommuMemory`]: one that translates as a [`DmaSpace`]
//! does.
//!
//! What [`DmaSpace`] itself gives out is faster and has a finer idea of faults; take this only
//! where the type `IommuMemory` cannot be had out of the way.
//!
//! An `IommuMemory` is had from [`IommuSpace`] only, for one bounded piece of work, and holds a
//! [pin](DmaSpace#pinning) as long as it lives: slices borrow from it. One that a device keeps
//! holds up the guest's invalidations.
//!
//! # What is better than with an `Iotlb` of one's own
//! [`vm_memory::iommu::Iotlb`] cannot name the last byte of the address space, overflows for ranges
//! that wrap, and an empty range is a question it was not made for. None of that is visible here: a
//! length of 0 is fine anywhere, the last page is a page like others, a range that wraps is an
//! error. An access through it, slices that are kept included, is waited for by a grace period.
//!
//! # What cannot be cured from here
//! - `IommuMemory::check_range` asks the same question as an access, so it too tells the guest of a
//!   fault.
//! - An access that faults anywhere yields nothing, not what is before the fault; the fault's IOVA
//!   is right.
//! - `IommuMemory` marks writes in a dirty bitmap of its own by IOVA, not in that of the memory's
//!   regions.
//! - Each access builds a map of the pages it touches: this costs allocations that [`DmaSpace`]
//!   does without, of a size that who chooses the length of the access chooses. Bound it, as for a
//!   guest's descriptors, which may say 4 GiB.
//! - An observer is not told of single accesses ([`Event::Dma`](crate::Event::Dma)).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use vm_memory::iommu::{Error, Iommu, Iotlb, IotlbIterator, IovaRange};
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemoryMmap, GuestMemoryRegion, IommuMemory, Permissions,
};

use crate::dma::{DmaSpace, PinnedSpace, Refusal, View};
use crate::fault::Access;
use crate::host::StableHostMemory;

/// The dirty bitmap of an `IommuMemory` over guest memory `M`.
type Bitmap<M> = <<M as vm_memory::GuestMemoryBackend>::R as GuestMemoryRegion>::B;

/// A [`DmaSpace`] for devices that are written against [`IommuMemory`].
///
/// ```
/// use std::sync::Arc;
///
/// use viommu::{DmaSpace, vm_memory_iommu::IommuSpace};
/// use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryMmap};
///
/// let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)])?;
/// let space = IommuSpace::new(DmaSpace::pass_through(Arc::new(ram)), ());
/// let memory = space.memory();
/// memory.write_obj(7u32, GuestAddress(0x10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IommuSpace<M: StableHostMemory = GuestMemoryMmap<()>> {
    space: DmaSpace<M>,
    bitmap: Bitmap<M>,
}

impl<M: StableHostMemory> IommuSpace<M> {
    /// Creates the address space of `space`, whose `IommuMemory` has clones of `bitmap`: one whose
    /// clones are the same bitmap collects what is written, by IOVA.
    pub const fn new(space: DmaSpace<M>, bitmap: Bitmap<M>) -> Self {
        Self { space, bitmap }
    }
}

impl<M: StableHostMemory> Clone for IommuSpace<M>
where
    Bitmap<M>: Clone,
{
    fn clone(&self) -> Self {
        Self::new(self.space.clone(), self.bitmap.clone())
    }
}

impl<M: StableHostMemory> fmt::Debug for IommuSpace<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IommuSpace")
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

/// Every `memory()` is a pin, held until the last clone of the answer is dropped.
impl<M: StableHostMemory + Clone + fmt::Debug + Send + Sync> GuestAddressSpace for IommuSpace<M>
where
    Bitmap<M>: Clone,
{
    type M = IommuMemory<M, SpaceIommu<M>>;
    type T = Arc<Self::M>;

    fn memory(&self) -> Self::T {
        // Pinned first: what is removed from then on is waited for.
        let pinned = self.space.memory();
        let backend = M::clone(&self.space.memory_now());
        let iommu = SpaceIommu { pinned };
        Arc::new(IommuMemory::new(backend, iommu, true, self.bitmap.clone()))
    }
}

/// A pinned [`DmaSpace`] as the [`Iommu`] of the memory that [`IommuSpace`] gives out.
#[derive(Debug)]
pub struct SpaceIommu<M = GuestMemoryMmap<()>> {
    pinned: Arc<PinnedSpace<M>>,
}

impl<M> SpaceIommu<M> {
    /// Returns the translations of `length` bytes from `iova` on, as an `Iotlb` that maps offsets
    /// from 0 on.
    fn pieces(&self, iova: u64, length: usize, access: Permissions) -> Result<Iotlb, Error> {
        let mut iotlb = Iotlb::new();
        let failed = |done: usize, reason: String| Error::CannotResolve {
            iova_range: IovaRange {
                // Wraps to 0 for a range that goes on beyond the last address.
                base: GuestAddress(iova.wrapping_add(done as u64)),
                length: length - done,
            },
            reason,
        };
        let mut done = 0;
        while done < length {
            let here = iova.checked_add(done as u64).ok_or_else(|| {
                failed(
                    done,
                    "the range goes on beyond the address space".to_owned(),
                )
            })?;
            let (address, room) = self.resolve(here, access).map_err(|refusal| {
                // A blocked space has no IOMMU behind it that could report.
                if let Some(port) = self.pinned.space.port() {
                    port.report(here, access, &refusal);
                }
                failed(done, refusal.reason(Access::of(access)))
            })?;
            let len = usize::try_from(room)
                .unwrap_or(usize::MAX)
                .min(length - done);
            // By offset, not by IOVA: `Iotlb` has exclusive ends, which overflow on the last page.
            iotlb.set_mapping(GuestAddress(done as u64), address, len, access)?;
            done += len;
        }
        Ok(iotlb)
    }

    /// Returns the guest physical address that `iova` leads to, and how far it goes on.
    fn resolve(&self, iova: u64, access: Permissions) -> Result<(GuestAddress, u64), Refusal> {
        let (port, map) = match self.pinned.view() {
            View::Port(port, map) => (port, map),
            View::Blocked => return Err(Refusal::blocked()),
            // Less than to the end of the address space, which has no length in 64 bits; more is a
            // matter of two turns.
            View::Open(_) => return Ok((GuestAddress(iova), (u64::MAX - iova).max(1))),
        };
        let place = port.resolve(map, iova, access)?;
        let address = map.address(&place);
        // In no region it is only where memory is just being removed; this address too leads into
        // guest memory or nowhere.
        Ok((GuestAddress(address.unwrap_or(iova)), place.room))
    }
}

/// The translations of one access.
#[derive(Debug)]
pub struct Translations(Iotlb);

impl Deref for Translations {
    type Target = Iotlb;

    fn deref(&self) -> &Iotlb {
        &self.0
    }
}

impl<M: Send + Sync + fmt::Debug> Iommu for SpaceIommu<M> {
    type IotlbGuard<'a>
        = Translations
    where
        Self: 'a;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Translations>, Error> {
        let mut iotlb = self.pieces(iova.0, length, access)?;
        if length == 0 {
            // The range map has no empty ranges: make one of one byte, and go past it.
            iotlb.set_mapping(GuestAddress(0), GuestAddress(0), 1, access)?;
        }
        // The answer's own addresses are never seen by the caller, only where they lead.
        let all = Translations(iotlb);
        let mut answer =
            Iotlb::lookup(all, GuestAddress(0), length.max(1), access).map_err(|_| {
                Error::IommuMisconfigured {
                    reason: "a translation was lost on the way".to_owned(),
                }
            })?;
        if length == 0 {
            answer.next();
        }
        Ok(answer)
    }
}
