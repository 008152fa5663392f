//! Guests that do the most that they can with one instruction: limits of wall time and requests to stop act all the same.

mod cores;
mod iommu;

use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};

use super::tests::{config, kernel};
use super::*;
use crate::devices::uart::Discard;

/// Within this a run ends that was told to. It is asked of a host that does nothing else to take no more than a fifth of a
/// second; one that does a lot else takes longer, and one without a bound takes minutes.
const WATCHDOG: Duration = Duration::from_secs(5);

/// Writes words to addresses as a table says that lies 0xf8000 bytes behind, and then the last of them for ever.
/// ```text
///       sub r2, pc, #8
///       add r2, r2, #0xf8000
/// next: ldr r0, [r2], #4
///       ldr r1, [r2], #4
///       cmp r0, #0
///       strne r1, [r0]
///       movne r5, r0
///       movne r6, r1
///       bne next
/// last: str r6, [r5]
///       b last
/// ```
const POKE: [u32; 11] = [
    0xe24f_2008,
    0xe282_2af8,
    0xe492_0004,
    0xe492_1004,
    0xe350_0000,
    0x1580_1000,
    0x11a0_5000,
    0x11a0_6001,
    0x1aff_fff8,
    0xe585_6000,
    0xeaff_fffd,
];
/// The last two instructions of one that sleeps in place of the last: wfi; b back.
const SLEEP: [u32; 2] = [0xe320_f003, 0xeaff_fffd];
/// Where it looks for the table, from the base of RAM.
const TABLE: u64 = 0x10_0000;
const DESC: u64 = 0x20_0000;
const AVAIL: u64 = 0x20_4000;
const USED: u64 = 0x20_8000;
const INDIRECT: u64 = 0x21_0000;
const HEADER: u64 = 0x22_0000;
const STATUS: u64 = 0x22_8000;
const DATA: u64 = 0x40_0000;
const RING: u16 = 256;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT_TABLE: u16 = 4;

/// A machine whose guest is about to set a virtio device up.
struct World {
    machine: Machine,
    base: u64,
    // Kept for as long as the machine has them open.
    _files: Vec<NamedTempFile>,
}

fn poking(program: &[&[u32]], change: impl FnOnce(&mut Config)) -> World {
    let file = kernel(program);
    let mut config = config(&file);
    change(&mut config);
    let machine = Machine::new(&config, Box::new(Discard)).unwrap();
    let base = machine.board().ram.base;
    World {
        machine,
        base,
        _files: vec![file],
    }
}

/// A guest that notifies its disk again and again.
fn disk(mib: u64, change: impl FnOnce(&mut Config)) -> World {
    disk_of(&[&POKE], mib, change)
}

/// A guest that notifies its disk once, and sleeps.
fn quiet_disk(mib: u64, change: impl FnOnce(&mut Config)) -> World {
    disk_of(&[&POKE[..9], &SLEEP], mib, change)
}

fn disk_of(program: &[&[u32]], mib: u64, change: impl FnOnce(&mut Config)) -> World {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(mib << 20).unwrap();
    let path = file.path().to_owned();
    let mut world = poking(program, |config| {
        config.disks.push(DiskConfig::new(path));
        change(config);
    });
    world._files.push(file);
    world
}

impl World {
    fn put(&self, at: u64, bytes: &[u8]) {
        let memory = self.machine.memory();
        memory
            .write_slice(bytes, GuestAddress(self.base + at))
            .unwrap();
    }

    fn descriptor(&self, at: u64, (addr, len): (u64, u32), flags: u16, next: u16) {
        let addr = (self.base + addr).to_le_bytes();
        let words = [flags, next].map(u16::to_le_bytes).concat();
        self.put(at, &[&addr[..], &len.to_le_bytes(), &words].concat());
    }

    fn used(&self) -> u16 {
        let memory = self.machine.memory();
        memory.read_obj(GuestAddress(self.base + USED + 2)).unwrap()
    }

