//! Observers stop runs where they asked to, see what there is, and leave no trace.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arm32::cluster::{Cluster, Stop};
use arm32::state::CpuState;
use arm32::{NoMemory, Power, RamWatch, WatchKind, Watchpoint};
use common::{BASE, DEVICE, Firmware, FlatBus, PROGRAM, RAM, TestClock};
use proptest::prelude::*;

const DATA: u32 = BASE + 0x8000;

struct Rig {
    cluster: Cluster,
    bus: Arc<FlatBus>,
    clock: Arc<TestClock>,
}

fn rig(cpus: usize, words: &[u32]) -> Rig {
    let bus = FlatBus::new();
    bus.write_words(RAM, words);
    let clock = Arc::new(TestClock::default());
    let mut cluster = Cluster::new(cpus, bus.clone(), clock.clone());
    // Where there is a translator, what runs twice is host code.
    let _ = cluster.translate_code_after(1);
    let state = cluster.state_mut(0);
    state.r[13] = DATA;
    state.r[15] = BASE;
    Rig {
        cluster,
        bus,
        clock,
    }
}

impl Rig {
    fn run(&mut self, budget: u64) -> Stop {
        self.cluster.run(&mut Firmware::default(), budget)
    }

    /// Runs `total` instructions through all stops; returns them.
    fn run_through(&mut self, total: u64) -> Vec<Stop> {
        let mut stops = Vec::new();
        loop {
            match self.run(total - self.cluster.retired()) {
                Stop::Budget | Stop::Idle { .. } | Stop::SystemOff => return stops,
                stop => stops.push(stop),
            }
        }
    }

    fn pc(&self) -> u32 {
        self.cluster.state(0).r[15]
    }

    /// Returns everything that can tell two runs apart.
    fn outcome(&self) -> (Vec<CpuState>, Vec<u8>, u64) {
        let states = (0..self.cluster.len()).map(|cpu| self.cluster.state(cpu).clone());
        (
            states.collect(),
            self.bus.bytes(),
            self.clock.0.load(Ordering::Relaxed),
        )
    }
}

fn watchpoint() -> impl Strategy<Value = Watchpoint> {
    let kind = prop_oneof![
        Just(WatchKind::Read),
        Just(WatchKind::Write),
        Just(WatchKind::Access)
    ];
    let start = prop_oneof![BASE..BASE + 0x400, DATA - 64..DATA + 64, any::<u32>()];
    (start, 0u32..0x2000, kind).prop_map(|(start, len, kind)| Watchpoint::new(start, len, kind))
}

fn ram_watch() -> impl Strategy<Value = (u64, RamWatch)> {
    let page = prop_oneof![Just(RAM), Just(u64::from(DATA) - 0x1000), Just(DATA.into())];
    (page, watchpoint()).prop_map(|(page, Watchpoint { start, last, kind })| {
        let (first, last) = ((start & 0xfff) as u16, (last & 0xfff) as u16);
        (page, RamWatch { first, last, kind })
    })
}

