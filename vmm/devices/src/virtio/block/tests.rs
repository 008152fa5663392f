#![expect(clippy::cast_possible_truncation, reason = "the bytes are whatever")]

mod faults;

use std::io::Write;

use tempfile::NamedTempFile;

use super::super::testing::{Driver, readable, writable};
use super::*;
use crate::disk::{Access, DiskError, DiskSummary};

const SECTORS: usize = 64;

fn image() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..SECTORS * 512).map(|i| (i / 512) as u8).collect();
    file.write_all(&bytes).unwrap();
    file
}

fn access(read_only: bool) -> Access {
    if read_only {
        Access::Read
    } else {
        Access::Write
    }
}

fn driver(file: &NamedTempFile, read_only: bool) -> Driver {
    let disk = Disk::open(file.path(), access(read_only)).unwrap();
    let mut driver = Driver::new(Box::new(Block::new(disk, "a disk", 2)));
    driver.start(0);
    driver
}

/// Returns a file, a driver of the disk that it is, and a buffer for data.
fn writable_disk() -> (NamedTempFile, Driver, u64) {
    let file = image();
    let driver = driver(&file, false);
    let data = driver.buffer(1);
    (file, driver, data)
}

/// Sends a request with its header in buffer 0 and its status in buffer 3; returns (status, used
/// length).
fn send(
    driver: &mut Driver,
    kind: u32,
    sector: u64,
    data: &[virtio_queue::desc::split::Descriptor],
) -> (u8, u32) {
    let (header, status) = (driver.buffer(0), driver.buffer(3));
    driver.write(
        header,
        &[
            &kind.to_le_bytes(),
            &[0; 4],
            sector.to_le_bytes().as_slice(),
        ]
        .concat(),
    );
    driver.write(status, &[0xff]);
    let mut chain = vec![readable(header, 16)];
    chain.extend(data);
    chain.push(writable(status, 1));
    let used = driver.request(1, &chain);
    (driver.read(status, 1)[0], used)
}

#[test]
fn reads_and_writes_go_through() {
    let (file, mut driver, data) = writable_disk();
    let split = [writable(data, 512), writable(data + 4096, 1024)];
    assert_eq!(send(&mut driver, VIRTIO_BLK_T_IN, 3, &split), (0, 1537));
    assert_eq!(driver.read(data, 512), [3; 512]);
    assert_eq!(driver.read(data + 4096 + 512, 512), [5; 512]);
    driver.write(data, &[0xaa; 1024]);
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_OUT, 62, &[readable(data, 1024)]),
        (0, 1)
    );
    assert_eq!(send(&mut driver, VIRTIO_BLK_T_FLUSH, 0, &[]), (0, 1));
    let bytes = std::fs::read(file.path()).unwrap();
    assert_eq!(
        (bytes[61 * 512], &bytes[62 * 512..]),
        (61, [0xaa; 1024].as_slice())
    );
}

#[test]
fn framing_is_free() {
    let file = image();
    let mut driver = driver(&file, true);
    let (header, data) = (driver.buffer(0), driver.buffer(1));
    driver.write(header, &[&[0; 8], 9_u64.to_le_bytes().as_slice()].concat());
    let chain = [
        readable(header, 5),
        readable(header + 5, 11),
        writable(data, 513),
    ];
    assert_eq!(driver.request(0, &chain), 513);
    assert_eq!(driver.read(data, 513), [[9; 512].as_slice(), &[0]].concat());
}

#[test]
fn what_does_not_fit_the_disk_is_an_error() {
    let (_file, mut driver, data) = writable_disk();
    // The last two would overflow as a number of sectors, and as one of bytes.
    for (sector, len) in [
        (SECTORS as u64, 512),
        (SECTORS as u64 - 1, 1024),
        (u64::MAX, 512),
        (u64::MAX / 512, 512),
    ] {
        assert_eq!(
            send(&mut driver, VIRTIO_BLK_T_IN, sector, &[writable(data, len)]),
            (1, 0),
            "{sector}"
        );
        assert_eq!(
            send(
                &mut driver,
                VIRTIO_BLK_T_OUT,
                sector,
                &[readable(data, len)]
            ),
            (1, 1),
            "{sector}"
        );
    }
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_IN, 0, &[writable(data, 100)]).0,
        1
    );
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_IN, SECTORS as u64, &[]),
        (0, 1)
    );
}

#[test]
fn bad_memory_is_an_error_of_that_request_only() {
    let (_file, mut driver, data) = writable_disk();
    assert_eq!(
        send(
            &mut driver,
            VIRTIO_BLK_T_IN,
            0,
            &[writable(data, 512), writable(0, 512)]
        ),
        (1, 512)
    );
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_OUT, 0, &[readable(0, 512)]).0,
        1
    );
    // A header out of reach, and none at all: the status byte, the last one, says so.
    driver.write(data, &[0xff; 513]);
    assert_eq!(
        driver.request(0, &[readable(0, 16), writable(data, 513)]),
        0
    );
    assert_eq!(driver.read(data + 512, 1), [1]);
    assert_eq!(driver.request(0, &[writable(data, 1)]), 1);
    assert_eq!(driver.read(data, 1), [1]);
    // Nobody to tell: no status byte, or out of reach.
    assert_eq!(driver.request(0, &[readable(data, 16)]), 0);
    driver.write(data, &[0; 16]);
    assert_eq!(
        driver.request(0, &[readable(data, 16), writable(0, 513)]),
        0
    );
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_IN, 0, &[writable(data, 512)]),
        (0, 513)
    );
}

