//! Endpoints, domains and mappings.
//!
//! What requests do to them is in `plans`. Nothing here knows of queues, memory or the translation
//! cache; what has to be told to those comes back as [`Effects`].

#![expect(
    clippy::cast_possible_truncation,
    reason = "endpoints have different 32-bit numbers, and there are few more slots than endpoints"
)]

use std::collections::BTreeMap;

use super::config::{EndpointConfig, VirtioIommuConfig};
use super::endpoints::{Endpoint, Endpoints};
use super::mappings::Mappings;
use super::spec::{Status, feature};
use crate::attachment::Attachment;
use crate::fault::{DomainId, EndpointId, FaultReason};
use crate::model::{Extent, Mapping, Miss};
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
    pub reserved: BTreeMap<(u64, u64), usize>,
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
    pub granule_mask: u64,
    pub input_range: (u64, u64),
    pub domain_range: (u32, u32),
    pub max_mappings: usize,
}

/// All that the driver has set up.
#[derive(Debug)]
pub(super) struct Domains {
    pub limits: Limits,
    /// Features that are offered.
    offered: u64,
    /// Features that are negotiated.
    pub features: u64,
    /// The field `bypass`.
    pub bypass: bool,
    pub endpoints: Endpoints,
    pub slots: Vec<Option<Domain>>,
    pub slots_by_id: BTreeMap<u32, u32>,
    /// Slots that a new domain may have.
    pub free: Vec<u32>,
    /// Mappings of all domains.
    pub mappings: usize,
}