/// What an observer does when the run stops.
#[derive(Clone, Debug)]
enum Deed {
    Break(u32),
    Unbreak(u32),
    Watch(Watchpoint),
    Unwatch,
    WatchRam(u64, RamWatch),
    UnwatchRam(u64),
    Step(bool),
    Look(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    let place = (0u32..24).prop_map(|n| BASE + 4 * n);
    prop_oneof![
        place.clone().prop_map(Deed::Break),
        place.prop_map(Deed::Unbreak),
        watchpoint().prop_map(Deed::Watch),
        Just(Deed::Unwatch),
        ram_watch().prop_map(|(page, watch)| Deed::WatchRam(page, watch)),
        Just(Deed::UnwatchRam(DATA.into())),
        any::<bool>().prop_map(Deed::Step),
        any::<u32>().prop_map(Deed::Look),
    ]
}

/// Runs `total` instructions while an observer does `deeds`, one at each stop or after some
/// instructions.
fn observe(rig: &mut Rig, total: u64, deeds: &[(u64, Deed)]) {
    let mut watches = Vec::new();
    for (piece, deed) in deeds {
        match *deed {
            Deed::Break(va) => rig.cluster.insert_breakpoint(va),
            Deed::Unbreak(va) => drop(rig.cluster.remove_breakpoint(va)),
            Deed::Watch(watch) => {
                rig.cluster.insert_watchpoint(watch);
                watches.push(watch);
            }
            Deed::Unwatch => {
                if let Some(watch) = watches.pop() {
                    assert!(rig.cluster.remove_watchpoint(watch));
                }
            }
            Deed::WatchRam(page, watch) => assert!(rig.cluster.watch_ram(page, &[watch])),
            Deed::UnwatchRam(page) => assert!(rig.cluster.watch_ram(page, &[])),
            Deed::Step(on) => rig.cluster.set_step(0, on),
            Deed::Look(va) => {
                let mut bytes = [0; 40];
                let _ = rig.cluster.core(0).unwrap().read(va, &mut bytes);
            }
        }
        let left = total - rig.cluster.retired();
        rig.run(left.min(*piece));
    }
    rig.run_through(total);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn who_looks_on_changes_nothing(
        deeds in prop::collection::vec((0u64..400, deed()), 0..40),
    ) {
        const TOTAL: u64 = 6000;
        let mut alone = rig(1, PROGRAM);
        alone.run_through(TOTAL);
        let mut observed = rig(1, PROGRAM);
        observe(&mut observed, TOTAL, &deeds);
        prop_assert!(alone.outcome() == observed.outcome());
    }

    #[test]
    fn nor_does_it_when_code_is_anything_at_all(
        words in prop::collection::vec(any::<u32>(), 24),
        registers in prop::collection::vec(any::<u32>(), 15),
        thumb in any::<bool>(),
        breakpoints in prop::collection::vec(0u32..48, 0..8),
        watches in prop::collection::vec(watchpoint(), 0..4),
        (page, ram) in ram_watch(),
        step in any::<bool>(),
    ) {
        const TOTAL: u64 = 40;
        let start = || {
            let mut rig = rig(1, &words);
            let s = rig.cluster.state_mut(0);
            for (n, value) in (0..15).zip(&registers) {
                s.r[n] = DATA + (value & 0xfffc);
            }
            s.psr.thumb = thumb;
            s.cp15.cpacr = 0x00f0_0000;
            s.fpexc = 1 << 30;
            s.cp15.vbar = BASE + 0x4000;
            rig
        };
        let mut alone = start();
        alone.run_through(TOTAL);
        let mut observed = start();
        for at in breakpoints {
            observed.cluster.insert_breakpoint(BASE + 2 * at);
        }
        for watch in watches {
            observed.cluster.insert_watchpoint(watch);
        }
        observed.cluster.watch_ram(page, &[ram]);
        observed.cluster.set_step(0, step);
        observed.run_through(TOTAL);
        let (a, b) = (alone.outcome(), observed.outcome());
        // Code that changes without maintenance may be seen before or after.
        let code = |outcome: &(Vec<CpuState>, Vec<u8>, u64)| outcome.1[..0x8000].to_vec();
        prop_assume!(code(&a) == code(&rig(1, &words).outcome()));
        prop_assume!(alone.pc() < DATA);
        prop_assert!(a == b, "\nA {:x?}\nB {:x?}", a.0, b.0);
    }
}

#[test]
fn a_breakpoint_stops_before_its_instruction_every_time() {
    let mut rig = rig(1, PROGRAM);
    let add = BASE + 4 * 4;
    rig.cluster.insert_breakpoint(add | 1);
    for round in 0..3 {
        assert_eq!(rig.run(1000), Stop::Breakpoint { core: 0, pc: add });
        assert_eq!(rig.pc(), add);
        assert_eq!(rig.cluster.state(0).r[1], 64 - round);
    }
    let retired = rig.cluster.retired();
    assert_eq!(rig.clock.0.load(Ordering::Relaxed), retired);
    assert!(rig.cluster.remove_breakpoint(add));
    assert!(!rig.cluster.remove_breakpoint(add));
    assert_eq!(rig.run(1000), Stop::Budget);
}

#[test]
fn a_breakpoint_set_in_code_that_ran_already_is_met_and_two_owners_share_one() {
    let mut rig = rig(1, PROGRAM);
    assert_eq!(rig.run(500), Stop::Budget);
    let place = BASE + 4 * 5;
    rig.cluster.insert_breakpoint(place);
    rig.cluster.insert_breakpoint(place);
    assert_eq!(rig.cluster.breakpoints().collect::<Vec<_>>(), [place]);
    let stop = Stop::Breakpoint { core: 0, pc: place };
    assert_eq!(rig.run(500), stop);
    assert!(rig.cluster.remove_breakpoint(place));
    assert_eq!(rig.run(500), stop);
    assert!(rig.cluster.remove_breakpoint(place));
    assert_eq!(rig.run(500), Stop::Budget);
}

#[test]
fn a_breakpoint_lies_in_the_middle_of_an_it_block_too() {
    // it eq; moveq r0, #1; cmp r0, r0: the second one is skipped, but passed.
    let mut rig = rig(1, &[0x2001_bf08, 0xe7fe_4280]);
    let s = rig.cluster.state_mut(0);
    (s.psr.thumb, s.r[0]) = (true, 7);
    s.flags = arm32::state::Flags::from_bits(0);
    rig.cluster.insert_breakpoint(BASE + 2);
    let stop = Stop::Breakpoint {
        core: 0,
        pc: BASE + 2,
    };
    assert_eq!(rig.run(10), stop);
    assert_eq!(rig.cluster.state(0).psr.it, 0x08);
    rig.cluster.set_step(0, true);
    assert_eq!(rig.run(10), Stop::Step { core: 0 });
    let s = rig.cluster.state(0);
    assert_eq!((s.r[0], s.r[15], s.psr.it), (7, BASE + 4, 0));
}

#[test]
fn an_observer_may_change_registers_and_return_from_a_function_at_once() {
    let mut rig = rig(
        1,
        &[
            0xe3a0_0005, // mov r0, #5
            0xeb00_0001, // bl  f
            0xe1a0_4000, // mov r4, r0
            0xeaff_fffe, // b   .
            0xe3a0_0063, // f: mov r0, #99
            0xe12f_ff1e, // bx lr
        ],
    );
    rig.cluster.insert_breakpoint(BASE + 16);
    assert!(matches!(rig.run(100), Stop::Breakpoint { .. }));
    let mut core = rig.cluster.core(0).unwrap();
    assert_eq!((core.argument(0), core.pc()), (Ok(5), BASE + 16));
    core.return_at_once(Some(42));
    rig.cluster.set_step(0, true);
    assert_eq!(rig.run(100), Stop::Step { core: 0 });
    assert_eq!(rig.cluster.state(0).r[4], 42);
}

#[test]
fn moving_the_pc_from_breakpoint_to_breakpoint_ends() {
    let mut rig = rig(1, &[0xe1a0_0000, 0xe1a0_0000, 0xeaff_fffe]);
    rig.cluster.insert_breakpoint(BASE);
    rig.cluster.insert_breakpoint(BASE + 4);
    let mut stops = 0;
    while let Stop::Breakpoint { pc, .. } = rig.run(1) {
        stops += 1;
        rig.cluster.core(0).unwrap().set_reg(15, pc ^ 4);
        assert!(stops < 1000, "the run stands still");
    }
    assert_eq!(rig.cluster.retired(), 1);
}

#[test]
fn watchpoints_report_the_access_before_it_happens_and_by_kind() {
    let program = [
        0xe581_0000, // str  r0, [r1]
        0xe591_2000, // ldr  r2, [r1]
        0xe5c1_0003, // strb r0, [r1, #3]
        0xe1d1_30b0, // ldrh r3, [r1]
        0xe8a1_0011, // stmia r1!, {r0, r4}
        0xeaff_fffe,
    ];
    let seen = |start: u32, len: u32, kind: WatchKind| {
        let mut rig = rig(1, &program);
        let s = rig.cluster.state_mut(0);
        (s.r[0], s.r[1]) = (0x1234, DATA);
        rig.cluster
            .insert_watchpoint(Watchpoint::new(start, len, kind));
        let mut seen = Vec::new();
        while let Stop::Watchpoint { core: 0, hit } = rig.run(100) {
            assert!(!hit.done);
            if rig.pc() == BASE {
                assert_eq!(rig.bus.word(DATA.into()), 0);
            }
            seen.push(((rig.pc() - BASE) / 4, hit.va - DATA, hit.write));
        }
        seen
    };
    let (r, w, a) = (WatchKind::Read, WatchKind::Write, WatchKind::Access);
    assert_eq!(seen(DATA, 1, r), [(1, 0, false), (3, 0, false)]);
    assert_eq!(seen(DATA, 4, w), [(0, 0, true), (2, 3, true), (4, 0, true)]);
    assert_eq!(seen(DATA + 3, 1, a).len(), 4);
    assert_eq!(seen(DATA + 4, 1, a), [(4, 4, true)]);
    assert_eq!(seen(DATA + 8, 100, a), []);
    assert_eq!(seen(DATA, 0, a), []);
}

#[test]
fn a_watched_exclusive_store_succeeds() {
    let mut rig = rig(
        1,
        &[0xe191_0f9f, 0xe280_0001, 0xe181_3f90, 0xeaff_fffe], // ldrex r0, [r1]; add; strex r3, r0, [r1]
    );
    let s = rig.cluster.state_mut(0);
    (s.r[1], s.r[3]) = (DATA, 9);
    rig.cluster
        .insert_watchpoint(Watchpoint::new(DATA, 4, WatchKind::Access));
    let stops = rig.run_through(50);
    let writes: Vec<_> = stops
        .iter()
        .map(|stop| matches!(stop, Stop::Watchpoint { hit, .. } if hit.write))
        .collect();
    assert_eq!(writes, [false, true]);
    assert_eq!(rig.cluster.state(0).r[3], 0);
    assert_eq!(rig.bus.word(DATA.into()), 1);
}

#[test]
fn devices_are_not_touched_twice_for_a_watchpoint() {
    // swp r3, r1, [r0]; ldr r4, [r0]: each load counts.
    let started = |kind| {
        let mut rig = rig(1, &[0xe100_3091, 0xe590_4000, 0xeaff_fffe]);
        let s = rig.cluster.state_mut(0);
        s.r[0] = DEVICE as u32;
        s.cp15.sctlr |= 1 << 10;
        rig.cluster
            .insert_watchpoint(Watchpoint::new(DEVICE as u32, 4, kind));
        rig
    };
    for (kind, done, stops) in [
        (WatchKind::Read, false, 2),
        // The load before the store cannot be taken back.
        (WatchKind::Write, true, 1),
        (WatchKind::Access, false, 2),
    ] {
        let mut rig = started(kind);
        let seen = rig.run_through(10);
        assert!(matches!(seen[0], Stop::Watchpoint { hit, .. } if hit.done == done));
        assert_eq!(seen.len(), stops, "{kind:?}");
        let s = rig.cluster.state(0);
        assert_eq!((s.r[3], s.r[4]), (0, 1), "{kind:?}");
    }
}

#[test]
fn single_steps_are_of_one_core_while_the_others_run() {
    let spin = [
        0xe3a0_1001, // mov r1, #1
        0xe28f_2004, // add r2, pc, #4
        0xe140_0071, // hvc #1
        0xeaff_fffe, // b .
        0xe280_0001, // worker: add r0, r0, #1
        0xeaff_fffd, // b worker
    ];
    let mut rig = rig(2, &spin);
    rig.run(20_000);
    assert_eq!(rig.cluster.power(1), Power::Running);
    rig.cluster.set_step(1, true);
    let before = rig.cluster.state(1).retired;
    for n in 1..=5 {
        assert_eq!(rig.run(100_000), Stop::Step { core: 1 });
        assert_eq!(rig.cluster.state(1).retired, before + n);
    }
    rig.cluster.set_held(0, true);
    let other = rig.cluster.state(0).retired;
    assert_eq!(rig.run(100_000), Stop::Step { core: 1 });
    assert_eq!(rig.cluster.state(0).retired, other);
    rig.cluster.set_step(1, false);
    rig.run(100_000);
    assert_eq!(rig.cluster.state(0).retired, other);
}

#[test]
fn memory_is_seen_as_the_core_would_and_code_that_is_changed_runs_so() {
    let mut rig = rig(1, &[0xe3a0_0001, 0xeaff_fffd]); // mov r0, #1; b .-4
    rig.run(10);
    let mut core = rig.cluster.core(0).unwrap();
    assert_eq!(core.read_u32(BASE), Ok(0xe3a0_0001));
    core.write_u32(BASE, 0xe3a0_0002).unwrap();
    let end = BASE + common::RAM_SIZE as u32;
    assert_eq!(core.write(end - 2, &[9; 4]), Err(NoMemory { va: end }));
    assert_eq!(core.read_u32(end - 2), Err(NoMemory { va: end }));
    assert_eq!(
        core.read_u32(DEVICE as u32),
        Err(NoMemory { va: DEVICE as u32 })
    );
    rig.run(10);
    assert_eq!(rig.cluster.state(0).r[0], 2);
    assert_eq!(
        rig.bus.word(u64::from(end) - 4),
        0,
        "a write is all or nothing"
    );
}

#[test]
fn permissions_domains_and_access_flags_do_not_hide_memory() {
    const TABLE: u64 = RAM + 0x4000;
    let mut rig = rig(1, &[0xeaff_fffe]);
    // A section without access, in a domain without access; access flags are in use.
    rig.bus.write_words(TABLE + 0x700 * 4, &[BASE | 2]);
    rig.bus.write_words(TABLE + 0x701 * 4, &[DEVICE as u32 | 2]);
    rig.bus.write_words(TABLE + 0x702 * 4, &[DEVICE as u32 | 1]);
    let before = {
        let s = rig.cluster.state_mut(0);
        (s.cp15.ttbr0, s.cp15.dacr) = (TABLE, 0);
        s.cp15.sctlr |= 1 | 1 << 29;
        s.clone()
    };
    let core = rig.cluster.core(0).unwrap();
    assert_eq!(core.read_u32(0x7000_0000), Ok(0xeaff_fffe));
    assert_eq!(core.translate(0x7010_0000), Some(DEVICE));
    for va in [0x7010_0000, 0x7020_0000, 0x7030_0000] {
        assert_eq!(core.read_u32(va), Err(NoMemory { va }));
    }
    assert_eq!(*core.state(), before);
}

#[test]
fn a_firmware_call_that_does_not_exist_is_undefined_at_its_own_place_in_an_it_block() {
    // it al; hvc.w #7 (T32: e.g. 0xf7e0 0x8007).
    let mut rig = rig(1, &[0xf7e0_bfe8, 0x0000_8007]);
    let s = rig.cluster.state_mut(0);
    s.psr.thumb = true;
    s.cp15.vbar = BASE + 0x4000;
    rig.run(2);
    let s = rig.cluster.state(0);
    assert_eq!((s.r[14], s.r[15]), (BASE + 2 + 2, BASE + 0x4004));
    assert_eq!(arm32::state::Psr::from_bits(s.spsr(), s.psr.mode).it, 0xe8);
}

#[test]
fn a_core_whose_instruction_set_is_changed_has_an_address_of_its_instructions() {
    let mut rig = rig(1, PROGRAM);
    let mut core = rig.cluster.core(0).unwrap();
    core.branch(BASE + 7);
    assert_eq!((core.pc(), core.cpsr() & 1 << 5), (BASE + 6, 1 << 5));
    let a32 = core.cpsr() & !(1 << 5);
    core.set_cpsr(a32);
    assert_eq!((core.pc(), core.cpsr()), (BASE + 4, a32));
    let saved = rig.cluster.save();
    assert_eq!(rig.cluster.restore(&saved), Ok(()));
}
