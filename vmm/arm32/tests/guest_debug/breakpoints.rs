//! Breakpoints and vector catch: Prefetch Aborts.

use arm32::state::Mode;

use crate::common::RAM;
use crate::rig::*;

#[test]
fn a_breakpoint_is_a_prefetch_abort_before_its_instruction() {
    for warm in [false, true] {
        let mut rig = rig(&NOPS);
        if warm {
            // The block exists, in one piece, before the breakpoint does.
            rig.run(6);
            rig.cluster.state_mut(0).r = [0; 16];
            rig.cluster.state_mut(0).r[15] = BASE;
        }
        rig.set(&[(bvr(0), BASE + 8), (bcr(0), WORD | ANY_MODE)]);
        let retired = rig.state().retired;
        rig.run(3);
        let s = rig.state();
        assert_eq!((s.psr.mode, s.r[15]), (Mode::Abt, VECTORS + 0xc));
        assert_eq!((s.r[14], s.cp15.ifsr), (BASE + 12, 2));
        assert_eq!((s.r[2], s.r[3]), (1, 0), "it was not executed");
        assert_eq!(s.retired - retired, 3, "an aborted instruction counts");
        assert_eq!(rig.method_of_entry(), BREAKPOINT);
        rig.run(2);
        let s = rig.state();
        assert_eq!((s.r[3], s.r[4]), (0, 1), "the handler skipped it");
        // Removed, it is as if it had never been.
        rig.set(&[(bcr(0), 0)]);
        rig.cluster.state_mut(0).r[15] = BASE;
        assert_eq!(rig.until_abort(10), None);
        assert_eq!(rig.state().r[3], 1);
    }
}

#[test]
fn with_the_long_descriptors_the_status_has_their_format() {
    let mut rig = rig(&[0xe590_1000]); // ldr r1, [r0]
    rig.cluster.state_mut(0).cp15.ttbcr = 1 << 31;
    rig.set(&[(bvr(0), BASE), (bcr(0), WORD | ANY_MODE)]);
    rig.run(1);
    assert_eq!(rig.state().cp15.ifsr, 0x222);
    rig.set(&[
        (bcr(0), 0),
        (wvr(0), DATA),
        (wcr(0), BYTES | LOADS | ANY_MODE),
    ]);
    rig.cluster.state_mut(0).r[15] = BASE;
    rig.run(1);
    assert_eq!(rig.state().cp15.dfsr, 0x222);
}

#[test]
fn byte_select_tells_the_halves_of_a_word_apart() {
    // movs r1, #1; movs r2, #2; movs r3, #3; b .
    let code = [0x2202_2101, 0xe7fe_2303];
    for (bytes, stops_at) in [
        (0b0011, Some(0)),
        (0b1100, Some(2)),
        (0b1111, Some(0)),
        (0b1000, None),
        (0, None),
    ] {
        let mut rig = rig(&code);
        rig.cluster.state_mut(0).psr.thumb = true;
        rig.set(&[(bvr(1), BASE), (bcr(1), bytes << 5 | ANY_MODE)]);
        let at = rig.until_abort(6);
        assert_eq!(at, stops_at.map(|at| BASE + at), "{bytes:04b}");
        if at.is_some() {
            assert_eq!(rig.state().r[14], BASE + stops_at.unwrap() + 4);
        }
    }
}

#[test]
fn nothing_fires_while_debug_is_off_or_locked() {
    for off in [
        [(DSCR_EXT, 0), (VCR, 0)],
        [(OSLAR, 0xc5ac_ce55), (VCR, 0)],
        [([1, 3, 4], 1), (VCR, 0)], // OS double lock
    ] {
        let mut rig = rig(&NOPS);
        rig.set(&[(bvr(0), BASE + 8), (bcr(0), WORD | ANY_MODE)]);
        rig.set(&off);
        assert_eq!(rig.until_abort(6), None);
        rig.set(&[(DSCR_EXT, MDBGEN), (OSLAR, 0), ([1, 3, 4], 0)]);
        rig.cluster.state_mut(0).r[15] = BASE;
        assert_eq!(rig.until_abort(6), Some(BASE + 8));
    }
}

#[test]
fn software_sets_and_clears_them_itself() {
    let mut rig = rig(&[]);
    let mcr = |rt: u32, [crn, crm, opc2]: [u8; 3]| {
        0xee00_0e10 | rt << 12 | u32::from(crn) << 16 | u32::from(crm) | u32::from(opc2) << 5
    };
    let words = [
        mcr(2, bvr(0)),
        mcr(3, bcr(0)),
        0xe281_1001, // add r1, r1, #1: the breakpoint
        mcr(4, bcr(0)),
        0xe281_1001,
        0xe24f_f014, // sub pc, pc, #20: to the breakpoint's place again
    ];
    rig.bus.write_words(RAM, &words);
    let s = rig.cluster.state_mut(0);
    (s.r[2], s.r[3]) = (BASE + 8, WORD | ANY_MODE);
    assert_eq!(rig.until_abort(3), Some(BASE + 8));
    rig.run(1);
    assert_eq!(rig.until_abort(40), None, "it was cleared");
    assert!(rig.state().r[1] > 10);
}

