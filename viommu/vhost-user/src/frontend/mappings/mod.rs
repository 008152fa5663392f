//! What a device's endpoint meets, as its listener was told, and what a back end is told of it.

use std::collections::BTreeMap;

use viommu::vm_memory::Permissions;
use viommu::{Attachment, Mapping};

use super::memory::MemoryRegion;
use crate::wire::IotlbMessage;

/// A change of what an endpoint meets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// A range is mapped.
    Map(Mapping),
    /// All memory is met by its own addresses.
    Bypass,
    /// Nothing that was known of a range, first and last IOVA, is so any more.
    Forget(u64, u64),
}

impl Change {
    /// Returns the messages that tell a back end that has `memory`.
    pub fn messages(&self, memory: &[MemoryRegion]) -> Vec<IotlbMessage> {
        match self {
            Self::Map(mapping) => updates(mapping, memory).collect(),
            Self::Bypass => memory.iter().map(identity).collect(),
            Self::Forget(first, last) => invalidations(*first, *last).collect(),
        }
    }
}

/// The mappings of an endpoint.
#[derive(Debug)]
pub(super) struct Mappings {
    to: Attachment,
    /// By first IOVA; empty unless attached to a domain.
    mapped: BTreeMap<u64, Mapping>,
}

impl Default for Mappings {
    fn default() -> Self {
        Self {
            to: Attachment::Blocked,
            mapped: BTreeMap::new(),
        }
    }
}

impl Mappings {
    /// Sets what the endpoint is attached to; nothing is mapped there yet.
    pub fn attach(&mut self, to: Attachment) {
        self.to = to;
        self.mapped.clear();
    }

    pub fn map(&mut self, mapping: Mapping) {
        self.mapped.insert(mapping.first, mapping);
    }

    /// Removes the mappings in a range.
    pub fn unmap(&mut self, first: u64, last: u64) {
        while first <= last
            && let Some((&iova, _)) = self.mapped.range(first..=last).next()
        {
            self.mapped.remove(&iova);
        }
    }

    /// Returns the changes that lead from nothing to what there is.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        let bypass = matches!(self.to, Attachment::Bypass).then_some(Change::Bypass);
        bypass
            .into_iter()
            .chain(self.mapped.values().copied().map(Change::Map))
    }
}

/// Returns the update that has a region met by its own addresses.
const fn identity(region: &MemoryRegion) -> IotlbMessage {
    let address = region.address;
    IotlbMessage::update(address, region.size, address, Permissions::ReadWrite)
}

/// Returns the messages that invalidate a range: two if the length of one has no number.
pub(super) fn invalidations(first: u64, last: u64) -> impl Iterator<Item = IotlbMessage> {
    let whole = (first, last) == (0, u64::MAX);
    let middle = u64::MAX / 2;
    let parts = match whole {
        true => [Some((0, middle)), Some((middle + 1, u64::MAX))],
        false => [Some((first, last)).filter(|_| first <= last), None],
    };
    parts
        .into_iter()
        .flatten()
        .map(|(first, last)| IotlbMessage::invalidate(first, last - first + 1))
}

/// Returns updates for the parts of a mapping that lead to memory.
pub(super) fn updates(
    mapping: &Mapping,
    memory: &[MemoryRegion],
) -> impl Iterator<Item = IotlbMessage> {
    let Mapping {
        first,
        last,
        address,
        permissions,
    } = *mapping;
    // A mapping that would go on beyond the last address ends there.
    let end = last
        .checked_sub(first)
        .filter(|_| permissions != Permissions::No)
        .map(|length| address.saturating_add(length));
    memory.iter().filter_map(move |region| {
        let from = region.address.max(address);
        let stop = region.address.checked_add(region.size.checked_sub(1)?)?;
        let size = end?.min(stop).checked_sub(from)?.checked_add(1)?;
        let iova = first + (from - address);
        Some(IotlbMessage::update(iova, size, from, permissions))
    })
}

#[cfg(test)]
mod tests;
