//! Machines that go on from a snapshot, against the one it was taken of.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, Weak};

use arm32::ClusterState;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_devices::irq::gicv2::SavedGic;
use vmm_devices::uart::{Capture, Discard};
use vmm_devices::virtio::VirtioMmio;

use super::*;
use crate::tests::{UART, config, kernel, limited};
use crate::vcpu::{Irqchip, KvmState, Width};
use crate::{IommuConfig, IommuModel, Reason, Summary};

/// Counts in memory and shows every 256th count: mov r3, #0x40000000; add r3, r3, #0x100000; add
/// r0, r0, #1; str r0, [r3, #4]!; tst r0, #0xff; streqb r0, [r1]; b back.
const COUNT: [u32; 7] = [
    0xe3a0_3101,
    0xe283_3601,
    0xe280_0001,
    0xe5a3_0004,
    0xe310_00ff,
    0x05c1_0000,
    0xeaff_fffa,
];

fn counting() -> (Machine, Capture, NamedTempFile) {
    let file = kernel(&[&[UART], &COUNT]);
    let capture = Capture::default();
    let machine = Machine::builder(&config(&file), Box::new(capture.clone()))
        .build()
        .unwrap();
    (machine, capture, file)
}

/// Returns a hash of all of RAM.
fn hash(machine: &Machine) -> Vec<u8> {
    let ram = machine.board().ram;
    let mut bytes = vec![0; usize::try_from(ram.size).unwrap()];
    let memory = machine.bus.memory();
    memory
        .read_slice(&mut bytes, GuestAddress(ram.base))
        .unwrap();
    Sha256::digest(&bytes).to_vec()
}

/// Returns the parts of a machine that must be the same.
fn facts(machine: &mut Machine) -> (Summary, MachineState, Vec<u8>) {
    // What the host's speed decides is no part of the comparison.
    let summary = Summary {
        wall_ns: 0,
        mips: 0.0,
        ..machine.summary()
    };
    (summary, machine.state().unwrap(), hash(machine))
}

#[test]
fn it_goes_on_as_the_first_does() {
    let (mut first, shown, _file) = counting();
    first.run(limited(10_001));
    let snapshot = first.snapshot().unwrap();
    let before = facts(&mut first);
    let console = Capture::default();
    let mut second = snapshot
        .machine(Fork::new(Box::new(console.clone())))
        .unwrap();
    assert_eq!(facts(&mut second), before);
    let seen = shown.bytes().len();
    assert_eq!(first.run(limited(50_000)).reason, Reason::InstructionLimit);
    // One that was made before the first went on, and one after.
    let mut third = snapshot.machine(Fork::new(Box::new(Discard))).unwrap();
    for other in [&mut second, &mut third] {
        assert_eq!(other.run(limited(50_000)).reason, Reason::InstructionLimit);
        assert_eq!(facts(other), facts(&mut first));
    }
    assert_eq!(console.bytes(), shown.bytes()[seen..]);
    assert!(!console.bytes().is_empty());
    // And on from there.
    let mut fourth = second
        .into_snapshot()
        .unwrap()
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
    first.run(limited(90_000));
    fourth.run(limited(90_000));
    assert_eq!(facts(&mut fourth), facts(&mut first));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_moment_will_do(at in 0u64..30_000, further in 1u64..30_000, again in 0u64..3) {
        let (mut first, _, _file) = counting();
        first.run(limited(at));
        let mut second = first.snapshot().unwrap().machine(Fork::new(Box::new(Discard))).unwrap();
        for part in 1..=1 + again {
            first.run(limited(at + part * further));
            second.run(limited(at + part * further));
            prop_assert!(facts(&mut first) == facts(&mut second), "{at} {further} {part}");
            second = second.snapshot().unwrap().machine(Fork::new(Box::new(Discard))).unwrap();
        }
    }
}

#[test]
fn input_that_waits_and_what_passed_go_along() {
    let file = kernel(&[&[UART], &crate::tests::ECHO, &crate::tests::OFF]);
    let mut first = Machine::builder(&config(&file), Box::new(Discard))
        .build()
        .unwrap();
    first.console_input().send_at(20_000, b"x");
    first.run(limited(5_000));
    let console = Capture::default();
    let mut second = first
        .snapshot()
        .unwrap()
        .machine(Fork::new(Box::new(console.clone())))
        .unwrap();
    assert_eq!(second.run(limited(1_000_000)).reason, Reason::PowerOff);
    assert_eq!(console.bytes(), b"x");
    assert_eq!(first.run(limited(1_000_000)).reason, Reason::PowerOff);
    assert_eq!(second.console_record(), first.console_record());
    assert_eq!(facts(&mut second), facts(&mut first));
}

