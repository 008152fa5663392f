//! What requests do to domains: first a [`Plan`], then its execution.
//!
//! A plan is made of a request that is found good: all is checked by then, so that a request that
//! is refused leaves no trace, and listeners can be asked before anything changes.

#![expect(
    clippy::cast_possible_truncation,
    reason = "endpoints have different 32-bit numbers"
)]

use super::domains::{Domain, Domains, Effects, Refusal};
use super::mappings::{Covered, Entry};
use super::requests::Request;
use super::spec::{Status, attach_flag, feature, map_flag};
use crate::fault::EndpointId;

/// What a request is going to change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// Nothing.
    Nothing,
    /// An endpoint, by its position, is attached to a domain, by its number.
    Attach {
        endpoint: usize,
        domain: u32,
        bypass: bool,
        /// The domain's slot, if it exists.
        slot: Option<u32>,
    },
    /// An endpoint is attached to nothing any more.
    Detach { endpoint: usize },
    /// A mapping is added to the domain in a slot.
    Map { slot: u32, first: u64, entry: Entry },
    /// Mappings of the domain in a slot are removed.
    Unmap { slot: u32, covered: Covered },
}

impl Domains {
    /// Returns what `request` is going to change.
    ///
    /// # Errors
    /// If it is refused, or must wait.
    pub fn plan(&self, request: &Request) -> Result<Plan, Refusal> {
        match *request {
            Request::Attach {
                domain,
                endpoint,
                flags,
                reserved,
            } => self.plan_attach(domain, endpoint, flags, reserved),
            Request::Detach { domain, endpoint } => self.plan_detach(domain, endpoint),
            Request::Map {
                domain,
                first,
                last,
                address,
                flags,
            } => {
                let entry = Entry {
                    last,
                    address,
                    flags,
                };
                self.plan_map(domain, first, entry)
            }
            Request::Unmap {
                domain,
                first,
                last,
            } => self.plan_unmap(domain, first, last),
            // It changes nothing, and is not executed here.
            Request::Probe { .. } => Err(Status::Unsupp.into()),
        }
    }

