//! Whole machines that run small programs.

use std::time::Duration;

use tempfile::TempDir;
use vmm_devices::uart::{Capture, Discard, Flow};

pub(super) use super::hostile_tests::guests::{config, kernel};
use super::*;

/// mov r1, #0x09000000 (the UART)
pub(super) const UART: u32 = 0xe3a0_1409;
/// mov r0, #0x84000000; orr r0, r0, #8; hvc #0 (PSCI SYSTEM_OFF)
pub(super) const OFF: [u32; 3] = [0xe3a0_0484, 0xe380_0008, 0xe140_0070];
/// orr r0, r0, #9 in place of #8 (PSCI SYSTEM_RESET)
const RESET: [u32; 3] = [0xe3a0_0484, 0xe380_0009, 0xe140_0070];
/// wfi; b to the wfi
const SLEEP: [u32; 2] = [0xe320_f003, 0xeaff_fffd];
/// b to itself
const SPIN: u32 = 0xeaff_fffe;
/// mov r0, #'h'; strb r0, [r1]; mov r0, #'i'; strb r0, [r1]
pub(super) const HI: [u32; 4] = [0xe3a0_0068, 0xe5c1_0000, 0xe3a0_0069, 0xe5c1_0000];
/// Waits for a byte (ldrb r0, [r1, #5]; tst r0, #1; beq back) and shows it (ldrb r0, [r1]; strb r0,
/// [r1]).
pub(super) const ECHO: [u32; 5] = [
    0xe5d1_0005,
    0xe310_0001,
    0x0aff_fffc,
    0xe5d1_0000,
    0xe5c1_0000,
];

/// Enables the real-time clock's interrupt at the interrupt controller (GICD at r2: CTLR = 1,
/// ISENABLER1 = 4, target of 34 = 1; then GICC: PMR = 0xff, CTLR = 1), sets the alarm to a second
/// on (RTC at r1: MR = DR + 1, IMSC = 1), and sleeps once.
pub(super) const ALARM: [u32; 20] = [
    0xe3a0_2302,
    0xe3a0_3001,
    0xe582_3000,
    0xe5c2_3822,
    0xe3a0_3004,
    0xe582_3104,
    0xe282_2801,
    0xe3a0_30ff,
    0xe582_3004,
    0xe3a0_3001,
    0xe582_3000,
    0xe3a0_1409,
    0xe281_1801,
    0xe591_0000,
    0xe280_0001,
    0xe581_0004,
    0xe3a0_0001,
    0xe581_0010,
    0xe320_f003,
    0xe1a0_0000,
];

fn machine(program: &[&[u32]]) -> (Machine, Capture) {
    let file = kernel(program);
    let capture = Capture::default();
    (
        Machine::builder(&config(&file), Box::new(capture.clone()))
            .build()
            .unwrap(),
        capture,
    )
}

pub(super) fn limited(instructions: u64) -> Limits {
    Limits {
        instructions: Some(instructions),
        ..Limits::default()
    }
}

#[test]
fn a_guest_speaks_and_powers_off() {
    let (mut machine, capture) = machine(&[&[UART], &HI, &OFF]);
    assert_eq!(machine.run(limited(1000)).reason, Reason::PowerOff);
    assert_eq!(capture.bytes(), b"hi");
    let summary = machine.summary();
    assert_eq!(
        (summary.exit, summary.console_bytes),
        (Some(Reason::PowerOff), 2)
    );
    assert_eq!(
        summary.exits.mmio["uart"],
        DeviceAccesses {
            reads: 0,
            writes: 2
        }
    );
    assert_eq!(
        (summary.exits.firmware, summary.instructions),
        (1, summary.guest_ns)
    );
    assert_eq!(
        machine.run(Limits::default()).reason,
        Reason::PowerOff,
        "off is off"
    );
}

#[test]
fn a_reset_ends_the_run() {
    let (mut machine, _) = machine(&[&RESET]);
    assert_eq!(machine.run(limited(1000)).reason, Reason::Reset);
}

#[test]
fn system_registers_end_the_run_as_firmware_does() {
    for (value, reason) in [
        (3, Reason::PowerOff),
        (2, Reason::Reset),
        (1, Reason::Reset),
    ] {
        // add r2, r1, #0x30000 (the system registers); mov r0, #value; str r0, [r2, #0x18]; str r0,
        // [r2, #0xf00]
        let program = [
            UART,
            0xe281_2803,
            0xe3a0_0000 | value,
            0xe582_0018,
            0xe582_0f00,
            SPIN,
        ];
        let file = kernel(&[&program]);
        let config = Config {
            board: BoardModel::VirtHighbank,
            ..config(&file)
        };
        let builder = Machine::builder(&config, Box::new(Discard));
        let mut machine = builder.build().unwrap();
        assert_eq!(machine.run(limited(100_000)).reason, reason);
        let instructions = machine.summary().instructions;
        assert!(instructions < 1000, "it ends at once: {instructions}");
        assert_eq!(machine.run(Limits::default()).reason, reason);
        // What the guest wrote goes along in a snapshot.
        let saved = machine.state().unwrap().sregs.unwrap();
        assert_eq!(saved.words[0x18 / 4], value);
        let fork = Fork::new(Box::new(Discard));
        let mut other = machine.snapshot().unwrap().machine(fork).unwrap();
        assert_eq!(other.state().unwrap().sregs, Some(saved));
    }
}

