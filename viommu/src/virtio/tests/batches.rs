//! Batches: one invalidation, one grace period, and no answer before its end.

use vm_memory::{Bytes, GuestAddress};

use super::harness::*;
use crate::event::{Event, Scope};
use crate::fault::DomainId;
use crate::virtio::spec::*;
use crate::virtio::{Quota, VirtioIommu};

const BASE: u64 = 0x1_0000;

/// Returns the first and the last address of a page.
fn page(number: u64) -> (u64, u64) {
    let first = BASE + number * 0x1000;
    (first, first + 0xfff)
}

/// Creates a machine with sixteen pages mapped and cached for endpoint 8 on domain 1.
fn sixteen() -> Machine {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    for number in 0..16 {
        let (first, last) = page(number);
        machine.ok(map_rw(1, first, last, RAM + number * 0x2000));
        assert!(machine.reads(EP, first));
    }
    machine
}

fn send_all(machine: &mut Machine, requests: impl IntoIterator<Item = Vec<u8>>) {
    for request in requests {
        machine.requests.send(&[Part::In(request), Part::Out(4)]);
    }
}

fn invalidations(machine: &Machine) -> Vec<Scope> {
    let events = std::mem::take(&mut *machine.log.events.lock().unwrap());
    let scopes = events.iter().filter_map(|event| match event {
        Event::Invalidated(scope) => Some(*scope),
        _ => None,
    });
    scopes.collect()
}

fn used(machine: &mut Machine) -> usize {
    std::iter::from_fn(|| machine.requests.take_used()).count()
}

#[test]
fn a_ring_of_unmaps_is_one_invalidation() {
    let mut machine = sixteen();
    invalidations(&machine);
    let pages = (0..16).map(page);
    let requests = pages.map(|(first, last)| unmap(1, first, last));
    send_all(&mut machine, requests);
    let served = machine.serve();
    assert!(served.used && !served.pending);
    assert_eq!(used(&mut machine), 16);
    let hull = Scope::Range(DomainId(0), BASE, BASE + 0xffff);
    assert_eq!(invalidations(&machine), [hull]);
    assert!((0..16).all(|page| !machine.reads(EP, BASE + page * 0x1000)));
}

#[test]
fn maps_invalidate_nothing() {
    let mut machine = sixteen();
    invalidations(&machine);
    let pages = (100..116).map(page);
    let requests = pages.map(|(first, last)| map_rw(1, first, last, RAM));
    send_all(&mut machine, requests);
    assert!(machine.serve().used);
    assert_eq!(invalidations(&machine), []);
}

#[test]
fn an_answer_waits_for_accesses_under_way_without_blocking() {
    let mut machine = sixteen();
    let dma = machine.dma(EP);
    let pin = dma.pin();
    pin.write_obj(1u8, GuestAddress(BASE)).unwrap();
    send_all(
        &mut machine,
        [
            unmap(1, BASE, BASE + 0xfff),
            map_rw(1, BASE, BASE + 0xfff, RAM + 0x3000),
        ],
    );
    let served = machine.serve();
    assert!(served.pending && !served.used);
    assert_eq!(used(&mut machine), 0);
    // New requests wait too, and polling never waits.
    send_all(&mut machine, [map_rw(1, 0x90_0000, 0x90_0fff, RAM)]);
    assert!(machine.serve().pending);
    assert!(machine.poll().pending);
    assert!(machine.iommu.is_pending());
    drop(pin);
    let served = machine.poll();
    assert!(served.used && !served.pending && !machine.iommu.is_pending());
    assert_eq!(used(&mut machine), 3, "and then the queue goes on");
    assert_eq!(machine.iommu.mappings(), 17);
    assert_eq!(machine.poll(), Default::default());
}

#[test]
fn a_batch_without_removals_does_not_wait() {
    let mut machine = sixteen();
    let dma = machine.dma(EP);
    let _pin = dma.pin();
    // Attaching an endpoint that could reach nothing takes nothing from it.
    send_all(
        &mut machine,
        [
            map_rw(1, 0, 0xfff, RAM),
            attach(2, OTHER),
            unmap(1, 0x3000, 0x3fff),
        ],
    );
    assert!(!machine.serve().pending);
    assert_eq!(used(&mut machine), 3);
}

#[test]
fn detaching_and_moving_wait_too() {
    for request in [
        detach(1, EP),
        attach(2, EP),
        attach_with(3, EP, attach_flag::BYPASS, 0),
    ] {
        let mut machine = sixteen();
        let dma = machine.dma(EP);
        let pin = dma.pin();
        send_all(&mut machine, [request]);
        assert!(machine.serve().pending);
        drop(pin);
        assert!(machine.serve().used);
        assert_eq!(used(&mut machine), 1);
    }
}

