//! A listener of an endpoint that refuses as it is told, and what it holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use viommu::virtio::VirtioIommuState;
use viommu::{Attachment, DmaListener, Mapping, Refusal};

/// What a follower holds: where the endpoint is, and last IOVA and address by first IOVA.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    pub to: Attachment,
    mappings: BTreeMap<u64, (u64, u64)>,
    /// Whether the next call is refused, and those after it; taken from the end.
    pub refusals: Vec<bool>,
}

/// Follows an endpoint.
pub struct Follower(pub Arc<Mutex<Held>>);

impl Follower {
    /// Creates one that refuses nothing yet, and what it holds.
    pub fn new() -> (Box<Self>, Arc<Mutex<Held>>) {
        let held = Arc::new(Mutex::new(Held {
            to: Attachment::Blocked,
            mappings: BTreeMap::new(),
            refusals: Vec::new(),
        }));
        (Box::new(Self(Arc::clone(&held))), held)
    }
}

impl Held {
    fn refuses(&mut self) -> Result<(), Refusal> {
        match self.refusals.pop() {
            Some(true) => Err(Refusal::Device),
            Some(false) | None => Ok(()),
        }
    }

    /// Asserts that it holds what the endpoint of this number meets.
    pub fn check(&self, state: &VirtioIommuState, endpoint: u32) {
        let of = state.endpoints.iter().find(|one| one.id == endpoint);
        let domain = of.and_then(|one| one.domain);
        let domain = state.domains.iter().find(|one| Some(one.id) == domain);
        let mappings = domain.and_then(|domain| domain.mappings.as_ref());
        let readable = mappings.into_iter().flatten().filter(|m| m.flags & 3 != 0);
        let expected: BTreeMap<_, _> = readable.map(|m| (m.first, (m.last, m.address))).collect();
        assert_eq!(self.mappings, expected);
        let translated = matches!(self.to, Attachment::Domain(_));
        assert_eq!(translated, mappings.is_some());
        assert!(domain.is_none() || mappings.is_some() || self.to == Attachment::Bypass);
    }
}

impl DmaListener for Follower {
    fn attach(&mut self, to: Attachment) -> Result<(), Refusal> {
        let mut held = self.0.lock().expect("nobody panics");
        held.mappings.clear();
        held.to = Attachment::Blocked;
        if to != Attachment::Blocked {
            held.refuses()?;
        }
        held.to = to;
        Ok(())
    }

    fn map(&mut self, mapping: &Mapping) -> Result<(), Refusal> {
        let mut held = self.0.lock().expect("nobody panics");
        held.refuses()?;
        let to = (mapping.last, mapping.address);
        assert!(held.mappings.insert(mapping.first, to).is_none());
        Ok(())
    }

    fn unmap(&mut self, first: u64, last: u64) {
        let mut held = self.0.lock().expect("nobody panics");
        held.mappings.retain(|begin, (end, _)| {
            let inside = *begin >= first && *end <= last;
            assert!(inside || *end < first || *begin > last, "none is cut");
            !inside
        });
    }
}
