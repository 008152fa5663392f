//! The memory that one bus master sees.

mod bytes;
mod compare;
mod connection;
mod look;
mod port;
mod refused;
mod slices;

use std::fmt;
use std::sync::Arc;

use vm_memory::guest_memory::{GuestMemorySliceIterator, Result};
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryMmap, GuestMemoryRegion, Permissions,
    bitmap::BS,
};

use crate::fault::{EndpointId, SourceId};
use crate::grace::{Claim, Pin};
use crate::host::StableHostMemory;
use crate::unit::TranslationUnit;
pub(crate) use connection::View;
use connection::{Connection, Seen};
use port::Way;
pub(crate) use port::{Port, Refusal, reach};
pub use refused::Refused;
use slices::Slices;

/// The memory that one bus master sees: the only connection from a device to guest memory.
///
/// Addresses are the device's own (IOVA); where no IOMMU stands in between they are guest physical
/// addresses. `DmaSpace` implements [`Bytes`](vm_memory::Bytes) for single accesses, and
/// [`GuestAddressSpace`], whose `memory()` is a pinned [`GuestMemory`]: `virtio-queue` and other
/// rust-vmm device code run on that unchanged. It gives no other way to memory:
/// [`GuestMemory::physical_memory`] answers `None` although a space that passes through could name
/// its memory, so that no device can come to depend on it.
///
/// # Pinning
/// What a bus master does under a *pin*, an invalidation waits for: a [grace
/// period](crate::GracePeriod) that begins meanwhile ends only after it. Conversely, once a grace
/// period is over, nothing lands through what was invalidated before it began. A pin is held
/// - by each operation of [`Bytes`](vm_memory::Bytes) on a `DmaSpace` (`read_slice`, `write_obj`,
///   `load`, `read_volatile_from`, ...) while it does its work;
/// - by a [`Pinned`] (or [`PinnedSpace`]) guard, from [`DmaSpace::pin`] or
///   [`GuestAddressSpace::memory`] until it is dropped. Slices of memory are to be had from a guard
///   only, and borrow from it, so whoever keeps one, such as `Reader` and `Writer` of virtio-queue
///   or a vectored read, keeps the pin.
///
/// So no access goes without a pin, and that is checked when device code is compiled. A `DmaSpace`
/// is no [`GuestMemory`], because vm-memory has every reference to one, plain or counted, and
/// `GuestMemoryAtomic` pass for a [`GuestAddressSpace`] whose `memory()` pins nothing:
///
/// ```compile_fail,E0277
/// # use vm_memory::{GuestAddress, GuestMemory, Permissions};
/// fn slices(dma: &viommu::DmaSpace) {
///     let _ = GuestMemory::get_slices(dma, GuestAddress(0), 4, Permissions::Read);
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use std::sync::Arc;
/// fn device<S: vm_memory::GuestAddressSpace>(memory: S) {}
/// fn plug(dma: Arc<viommu::DmaSpace>) {
///     device(dma);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn device<S: vm_memory::GuestAddressSpace>(memory: S) {}
/// fn plug(dma: &viommu::DmaSpace) {
///     device(dma);
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use std::rc::Rc;
/// fn device<S: vm_memory::GuestAddressSpace>(memory: S) {}
/// fn plug(dma: Rc<viommu::DmaSpace>) {
///     device(dma);
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn plug(dma: viommu::DmaSpace) {
///     let _ = vm_memory::GuestMemoryAtomic::new(dma);
/// }
/// ```
///
/// What is meant is the space itself:
///
/// ```
/// fn device<S: vm_memory::GuestAddressSpace>(memory: S) {}
/// fn plug(dma: &viommu::DmaSpace) {
///     device(dma.clone());
/// }
/// ```
///
/// Pin for bounded work only, and never wait under a pin for a grace period or for something that
/// may wait for one. A guard that is kept, such as a [`GuestAddressSpace::memory`] stored in a
/// device, or leaked, holds up every grace period that begins meanwhile, for as long as it is
/// there: guests take that for an IOMMU that hangs. Pinning costs one atomic operation on a cache
/// line that no other bus master writes; accesses through a guard cost no pin of their own.
///
/// Clones are further handles on the same space: each has its own place for pins, so that several
/// threads do not share a cache line.
///
/// # What an access meets
/// An access yields one slice for each run of bytes that is contiguous in the host, however many
/// pages it crosses. If a later page is out of reach, what is before it is yielded, then the error,
/// then nothing. An access of length 0 is fine everywhere and yields nothing; one that goes on
/// beyond the last byte of the address space ends there with an error. A fault names the first
/// inaccessible IOVA, and is told to the guest when the iterator comes to it;
/// [`GuestMemory::check_range`] tells the guest nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use viommu::DmaSpace;
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
///
/// let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x4000_0000), 0x1000)])?;
/// let dma = DmaSpace::pass_through(Arc::new(ram));
/// dma.write_obj(7u32, GuestAddress(0x4000_0010))?;
/// assert_eq!(dma.read_obj::<u32>(GuestAddress(0x4000_0010))?, 7);
/// assert!(dma.read_obj::<u32>(GuestAddress(0)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DmaSpace<M = GuestMemoryMmap<()>> {
    connection: Connection<M>,
}

