//! The worst guest of each device, and of the cores: what does the most with one instruction, again
//! and again.
//!
//! Shared by tests and by the example `stop_latency`, so it uses what is public only.

#![expect(
    clippy::cast_possible_truncation,
    reason = "addresses lie below 4 GiB, and what the guests ask for is small"
)]

mod cores;
pub mod devices;
pub mod dma_tester;
pub mod iommus;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_machine::{
    ByteSize, Config, Discard, DiskConfig, KernelFormat, Limits, Machine, Reason, TimeMode,
};

/// A guest that keeps one thing of its machine as busy as it can.
pub struct Guest {
    /// What it keeps busy.
    pub name: &'static str,
    /// Whether its device is served at each notification, whatever was done before.
    pub spins: bool,
    /// Bytes of work, as budgets count them, that its devices have at least between two looks.
    pub busy: u64,
    make: Make,
}

/// How a machine with a guest is created.
enum Make {
    By(fn(TimeMode) -> World),
    /// By a program that so many cores run.
    Cores(u8, &'static [u32]),
}

impl Guest {
    const fn made(name: &'static str, make: Make) -> Self {
        Self {
            name,
            spins: false,
            busy: 0,
            make,
        }
    }

    const fn new(name: &'static str, make: fn(TimeMode) -> World) -> Self {
        Self::made(name, Make::By(make))
    }

    const fn on_cores(name: &'static str, cpus: u8, program: &'static [u32]) -> Self {
        Self::made(name, Make::Cores(cpus, program))
    }

    const fn busy(name: &'static str, busy: u64, make: fn(TimeMode) -> World) -> Self {
        Self {
            busy,
            ..Self::new(name, make)
        }
    }