#[test]
fn privilege_fields_select_modes() {
    // PMC, and whether it stops User, Supervisor and IRQ mode.
    for (pmc, want) in [
        (0, [true, true, false]),
        (1, [false, true, true]),
        (2, [true, false, false]),
        (3, [true, true, true]),
    ] {
        for (mode, want) in [Mode::Usr, Mode::Svc, Mode::Irq].into_iter().zip(want) {
            for (world, sees) in [(0, true), (1, true), (2, false), (3, false)] {
                let mut rig = rig(&NOPS);
                rig.cluster.state_mut(0).switch_mode(mode);
                let control = WORD | pmc << 1 | world << 14 | 1;
                rig.set(&[(bvr(0), BASE + 4), (bcr(0), control)]);
                let hit = rig.until_abort(5).is_some();
                assert_eq!(hit, want && sees, "PMC {pmc} SSC {world} in {mode:?}");
            }
        }
    }
}

#[test]
fn a_linked_breakpoint_needs_its_context() {
    let stops = |context: u32, linked: &[([u8; 3], u32)]| {
        let mut rig = rig(&NOPS);
        rig.cluster.state_mut(0).cp15.contextidr = context;
        rig.set(&[(bvr(0), BASE + 4), (bcr(0), link(5) | WORD | ANY_MODE)]);
        rig.set(linked);
        rig.until_abort(5).is_some()
    };
    let good = [
        (bvr(5), 0x1234),
        (bcr(5), CONTEXT | LINKED | WORD | ANY_MODE),
    ];
    assert!(stops(0x1234, &good));
    assert!(!stops(0x1235, &good));
    let unlinked = [(bvr(5), 0x9999), (bcr(5), CONTEXT | WORD | ANY_MODE)];
    assert!(!stops(0x1234, &unlinked), "not of the linked type");
    let off = [(bvr(5), 0x1234), (bcr(5), CONTEXT | LINKED | WORD)];
    assert!(!stops(0x1234, &off), "not enabled");
}

#[test]
fn a_context_breakpoint_stops_wherever_the_context_is_current() {
    let mut rig = rig(&NOPS);
    rig.cluster.state_mut(0).cp15.contextidr = 7;
    rig.set(&[(bvr(4), 8), (bcr(4), CONTEXT | WORD | ANY_MODE)]);
    assert_eq!(rig.until_abort(3), None);
    rig.cluster.state_mut(0).cp15.contextidr = 8;
    assert_eq!(rig.until_abort(3), Some(BASE + 12));
    // Breakpoint 0 cannot match contexts.
    rig.set(&[
        (bcr(4), 0),
        (bvr(0), 8),
        (bcr(0), CONTEXT | WORD | ANY_MODE),
    ]);
    rig.run(1);
    assert_eq!(rig.until_abort(5), None);
}

/// As Linux steps over a breakpoint: stop at whatever is not the instruction, in User mode only.
#[test]
fn a_mismatch_steps_one_instruction() {
    let mut rig = rig(&NOPS);
    rig.in_user_mode();
    let step = |at: u32| [(bvr(5), at), (bcr(5), MISMATCH | WORD | 2 << 1 | 1)];
    for n in 0..4 {
        rig.set(&step(BASE + 4 * n));
        let retired = rig.state().retired;
        let next = BASE + 4 * (n + 1);
        assert_eq!(rig.until_abort(9), Some(next));
        assert_eq!(rig.state().retired - retired, 2);
        assert_eq!(
            (rig.method_of_entry(), rig.state().r[14]),
            (BREAKPOINT, next + 4)
        );
        let s = rig.cluster.state_mut(0);
        s.switch_mode(Mode::Usr);
        s.r[15] = next;
    }
}

#[test]
fn a_vector_is_caught() {
    let mut rig = rig(&[0xef00_0000]); // svc #0
    rig.set(&[(VCR, 1 << 26)]);
    rig.run(1);
    assert_eq!(rig.state().r[15], VECTORS + 8, "at the vector");
    rig.run(1);
    assert_eq!(
        (rig.state().psr.mode, rig.state().r[14]),
        (Mode::Abt, VECTORS + 12)
    );
    assert_eq!(
        (rig.method_of_entry(), rig.state().cp15.ifsr),
        (VECTOR_CATCH, 2)
    );
    // Vectors that move are caught where they are now.
    let s = rig.cluster.state_mut(0);
    s.cp15.vbar = VECTORS + 0x100;
    s.switch_mode(Mode::Svc);
    s.r[15] = BASE;
    rig.run(2);
    assert_eq!(rig.state().r[14], VECTORS + 0x10c);
    // Those of the other world, and of aborts, make no event.
    for other in [1 << 2, 1 << 27, 1 << 28] {
        let mut rig = crate::rig::rig(&[0xef00_0000]);
        rig.set(&[(VCR, other)]);
        rig.run(3);
        assert_eq!(rig.state().psr.mode, Mode::Svc);
    }
}
