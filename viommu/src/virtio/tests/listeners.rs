//! Listeners, and the example of one: a container that follows an endpoint.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, Permissions};

use super::harness::*;
use crate::listener::{DmaListener, Refusal};
use crate::model::Mapping;
use crate::virtio::spec::{Status, attach_flag, config, map_flag};
use crate::virtio::{EndpointConfig, ListenError, RestoreError, VirtioIommuState};
use crate::{Attachment, CacheConfig};
use example::{Container, VfioListener};

#[path = "../../../examples/vfio_listener.rs"]
#[expect(dead_code, reason = "it is a program")]
mod example;

/// Where each page leads in the host, and what is allowed.
type Pages = BTreeMap<u64, (u64, Permissions)>;

/// A container that can be looked into, and refuses by plan.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    pages: Pages,
    /// Whether the next mapping is refused, and those after it; taken from the end.
    refusals: Vec<bool>,
    calls: usize,
}

impl Container for Fake {
    fn dma_map(&self, iova: u64, size: u64, user_addr: u64, allow: Permissions) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.calls += 1;
        if inside.refusals.pop() == Some(true) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        for page in 0..size >> 12 {
            let to = (user_addr + (page << 12), allow);
            let before = inside.pages.insert(iova + (page << 12), to);
            assert!(before.is_none(), "mapped twice");
        }
        Ok(())
    }

    fn dma_unmap(&self, iova: u64, size: u64) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        inside.calls += 1;
        let last = iova + (size - 1);
        let before = inside.pages.len();
        inside.pages.retain(|page, _| !(iova..=last).contains(page));
        assert!(inside.pages.len() < before);
        Ok(())
    }
}

impl Fake {
    fn listener(&self, machine: &Machine) -> Box<dyn DmaListener> {
        Box::new(VfioListener::new(self.clone(), Arc::clone(&machine.ram)))
    }

    fn pages(&self) -> Pages {
        self.0.lock().unwrap().pages.clone()
    }

    fn calls(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn refuse(&self, refusals: &[bool]) {
        self.0.lock().unwrap().refusals = refusals.to_vec();
    }
}

/// Returns what an endpoint meets, by the translation path and what is mapped.
fn met(machine: &Machine, endpoint: u32) -> Pages {
    let mut pages = Pages::new();
    let mut put = |first: u64, last: u64, address: u64, allow| {
        for page in 0..=(last - first) >> 12 {
            let at = GuestAddress(address + (page << 12));
            let host = machine.ram.get_host_address(at).unwrap();
            pages.insert(first + (page << 12), (host.addr() as u64, allow));
        }
    };
    let position = machine.iommu.shared.domains().endpoint(endpoint).unwrap();
    let to = machine
        .iommu
        .unit()
        .attachment(crate::EndpointId(position as u32));
    match to {
        Attachment::Blocked => {}
        Attachment::Bypass => {
            for region in machine.ram.iter() {
                let (first, last) = (region.start_addr().0, region.last_addr().0);
                put(first, last, first, Permissions::ReadWrite);
            }
        }
        Attachment::Domain(_) => {
            let domain = machine.iommu.domain_of(endpoint).unwrap();
            let state = machine.iommu.save();
            let domain = state.domains.iter().find(|one| one.id == domain).unwrap();
            for mapping in domain.mappings.as_ref().unwrap() {
                let allow = match mapping.flags & 3 {
                    0 => continue,
                    1 => Permissions::Read,
                    2 => Permissions::Write,
                    _ => Permissions::ReadWrite,
                };
                put(mapping.first, mapping.last, mapping.address, allow);
            }
        }
    }
    pages
}

fn follow(machine: &mut Machine, endpoint: u32) -> Fake {
    let fake = Fake::default();
    let listener = fake.listener(machine);
    machine.iommu.add_listener(endpoint, listener).unwrap();
    fake
}

#[test]
fn a_listener_follows_from_the_replay_to_the_reset() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0, 0x2fff, RAM));
    machine.ok(map(1, 0x4000, 0x4fff, RAM, 0));
    let fake = follow(&mut machine, EP);
    assert_eq!(
        fake.pages().len(),
        3,
        "what is there is told, not what allows nothing"
    );
    machine.ok(map(1, 0x8000, 0x8fff, RAM, map_flag::READ));
    machine.ok(unmap(1, 0, u64::MAX));
    assert_eq!(fake.pages(), Pages::new());
    machine.ok(map_rw(1, 0, 0xfff, RAM));
    machine.ok(attach(2, OTHER));
    machine.ok(map_rw(2, 0x1000, 0x1fff, RAM));
    machine.ok(attach(2, EP));
    assert_eq!(fake.pages(), met(&machine, EP));
    assert!(fake.pages().contains_key(&0x1000));
    machine.ok(detach(2, EP));
    assert_eq!(fake.pages(), Pages::new());
    machine.ok(attach_with(3, EP, attach_flag::BYPASS, 0));
    assert_eq!(fake.pages().len() as u64, RAM_SIZE >> 12);
    machine.iommu.reset();
    assert_eq!(fake.pages(), Pages::new());
    let offered = machine.iommu.offered_features();
    machine.iommu.activate(offered).unwrap();
    machine.iommu.write_config(config::BYPASS as u64, &[1]);
    assert_eq!(fake.pages(), met(&machine, EP));
    assert!(machine.iommu.remove_endpoint(EP).unwrap().is_over());
    assert_eq!(fake.pages(), Pages::new());
    let unknown = machine.iommu.add_listener(EP, fake.listener(&machine));
    assert_eq!(unknown, Err(ListenError::Unknown(EP)));
}

