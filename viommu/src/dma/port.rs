//! One handle's way into a translation unit: from an IOVA to a place in guest memory.

use std::sync::Arc;

use vm_memory::guest_memory::Error;
use vm_memory::iommu::{Error as IommuError, IovaRange};
use vm_memory::{GuestAddress, Permissions};

use super::connection::View;
use crate::attachment::Attachment;
use crate::counters::Count;
use crate::event::Event;
use crate::fault::{Access, DomainId, EndpointId, Fault, FaultReason, Requester, SourceId};
use crate::grace::{Claim, Handle, Held, Pin};
use crate::hit_check::Checked;
use crate::host::{Map, RegionExtent};
use crate::iotlb::Pages;
use crate::model::{Mapping, Miss};
use crate::unit::TranslationUnit;
use crate::users::User;

/// A handle on a unit.
#[derive(Debug)]
pub(crate) struct Port<M> {
    pub unit: Arc<TranslationUnit<M>>,
    pub endpoint: EndpointId,
    /// The bus master, if it has a name.
    pub source: Option<SourceId>,
    pub handle: Handle,
    user: User,
}

/// A pinned handle's way to what the cache has: all that is the same for each access, as long as
/// nothing of it changes.
pub(crate) struct Way<'a, M> {
    port: &'a Port<M>,
    pages: Pages<'a>,
    /// The cache's count of changes, from before the rest was looked at.
    seen: u64,
    hits: &'a Count,
}

impl<M> Clone for Way<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Way<'_, M> {}

impl<'a, M> Way<'a, M> {
    /// Returns what [`Port::cached`] does, or nothing once something has changed.
    #[inline(always)]
    pub fn cached(&self, iova: u64, len: usize, wanted: Permissions) -> Option<RegionExtent> {
        let same = self.port.unit.cache.changes() == self.seen;
        same.then(|| cached(self.pages, self.hits, iova, len, wanted))?
    }

    /// Returns what is seen of the unit under the pin that `held` shows.
    #[inline(always)]
    pub fn view(&self, held: Held<'a>) -> View<'a, M> {
        View::Port(self.port, self.port.unit.host.map(held))
    }
}

/// Returns where `iova` leads, if `pages` has a page that covers `len` bytes from there on, and
/// counts a hit.
#[inline(always)]
fn cached(
    pages: Pages<'_>,
    hits: &Count,
    iova: u64,
    len: usize,
    wanted: Permissions,
) -> Option<RegionExtent> {
    let place = pages.lookup(iova, wanted as u8)?;
    // The access goes on beyond the block: its pieces are put together out of line.
    if place.room < len as u64 {
        return None;
    }
    // Only now: what goes on to `resolve` is counted there.
    hits.add_one();
    Some(place)
}

/// Why an IOVA leads nowhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The IOMMU says no.
    Fault(Option<DomainId>, Miss),
    /// There is no memory at this guest physical address.
    Bus(u64),
}

const BLOCKED: Refusal = Refusal::Fault(None, Miss::new(FaultReason::Blocked));

impl<M> Port<M> {
    /// Creates a handle on `unit`, with pins of its own.
    pub fn new(unit: Arc<TranslationUnit<M>>, requester: Requester) -> Self {
        Self {
            handle: unit.handles.register(),
            user: unit.users.enter(requester.endpoint),
            unit,
            endpoint: requester.endpoint,
            source: requester.source,
        }
    }

    /// Returns another handle with the same pins.
    pub fn share(&self) -> Self {
        Self {
            unit: Arc::clone(&self.unit),
            endpoint: self.endpoint,
            source: self.source,
            handle: self.handle.clone(),
            user: self.user.clone(),
        }
    }

