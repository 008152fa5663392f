//! The SCIF as Linux's driver uses it, and against a model of a queue.
#![expect(clippy::cast_possible_truncation, reason = "the bytes are whatever")]

use proptest::prelude::*;

use super::*;

fn started() -> Registers {
    let mut scif = Registers::default();
    // `sci_reset`, `sci_set_termios` and `sci_start_rx`.
    scif.write(offset::SCR, 0);
    scif.write(offset::FCR, fcr::RFRST | 1 << 2);
    scif.write(offset::FCR, 0);
    scif.write(offset::SCR, scr::TE | scr::RE | scr::RIE | scr::REIE);
    scif
}

#[test]
fn what_is_written_is_sent_while_the_transmitter_is_on() {
    let mut scif = Registers::default();
    assert_eq!(scif.read(offset::FSR) & 0x60, 0x60);
    assert_eq!(scif.write(offset::FTDR, 0x41), None);
    scif.write(offset::SCR, scr::TE);
    assert_eq!(scif.write(offset::FTDR, 0x41), Some(0x41));
    // A driver that has nothing to send ends the interrupt (`sci_stop_tx`).
    scif.write(offset::SCR, scr::TE | scr::TIE);
    assert!(scif.interrupts());
    scif.write(offset::FSR, 0);
    assert!(scif.interrupts(), "the FIFO is empty all the same");
    scif.write(offset::SCR, scr::TE);
    assert!(!scif.interrupts());
}

#[test]
fn received_bytes_are_told_of_until_they_are_read() {
    let mut scif = started();
    assert!(scif.interrupts_for_more());
    assert_eq!(scif.room(offset::FDR), FIFO);
    assert_eq!(scif.room(offset::SMR), 0);
    scif.write(offset::FCR, 2 << fcr::RTRG_SHIFT);
    for byte in 0..8 {
        scif.receive(byte);
        let flag = if byte < 7 { fsr::DR } else { fsr::RDF };
        assert_eq!(scif.read(offset::FSR) & 3, flag);
    }
    assert!(scif.interrupts());
    for byte in 0..8 {
        assert_eq!(scif.read(offset::FDR), 8 - byte);
        assert_eq!(scif.read(offset::FRDR), byte);
    }
    assert!(!scif.interrupts());
    // One too many.
    for byte in 0..17 {
        scif.receive(byte);
    }
    assert_eq!(scif.read(offset::LSR), lsr::ORER);
    scif.write(offset::FCR, fcr::RFRST);
    assert!(scif.interrupts(), "the error is still to be told of");
    scif.write(offset::LSR, 0);
    assert!(!scif.interrupts());
}

#[test]
fn nobody_types_before_somebody_listens() {
    let mut scif = started();
    scif.write(offset::SCR, scr::TE | scr::RE);
    assert_eq!(scif.room(offset::FSR), 0);
    for _ in 0..POLLS {
        scif.read(offset::FSR);
    }
    assert_eq!(scif.room(offset::FSR), FIFO);
    scif.write(offset::FCR, fcr::LOOP);
    assert_eq!(scif.write(offset::FTDR, 7), None);
    assert_eq!(scif.read(offset::FRDR), 7);
}

proptest! {
    #[test]
    fn the_receiver_is_a_queue_of_sixteen(steps in prop::collection::vec(any::<Option<u8>>(), 0..100)) {
        let (mut scif, mut model) = (started(), VecDeque::new());
        let mut lost = false;
        for step in steps {
            match step {
                Some(byte) if model.len() < FIFO => {
                    model.push_back(byte);
                    scif.receive(byte);
                }
                Some(byte) => {
                    lost = true;
                    scif.receive(byte);
                }
                None => {
                    let want = model.pop_front().map_or(0, u16::from);
                    prop_assert_eq!(scif.read(offset::FRDR), want);
                }
            }
            prop_assert_eq!(usize::from(scif.read(offset::FDR)), model.len());
            prop_assert_eq!(scif.read(offset::LSR) != 0, lost);
            prop_assert_eq!(scif.interrupts(), lost || !model.is_empty());
        }
    }

    #[test]
    fn any_access_leaves_valid_registers(
        accesses in prop::collection::vec((0_u64..0x40, any::<u16>(), any::<bool>()), 0..60),
    ) {
        let mut scif = Registers::default();
        for (offset, word, write) in accesses {
            match write {
                true => {
                    scif.write(offset, word);
                }
                false => {
                    scif.read(offset);
                }
            }
            for byte in 0..scif.room(offset).min(5) {
                scif.receive(byte as u8);
            }
            prop_assert!(scif.are_valid());
        }
    }
}