#[test]
fn limits_end_the_run_exactly_and_it_goes_on() {
    let (mut machine, _) = machine(&[&[SPIN]]);
    assert_eq!(
        machine.run(limited(12_345)).reason,
        Reason::InstructionLimit
    );
    let first = machine.summary().instructions;
    assert!((12_345..12_500).contains(&first), "{first}");
    let limits = Limits {
        guest_ns: Some(3_000_000),
        ..Limits::default()
    };
    assert_eq!(machine.run(limits).reason, Reason::Timeout);
    assert!((3_000_000..3_001_000).contains(&machine.summary().guest_ns));
    let limits = Limits {
        wall: Some(Duration::from_millis(5)),
        ..Limits::default()
    };
    assert_eq!(machine.run(limits).reason, Reason::WallTimeout);
}

#[test]
fn a_guest_that_nothing_can_wake_is_dead_in_both_times() {
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let file = kernel(&[&SLEEP]);
        let mut machine = Machine::builder(
            &Config {
                time,
                rng: true,
                ..config(&file)
            },
            Box::new(Discard),
        )
        .build()
        .unwrap();
        assert_eq!(
            machine.run(Limits::default()).reason,
            Reason::GuestDead,
            "{time:?}"
        );
    }
}

#[test]
fn a_sleeper_is_waited_for_while_input_may_come() {
    let (mut machine, _) = machine(&[&SLEEP]);
    let input = machine.console_input();
    let thread = std::thread::spawn(move || drop(input));
    assert_eq!(machine.run(Limits::default()).reason, Reason::GuestDead);
    thread.join().unwrap();
    let stop = machine.stop_handle();
    let input = machine.console_input();
    let thread = std::thread::spawn(move || stop.stop());
    assert_eq!(machine.run(Limits::default()).reason, Reason::Stopped);
    thread.join().unwrap();
    drop(input);
}

#[test]
fn an_alarm_wakes_in_both_times() {
    let (mut machine, _) = machine(&[&ALARM, &OFF]);
    assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    let ns = machine.summary().guest_ns;
    assert!((1_000_000_000..1_000_001_000).contains(&ns), "{ns}");
    let file = kernel(&[&ALARM, &OFF]);
    let config = Config {
        time: TimeMode::Host,
        ..config(&file)
    };
    let mut machine = Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
    assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    assert!(machine.summary().guest_ns >= 1_000_000_000);
}

