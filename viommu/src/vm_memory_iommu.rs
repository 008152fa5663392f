//! For VMMs whose devices run on [`vm_memory::IommuMemory`]: a [`DmaSpace`] as its [`Iommu`].
//!
//! [`DmaSpace`] is a [`GuestMemory`](vm_memory::GuestMemory) of its own, faster and with a finer
//! idea of faults; take this only where the type `IommuMemory` cannot be had out of the way.
//!
//! # What is better than with an `Iotlb` of one's own
//! [`vm_memory::iommu::Iotlb`] cannot name the last byte of the address space, overflows for ranges
//! that wrap, and an empty range is a question it was not made for. None of that is visible here: a
//! length of 0 is fine anywhere, the last page is a page like others, a range that wraps is an
//! error. The answer holds a [pin](DmaSpace#pinning), so an access through the iterator of
//! `IommuMemory::get_slices` is waited for by a grace period.
//!
//! # What cannot be cured from here
//! - `IommuMemory::check_range` asks the same question as an access, so it too tells the guest of a
//!   fault.
//! - An access that faults anywhere yields nothing, not what is before the fault; the fault's IOVA
//!   is right.
//! - Slices kept after their iterator is dropped are not waited for.
//! - `IommuMemory` marks writes in a dirty bitmap of its own by IOVA, not in that of the memory's
//!   regions.
//! - Each access builds a map of the pages it touches: this costs allocations that [`DmaSpace`]
//!   does without, of a size that who chooses the length of the access chooses. Bound it, as for a
//!   guest's descriptors, which may say 4 GiB.
//! - An observer is not told of single accesses ([`Event::Dma`](crate::Event::Dma)).

use std::fmt;
use std::ops::Deref;

use vm_memory::iommu::{Error, Iommu, Iotlb, IotlbIterator, IovaRange};
use vm_memory::{GuestAddress, GuestMemoryMmap, Permissions};

use crate::dma::{DmaSpace, Refusal};
use crate::fault::Access;
use crate::grace::Pin;

/// A [`DmaSpace`] as an [`Iommu`] of vm-memory.
///
/// ```
/// use std::sync::Arc;
///
/// use viommu::{DmaSpace, vm_memory_iommu::SpaceIommu};
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, IommuMemory};
///
/// let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)])?;
/// let space = DmaSpace::pass_through(Arc::new(ram.clone()));
/// let memory = IommuMemory::new(ram, SpaceIommu::new(space), true, ());
/// memory.write_obj(7u32, GuestAddress(0x10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SpaceIommu<M = GuestMemoryMmap<()>> {
    space: DmaSpace<M>,
}

impl<M> SpaceIommu<M> {
    /// Creates an [`Iommu`] that translates as `space` does. The memory of the `IommuMemory` must
    /// be the same guest's.
    pub fn new(space: DmaSpace<M>) -> Self {
        Self { space }
    }

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
                if let Some(port) = self.space.port() {
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
        let Some(port) = self.space.port() else {
            if self.space.is_blocked() {
                return Err(Refusal::blocked());
            }
            // Less than to the end of the address space, which has no length in 64 bits; more is a
            // matter of two turns.
            return Ok((GuestAddress(iova), (u64::MAX - iova).max(1)));
        };
        let place = port.resolve(iova, access)?;
        let address = port.unit.host.address(&place);
        // Only a made-up saved cache has places in no region; this address too leads into guest
        // memory or nowhere.
        Ok((GuestAddress(address.unwrap_or(iova)), place.room))
    }
}

/// The translations of one access, and the pin under which they hold.
pub struct PinnedIotlb<'s> {
    iotlb: Iotlb,
    _pin: Option<Pin<'s>>,
}

impl fmt::Debug for PinnedIotlb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedIotlb")
            .field("iotlb", &self.iotlb)
            .finish_non_exhaustive()
    }
}

impl Deref for PinnedIotlb<'_> {
    type Target = Iotlb;

    fn deref(&self) -> &Iotlb {
        &self.iotlb
    }
}

impl<M: Send + Sync + fmt::Debug> Iommu for SpaceIommu<M> {
    type IotlbGuard<'a>
        = PinnedIotlb<'a>
    where
        Self: 'a;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<PinnedIotlb<'_>>, Error> {
        // Before the first lookup; the answer keeps it.
        let _pin = self.space.port().map(|port| port.state.pins.pin());
        let mut iotlb = self.pieces(iova.0, length, access)?;
        if length == 0 {
            // The range map has no empty ranges: make one of one byte, and go past it.
            iotlb.set_mapping(GuestAddress(0), GuestAddress(0), 1, access)?;
        }
        let guard = PinnedIotlb { iotlb, _pin };
        // The answer's own addresses are never seen by the caller, only where they lead.
        let mut answer =
            Iotlb::lookup(guard, GuestAddress(0), length.max(1), access).map_err(|_| {
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