    /// Has the guest set queue 0 of `device` up, with all of its ring available, and notify it for ever.
    fn set_up(&self, device: &str, requests: u16) {
        let mut entries = self.machine.board().devices.iter();
        let entry = entries.find(|entry| entry.name == device).unwrap();
        let registers = entry.ranges[0].base as u32;
        let at = |offset: u64| (self.base + offset) as u32;
        let ring = (0..RING).flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        self.put(AVAIL + 2, &requests.to_le_bytes());
        self.put(AVAIL + 4, &ring);
        let writes = [
            (VIRTIO_MMIO_STATUS, 0),
            (VIRTIO_MMIO_STATUS, 1),
            (VIRTIO_MMIO_STATUS, 3),
            (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0),
            // Indirect descriptors; for a virtio-iommu also MAP_UNMAP and PROBE.
            (
                VIRTIO_MMIO_DRIVER_FEATURES,
                if device.starts_with("disk") {
                    1 << 28
                } else {
                    0x14
                },
            ),
            (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1),
            // VERSION_1, and ACCESS_PLATFORM where there is an IOMMU.
            (VIRTIO_MMIO_DRIVER_FEATURES, 1),
            (VIRTIO_MMIO_STATUS, 11),
            (VIRTIO_MMIO_QUEUE_SEL, 0),
            (VIRTIO_MMIO_QUEUE_NUM, RING.into()),
            (VIRTIO_MMIO_QUEUE_DESC_LOW, at(DESC)),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, at(AVAIL)),
            (VIRTIO_MMIO_QUEUE_USED_LOW, at(USED)),
            (VIRTIO_MMIO_QUEUE_READY, 1),
            (VIRTIO_MMIO_STATUS, 15),
            (VIRTIO_MMIO_QUEUE_NOTIFY, 0),
        ];
        let words = writes
            .iter()
            .flat_map(|(offset, value)| [registers + offset, *value]);
        let table: Vec<u8> = words.chain([0, 0]).flat_map(u32::to_le_bytes).collect();
        self.put(TABLE, &table);
    }

    /// Has all descriptors of the ring tell of the same request: `kind`, at sector 0, with `segments` of data.
    fn requests(&self, kind: u32, segments: &[(u64, u32)], requests: u16) {
        self.put(HEADER, &[&kind.to_le_bytes()[..], &[0; 12]].concat());
        let writable = if kind == VIRTIO_BLK_T_IN { WRITE } else { 0 };
        let all = [(HEADER, 16, 0)]
            .into_iter()
            .chain(segments.iter().map(|(addr, len)| (*addr, *len, writable)))
            .chain([(STATUS, 1, WRITE)]);
        let all: Vec<_> = all.collect();
        for (n, (addr, len, flags)) in (0..).zip(&all) {
            let more = usize::from(n) + 1 < all.len();
            let flags = flags | if more { NEXT } else { 0 };
            self.descriptor(INDIRECT + 16 * u64::from(n), (*addr, *len), flags, n + 1);
        }
        for n in 0..RING {
            let len = 16 * all.len() as u32;
            self.descriptor(DESC + 16 * u64::from(n), (INDIRECT, len), INDIRECT_TABLE, 0);
        }
        self.set_up("disk0", requests);
    }

    /// Runs into a limit of wall time, and then is stopped: both at once.
    fn ends_when_told(&mut self, what: &str) {
        let begin = Instant::now();
        let limits = Limits {
            wall: Some(Duration::from_millis(200)),
            ..Limits::default()
        };
        let reason = self.machine.run(limits).reason;
        assert_eq!(reason, Reason::WallTimeout, "{what}");
        let stop = self.machine.stop_handle();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            stop.stop();
        });
        let reason = self.machine.run(Limits::default()).reason;
        assert_eq!(reason, Reason::Stopped, "{what}");
        stopper.join().unwrap();
        let took = begin.elapsed();
        println!("{what}: {took:?}");
        assert!(took < WATCHDOG, "{what} held up the run for {took:?}");
    }
}

/// `count` times a mebibyte of data.
fn mebibytes(count: usize) -> Vec<(u64, u32)> {
    vec![(DATA, 1 << 20); count]
}

/// Ranges of 128 MiB each, to be discarded or zeroed.
fn ranges(world: &World, count: u64, flags: u32) -> Vec<(u64, u32)> {
    for n in 0..count {
        let sector = (n << 18).to_le_bytes();
        let rest = [1 << 18, flags].map(u32::to_le_bytes).concat();
        world.put(DATA + 16 * n, &[&sector[..], &rest].concat());
    }
    vec![(DATA, 16 * count as u32)]
}

#[test]
fn a_disk_with_a_full_ring_of_the_largest_requests_holds_nothing_up() {
    for time in [TimeMode::Virtual, TimeMode::Host] {
        for overlay in [false, true] {
            let world = |mib| {
                disk(mib, |config| {
                    config.time = time;
                    config.disks[0].overlay = overlay;
                })
            };
            let ends = |mut world: World, what: &str| {
                world.ends_when_told(&format!("{what}, {time:?}, overlay: {overlay}"));
                let begin = Instant::now();
                drop(world);
                let took = begin.elapsed();
                assert!(took < WATCHDOG, "{what} held up the end for {took:?}");
            };
            let reads = world(254);
            reads.requests(VIRTIO_BLK_T_IN, &mebibytes(254), RING);
            ends(reads, "reads");
            let writes = world(16);
            writes.requests(VIRTIO_BLK_T_OUT, &mebibytes(16), RING);
            ends(writes, "writes");
            let flushes = world(16);
            flushes.requests(VIRTIO_BLK_T_FLUSH, &[], RING);
            ends(flushes, "flushes");
            let discards = world(4096);
            let data = ranges(&discards, 32, 0);
            discards.requests(VIRTIO_BLK_T_DISCARD, &data, RING);
            ends(discards, "discards");
            let zeroes = world(4096);
            let data = ranges(&zeroes, 32, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
            zeroes.requests(VIRTIO_BLK_T_WRITE_ZEROES, &data, RING);
            ends(zeroes, "write-zeroes");
            let crumbs = world(1);
            crumbs.requests(VIRTIO_BLK_T_IN, &vec![(DATA, 1); 254], RING);
            ends(crumbs, "reads of nothing");
        }
    }
}

/// What a guest can see of its disk after so much time, and what the machine is like.
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
