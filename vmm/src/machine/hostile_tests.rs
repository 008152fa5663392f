//! Guests that do the most that they can with one instruction: limits of wall time and requests to stop act all the same.

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

fn poking(change: impl FnOnce(&mut Config)) -> World {
    let file = kernel(&[&POKE]);
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

fn disk(mib: u64, change: impl FnOnce(&mut Config)) -> World {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(mib << 20).unwrap();
    let path = file.path().to_owned();
    let mut world = poking(|config| {
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
        memory
            .read_obj(GuestAddress(self.base + USED + 2))
            .unwrap()
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
        self.put(
            HEADER,
            &[&kind.to_le_bytes()[..], &[0; 12]].concat(),
        );
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
        let world = disk(64, |config| config.disks[0].overlay = true);
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
    let machine = snapshot
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
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
    assert_eq!((done.requests, done.errors, done.bytes_read), (3, 0, 192 << 20));
}

#[test]
fn a_request_of_several_turns_moves_its_data() {
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let mut world = disk(64, |config| config.time = time);
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
    let mut world = disk(254, |config| {
        config.time = TimeMode::Host;
        config.disks[0].overlay = true;
    });
    world.requests(VIRTIO_BLK_T_IN, &mebibytes(254), 20);
    let limits = Limits {
        wall: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    world.machine.run(limits);
    let begin = Instant::now();
    let snapshot = world.machine.snapshot().unwrap();
    assert!(begin.elapsed() < WATCHDOG);
    let machine = snapshot
        .machine(Fork::new(Box::new(Discard)))
        .unwrap();
    let forked = World {
        machine,
        base: world.base,
        _files: Vec::new(),
    };
    for mut world in [world, forked] {
        let begin = Instant::now();
        while world.used() < 20 {
            assert!(begin.elapsed() < Duration::from_secs(120));
            world.machine.run(limits);
        }
        assert_eq!(world.machine.summary().disks[0].errors, 0);
    }
}

/// Programs for the core alone.
#[test]
fn cores_that_do_the_most_they_can_hold_nothing_up() {
    // mov r1, #0x08000000 (the distributor); str r0, [r1, #0x100]; b back
    let gic: &[u32] = &[0xe3a0_1302, 0xe581_0100, 0xeaff_fffd];
    // mov r1, #0x09000000 (the UART); ldm r1, {r2-r12}; b back
    let multiple: &[u32] = &[0xe3a0_1409, 0xe891_1ffc, 0xeaff_fffd];
    // ldr r3, =0xe1a00000; add r1, pc, #8; again: str r3, [r1]; ICIALLU; eor r3, r3, #1; mov r0, r0; b again
    let modifying: &[u32] = &[
        0xe59f_3014,
        0xe28f_1008,
        0xe581_3000,
        0xee07_0f15,
        0xe223_3001,
        0xe1a0_0000,
        0xeaff_fffa,
        0xe1a0_0000,
    ];
    // mov r1, #0xf0000000; ldr r0, [r1]: a data abort, whose vector lies nowhere either
    let aborts: &[u32] = &[0xe3a0_120f, 0xe591_0000];
    // udf #0
    let undefined: &[u32] = &[0xe7f0_00f0];
    // mov r0, #0x84000000 (PSCI_VERSION); hvc #0; b to the first
    let firmware: &[u32] = &[0xe3a0_0484, 0xe140_0070, 0xeaff_fffc];
    // GICD_CTLR = 1, GICD_ISENABLER0 = 1 << 30, GICC_CTLR = 1, GICC_PMR = 0xff; again: CNTP_TVAL = 1; CNTP_CTL = 1; wfi; b again
    let sleeps: &[u32] = &[
        0xe3a0_1302,
        0xe3a0_0001,
        0xe581_0000,
        0xe3a0_2101,
        0xe581_2100,
        0xe281_3801,
        0xe583_0000,
        0xe3a0_40ff,
        0xe583_4004,
        0xee0e_0f12,
        0xee0e_0f32,
        0xe320_f003,
        0xeaff_fffb,
    ];
    // mov r0, #0x09000000 (the UART); TTBR0 = r0; mvn r0, #0; DACR = r0; SCTLR.M = 1: tables in device registers
    let tables: &[u32] = &[
        0xe3a0_0409,
        0xee02_0f10,
        0xe3e0_0000,
        0xee03_0f10,
        0xee11_0f10,
        0xe380_0001,
        0xee01_0f10,
        0xeaff_fffe,
    ];
    // mov r1, #0x09000000; mov r0, #'x'; strb r0, [r1]; b back
    let talk: &[u32] = &[0xe3a0_1409, 0xe3a0_0078, 0xe5c1_0000, 0xeaff_fffd];
    for (what, program) in [
        ("interrupt controller", gic),
        ("load multiple", multiple),
        ("self-modifying code", modifying),
        ("aborts", aborts),
        ("undefined instructions", undefined),
        ("firmware calls", firmware),
        ("sleeps", sleeps),
        ("tables in devices", tables),
        ("console", talk),
    ] {
        for time in [TimeMode::Virtual, TimeMode::Host] {
            let file = kernel(&[program]);
            let config = Config {
                time,
                ..config(&file)
            };
            let machine = Machine::new(&config, Box::new(Discard)).unwrap();
            let mut world = World {
                base: machine.board().ram.base,
                machine,
                _files: vec![file],
            };
            world.ends_when_told(&format!("{what}, {time:?}"));
        }
    }
}

/// Requests of a virtio-iommu that fill half a ring each, as there are two descriptors for one.
const BATCH: u64 = 128;

impl World {
    /// Puts `requests` (device-readable parts) in the ring behind what was there, and runs the guest until all are answered;
    /// the statuses. What the device may write for each is `room` bytes, the status last.
    fn serve(&mut self, ring: &mut u16, room: u32, requests: &[Vec<u8>]) -> Vec<u8> {
        for (n, request) in (0..).zip(requests) {
            let (at, answer) = (HEADER + 128 * n, DATA + 0x1_0000 + u64::from(room) * n);
            self.put(at, request);
            let head = 2 * n as u16;
            self.descriptor(
                DESC + 16 * u64::from(head),
                (at, request.len() as u32),
                NEXT,
                head + 1,
            );
            self.descriptor(DESC + 16 * u64::from(head + 1), (answer, room), WRITE, 0);
            let slot = u64::from(ring.wrapping_add(n as u16) % RING);
            self.put(AVAIL + 4 + 2 * slot, &head.to_le_bytes());
        }
        *ring = ring.wrapping_add(requests.len() as u16);
        self.put(AVAIL + 2, &ring.to_le_bytes());
        let limit = self.machine.summary().instructions + 1000;
        let limits = Limits {
            instructions: Some(limit),
            ..Limits::default()
        };
        assert_eq!(self.machine.run(limits).reason, Reason::InstructionLimit);
        assert_eq!(self.used(), *ring, "all are answered");
        let memory = self.machine.memory();
        let status = |n| {
            let at = DATA + 0x1_0000 + u64::from(room) * (n + 1) - 4;
            memory.read_obj(GuestAddress(self.base + at)).unwrap()
        };
        (0..requests.len() as u64).map(status).collect()
    }
}

fn request(kind: u8, words: &[u32]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    [kind, 0, 0, 0].into_iter().chain(words).collect()
}

#[test]
fn an_iommu_that_is_told_to_forget_many_pages_holds_nothing_up() {
    let mut world = disk(1, |config| {
        config.iommus = vec![IommuConfig::new(IommuModel::Virtio)];
    });
    world.set_up("viommu0", 0);
    let mut ring = 0;
    let attach = request(1, &[1, 0, 0, 0]);
    assert_eq!(world.serve(&mut ring, 4, &[attach.clone()]), [0]);
    let map = |page: u64| {
        let first = page << 12;
        // To one page behind another, so that none can be joined.
        let words = [1, first as u32, (first >> 32) as u32, first as u32 | 0xfff];
        let more = [(first >> 32) as u32, 0x4000_0000, 0, 3];
        request(3, &[words, more].concat())
    };
    let begin = Instant::now();
    for batch in 0..256 {
        let requests: Vec<_> = (0..BATCH).map(|n| map(batch * BATCH + n)).collect();
        let statuses = world.serve(&mut ring, 4, &requests);
        assert!(statuses.iter().all(|status| *status == 0), "{statuses:?}");
    }
    println!("to map: {:?}", begin.elapsed());
    // Half of them by one request, the rest with the domain, and nothing again and again.
    let half = 128 * BATCH as u32 * 0x1000 - 1;
    let mut batches = vec![
        ("unmap", vec![request(4, &[1, 0, 0, half, 0, 0])]),
        ("detach", vec![request(2, &[1, 0, 0, 0])]),
        ("attach", vec![attach; BATCH as usize]),
    ];
    let all = request(4, &[1, 0, 0, u32::MAX, u32::MAX, 0]);
    batches.push(("unmap nothing", vec![all; BATCH as usize]));
    for (what, requests) in batches {
        let begin = Instant::now();
        let statuses = world.serve(&mut ring, 4, &requests);
        let took = begin.elapsed();
        println!("{what}: {took:?}");
        assert!(statuses.iter().all(|status| *status == 0), "{what}: {statuses:?}");
        assert!(took < WATCHDOG, "{what} took {took:?}");
    }
    let probe = request(5, &[0; 17]);
    let begin = Instant::now();
    world.serve(&mut ring, 512 + 4, &vec![probe; BATCH as usize]);
    assert!(begin.elapsed() < WATCHDOG);
    world.ends_when_told("notifications of an IOMMU");
}
