//! Fault reporting (5.13.6.9).

use std::sync::atomic::Ordering;

use vm_memory::{Bytes, GuestAddress};

use super::harness::*;
use crate::virtio::spec::*;
use crate::virtio::{FaultReport, MAX_WAITING_REPORTS};

fn report(reason: u8, flags: u32, endpoint: u32, address: u64) -> Vec<u8> {
    let mut bytes = vec![reason, 0, 0, 0];
    bytes.extend(flags.to_le_bytes());
    bytes.extend(endpoint.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(address.to_le_bytes());
    bytes
}

#[test]
fn reasons_flags_endpoint_and_address_are_those_of_the_access() {
    let mut machine = Machine::usual();
    assert!(!machine.reads(OTHER, 0x1234));
    assert!(!machine.writes(EP, u64::MAX));
    machine.ok(attach(1, EP));
    machine.ok(map(1, 0x1000, 0x1fff, RAM, map_flag::READ));
    machine.ok(map(1, 0x2000, 0x2fff, RAM, map_flag::WRITE));
    assert!(!machine.reads(EP, 0xfff));
    assert!(!machine.writes(EP, 0x1004));
    assert!(!machine.reads(EP, 0x2008));
    // An access that begins well names the first address that is out of reach.
    let mut bytes = [0; 0x20];
    let read = machine.dma(EP).read_slice(&mut bytes, GuestAddress(0x1ff0));
    assert!(read.is_err());
    let (read, write) = (0x101, 0x102);
    assert_eq!(
        machine.reports(),
        [
            report(1, read, OTHER, 0x1234),
            report(1, write, EP, u64::MAX),
            report(2, read, EP, 0xfff),
            report(2, write, EP, 0x1004),
            report(2, read, EP, 0x2008),
            report(2, read, EP, 0x2000),
        ]
    );
    assert_eq!(machine.log.waiting.load(Ordering::Relaxed), 6);
    let counters = machine.iommu.report_counters();
    assert_eq!((counters.delivered, counters.lost), (6, 0));
}

#[test]
fn reserved_and_undefined_flags_should_be_zero() {
    for flags in [fault::READ, fault::WRITE] {
        let report = FaultReport {
            reason: 2,
            flags: flags | fault::ADDRESS,
            endpoint: u32::MAX,
            address: u64::MAX,
        };
        let bytes = report.to_bytes();
        assert_eq!((&bytes[1..4], &bytes[12..16]), (&[0; 3][..], &[0; 4][..]));
    }
    let mut machine = Machine::usual();
    machine.reads(EP, 0);
    machine.writes(EP, 0);
    for report in machine.reports() {
        assert_eq!((&report[1..4], &report[12..16]), (&[0; 3][..], &[0; 4][..]));
        let flags = u32::from_le_bytes(report[4..8].try_into().unwrap());
        assert_eq!(flags & !0x103, 0);
    }
}

#[test]
fn the_endpoint_should_be_a_valid_id() {
    let mut machine = Machine::usual();
    for endpoint in [OTHER, EP] {
        machine.reads(endpoint, 0);
        let reports = machine.reports();
        assert_eq!(reports[0][8..12], endpoint.to_le_bytes());
    }
}

#[test]
fn a_report_should_not_use_several_buffers() {
    let mut machine = Machine::usual();
    machine.reads(EP, 0x5000);
    let small = machine.events.send(&[Part::Out(23)]);
    let wrong = machine.events.send(&[Part::In(vec![0; 24])]);
    let large = machine.events.send(&[Part::Out(10), Part::Out(100)]);
    machine
        .iommu
        .process_events(&mut machine.events.queue, &machine.mem.pin())
        .unwrap();
    let mut used = || machine.events.take_used().unwrap();
    assert_eq!(used(), (u32::from(small.0), 0));
    assert_eq!(used(), (u32::from(wrong.0), 0));
    assert_eq!(used(), (u32::from(large.0), 24));
    let bytes = machine.events.bytes(&large.1);
    assert_eq!(bytes[..24], report(1, 0x101, EP, 0x5000));
    assert!(machine.events.bytes(&small.1).iter().all(|b| *b == FILL));
}

#[test]
fn reports_wait_for_buffers_and_those_that_are_too_many_are_counted() {
    let mut machine = Machine::usual();
    for n in 0..MAX_WAITING_REPORTS as u64 + 3 {
        machine.reads(EP, n);
    }
    let served = machine
        .iommu
        .process_events(&mut machine.events.queue, &machine.mem.pin())
        .unwrap();
    assert!(!served.used && !served.more);
    assert_eq!(machine.iommu.waiting_reports(), MAX_WAITING_REPORTS);
    assert_eq!(machine.iommu.report_counters().lost, 3);
    let reports = machine.reports();
    assert_eq!(reports.len(), MAX_WAITING_REPORTS);
    for (n, bytes) in (0..).zip(reports) {
        assert_eq!(bytes, report(1, 0x101, EP, n));
    }
    let counters = machine.iommu.report_counters();
    assert_eq!(counters.delivered, MAX_WAITING_REPORTS as u64);
}

#[test]
fn buffers_stay_available_while_there_is_nothing_to_report() {
    let mut machine = Machine::usual();
    let (head, writable) = machine.events.send(&[Part::Out(24)]);
    for _ in 0..2 {
        let served = machine
            .iommu
            .process_events(&mut machine.events.queue, &machine.mem.pin())
            .unwrap();
        assert_eq!(served, Default::default());
    }
    machine.writes(EP, 8);
    machine
        .iommu
        .process_events(&mut machine.events.queue, &machine.mem.pin())
        .unwrap();
    assert_eq!(machine.events.take_used(), Some((u32::from(head), 24)));
    assert_eq!(machine.events.bytes(&writable), report(1, 0x102, EP, 8));
}

#[test]
fn a_reset_forgets_reports() {
    let mut machine = Machine::usual();
    machine.reads(EP, 0);
    machine.iommu.reset();
    assert_eq!(machine.iommu.waiting_reports(), 0);
}