#[test]
fn a_machine_that_is_off_stays_off() {
    let file = kernel(&[&crate::tests::OFF]);
    let mut first = Machine::builder(&config(&file), Box::new(Discard))
        .build()
        .unwrap();
    first.run(limited(100));
    let mut second = first
        .snapshot()
        .unwrap()
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
    assert_eq!(second.run(limited(100)).reason, Reason::PowerOff);
}

#[test]
fn a_disk_that_is_written_is_each_machines_own() {
    let file = kernel(&[&[UART], &COUNT]);
    let mut image = NamedTempFile::new().unwrap();
    image.write_all(&[7; 8192]).unwrap();
    let mut config = config(&file);
    config.disks = vec![crate::DiskConfig::new(image.path())];
    let mut first = Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
    let snapshot = first.snapshot().unwrap();
    // The first machine's guest writes.
    image.as_file_mut().set_len(0).unwrap();
    assert_eq!(snapshot.0.disks[0].sectors, 16);
    let disk = snapshot.0.disks[0].open();
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_at(&**disk.storage.file(), &mut byte, 8191).unwrap();
    assert_eq!(byte, [7]);
    drop(first);
    let later = snapshot.machine(Fork::new(Box::new(Discard))).unwrap();
    assert_eq!(later.summary().disks.len(), 1);
}

/// Returns the devices of a machine, which should be gone with it.
fn devices(machine: &Machine) -> Vec<Weak<Mutex<VirtioMmio>>> {
    let devices = machine.devices.virtio.iter();
    devices.map(Arc::downgrade).collect()
}

#[test]
fn a_machine_that_is_gone_leaves_nothing_but_what_the_next_begins_with() {
    let file = kernel(&[&[UART], &COUNT]);
    for (model, faults) in [
        (IommuModel::Ipmmu, false),
        (IommuModel::Ipmmu, true),
        (IommuModel::RockchipV2, true),
        (IommuModel::SmmuV2, true),
        (IommuModel::Bridge, false),
        (IommuModel::Virtio, false),
        (IommuModel::Virtio, true),
    ] {
        let config = Config {
            rng: true,
            iommus: vec![IommuConfig::new(model)],
            ..config(&file)
        };
        let gone = |devices: &[Weak<_>]| devices.iter().all(|device| device.strong_count() == 0);
        let injection = faults.then(Injection::new);
        let mut first = Machine::builder(&config, Box::new(Discard))
            .injection(injection.as_ref())
            .build()
            .unwrap();
        first.run(limited(1_000));
        let (memory, owned) = (Arc::downgrade(&first.bus.memory()), devices(&first));
        let snapshot = first.into_snapshot().unwrap();
        assert_eq!(memory.strong_count(), 0, "{model:?}, faults: {faults}");
        assert!(gone(&owned), "{model:?}, faults: {faults}");
        let mut places = BTreeSet::new();
        for round in 1..5 {
            let injection = faults.then(Injection::new);
            let fork = Fork::new(Box::new(Discard));
            let mut machine = snapshot
                .machine_with_faults(fork, injection.as_ref())
                .unwrap();
            machine.run(limited(1_000 * (1 + round)));
            let base = GuestAddress(machine.board().ram.base);
            places.insert(machine.bus.memory().get_host_address(base).unwrap().addr());
            let owned = devices(&machine);
            drop(machine);
            assert!(gone(&owned), "{model:?}, faults: {faults}");
        }
        assert_eq!(places.len(), 1, "one memory, which each took from the last");
    }
}

#[test]
fn memory_that_was_used_is_the_snapshots_again_whoever_wrote_it() {
    let (mut first, _, _file) = counting();
    first.run(limited(1_000));
    let snapshot = first.snapshot().unwrap();
    let at_first = facts(&mut first);
    let fork = || {
        let fork = Fork::new(Box::new(Discard));
        snapshot.machine(fork).unwrap()
    };
    for (round, steps) in (0u8..).zip([60_000, 3_000, 1_001, 40_000]) {
        let mut used = fork();
        assert!(facts(&mut used) == at_first, "round {round}");
        used.run(limited(steps));
        let ran = facts(&mut used);
        // As a device writes, over code and elsewhere; the last page, too.
        let ram = used.board().ram;
        for at in [0, ram.size / 2 - 1, ram.size - 2] {
            let bytes = [0xa5 ^ round; 2];
            let place = GuestAddress(ram.base + at);
            used.memory().write_slice(&bytes, place).unwrap();
        }
        drop(used);
        // One that begins with nothing of others does the same.
        let mut after = fork();
        snapshot.release();
        let mut fresh = fork();
        for machine in [&mut after, &mut fresh] {
            machine.run(limited(steps));
            assert!(facts(machine) == ran, "round {round}");
        }
    }
}