    /// Creates a machine with it.
    pub fn world(&self, time: TimeMode) -> World {
        match self.make {
            Make::By(make) => make(time),
            Make::Cores(cpus, program) => cores::world(time, cpus, program),
        }
    }
}

/// All of them.
pub const WORST: &[Guest] = &[
    Guest::busy("disk: reads", 32 << 20, |time| devices::reads(time, false)),
    Guest::busy("disk: reads, overlay", 32 << 20, |time| {
        devices::reads(time, true)
    }),
    Guest::busy("disk: writes", 16 << 20, |time| {
        devices::writes(time, false)
    }),
    Guest::busy("disk: writes, overlay", 32 << 20, |time| {
        devices::writes(time, true)
    }),
    Guest::busy("disk: flushes", 1 << 20, devices::flushes),
    Guest::busy("disk: discards", 32 << 20, |time| {
        devices::discards(time, false)
    }),
    Guest::busy("disk: discards, overlay", 32 << 20, |time| {
        devices::discards(time, true)
    }),
    Guest::busy("disk: write-zeroes", 32 << 20, |time| {
        devices::zeroes(time, false)
    }),
    Guest::busy("disk: write-zeroes, overlay", 32 << 20, |time| {
        devices::zeroes(time, true)
    }),
    Guest::busy("disk: reads of nothing", 1 << 20, devices::crumbs),
    Guest::busy("entropy", 32 << 20, devices::entropy),
    Guest {
        spins: true,
        ..Guest::busy("virtio-iommu: maps and unmaps", 1 << 20, iommus::requests)
    },
    Guest::new("IPMMU: flushes", iommus::flushes),
    Guest::busy("DMA tester: bursts", 32 << 20, dma_tester::bursts),
    Guest::new("clock generators", devices::clocks),
    Guest::on_cores("interrupt controller", 1, cores::GIC),
    Guest::on_cores("software interrupts", 2, cores::SGI),
    Guest::on_cores("real-time clock", 1, cores::RTC),
    Guest::on_cores("console: output", 1, cores::OUTPUT),
    Guest::on_cores("console: load multiple", 1, cores::MULTIPLE),
    Guest::on_cores("VFP and SIMD at devices", 1, cores::VECTORS),
    Guest::on_cores("self-modifying code", 1, cores::MODIFYING),
    Guest::on_cores("aborts", 1, cores::ABORTS),
    Guest::on_cores("undefined instructions", 1, cores::UNDEFINED),
    Guest::on_cores("firmware calls", 1, cores::FIRMWARE),
    Guest::on_cores("CPU_SUSPEND", 1, cores::SUSPENDS),
    Guest::on_cores("CPU_ON and CPU_OFF", 2, cores::SWITCHES),
    Guest::on_cores("sleeps", 1, cores::SLEEPS),
    Guest::on_cores("tables in devices", 1, cores::TABLES),
];

/// Returns a kernel that is this program.
pub fn kernel(program: &[&[u32]]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    for word in program.concat() {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    file
}

/// Creates a machine for it.
pub fn config(kernel: &NamedTempFile) -> Config {
    Config {
        kernel: kernel.path().into(),
        kernel_format: KernelFormat::Image,
        memory: ByteSize(32 << 20),
        rng: false,
        ..Config::default()
    }
}

/// Writes words to addresses as a table says that lies 0xf8000 bytes behind, and then the last of
/// them for ever.
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
pub const POKE: [u32; 11] = [
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
pub const SLEEP: [u32; 2] = [0xe320_f003, 0xeaff_fffd];
/// Where it looks for the table, from the base of RAM.
pub const TABLE: u64 = 0x10_0000;
pub const DESC: u64 = 0x20_0000;
pub const AVAIL: u64 = 0x20_4000;
pub const USED: u64 = 0x20_8000;
pub const INDIRECT: u64 = 0x21_0000;
pub const HEADER: u64 = 0x22_0000;
pub const STATUS: u64 = 0x22_8000;
pub const DATA: u64 = 0x40_0000;
pub const RING: u16 = 256;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT_TABLE: u16 = 4;

/// The last instructions of one that makes as many requests again as there are answers:
/// bic r8, pc, #0xff; add r8, r8, #0x1fc000 (the ring of what is available);
/// add r10, r8, #0x4000 (that of what is used); again: ldrh r9, [r10, #2]; add r9, r9, #RING;
/// strh r9, [r8, #2]; str r6, [r5]; b again.
pub const AGAIN: [u32; 8] = [
    0xe3cf_80ff,
    0xe288_897f,
    0xe288_a901,
    0xe1da_90b2,
    0xe289_9c01,
    0xe1c8_90b2,
    0xe585_6000,
    0xeaff_fffa,
];

/// A machine whose guest is about to set a virtio device up.
pub struct World {
    pub machine: Machine,
    pub base: u64,
    // Kept for as long as the machine has them open.
    pub _files: Vec<NamedTempFile>,
}

/// Returns a guest that begins as [`POKE`] does.
pub fn poking(program: &[&[u32]], change: impl FnOnce(&mut Config)) -> World {
    let file = kernel(program);
    let mut config = config(&file);
    change(&mut config);
    let machine = Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
    let base = machine.board().ram.base;
    World {
        machine,
        base,
        _files: vec![file],
    }
}

/// Returns a guest that notifies its disk again and again.
pub fn disk(mib: u64, change: impl FnOnce(&mut Config)) -> World {
    disk_of(&[&POKE], mib, change)
}

/// Returns a guest that notifies its disk once, and sleeps.
pub fn quiet_disk(mib: u64, change: impl FnOnce(&mut Config)) -> World {
    disk_of(&[&POKE[..9], &SLEEP], mib, change)
}

pub fn disk_of(program: &[&[u32]], mib: u64, change: impl FnOnce(&mut Config)) -> World {
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
    pub fn put(&self, at: u64, bytes: &[u8]) {
        let memory = self.machine.memory();
        memory
            .write_slice(bytes, GuestAddress(self.base + at))
            .unwrap();
    }

    pub fn descriptor(&self, at: u64, (addr, len): (u64, u32), flags: u16, next: u16) {
        let addr = (self.base + addr).to_le_bytes();
        let words = [flags, next].map(u16::to_le_bytes).concat();
        self.put(at, &[&addr[..], &len.to_le_bytes(), &words].concat());
    }

    pub fn used(&self) -> u16 {
        let memory = self.machine.memory();
        memory.read_obj(GuestAddress(self.base + USED + 2)).unwrap()
    }

    /// Returns where the registers of `device` are.
    pub fn registers(&self, device: &str) -> u32 {
        let mut entries = self.machine.board().devices.iter();
        let entry = entries.find(|entry| entry.name == device).unwrap();
        entry.ranges[0].base as u32
    }

    /// Makes the guest set queue 0 of `device` up, with all of its ring available, and notify it
    /// for ever.
    pub fn set_up(&self, device: &str, requests: u16) {
        let ring = (0..RING).collect::<Vec<_>>();
        self.set_up_with(device, &ring, requests, &[]);
    }

    /// Does the same with `ring` as the available one, and then `more` registers written, the last
    /// of them for ever.
    pub fn set_up_with(&self, device: &str, ring: &[u16], requests: u16, more: &[(u32, u32)]) {
        let registers = self.registers(device);
        let at = |offset: u64| (self.base + offset) as u32;
        let heads: Vec<u8> = ring.iter().copied().flat_map(u16::to_le_bytes).collect();
        self.put(AVAIL + 2, &requests.to_le_bytes());
        self.put(AVAIL + 4, &heads);
        // Indirect descriptors; for a virtio-iommu MAP_UNMAP and PROBE.
        let features = match device {
            "rng" => 0,
            _ if device.starts_with("disk") => 1 << 28,
            _ => 0x14,
        };
        // The order of virtio 1.2, 3.1.1: reset, ACKNOWLEDGE, DRIVER, features,
        // FEATURES_OK, queues, DRIVER_OK.
        let writes = [
            (VIRTIO_MMIO_STATUS, 0),
            (VIRTIO_MMIO_STATUS, 1),
            (VIRTIO_MMIO_STATUS, 3),
            (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0),
            (VIRTIO_MMIO_DRIVER_FEATURES, features),
            (VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1),
            // VERSION_1, and ACCESS_PLATFORM where there is an IOMMU.
            (VIRTIO_MMIO_DRIVER_FEATURES, 1),
            (VIRTIO_MMIO_STATUS, 11),
            (VIRTIO_MMIO_QUEUE_SEL, 0),
            (VIRTIO_MMIO_QUEUE_NUM, ring.len() as u32),
            (VIRTIO_MMIO_QUEUE_DESC_LOW, at(DESC)),
            (VIRTIO_MMIO_QUEUE_AVAIL_LOW, at(AVAIL)),
            (VIRTIO_MMIO_QUEUE_USED_LOW, at(USED)),
            (VIRTIO_MMIO_QUEUE_READY, 1),
            (VIRTIO_MMIO_STATUS, 15),
            (VIRTIO_MMIO_QUEUE_NOTIFY, 0),
        ];
        let words = writes.map(|(offset, value)| (registers + offset, value));
        let words = words
            .iter()
            .chain(more)
            .flat_map(|(at, value)| [*at, *value]);
        // An address of zero ends the table.
        let table: Vec<u8> = words.chain([0, 0]).flat_map(u32::to_le_bytes).collect();
        self.put(TABLE, &table);
    }

    /// Makes all descriptors of the ring describe the same request: `kind`, at sector 0, with
    /// `segments` of data.
    pub fn requests(&self, kind: u32, segments: &[(u64, u32)], requests: u16) {
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
        // All requests share one table of descriptors, so that the ring is
        // full of them at the price of one.
        for n in 0..RING {
            let len = 16 * all.len() as u32;
            self.descriptor(DESC + 16 * u64::from(n), (INDIRECT, len), INDIRECT_TABLE, 0);
        }
        self.set_up("disk0", requests);
    }

    /// Runs into a limit of wall time; for how long it did not act.
    pub fn limit(&mut self) -> Duration {
        let wall = Duration::from_millis(50);
        let begin = Instant::now();
        let limits = Limits {
            wall: Some(wall),
            ..Limits::default()
        };
        assert_eq!(self.machine.run(limits).reason, Reason::WallTimeout);
        begin.elapsed().saturating_sub(wall)
    }

    /// Runs until it is stopped; for how long that did not act.
    pub fn stop(&mut self) -> Duration {
        let stop = self.machine.stop_handle();
        let stopper = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            let begin = Instant::now();
            stop.stop();
            begin
        });
        let reason = self.machine.run(Limits::default()).reason;
        let end = Instant::now();
        assert_eq!(reason, Reason::Stopped);
        end.saturating_duration_since(stopper.join().unwrap())
    }
}
