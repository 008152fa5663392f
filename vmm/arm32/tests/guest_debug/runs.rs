//! Debug events do not depend on how a run is run.

use std::sync::Arc;

use arm32::cluster::Cluster;
use arm32::cp15::{self, CpReg, Env};
use arm32::state::{CpuState, Mode};
use arm32::{WatchKind, Watchpoint};
use proptest::prelude::*;

use crate::common::{Firmware, FlatBus, PROGRAM, RAM, TestClock};
use crate::rig::*;

#[test]
fn a_core_switched_on_has_none() {
    let bus = FlatBus::new();
    bus.write_words(RAM, &[0xe140_0071, 0xeaff_fffe]); // hvc #1; b .
    bus.write_words(RAM + 0x100, &NOPS);
    let mut cluster = Cluster::new(2, bus.clone(), Arc::new(TestClock::default()));
    let set = |s: &mut CpuState| {
        for (at, value) in [
            (OSLAR, 0),
            (DSCR_EXT, MDBGEN),
            (bvr(0), BASE + 0x104),
            (bcr(0), WORD | ANY_MODE),
        ] {
            cp15::write(s, &Env::at_reset(&*bus), CpReg::p14(at), value).unwrap();
        }
    };
    set(cluster.state_mut(0));
    set(cluster.state_mut(1));
    let s = cluster.state_mut(0);
    (s.r[1], s.r[2], s.r[15]) = (1, BASE + 0x100, BASE);
    cluster.run(&mut Firmware::default(), 10_000);
    let s = cluster.state(1);
    assert_eq!((s.psr.mode, s.r[5]), (Mode::Svc, 1));
}

#[test]
fn a_restored_core_has_them_and_impossible_ones_are_refused() {
    let mut saved = rig(&[0xe281_1001, 0xe580_1000, 0xeaff_fffe]);
    saved.set(&[(bvr(2), BASE), (bcr(2), WORD | ANY_MODE)]);
    saved.set(&[(wvr(1), DATA), (wcr(1), BYTES | STORES | ANY_MODE)]);
    let state = saved.cluster.save();
    let mut fresh = rig(&[0xe281_1001, 0xe580_1000, 0xeaff_fffe]);
    fresh.run(3);
    fresh.bus.write_words(DATA.into(), &[0]);
    fresh.cluster.restore(&state).unwrap();
    assert_eq!(fresh.until_abort(1), Some(BASE));
    fresh.run(2);
    assert_eq!(fresh.state().cp15.dfar, DATA);

    let text = serde_json::to_value(&state).unwrap();
    for (register, value) in [
        ("dscr", 1u32),
        ("vcr", 1 << 5),
        ("claim", 0x100),
        ("breakpoint_values", 1),
        ("breakpoint_controls", 1 << 24),
        ("watchpoint_values", 2),
        ("watchpoint_controls", 1 << 13),
    ] {
        let mut bad = text.clone();
        let slot = &mut bad["members"][0]["cpu"]["debug"][register];
        *(if slot.is_array() { &mut slot[0] } else { slot }) = value.into();
        let bad = serde_json::from_value(bad).unwrap();
        let error = fresh.cluster.restore(&bad).unwrap_err().to_string();
        assert!(error.contains("debug registers"), "{register}: {error}");
    }
}

/// Returns values that make the registers meet the program and its data often.
fn registers() -> impl Strategy<Value = Vec<([u8; 3], u32)>> {
    let code = (0u32..24).prop_map(|n| BASE + 4 * n);
    let data = prop_oneof![(0u32..80).prop_map(|n| BASE + 0x110 + 4 * n), any::<u32>()];
    let control = prop_oneof![Just(0u32), any::<u32>().prop_map(|c| c | 1)];
    let breakpoint = (0u8..6, code, control.clone(), 0u32..6);
    let watch = (0u8..4, data, control);
    (
        prop::collection::vec(breakpoint, 0..4),
        prop::collection::vec(watch, 0..3),
        prop_oneof![Just(0u32), any::<u32>()],
    )
        .prop_map(|(breakpoints, watches, vcr)| {
            let mut all = vec![(VCR, vcr)];
            for (n, value, control, kind) in breakpoints {
                let control = control & !(15 << 20) | kind << 20;
                all.extend([(bvr(n), value), (bcr(n), control)]);
            }
            for (n, value, control) in watches {
                all.extend([(wvr(n), value), (wcr(n), control & !(31 << 24))]);
            }
            all
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Warm or cold, in one piece or in many, watched by an observer or not: the same run.
    #[test]
    fn a_run_with_debug_events_is_the_same_however_it_is_run(
        before in registers(),
        after in registers(),
        pieces in prop::collection::vec(1u64..300, 0..12),
        breaks in prop::collection::vec(0u32..24, 0..4),
        watch in (0u32..0x200, 1u32..64),
        user in any::<bool>(),
    ) {
        const HALF: u64 = 1500;
        let outcome = |rig: &Rig| (rig.state().clone(), rig.bus.bytes());
        let start = || {
            let mut rig = rig(PROGRAM);
            if user {
                rig.in_user_mode();
            }
            rig
        };
        let mut whole = start();
        whole.set(&before);
        whole.run(HALF);
        whole.set(&after);
        whole.run(HALF);

        let mut cut = start();
        cut.set(&before);
        for at in &breaks {
            cut.cluster.insert_breakpoint(BASE + 4 * at);
        }
        cut.cluster.insert_watchpoint(Watchpoint::new(BASE + watch.0, watch.1, WatchKind::Access));
        let mut pieces = pieces.into_iter();
        for end in [HALF, 2 * HALF] {
            if end > HALF {
                cut.set(&after);
            }
            while cut.cluster.retired() < end {
                let piece = pieces.next().unwrap_or(HALF);
                let left = end - cut.cluster.retired();
                cut.run(piece.min(left));
            }
            if end == HALF {
                let state = cut.cluster.save();
                cut.cluster.restore(&state).unwrap();
            }
        }
        prop_assert!(outcome(&whole) == outcome(&cut));
    }
}
