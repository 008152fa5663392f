//! What accesses under one pin meet when something changes between them.

use std::sync::Arc;

use super::common::{DOMAIN, ENDPOINT, PAGE, RAM, ram, unit};
use viommu::{Attachment, DomainId, TranslationUnit};
use vm_memory::Permissions::{Read, ReadWrite};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemory};

/// Has a pin look something up, makes a change after the model's, and reads through the same pin
/// again. Returns both answers.
fn before_and_after(change: impl Fn(&Arc<TranslationUnit>)) -> [Option<u8>; 2] {
    let ram = ram();
    let (unit, model) = unit(&ram, 1024, None);
    let space = unit.space(ENDPOINT);
    ram.write_obj(1u8, GuestAddress(RAM)).unwrap();
    ram.write_obj(2u8, GuestAddress(RAM + PAGE)).unwrap();
    model.map_page(0, RAM, Read);
    model.map(DomainId(2), 0, PAGE - 1, RAM + PAGE, Read);
    // So that the domain has pages when the pin begins.
    assert_eq!(space.read_obj::<u8>(GuestAddress(0)).unwrap(), 1);
    let asked = model.asked();
    let owned = space.memory();
    let pin = space.pin();
    let read = || {
        let answer = pin.read_obj::<u8>(GuestAddress(0)).ok();
        // Every form of a pin gives the same.
        assert_eq!(owned.read_obj::<u8>(GuestAddress(0)).ok(), answer);
        assert_eq!(pin.check_range(GuestAddress(0), 1, Read), answer.is_some());
        answer
    };
    let before = read();
    assert_eq!(model.asked(), asked, "the cache knew it");
    model.unmap(DOMAIN, 0);
    assert_eq!(
        read(),
        before,
        "what is cached stands until it is invalidated"
    );
    change(&unit);
    [before, read()]
}

#[test]
fn an_invalidation_is_met_by_the_next_access_under_the_same_pin() {
    let answers = [
        before_and_after(|unit| unit.invalidate_all()),
        before_and_after(|unit| unit.invalidate_domain(DOMAIN)),
        before_and_after(|unit| unit.invalidate_range(DOMAIN, 0, PAGE - 1)),
        before_and_after(|unit| unit.attach(ENDPOINT, Attachment::Blocked)),
    ];
    assert_eq!(answers, [[Some(1), None]; 4]);
}

#[test]
fn another_attachment_is_met_by_the_next_access_under_the_same_pin() {
    let other = |unit: &Arc<TranslationUnit>| {
        unit.attach(ENDPOINT, Attachment::Domain(DomainId(2)));
    };
    assert_eq!(before_and_after(other), [Some(1), Some(2)]);
    let bypass = |unit: &Arc<TranslationUnit>| {
        unit.attach(ENDPOINT, Attachment::Bypass);
    };
    assert_eq!(before_and_after(bypass), [Some(1), None], "no RAM is there");
}

#[test]
fn a_change_elsewhere_costs_nobody_a_translation() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    model.map_page(0, RAM, ReadWrite);
    space.write_obj(7u8, GuestAddress(0)).unwrap();
    let pin = space.pin();
    unit.invalidate_domain(DomainId(2));
    assert_eq!(pin.read_obj::<u8>(GuestAddress(0)).unwrap(), 7);
    assert_eq!(model.asked(), 1, "it is still cached");
    // What is learnt under a pin is found under it, though the domain had nothing when it began.
    unit.invalidate_domain(DOMAIN);
    let pin = space.pin();
    for _ in 0..3 {
        assert_eq!(pin.read_obj::<u8>(GuestAddress(0)).unwrap(), 7);
    }
    assert_eq!(model.asked(), 2);
}