impl<M> Clone for DmaSpace<M> {
    fn clone(&self) -> Self {
        // Not `Port::share`: a clone is meant for another thread, and gets pins of its own.
        self.with_connection(|port| Port::new(Arc::clone(&port.unit), port.requester()))
    }
}

impl<M> fmt::Debug for DmaSpace<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("DmaSpace");
        match &self.connection {
            Connection::Open(_) => debug.field("passes_through", &true),
            Connection::Blocked(_) => debug.field("blocked", &true),
            Connection::Port(port) => debug
                .field("endpoint", &port.endpoint)
                .field("source", &port.source),
        };
        debug.finish_non_exhaustive()
    }
}

impl<M> DmaSpace<M> {
    /// Creates the space of a device without an IOMMU: every IOVA is the guest physical address of
    /// the same number, and all RAM may be read and written. It sees this memory for ever, and
    /// keeps it; where memory is added and removed, a device without an IOMMU takes an endpoint of
    /// a unit that [bypasses](crate::Attachment::Bypass) it.
    pub fn pass_through(memory: Arc<M>) -> Self {
        Self {
            connection: Connection::Open(memory),
        }
    }

    /// Creates a space in which every access is refused.
    pub fn blocked(memory: Arc<M>) -> Self {
        Self {
            connection: Connection::Blocked(memory),
        }
    }

    fn translated(unit: Arc<TranslationUnit<M>>, endpoint: EndpointId) -> Self {
        Self {
            connection: Connection::Port(Port::new(unit, endpoint.into())),
        }
    }

    /// Returns the same space, as the bus master `source` sees it: events, faults and injectors
    /// name it from now on, also for clones made of the result. Without an IOMMU there is nobody to
    /// be told.
    #[must_use]
    pub fn with_source(mut self, source: SourceId) -> Self {
        if let Connection::Port(port) = &mut self.connection {
            port.source = Some(source);
        }
        self
    }

    /// Pins the space for one bounded piece of work, such as one descriptor chain. See
    /// [pinning](Self#pinning).
    #[inline]
    #[must_use = "the pin ends where it is dropped"]
    pub fn pin(&self) -> Pinned<'_, M> {
        let under = match &self.connection {
            Connection::Port(port) => {
                let pin = port.pin();
                // After the pin, which it is true under.
                Some((port.way(), pin))
            }
            // Nothing is ever invalidated there.
            Connection::Open(_) | Connection::Blocked(_) => None,
        };
        Pinned { space: self, under }
    }

    /// Returns the way through a unit, if there is one.
    pub(crate) fn port(&self) -> Option<&Port<M>> {
        match &self.connection {
            Connection::Port(port) => Some(port),
            Connection::Open(_) | Connection::Blocked(_) => None,
        }
    }

    /// Returns the memory that it leads to, or would lead to, as it is now.
    pub(crate) fn memory_now(&self) -> Arc<M> {
        match &self.connection {
            Connection::Open(memory) | Connection::Blocked(memory) => Arc::clone(memory),
            Connection::Port(port) => port.unit.host.memory().get(),
        }
    }

    fn with_connection(&self, another: impl FnOnce(&Port<M>) -> Port<M>) -> Self {
        Self {
            connection: match &self.connection {
                Connection::Open(memory) => Connection::Open(Arc::clone(memory)),
                Connection::Blocked(memory) => Connection::Blocked(Arc::clone(memory)),
                Connection::Port(port) => Connection::Port(another(port)),
            },
        }
    }
}

impl<M> TranslationUnit<M> {
    /// Returns what a bus master on `endpoint` sees.
    pub fn space(self: &Arc<Self>, endpoint: EndpointId) -> DmaSpace<M> {
        DmaSpace::translated(Arc::clone(self), endpoint)
    }
}

