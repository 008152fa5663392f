//! The controller, as Linux's driver uses it (drivers/ata/libahci.c), as others use it, and beside
//! a model that is an array of bytes.

mod property;

use std::io::Write;

use tempfile::NamedTempFile;
use vm_memory::{Bytes, GuestAddress};
use vmm_base::testing::LevelLine;

use super::*;
use crate::disk::Access;
use crate::ram::GuestRam;

const RAM: u64 = 1 << 20;
const LIST: u32 = 0x1000;
const FISES: u32 = 0x2000;
const TABLE: u32 = 0x3000;
const DATA: u32 = 0x1_0000;
const SECTORS: u64 = 64;
const P: u64 = PORT;

struct Driver {
    _file: NamedTempFile,
    ram: Arc<GuestRam>,
    line: Arc<LevelLine>,
    ahci: Ahci,
}

fn contents() -> Vec<u8> {
    (0..SECTORS * 512)
        .map(|i| (i / 512 * 3 + i).to_le_bytes()[0])
        .collect()
}

/// Returns a controller whose port Linux's driver has started, with the disk that it has found.
fn driver(access: Access) -> Driver {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&contents()).unwrap();
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), usize::try_from(RAM).unwrap())]);
    let (ram, line) = (Arc::new(ram.unwrap()), Arc::new(LevelLine::default()));
    let disk = Disk::open(file.path(), access).unwrap();
    let dma = DmaSpace::pass_through(Arc::clone(&ram));
    let ahci = Ahci::new(Some(disk), "viommu-disk0", dma, line.clone());
    let mut driver = Driver {
        _file: file,
        ram,
        line,
        ahci,
    };
    driver.start();
    driver
}

impl Driver {
    fn start(&mut self) {
        let ahci = &mut self.ahci;
        ahci.write(host::GHC, ghc::RESET);
        assert_eq!(ahci.read(host::GHC), ghc::ENABLED);
        ahci.write(P + port::CLB, LIST);
        ahci.write(P + port::FB, FISES);
        ahci.write(P + port::CMD, cmd::RECEIVE);
        // The link is reset.
        ahci.write(P + port::SCTL, 0x301);
        assert_eq!(
            (ahci.read(P + port::SSTS), ahci.read(P + port::SIG)),
            (0, u32::MAX)
        );
        ahci.write(P + port::SCTL, 0x300);
        assert_eq!(ahci.read(P + port::SSTS) & 0xf, 3);
        assert_eq!(ahci.read(P + port::SIG), SIGNATURE);
        assert_eq!(ahci.read(P + port::TFD) & 0x88, 0);
        assert_eq!(ahci.read(P + port::IS), interrupt::CONNECT);
        ahci.write(P + port::SERR, u32::MAX);
        assert_eq!(ahci.read(P + port::IS), 0);
        ahci.write(P + port::CMD, cmd::RECEIVE | cmd::START);
        ahci.write(P + port::IE, interrupt::MASK);
        ahci.write(host::IS, u32::MAX);
        ahci.write(host::GHC, ghc::INTERRUPTS);
        assert!(!self.line.is_high());
        let mut fis = [0; 8];
        self.ram
            .read_slice(&mut fis, GuestAddress(u64::from(FISES) + 0x40))
            .unwrap();
        assert_eq!(fis, [0x34, 0, 0x50, 1, 1, 0, 0, 0]);
    }

    /// Puts a command into `slot`, with these bytes of its FIS and regions of memory.
    fn put(&self, slot: u32, fis: &[(usize, u8)], regions: &[(u32, u32)]) {
        let table = TABLE + slot * 0x400;
        let mut bytes = [0_u8; 20];
        (bytes[0], bytes[1]) = (0x27, 0x80);
        for (at, byte) in fis {
            bytes[*at] = *byte;
        }
        let ram = |bytes: &[u8], at: u32| {
            self.ram
                .write_slice(bytes, GuestAddress(at.into()))
                .unwrap();
        };
        ram(&bytes, table);
        for (n, (at, length)) in (0..).zip(regions) {
            let words = [*at, 0, 0, *length - 1].map(u32::to_le_bytes).concat();
            ram(&words, table + 0x80 + n * 16);
        }
        let count = u32::try_from(regions.len()).unwrap();
        let header = [count << 16 | 5, 0, table, 0].map(u32::to_le_bytes);
        ram(&header.concat(), LIST + slot * 32);
    }

