//! Watched RAM stops a core by whatever address it is accessed.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]

mod common;

use std::sync::Arc;

use arm32::cluster::{Cluster, Stop};
use arm32::{RamHit, RamWatch, WatchKind, Watchpoint};
use common::{BASE, Firmware, FlatBus, RAM, TestClock};

/// The page that is watched: its physical address.
const PAGE: u64 = RAM + 0x8000;
/// Where the same page is mapped a second time.
const ALIAS: u32 = 0x8000_0000;
/// The table of the MMU.
const TABLE: u64 = RAM + 0x4000;

/// A core that stores a word at R1, loads a halfword from R2, and stores a word at R3.
fn rig() -> (Cluster, Arc<FlatBus>) {
    let bus = FlatBus::new();
    // str r0, [r1]; ldrh r4, [r2]; str r0, [r3]; b .
    bus.write_words(RAM, &[0xe581_0000, 0xe1d2_40b0, 0xe583_0000, 0xeaff_fffe]);
    // Sections of full access, in a domain whose clients are not checked: two are of one MiB.
    for va in [BASE, ALIAS] {
        bus.write_words(TABLE + u64::from(va >> 20) * 4, &[RAM as u32 | 0xc0e]);
    }
    let mut cluster = Cluster::new(1, bus.clone(), Arc::new(TestClock::default()));
    let s = cluster.state_mut(0);
    (s.r[0], s.r[15]) = (0x1234_5678, BASE);
    s.cp15.ttbr0 = TABLE;
    s.cp15.dacr = 3;
    s.cp15.sctlr |= 1;
    (cluster, bus)
}

/// Returns the hits of the core's program, with the addresses in R1, R2 and R3.
fn hits(addresses: [u32; 3], watches: &[RamWatch]) -> Vec<RamHit> {
    let (mut cluster, _) = rig();
    cluster.state_mut(0).r[1..4].copy_from_slice(&addresses);
    assert!(cluster.watch_ram(PAGE, watches));
    let mut hits = Vec::new();
    loop {
        match cluster.run(&mut Firmware::default(), 20 - cluster.retired()) {
            Stop::WatchedRam { core: 0, hit } => hits.push(hit),
            Stop::Budget => return hits,
            other => panic!("{other:?}"),
        }
    }
}

const fn watch(first: u16, last: u16, kind: WatchKind) -> RamWatch {
    RamWatch { first, last, kind }
}

const fn hit(va: u32, size: u32, write: bool) -> RamHit {
    RamHit {
        va,
        pa: PAGE + (va & 0xfff) as u64,
        size,
        write,
        done: false,
    }
}

#[test]
fn every_address_of_a_watched_page_is_watched() {
    let (a, b) = (BASE + 0x8000, ALIAS + 0x8000);
    let all = [watch(0, 0x3f, WatchKind::Access)];
    let expected = [
        hit(a, 4, true),
        hit(b + 4, 2, false),
        hit(b + 0x3c, 4, true),
    ];
    assert_eq!(hits([a, b + 4, b + 0x3c], &all), expected);
    // Beyond the bytes that are watched, in other pages, and of the other kind.
    assert_eq!(hits([a + 0x40, b + 0xffe, b + 0x1000], &all), []);
    let reads = [watch(0, 0x3f, WatchKind::Read)];
    assert_eq!(hits([a, b + 4, b], &reads), [hit(b + 4, 2, false)]);
    let writes = [
        watch(4, 4, WatchKind::Write),
        watch(8, 7, WatchKind::Access),
    ];
    assert_eq!(hits([a + 8, b + 4, b + 4], &writes), [hit(b + 4, 4, true)]);
}

#[test]
fn an_access_over_two_pages_is_watched_in_each() {
    let at = ALIAS + 0x8000;
    let first = [watch(0, 0, WatchKind::Write)];
    assert_eq!(hits([at - 2, at, at + 4], &first), [hit(at, 2, true)]);
    let last = [watch(0xfff, 0xfff, WatchKind::Write)];
    let over = at + 0xffe;
    assert_eq!(hits([over, at, at], &last), [hit(over, 2, true)]);
}

#[test]
fn what_is_watched_is_replaced_and_stops_come_before_the_access() {
    let (mut cluster, bus) = rig();
    let at = ALIAS + 0x8000;
    cluster.state_mut(0).r[1..4].copy_from_slice(&[at, at, at + 8]);
    assert!(cluster.watch_ram(PAGE, &[watch(0, 1, WatchKind::Access)]));
    let mut firmware = Firmware::default();
    let stop = |hit| Stop::WatchedRam { core: 0, hit };
    assert_eq!(cluster.run(&mut firmware, 20), stop(hit(at, 4, true)));
    assert_eq!(bus.word(PAGE), 0);
    // The page is cached by now.
    assert!(cluster.watch_ram(PAGE + 0x123, &[watch(8, 8, WatchKind::Access)]));
    assert_eq!(cluster.run(&mut firmware, 20), stop(hit(at + 8, 4, true)));
    assert_eq!(bus.word(PAGE), 0x1234_5678);
    assert_eq!(bus.word(PAGE + 8), 0);
    assert!(cluster.watch_ram(PAGE, &[]));
    assert_eq!(cluster.run(&mut firmware, 20), Stop::Budget);
    assert_eq!(bus.word(PAGE + 8), 0x1234_5678);
    assert!(!cluster.watch_ram(0x1000, &[watch(0, 1, WatchKind::Access)]));
}

#[test]
fn a_page_that_was_cached_unwatched_is_watched() {
    for ranges in [&[][..], &[watch(0xff0, 0xff0, WatchKind::Write)]] {
        let (mut cluster, _) = rig();
        let at = ALIAS + 0x8000;
        cluster.state_mut(0).r[1..4].copy_from_slice(&[at, at, at]);
        // Of another page, so that something is watched already.
        assert!(cluster.watch_ram(PAGE + 0x1000, ranges));
        assert_eq!(cluster.run(&mut Firmware::default(), 1), Stop::Budget);
        assert!(cluster.watch_ram(PAGE, &[watch(0, 1, WatchKind::Access)]));
        for expected in [hit(at, 2, false), hit(at, 4, true)] {
            let stop = cluster.run(&mut Firmware::default(), 20);
            let hit = expected;
            assert_eq!(stop, Stop::WatchedRam { core: 0, hit });
        }
    }
}

#[test]
fn a_watchpoint_at_the_same_access_goes_first() {
    let (mut cluster, _) = rig();
    let at = ALIAS + 0x8000;
    cluster.state_mut(0).r[1..4].copy_from_slice(&[at, at, at + 8]);
    cluster.insert_watchpoint(Watchpoint::new(at, 4, WatchKind::Write));
    assert!(cluster.watch_ram(PAGE, &[watch(0, 1, WatchKind::Access)]));
    let mut run = || cluster.run(&mut Firmware::default(), 20);
    assert!(matches!(run(), Stop::Watchpoint { core: 0, .. }));
    assert!(matches!(run(), Stop::WatchedRam { core: 0, hit } if !hit.write));
}