#[test]
fn an_alarm_goes_off_after_a_move_too() {
    let (mut first, _) = machine(&[&ALARM, &OFF]);
    let limits = Limits {
        guest_ns: Some(400_000_000),
        ..Limits::default()
    };
    assert_eq!(first.run(limits).reason, Reason::Timeout);
    let fork = Fork {
        console: Box::new(Discard),
        iommu_sink: None,
        seed: None,
    };
    let mut second = first.snapshot().unwrap().machine(fork).unwrap();
    for machine in [&mut first, &mut second] {
        assert_eq!(machine.run(Limits::default()).reason, Reason::PowerOff);
    }
    let ends = [first, second].map(|m| (m.summary().guest_ns, m.summary().instructions));
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn virtual_time_waits_for_a_person_and_is_the_same() {
    let (mut alone, _) = machine(&[&ALARM, &OFF]);
    alone.run(Limits::default());
    let (mut waited, _) = machine(&[&ALARM, &OFF]);
    let person = waited.persons_input();
    let start = Instant::now();
    assert_eq!(waited.run(Limits::default()).reason, Reason::PowerOff);
    assert!(start.elapsed() >= Duration::from_millis(990));
    let (alone, waited) = (alone.summary(), waited.summary());
    assert_eq!(waited.guest_ns, alone.guest_ns);
    assert_eq!(waited.instructions, alone.instructions);
    drop(person);
    // A guest that only a person could wake.
    let (mut machine, _) = machine(&[&SLEEP]);
    let person = machine.persons_input();
    let limits = Limits {
        wall: Some(Duration::from_millis(100)),
        ..Limits::default()
    };
    assert_eq!(machine.run(limits).reason, Reason::WallTimeout);
    let ns = machine.summary().guest_ns;
    assert!(ns >= 90_000_000, "{ns}");
    let limits = Limits {
        guest_ns: Some(ns + 50_000_000),
        ..Limits::default()
    };
    assert_eq!(machine.run(limits).reason, Reason::Timeout);
    drop(person);
    assert_eq!(machine.run(Limits::default()).reason, Reason::GuestDead);
}

#[test]
fn scheduled_input_arrives_at_the_same_instruction() {
    let run = || {
        let (mut machine, capture) = machine(&[&[UART], &ECHO, &ECHO, &OFF]);
        let input = machine.console_input();
        input.send_at(50_000, b"a");
        input.send_at(2_345_678, b"b");
        assert_eq!(machine.run(limited(10_000_000)).reason, Reason::PowerOff);
        assert_eq!(capture.bytes(), b"ab");
        (machine.summary().instructions, machine.console_record())
    };
    let (instructions, record) = run();
    assert_eq!(run(), (instructions, record.clone()));
    assert!(
        (2_345_678..2_346_000).contains(&instructions),
        "{instructions}"
    );
    assert_eq!(
        record
            .iter()
            .map(|r| r.bytes.as_slice())
            .collect::<Vec<_>>(),
        [b"a", b"b"]
    );
    assert!(record[1].at_ns >= 2_345_678);
}

#[test]
fn live_input_is_replayed_from_its_record() {
    let program: &[&[u32]] = &[&[UART], &ECHO, &OFF];
    let (mut live, _) = machine(program);
    let input = live.console_input();
    let thread = std::thread::spawn(move || input.send(b"x"));
    assert_eq!(live.run(limited(10_000_000_000)).reason, Reason::PowerOff);
    thread.join().unwrap();
    let (mut replay, capture) = machine(program);
    let input = replay.console_input();
    for record in live.console_record() {
        input.send_at(record.at_ns, &record.bytes);
    }
    assert_eq!(replay.run(limited(10_000_000_000)).reason, Reason::PowerOff);
    assert_eq!(capture.bytes(), b"x");
    assert_eq!(replay.summary().instructions, live.summary().instructions);
}

#[test]
fn a_sink_ends_the_run_where_it_wants() {
    struct Expect;
    impl ConsoleSink for Expect {
        fn write(&mut self, bytes: &[u8]) -> Flow {
            if bytes == b"i" {
                Flow::Stop
            } else {
                Flow::Continue
            }
        }
    }
    let file = kernel(&[&[UART], &HI, &[SPIN]]);
    let mut machine = Machine::builder(&config(&file), Box::new(Expect))
        .build()
        .unwrap();
    assert_eq!(machine.run(limited(1_000_000)).reason, Reason::ConsoleStop);
    assert!(machine.summary().instructions < 100);
    assert_eq!(
        machine.run(limited(1_000_000)).reason,
        Reason::InstructionLimit
    );
}

fn sentence(config: &Config) -> String {
    match Machine::builder(config, Box::new(Discard)).build() {
        Ok(_) => panic!("the machine was made"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn bad_input_is_one_sentence() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = Config {
        kernel: file("Image", &[0xea; 8192]),
        ..Config::default()
    };
    let cases: [(Config, &str); 6] = [
        (
            Config {
                kernel: "/nonexistent".into(),
                ..good.clone()
            },
            "cannot read the kernel /nonexistent",
        ),
        (
            Config {
                kernel: file("gz", b"\x1f\x8b\x08rest"),
                ..good.clone()
            },
            "gzip-compressed",
        ),
        (
            Config {
                kernel: file("text", b"hello there"),
                ..good.clone()
            },
            "not a zImage",
        ),
        (
            Config {
                initrd: Some("/nonexistent".into()),
                ..good.clone()
            },
            "cannot read the initrd",
        ),
        (
            Config {
                disks: vec![DiskConfig::new("/nonexistent")],
                ..good.clone()
            },
            "cannot open the disk",
        ),
        (
            Config {
                disks: vec![DiskConfig::new(dir.path())],
                ..good.clone()
            },
            "neither a file nor a block device",
        ),
    ];
    for (config, words) in cases {
        let sentence = sentence(&config);
        assert!(
            sentence.contains(words) && !sentence.contains('\n'),
            "{sentence:?} lacks {words:?}"
        );
    }
    let big = file("big", &vec![0xea; 20 << 20]);
    let small = Config {
        kernel: big,
        memory: ByteSize(16 << 20),
        ..good.clone()
    };
    let sentence_small = sentence(&small);
    assert!(
        sentence_small.contains("16M of memory is too little"),
        "{sentence_small}"
    );
}

#[test]
fn a_disk_of_another_machine_is_refused_and_freed_with_it() {
    let dir = TempDir::new().unwrap();
    let disk = dir.path().join("disk");
    std::fs::write(&disk, [0; 4096]).unwrap();
    let file = kernel(&[&[SPIN]]);
    let config = Config {
        disks: vec![DiskConfig::new(&disk)],
        ..config(&file)
    };
    let first = Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
    assert!(sentence(&config).contains("in use by another program"));
    drop(first);
    Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
}