#[test]
fn a_read_only_disk_stays_as_it_is() {
    let file = image();
    let before = std::fs::read(file.path()).unwrap();
    let mut driver = driver(&file, true);
    let data = driver.buffer(1);
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_OUT, 0, &[readable(data, 512)]).0,
        1
    );
    for kind in [VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES] {
        assert_eq!(send(&mut driver, kind, 0, &[readable(data, 16)]).0, 2);
    }
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
    let offered = driver.mmio.offered();
    assert_ne!(offered & 1 << VIRTIO_BLK_F_RO, 0);
    assert_eq!(
        offered & (1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES),
        0
    );
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    [
        sector.to_le_bytes().as_slice(),
        &sectors.to_le_bytes(),
        &flags.to_le_bytes(),
    ]
    .concat()
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let (file, mut driver, data) = writable_disk();
    driver.write(data, &[range(8, 8, 0), range(32, 2, 1)].concat());
    assert_eq!(
        send(
            &mut driver,
            VIRTIO_BLK_T_WRITE_ZEROES,
            0,
            &[readable(data, 32)]
        ),
        (0, 1)
    );
    let bytes = std::fs::read(file.path()).unwrap();
    assert_eq!(bytes[8 * 512..16 * 512], [0; 8 * 512]);
    assert_eq!(bytes[32 * 512..34 * 512], [0; 2 * 512]);
    assert_eq!((bytes[16 * 512], bytes[34 * 512]), (16, 34));
    driver.write(data, &range(40, 8, 0));
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_DISCARD, 0, &[readable(data, 16)]),
        (0, 1)
    );
    assert_eq!(std::fs::read(file.path()).unwrap().len(), bytes.len());
}

#[test]
fn bad_ranges_touch_nothing() {
    let file = image();
    let before = std::fs::read(file.path()).unwrap();
    let mut driver = driver(&file, false);
    let data = driver.buffer(1);
    let zero = VIRTIO_BLK_T_WRITE_ZEROES;
    driver.write(
        data,
        &[range(0, 1, 0), range(SECTORS as u64, 1, 0)].concat(),
    );
    assert_eq!(send(&mut driver, zero, 0, &[readable(data, 32)]).0, 1);
    assert_eq!(send(&mut driver, zero, 0, &[readable(data, 17)]).0, 1);
    assert_eq!(send(&mut driver, zero, 0, &[]).0, 1);
    driver.write(data, &range(0, 1, 2));
    assert_eq!(send(&mut driver, zero, 0, &[readable(data, 16)]).0, 2);
    driver.write(data, &range(0, 1, 1));
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_DISCARD, 0, &[readable(data, 16)]).0,
        2
    );
    driver.write(data, &range(0, u32::MAX, 0));
    assert_eq!(send(&mut driver, zero, 0, &[readable(data, 16)]).0, 1);
    assert_eq!(std::fs::read(file.path()).unwrap(), before);
}

#[test]
fn identifier_and_unknown_requests() {
    let (_file, mut driver, data) = writable_disk();
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_GET_ID, 0, &[writable(data, 20)]),
        (0, 21)
    );
    assert_eq!(
        &driver.read(data, 20),
        b"a disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    );
    assert_eq!(
        send(&mut driver, VIRTIO_BLK_T_GET_ID, 0, &[writable(data, 5)]).0,
        1
    );
    assert_eq!(send(&mut driver, 99, 0, &[]), (2, 1));
}

#[test]
fn configuration_space() {
    let file = image();
    let driver = driver(&file, false);
    assert_eq!(driver.mmio.read(0x100, 8), SECTORS as u64);
    assert_eq!(driver.mmio.read(0x10c, 4), u64::from(SEG_MAX));
    assert_eq!(driver.mmio.read(0x114, 4), 512);
    assert_eq!(driver.mmio.read(0x122, 2), 2);
    assert_eq!(driver.mmio.read(0x138, 1), 1);
    assert_eq!(driver.mmio.read(0x13c, 4), 0);
}

#[test]
fn two_writers_refuse_each_other_and_readers_share() {
    let file = image();
    let writer = Disk::open(file.path(), Access::Write).unwrap();
    assert!(matches!(
        Disk::open(file.path(), Access::Write),
        Err(DiskError::Locked)
    ));
    assert!(matches!(
        Disk::open(file.path(), Access::Read),
        Err(DiskError::Locked)
    ));
    drop(writer);
    let _reader = Disk::open(file.path(), Access::Read).unwrap();
    let _second = Disk::open(file.path(), Access::Overlay).unwrap();
    assert!(matches!(
        Disk::open(file.path(), Access::Write),
        Err(DiskError::Locked)
    ));
    assert!(matches!(
        Disk::open(std::env::temp_dir().as_path(), Access::Read),
        Err(DiskError::Kind)
    ));
}

#[test]
fn counters_count() {
    let file = image();
    let disk = Disk::open(file.path(), Access::Write).unwrap();
    let block = Block::new(disk, "", 2);
    let counters = block.counters();
    let mut driver = Driver::new(Box::new(block));
    driver.start(0);
    let data = driver.buffer(1);
    send(&mut driver, VIRTIO_BLK_T_IN, 0, &[writable(data, 1024)]);
    send(&mut driver, VIRTIO_BLK_T_OUT, 0, &[readable(data, 512)]);
    send(&mut driver, VIRTIO_BLK_T_FLUSH, 0, &[]);
    send(&mut driver, 99, 0, &[]);
    let expected = DiskSummary {
        requests: 4,
        errors: 1,
        bytes_read: 1024,
        bytes_written: 512,
        flushes: 1,
    };
    assert_eq!(counters.summary(), expected);
}
