//! Runs that are recorded, and had again.

use std::io::Write as _;

use vmm_devices::uart::{Capture, Discard};

use super::*;
use crate::tests::{ALARM, ECHO, OFF, UART, config, kernel, limited};
use crate::{DiskConfig, Limits, MachineState};

/// Shows the low byte of the time again and again: mrrc p15, 1, r2, r3, c14 (CNTVCT); strb r2,
/// [r1]; b back.
const TIME: [u32; 3] = [0xec53_2f1e, 0xe5c1_2000, 0xeaff_fffc];

/// A run's end: why, what the console showed, and the machine's state but for what the run loop
/// counted.
type Seen = (Reason, Vec<u8>, MachineState);

fn seen(machine: &mut Machine, console: &Capture, reason: Reason) -> Seen {
    let mut state = machine.state().unwrap();
    state.run = Default::default();
    (reason, console.bytes(), state)
}

/// Runs what `prepare` has prepared, in `parts`, and records it.
fn record(config: &Config, parts: &[Limits], prepare: impl Fn(&Machine)) -> (Seen, Vec<u8>) {
    let console = Capture::default();
    let (mut machine, recorder) =
        Recorder::start(config, Box::new(console.clone()), None, None, Vec::new()).unwrap();
    prepare(&machine);
    let mut reason = Reason::Stopped;
    for limits in parts {
        reason = machine.run(*limits).reason;
    }
    let file = recorder.finish(&mut machine).unwrap();
    (seen(&mut machine, &console, reason), file)
}

fn replay(recording: &Recording) -> (Seen, Machine) {
    let console = Capture::default();
    let mut machine = recording.machine(Box::new(console.clone()), None).unwrap();
    let reason = machine.run(Limits::default()).reason;
    (seen(&mut machine, &console, reason), machine)
}

#[test]
fn what_was_typed_is_typed_again() {
    let file = kernel(&[&[UART], &ECHO, &ECHO, &ECHO, &OFF]);
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let config = Config {
            time,
            ..config(&file)
        };
        let (first, file) = record(
            &config,
            &[limited(7_000_000), limited(1 << 40)],
            |machine| {
                let input = machine.console_input();
                input.send(b"a");
                input.send_at(2_000_000, b"b");
                input.send_at(9_000_001, b"c");
            },
        );
        assert_eq!(
            (first.0, first.1.as_slice()),
            (Reason::PowerOff, &b"abc"[..])
        );
        let mut recording = Recording::read(&*file).unwrap();
        recording.find_files(&Moved::default()).unwrap();
        let (again, machine) = replay(&recording);
        assert!(again == first, "{time:?}: {:?}", machine.divergence());
        let record = machine.console_record();
        let typed: Vec<u8> = record.into_iter().flat_map(|input| input.bytes).collect();
        assert_eq!(typed, b"abc", "{time:?}");
    }
}

#[test]
fn the_time_of_the_host_is_the_same_again() {
    let file = kernel(&[&[UART], &TIME]);
    let config = Config {
        time: TimeMode::Host,
        ..config(&file)
    };
    let (first, file) = record(&config, &[limited(300_000), limited(700_001)], |_| ());
    let recording = Recording::read(&*file).unwrap();
    let times: Vec<u64> = recording.turns.iter().map(|turn| turn.now_ns).collect();
    assert!(times.len() > 10 && times.last() > times.first());
    let (again, machine) = replay(&recording);
    assert!(again == first, "{:?}", machine.divergence());
    // Looked at in parts, and ended sooner, it is the same up to there.
    let console = Capture::default();
    let mut machine = recording.machine(Box::new(console.clone()), None).unwrap();
    for at in [12_345, 12_346, 400_000] {
        assert_eq!(machine.run(limited(at)).reason, Reason::InstructionLimit);
    }
    assert!(first.1.starts_with(&console.bytes()) && !console.bytes().is_empty());
    assert_eq!(machine.run(Limits::default()).reason, first.0);
    assert!(console.bytes() == first.1);
}

