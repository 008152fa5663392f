//! What holds for all requests (5.13.6.2).

use vm_memory::Permissions;

use super::*;
use crate::model::{Extent, Mapping};

#[test]
fn status_should_be_ok_on_success() {
    let mut machine = Machine::usual();
    for request in [
        attach(7, EP),
        map_rw(7, 0, 0xfff, RAM),
        unmap(7, 0, 0xfff),
        detach(7, EP),
    ] {
        assert_eq!(machine.status(request), 0);
    }
    assert_eq!(
        machine.exchange(&[Part::In(probe(EP)), Part::Out(516)]).1[512],
        0
    );
}

#[test]
fn unknown_types_should_not_be_written_and_have_used_length_0() {
    let mut machine = Machine::usual();
    for kind in [0, 6, 0x7f, 0xff] {
        let mut request = attach(1, EP);
        request[0] = kind;
        machine.unanswered(&[Part::In(request), Part::Out(4)]);
    }
}

#[test]
fn requests_that_cannot_be_parsed_are_given_back_unwritten() {
    let mut machine = mapped();
    let requests = [
        attach(2, OTHER),
        detach(1, EP),
        map_rw(1, 0, 0xfff, RAM),
        unmap(1, 0, u64::MAX),
    ];
    for request in requests {
        let short = request[..request.len() - 1].to_vec();
        machine.unanswered(&[Part::In(short), Part::Out(4)]);
        machine.unanswered(&[Part::In(request.clone()), Part::Out(3)]);
        machine.unanswered(&[Part::In(request.clone())]);
        machine.unanswered(&[Part::Out(4), Part::In(request)]);
    }
    machine.unanswered(&[Part::In(probe(EP)[..71].to_vec()), Part::Out(516)]);
    machine.unanswered(&[Part::In(probe(EP)), Part::Out(3)]);
    machine.unanswered(&[Part::Out(64)]);
}

#[test]
fn head_reserved_must_be_ignored() {
    let mut machine = Machine::usual();
    for mut request in [attach(1, EP), map_rw(1, 0, 0xfff, RAM), detach(1, EP)] {
        request[1..4].fill(0xff);
        machine.ok(request);
    }
}

#[test]
fn tail_reserved_should_be_zero() {
    // `status` checks it of each answer; here of those that are not 0 in status too, and of PROBE.
    let mut machine = Machine::usual();
    let (length, answer) = machine.exchange(&[Part::In(detach(1, EP)), Part::Out(4)]);
    assert_eq!((length, &answer[..]), (4, &[4, 0, 0, 0][..]));
    let (_, answer) = machine.exchange(&[Part::In(probe(99)), Part::Out(516)]);
    assert_eq!(answer[512..], [6, 0, 0, 0]);
}

#[test]
fn unattached_endpoints_should_not_access_physical_memory() {
    let mut machine = Machine::usual();
    assert!(!machine.reads(EP, RAM) && !machine.writes(EP, RAM));
    machine.ok(attach(1, OTHER));
    machine.ok(map_rw(1, RAM, RAM + 0xfff, RAM));
    assert!(machine.reads(OTHER, RAM));
    assert!(!machine.reads(EP, RAM) && !machine.writes(EP, RAM));
}

#[test]
fn answers_may_be_in_several_pieces_and_longer_than_needed() {
    let mut machine = Machine::usual();
    let request = attach(1, EP);
    let mut parts: Vec<_> = request.iter().map(|byte| Part::In(vec![*byte])).collect();
    parts.insert(3, Part::In(Vec::new()));
    parts.extend([1, 0, 2, 1].map(Part::Out));
    let (length, answer) = machine.exchange(&parts);
    assert_eq!((length, answer), (4, vec![0; 4]));
    let mut request = detach(1, EP);
    request.extend([0xff; 100]);
    let (length, answer) = machine.exchange(&[Part::In(request), Part::Out(20)]);
    assert_eq!((length, &answer[..5]), (4, &[0, 0, 0, 0, FILL][..]));
}

#[test]
fn requests_may_be_indirect() {
    let mut machine = Machine::usual();
    let parts = [Part::In(attach(1, EP)), Part::Out(4)];
    let (head, writable) = machine.requests.send_indirect(&parts);
    assert!(machine.serve().used);
    assert_eq!(machine.requests.take_used(), Some((u32::from(head), 4)));
    assert_eq!(machine.requests.bytes(&writable), [0; 4]);
    assert_eq!(machine.iommu.domain_of(EP), Some(1));
}

#[test]
fn domains_outside_of_domain_range_are_refused() {
    let mut machine = Machine::active_with(|config| config.domain_range = Some((5, 9)));
    machine.refused(attach(4, EP), Status::Range);
    machine.refused(attach(10, EP), Status::Range);
    machine.ok(attach(5, EP));
    machine.ok(attach(9, OTHER));
    machine.refused(map_rw(10, 0, 0xfff, RAM), Status::NoEnt);
    machine.refused(unmap(4, 0, 0xfff), Status::NoEnt);
    machine.refused(detach(4, EP), Status::Inval);
}

#[test]
fn any_domain_is_valid_if_domain_range_is_not_offered() {
    let mut machine = Machine::active_with(|config| config.domain_range = None);
    machine.ok(attach(0, EP));
    machine.ok(attach(u32::MAX, OTHER));
    assert_eq!(machine.iommu.domains(), [0, u32::MAX]);
}

#[test]
fn what_is_mapped_is_listed_and_domains_have_the_drivers_numbers() {
    let mut machine = Machine::usual();
    let dma = machine.dma(EP);
    assert_eq!((dma.extent(0), dma.domain_number()), (None, None));
    machine.ok(attach(700, EP));
    assert_eq!(dma.extent(5), Some(Extent::Hole { last: u64::MAX }));
    machine.ok(map_rw(700, 0x1000, 0x2fff, RAM));
    machine.ok(map_rw(700, MAPPED, MAPPED + 0xfff, RAM + 0x1000));
    let hole = |last| Some(Extent::Hole { last });
    let mapped = |first, last, address| {
        Some(Extent::Mapped(Mapping {
            first,
            last,
            address,
            permissions: Permissions::ReadWrite,
        }))
    };
    for (iova, extent) in [
        (0, hole(0xfff)),
        (0x1000, mapped(0x1000, 0x2fff, RAM)),
        (0x2fff, mapped(0x1000, 0x2fff, RAM)),
        (0x3000, hole(MAPPED - 1)),
        (MAPPED + 1, mapped(MAPPED, MAPPED + 0xfff, RAM + 0x1000)),
        (MAPPED + 0x1000, hole(u64::MAX)),
        (u64::MAX, hole(u64::MAX)),
    ] {
        assert_eq!(dma.extent(iova), extent, "{iova:#x}");
    }
    assert_eq!(
        (dma.descriptor(0x1000), dma.domain_number()),
        (None, Some(700))
    );
}