#[test]
fn a_reset_drops_answers_and_later_requests_wait_for_what_it_removed() {
    let mut machine = sixteen();
    let dma = machine.dma(EP);
    let pin = dma.pin();
    send_all(&mut machine, [unmap(1, BASE, BASE + 0xfff)]);
    assert!(machine.serve().pending);
    machine.iommu.reset();
    assert!(!machine.iommu.is_pending());
    machine.requests.set_up();
    let offered = machine.iommu.offered_features();
    machine.iommu.activate(offered).unwrap();
    send_all(&mut machine, [attach(1, OTHER)]);
    assert!(machine.serve().pending);
    drop(pin);
    assert!(machine.serve().used);
    assert_eq!(used(&mut machine), 1);
    assert_eq!(machine.iommu.domain_of(OTHER), Some(1));
}

#[test]
fn more_new_domains_than_there_are_slots_end_a_batch_but_not_the_service() {
    let mut machine = Machine::usual();
    for round in 0..5u32 {
        // Each but the first gives up a domain; slots are free again only after the grace period.
        send_all(
            &mut machine,
            (0..u32::from(SIZE / 2)).map(|n| attach(round * 100 + n, EP)),
        );
        let served = machine.serve();
        assert!(served.used && !served.more);
        assert_eq!(used(&mut machine), usize::from(SIZE / 2));
    }
    assert_eq!(machine.iommu.domains().len(), 1);
}

#[test]
fn while_slots_are_waited_for_requests_stay_in_the_queue() {
    let mut machine = sixteen();
    let dma = machine.dma(EP);
    let pin = dma.pin();
    let mut sent = 0;
    let mut answered = 0;
    for _ in 0..8 {
        send_all(&mut machine, (0..16).map(|n| attach(100 + n, EP)));
        sent += 16;
        assert!(machine.serve().pending);
        answered += used(&mut machine);
        if sent == 32 {
            break;
        }
    }
    assert_eq!(answered, 0);
    drop(pin);
    assert!(machine.serve().used);
    assert_eq!(used(&mut machine), sent);
}

#[test]
fn two_domains_are_invalidated_once_each() {
    let mut machine = sixteen();
    machine.ok(attach(2, OTHER));
    for page in 0..4 {
        let first = page * 0x10_0000;
        machine.ok(map_rw(2, first, first + 0xfff, RAM));
    }
    invalidations(&machine);
    let mut requests = Vec::new();
    for page in 0..4u64 {
        requests.push(unmap(1, BASE + page * 0x1000, BASE + page * 0x1000 + 0xfff));
        requests.push(unmap(2, page * 0x10_0000, page * 0x10_0000 + 0xfff));
    }
    send_all(&mut machine, requests);
    machine.serve();
    assert_eq!(
        invalidations(&machine),
        [
            Scope::Range(DomainId(0), BASE, BASE + 0x3fff),
            Scope::Range(DomainId(1), 0, 0x30_0fff),
        ]
    );
}

#[test]
fn a_domain_that_takes_the_place_of_another_shows_nothing_of_it() {
    let mut machine = sixteen();
    send_all(
        &mut machine,
        [
            detach(1, EP),
            attach(1, EP),
            attach(2, OTHER),
            detach(2, OTHER),
            attach(3, OTHER),
        ],
    );
    assert!(machine.serve().used);
    for page in 0..16 {
        assert!(!machine.reads(EP, BASE + page * 0x1000));
        assert!(!machine.reads(OTHER, BASE + page * 0x1000));
    }
}

/// It can be moved to the thread that serves the queues, while devices run on others.
#[test]
fn the_device_can_be_sent() {
    fn sendable<T: Send>() {}
    sendable::<VirtioIommu>();
}

#[test]
fn a_quota_leaves_the_rest_for_another_turn() {
    let mut machine = sixteen();
    let pages = (0..16).map(page);
    let requests = pages.map(|(first, last)| unmap(1, first, last));
    send_all(&mut machine, requests);
    for (requests, mappings, done, more) in [
        (5, usize::MAX, 5, true),
        (u16::MAX, 3, 3, true),
        (0, usize::MAX, 0, true),
        (8, 8, 8, false),
    ] {
        let mut quota = Quota { requests, mappings };
        let served = machine.serve_within(&mut quota);
        assert_eq!((served.used, served.more), (done > 0, more));
        assert_eq!(used(&mut machine), usize::from(done));
        assert_eq!(quota.requests, requests - done);
    }
    // A request that removes more than is left is not cut in two.
    let pages = (0..16).map(|page| BASE + page * 0x1000);
    let maps = pages.map(|first| map_rw(1, first, first + 0xfff, RAM + (first & 0xf000) * 2));
    let all = [unmap(1, 0, u64::MAX), unmap(1, 0, u64::MAX)];
    send_all(&mut machine, maps.chain(all));
    let mut quota = Quota {
        mappings: 4,
        ..Quota::RING
    };
    assert!(machine.serve_within(&mut quota).more);
    assert_eq!((used(&mut machine), quota.mappings), (17, 0));
}
