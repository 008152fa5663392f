//! The mappings that a virtio-iommu has, from the requests that it carried out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use viommu::virtio::Request;
use viommu::virtio::spec::Status;
use vmm_machine::{IommuEvent, IommuInfo, IommuSink, VirtioEvent};

/// A domain's mappings by their first address: the last one, and the address that the first leads
/// to.
type Domain = BTreeMap<u64, (u64, u64)>;

/// The mappings of all endpoints of a machine's virtio-iommu.
#[derive(Debug, Default)]
pub(super) struct Mappings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The domain of each endpoint that is attached.
    domain_of: BTreeMap<u32, u32>,
    domains: BTreeMap<u32, Domain>,
}

impl Mappings {
    /// Returns where `iova` leads for `endpoint`, if it is mapped.
    pub fn find(&self, endpoint: u32, iova: u64) -> Option<u64> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let domain = state.domains.get(state.domain_of.get(&endpoint)?)?;
        // Mappings do not overlap: only the last one that begins at or before it can have it.
        let (first, (last, address)) = domain.range(..=iova).next_back()?;
        (iova <= *last).then(|| address.wrapping_add(iova - first))
    }
}

impl State {
    /// Repeats what the device did.
    fn carry_out(&mut self, request: &Request) {
        match *request {
            Request::Attach {
                domain, endpoint, ..
            } => {
                // An endpoint that was in another domain leaves it: ATTACH needs no DETACH before.
                self.domain_of.insert(endpoint, domain);
            }
            Request::Detach { endpoint, .. } => {
                self.domain_of.remove(&endpoint);
            }
            Request::Map {
                domain,
                first,
                last,
                address,
                ..
            } => {
                let domain = self.domains.entry(domain).or_default();
                domain.insert(first, (last, address));
            }
            Request::Unmap {
                domain,
                first,
                last,
            } => {
                let domain = self.domains.entry(domain).or_default();
                // A mapping goes only as a whole, and only if all of it is in the range (virtio
                // 1.2, 5.13.6.6).
                domain.retain(|from, (to, _)| *from < first || *to > last);
            }
            // PROBE changes nothing; of requests of a later version nothing is known.
            _ => {}
        }
        // A domain that no endpoint is attached to is gone, with all that is mapped in it.
        let used = &self.domain_of;
        self.domains
            .retain(|number, _| used.values().any(|domain| domain == number));
    }
}

impl IommuSink for Mappings {
    fn event(&self, _iommu: &IommuInfo, _at_ns: u64, event: &IommuEvent<'_>) {
        let IommuEvent::Virtio(VirtioEvent::Request(exchange)) = event else {
            return;
        };
        // A request that was refused has changed nothing.
        if let (Some(request), Some(Status::Ok)) = (&exchange.request, exchange.status) {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.carry_out(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_come_and_go_with_requests_and_domains() {
        let mappings = Mappings::default();
        let does = |request: Request| mappings.0.lock().unwrap().carry_out(&request);
        let attach = |domain| Request::Attach {
            domain,
            endpoint: 3,
            flags: 0,
            reserved: 0,
        };
        let map = |first, last| Request::Map {
            domain: 1,
            first,
            last,
            address: 0x8000_0000 + first,
            flags: 3,
        };
        does(attach(1));
        does(map(0, 0xfff));
        does(map(0x2000, 0x4fff));
        assert_eq!(mappings.find(3, 0x10), Some(0x8000_0010));
        assert_eq!(mappings.find(3, 0x4fff), Some(0x8000_4fff));
        assert_eq!(mappings.find(3, 0x1000), None);
        assert_eq!(mappings.find(4, 0), None);
        does(Request::Unmap {
            domain: 1,
            first: 0x1000,
            last: 0x4fff,
        });
        assert_eq!(mappings.find(3, 0x2000), None);
        assert_eq!(mappings.find(3, 0), Some(0x8000_0000));
        does(attach(2));
        does(attach(1));
        assert_eq!(mappings.find(3, 0), None, "the domain was gone meanwhile");
    }
}
