//! A cluster that is saved and restored goes on as the one that was not.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arm32::cluster::{Cluster, ClusterState, RestoreError, Stop};
use common::{BASE, Firmware, FlatBus, RAM, TestClock};

/// Two cores add to a counter, with exclusives; core 0 powers off at 2000.
const PROGRAM: &[u32] = &[
    0xe3a0_1001, //        mov   r1, #1
    0xe28f_2008, //        add   r2, pc, #8   (work)
    0xe140_0071, //        hvc   #1
    0xe3a0_7001, //        mov   r7, #1
    0xe1a0_0000, //        nop
    0xe3a0_4101, // work:  mov   r4, #0x40000000
    0xe284_4a01, //        add   r4, r4, #0x1000
    0xe194_0f9f, // again: ldrex r0, [r4]
    0xe280_0001, //        add   r0, r0, #1
    0xe184_3f90, //        strex r3, r0, [r4]
    0xe353_0000, //        cmp   r3, #0
    0x1aff_fffa, //        bne   again
    0xe350_0e7d, //        cmp   r0, #2000
    0xbaff_fff8, //        blt   again
    0xe140_0072, //        hvc   #2
];

struct Setup {
    bus: Arc<FlatBus>,
    clock: Arc<TestClock>,
    cluster: Cluster,
}

impl Setup {
    fn new() -> Self {
        let (bus, clock) = (FlatBus::new(), Arc::new(TestClock::default()));
        let cluster = Cluster::new(2, bus.clone(), clock.clone());
        Self {
            bus,
            clock,
            cluster,
        }
    }

    fn started() -> Self {
        let mut setup = Self::new();
        setup.bus.write_words(RAM, PROGRAM);
        setup.cluster.state_mut(0).r[15] = BASE;
        setup
    }

    /// Returns what it would save, and all of its memory.
    fn all(&self) -> (ClusterState, Vec<u8>, u64) {
        let now = self.clock.0.load(Ordering::Relaxed);
        (self.cluster.save(), self.bus.bytes(), now)
    }

    /// Returns another that goes on from here, by way of a text.
    fn again(&self) -> Self {
        let (state, memory, now) = self.all();
        let text = serde_json::to_string(&state).unwrap();
        let mut other = Self::new();
        let words = memory.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w));
        other.bus.write_words(RAM, &words.collect::<Vec<_>>());
        other.clock.0.store(now, Ordering::Relaxed);
        let saved = serde_json::from_str(&text).unwrap();
        other.cluster.restore(&saved).unwrap();
        assert_eq!(other.all(), (state, memory, now));
        other
    }
}

#[test]
fn it_goes_on_as_if_nothing_had_happened() {
    for at in [0, 1, 7, 1999, 2000, 2001, 5003, 9_876] {
        let mut first = Setup::started();
        assert_eq!(
            first.cluster.run(&mut Firmware::default(), at),
            Stop::Budget
        );
        let mut second = first.again();
        let mut last = None;
        for part in [1, 10, 2_000, 1_000_000] {
            let stops = [&mut first, &mut second]
                .map(|setup| setup.cluster.run(&mut Firmware::default(), part));
            assert_eq!(stops[0], stops[1], "from {at}, {part} further");
            assert!(first.all() == second.all(), "from {at}, {part} further");
            last = Some(stops[0]);
        }
        assert_eq!(last, Some(Stop::SystemOff), "the program is to end");
    }
}

/// The firmware starts the other core wherever a guest says.
#[test]
fn a_core_that_was_started_anywhere_can_be_saved() {
    for entry in 0..4 {
        let mut setup = Setup::new();
        let program = [
            0xe3a0_1001,         // mov   r1, #1
            0xe28f_2008 + entry, // add   r2, pc, #8 + entry
            0xe140_0071,         // hvc   #1
        ];
        setup.bus.write_words(RAM, &program);
        setup.cluster.state_mut(0).r[15] = BASE;
        setup.cluster.run(&mut Firmware::default(), 3);
        let started = setup.cluster.state(1);
        let (pc, thumb) = (started.r[15], started.psr.thumb);
        let aligned = if entry & 1 == 0 { !3 } else { !1 };
        assert_eq!(
            (pc, thumb),
            ((BASE + 0x14 + entry) & aligned, entry & 1 == 1)
        );
        setup.again();
    }
}