#[test]
fn machines_that_begin_with_copies_of_code_do_the_same() {
    let (mut first, _, _file) = counting();
    first.run(limited(1_000));
    let snapshot = first.into_snapshot().unwrap();
    let fork = || {
        let fork = Fork::new(Box::new(Discard));
        snapshot.machine(fork).unwrap()
    };
    // Nobody has left anything yet.
    snapshot.prepare(2);
    let mut before = fork();
    before.run(limited(20_000));
    before.run(limited(40_000));
    let wanted = facts(&mut before);
    drop(before);
    snapshot.prepare(3);
    assert_eq!(snapshot.0.bench.len(), 3);
    // All of them at the same time.
    let mut machines = [fork(), fork(), fork(), fork()];
    for machine in &mut machines {
        machine.run(limited(20_000));
    }
    for machine in &mut machines {
        machine.run(limited(40_000));
        assert_eq!(facts(machine), wanted);
    }
}

fn emulated(state: &mut MachineState) -> (&mut ClusterState, &mut SavedGic) {
    match &mut state.processor {
        Processor::Emulated { cores, gic } => (cores, gic),
        Processor::Kvm(_) => panic!("nothing here is run by KVM"),
    }
}

/// What makes a state one of another machine.
type Spoil = (&'static str, fn(&mut MachineState));

#[test]
fn states_of_other_machines_are_refused() {
    let file = kernel(&[&[UART], &COUNT]);
    let config = Config {
        rng: true,
        iommus: vec![IommuConfig::new(IommuModel::Ipmmu)],
        ..config(&file)
    };
    let mut first = Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
    first.run(limited(1000));
    let Snapshot(good) = first.snapshot().unwrap();
    let spoil: [Spoil; 6] = [
        ("cores", |s| emulated(s).0.version = 7),
        ("gic", |s| emulated(s).1.gic.interfaces[0].abpr = 0),
        ("slots", |s| s.virtio.clear()),
        ("queues", |s| s.virtio[0].queues.clear()),
        ("iommus", |s| s.iommus.clear()),
        ("time", |s| s.time.now_ns = u64::MAX),
    ];
    for (name, spoil) in spoil {
        let mut state = good.state.clone();
        spoil(&mut state);
        let bad = Inner {
            config: good.config.clone(),
            board: good.board.clone(),
            state,
            memory: good.memory.clone(),
            disks: good.disks.clone(),
            findings: Findings::default(),
            bench: Bench::default(),
        };
        let machine = Snapshot(Arc::new(bad)).machine(Fork::new(Box::new(Discard)));
        assert!(matches!(machine, Err(Error::Restore(_))), "{name}");
    }
    Snapshot(good)
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
}

#[test]
fn what_one_kind_of_core_left_is_not_for_the_other() {
    let (machine, _, _file) = counting();
    let snapshot = machine.into_snapshot().unwrap();
    let refused = |change: fn(&mut Inner)| {
        let Ok(mut inner) = Arc::try_unwrap(snapshot_of(&snapshot)) else {
            panic!("nobody else has it");
        };
        change(&mut inner);
        let made = Snapshot(Arc::new(inner)).machine(Fork::new(Box::new(Discard)));
        made.map(drop).unwrap_err().to_string()
    };
    let error = refused(|inner| inner.config.accel = Accel::Kvm);
    assert!(error.contains("neither can go on for the other"), "{error}");
    let error = refused(|inner| {
        inner.state.processor = Processor::Kvm(KvmState {
            width: Width::Bits32,
            irqchip: Irqchip::GicV3,
            cores: Vec::new(),
            gic: Vec::new(),
            high: Vec::new(),
        });
    });
    assert!(
        error.contains("KVM cannot be used") || error.contains("of no use here"),
        "{error}"
    );
}

/// Returns the same snapshot, apart from what was looked for or left.
fn snapshot_of(Snapshot(inner): &Snapshot) -> Arc<Inner> {
    Arc::new(Inner {
        config: inner.config.clone(),
        board: inner.board.clone(),
        state: inner.state.clone(),
        memory: Memory::capture(&inner.memory.map(inner.board.ram.base).unwrap()).unwrap(),
        disks: Vec::new(),
        findings: Findings::default(),
        bench: Bench::default(),
    })
}
