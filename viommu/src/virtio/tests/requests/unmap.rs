//! UNMAP (5.13.6.6).

use super::*;

#[test]
fn reserved_is_ignored() {
    let mut machine = mapped();
    let mut request = unmap(1, MAPPED, MAPPED + 0xfff);
    request[24..28].fill(0xff);
    machine.ok(request);
    assert!(!machine.reads(EP, MAPPED));
}

#[test]
fn an_unknown_domain_should_be_answered_with_noent() {
    let mut machine = mapped();
    machine.refused(unmap(2, MAPPED, MAPPED + 0xfff), Status::NoEnt);
}

#[test]
fn a_bypass_domain_should_be_rejected_with_inval() {
    let mut machine = Machine::usual();
    machine.ok(attach_with(1, EP, attach_flag::BYPASS, 0));
    machine.refused(unmap(1, 0, u64::MAX), Status::Inval);
}

#[test]
fn a_range_that_splits_a_mapping_should_be_answered_with_range_and_remove_nothing() {
    let mut machine = mapped();
    machine.ok(map_rw(1, 0x20_0000, 0x20_ffff, RAM));
    for (first, last) in [
        // The first is whole, the second is not: the first must stay.
        (MAPPED, 0x20_0fff),
        (0, 0x20_fffe),
        (MAPPED + 0x800, 0x20_ffff),
        (0x20_8000, u64::MAX),
        (0x20_8000, 0x20_8fff),
    ] {
        machine.refused(unmap(1, first, last), Status::Range);
    }
    assert!(machine.reads(EP, MAPPED) && machine.reads(EP, 0x20_ffff));
    machine.refused(unmap(1, MAPPED + 0x1000, MAPPED), Status::Inval);
}

#[test]
fn holes_in_the_range_should_be_ok() {
    let mut machine = mapped();
    machine.ok(map_rw(1, 0x20_0000, 0x20_ffff, RAM));
    assert!(machine.reads(EP, MAPPED) && machine.reads(EP, 0x20_f000));
    machine.ok(unmap(1, 0, 0xfff));
    machine.ok(unmap(1, 0x1234, 0x300_0000));
    assert!(!machine.reads(EP, MAPPED) && !machine.reads(EP, 0x20_f000));
    machine.ok(unmap(1, 0, u64::MAX));
}