/// Implements access to memory for what is pinned; `announce` says whether observers are to be told
/// of single accesses.
macro_rules! guest_memory {
    ($type:ty, announce: $announce:literal) => {
        impl<M: StableHostMemory> GuestMemory for $type {
            type PhysicalMemory = M;
            type Bitmap = <M::R as GuestMemoryRegion>::B;

            fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
                slices::check(self.view(), addr.0, count, access)
            }

            #[inline]
            fn get_slices<'a>(
                &'a self,
                addr: GuestAddress,
                count: usize,
                access: Permissions,
            ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, Self::Bitmap>>> {
                let seen = self.seen();
                if $announce {
                    seen.announce(addr.0, count, access);
                }
                Ok(Slices::new(seen, addr.0, count, access))
            }
        }
    };
}

/// A space that is pinned for one operation, which was announced.
struct PinnedOnce<'s, M> {
    space: &'s DmaSpace<M>,
    pin: Option<Pin<'s>>,
}

impl<M> PinnedOnce<'_, M> {
    #[inline(always)]
    fn view(&self) -> View<'_, M> {
        View::new(&self.space.connection, self.pin.as_ref().map(Pin::held))
    }

    /// Returns what the access begins with. To keep a way for one access would cost more than it
    /// saves.
    #[inline(always)]
    fn seen(&self) -> Seen<'_, M> {
        Seen {
            view: self.view(),
            way: None,
        }
    }
}

guest_memory!(PinnedOnce<'_, M>, announce: false);

/// A [`DmaSpace`] pinned for one bounded piece of work: see [pinning](DmaSpace#pinning).
///
/// A clone is a pin of its own.
#[must_use = "the pin ends where it is dropped"]
pub struct Pinned<'s, M = GuestMemoryMmap<()>> {
    pub(crate) space: &'s DmaSpace<M>,
    /// What accesses through a unit need, looked up once for all of them, and the pin.
    under: Option<(Way<'s, M>, Pin<'s>)>,
}

impl<M> Pinned<'_, M> {
    /// Returns what an access under this pin begins with.
    #[inline(always)]
    fn seen(&self) -> Seen<'_, M> {
        match &self.under {
            Some((way, pin)) => Seen {
                view: way.view(pin.held()),
                way: Some(way),
            },
            None => Seen {
                view: View::new(&self.space.connection, None),
                way: None,
            },
        }
    }

    /// Returns what is seen under this pin.
    #[inline(always)]
    pub(crate) fn view(&self) -> View<'_, M> {
        self.seen().view
    }
}

impl<M> fmt::Debug for Pinned<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned")
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

impl<M> Clone for Pinned<'_, M> {
    fn clone(&self) -> Self {
        self.space.pin()
    }
}

guest_memory!(Pinned<'_, M>, announce: true);

/// A pinned [`DmaSpace`] that borrows from nothing: what [`GuestAddressSpace::memory`] gives out.
#[must_use = "the pin ends where it is dropped"]
pub struct PinnedSpace<M = GuestMemoryMmap<()>> {
    /// The same handle, which has the pin.
    pub(crate) space: DmaSpace<M>,
    claim: Option<Claim>,
}

impl<M> PinnedSpace<M> {
    /// Returns what an access under this pin begins with. A way would borrow from the port, which
    /// is in the same value.
    #[inline(always)]
    fn seen(&self) -> Seen<'_, M> {
        Seen {
            view: self.view(),
            way: None,
        }
    }

    /// Returns what is seen under this pin.
    #[inline(always)]
    pub(crate) fn view(&self) -> View<'_, M> {
        let held = self.claim.as_ref().map(Claim::held);
        View::new(&self.space.connection, held)
    }
}

impl<M> fmt::Debug for PinnedSpace<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedSpace")
            .field("space", &self.space)
            .finish_non_exhaustive()
    }
}

impl<M> Drop for PinnedSpace<M> {
    fn drop(&mut self) {
        // By hand: a claim names a slot by number and does not release it when it is dropped.
        if let (Some(port), Some(claim)) = (self.space.port(), &self.claim) {
            port.handle.release(claim);
        }
    }
}

guest_memory!(PinnedSpace<M>, announce: true);

/// For device code that is written against [`GuestAddressSpace`]: every `memory()` is a pin, held
/// until the last clone of the answer is dropped.
impl<M: StableHostMemory> GuestAddressSpace for DmaSpace<M> {
    type M = PinnedSpace<M>;
    type T = Arc<PinnedSpace<M>>;

    fn memory(&self) -> Self::T {
        Arc::new(PinnedSpace {
            // The clone shares the pins, so that dropping it releases this very claim.
            claim: self.port().map(|port| port.claim()),
            space: self.with_connection(Port::share),
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
