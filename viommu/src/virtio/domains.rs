//! Endpoints, domains and mappings, and what requests do to them.
//!
//! Everything here is checked before anything is changed: a request that is refused leaves no
//! trace. Nothing here knows of queues, memory or the translation cache; what has to be told to
//! those comes back as [`Effects`].

#![expect(
    clippy::cast_possible_truncation,
    reason = "endpoints have different 32-bit numbers, and there are few more slots than endpoints"
)]

use std::collections::BTreeMap;

use super::config::VirtioIommuConfig;
use super::mappings::{Entry, Mappings};
use super::spec::{Status, attach_flag, feature, map_flag};
use crate::attachment::Attachment;
use crate::fault::{DomainId, EndpointId, FaultReason};
use crate::model::{Mapping, Miss};
use vm_memory::Permissions;

/// Slots beyond one for each endpoint. No more domains than endpoints exist at any time, but a slot
/// that was given up is free only when nobody can still be using it: so many can be waiting for
/// that before a batch has to end.
pub(super) const SPARE_SLOTS: usize = 64;

/// A domain.
#[derive(Debug)]
pub(super) struct Domain {
    /// Its number, as the driver knows it.
    pub id: u32,
    /// Its mappings; none if it is a bypass domain.
    pub mappings: Option<Mappings>,
    /// How many endpoints are attached to it.
    endpoints: usize,
    /// Reserved regions of its endpoints, each with the number of endpoints that have it.
    reserved: BTreeMap<(u64, u64), usize>,
}

/// An endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its number, as the driver knows it.
    pub id: u32,
    /// The slot of the domain that it is attached to.
    pub slot: Option<u32>,
    /// Its reserved regions.
    reserved: Vec<(u64, u64)>,
}

/// What a request changed that the translation path must know of.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// What an endpoint meets from now on.
    pub attach: Option<(EndpointId, Attachment)>,
    /// Translations that no longer hold: slot, first and last IOVA.
    pub invalid: Option<(u32, u64, u64)>,
    /// A slot that was given up.
    pub freed: Option<u32>,
    /// Mappings that are gone, to be freed without a lock.
    pub garbage: Option<Mappings>,
}

/// Why a request was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Answer with this.
    Status(Status),
    /// No slot is free until the grace period is over: try again then.
    Later,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// The limits that requests are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Addresses are multiples of this plus one.
    granule_mask: u64,
    input_range: (u64, u64),
    domain_range: (u32, u32),
    max_mappings: usize,
}

/// All that the driver has set up.
#[derive(Debug)]
pub(super) struct Domains {
    limits: Limits,
    /// Features that are offered.
    offered: u64,
    /// Features that are negotiated.
    pub features: u64,
    /// The field `bypass`.
    pub bypass: bool,
    endpoints: Vec<Endpoint>,
    endpoints_by_id: BTreeMap<u32, usize>,
    slots: Vec<Option<Domain>>,
    slots_by_id: BTreeMap<u32, u32>,
    /// Slots that a new domain may have.
    free: Vec<u32>,
    /// Mappings of all domains.
    mappings: usize,
}

impl Domains {
    /// Creates the state out of reset.
    pub fn new(config: &VirtioIommuConfig) -> Self {
        let endpoint = |endpoint: &super::config::EndpointConfig| Endpoint {
            id: endpoint.id,
            slot: None,
            reserved: endpoint
                .reserved
                .iter()
                .map(|r| (r.first, r.last))
                .collect(),
        };
        let slots = Self::slots(config);
        let ids = config.endpoints.iter().map(|endpoint| endpoint.id);
        Self {
            limits: Limits {
                // The lowest bit is the granule: one less has all bits below it set.
                granule_mask: (config.page_size_mask & config.page_size_mask.wrapping_neg())
                    .wrapping_sub(1),
                input_range: config.input_range.unwrap_or((0, u64::MAX)),
                domain_range: config.domain_range.unwrap_or((0, u32::MAX)),
                max_mappings: config.max_mappings,
            },
            offered: config.features(),
            features: 0,
            bypass: config.bypass_config.unwrap_or(false),
            endpoints: config.endpoints.iter().map(endpoint).collect(),
            endpoints_by_id: ids.zip(0..).collect(),
            slots: (0..slots).map(|_| None).collect(),
            slots_by_id: BTreeMap::new(),
            // Popped from the end: the lowest slot first.
            free: (0..slots as u32).rev().collect(),
            mappings: 0,
        }
    }

