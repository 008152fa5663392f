//! Endpoints: which there are, where each is on the translation path, and what it is attached to.

use std::collections::BTreeMap;

use super::config::{EndpointConfig, ReservedRegion};

/// An endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Its number, as the driver knows it.
    pub id: u32,
    /// The slot of the domain that it is attached to.
    pub slot: Option<u32>,
    /// Its reserved regions.
    pub reserved: Vec<ReservedRegion>,
    /// Whether its listener has refused what an endpoint meets that is attached to nothing: then it
    /// meets nothing.
    pub blocked: bool,
}

impl Endpoint {
    /// Creates one that is attached to nothing.
    pub fn new(config: &EndpointConfig) -> Self {
        Self {
            id: config.id,
            slot: None,
            reserved: config.reserved.clone(),
            blocked: false,
        }
    }
}

/// All endpoints, by position: that is their number on the translation path.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    list: Vec<Option<Endpoint>>,
    by_id: BTreeMap<u32, usize>,
}

impl Endpoints {
    /// Creates these, in their order.
    pub fn new(configs: &[EndpointConfig]) -> Self {
        let mut all = Self::default();
        for (position, config) in configs.iter().enumerate() {
            all.insert(position, Endpoint::new(config));
        }
        all
    }

    /// Returns the same in the same places, attached to nothing.
    pub fn unattached(&self) -> Self {
        let list = self.list.iter().map(|endpoint| {
            endpoint.as_ref().map(|endpoint| Endpoint {
                slot: None,
                blocked: false,
                ..endpoint.clone()
            })
        });
        Self {
            list: list.collect(),
            by_id: self.by_id.clone(),
        }
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns how many positions there are, taken or not.
    pub fn positions(&self) -> usize {
        self.list.len()
    }

    /// Returns the position of the endpoint of this number.
    pub fn position(&self, id: u32) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Returns the endpoint at a position.
    #[inline]
    pub fn get(&self, position: usize) -> Option<&Endpoint> {
        self.list.get(position)?.as_ref()
    }

    /// As [`Endpoints::get`].
    pub fn get_mut(&mut self, position: usize) -> Option<&mut Endpoint> {
        self.list.get_mut(position)?.as_mut()
    }

    /// Returns all, each with its position.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        let all = self.list.iter().enumerate();
        all.filter_map(|(position, endpoint)| Some((position, endpoint.as_ref()?)))
    }

    /// As [`Endpoints::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        self.list.iter_mut().flatten()
    }

    /// Puts an endpoint at a position that is free.
    pub fn insert(&mut self, position: usize, endpoint: Endpoint) {
        if position >= self.list.len() {
            self.list.resize(position + 1, None);
        }
        self.by_id.insert(endpoint.id, position);
        self.list[position] = Some(endpoint);
    }

    /// Removes the endpoint at a position.
    pub fn remove(&mut self, position: usize) {
        let gone = self.list.get_mut(position).and_then(Option::take);
        if let Some(gone) = gone {
            self.by_id.remove(&gone.id);
        }
    }
}
