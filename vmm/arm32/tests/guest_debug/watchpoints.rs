//! Watchpoints: Data Aborts, also beside those of observers.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]

use arm32::cluster::Stop;
use arm32::state::Mode;
use arm32::{WatchKind, Watchpoint};

use crate::common::DEVICE;
use crate::rig::*;

#[test]
fn a_watched_access_is_a_data_abort_and_not_made() {
    // Instruction, control, whether it is a store, the first watched byte.
    let cases = [
        (0xe590_1004u32, LOADS, false, 4),           // ldr r1, [r0, #4]
        (0xe580_1004, STORES, true, 4),              // str r1, [r0, #4]
        (0xe5d0_1007, LOADS, false, 7),              // ldrb r1, [r0, #7]
        (0xe1c0_10b6, STORES, true, 6),              // strh r1, [r0, #6]
        (0xe1c0_20d0, LOADS, false, 4),              // ldrd r2, r3, [r0]
        (0xe890_0006, LOADS, false, 4),              // ldm r0, {r1, r2}
        (0xe880_0006, STORES, true, 4),              // stm r0, {r1, r2}
        (0xecd0_1b04 & !(1 << 22), LOADS, false, 4), // vldm r0, {d1, d2}
        (0xe190_1f9f, LOADS, false, 0),              // ldrex r1, [r0]
        (0xe100_1092, LOADS | STORES, false, 0),     // swp r1, r2, [r0]
    ];
    for (word, access, write, offset) in cases {
        for warm in [false, true] {
            let mut rig = rig(&[0xe590_1000, word]); // ldr r1, [r0]
            let s = rig.cluster.state_mut(0);
            s.cp15.cpacr = 0x00f0_0000;
            s.fpexc = 1 << 30;
            s.cp15.sctlr |= 1 << 10;
            let wide = if offset == 0 { DATA } else { DATA + 4 };
            let control = BYTES | access | ANY_MODE;
            if !warm {
                rig.set(&[(wvr(3), wide), (wcr(3), control)]);
                rig.cluster.state_mut(0).r[15] = BASE + 4;
            } else {
                rig.run(1);
                rig.set(&[(wvr(3), wide), (wcr(3), control)]);
            }
            rig.cluster.state_mut(0).r[1] = 0x55;
            rig.run(1);
            let s = rig.state();
            assert_eq!(
                (s.psr.mode, s.r[15]),
                (Mode::Abt, VECTORS + 0x10),
                "{word:#x}"
            );
            assert_eq!(s.cp15.dfsr, if write { 0x802 } else { 2 }, "{word:#x}");
            assert_eq!(s.cp15.dfar, DATA + offset, "{word:#x}");
            assert_eq!((s.r[14], s.r[1]), (BASE + 12, 0x55), "{word:#x}");
            assert_eq!(rig.get(WFAR), BASE + 12);
            assert_eq!(rig.method_of_entry(), WATCHPOINT);
            assert_eq!(rig.bus.word(u64::from(DATA) + 4), 0, "{word:#x}");
            // The other kind of access, and other addresses, are let through.
            let other = if access == LOADS { STORES } else { LOADS };
            rig.set(&[(wcr(3), BYTES | other | ANY_MODE)]);
            if access != LOADS | STORES {
                rig.cluster.state_mut(0).r[15] = BASE + 4;
                rig.run(1);
                assert_eq!(rig.state().r[15], BASE + 8, "{word:#x}");
            }
        }
    }
}

#[test]
fn a_store_exclusive_is_watched_only_if_it_would_store() {
    let mut rig = rig(&[0xe190_1f9f, 0xe180_2f93]); // ldrex r1, [r0]; strex r2, r3, [r0]
    rig.set(&[(wvr(0), DATA), (wcr(0), BYTES | STORES | ANY_MODE)]);
    rig.cluster.state_mut(0).r[3] = 9;
    assert_eq!(rig.until_abort(2), Some(BASE + 4));
    assert_eq!(rig.bus.word(DATA.into()), 0);
    let s = rig.cluster.state_mut(0);
    s.monitor.open = false;
    s.r[15] = BASE + 4;
    s.switch_mode(Mode::Svc);
    s.r[0] = DATA;
    rig.run(1);
    assert_eq!((rig.state().psr.mode, rig.state().r[2]), (Mode::Svc, 1));
}

