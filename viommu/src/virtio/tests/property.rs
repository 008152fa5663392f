//! Random requests against a plain model: every status, and what every access comes to.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::harness::*;
use super::requests::reserved_config;
use crate::event::Event;
use crate::hit_check::HitCheck;
use crate::virtio::spec::*;
use crate::virtio::{EndpointConfig, ReservedKind, ReservedRegion, VirtioIommuConfig};

/// Pages of IOVA that are used: half of them at the beginning of the address space, half at its
/// end.
const PAGES: usize = 24;
const ENDPOINTS: [u32; 3] = [0, 7, u32::MAX];
/// The first endpoint has these reserved (pages).
const RESERVED: std::ops::RangeInclusive<usize> = 2..=3;

fn iova(page: usize) -> u64 {
    let half = PAGES / 2;
    if page < half {
        page as u64 * 0x1000
    } else {
        ((PAGES - page) as u64 * 0x1000).wrapping_neg()
    }
}

/// Returns where RAM has a byte for each of the pages.
fn physical(page: usize) -> u64 {
    RAM + 0x20_0000 + page as u64 * 0x1000
}

#[derive(Clone, Debug)]
enum Step {
    Attach {
        domain: u32,
        endpoint: usize,
        bypass: bool,
    },
    Detach {
        domain: u32,
        endpoint: usize,
    },
    Map {
        domain: u32,
        first: usize,
        last: usize,
        to: usize,
        flags: u32,
    },
    Unmap {
        domain: u32,
        first: usize,
        last: usize,
    },
    /// Serve what is there, and look.
    Serve,
    /// Save, and go on with a new device.
    Move,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let domain = 0u32..4;
    let page = 0..PAGES;
    prop_oneof![
        3 => (domain.clone(), 0usize..4, prop::bool::weighted(0.1))
            .prop_map(|(domain, endpoint, bypass)| Step::Attach { domain, endpoint, bypass }),
        1 => (domain.clone(), 0usize..4)
            .prop_map(|(domain, endpoint)| Step::Detach { domain, endpoint }),
        8 => (domain.clone(), page.clone(), 0usize..4, page.clone(), 0u32..5)
            .prop_map(|(domain, first, more, to, flags)| Step::Map {
                domain, first, last: (first + more).min(PAGES - 1), to, flags
            }),
        5 => (domain, page.clone(), page)
            .prop_map(|(domain, a, b)| Step::Unmap { domain, first: a, last: b }),
        6 => Just(Step::Serve),
        1 => Just(Step::Move),
        1 => Just(Step::Reset),
    ]
}

/// A mapped page: the number of its mapping, where it leads, and how it may be used.
#[derive(Clone, Copy, Debug)]
struct Page {
    mapping: u64,
    address: u64,
    flags: u32,
}

#[derive(Clone, Debug)]
struct PlainDomain {
    bypass: bool,
    pages: [Option<Page>; PAGES],
}

#[derive(Debug, Default)]
struct Plain {
    domains: BTreeMap<u32, PlainDomain>,
    attached: BTreeMap<usize, u32>,
    count: u64,
}

impl Plain {
    fn leave(&mut self, endpoint: usize) {
        if let Some(domain) = self.attached.remove(&endpoint)
            && !self.attached.values().any(|other| *other == domain)
        {
            self.domains.remove(&domain);
        }
    }

    fn attach(&mut self, id: u32, endpoint: usize, bypass: bool) -> Status {
        if endpoint >= ENDPOINTS.len() {
            return Status::NoEnt;
        }
        if let Some(domain) = self.domains.get(&id) {
            if domain.bypass != bypass {
                return Status::Inval;
            }
            if self.attached.get(&endpoint) == Some(&id) {
                return Status::Ok;
            }
            if endpoint == 0 && domain.pages[RESERVED].iter().any(Option::is_some) {
                return Status::Unsupp;
            }
        }
        self.leave(endpoint);
        self.attached.insert(endpoint, id);
        self.domains.entry(id).or_insert(PlainDomain {
            bypass,
            pages: [None; PAGES],
        });
        Status::Ok
    }

    fn detach(&mut self, id: u32, endpoint: usize) -> Status {
        if endpoint >= ENDPOINTS.len() {
            return Status::NoEnt;
        }
        if self.attached.get(&endpoint) != Some(&id) {
            return Status::Inval;
        }
        self.leave(endpoint);
        Status::Ok
    }