    /// Pins the handle.
    #[inline]
    pub fn pin(&self) -> Pin<'_> {
        self.handle.pin(&self.unit.handles)
    }

    /// Pins the handle until the claim is released.
    pub fn claim(&self) -> Claim {
        self.handle.claim(&self.unit.handles)
    }

    /// Returns the requester that this handle stands for.
    pub const fn requester(&self) -> Requester {
        Requester {
            endpoint: self.endpoint,
            source: self.source,
        }
    }

    /// Returns the way to what the cache has for this handle, which is pinned, for accesses under
    /// that pin.
    #[inline(always)]
    pub fn way(&self) -> Way<'_, M> {
        Way {
            port: self,
            // First: a change that comes after it is found out.
            seen: self.unit.cache.changes(),
            pages: self.pages(),
            hits: &self.handle.counters.hits,
        }
    }

    /// Returns how to find what is cached for this handle, as it is now.
    #[inline(always)]
    fn pages(&self) -> Pages<'_> {
        match self.unit.attachment(self.endpoint) {
            Attachment::Domain(domain) => self.unit.cache.pages(domain),
            // What is not translated is not in the cache: `resolve` finds its region.
            Attachment::Bypass | Attachment::Blocked => Pages::NONE,
        }
    }

    /// Returns where `iova` leads, if the cache has a page that covers `len` bytes from there on.
    /// It may miss what [`Port::resolve`] finds.
    #[inline(always)]
    pub fn cached(&self, iova: u64, len: usize, wanted: Permissions) -> Option<RegionExtent> {
        cached(self.pages(), &self.handle.counters.hits, iova, len, wanted)
    }

    /// Returns where `iova` leads in the memory of `map`. The guest is told nothing of a refusal.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn resolve(
        &self,
        map: &Map<M>,
        iova: u64,
        wanted: Permissions,
    ) -> Result<RegionExtent, Refusal> {
        match self.unit.attachment(self.endpoint) {
            Attachment::Domain(domain) => {
                if let Some(place) = self.unit.cache.lookup(domain, iova, wanted as u8) {
                    self.count_hit();
                    return Ok(place);
                }
                self.ask(map, domain, iova, wanted)
            }
            // The IOVA reaches the bus as it is; if nothing answers, the IOMMU has no part in it.
            Attachment::Bypass => map.find(iova).ok_or(Refusal::Bus(iova)),
            Attachment::Blocked => Err(BLOCKED),
        }
    }

    #[inline(always)]
    fn count_hit(&self) {
        // Whether or not anyone wants to know: asking that would cost as much.
        self.handle.counters.hits.add_one();
    }

    /// Asks the model, and lets the cache learn the answer.
    #[cold]
    #[inline(never)]
    fn ask(
        &self,
        map: &Map<M>,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<RegionExtent, Refusal> {
        let Self { unit, handle, .. } = self;
        let requester = self.requester();
        let checked = unit.checked.as_ref();
        let found = checked
            .and_then(|checked| Some((checked, checked.lookup(map, domain, iova, wanted as u8)?)));
        if let Some((checked, place)) = found {
            self.count_hit();
            self.compare((checked, map), None, domain, iova, wanted, &place);
            return Ok(place);
        }
        let answers = checked.and_then(|checked| Some((checked, checked.before_answer()?)));
        if unit.count {
            handle.counters.misses.add_one();
        }
        // Before the model is asked: an invalidation that comes in between makes the ticket bad,
        // and nothing is cached.
        // Memory may have been removed since `map` was looked at: then a ticket from after that
        // would let the cache learn a place that is gone. One from before is bad by then.
        let cache = unit.caching();
        let kept = checked.and_then(Checked::kept);
        let kept = kept.map(|kept| (kept, kept.ticket()));
        let ticket = cache.ticket(domain);
        let ticket = ticket.filter(|_| unit.host.is_current(map));
        let refused = |miss| Refusal::Fault(Some(domain), miss);
        let mapping = unit
            .model
            .translate(requester, domain, iova, wanted)
            .map_err(refused)?;
        let (before, last) = reach(&mapping, iova, wanted).map_err(refused)?;
        // Does not overflow: `reach` has checked it.
        let address = mapping.address + before;
        let mut place = map.find(address).ok_or(Refusal::Bus(address))?;
        // At most to the end of the region: the next one may lie anywhere in the host.
        let after = (last - iova).min(place.room - 1);
        place.room = after + 1;
        if let Some((checked, before)) = answers {
            self.compare((checked, map), Some(before), domain, iova, wanted, &place);
        }
        let mut learnt = kept.is_some_and(|(kept, ticket)| kept.keep(ticket, domain, mapping));
        if let Some(ticket) = ticket {
            // The cached block may not begin before the region either.
            let reach = (before.min(place.offset), after);
            let permissions = mapping.permissions as u8;
            let counters = unit.count.then_some(&handle.counters);
            learnt |= cache.fill(ticket, iova, &place, permissions, reach, counters);
        }
        if learnt {
            let Requester { endpoint, source } = requester;
            unit.emit(&Event::Filled {
                endpoint,
                source,
                domain,
                mapping,
            });
        }
        Ok(place)
    }

    /// Tells an observer that wants single accesses of one.
    #[inline(always)]
    pub fn announce(&self, iova: u64, length: usize, access: Permissions) {
        if self.unit.wants_dma {
            self.announce_to_observer(iova, length, access);
        }
    }

    #[cold]
    fn announce_to_observer(&self, iova: u64, length: usize, access: Permissions) {
        if length > 0 {
            self.unit.emit(&Event::Dma {
                endpoint: self.endpoint,
                source: self.source,
                iova,
                length,
                access,
            });
        }
    }

    /// Counts a fault, and reports it to the guest and the observer.
    #[cold]
    pub fn report_fault(&self, fault: &Fault) {
        if self.unit.count {
            self.handle.counters.faults.add_one();
        }
        self.unit.report(fault);
    }

    /// Reports a refusal to the guest and the observer.
    #[cold]
    pub fn report(&self, iova: u64, wanted: Permissions, refusal: &Refusal) {
        let Self { unit, handle, .. } = self;
        let requester = self.requester();
        match *refusal {
            Refusal::Fault(domain, miss) => {
                self.report_fault(&miss.fault(requester, domain, iova, wanted));
            }
            // It happens behind the IOMMU: no model records it, and the guest sees its device fail.
            Refusal::Bus(address) => {
                if unit.count {
                    handle.counters.bus_errors.add_one();
                }
                let Requester { endpoint, source } = requester;
                unit.emit(&Event::BusError {
                    endpoint,
                    source,
                    iova,
                    address,
                    access: Access::of(wanted),
                });
            }
        }
    }
}

