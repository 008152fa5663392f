//! What a device's endpoint meets, as its listener was told.

use std::collections::BTreeMap;

use viommu::vm_memory::Permissions;
use viommu::{Attachment, Mapping, Target, Translation};

use crate::wire::IotlbMessage;

/// The smallest page of an IOMMU: addresses in one page are translated alike.
const PAGE: u64 = 0x1000;

/// Guest memory, by guest physical address: first and last.
pub(super) type Ranges = Vec<(u64, u64)>;

/// The mappings of an endpoint, and the guest's memory.
///
/// The addresses that a back end is given as the front end's own are guest physical addresses: they
/// only have to be the same in all messages, and so it learns nothing of where the VMM's memory is.
#[derive(Debug)]
pub(super) struct Mappings {
    pub to: Attachment,
    /// By first IOVA; empty unless attached to a domain.
    told: BTreeMap<u64, Mapping>,
    ranges: Ranges,
    /// Counts what was unmapped or invalidated.
    pub changes: u64,
}

impl Default for Mappings {
    fn default() -> Self {
        Self {
            to: Attachment::Blocked,
            told: BTreeMap::new(),
            ranges: Vec::new(),
            changes: 0,
        }
    }
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

impl Mappings {
    /// Sets where guest memory is.
    pub fn set_ranges(&mut self, ranges: Ranges) {
        self.ranges = ranges;
        self.changes += 1;
    }

    pub fn add_range(&mut self, range: (u64, u64)) {
        self.ranges.push(range);
        self.changes += 1;
    }

    pub fn remove_range(&mut self, range: (u64, u64)) {
        self.ranges.retain(|one| *one != range);
        self.changes += 1;
    }

    /// Sets what the endpoint is attached to; nothing is mapped there yet.
    pub fn attach(&mut self, to: Attachment) {
        self.to = to;
        self.told.clear();
        self.changes += 1;
    }

    pub fn map(&mut self, mapping: Mapping) {
        self.told.insert(mapping.first, mapping);
    }

    /// Removes the mappings in a range; returns whether there were any.
    pub fn unmap(&mut self, first: u64, last: u64) -> bool {
        self.changes += 1;
        let before = self.told.len();
        while let Some((&iova, _)) = self.told.range(first..=last).next() {
            self.told.remove(&iova);
        }
        self.told.len() != before
    }

    /// Returns the messages that tell of a mapping: one for each piece of guest memory.
    pub fn updates(&self, mapping: &Mapping) -> impl Iterator<Item = IotlbMessage> {
        let Mapping {
            first,
            last,
            address,
            permissions,
        } = *mapping;
        let end = address.checked_add(last - first);
        let ranges = self.ranges.iter();
        let ranges = ranges.filter(move |_| permissions != Permissions::No);
        ranges.filter_map(move |&(start, stop)| {
            let (from, to) = (address.max(start), end?.min(stop));
            // A mapping of all 64 bits has no length; so much memory there is not.
            let size = to.checked_sub(from)?.checked_add(1)?;
            let iova = first + (from - address);
            Some(IotlbMessage::update(iova, size, from, permissions))
        })
    }

    /// Returns the messages that tell of everything that is mapped.
    pub fn everything(&self) -> Vec<IotlbMessage> {
        let told = self.told.values().flat_map(|mapping| self.updates(mapping));
        told.chain(self.bypassing()).collect()
    }

    fn bypassing(&self) -> impl Iterator<Item = IotlbMessage> {
        let bypasses = self.to == Attachment::Bypass;
        let ranges = self.ranges.iter().filter(move |_| bypasses);
        ranges.filter_map(|&(start, stop)| {
            let size = (stop - start).checked_add(1)?;
            Some(IotlbMessage::update(
                start,
                size,
                start,
                Permissions::ReadWrite,
            ))
        })
    }

    /// Returns the message that answers a miss from what was told.
    pub fn find(&self, iova: u64, wanted: Permissions) -> Option<IotlbMessage> {
        let mapping = self.told.range(..=iova).next_back().map(|(_, told)| *told);
        let told = mapping.into_iter().flat_map(|mapping| {
            let pieces: Vec<_> = self.updates(&mapping).collect();
            pieces
        });
        let fits = |update: &IotlbMessage| {
            iova.checked_sub(update.iova)
                .is_some_and(|offset| offset < update.size)
                && update.permissions & wanted == wanted
        };
        told.chain(self.bypassing()).find(fits)
    }
}

/// Returns the message that answers a miss with what a translation of the page says.
pub(super) fn answer(
    iova: u64,
    wanted: Permissions,
    translate: impl FnOnce(u64, Permissions) -> Option<Translation>,
) -> Option<IotlbMessage> {
    let first = iova & !(PAGE - 1);
    let found = translate(first, wanted)?;
    let (size, address) = (found.length, found.address);
    let reaches = iova - first < size && found.permissions & wanted == wanted;
    let fits = first.checked_add(size - 1).is_some() && address.checked_add(size).is_some();
    let is_memory = found.target == Target::Ram;
    let update = IotlbMessage::update(first, size, address, found.permissions);
    Some(update).filter(|_| reaches && fits && is_memory)
}