    fn issue(&mut self, slot: u32) {
        self.ahci.write(P + port::CI, 1 << slot);
    }

    /// Returns what was pending, and ends it as a driver does.
    fn interrupt(&mut self) -> u32 {
        assert!(self.line.is_high());
        assert_eq!(self.ahci.read(host::IS), 1);
        let is = self.ahci.read(P + port::IS);
        self.ahci.write(P + port::IS, is);
        self.ahci.write(host::IS, 1);
        assert!(!self.line.is_high());
        is
    }

    fn memory(&self, at: u32, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.ram
            .read_slice(&mut data, GuestAddress(at.into()))
            .unwrap();
        data
    }

    fn moved(&self, slot: u32) -> u32 {
        let bytes = self.memory(LIST + slot * 32 + 4, 4);
        u32::from_le_bytes(bytes.try_into().unwrap())
    }

    fn on_disk(&self) -> Vec<u8> {
        let mut data = contents();
        let disk = self.ahci.disk().unwrap();
        disk.storage.read_at(0, &mut data).unwrap();
        data
    }
}

#[test]
fn linux_identifies_reads_writes_and_flushes() {
    let mut d = driver(Access::Write);
    d.put(0, &[(2, command::IDENTIFY)], &[(DATA, 512)]);
    d.issue(0);
    assert_eq!(d.interrupt(), interrupt::PIO);
    assert_eq!(
        d.memory(DATA, 512),
        identify::identify(SECTORS, "viommu-disk0")
    );
    // E_Status, which libata looks at.
    assert_eq!(d.memory(FISES + 0x20 + 15, 1), [0x50]);
    // Sectors 1 to 3, scattered over memory at odd places.
    let scattered = [(DATA, 2), (DATA + 0x1001, 1022), (DATA + 0x3000, 512)];
    d.put(
        1,
        &[(2, command::READ_DMA_EXT), (4, 1), (12, 3)],
        &scattered,
    );
    d.issue(1);
    assert_eq!(d.interrupt(), interrupt::REGISTERS);
    assert_eq!((d.moved(1), d.ahci.read(P + port::CI)), (1536, 0));
    let read = scattered
        .iter()
        .flat_map(|(at, n)| d.memory(*at, *n as usize));
    assert_eq!(read.collect::<Vec<_>>(), contents()[512..2048]);
    d.ram
        .write_slice(&[0xab; 512], GuestAddress(DATA.into()))
        .unwrap();
    d.put(
        2,
        &[(2, command::WRITE_DMA), (4, 5), (7, 0xe0), (12, 1)],
        &[(DATA, 512)],
    );
    d.issue(2);
    assert_eq!(d.interrupt(), interrupt::REGISTERS);
    let mut expected = contents();
    expected[2560..3072].fill(0xab);
    assert!(d.on_disk() == expected);
    d.put(3, &[(2, command::FLUSH_EXT)], &[]);
    d.issue(3);
    assert_eq!(d.interrupt(), interrupt::REGISTERS);
    let summary = d.ahci.counters().summary();
    assert_eq!(
        (summary.requests, summary.errors, summary.flushes),
        (4, 0, 1)
    );
    assert_eq!((summary.bytes_read, summary.bytes_written), (1536, 512));
}

