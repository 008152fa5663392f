//! Small guests that go back and forth.

use arm32::{WatchKind, Watchpoint};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_devices::uart::Capture;

use super::*;
use crate::tests::{ECHO, OFF, UART, config, kernel, limited};
use crate::vcpu::{Halted, Resume, Stop, StopHandler};
use crate::{Config, DiskConfig, MachineState, Tier, TimeMode};

/// Writes the numbers up to 4096 into as many words from 0x40400000 on (r2), and shows the low byte
/// of each.
const FILL: [u32; 8] = [
    0xe3a0_2101, // mov  r2, #0x40000000
    0xe382_2501, // orr  r2, r2, #0x400000
    0xe3a0_3000, // mov  r3, #0
    0xe283_3001, // add  r3, r3, #1
    0xe782_3103, // str  r3, [r2, r3, lsl #2]
    0xe5c1_3000, // strb r3, [r1]
    0xe353_0a01, // cmp  r3, #4096
    0x1aff_fffa, // bne  to the add
];
/// The instructions of a guest that does this and powers off.
const LENGTH: u64 = 1 + 3 + 5 * 4096 + 3;

fn machine(program: &[&[u32]], tier: Tier) -> (Machine, Capture) {
    let file = kernel(program);
    let capture = Capture::default();
    let config = config(&file);
    let machine = Machine::builder(&config, Box::new(capture.clone()));
    let mut machine = machine.build().unwrap();
    machine.set_tier(tier).unwrap();
    (machine, capture)
}

/// Returns the state, with what does not depend on where slices ended, and a hash of all memory.
fn whole(machine: &mut Machine) -> (MachineState, u32) {
    let mut state = machine.state().unwrap();
    state.run.slices = 0;
    state.last = None;
    let ram = machine.board().ram;
    let mut bytes = vec![0; usize::try_from(ram.size).unwrap()];
    let memory = machine.memory();
    memory
        .read_slice(&mut bytes, GuestAddress(ram.base))
        .unwrap();
    (state, crc32fast::hash(&bytes))
}

fn history(machine: &Machine) -> &History {
    machine.history.as_deref().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Wherever it goes, it is there what a machine is that comes there straight.
    #[test]
    fn every_place_is_what_it_was(
        places in proptest::collection::vec((0..LENGTH, any::<bool>()), 1..12),
        translated in any::<bool>(),
    ) {
        let tier = if translated { Tier::Translator } else { Tier::Interpreter };
        let program: &[&[u32]] = &[&[UART], &FILL, &OFF];
        let (mut machine, capture) = machine(program, tier);
        machine.keep_history(HISTORY_LIMIT).unwrap();
        let mut furthest = 0;
        for (place, leaves) in places {
            prop_assert_eq!(machine.go_to(place).unwrap(), None);
            furthest = furthest.max(place);
            let (mut straight, shown) = self::machine(program, Tier::Interpreter);
            straight.run(limited(place));
            let (found, wanted) = (whole(&mut machine), whole(&mut straight));
            prop_assert!(found == wanted, "after {} instructions", place);
            // The console has shown what it shows up to the furthest place, once.
            straight.run(limited(furthest));
            prop_assert_eq!(capture.bytes(), shown.bytes());
            if leaves {
                machine.leave_checkpoint();
            }
        }
        prop_assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
        prop_assert_eq!(machine.instructions(), LENGTH);
        prop_assert_eq!(capture.bytes().len(), 4096);
    }
}

#[test]
fn a_history_keeps_within_its_memory_and_begins_later() {
    let (mut machine, _) = machine(&[&[UART], &FILL, &OFF], Tier::Interpreter);
    machine.run(limited(10));
    machine.keep_history(ByteSize(6 << 12)).unwrap();
    assert_eq!(machine.history_start(), Some(10));
    for place in (1000..LENGTH).step_by(1000) {
        assert_eq!(machine.go_to(place).unwrap(), None);
        machine.leave_checkpoint();
        assert!(machine.history_bytes() <= 6 << 12 || history(&machine).kept.get(1).is_none());
    }
    let start = machine.history_start().unwrap();
    assert!(start > 10, "the first pages are gone");
    let error = machine.go_to(start - 1).unwrap_err();
    assert!(
        error.to_string().contains("its history begins later"),
        "{error}"
    );
    assert_eq!(machine.go_to(start + 1).unwrap(), None);
    assert_eq!(machine.instructions(), start + 1);
}