#[test]
fn unmappings_of_a_batch_are_one_call() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    let fake = follow(&mut machine, EP);
    for page in 0..8 {
        machine.ok(map_rw(1, page << 12, (page << 12) + 0xfff, RAM));
    }
    assert_eq!(fake.calls(), 8);
    for page in (0..8).rev() {
        let request = unmap(1, page << 12, (page << 12) + 0xfff);
        machine.requests.send(&[Part::In(request), Part::Out(4)]);
    }
    assert!(machine.serve().used);
    assert_eq!((fake.calls(), fake.pages()), (1, Pages::new()));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(attach(2, OTHER));
    machine.ok(map_rw(2, 0, 0xfff, RAM));
    machine.ok(map_rw(2, 0x2000, 0x2fff, RAM));
    let (fake, other) = (follow(&mut machine, EP), follow(&mut machine, OTHER));
    fake.refuse(&[true]);
    machine.refused(map_rw(1, 0, 0xfff, RAM), Status::NoMem);
    // There is no memory: the container cannot reach it.
    machine.refused(map_rw(1, 0, 0xfff, 0x1000), Status::DevErr);
    machine.ok(map_rw(1, 0x5000, 0x5fff, RAM));
    // The second of two mappings that the domain has.
    fake.refuse(&[true, false]);
    machine.refused(attach(2, EP), Status::NoMem);
    assert_eq!(fake.pages(), met(&machine, EP));
    assert!(fake.pages().contains_key(&0x5000));
    // Both follow the domain: if one refuses, the other is told that it is not so.
    machine.ok(attach(2, EP));
    other.refuse(&[true]);
    machine.refused(map_rw(2, 0x6000, 0x6fff, RAM), Status::NoMem);
    assert_eq!(
        (fake.pages(), other.pages()),
        (met(&machine, EP), met(&machine, OTHER))
    );
    // A container that does not take back what it had: the endpoint is blocked.
    fake.refuse(&[true, true]);
    assert_eq!(
        machine.status(attach_with(3, EP, attach_flag::BYPASS, 0)),
        Status::NoMem as u8
    );
    assert_eq!(
        (fake.pages(), machine.iommu.domain_of(EP)),
        (Pages::new(), None)
    );
    assert!(!machine.writes(EP, 0));
    machine.ok(attach(2, EP));
    assert_eq!(fake.pages(), met(&machine, EP));
    let refusing = Fake::default();
    refusing.refuse(&[true]);
    let listener = refusing.listener(&machine);
    let refused = machine.iommu.add_listener(EP, listener);
    assert_eq!(refused, Err(ListenError::Refused(Refusal::NoMemory)));
    assert_eq!(refusing.pages(), Pages::new());
}

#[test]
fn a_restored_state_is_told_or_refused() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0, 0xfff, RAM));
    let saved = machine.iommu.save();
    machine.ok(attach(2, EP));
    machine.ok(map_rw(2, 0x1000, 0x1fff, RAM));
    let fake = follow(&mut machine, EP);
    let before = machine.iommu.save();
    fake.refuse(&[false, true]);
    let refused = machine.iommu.restore(&saved);
    assert_eq!(refused, Err(RestoreError::Listener(EP)));
    assert_eq!(machine.iommu.save(), before);
    assert_eq!(fake.pages(), met(&machine, EP));
    machine.iommu.restore(&saved).unwrap();
    assert!(fake.pages().contains_key(&0));
    assert_eq!(fake.pages(), met(&machine, EP));
}

