//! Requests to a virtio-iommu: MAP of what is mapped, UNMAP of what is not.
//!
//! By the specification (VIRTIO 1.3, 5.13.6.5 and 5.13.6.6) a MAP that overlaps a mapping is
//! refused, as is an UNMAP that would cut one in two; an UNMAP of a range without any mapping is
//! none that is refused. An IOMMU is followed from the reset by its driver on: what was mapped
//! before a snapshot is not known.

use std::collections::{BTreeMap, BTreeSet};

use viommu::virtio::Request;
use viommu::virtio::spec::Status;
use vmm_devices::virtio::iommu::DriverEvent;
use vmm_machine::{IommuEvent, IommuInfo, VirtioEvent};

use crate::sanitizer::{Outside, Part};
use crate::{Kind, Report};

/// Most mappings that are kept, of all virtio-iommus. Of an IOMMU with more nothing is said until
/// its next reset.
const MAX_MAPPINGS: usize = 1 << 18;

/// The virtio-iommus that are followed, by name.
#[derive(Default)]
pub(super) struct Requests {
    iommus: BTreeMap<String, Driver>,
    /// The number of mappings, of all of them.
    count: usize,
}

/// What the driver of one has done since it was reset.
#[derive(Default)]
struct Driver {
    domains: BTreeMap<u32, Domain>,
    /// The domain of each endpoint.
    attached: BTreeMap<u32, u32>,
}

/// A domain.
#[derive(Default)]
struct Domain {
    /// The mappings: the last address of each, by the first.
    mappings: BTreeMap<u64, u64>,
    endpoints: BTreeSet<u32>,
}

impl Domain {
    /// Returns a mapping that has some address of `first..=last`.
    fn within(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let (&start, &end) = self.mappings.range(..=last).next_back()?;
        (end >= first).then_some((start, end))
    }

    /// Returns the mapping that has `address`, and addresses on both sides of the cut before it.
    fn cut_before(&self, address: u64) -> Option<(u64, u64)> {
        self.within(address, address)
            .filter(|(first, _)| *first < address)
    }
}

impl Driver {
    /// Detaches an endpoint; returns how many mappings went with its domain, which was its last.
    fn detach(&mut self, endpoint: u32) -> usize {
        let Some(domain) = self.attached.remove(&endpoint) else {
            return 0;
        };
        let Some(left) = self.domains.get_mut(&domain) else {
            return 0;
        };
        left.endpoints.remove(&endpoint);
        if !left.endpoints.is_empty() {
            return 0;
        }
        let gone = self.domains.remove(&domain);
        gone.map_or(0, |domain| domain.mappings.len())
    }

    fn mappings(&self) -> usize {
        let domains = self.domains.values();
        domains.map(|domain| domain.mappings.len()).sum()
    }
}

impl Part for Requests {
    fn event(
        &mut self,
        iommu: &IommuInfo,
        at_ns: u64,
        event: &IommuEvent<'_>,
        outside: &Outside<'_>,
    ) {
        match event {
            IommuEvent::Virtio(VirtioEvent::Driver(DriverEvent::Reset)) => {
                self.forget(iommu);
                self.iommus.insert(iommu.name.clone(), Driver::default());
            }
            IommuEvent::Virtio(VirtioEvent::Request(exchange)) => {
                if let (Some(request), Some(status)) = (exchange.request, exchange.status)
                    && let Some((kind, iova, text)) = self.request(iommu, request, status)
                {
                    let text = format!("{}: {text}", iommu.name);
                    let report = Report::new(kind, at_ns, &iommu.name, iova, text);
                    outside.reports.add(report);
                }
            }
            _ => {}
        }
    }
}

impl Requests {
    fn forget(&mut self, iommu: &IommuInfo) {
        if let Some(driver) = self.iommus.remove(&iommu.name) {
            self.count -= driver.mappings();
        }
    }

