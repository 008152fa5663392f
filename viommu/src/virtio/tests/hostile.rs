//! Queues that make no sense.

use proptest::prelude::*;
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress};

use super::harness::*;
use crate::virtio::ServeError;

/// Checks that the chain that starts at `head` comes back with nothing written.
fn assert_unanswered(machine: &mut Machine, head: u16) {
    machine.requests.offer(head);
    assert!(machine.serve().used);
    assert_eq!(machine.requests.take_used(), Some((head.into(), 0)));
}

#[test]
fn buffers_out_of_reach_are_given_back_unwritten() {
    let mut machine = Machine::usual();
    let request = machine.requests.buffer(20);
    let bytes = attach(1, EP);
    machine
        .ram
        .write_slice(&bytes, GuestAddress(request))
        .unwrap();
    let answer = machine.requests.buffer(4);
    let nowhere = [0, u64::MAX - 1, RAM + RAM_SIZE - 2];
    for address in nowhere {
        machine.requests.put_descriptor(0, address, 20, NEXT, 1);
        machine.requests.put_descriptor(1, answer, 4, WRITE, 0);
        assert_unanswered(&mut machine, 0);
        assert_eq!(machine.iommu.domain_of(EP), None);
    }
    for address in nowhere {
        machine.requests.put_descriptor(0, request, 20, NEXT, 1);
        machine.requests.put_descriptor(1, address, 4, WRITE, 0);
        assert_unanswered(&mut machine, 0);
    }
}

#[test]
fn loops_and_endless_chains_end() {
    let mut machine = Machine::usual();
    let buffer = machine.requests.buffer(64);
    machine.requests.put_descriptor(0, buffer, 4, NEXT, 1);
    machine.requests.put_descriptor(1, buffer, 4, NEXT, 0);
    assert_unanswered(&mut machine, 0);
    // An indirect table of 65 535 empty descriptors.
    let table = RAM + 0x10_0000;
    let empty = [0u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    for n in 0..0xffffu64 {
        let mut descriptor = empty;
        descriptor[14..16].copy_from_slice(&(n as u16 + 1).to_le_bytes());
        let at = GuestAddress(table + n * 16);
        machine.ram.write_slice(&descriptor, at).unwrap();
    }
    machine
        .requests
        .put_descriptor(2, table, 0xf_fff0, INDIRECT, 0);
    assert_unanswered(&mut machine, 2);
}

#[test]
fn broken_rings_are_errors() {
    let mut machine = Machine::usual();
    // There is no such descriptor, so the buffer cannot even be given back.
    machine.requests.offer(SIZE);
    assert!(matches!(machine.try_serve(), Err(ServeError::Queue(_))));
    // More announced than there is room for.
    machine.iommu.reset();
    machine.requests.set_up();
    machine
        .ram
        .write_obj(SIZE + 1, GuestAddress(RAM + 0x1002))
        .unwrap();
    assert!(matches!(machine.try_serve(), Err(ServeError::Queue(_))));
    machine.requests.queue.set_ready(false);
    assert!(machine.try_serve().is_err());
    let queue = &mut machine.requests.queue;
    let served = machine.iommu.process_events(queue, &machine.mem.pin());
    assert_eq!(served.unwrap(), Default::default(), "reports wait");
}

#[test]
fn rings_of_the_device_may_be_behind_another_iommu() {
    let mut first = Machine::usual();
    first.ok(attach(1, EP));
    first.ok(map_rw(1, RAM, RAM + RAM_SIZE - 1, RAM));
    let mut second = Machine::usual();
    // The same RAM, seen through the first device's endpoint.
    second.requests = Ring::new(&first.ram, RAM + 0x20_0000);
    second.mem = first.dma(EP);
    second.ok(attach(1, EP));
    second.ok(map_rw(1, 0, 0xfff, RAM));
    second.ok(unmap(1, 0, 0xfff));
    first.ok(unmap(1, RAM, RAM + RAM_SIZE - 1));
    let served = second
        .iommu
        .process_requests(&mut second.requests.queue, &second.mem.pin());
    assert!(served.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_rings_and_buffers_are_survived(
        rings in prop::collection::vec((0u64..0x3000, any::<u8>()), 0..200),
        heads in prop::collection::vec(0u16..SIZE, 1..10),
        descriptors in prop::collection::vec(
            (0u16..SIZE, any::<u16>(), 0u32..80, 0u16..8, 0u16..SIZE), 0..64),
        bytes in prop::collection::vec(any::<u8>(), 0x400),
    ) {
        let mut machine = Machine::usual();
        machine.ram.write_slice(&bytes, GuestAddress(RAM + 0x3000)).unwrap();
        for (index, offset, length, flags, next) in descriptors {
            let address = RAM + 0x3000 + u64::from(offset & 0x3ff);
            machine.requests.put_descriptor(index, address, length, flags, next);
        }
        for (offset, value) in rings {
            machine.ram.write_obj(value, GuestAddress(RAM + offset)).unwrap();
        }
        for head in heads {
            machine.requests.offer(head);
        }
        let Machine { iommu, requests, mem, .. } = &mut machine;
        let _ = iommu.process_requests(&mut requests.queue, &mem.pin());
        let _ = iommu.process_events(&mut requests.queue, &mem.pin());
        // No bus master is pinned, so there is nothing to wait for.
        prop_assert!(!iommu.is_pending());
    }
}