#[test]
fn queued_commands_end_with_set_device_bits() {
    let mut d = driver(Access::Write);
    for slot in [3_u32, 7] {
        let tag = slot.to_le_bytes()[0];
        let fis = [
            (2, command::READ_QUEUED),
            (3, 1),
            (4, tag),
            (12, tag << 3),
            (7, 0x40),
        ];
        d.put(slot, &fis, &[(DATA + slot * 512, 512)]);
    }
    d.ahci.write(P + port::SACT, 0x88);
    d.ahci.write(P + port::CI, 0x88);
    assert_eq!(d.interrupt(), interrupt::DEVICE_BITS);
    assert_eq!(
        (d.ahci.read(P + port::SACT), d.ahci.read(P + port::CI)),
        (0, 0)
    );
    for sector in [3_usize, 7] {
        let at = DATA + u32::try_from(sector).unwrap() * 512;
        assert_eq!(d.memory(at, 512), contents()[sector * 512..][..512]);
    }
    // One that fails says which, in a log.
    d.put(
        4,
        &[(2, command::WRITE_QUEUED), (3, 1), (4, 200), (12, 4 << 3)],
        &[(DATA, 512)],
    );
    d.ahci.write(P + port::SACT, 0x10);
    d.issue(4);
    assert_eq!(d.interrupt(), interrupt::DEVICE_BITS | interrupt::TASK_FILE);
    assert_eq!(d.ahci.read(P + port::TFD), 0x1051);
    assert_eq!(
        (d.ahci.read(P + port::SACT), d.ahci.read(P + port::CI)),
        (0x10, 0x10)
    );
    d.ahci.write(P + port::CMD, cmd::RECEIVE);
    assert_eq!(
        (d.ahci.read(P + port::SACT), d.ahci.read(P + port::CI)),
        (0, 0)
    );
    d.ahci.write(P + port::CMD, cmd::RECEIVE | cmd::START);
    d.put(
        0,
        &[(2, command::READ_LOG), (4, QUEUED_ERROR_LOG), (12, 1)],
        &[(DATA, 512)],
    );
    d.issue(0);
    assert_eq!(d.interrupt(), interrupt::PIO);
    assert_eq!(d.memory(DATA, 4), [4, 0, 0x51, 0x10]);
}

#[test]
fn what_fails_stops_the_port_until_its_driver_starts_it_anew() {
    type Case<'a> = (&'a [(usize, u8)], &'a [(u32, u32)], u32);
    let beyond = u32::try_from(RAM).unwrap();
    let cases: [Case<'_>; 6] = [
        (
            &[(2, 0xb0)],
            &[],
            interrupt::TASK_FILE | interrupt::REGISTERS,
        ),
        (
            &[(2, command::READ_DMA), (4, 64), (12, 1)],
            &[(DATA, 512)],
            interrupt::TASK_FILE | interrupt::REGISTERS,
        ),
        (
            &[(2, command::WRITE_DMA), (4, 1), (12, 1)],
            &[(DATA, 512)],
            interrupt::TASK_FILE | interrupt::REGISTERS,
        ),
        (
            &[(2, command::READ_DMA), (4, 1), (12, 2)],
            &[(DATA, 600)],
            interrupt::OVERFLOW,
        ),
        (
            &[(2, command::READ_DMA), (4, 1), (12, 2)],
            &[(beyond - 256, 1024)],
            interrupt::BUS,
        ),
        (&[(2, command::IDENTIFY)], &[], interrupt::OVERFLOW),
    ];
    for (fis, regions, expected) in cases {
        let mut d = driver(Access::Read);
        d.put(1, fis, regions);
        d.issue(1);
        assert_eq!(d.interrupt(), expected, "{fis:?}");
        assert_eq!(d.ahci.read(P + port::CI), 2);
        d.put(0, &[(2, command::IDENTIFY)], &[(DATA, 512)]);
        d.issue(0);
        assert_eq!(d.ahci.read(P + port::CI), 3, "it stands still");
        d.ahci.write(P + port::CMD, cmd::RECEIVE);
        d.ahci.write(P + port::CMD, cmd::RECEIVE | cmd::START);
        d.issue(0);
        assert_eq!(d.interrupt(), interrupt::PIO);
        assert_eq!(d.ahci.counters().summary().errors, 1);
    }
    // The command list, and the area for FISes.
    let mut d = driver(Access::Read);
    d.ahci.write(P + port::CLB, u32::MAX);
    d.issue(0);
    assert_eq!(d.interrupt(), interrupt::BUS);
    let mut d = driver(Access::Read);
    d.ahci.write(P + port::FB, u32::MAX);
    d.put(0, &[(2, command::IDENTIFY)], &[(DATA, 512)]);
    d.issue(0);
    assert_eq!(d.interrupt(), interrupt::BUS | interrupt::PIO);
}