    /// Plans ATTACH (5.13.6.3).
    fn plan_attach(
        &self,
        id: u32,
        endpoint: u32,
        flags: u32,
        reserved: u32,
    ) -> Result<Plan, Refusal> {
        let known = if self.features & feature::BYPASS_CONFIG != 0 {
            attach_flag::BYPASS
        } else {
            0
        };
        if reserved != 0 || flags & !known != 0 {
            return Err(Status::Inval.into());
        }
        let position = self.endpoint(endpoint).ok_or(Status::NoEnt)?;
        let endpoint = self.endpoints.get(position).ok_or(Status::NoEnt)?;
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
            if endpoint.slot == existing {
                return Ok(Plan::Nothing);
            }
            let mut reserved = endpoint.reserved.iter();
            let is_mapped = domain.mappings.as_ref().is_some_and(|mappings| {
                reserved.any(|region| mappings.overlaps(region.first, region.last))
            });
            if is_mapped {
                return Err(Status::Unsupp.into());
            }
        } else if self.free.is_empty() {
            // The free slots may be used up while earlier ones wait for the end of a grace period.
            return Err(Refusal::Later);
        }
        Ok(Plan::Attach {
            endpoint: position,
            domain: id,
            bypass,
            slot: existing,
        })
    }

    /// Plans DETACH (5.13.6.4).
    fn plan_detach(&self, id: u32, endpoint: u32) -> Result<Plan, Refusal> {
        let position = self.endpoint(endpoint).ok_or(Status::NoEnt)?;
        let slot = *self.slots_by_id.get(&id).ok_or(Status::Inval)?;
        if self.endpoints.get(position).and_then(|e| e.slot) != Some(slot) {
            return Err(Status::Inval.into());
        }
        Ok(Plan::Detach { endpoint: position })
    }

    /// Returns the slot and the domain that MAP or UNMAP names, which must have mappings.
    fn translated(&self, id: u32) -> Result<(u32, &Domain), Status> {
        let slot = *self.slots_by_id.get(&id).ok_or(Status::NoEnt)?;
        let domain = self.slots[slot as usize].as_ref().ok_or(Status::NoEnt)?;
        if domain.mappings.is_none() {
            return Err(Status::Inval);
        }
        Ok((slot, domain))
    }

    /// Plans MAP (5.13.6.5).
    fn plan_map(&self, id: u32, first: u64, entry: Entry) -> Result<Plan, Refusal> {
        let Entry {
            last,
            address,
            flags,
        } = entry;
        let mmio = if self.features & feature::MMIO != 0 {
            map_flag::MMIO
        } else {
            0
        };
        if flags & !(map_flag::READ | map_flag::WRITE | mmio) != 0 {
            return Err(Status::Inval.into());
        }
        let limits = self.limits;
        let (slot, domain) = self.translated(id)?;
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
        let mappings = domain.mappings.as_ref().ok_or(Status::Inval)?;
        if mappings.overlaps(first, last) {
            return Err(Status::Inval.into());
        }
        // Refused last, so that a wrong request is told what is wrong with it.
        if self.mappings >= limits.max_mappings {
            return Err(Status::NoMem.into());
        }
        Ok(Plan::Map { slot, first, entry })
    }

    /// Plans UNMAP (5.13.6.6).
    fn plan_unmap(&self, id: u32, first: u64, last: u64) -> Result<Plan, Refusal> {
        let (slot, domain) = self.translated(id)?;
        if first > last {
            return Err(Status::Inval.into());
        }
        // A range that cuts a mapping in two is refused as a whole (5.13.6.6).
        let mappings = domain.mappings.as_ref().ok_or(Status::Inval)?;
        let covered = mappings.covered(first, last).map_err(|_| Status::Range)?;
        Ok(match covered {
            None => Plan::Nothing,
            Some(covered) => Plan::Unmap { slot, covered },
        })
    }

    /// Does what was planned; nothing may have changed since.
    ///
    /// # Errors
    /// None of a plan that is good.
    pub fn execute(&mut self, plan: &Plan) -> Result<Effects, Refusal> {
        match *plan {
            Plan::Nothing => Ok(Effects::default()),
            Plan::Attach {
                endpoint,
                domain,
                bypass,
                slot,
            } => {
                let slot = match slot {
                    Some(slot) => slot,
                    None => self.create(domain, bypass)?,
                };
                // Attaching to another domain detaches from the first.
                let mut effects = self.leave(endpoint);
                self.join(endpoint, slot);
                let to = self.attachment(Some(slot));
                effects.attach = Some((EndpointId(endpoint as u32), to));
                Ok(effects)
            }
            Plan::Detach { endpoint } => {
                let mut effects = self.leave(endpoint);
                let to = self.attachment_of(endpoint);
                effects.attach = Some((EndpointId(endpoint as u32), to));
                Ok(effects)
            }
            Plan::Map { slot, first, entry } => {
                let domain = self.slots[slot as usize].as_mut();
                if let Some(mappings) = domain.and_then(|domain| domain.mappings.as_mut()) {
                    mappings.insert(first, entry);
                    self.mappings += 1;
                }
                // Refusals are never cached, so a new mapping invalidates nothing.
                Ok(Effects::default())
            }
            Plan::Unmap { slot, covered } => {
                let domain = self.slots[slot as usize].as_mut();
                let Some(mappings) = domain.and_then(|domain| domain.mappings.as_mut()) else {
                    return Ok(Effects::default());
                };
                let (count, rest) = mappings.remove(&covered);
                self.mappings -= count;
                let (first, last) = covered.hull;
                Ok(Effects {
                    invalid: Some((slot, first, last)),
                    garbage: (rest.len() > 0).then_some(rest),
                    ..Effects::default()
                })
            }
        }
    }

    /// Plans and executes a request.
    ///
    /// # Errors
    /// If it is refused, or must wait. Then nothing changes.
    pub fn request(&mut self, request: &Request) -> Result<Effects, Refusal> {
        let plan = self.plan(request)?;
        self.execute(&plan)
    }
}
