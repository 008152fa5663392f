//! Translations as values: for who needs to know where an access would lead, and does not make it
//! through a [`DmaSpace`](crate::DmaSpace). Message-signalled interrupts, accesses from device to
//! device, and what other processes or hardware are to be told are such.

use vm_memory::{GuestAddress, GuestMemoryRegion, Permissions};

use crate::attachment::Attachment;
use crate::dma::{DmaSpace, Pinned, PinnedSpace, View, reach};
use crate::event::Event;
use crate::fault::{EndpointId, Fault, FaultReason, Requester};
use crate::host::StableHostMemory;
use crate::model::Miss;
use crate::unit::TranslationUnit;

/// Where an access leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Translation {
    /// The guest physical address.
    pub address: u64,
    /// How many bytes from there on are translated likewise, to the same target; never 0. The whole
    /// address space counts as one byte less.
    pub length: u64,
    /// All that is allowed there, not only what was asked for.
    pub permissions: Permissions,
    /// What is there.
    pub target: Target,
}

/// What is at a guest physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Guest memory, in one region.
    Ram,
    /// No guest memory: registers of a device, such as the doorbell of an interrupt controller, or
    /// nothing. The VMM's bus knows.
    Mmio,
}

impl<M: StableHostMemory> TranslationUnit<M> {
    /// Returns where an access of `requester` at `iova` leads, from the model itself: the cache is
    /// neither asked nor filled, nothing is counted, and nobody is told of a fault.
    ///
    /// The answer holds until the guest changes the mapping. Who acts on it later needs a
    /// [pin](DmaSpace#pinning) on the space that the access belongs to, from before this call until
    /// the access is over: see [`Pinned::translate`].
    ///
    /// # Errors
    /// The fault that the access would be. [`TranslationUnit::report`] has it reported.
    pub fn translate(
        &self,
        requester: impl Into<Requester>,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Translation, Fault> {
        let requester = requester.into();
        let refused = |domain, miss: Miss| miss.fault(requester, domain, iova, wanted);
        match self.attachment(requester.endpoint) {
            Attachment::Bypass => Ok(self.untranslated(iova)),
            Attachment::Blocked => Err(refused(None, Miss::new(FaultReason::Blocked))),
            Attachment::Domain(domain) => {
                let answer = self.model.translate(requester, domain, iova, wanted);
                let answer = answer.and_then(|mapping| {
                    let (before, last) = reach(&mapping, iova, wanted)?;
                    // Does not overflow: `reach` has checked it.
                    let here = self.untranslated(mapping.address + before);
                    Ok(Translation {
                        length: here.length.min((last - iova).saturating_add(1)),
                        permissions: mapping.permissions,
                        ..here
                    })
                });
                answer.map_err(|miss| refused(Some(domain), miss))
            }
        }
    }

    /// Returns what is at a guest physical address.
    fn untranslated(&self, address: u64) -> Translation {
        let map = self.host.snapshot();
        let room = map.find(address).map(|place| place.room);
        Translation::untranslated(address, room, || map.gap(address))
    }
}

impl<M> TranslationUnit<M> {
    /// Reports a fault that [`TranslationUnit::translate`] returned, to the guest and the observer.
    pub fn report(&self, fault: &Fault) {
        // The model first: whoever sees the event finds the fault recorded.
        self.model.fault(fault);
        self.emit(&Event::Fault(*fault));
    }
}

impl Translation {
    /// Returns what is at a guest physical address, of which `room` says how many bytes of memory
    /// are there, and `gap` in how many bytes memory begins.
    fn untranslated(address: u64, room: Option<u64>, gap: impl FnOnce() -> u64) -> Self {
        Self {
            address,
            length: room.unwrap_or_else(gap),
            permissions: Permissions::ReadWrite,
            target: match room {
                Some(_) => Target::Ram,
                None => Target::Mmio,
            },
        }
    }
}

impl<M: StableHostMemory> DmaSpace<M> {
    /// Does what [`Pinned::translate`] does, for who has a pin.
    fn look_up(
        view: View<'_, M>,
        iova: u64,
        wanted: Permissions,
        report: bool,
    ) -> Result<Translation, Fault> {
        let memory = match view {
            View::Port(port, _) => {
                let answer = port.unit.translate(port.requester(), iova, wanted);
                if let (true, Err(fault)) = (report, &answer) {
                    port.report_fault(fault);
                }
                return answer;
            }
            View::Blocked => {
                let miss = Miss::new(FaultReason::Blocked);
                return Err(miss.fault(EndpointId(0).into(), None, iova, wanted));
            }
            View::Open(memory) => memory,
        };
        let address = GuestAddress(iova);
        let room = memory.to_region_addr(address);
        let room = room.map(|(region, offset)| region.len() - offset.0);
        Ok(Translation::untranslated(iova, room, || {
            let starts = memory.iter().map(|region| region.start_addr().0);
            let next = starts.filter(|start| *start > iova).min();
            next.map_or((u64::MAX - iova).max(1), |next| next - iova)
        }))
    }
}

/// Implements translations as values for what has a pinned space.
macro_rules! translate {
    ($type:ty) => {
        impl<M: StableHostMemory> $type {
            /// Returns where an access at `iova` leads, as [`TranslationUnit::translate`] does; the
            /// answer holds as long as this pin. Where no IOMMU stands in between, that is the
            /// address itself; of a space that is blocked without one, the fault names endpoint 0.
            ///
            /// # Errors
            /// The fault that the access would be. Nobody is told of it.
            pub fn translate(&self, iova: u64, wanted: Permissions) -> Result<Translation, Fault> {
                DmaSpace::look_up(self.view(), iova, wanted, false)
            }

            /// Returns where an access at `iova` leads, for an access that is made; the answer
            /// holds as long as this pin.
            ///
            /// # Errors
            /// The fault that the access is: the guest is told of it.
            pub fn translate_or_report(
                &self,
                iova: u64,
                wanted: Permissions,
            ) -> Result<Translation, Fault> {
                DmaSpace::look_up(self.view(), iova, wanted, true)
            }
        }
    };
}

translate!(Pinned<'_, M>);
translate!(PinnedSpace<M>);

#[cfg(all(test, not(loom)))]
mod tests;