/// A listener that takes effect later.
struct Slow(Arc<Mutex<(usize, usize)>>);

impl DmaListener for Slow {
    fn attach(&mut self, _to: Attachment) -> Result<(), Refusal> {
        Ok(())
    }

    fn map(&mut self, _mapping: &Mapping) -> Result<(), Refusal> {
        Ok(())
    }

    fn unmap(&mut self, _first: u64, _last: u64) {}

    fn commit(&mut self) {
        let mut state = self.0.lock().unwrap();
        *state = (state.0 + 1, 3);
    }

    fn is_settled(&mut self) -> bool {
        let left = &mut self.0.lock().unwrap().1;
        *left = left.saturating_sub(1);
        *left == 0
    }
}

#[test]
fn nobody_is_answered_before_it_has_taken_effect() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.ok(map_rw(1, 0, 0xfff, RAM));
    let state = Arc::default();
    let slow = Box::new(Slow(Arc::clone(&state)));
    machine.iommu.add_listener(EP, slow).unwrap();
    *state.lock().unwrap() = (0, 0);
    for first in [0x1000u64, 0x2000] {
        let request = map_rw(1, first, first + 0xfff, RAM);
        machine.requests.send(&[Part::In(request), Part::Out(4)]);
    }
    assert!(machine.serve().pending && machine.poll().pending);
    assert_eq!(machine.requests.take_used(), None);
    assert!(machine.poll().used && !machine.iommu.is_pending());
    let used = std::iter::from_fn(|| machine.requests.take_used());
    assert_eq!(used.count(), 2);
    assert_eq!(state.lock().unwrap().0, 1, "once for the batch");
    assert_eq!(machine.iommu.remove_listeners(EP).len(), 1);
    machine.ok(unmap(1, 0, 0xfff));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever the driver does, and whatever a container refuses, it holds what the endpoint
    /// meets.
    #[test]
    fn a_container_is_what_the_endpoint_meets(
        steps in prop::collection::vec((0u32..12, 0u64..12, 1u64..4, 1u32..4), 1..60),
        refusals in prop::collection::vec(prop::bool::weighted(0.1), 0..200),
    ) {
        let mut machine = Machine::active_with(|config| {
            config.endpoints.push(EndpointConfig::new(3));
            config.cache = CacheConfig::default().with_entries(16).with_count(false);
        });
        let endpoints = [EP, OTHER, 3];
        let fakes = endpoints.map(|endpoint| follow(&mut machine, endpoint));
        fakes[0].refuse(&refusals);
        fakes[1].refuse(&refusals[refusals.len() / 2..]);
        let mut saved: Vec<VirtioIommuState> = Vec::new();
        for (what, page, pages, domain) in steps {
            let endpoint = endpoints[page as usize % 3];
            let (first, last) = (page << 12, ((page + pages) << 12) - 1);
            match what {
                0 | 1 => { machine.status(attach(domain, endpoint)); }
                2 => { machine.status(attach_with(9, endpoint, attach_flag::BYPASS, 0)); }
                3 => { machine.status(detach(domain, endpoint)); }
                4..=6 => {
                    let flags = (page as u32 + what) % 4;
                    machine.status(map(domain, first, last, RAM + (page << 14), flags));
                }
                7 => { machine.status(unmap(domain, first, last)); }
                8 => {
                    // A batch: unmapped and mapped anew.
                    for request in [unmap(domain, 0, u64::MAX), map_rw(domain, first, last, RAM)] {
                        machine.requests.send(&[Part::In(request), Part::Out(4)]);
                    }
                    machine.serve();
                    while machine.requests.take_used().is_some() {}
                }
                9 => machine.iommu.write_config(config::BYPASS as u64, &[(page % 2) as u8]),
                10 if page == 0 => {
                    machine.iommu.reset();
                    machine.requests.set_up();
                    let offered = machine.iommu.offered_features();
                    machine.iommu.activate(offered).unwrap();
                }
                10 => saved.push(machine.iommu.save()),
                _ => if let Some(state) = saved.pop() {
                    let restored = machine.iommu.restore(&state);
                    prop_assert!(matches!(restored, Ok(()) | Err(RestoreError::Listener(_))));
                }
            }
            for (endpoint, fake) in endpoints.into_iter().zip(&fakes) {
                prop_assert_eq!(fake.pages(), met(&machine, endpoint));
            }
        }
    }
}