    /// Returns the number of slots of a device of this configuration.
    pub fn slots(config: &VirtioIommuConfig) -> usize {
        config.endpoints.len() + SPARE_SLOTS
    }

    /// Returns the attachment of endpoints that are attached to nothing.
    pub fn unattached(&self) -> Attachment {
        // 5.13.6: BYPASS_CONFIG counts if offered, BYPASS if negotiated.
        let bypass = if self.offered & feature::BYPASS_CONFIG != 0 {
            self.bypass
        } else {
            self.features & feature::BYPASS != 0
        };
        if bypass {
            Attachment::Bypass
        } else {
            Attachment::Blocked
        }
    }

    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Returns the position of the endpoint of this number.
    pub fn endpoint(&self, id: u32) -> Option<usize> {
        self.endpoints_by_id.get(&id).copied()
    }

    /// Returns the domains by ascending number.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        let slots = self.slots_by_id.values();
        slots.filter_map(|slot| self.slots.get(*slot as usize)?.as_ref())
    }

    /// Returns the domains by ascending number, each with its slot.
    pub fn slots_in_use(&self) -> impl Iterator<Item = (u32, &Domain)> {
        let slots = self.slots_by_id.values().copied();
        slots.filter_map(|slot| Some((slot, self.slots.get(slot as usize)?.as_ref()?)))
    }

    /// Returns the slots that a new domain may have, the next one last.
    pub fn free(&self) -> impl Iterator<Item = u32> + '_ {
        self.free.iter().copied()
    }

    /// Moves each domain, by its number, to a slot, and lets `free` be the slots that are free.
    /// Returns `None`, and leaves nothing useful, unless that is each slot once.
    pub fn place(&mut self, wanted: &BTreeMap<u32, u32>, free: &[u32]) -> Option<()> {
        let count = self.slots.len();
        let mut all: Vec<u32> = wanted.values().chain(free).copied().collect();
        all.sort_unstable();
        if !all.into_iter().eq(0..count as u32) || !wanted.keys().eq(self.slots_by_id.keys()) {
            return None;
        }
        let mut moved: Vec<Option<Domain>> = (0..count).map(|_| None).collect();
        let mut new_slots = vec![0; count];
        for (id, slot) in &mut self.slots_by_id {
            let new = wanted[id];
            moved[new as usize] = self.slots[*slot as usize].take();
            new_slots[*slot as usize] = new;
            *slot = new;
        }
        for slot in self.endpoints.iter_mut().filter_map(|e| e.slot.as_mut()) {
            *slot = new_slots[*slot as usize];
        }
        self.slots = moved;
        self.free = free.to_vec();
        Some(())
    }

    /// Returns the domain that an endpoint is attached to.
    pub fn domain_of(&self, endpoint: &Endpoint) -> Option<&Domain> {
        self.slots.get(endpoint.slot? as usize)?.as_ref()
    }

    /// Returns the number of the domain in a slot.
    pub fn number(&self, DomainId(slot): DomainId) -> Option<u32> {
        let domain = self.slots.get(slot as usize)?.as_ref()?;
        Some(domain.id)
    }

    /// Returns the number of mappings of all domains.
    pub fn mapping_count(&self) -> usize {
        self.mappings
    }

    /// Makes slots that were given up free again: nobody uses them any more.
    pub fn reuse(&mut self, slots: &mut Vec<u32>) {
        self.free.append(slots);
    }

    /// Answers the translation path: see [`Model::translate`](crate::Model::translate).
    pub fn translate(
        &self,
        EndpointId(endpoint): EndpointId,
        DomainId(slot): DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        // A detached endpoint may still ask for its domain, until its next access.
        let attached = self.endpoints.get(endpoint as usize).and_then(|e| e.slot);
        let domain = self.slots.get(slot as usize).and_then(Option::as_ref);
        let mappings = domain
            .filter(|_| attached == Some(slot))
            .and_then(|domain| domain.mappings.as_ref())
            .ok_or(Miss::new(FaultReason::Blocked))?;
        let mapping = mappings
            .find(iova)
            .ok_or(Miss::new(FaultReason::Translation))?;
        if mapping.permissions.allow(wanted) {
            Ok(mapping)
        } else {
            Err(Miss::new(FaultReason::Permission))
        }
    }

    fn attachment(&self, slot: Option<u32>) -> Attachment {
        let domain = slot.and_then(|slot| Some((slot, self.slots.get(slot as usize)?.as_ref()?)));
        match domain {
            None => self.unattached(),
            Some((_, Domain { mappings: None, .. })) => Attachment::Bypass,
            Some((slot, _)) => Attachment::Domain(DomainId(slot)),
        }
    }

    /// Returns the attachment of an endpoint, by its position.
    pub fn attachment_of(&self, endpoint: usize) -> Attachment {
        self.attachment(self.endpoints.get(endpoint).and_then(|e| e.slot))
    }

    /// Returns the slot and the domain that MAP or UNMAP names, which must have mappings.
    fn translated(&mut self, id: u32) -> Result<(u32, &mut Domain), Status> {
        let slot = *self.slots_by_id.get(&id).ok_or(Status::NoEnt)?;
        let domain = self.slots[slot as usize].as_mut().ok_or(Status::NoEnt)?;
        if domain.mappings.is_none() {
            return Err(Status::Inval);
        }
        Ok((slot, domain))
    }
}