#[test]
fn what_was_typed_is_typed_again() {
    let (mut machine, capture) = machine(&[&[UART], &ECHO, &ECHO, &OFF], Tier::Interpreter);
    machine.keep_history(HISTORY_LIMIT).unwrap();
    let input = machine.console_input();
    machine.run(limited(5000));
    input.send(b"a");
    machine.run(limited(7000));
    let there = whole(&mut machine);
    input.send(b"b");
    assert_eq!(machine.go_to(100).unwrap(), None);
    assert_eq!(machine.go_to(7000).unwrap(), None);
    let again = whole(&mut machine).0;
    assert!(again.uart == there.0.uart && again.processor == there.0.processor);
    drop(input);
    assert_eq!(machine.run(limited(1_000_000)).reason, Reason::PowerOff);
    assert_eq!(capture.bytes(), b"ab");
}

#[test]
fn runs_that_do_not_repeat_have_none() {
    let file = kernel(&[&[UART], &OFF]);
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(4096).unwrap();
    let why = |config: &Config| {
        let machine = Machine::builder(config, Box::new(crate::Discard)).build();
        let error = machine.unwrap().keep_history(HISTORY_LIMIT);
        error.err().map(|error| error.to_string())
    };
    let with_disk = |overlay| Config {
        disks: vec![DiskConfig {
            overlay,
            ..DiskConfig::new(disk.path())
        }],
        ..config(&file)
    };
    assert_eq!(why(&with_disk(true)), None);
    let sentence = why(&with_disk(false)).unwrap();
    assert!(sentence.contains("add ,overlay or ,ro"), "{sentence}");
    let host = Config {
        time: TimeMode::Host,
        ..config(&file)
    };
    let sentence = why(&host).unwrap();
    assert!(sentence.contains("record it with --record"), "{sentence}");
}

/// Wants to arrive at each stop.
struct Wants;

impl StopHandler for Wants {
    fn stopped(&mut self, _: Stop, _: &mut Halted<'_>) -> Resume {
        Resume::Continue
    }

    fn wants(&self, _: Stop) -> bool {
        true
    }
}

#[test]
fn the_last_write_is_gone_back_to_between_two_runs() {
    let (mut machine, _) = machine(&[&[UART], &FILL, &OFF], Tier::Translator);
    assert_eq!(machine.back(Backward::Continue), Ok(None), "no history");
    machine.keep_history(HISTORY_LIMIT).unwrap();
    let reason = machine.run_to(Until::instructions(100), limited(50));
    assert_eq!(
        (reason, machine.instructions()),
        (Some(Reason::InstructionLimit), 50)
    );
    let reason = machine.run_to(Until::NEVER, Limits::default());
    assert_eq!(reason, Some(Reason::PowerOff));
    machine.observe(Box::new(Wants));
    let word = Watchpoint::new(0x4040_0000 + 4 * 1000, 4, WatchKind::Write);
    machine.cluster().unwrap().insert_watchpoint(word);
    let arrived = machine.back(Backward::Continue).unwrap();
    assert!(matches!(
        arrived,
        Some(Arrival::Stop(Stop::Watchpoint { core: 0, .. }))
    ));
    // Behind the second instruction of the thousandth round.
    assert_eq!(machine.instructions(), 4 + 5 * 999 + 2);
    assert_eq!(machine.known_instructions(), LENGTH);
    assert_eq!(machine.checkpoints().first(), Some(&0));
    assert_eq!(machine.go_to(4 + 5 * 999 + 1).unwrap(), None);
    assert_eq!(
        machine.back(Backward::Continue),
        Ok(Some(Arrival::Begin)),
        "there is no other"
    );
}
