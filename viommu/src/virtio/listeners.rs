//! What listeners are told of a virtio-iommu.

use super::device::VirtioIommu;
use super::domains::{Domains, Effects, Refusal};
use super::plans::Plan;
use super::requests::Request;
use super::spec::Status;
use crate::attachment::Attachment;
use crate::fault::DomainId;
use crate::listener::{self, DmaListener};
use crate::model::Mapping;
use vm_memory::Permissions;

/// A listener and what it knows.
pub(super) struct Listening {
    /// The endpoint's position.
    endpoint: usize,
    listener: Box<dyn DmaListener>,
    /// What it was told that the endpoint is attached to.
    to: Attachment,
    /// Whether it was told anything since it committed.
    changed: bool,
}

/// What an endpoint meets.
struct Way {
    to: Attachment,
    mappings: Vec<Mapping>,
}

impl Way {
    const BLOCKED: Self = Self {
        to: Attachment::Blocked,
        mappings: Vec::new(),
    };

    /// Returns what there is in `domains` where an attachment leads.
    fn new(domains: &Domains, to: Attachment) -> Self {
        let mappings = match to {
            Attachment::Domain(DomainId(slot)) => domains.mappings_of(slot),
            Attachment::Bypass | Attachment::Blocked => Vec::new(),
        };
        Self { to, mappings }
    }
}

impl Listening {
    /// Tells all that the endpoint meets from now on.
    fn go(&mut self, way: &Way) -> Result<(), listener::Refusal> {
        self.changed = true;
        self.to = way.to;
        self.listener.attach(way.to)?;
        for mapping in &way.mappings {
            self.listener.map(mapping)?;
        }
        Ok(())
    }

    fn block(&mut self) {
        // It must not be refused.
        let _ = self.go(&Way::BLOCKED);
    }

    fn commit(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.listener.commit();
        }
    }
}

/// Why there is no listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// There is no such endpoint.
    #[error("there is no endpoint {0}")]
    Unknown(u32),
    /// It does not take what there is.
    #[error("the listener refuses what the endpoint meets: {0}")]
    Refused(#[from] listener::Refusal),
}

impl From<listener::Refusal> for Refusal {
    fn from(refusal: listener::Refusal) -> Self {
        Self::Status(match refusal {
            listener::Refusal::NoMemory => Status::NoMem,
            listener::Refusal::Device => Status::DevErr,
        })
    }
}

impl<M> VirtioIommu<M> {
    /// Adds a listener of an endpoint, which is told first of all that the endpoint meets now. From
    /// then on it is told of MAP, UNMAP, ATTACH and DETACH, may refuse MAP, ATTACH and DETACH (the
    /// driver is told NOMEM or DEVERR, and nothing changes), and commits once for each batch of
    /// requests, which is not answered before. It is also told when the field `bypass` is written,
    /// when the device is reset or restored and when the endpoint is removed.
    ///
    /// Where nobody can be told that a listener refuses to let an unattached endpoint bypass the
    /// device, and where one refuses what it took before, the endpoint is detached and blocked
    /// until it is attached anew, or the device reset.
    ///
    /// Mappings that allow nothing are not told. When memory is added or removed, the VMM tells the
    /// hardware.
    ///
    /// # Errors
    /// If there is no such endpoint, or the listener does not take what it meets: then it is left
    /// blocked, and dropped.
    pub fn add_listener(
        &mut self,
        endpoint: u32,
        listener: Box<dyn DmaListener>,
    ) -> Result<(), ListenError> {
        let domains = self.shared.domains();
        let position = domains.endpoint(endpoint);
        let position = position.ok_or(ListenError::Unknown(endpoint))?;
        let way = Way::new(&domains, domains.attachment_of(position));
        drop(domains);
        let mut listening = Listening {
            endpoint: position,
            listener,
            to: Attachment::Blocked,
            changed: false,
        };
        let taken = listening.go(&way);
        if taken.is_err() {
            listening.block();
        }
        listening.commit();
        taken?;
        self.listeners.push(listening);
        Ok(())
    }

    /// Removes the listeners of an endpoint, and returns them as they are.
    pub fn remove_listeners(&mut self, endpoint: u32) -> Vec<Box<dyn DmaListener>> {
        let Some(position) = self.shared.domains().endpoint(endpoint) else {
            return Vec::new();
        };
        let gone = self.take_listeners(position).into_iter();
        gone.map(|one| one.listener).collect()
    }

    /// Removes those of an endpoint, in their order, and returns them.
    fn take_listeners(&mut self, endpoint: usize) -> Vec<Listening> {
        let all = std::mem::take(&mut self.listeners).into_iter();
        let (gone, others) = all.partition(|one| one.endpoint == endpoint);
        self.listeners = others;
        gone
    }

    /// Plans a request, asks listeners, and executes it.
    pub(super) fn request_with_listeners(&mut self, request: &Request) -> Result<Effects, Refusal> {
        let plan = self.shared.domains().plan(request)?;
        // Nobody else changes domains meanwhile.
        self.ask(&plan)?;
        self.shared.domains_mut().execute(&plan)
    }