/// How the reason begins where an access led to no memory.
pub(super) const NO_MEMORY: &str = "no memory at guest physical address";

impl Refusal {
    /// Returns the refusal of every access to a blocked space.
    pub const fn blocked() -> Self {
        BLOCKED
    }

    /// Returns the reason in words, for a bus master's `access` by that `endpoint`.
    pub fn reason(&self, access: Access) -> String {
        match self {
            Self::Fault(_, Miss { reason, .. }) => format!("{reason} on a {access}"),
            Self::Bus(address) => {
                format!("{NO_MEMORY} {address:#x} for a {access}")
            }
        }
    }

    /// Returns the error of an access of which `left` bytes from `iova` on were still to be done.
    #[cold]
    pub fn into_error(self, iova: u64, left: usize, wanted: Permissions) -> Error {
        Error::IommuError(IommuError::CannotResolve {
            iova_range: IovaRange {
                base: GuestAddress(iova),
                length: left,
            },
            reason: self.reason(Access::of(wanted)),
        })
    }
}

/// Returns how many bytes of a model's answer are before `iova`, and its last IOVA, cut where its
/// physical addresses would wrap. A model that breaks its promises has no answer.
#[inline]
pub(crate) fn reach(mapping: &Mapping, iova: u64, wanted: Permissions) -> Result<(u64, u64), Miss> {
    let Mapping {
        first,
        last,
        address,
        permissions,
    } = *mapping;
    // Models are not trusted. That `iova` lies in the mapping makes the later subtractions safe.
    let reason = if iova < first || last < iova {
        FaultReason::Translation
    } else if permissions as u8 & wanted as u8 != wanted as u8 {
        FaultReason::Permission
    } else if iova - first > u64::MAX - address {
        FaultReason::AddressSize
    } else {
        return Ok((iova - first, first + (last - first).min(u64::MAX - address)));
    };
    Err(Miss::new(reason))
}
