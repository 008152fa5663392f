//! Which requester IDs are which endpoints of which IOMMU.

use std::collections::BTreeMap;

use super::requester::{PciAddress, RequesterId};
use crate::fault::EndpointId;

/// Requester IDs that follow each other and are endpoints of one IOMMU that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequesterRange {
    /// The segment group.
    pub segment: u16,
    /// The first requester ID.
    pub first: RequesterId,
    /// The last one.
    pub last: RequesterId,
    /// The IOMMU, by its position in the VMM's list of them.
    pub iommu: usize,
    /// The endpoint that `first` is; those of the others follow.
    pub endpoint: EndpointId,
}

impl RequesterRange {
    /// Returns the range of all of a segment, whose first requester ID is `endpoint`.
    pub const fn segment(segment: u16, iommu: usize, endpoint: EndpointId) -> Self {
        Self {
            segment,
            first: RequesterId(0),
            last: RequesterId(u16::MAX),
            iommu,
            endpoint,
        }
    }

    /// Returns the range of one function.
    pub const fn function(address: PciAddress, iommu: usize, endpoint: EndpointId) -> Self {
        Self {
            segment: address.segment,
            first: address.requester,
            last: address.requester,
            iommu,
            endpoint,
        }
    }

    /// Returns how many requester IDs there are, less one.
    pub(super) fn distance(&self) -> u32 {
        u32::from(self.last.0 - self.first.0)
    }

    /// Returns the endpoint of one of the requester IDs.
    fn endpoint_of(&self, requester: RequesterId) -> EndpointId {
        EndpointId(self.endpoint.0 + u32::from(requester.0 - self.first.0))
    }
}

/// Ranges that do not overlap. Requester IDs that are in none are behind no IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequesterMap {
    /// By segment and first requester ID; in each, its first is not after its last, and the last
    /// endpoint is a number.
    ranges: BTreeMap<PciAddress, RequesterRange>,
}

impl RequesterMap {
    /// Creates a map without ranges.
    pub const fn new() -> Self {
        Self {
            ranges: BTreeMap::new(),
        }
    }

    /// Adds a range.
    ///
    /// # Errors
    /// [`MapError`]; then nothing changes.
    pub fn add(&mut self, range: RequesterRange) -> Result<(), MapError> {
        let (first, last) = (range.first, range.last);
        if first > last {
            return Err(MapError::Reversed { first, last });
        }
        let endpoint = range.endpoint;
        if endpoint.0.checked_add(range.distance()).is_none() {
            return Err(MapError::Endpoint { endpoint });
        }
        let end = PciAddress::new(range.segment, last);
        let before = self.ranges.range(..=end).next_back();
        // Of those that begin before the end, the last one reaches furthest.
        let overlaps =
            |other: &&RequesterRange| other.segment == range.segment && other.last >= first;
        if let Some(other) = before.map(|(_, other)| other).filter(overlaps) {
            let address = PciAddress::new(range.segment, first.max(other.first));
            return Err(MapError::Overlap { address });
        }
        let begin = PciAddress::new(range.segment, first);
        self.ranges.insert(begin, range);
        Ok(())
    }

    /// Removes one function, as an IOMMU that is itself a function of the segment has to be: it is
    /// behind no IOMMU. What is in no range is ignored.
    pub fn remove(&mut self, address: PciAddress) {
        let Some(range) = self.range_of(address) else {
            return;
        };
        let begin = PciAddress::new(range.segment, range.first);
        self.ranges.remove(&begin);
        let RequesterId(at) = address.requester;
        if range.first.0 < at {
            let last = RequesterId(at - 1);
            self.ranges.insert(begin, RequesterRange { last, ..range });
        }
        if at < range.last.0 {
            let first = RequesterId(at + 1);
            let endpoint = range.endpoint_of(first);
            let after = RequesterRange {
                first,
                endpoint,
                ..range
            };
            let begin = PciAddress::new(range.segment, first);
            self.ranges.insert(begin, after);
        }
    }

    /// Returns the IOMMU that a function is behind, and which of its endpoints it is.
    pub fn find(&self, address: PciAddress) -> Option<(usize, EndpointId)> {
        let range = self.range_of(address)?;
        Some((range.iommu, range.endpoint_of(address.requester)))
    }

    /// Returns the ranges, by segment and requester ID.
    pub fn ranges(&self) -> impl Iterator<Item = &RequesterRange> {
        self.ranges.values()
    }

    fn range_of(&self, address: PciAddress) -> Option<RequesterRange> {
        let (_, range) = self.ranges.range(..=address).next_back()?;
        (range.segment == address.segment && range.last >= address.requester).then_some(*range)
    }
}

/// Why a range cannot be in a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The first requester ID is behind the last.
    #[error("a range of requester IDs begins at {first}, behind its end at {last}")]
    Reversed {
        /// The first.
        first: RequesterId,
        /// The last.
        last: RequesterId,
    },
    /// Endpoints have 32 bits.
    #[error("a range of requester IDs leads beyond the last endpoint; its first is {}", endpoint.0)]
    Endpoint {
        /// The endpoint of the first requester ID.
        endpoint: EndpointId,
    },
    /// A requester ID is in another range.
    #[error("{address} is in another range of requester IDs")]
    Overlap {
        /// The first such.
        address: PciAddress,
    },
}