    /// Tells listeners what is going to happen.
    fn ask(&mut self, plan: &Plan) -> Result<(), Refusal> {
        let domains = self.shared.domains();
        let (endpoint, way) = match *plan {
            Plan::Nothing => return Ok(()),
            Plan::Map { slot, first, entry } => {
                drop(domains);
                return Ok(self.tell_map(slot, &entry.mapping(first))?);
            }
            Plan::Unmap { slot, covered } => {
                drop(domains);
                for one in self.listeners.iter_mut().filter(|one| one.follows(slot)) {
                    one.listener.unmap(covered.hull.0, covered.hull.1);
                    one.changed = true;
                }
                return Ok(());
            }
            Plan::Detach { endpoint } => (endpoint, Way::new(&domains, domains.unattached())),
            Plan::Attach {
                endpoint,
                bypass: true,
                ..
            } => (endpoint, Way::new(&domains, Attachment::Bypass)),
            Plan::Attach { endpoint, slot, .. } => {
                // One that does not exist yet gets the next free slot.
                let slot = slot.or_else(|| domains.free().last());
                let to = slot.map_or(Attachment::Blocked, |slot| {
                    Attachment::Domain(DomainId(slot))
                });
                (endpoint, Way::new(&domains, to))
            }
        };
        let before = Way::new(&domains, domains.attachment_of(endpoint));
        drop(domains);
        Ok(self.lead(endpoint, &way, &before)?)
    }

    /// Tells those who follow a domain of a mapping, all or none.
    fn tell_map(&mut self, slot: u32, mapping: &Mapping) -> Result<(), listener::Refusal> {
        if mapping.permissions == Permissions::No {
            return Ok(());
        }
        for n in 0..self.listeners.len() {
            let one = &mut self.listeners[n];
            if !one.follows(slot) {
                continue;
            }
            one.changed = true;
            if let Err(why) = one.listener.map(mapping) {
                let told = self.listeners[..n].iter_mut();
                for one in told.filter(|one| one.follows(slot)) {
                    one.listener.unmap(mapping.first, mapping.last);
                }
                return Err(why);
            }
        }
        Ok(())
    }

    /// Tells the listeners of an endpoint of another way, all or none.
    fn lead(&mut self, endpoint: usize, way: &Way, before: &Way) -> Result<(), listener::Refusal> {
        let of = |one: &&mut Listening| one.endpoint == endpoint;
        let refused = (self.listeners.iter_mut().filter(of)).find_map(|one| one.go(way).err());
        let Some(why) = refused else {
            return Ok(());
        };
        let mut back = self.listeners.iter_mut().filter(of);
        if back.any(|one| one.go(before).is_err()) {
            self.block(endpoint);
        }
        Err(why)
    }

    /// Detaches an endpoint and blocks it, as its listeners have lost what they had.
    fn block(&mut self, endpoint: usize) {
        for one in self
            .listeners
            .iter_mut()
            .filter(|one| one.endpoint == endpoint)
        {
            one.block();
        }
        let effects = self.shared.domains_mut().block_endpoint(endpoint);
        self.note(effects);
    }

    /// Brings listeners of endpoints that are attached to nothing to what these meet.
    pub(super) fn lead_unattached(&mut self) {
        for n in 0..self.listeners.len() {
            let one = &mut self.listeners[n];
            let domains = self.shared.domains();
            let position = one.endpoint;
            let endpoint = domains.endpoints.get(position);
            let (unattached, to) = (
                endpoint.is_none_or(|e| e.slot.is_none()),
                domains.unattached(),
            );
            drop(domains);
            if !unattached || one.to == to {
                continue;
            }
            let way = Way {
                to,
                mappings: Vec::new(),
            };
            let refused = one.go(&way).is_err();
            if let Some(endpoint) = self.shared.domains_mut().endpoints.get_mut(position) {
                endpoint.blocked = refused;
            }
            if refused {
                let of = self.listeners.iter_mut();
                of.filter(|one| one.endpoint == position)
                    .for_each(Listening::block);
            }
        }
    }

    /// Tells listeners what endpoints meet in domains that are restored, all or none. Returns the
    /// position of the endpoint of one that refuses.
    pub(super) fn lead_restored(&mut self, restored: &Domains) -> Result<(), usize> {
        for n in 0..self.listeners.len() {
            let position = self.listeners[n].endpoint;
            let way = Way::new(restored, restored.attachment_of(position));
            if self.listeners[n].go(&way).is_ok() {
                continue;
            }
            for back in 0..=n {
                let endpoint = self.listeners[back].endpoint;
                let domains = self.shared.domains();
                let before = Way::new(&domains, domains.attachment_of(endpoint));
                drop(domains);
                if self.listeners[back].go(&before).is_err() {
                    self.block(endpoint);
                }
            }
            self.commit_listeners();
            return Err(position);
        }
        Ok(())
    }

    /// Tells listeners that an endpoint is gone, and forgets them.
    pub(super) fn drop_listeners(&mut self, endpoint: usize) {
        for mut one in self.take_listeners(endpoint) {
            one.block();
            one.commit();
        }
    }

    /// Has all that were told anything commit it.
    pub(super) fn commit_listeners(&mut self) {
        self.listeners.iter_mut().for_each(Listening::commit);
    }

    /// Returns whether all that was committed has taken effect.
    pub(super) fn listeners_are_settled(&mut self) -> bool {
        // All are asked: each may need to be polled to get on.
        let waiting = self.listeners.iter_mut().filter_map(|one| {
            let settled = one.listener.is_settled();
            (!settled).then_some(())
        });
        waiting.count() == 0
    }
}

impl Listening {
    fn follows(&self, slot: u32) -> bool {
        self.to == Attachment::Domain(DomainId(slot))
    }
}