#[test]
fn watchpoints_have_byte_selects_and_masks() {
    // WVR offset, control, first byte accessed by ldrb, whether it hits.
    let mask = |bits: u32| bits << 24;
    for (value, control, at, hits) in [
        (0, 0x01 << 5, 0, true),
        (0, 0x01 << 5, 1, false),
        (0, 0x80 << 5, 7, true),
        (4, 0x02 << 5, 5, true),
        (4, 0x02 << 5, 1, false),
        (4, 0xff << 5, 8, false),
        (0, BYTES | mask(3), 7, true),
        (0, BYTES | mask(3), 8, false),
        (0, BYTES | mask(12), 0xfff, true),
        (0, BYTES | mask(12), 0x1000, false),
        (0x2000, BYTES | mask(13), 0x1fff, false),
        (0x2000, BYTES | mask(13), 0x3fff, true),
        (0, BYTES | mask(31), 0x5000, true),
        (0, BYTES | mask(2), 0, false),
    ] {
        let mut rig = rig(&[0xe5d0_1000]); // ldrb r1, [r0]
        rig.cluster.state_mut(0).r[0] = DATA + at;
        rig.set(&[(wvr(0), DATA + value), (wcr(0), control | LOADS | ANY_MODE)]);
        let hit = rig.until_abort(1).is_some();
        assert_eq!(hit, hits, "{value:#x} {control:#x} {at:#x}");
        if hit {
            assert_eq!(rig.state().cp15.dfar, DATA + at);
        }
    }
}

#[test]
fn unprivileged_accesses_are_of_pl0() {
    for (pac, privileged, user) in [(1, true, false), (2, false, true), (3, true, true)] {
        for (word, want) in [(0xe590_1000u32, privileged), (0xe4b0_1000, user)] {
            // ldr, ldrt
            let mut rig = rig(&[word]);
            rig.set(&[(wvr(0), DATA), (wcr(0), BYTES | LOADS | pac << 1 | 1)]);
            assert_eq!(rig.until_abort(1).is_some(), want, "PAC {pac} {word:#x}");
        }
        let mut rig = rig(&[0xe590_1000]);
        rig.in_user_mode();
        rig.set(&[(wvr(0), DATA), (wcr(0), BYTES | LOADS | pac << 1 | 1)]);
        assert_eq!(rig.until_abort(1).is_some(), user, "PAC {pac} in User mode");
    }
}

#[test]
fn a_watchpoint_is_linked_to_a_context() {
    for (context, hits) in [(3, true), (4, false)] {
        let mut rig = rig(&[0xe580_1000]);
        rig.cluster.state_mut(0).cp15.contextidr = context;
        rig.set(&[(bvr(4), 3), (bcr(4), CONTEXT | LINKED | WORD | 1)]);
        rig.set(&[
            (wvr(0), DATA),
            (wcr(0), BYTES | STORES | link(4) | ANY_MODE),
        ]);
        assert_eq!(rig.until_abort(1).is_some(), hits);
    }
}

#[test]
fn an_observer_and_the_guest_have_the_same_place() {
    let mut rig = rig(&[0xe281_1001, 0xe580_1000, 0xeaff_fffe]); // add r1, r1, #1; str r1, [r0]; b .
    rig.set(&[(bvr(0), BASE), (bcr(0), WORD | ANY_MODE)]);
    rig.set(&[(wvr(0), DATA), (wcr(0), BYTES | STORES | ANY_MODE)]);
    rig.cluster.insert_breakpoint(BASE);
    rig.cluster
        .insert_watchpoint(Watchpoint::new(DATA, 4, WatchKind::Write));
    assert_eq!(rig.run(9), Stop::Breakpoint { core: 0, pc: BASE });
    rig.run(1);
    assert_eq!(rig.state().psr.mode, Mode::Abt);
    assert_eq!(rig.run(1), Stop::Budget, "the handler returns to the store");
    assert!(matches!(rig.run(9), Stop::Watchpoint { core: 0, hit } if hit.va == DATA && !hit.done));
    rig.run(1);
    assert_eq!(
        (rig.state().psr.mode, rig.state().cp15.dfar),
        (Mode::Abt, DATA)
    );
    assert_eq!(rig.bus.word(DATA.into()), 0);
}

#[test]
fn an_access_spared_after_a_device_was_touched_stops_no_observer() {
    // The pair lies half in a device, half in what nobody answers for: the second half is watched.
    let mut rig = rig(&[0xe1c0_20d0]); // ldrd r2, r3, [r0]
    rig.cluster.state_mut(0).r[0] = DEVICE as u32;
    let second = DEVICE as u32 + 4;
    rig.set(&[(wvr(0), second), (wcr(0), 0xf << 5 | LOADS | ANY_MODE)]);
    rig.cluster
        .insert_watchpoint(Watchpoint::new(second, 4, WatchKind::Read));
    assert_eq!(rig.run(1), Stop::Budget);
    assert_eq!(
        (rig.state().psr.mode, rig.state().cp15.dfar),
        (Mode::Abt, second)
    );
}