/// What the sentence says, and what makes the run another one.
#[test]
fn an_alarm_and_a_wait_for_a_person_are_had_again() {
    let file = kernel(&[&ALARM, &[UART], &ECHO, &ECHO, &OFF]);
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let config = Config {
            time,
            ..config(&file)
        };
        let (first, file) = record(&config, &[Limits::default()], |machine| {
            let person = machine.persons_input();
            // Some of it comes while the guest sleeps, and has it look up.
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(100));
                person.send(b"a");
                std::thread::sleep(std::time::Duration::from_millis(1200));
                person.send(b"b");
            });
        });
        assert_eq!((first.0, &*first.1), (Reason::PowerOff, &b"ab"[..]));
        let (again, machine) = replay(&Recording::read(&*file).unwrap());
        assert!(again == first, "{time:?}: {:?}", machine.divergence());
    }
}

type Spoil = (&'static str, fn(&mut Recording));

#[test]
fn a_run_that_differs_is_told_from_where() {
    let file = kernel(&[&[UART], &ECHO, &ECHO, &TIME]);
    let config = Config {
        time: TimeMode::Host,
        ..config(&file)
    };
    let (_, file) = record(&config, &[limited(900_000)], |machine| {
        machine.console_input().send(b"xy");
    });
    let good = Recording::read(&*file).unwrap();
    assert_eq!(replay(&good).0.0, Reason::InstructionLimit);
    let spoil: [Spoil; 5] = [
        ("registers", |r| r.turns[7].check ^= 1),
        ("", |r| r.turns[6].now_ns += 1_000_000),
        ("registers", |r| r.turns[0].input[0] ^= 1),
        ("registers", |r| r.turns[7].instructions -= 1),
        ("registers", |r| r.ending.turn.check ^= 1),
    ];
    for (what, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let ((reason, ..), machine) = replay(&bad);
        let divergence = machine.divergence();
        let told = divergence.is_some_and(|d| d.to_string().contains(what));
        assert!(
            reason == Reason::Diverged && told,
            "{what}: {reason:?} {divergence:?}"
        );
        assert!(divergence.unwrap().instructions <= 900_000);
    }
}

#[test]
fn a_guest_that_dies_or_sleeps_does_so_again() {
    // wfi; b to the wfi
    let file = kernel(&[&[0xe320_f003, 0xeaff_fffd]]);
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let config = Config {
            time,
            ..config(&file)
        };
        let (first, file) = record(&config, &[Limits::default()], |_| ());
        assert_eq!(first.0, Reason::GuestDead);
        let (again, machine) = replay(&Recording::read(&*file).unwrap());
        assert!(again == first, "{time:?}: {:?}", machine.divergence());
    }
}

#[test]
fn files_must_be_what_they_were_and_stay_so() {
    let file = kernel(&[&OFF]);
    let mut disk = tempfile::NamedTempFile::new().unwrap();
    disk.write_all(&[1; 4096]).unwrap();
    let config = Config {
        disks: vec![DiskConfig::new(disk.path())],
        ..config(&file)
    };
    let (_, bytes) = record(&config, &[Limits::default()], |_| ());
    let mut recording = Recording::read(&*bytes).unwrap();
    recording.find_files(&Moved::default()).unwrap();
    assert_eq!(recording.reason(), Reason::PowerOff);
    assert_eq!(replay(&recording).0.0, Reason::PowerOff);
    disk.write_all(b"x").unwrap();
    assert!(matches!(
        recording.find_files(&Moved::default()),
        Err(ReadError::Changed(..))
    ));
    drop(disk);
    assert!(matches!(
        recording.find_files(&Moved::default()),
        Err(ReadError::Needed { .. })
    ));
}

#[test]
fn bad_files_and_full_disks_are_sentences() {
    let file = kernel(&[&OFF]);
    let (_, good) = record(&config(&file), &[Limits::default()], |_| ());
    for length in 0..good.len() {
        assert!(Recording::read(&good[..length]).is_err(), "{length}");
    }
    let mut other = good.clone();
    other[0] = b'V';
    let error = Recording::read(&*other).err().unwrap().to_string();
    assert_eq!(error, "it is not a recording");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let started = Recorder::start(
        &config(&file),
        Box::new(Discard),
        None,
        None,
        io::BufWriter::new(full),
    );
    let (mut machine, recorder) = started.unwrap();
    assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    assert!(recorder.finish(&mut machine).is_err());
}
