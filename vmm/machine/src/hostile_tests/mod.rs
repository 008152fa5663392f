//! Guests that do the most that they can with one instruction: limits of wall time and requests to
//! stop act all the same.
//!
//! How soon they act is measured by `cargo run --release -p vmm --example stop_latency`, on a host
//! that does nothing else. What bounds it is asserted here, in bytes of work between two looks.

mod dma_tester;
pub(super) mod guests;
mod iommu;

use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use virtio_bindings::virtio_blk::*;

use super::*;
use guests::devices::mebibytes;
use guests::*;
use vmm_devices::uart::Discard;
use vmm_devices::virtio::PIECE;
use vmm_devices::virtio::budget::TURN_BYTES;
use vmm_devices::virtio::waits::Waiting;

/// Within this a run ends that was told to. It is asked of a host that does nothing else to take no
/// more than a fifth of a second; one that does a lot else takes longer, and one without a bound
/// takes minutes.
const WATCHDOG: Duration = Duration::from_secs(5);
/// What all devices may do in virtual time between two looks of the run loop: a turn, and what
/// fills up again in the million nanoseconds of a slice.
const BETWEEN_LOOKS: u64 = TURN_BYTES + 16 * 1_000_000;
/// The last piece of a turn may be greater than what was left.
const LAST_PIECE: u64 = PIECE as u64;

/// Runs into a limit of wall time, and then is stopped: both at once.
fn ends_when_told(world: &mut World, what: &str) {
    for (how, late) in [("limit", world.limit()), ("stop", world.stop())] {
        println!("{what}: {how} {late:?}");
        assert!(late < WATCHDOG, "{what}: held up its {how} for {late:?}");
    }
    let work = world.machine.context.schedule.work();
    let turn = work.turn();
    assert!(
        turn <= TURN_BYTES + LAST_PIECE,
        "{what}: {turn} bytes in a turn"
    );
}

#[test]
fn no_guest_holds_anything_up() {
    for guest in WORST {
        for time in [TimeMode::Virtual, TimeMode::Host] {
            let what = format!("{}, {time:?}", guest.name);
            let mut world = guest.world(time);
            ends_when_told(&mut world, &what);
            let between = world.machine.context.schedule.work().between_looks();
            // The driver of a virtio-iommu spins, so that is served whenever it is notified. Then
            // the core looks each time.
            assert!(
                between <= BETWEEN_LOOKS + LAST_PIECE || guest.spins,
                "{what}: {between} bytes between two looks"
            );
            let begin = Instant::now();
            drop(world);
            let took = begin.elapsed();
            assert!(took < WATCHDOG, "{what} held up the end for {took:?}");
        }
    }
}

/// The worst guests do what they are here for.
#[test]
fn the_worst_guests_keep_their_devices_busy() {
    for guest in WORST.iter().filter(|guest| guest.busy > 0) {
        let mut world = guest.world(TimeMode::Virtual);
        let limits = Limits {
            guest_ns: Some(100_000),
            ..Limits::default()
        };
        assert_eq!(
            world.machine.run(limits).reason,
            Reason::Timeout,
            "{}",
            guest.name
        );
        let work = world.machine.context.schedule.work().between_looks();
        assert!(work >= guest.busy, "{}: {work} bytes", guest.name);
    }
}

/// Returns what a guest can see of its disk after so much time, and what the machine is like.
fn after(world: &mut World, guest_ns: u64, walls: bool) -> (u16, MachineState) {
    let limits = |wall| Limits {
        guest_ns: Some(guest_ns),
        wall,
        ..Limits::default()
    };
    let mut wall = walls.then_some(Duration::from_millis(7));
    while world.machine.run(limits(wall)).reason == Reason::WallTimeout {
        // More of it each time, so that a slow host gets anywhere.
        wall = wall.map(|wall| wall * 2);
    }
    let mut state = world.machine.state().unwrap();
    state.run = Default::default();
    (world.used(), state)
}