    /// Takes note of a request that was answered so, and returns what is wrong with it: the kind,
    /// the address, and what happened.
    fn request(
        &mut self,
        iommu: &IommuInfo,
        request: Request,
        status: Status,
    ) -> Option<(Kind, u64, String)> {
        let done = status == Status::Ok;
        let driver = self.iommus.get_mut(&iommu.name)?;
        match request {
            Request::Attach {
                domain, endpoint, ..
            } if done => {
                if driver.attached.get(&endpoint) != Some(&domain) {
                    self.count -= driver.detach(endpoint);
                }
                driver.attached.insert(endpoint, domain);
                let domain = driver.domains.entry(domain).or_default();
                domain.endpoints.insert(endpoint);
            }
            Request::Detach { endpoint, .. } if done => self.count -= driver.detach(endpoint),
            Request::Map {
                domain,
                first,
                last,
                ..
            } => {
                let domain = driver.domains.get_mut(&domain)?;
                if !done {
                    let (start, end) = domain.within(first, last)?;
                    let text = format!(
                        "MAP of {first:#x} to {last:#x} was refused, as {start:#x} to {end:#x} is mapped"
                    );
                    return Some((Kind::DoubleMap, first, text));
                }
                domain.mappings.insert(first, last);
                self.count += 1;
                if self.count > MAX_MAPPINGS {
                    self.forget(iommu);
                }
            }
            Request::Unmap {
                domain,
                first,
                last,
            } => {
                let domain = driver.domains.get_mut(&domain)?;
                let range = format!("UNMAP of {first:#x} to {last:#x}");
                let Some(_) = domain.within(first, last) else {
                    let text = format!("{range}, where nothing is mapped");
                    return Some((Kind::DoubleUnmap, first, text));
                };
                if !done {
                    let after = last.checked_add(1);
                    let cut = domain
                        .cut_before(first)
                        .or_else(|| domain.cut_before(after?));
                    let (start, end) = cut?;
                    let text = format!(
                        "{range} was refused, as it would cut {start:#x} to {end:#x} in two"
                    );
                    return Some((Kind::DoubleUnmap, first, text));
                }
                let gone: Vec<u64> = domain
                    .mappings
                    .range(first..=last)
                    .map(|(&first, _)| first)
                    .collect();
                for first in &gone {
                    domain.mappings.remove(first);
                }
                self.count -= gone.len();
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use viommu::virtio::Exchange;
    use vmm_machine::{IommuModel, IommuSink};

    use super::*;
    use crate::Sanitizer;

    struct Rig {
        sanitizer: Arc<Sanitizer>,
        sink: Arc<dyn IommuSink>,
        iommu: IommuInfo,
    }

    impl Rig {
        fn new() -> Self {
            let options = "dma=double-map,double-unmap".parse().unwrap();
            let sanitizer = Sanitizer::new(options, Box::new(|_| ()));
            Self {
                sink: sanitizer.sink(),
                sanitizer,
                iommu: IommuInfo {
                    name: "iommu0".into(),
                    contexts_of: "iommu0".into(),
                    model: IommuModel::Virtio,
                    masters: Vec::new(),
                    sources: Vec::new(),
                },
            }
        }

        fn sees(&self, event: &VirtioEvent<'_>) {
            self.sink.event(&self.iommu, 5, &IommuEvent::Virtio(event));
        }

        fn reset(&self) {
            self.sees(&VirtioEvent::Driver(DriverEvent::Reset));
        }

        fn answered(&self, request: Request, status: Status) {
            let exchange = Exchange {
                readable: &[],
                writable: 4,
                request: Some(request),
                properties: &[],
                status: Some(status),
                written: 4,
            };
            self.sees(&VirtioEvent::Request(&exchange));
        }

        fn attach(&self, domain: u32, endpoint: u32) {
            let request = Request::Attach {
                domain,
                endpoint,
                flags: 0,
                reserved: 0,
            };
            self.answered(request, Status::Ok);
        }

        fn map(&self, first: u64, last: u64, status: Status) {
            let request = Request::Map {
                domain: 1,
                first,
                last,
                address: 0,
                flags: 3,
            };
            self.answered(request, status);
        }

        fn unmap(&self, first: u64, last: u64, status: Status) {
            let domain = 1;
            self.answered(
                Request::Unmap {
                    domain,
                    first,
                    last,
                },
                status,
            );
        }

        /// Returns what was found since it was last asked.
        fn found(&self, before: usize) -> Vec<(Kind, String)> {
            let reports = self.sanitizer.finish(9).reports;
            let new = reports.into_iter().skip(before);
            new.map(|report| (report.kind, report.text)).collect()
        }
    }

    #[test]
    fn what_is_mapped_or_unmapped_twice_is_reported() {
        let rig = Rig::new();
        // What was before is not known.
        rig.attach(1, 3);
        rig.unmap(0x9000, 0x9fff, Status::Ok);
        rig.reset();
        rig.attach(1, 3);
        rig.map(0x1000, 0x2fff, Status::Ok);
        rig.map(0x5000, 0x5fff, Status::Ok);
        // Refused for other reasons.
        rig.map(0x8001, 0x8fff, Status::Range);
        rig.unmap(0x1000, 0x5fff, Status::DevErr);
        assert_eq!(rig.found(0), []);
        rig.map(0x2000, 0x7fff, Status::Inval);
        rig.unmap(0x3000, 0x4fff, Status::Ok);
        rig.unmap(0, 0x1fff, Status::Range);
        rig.unmap(0x2000, 0x2fff, Status::Range);
        let words = |text: &str| format!("iommu0: {text}");
        let cut = "was refused, as it would cut 0x1000 to 0x2fff in two";
        assert_eq!(
            rig.found(0),
            [
                (
                    Kind::DoubleMap,
                    words("MAP of 0x2000 to 0x7fff was refused, as 0x5000 to 0x5fff is mapped")
                ),
                (
                    Kind::DoubleUnmap,
                    words("UNMAP of 0x3000 to 0x4fff, where nothing is mapped")
                ),
                (
                    Kind::DoubleUnmap,
                    words(&format!("UNMAP of 0x0 to 0x1fff {cut}"))
                ),
                (
                    Kind::DoubleUnmap,
                    words(&format!("UNMAP of 0x2000 to 0x2fff {cut}"))
                ),
            ]
        );
        rig.unmap(0x1000, 0x2fff, Status::Ok);
        rig.map(0x1000, 0x1fff, Status::Ok);
        rig.unmap(0, u64::MAX, Status::Ok);
        assert_eq!(rig.found(4), []);
        rig.unmap(0x1000, 0x1fff, Status::Ok);
        assert_eq!(rig.found(4).len(), 1);
    }

    #[test]
    fn a_domain_is_gone_with_its_last_endpoint() {
        let rig = Rig::new();
        rig.reset();
        rig.attach(1, 3);
        rig.attach(1, 4);
        rig.map(0x1000, 0x1fff, Status::Ok);
        rig.attach(2, 3);
        rig.unmap(0x1000, 0x1fff, Status::Ok);
        rig.map(0x1000, 0x1fff, Status::Ok);
        assert_eq!(rig.found(0), []);
        let (domain, endpoint) = (1, 4);
        rig.answered(Request::Detach { domain, endpoint }, Status::Ok);
        rig.attach(1, 4);
        rig.unmap(0x1000, 0x1fff, Status::Ok);
        assert_eq!(rig.found(0).len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let rig = Rig::new();
        rig.reset();
        rig.attach(1, 3);
        for page in 0..=MAX_MAPPINGS as u64 {
            rig.map(page << 12, page << 12 | 0xfff, Status::Ok);
        }
        rig.unmap(u64::MAX, u64::MAX, Status::Ok);
        assert_eq!(rig.found(0), []);
        rig.reset();
        rig.attach(1, 3);
        rig.unmap(u64::MAX, u64::MAX, Status::Ok);
        assert_eq!(rig.found(0).len(), 1);
    }
}
