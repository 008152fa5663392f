//! DETACH (5.13.6.4).

use super::*;

#[test]
fn reserved_must_be_ignored() {
    let mut machine = mapped();
    let mut request = detach(1, EP);
    request[12..20].fill(0xff);
    machine.ok(request);
    assert_eq!(machine.iommu.domain_of(EP), None);
}

#[test]
fn unknown_endpoints_must_be_rejected_with_noent() {
    let mut machine = mapped();
    machine.refused(detach(1, 9), Status::NoEnt);
    machine.refused(detach(2, 9), Status::NoEnt);
}

#[test]
fn the_wrong_domain_may_be_rejected_with_inval() {
    let mut machine = mapped();
    machine.ok(attach(2, OTHER));
    machine.refused(detach(2, EP), Status::Inval);
    machine.refused(detach(3, EP), Status::Inval);
    assert!(machine.reads(EP, MAPPED));
}

#[test]
fn a_detached_endpoint_must_not_access_the_domain() {
    let mut machine = mapped();
    machine.ok(attach(1, OTHER));
    assert!(machine.reads(EP, MAPPED), "cached now");
    machine.ok(detach(1, EP));
    assert!(!machine.reads(EP, MAPPED) && !machine.writes(EP, MAPPED));
    assert!(machine.reads(OTHER, MAPPED), "the domain goes on");
    machine.ok(detach(1, OTHER));
    assert!(machine.iommu.domains().is_empty());
    assert_eq!(machine.iommu.mappings(), 0);
}