    fn map(&mut self, id: u32, first: usize, last: usize, to: usize, flags: u32) -> Status {
        // Flag 4 is MMIO, which is not offered here.
        if flags & 4 != 0 {
            return Status::Inval;
        }
        let reserved = self.attached.get(&0) == Some(&id);
        let Some(domain) = self.domains.get_mut(&id) else {
            return Status::NoEnt;
        };
        if domain.bypass {
            return Status::Inval;
        }
        // The two halves are one range only in name: between them lies nearly all of the address
        // space.
        let across = first < PAGES / 2 && last >= PAGES / 2;
        if across {
            // From `first` to the end of 2^64 nothing leads beyond 2^64 only from address 0 on.
            return Status::Range;
        }
        if reserved && (first..=last).any(|page| RESERVED.contains(&page)) {
            return Status::Inval;
        }
        if domain.pages[first..=last].iter().any(Option::is_some) {
            return Status::Inval;
        }
        self.count += 1;
        for page in first..=last {
            domain.pages[page] = Some(Page {
                mapping: self.count,
                address: physical(to) + (page - first) as u64 * 0x1000,
                flags,
            });
        }
        Status::Ok
    }

    fn unmap(&mut self, id: u32, first: usize, last: usize) -> Status {
        let Some(domain) = self.domains.get_mut(&id) else {
            return Status::NoEnt;
        };
        if domain.bypass || first > last {
            return Status::Inval;
        }
        let within: Vec<u64> = domain.pages[first..=last]
            .iter()
            .flatten()
            .map(|page| page.mapping)
            .collect();
        let outside = domain.pages[..first]
            .iter()
            .chain(&domain.pages[last + 1..]);
        if outside.flatten().any(|page| within.contains(&page.mapping)) {
            return Status::Range;
        }
        domain.pages[first..=last].fill(None);
        Status::Ok
    }

    /// Returns where an access to a page of IOVA leads, if it is allowed.
    fn resolve(&self, endpoint: usize, page: usize, flag: u32) -> Option<u64> {
        let domain = &self.domains[self.attached.get(&endpoint)?];
        if domain.bypass {
            return Some(iova(page));
        }
        let page = domain.pages[page]?;
        (page.flags & flag != 0).then_some(page.address)
    }
}

fn number(endpoint: usize) -> u32 {
    // The index behind the last stands for an endpoint that does not exist.
    ENDPOINTS.get(endpoint).copied().unwrap_or(1)
}

fn configuration() -> VirtioIommuConfig {
    let mut config = VirtioIommuConfig::new(ENDPOINTS.map(EndpointConfig::new));
    config.endpoints[0].reserved = vec![ReservedRegion {
        first: iova(*RESERVED.start()),
        last: iova(*RESERVED.end()) + 0xfff,
        kind: ReservedKind::Reserved,
    }];
    config.bypass_config = Some(false);
    config.mmio = false;
    // Small, so that entries are displaced.
    config.cache.entries = 16;
    config
}

fn wire(step: &Step) -> Vec<u8> {
    match *step {
        Step::Attach {
            domain,
            endpoint,
            bypass,
        } => attach_with(domain, number(endpoint), u32::from(bypass), 0),
        Step::Detach { domain, endpoint } => detach(domain, number(endpoint)),
        Step::Map {
            domain,
            first,
            last,
            to,
            flags,
        } => map(domain, iova(first), iova(last) + 0xfff, physical(to), flags),
        Step::Unmap {
            domain,
            first,
            last,
        } => unmap(domain, iova(first), iova(last).wrapping_add(0xfff)),
        Step::Serve | Step::Move | Step::Reset => unreachable!("no request"),
    }
}

/// A device, its driver, and what the driver waits for.
struct Run {
    machine: Machine,
    plain: Plain,
    expected: Vec<(u16, (u64, u32), Status)>,
}

impl Run {
    fn new(check: HitCheck) -> Self {
        let mut config = configuration();
        config.cache.check = check;
        let machine = Machine::active(config);
        // A mapping that leads to the last page may go on behind it.
        for page in 0..PAGES + 4 {
            machine
                .ram
                .write_obj(page as u8, GuestAddress(physical(page)))
                .unwrap();
        }
        Self {
            machine,
            plain: Plain::default(),
            expected: Vec::new(),
        }
    }