/// What makes a state one that cannot be.
type Spoil = (&'static str, fn(&mut ClusterState));

fn spoil_tlb(state: &mut ClusterState, spoil: fn(&mut serde_json::Value)) {
    let tlb = &mut state.members[0].tlb;
    let mut value = serde_json::to_value(&*tlb).unwrap();
    spoil(&mut value);
    *tlb = serde_json::from_value(value).unwrap();
}

#[test]
fn code_that_is_given_on_changes_nothing() {
    code_is_given_on(false);
}

#[test]
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux"
))]
fn host_code_that_is_given_on_changes_nothing() {
    code_is_given_on(true);
}

/// Has machines begin alike one after the other, each with the code of the one before.
fn code_is_given_on(translated: bool) {
    let mut first = Setup::started();
    if translated {
        first.cluster.translate_code_after(1).unwrap();
    }
    first.cluster.run(&mut Firmware::default(), 5_003);
    let (start, memory, now) = first.all();
    let mut wanted = first.again();
    // Once to warm up, once with a breakpoint, then with other code where it was: for one run, to
    // its end, and in the very end, when nobody looks any more.
    let mut copied = Vec::new();
    for (round, breakpoint) in (0..8).map(|round| (round, round == 1)) {
        if round == 5 {
            first.bus.write_words(RAM + 4 * 8, &[0xe280_0003]);
        }
        let mut code = first.cluster.take_code();
        if round == 3 {
            // That of the same memory elsewhere will do as well.
            let mut other = wanted.again();
            other.cluster.run(&mut Firmware::default(), 100);
            code = other.cluster.take_code();
        }
        if round % 2 == 0 {
            // And so will a copy, of which the first is not needed any more, or still is.
            let first = code;
            code = first.copy();
            copied.extend(Some(first).filter(|_| round == 4));
        }
        let words = memory.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w));
        first.bus.write_words(RAM, &words.collect::<Vec<_>>());
        first.clock.0.store(now, Ordering::Relaxed);
        first.cluster = Cluster::new(2, first.bus.clone(), first.clock.clone());
        first.cluster.restore(&start).unwrap();
        if translated {
            first.cluster.translate_code_after(1).unwrap();
        }
        first.cluster.give_code(code);
        if breakpoint {
            first.cluster.insert_breakpoint(BASE + 4 * 9);
            let stop = first.cluster.run(&mut Firmware::default(), 100);
            assert!(matches!(stop, Stop::Breakpoint { .. }), "{stop:?}");
            continue;
        }
        wanted = first.again();
        if round == 2 || round == 6 {
            // add r0, r0, #2
            for setup in [&first, &wanted] {
                setup.bus.write_words(RAM + 4 * 8, &[0xe280_0002]);
            }
        }
        for part in [1, 10, 2_000, 1_000_000] {
            let stops = [&mut first, &mut wanted]
                .map(|setup| setup.cluster.run(&mut Firmware::default(), part));
            assert_eq!(stops[0], stops[1], "{round}, {part} further");
            assert!(first.all() == wanted.all(), "{round}, {part} further");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut setup = Setup::started();
    setup.cluster.run(&mut Firmware::default(), 5_000);
    let (good, ..) = setup.all();
    let spoil: [Spoil; 11] = [
        ("version", |s| s.version += 1),
        ("cores", |s| s.members.truncate(1)),
        ("turn", |s| s.turn = 2),
        ("left", |s| s.left = u64::MAX),
        ("retired", |s| s.members[1].cpu.retired = u64::MAX),
        ("pc", |s| s.members[0].cpu.r[15] += 2),
        ("carry", |s| s.members[0].cpu.flags.c = 2),
        ("overflow", |s| s.members[0].cpu.flags.v = 1 << 31),
        ("tlb", |s| spoil_tlb(s, |tlb| tlb["set"] = 8.into())),
        ("fetched from a set", |s| {
            spoil_tlb(s, |tlb| tlb["fetched"][0]["set"] = 8.into());
        }),
        ("fetched from no page", |s| {
            spoil_tlb(s, |tlb| tlb["fetched"][0]["pa"] = 7.into());
        }),
    ];
    for (name, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(setup.cluster.restore(&bad).is_err(), "{name}");
        assert_eq!(setup.cluster.save(), good, "{name}");
    }
    let mut bad = good.clone();
    bad.version = 9;
    assert_eq!(setup.cluster.restore(&bad), Err(RestoreError::Version(9)));
}