#[test]
fn a_device_is_reset_by_two_fises() {
    let mut d = driver(Access::Read);
    for (control, tfd) in [(fis::RESET, 0x80), (0, 0x150)] {
        d.put(0, &[(1, 0), (15, control)], &[]);
        d.issue(0);
        assert_eq!(
            (d.ahci.read(P + port::CI), d.ahci.read(P + port::TFD)),
            (0, tfd)
        );
    }
    assert_eq!(d.ahci.read(P + port::SIG), SIGNATURE);
}

#[test]
fn a_port_without_a_disk_has_no_link() {
    let ram = Arc::new(GuestRam::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap());
    let dma = DmaSpace::pass_through(ram);
    let mut ahci = Ahci::new(None, "", dma, Arc::new(LevelLine::default()));
    ahci.write(P + port::CMD, cmd::START | cmd::RECEIVE);
    ahci.write(P + port::SCTL, 1);
    ahci.write(P + port::SCTL, 0);
    ahci.write(P + port::CI, 1);
    assert_eq!((ahci.read(P + port::SSTS), ahci.read(P + port::CI)), (0, 1));
    assert_eq!(ahci.read(P + port::TFD), NO_DEVICE);
    assert!(!ahci.has_work());
}

#[test]
fn any_access_is_answered_and_impossible_states_are_refused() {
    let mut d = driver(Access::Read);
    for at in (0..0x1200).chain([u64::MAX]) {
        for size in [1, 2, 4, 8] {
            let mut data = vec![0xff; size];
            d.ahci.mmio_write(MmioAddress(0), at, &data);
            d.ahci.mmio_read(MmioAddress(0), at, &mut data);
        }
    }
    let mut d = driver(Access::Read);
    let good = d.ahci.save();
    let begun = Begun {
        slot: 1,
        work: Work::Read,
        protocol: Protocol::Dma,
        table: 0,
        regions: 1,
        region: 0,
        within: 0,
        offset: 0,
        left: 512,
        done: 0,
    };
    let spoilt: [fn(&mut AhciState); 9] = [
        |s| s.port.clb = 1,
        |s| s.port.is = 1 << 22,
        |s| s.port.tfd = 0x1_0000,
        |s| s.port.ssts = 1,
        |s| s.failed = Some((32, 0)),
        |s| s.begun.as_mut().unwrap().slot = 32,
        |s| s.begun.as_mut().unwrap().left = SECTORS * 512 + 1,
        |s| s.begun.as_mut().unwrap().work = Work::Write,
        |s| s.begun.as_mut().unwrap().done = 1 << 40,
    ];
    for spoil in spoilt {
        let mut bad = good.clone();
        bad.begun = Some(begun.clone());
        spoil(&mut bad);
        assert!(!d.ahci.restore(&bad), "{bad:?}");
        assert_eq!(d.ahci.save(), good);
    }
}

#[test]
fn work_beyond_a_turn_goes_on_in_another_also_from_a_saved_state() {
    let mut d = driver(Access::Read);
    // A region of one byte costs as much as a page: 40 sectors of them are three turns.
    d.put(0, &[(2, command::READ_DMA), (12, 40)], &[]);
    let table = u64::from(TABLE) + 0x80;
    let region = [0xf_0000_u32, 0, 0, 0].map(u32::to_le_bytes).concat();
    for at in (table..RAM - 16).step_by(16).take(0xffff) {
        d.ram.write_slice(&region, GuestAddress(at)).unwrap();
    }
    let header = [0xffff << 16 | 5, 0, TABLE, 0_u32].map(u32::to_le_bytes);
    let header = header.concat();
    d.ram
        .write_slice(&header, GuestAddress(LIST.into()))
        .unwrap();
    d.issue(0);
    assert!(d.ahci.has_work(), "8192 pieces are a turn");
    let saved = d.ahci.save();
    assert!(saved.begun.is_some());
    assert!(d.ahci.restore(&saved));
    let mut turns = 1;
    while d.ahci.go_on(u64::MAX) {
        turns += 1;
    }
    assert_eq!(turns, 3);
    assert_eq!(d.interrupt(), interrupt::REGISTERS);
    assert_eq!(d.moved(0), 40 * 512);
}