impl Domains {
    /// Creates the state out of reset.
    pub fn new(config: &VirtioIommuConfig) -> Self {
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
            endpoints: Endpoints::default(),
            slots: Vec::new(),
            slots_by_id: BTreeMap::new(),
            free: Vec::new(),
            mappings: 0,
        }
        .with(Endpoints::new(&config.endpoints))
    }

    /// Returns the state out of reset of the same device, with the same endpoints in the same
    /// places.
    pub fn fresh(&self, config: &VirtioIommuConfig) -> Self {
        let fresh = Self {
            endpoints: Endpoints::default(),
            ..Self::new(config)
        };
        fresh.with(self.endpoints.unattached())
    }

    fn with(mut self, endpoints: Endpoints) -> Self {
        self.endpoints = endpoints;
        self.make_slots(self.endpoints.len() + SPARE_SLOTS);
        self
    }

    /// Detaches an endpoint, which is blocked from now on.
    pub fn block_endpoint(&mut self, position: usize) -> Effects {
        let mut effects = self.leave(position);
        if let Some(endpoint) = self.endpoints.get_mut(position) {
            endpoint.blocked = true;
        }
        effects.attach = Some((EndpointId(position as u32), Attachment::Blocked));
        effects
    }

    /// Makes sure that there are at least `count` slots.
    fn make_slots(&mut self, count: usize) {
        let (old, count) = (self.slots.len(), count.max(self.slots.len()));
        self.slots.resize_with(count, || None);
        // Popped from the end: the lowest slot first, and new ones after those that were there.
        let new = (old as u32..count as u32).rev();
        self.free.splice(0..0, new);
    }

    /// Adds an endpoint at a position that is free, attached to nothing.
    pub fn add_endpoint(&mut self, position: usize, config: &EndpointConfig) {
        self.endpoints.insert(position, Endpoint::new(config));
        self.make_slots(self.endpoints.len() + SPARE_SLOTS);
    }

    /// Detaches an endpoint and removes it.
    pub fn remove_endpoint(&mut self, position: usize) -> Effects {
        let mut effects = self.leave(position);
        self.endpoints.remove(position);
        effects.attach = Some((EndpointId(position as u32), Attachment::Blocked));
        effects
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

    /// Returns the position of the endpoint of this number.
    pub fn endpoint(&self, id: u32) -> Option<usize> {
        self.endpoints.position(id)
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
    /// Returns `None`, and leaves nothing useful, unless that is each slot once, of at most `most`.
    /// Slots that there were not yet when the state was saved are free.
    pub fn place(&mut self, wanted: &BTreeMap<u32, u32>, free: &[u32], most: usize) -> Option<()> {
        let mut all: Vec<u32> = wanted.values().chain(free).copied().collect();
        let count = all.len();
        all.sort_unstable();
        if count > most
            || !all.into_iter().eq(0..count as u32)
            || !wanted.keys().eq(self.slots_by_id.keys())
        {
            return None;
        }
        let needed = self.slots.len();
        let mut moved: Vec<Option<Domain>> = (0..count).map(|_| None).collect();
        let mut new_slots = vec![0; needed];
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
        self.make_slots(needed);
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

    /// Returns the mappings of the domain in a slot that allow anything.
    pub fn mappings_of(&self, slot: u32) -> Vec<Mapping> {
        let domain = self.slots.get(slot as usize).and_then(Option::as_ref);
        let mappings = domain.and_then(|domain| domain.mappings.as_ref());
        let all = mappings.into_iter().flat_map(Mappings::iter);
        let all = all.map(|(first, entry)| entry.mapping(first));
        all.filter(|mapping| mapping.permissions != Permissions::No)
            .collect()
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

    /// Returns what the domain in a slot has at `iova`.
    pub fn extent(&self, DomainId(slot): DomainId, iova: u64) -> Extent {
        let domain = self.slots.get(slot as usize).and_then(Option::as_ref);
        let mappings = domain.and_then(|domain| domain.mappings.as_ref());
        mappings.map_or(Extent::Hole { last: u64::MAX }, |all| all.extent(iova))
    }

    pub fn attachment(&self, slot: Option<u32>) -> Attachment {
        let domain = slot.and_then(|slot| Some((slot, self.slots.get(slot as usize)?.as_ref()?)));
        match domain {
            None => self.unattached(),
            Some((_, Domain { mappings: None, .. })) => Attachment::Bypass,
            Some((slot, _)) => Attachment::Domain(DomainId(slot)),
        }
    }

    /// Returns the attachment of an endpoint, by its position.
    pub fn attachment_of(&self, endpoint: usize) -> Attachment {
        match self.endpoints.get(endpoint) {
            None
            | Some(Endpoint {
                slot: None,
                blocked: true,
                ..
            }) => Attachment::Blocked,
            Some(endpoint) => self.attachment(endpoint.slot),
        }
    }
}

/// Parts of requests.
impl Domains {
    /// Detaches everything and forgets what was negotiated. Returns the slots that were given up,
    /// and all mappings.
    pub fn reset(&mut self) -> (Vec<u32>, Vec<Mappings>) {
        self.features = 0;
        self.mappings = 0;
        for endpoint in self.endpoints.iter_mut() {
            endpoint.slot = None;
            endpoint.blocked = false;
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

    /// Creates a domain without endpoints.
    pub fn create(&mut self, id: u32, bypass: bool) -> Result<u32, Refusal> {
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
    pub fn join(&mut self, position: usize, slot: u32) {
        let Some(endpoint) = self.endpoints.get_mut(position) else {
            return;
        };
        endpoint.slot = Some(slot);
        endpoint.blocked = false;
        if let Some(domain) = &mut self.slots[slot as usize] {
            domain.endpoints += 1;
            for region in &endpoint.reserved {
                *domain
                    .reserved
                    .entry((region.first, region.last))
                    .or_default() += 1;
            }
        }
    }

    /// Detaches an endpoint, if it is attached. A domain without endpoints ceases to exist.
    pub fn leave(&mut self, position: usize) -> Effects {
        let mut effects = Effects::default();
        let Some(endpoint) = self.endpoints.get_mut(position) else {
            return effects;
        };
        let Some(slot) = endpoint.slot.take() else {
            return effects;
        };
        let Some(domain) = &mut self.slots[slot as usize] else {
            return effects;
        };
        domain.endpoints -= 1;
        for region in &endpoint.reserved {
            let region = (region.first, region.last);
            if let Some(count) = domain.reserved.get_mut(&region) {
                *count -= 1;
                if *count == 0 {
                    domain.reserved.remove(&region);
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