    fn serve(&mut self) {
        let served = self.machine.serve();
        assert!(!served.pending && !served.more);
        for (head, place, status) in self.expected.drain(..) {
            assert_eq!(
                self.machine.requests.take_used(),
                Some((u32::from(head), 4))
            );
            let answer = self.machine.requests.bytes(&[place]);
            assert_eq!(answer, [status as u8, 0, 0, 0]);
        }
        assert_eq!(self.machine.requests.take_used(), None);
    }

    fn look(&self) {
        for endpoint in 0..ENDPOINTS.len() {
            let dma = self.machine.dma(number(endpoint));
            for page in 0..PAGES {
                let at = GuestAddress(iova(page));
                let memory = |flag| {
                    let address = self.plain.resolve(endpoint, page, flag)?;
                    self.machine.ram.read_obj::<u8>(GuestAddress(address)).ok()
                };
                let expected = memory(map_flag::READ);
                assert_eq!(dma.read_obj::<u8>(at).ok(), expected, "{endpoint} {page}");
                let expected = memory(map_flag::WRITE);
                // What is there already: pages keep the bytes by which they are told apart.
                let value = expected.unwrap_or(0xee);
                assert_eq!(dma.write_obj(value, at).is_ok(), expected.is_some());
            }
        }
        let pages = self.plain.domains.values().flat_map(|domain| &domain.pages);
        let mut mappings: Vec<_> = pages.flatten().map(|page| page.mapping).collect();
        mappings.sort_unstable();
        mappings.dedup();
        assert_eq!(self.machine.iommu.mappings(), mappings.len());
    }

    fn step(&mut self, step: &Step) {
        let plain = &mut self.plain;
        let status = match *step {
            Step::Attach {
                domain,
                endpoint,
                bypass,
            } => plain.attach(domain, endpoint, bypass),
            Step::Detach { domain, endpoint } => plain.detach(domain, endpoint),
            Step::Map {
                domain,
                first,
                last,
                to,
                flags,
            } => plain.map(domain, first, last, to, flags),
            Step::Unmap {
                domain,
                first,
                last,
            } => plain.unmap(domain, first, last),
            Step::Serve => {
                self.serve();
                self.look();
                return;
            }
            Step::Move => {
                self.serve();
                let saved = self.machine.iommu.save();
                let text = serde_json::to_string(&saved).unwrap();
                let saved = serde_json::from_str(&text).unwrap();
                // As good as a new device: only what was saved can come back.
                self.machine.iommu.system_reset();
                self.machine.iommu.restore(&saved).unwrap();
                assert_eq!(self.machine.iommu.save(), saved);
                return;
            }
            Step::Reset => {
                self.serve();
                self.machine.iommu.reset();
                let offered = self.machine.iommu.offered_features();
                self.machine.iommu.activate(offered).unwrap();
                self.plain = Plain::default();
                self.look();
                return;
            }
        };
        let parts = [Part::In(wire(step)), Part::Out(4)];
        let (head, writable) = if self.expected.len() % 3 == 0 {
            self.machine.requests.send_indirect(&parts)
        } else {
            self.machine.requests.send(&parts)
        };
        self.expected.push((head, writable[0], status));
        // Two descriptors each at most.
        if self.expected.len() >= usize::from(SIZE / 2) {
            self.serve();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A driver's mappings are requests, which invalidate: no hit is ever stale.
    #[test]
    fn requests_and_accesses_are_as_the_plain_model_says(
        steps in prop::collection::vec(step(), 1..150),
        check in prop_oneof![Just(HitCheck::Off), Just(HitCheck::On), Just(HitCheck::KeepAll)],
    ) {
        let mut run = Run::new(check);
        for step in &steps {
            run.step(step);
        }
        run.serve();
        run.look();
        let events = run.machine.log.events.lock().unwrap();
        let mut events = events.iter();
        prop_assert!(!events.any(|event| matches!(event, Event::StaleHit(_))));
    }
}

#[test]
fn configurations_of_other_tests_are_sound() {
    assert_eq!(reserved_config().check(), Ok(()));
    assert_eq!(configuration().check(), Ok(()));
}