/// Requests.
impl Domains {
    /// Executes ATTACH (5.13.6.3).
    pub fn attach(
        &mut self,
        id: u32,
        endpoint: u32,
        flags: u32,
        reserved: u32,
    ) -> Result<Effects, Refusal> {
        let known = if self.features & feature::BYPASS_CONFIG != 0 {
            attach_flag::BYPASS
        } else {
            0
        };
        if reserved != 0 || flags & !known != 0 {
            return Err(Status::Inval.into());
        }
        let endpoint = self.endpoint(endpoint).ok_or(Status::NoEnt)?;
        let (first, last) = self.limits.domain_range;
        if !(first..=last).contains(&id) {
            return Err(Status::Range.into());
        }
        let bypass = flags & attach_flag::BYPASS != 0;
        let existing = self.slots_by_id.get(&id).copied();
        if let Some(slot) = existing {
            // Cannot happen: a number is known as long as its domain exists.
            let domain = self.slots[slot as usize].as_ref().ok_or(Status::DevErr)?;
            if domain.mappings.is_none() != bypass {
                return Err(Status::Inval.into());
            }
            // Attached to it already: nothing changes.
            if self.endpoints[endpoint].slot == existing {
                return Ok(Effects::default());
            }
            let mapped = |(first, last): &(u64, u64)| {
                let mappings = domain.mappings.as_ref();
                mappings.is_some_and(|mappings| mappings.overlaps(*first, *last))
            };
            if self.endpoints[endpoint].reserved.iter().any(mapped) {
                return Err(Status::Unsupp.into());
            }
        }
        // The last step that can be refused; it comes before the endpoint leaves its old domain.
        let slot = match existing {
            Some(slot) => slot,
            None => self.create(id, bypass)?,
        };
        // Attaching to another domain detaches from the first.
        let mut effects = self.leave(endpoint);
        self.join(endpoint, slot);
        effects.attach = Some((EndpointId(endpoint as u32), self.attachment(Some(slot))));
        Ok(effects)
    }

    /// Executes DETACH (5.13.6.4).
    pub fn detach(&mut self, id: u32, endpoint: u32) -> Result<Effects, Refusal> {
        let endpoint = self.endpoint(endpoint).ok_or(Status::NoEnt)?;
        let slot = *self.slots_by_id.get(&id).ok_or(Status::Inval)?;
        if self.endpoints[endpoint].slot != Some(slot) {
            return Err(Status::Inval.into());
        }
        let mut effects = self.leave(endpoint);
        effects.attach = Some((EndpointId(endpoint as u32), self.unattached()));
        Ok(effects)
    }

