//! ATTACH (5.13.6.3).

use super::*;

#[test]
fn reserved_not_zero_must_be_rejected_with_inval() {
    let mut machine = Machine::usual();
    for bit in 0..32 {
        machine.refused(attach_with(1, EP, 0, 1 << bit), Status::Inval);
    }
}

#[test]
fn unknown_flags_must_be_rejected_with_inval() {
    let mut machine = Machine::usual();
    for bit in 1..32 {
        machine.refused(attach_with(1, EP, 1 << bit, 0), Status::Inval);
    }
}

#[test]
fn unknown_endpoints_must_be_rejected_with_noent() {
    let mut machine = Machine::usual();
    for endpoint in [0, EP - 1, EP + 1, u32::MAX] {
        machine.refused(attach(1, endpoint), Status::NoEnt);
    }
}

#[test]
fn a_domain_may_have_several_endpoints() {
    let mut machine = mapped();
    machine.ok(attach(1, OTHER));
    assert!(machine.reads(EP, MAPPED) && machine.reads(OTHER, MAPPED));
    machine.ok(detach(1, EP));
    assert!(!machine.reads(EP, MAPPED) && machine.reads(OTHER, MAPPED));
    machine.ok(unmap(1, MAPPED, MAPPED + 0xfff));
    assert!(!machine.reads(OTHER, MAPPED));
}

#[test]
fn a_bypass_flag_that_does_not_match_should_be_rejected_with_inval() {
    let mut machine = mapped();
    let bypass = attach_flag::BYPASS;
    machine.refused(attach_with(1, OTHER, bypass, 0), Status::Inval);
    // Of the endpoint that is in it alone: it must not be detached first.
    machine.refused(attach_with(1, EP, bypass, 0), Status::Inval);
    assert!(machine.reads(EP, MAPPED));
    machine.ok(attach_with(2, OTHER, bypass, 0));
    machine.refused(attach(2, EP), Status::Inval);
    machine.refused(attach(2, OTHER), Status::Inval);
    assert!(machine.reads(EP, MAPPED) && machine.reads(OTHER, RAM));
}

#[test]
fn an_attached_endpoint_should_be_detached_first() {
    let mut machine = mapped();
    machine.ok(attach(2, EP));
    assert_eq!(machine.iommu.domain_of(EP), Some(2));
    assert_eq!(
        machine.iommu.domains(),
        [2],
        "domain 1 has no endpoint left"
    );
    assert!(!machine.reads(EP, MAPPED));
    machine.refused(map_rw(1, 0, 0xfff, RAM), Status::NoEnt);
    machine.ok(attach(1, EP));
    assert!(!machine.reads(EP, MAPPED), "domain 1 is a new one");
}

#[test]
fn attaching_to_the_same_domain_again_changes_nothing() {
    let mut machine = mapped();
    let before = machine.iommu.save();
    machine.ok(attach(1, EP));
    assert_eq!(machine.iommu.save(), before);
    assert!(machine.reads(EP, MAPPED));
}

#[test]
fn incompatible_properties_should_be_rejected_with_unsupp() {
    let mut machine = reserved();
    machine.ok(attach(1, OTHER));
    machine.ok(map_rw(1, 0x2000, 0x3fff, RAM));
    machine.refused(attach(1, EP), Status::Unsupp);
    machine.ok(unmap(1, 0x2000, 0x3fff));
    machine.ok(attach(1, EP));
    assert_eq!(machine.iommu.domain_of(EP), Some(1));
}

#[test]
fn a_request_that_is_not_rejected_must_attach() {
    let mut machine = Machine::usual();
    machine.ok(attach(3, EP));
    machine.ok(map(3, 0, 0xfff, RAM, map_flag::READ));
    assert_eq!(machine.iommu.domain_of(EP), Some(3));
    assert!(machine.reads(EP, 0xfff));
    machine.ok(attach_with(4, OTHER, attach_flag::BYPASS, 0));
    assert!(machine.writes(OTHER, RAM + RAM_SIZE - 1));
}
