//! PROBE (5.13.6.7).

use super::*;

fn properties(machine: &mut Machine) -> Vec<u8> {
    let (length, mut answer) = machine.exchange(&[Part::In(probe(EP)), Part::Out(516)]);
    assert_eq!((length, &answer[512..]), (516, &[0; 4][..]));
    answer.truncate(512);
    answer
}

#[test]
fn reserved_must_be_ignored() {
    let mut machine = reserved();
    let plain = properties(&mut machine);
    let mut request = probe(EP);
    request[8..72].fill(0xff);
    let (_, answer) = machine.exchange(&[Part::In(request), Part::Out(516)]);
    assert_eq!(answer[..512], plain);
    assert_eq!(answer[512], 0);
}

#[test]
fn unknown_endpoints_should_be_rejected_with_noent() {
    let mut machine = reserved();
    let (length, answer) = machine.exchange(&[Part::In(probe(9)), Part::Out(516)]);
    // All of it, or the driver would not look at the status at the end.
    assert_eq!((length, answer[512]), (516, Status::NoEnt as u8));
    assert!(answer[..512].iter().all(|byte| *byte == 0));
}

#[test]
fn not_offered_should_not_be_written_and_have_used_length_0() {
    let mut machine = Machine::active_with(|config| config.probe_size = None);
    machine.unanswered(&[Part::In(probe(EP)), Part::Out(516)]);
}

#[test]
fn property_reserved_should_be_zero() {
    let mut machine = reserved();
    let list = properties(&mut machine);
    let kind = u16::from_le_bytes([list[0], list[1]]);
    assert_eq!((kind >> 12, kind & 0xfff), (0, property::RESV_MEM));
}

#[test]
fn length_must_be_without_the_header_and_properties_must_adjoin() {
    let mut machine = reserved();
    let list = properties(&mut machine);
    let half = |at: usize| u16::from_le_bytes([list[at], list[at + 1]]);
    let mut at = 0;
    let mut found = Vec::new();
    while at < list.len() && half(at) != 0 {
        let length = usize::from(half(at + 2));
        assert_eq!(length, 20);
        found.push(list[at + 4..at + 4 + length].to_vec());
        at += length + 4;
    }
    let resv = |subtype: u8, first: u64, last: u64| {
        [
            &[subtype, 0, 0, 0][..],
            &first.to_le_bytes(),
            &last.to_le_bytes(),
        ]
        .concat()
    };
    assert_eq!(
        found,
        [resv(1, 0x800_0000, 0x80f_ffff), resv(0, 0x1000, 0x2fff)]
    );
}

#[test]
fn a_list_that_is_too_small_should_be_rejected_with_inval_without_properties() {
    let mut machine = reserved();
    for size in [0, 1, 24, 48, 511] {
        let (length, answer) = machine.exchange(&[Part::In(probe(EP)), Part::Out(size + 4)]);
        assert_eq!(length, size + 4);
        let (list, tail) = answer.split_at(size as usize);
        assert_eq!(tail, [Status::Inval as u8, 0, 0, 0]);
        assert!(
            list.iter().all(|byte| *byte == 0),
            "a property of type 0 is none"
        );
    }
}

#[test]
fn remaining_bytes_should_be_zero() {
    let mut machine = reserved();
    let list = properties(&mut machine);
    assert!(list[48..].iter().all(|byte| *byte == 0));
    let mut machine = Machine::usual();
    assert_eq!(properties(&mut machine), [0; 512]);
}

#[test]
fn a_list_that_is_too_large_has_the_tail_where_the_structure_has_it() {
    let mut machine = reserved();
    let (length, answer) = machine.exchange(&[Part::In(probe(EP)), Part::Out(2000)]);
    assert_eq!((length, answer[512]), (516, 0));
    assert!(answer[516..].iter().all(|byte| *byte == FILL));
}