    /// Executes MAP (5.13.6.5).
    pub fn map(
        &mut self,
        id: u32,
        first: u64,
        last: u64,
        address: u64,
        flags: u32,
    ) -> Result<(), Refusal> {
        let mmio = if self.features & feature::MMIO != 0 {
            map_flag::MMIO
        } else {
            0
        };
        if flags & !(map_flag::READ | map_flag::WRITE | mmio) != 0 {
            return Err(Status::Inval.into());
        }
        // Read before the domain is borrowed; refused last, so that a wrong request is told what is
        // wrong with it.
        let limits = self.limits;
        let full = self.mappings >= limits.max_mappings;
        let (_, domain) = self.translated(id)?;
        if first > last {
            return Err(Status::Inval.into());
        }
        // `last + 1` wraps to 0 for the last byte of the address space, which is aligned.
        let aligned = (first | address | last.wrapping_add(1)) & limits.granule_mask == 0;
        let within = first >= limits.input_range.0 && last <= limits.input_range.1;
        if !aligned || !within || address.checked_add(last - first).is_none() {
            return Err(Status::Range.into());
        }
        // Reserved regions of one endpoint do not overlap, those of several endpoints may: all that
        // begin below are looked at.
        let mut below = domain.reserved.range(..=(last, u64::MAX)).rev();
        if below.any(|((_, end), _)| *end >= first) {
            return Err(Status::Inval.into());
        }
        let mappings = domain.mappings.as_mut().ok_or(Status::Inval)?;
        if mappings.overlaps(first, last) {
            return Err(Status::Inval.into());
        }
        if full {
            return Err(Status::NoMem.into());
        }
        let entry = Entry {
            last,
            address,
            flags,
        };
        mappings.insert(first, entry);
        self.mappings += 1;
        Ok(())
    }

    /// Executes UNMAP (5.13.6.6).
    pub fn unmap(&mut self, id: u32, first: u64, last: u64) -> Result<Effects, Refusal> {
        let (slot, domain) = self.translated(id)?;
        if first > last {
            return Err(Status::Inval.into());
        }
        // A range that cuts a mapping in two is refused as a whole (5.13.6.6).
        let mappings = domain.mappings.as_mut().ok_or(Status::Inval)?;
        let removed = mappings.remove(first, last).map_err(|_| Status::Range)?;
        self.mappings -= removed.count;
        Ok(Effects {
            invalid: removed.hull.map(|(first, last)| (slot, first, last)),
            garbage: (removed.rest.len() > 0).then_some(removed.rest),
            ..Effects::default()
        })
    }

    /// Detaches everything and forgets what was negotiated. Returns the slots that were given up,
    /// and all mappings.
    pub fn reset(&mut self) -> (Vec<u32>, Vec<Mappings>) {
        self.features = 0;
        self.mappings = 0;
        for endpoint in &mut self.endpoints {
            endpoint.slot = None;
        }
        let given_up: Vec<u32> = std::mem::take(&mut self.slots_by_id)
            .into_values()
            .collect();
        let gone = given_up.iter().filter_map(|slot| {
            let domain = self.slots[*slot as usize].take()?;
            domain.mappings
        });
        let gone = gone.collect();
        (given_up, gone)
    }
}

/// Parts of requests.
impl Domains {
    /// Creates a domain without endpoints.
    fn create(&mut self, id: u32, bypass: bool) -> Result<u32, Refusal> {
        // The free slots may be used up while earlier ones wait for the end of a grace period.
        let slot = self.free.pop().ok_or(Refusal::Later)?;
        self.slots[slot as usize] = Some(Domain {
            id,
            mappings: (!bypass).then(Mappings::default),
            endpoints: 0,
            reserved: BTreeMap::new(),
        });
        self.slots_by_id.insert(id, slot);
        Ok(slot)
    }

    /// Attaches an endpoint that is attached to nothing.
    fn join(&mut self, endpoint: usize, slot: u32) {
        self.endpoints[endpoint].slot = Some(slot);
        if let Some(domain) = &mut self.slots[slot as usize] {
            domain.endpoints += 1;
            for region in &self.endpoints[endpoint].reserved {
                *domain.reserved.entry(*region).or_default() += 1;
            }
        }
    }

    /// Detaches an endpoint, if it is attached. A domain without endpoints ceases to exist.
    fn leave(&mut self, endpoint: usize) -> Effects {
        let mut effects = Effects::default();
        let Some(slot) = self.endpoints[endpoint].slot.take() else {
            return effects;
        };
        let Some(domain) = &mut self.slots[slot as usize] else {
            return effects;
        };
        domain.endpoints -= 1;
        for region in &self.endpoints[endpoint].reserved {
            if let Some(count) = domain.reserved.get_mut(region) {
                *count -= 1;
                if *count == 0 {
                    domain.reserved.remove(region);
                }
            }
        }
        if domain.endpoints == 0 {
            self.slots_by_id.remove(&domain.id);
            let gone = self.slots[slot as usize].take();
            effects.garbage = gone.and_then(|domain| domain.mappings);
            self.mappings -= effects.garbage.as_ref().map_or(0, Mappings::len);
            effects.invalid = Some((slot, 0, u64::MAX));
            effects.freed = Some(slot);
        }
        effects
    }
}