#[test]
fn what_is_left_over_goes_on_at_the_same_instant_in_every_run() {
    let world = |_| {
        let world = quiet_disk(64, |config| config.disks[0].overlay = true);
        world.requests(VIRTIO_BLK_T_IN, &mebibytes(64), 3);
        world
    };
    const MS: u64 = 1_000_000;
    let [mut whole, mut walled, mut saved] = [0, 1, 2].map(world);
    let first = after(&mut whole, 10 * MS, false);
    assert_eq!(first.0, 0, "the first request takes two turns, 16 ms apart");
    assert_eq!(after(&mut walled, 10 * MS, true), first);
    assert_eq!(after(&mut saved, 10 * MS, false), first);
    let snapshot = saved.machine.snapshot().unwrap();
    let machine = snapshot.machine(Fork::new(Box::new(Discard))).unwrap();
    let mut forked = World {
        machine,
        base: saved.base,
        _files: Vec::new(),
    };
    let last = after(&mut whole, 200 * MS, false);
    assert_eq!(last.0, 3);
    for world in [&mut walled, &mut saved, &mut forked] {
        assert_eq!(after(world, 200 * MS, false), last);
    }
    let done = whole.machine.summary().disks[0];
    assert_eq!(
        (done.requests, done.errors, done.bytes_read),
        (3, 0, 192 << 20)
    );
}

#[test]
fn a_request_of_several_turns_moves_its_data() {
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let mut world = quiet_disk(64, |config| config.time = time);
        let contents: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 253) as u8).collect();
        world.put(DATA, &contents);
        world.requests(VIRTIO_BLK_T_OUT, &mebibytes(64), 1);
        let begin = Instant::now();
        while world.used() == 0 {
            assert!(begin.elapsed() < Duration::from_secs(60));
            let limits = Limits {
                wall: Some(Duration::from_millis(100)),
                ..Limits::default()
            };
            world.machine.run(limits);
        }
        let mut found = vec![0; 1 << 20];
        for mebibyte in 0..64 {
            world
                .machine
                .read_disk(0, mebibyte << 20, &mut found)
                .unwrap();
            assert!(found == contents, "{mebibyte}, {time:?}");
        }
    }
}

#[test]
fn a_machine_in_host_time_is_saved_in_the_middle_of_its_requests() {
    let mut world = quiet_disk(254, |config| {
        config.time = TimeMode::Host;
        config.disks[0].overlay = true;
    });
    world.requests(VIRTIO_BLK_T_IN, &mebibytes(254), 6);
    let limits = Limits {
        wall: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    world.machine.run(limits);
    let begin = Instant::now();
    let snapshot = world.machine.snapshot().unwrap();
    assert!(begin.elapsed() < WATCHDOG);
    let machine = snapshot.machine(Fork::new(Box::new(Discard))).unwrap();
    let forked = World {
        machine,
        base: world.base,
        _files: Vec::new(),
    };
    for mut world in [world, forked] {
        let begin = Instant::now();
        while world.used() < 6 {
            assert!(begin.elapsed() < Duration::from_secs(120));
            world.machine.run(limits);
        }
        assert_eq!(world.machine.summary().disks[0].errors, 0);
    }
}

/// A flush, say, of a host that is in no hurry.
#[test]
fn while_the_host_takes_its_time_none_passes_and_the_run_can_be_ended() {
    let mut world = disk(1, |_| {});
    // As if a queue had handed work to a thread that takes for ever.
    let wait = Waiting::new(world.machine.context.schedule.waits()).begin(0);
    let before = world.machine.clock().now_ns();
    assert!(world.limit() < WATCHDOG);
    assert!(world.stop() < WATCHDOG);
    let limits = Limits {
        guest_ns: Some(before + 1000),
        wall: Some(Duration::from_millis(10)),
        ..Limits::default()
    };
    assert_eq!(world.machine.run(limits).reason, Reason::WallTimeout);
    assert_eq!(world.machine.clock().now_ns(), before);
    drop(wait);
    let limits = Limits {
        wall: None,
        ..limits
    };
    assert_eq!(world.machine.run(limits).reason, Reason::Timeout);
    assert_eq!(world.machine.clock().now_ns(), before + 1000);
}

#[test]
fn flushes_end_at_the_same_instant_in_every_run() {
    let world = |_| {
        let world = quiet_disk(1, |_| {});
        world.requests(VIRTIO_BLK_T_FLUSH, &[], 3);
        world
    };
    let [mut whole, mut walled, mut cut] = [0, 1, 2].map(world);
    let first = after(&mut whole, 1_000_000, false);
    assert_eq!(first.0, 3);
    assert_eq!(whole.machine.summary().disks[0].flushes, 3);
    assert_eq!(after(&mut walled, 1_000_000, true), first);
    // An instruction at a time: where a run is cut must make no difference to the guest.
    let answered = (1..1000).find(|instructions| {
        let limits = Limits {
            instructions: Some(*instructions),
            ..Limits::default()
        };
        cut.machine.run(limits);
        cut.used() > 0
    });
    assert!(answered.is_some(), "they are answered while the guest runs");
    assert_eq!(after(&mut cut, 1_000_000, false), first);
}
