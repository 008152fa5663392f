//! The debug registers as software sees them.

use super::registers::MDBGEN;
use super::*;
use crate::state::Mode;

fn reg(crn: u8, crm: u8, opc2: u8) -> CpReg {
    CpReg::p14([crn, crm, opc2])
}

/// What `arch/arm/kernel/hw_breakpoint.c` does at boot.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "there are at most 16")]
fn linux_probes_it_in_this_order() {
    let mut s = CpuState::reset(0);
    let didr = read(&s, reg(0, 0, 0)).unwrap();
    assert_eq!(didr >> 16 & 15, 5, "v7.1 Debug");
    let (brps, wrps) = ((didr >> 24 & 15) + 1, (didr >> 28) + 1);
    assert_eq!((brps, wrps), (6, 4));

    let oslsr = read(&s, reg(1, 1, 4)).unwrap();
    assert_eq!(oslsr & 0b1001, 0b1000, "OS lock is implemented");
    assert_eq!(oslsr & 2, 2, "locked at reset");
    write(&mut s, reg(1, 0, 4), !OS_LOCK_KEY).unwrap();
    assert_eq!(read(&s, reg(1, 1, 4)).unwrap() & 2, 0);
    assert_eq!(read(&s, reg(1, 3, 4)).unwrap(), 0, "no double lock");
    write(&mut s, reg(0, 7, 0), 0).unwrap();
    for i in 0..brps as u8 {
        write(&mut s, reg(0, i, 5), 0).unwrap();
        write(&mut s, reg(0, i, 4), 0).unwrap();
    }

    let dscr = read(&s, reg(0, 1, 0)).unwrap();
    assert_eq!(dscr & MDBGEN, 0);
    write(&mut s, reg(0, 2, 2), dscr | MDBGEN).unwrap();
    assert_ne!(read(&s, reg(0, 1, 0)).unwrap() & MDBGEN, 0);

    // Watchpoints of eight bytes: the byte address select keeps eight bits.
    let control = 0xff << 5;
    write(&mut s, reg(0, 0, 6), 0).unwrap();
    write(&mut s, reg(0, 0, 7), control).unwrap();
    assert_eq!(read(&s, reg(0, 0, 7)).unwrap() & control, control);
}

#[test]
fn values_read_back_within_their_bits() {
    let mut s = CpuState::reset(0);
    for (at, want) in [
        (reg(0, 0, 4), !3),
        (reg(0, 5, 4), u32::MAX),
        (reg(0, 0, 5), BCR_WRITABLE),
        (reg(0, 3, 6), !3),
        (reg(0, 3, 7), WCR_WRITABLE),
        (reg(7, 9, 6), 0),
    ] {
        write(&mut s, at, u32::MAX).unwrap();
        assert_eq!(read(&s, at), Ok(want), "{at:?}");
    }
    write(&mut s, reg(7, 8, 6), 0x105).unwrap();
    assert_eq!(read(&s, reg(7, 9, 6)), Ok(5));
}

#[test]
fn what_does_not_exist_is_undefined() {
    let mut s = CpuState::reset(0);
    for at in [
        reg(0, 6, 4),
        reg(0, 4, 6),
        reg(1, 3, 1),
        reg(1, 5, 1),
        reg(3, 0, 0),
        reg(1, 0, 4),
    ] {
        assert_eq!(read(&s, at), Err(Undefined), "{at:?}");
    }
    assert_eq!(write(&mut s, reg(0, 0, 0), 0), Err(Undefined));
    assert_eq!(write(&mut s, reg(0, 1, 0), 0), Err(Undefined));
}

#[test]
fn pl0_reads_the_channel_registers_until_it_may_not() {
    let mut s = CpuState::reset(0);
    s.switch_mode(Mode::Usr);
    assert_eq!(read(&s, reg(0, 0, 0)), Ok(DIDR));
    assert_eq!(read(&s, reg(0, 0, 5)), Err(Undefined));
    assert_eq!(read(&s, reg(0, 2, 2)), Err(Undefined));
    s.debug.dscr = UDCCDIS;
    assert_eq!(read(&s, reg(0, 0, 0)), Err(Undefined));
}

/// Breakpoints and watchpoints as the architecture's prose describes them, one byte and one
/// instruction at a time.
mod model {
    use super::super::events::{armed, at_access, at_instruction};
    use super::*;
    use crate::mmu::Access;
    use proptest::prelude::*;

    fn field(register: u32, high: u32, low: u32) -> u32 {
        (register >> low) & ((1 << (high - low + 1)) - 1)
    }

    fn context_current(s: &CpuState, n: u32) -> bool {
        let d = &s.debug;
        (4..6).contains(&n) && {
            let control = d.breakpoint_controls[n as usize];
            field(control, 0, 0) == 1
                && field(control, 23, 20) == 0b0011
                && d.breakpoint_values[n as usize] == s.cp15.contextidr
        }
    }

    fn breaks(s: &CpuState, n: usize, va: u32) -> bool {
        let (value, control) = (s.debug.breakpoint_values[n], s.debug.breakpoint_controls[n]);
        let user = s.psr.mode == Mode::Usr;
        let user_svc_sys = matches!(s.psr.mode, Mode::Usr | Mode::Svc | Mode::Sys);
        let mode = match field(control, 2, 1) {
            0 => user_svc_sys,
            1 => !user,
            2 => user,
            _ => true,
        };
        if field(control, 0, 0) == 0 || !mode || field(control, 15, 14) > 1 {
            return false;
        }
        let here = va / 4 == value / 4 && field(control, 8, 5) & 1 << (va % 4) != 0;
        let linked = || context_current(s, field(control, 19, 16));
        match field(control, 23, 20) {
            0b0000 => here,
            0b0001 => here && linked(),
            0b0010 => n >= 4 && value == s.cp15.contextidr && user_svc_sys,
            0b0100 => !here && user_svc_sys,
            0b0101 => !here && user_svc_sys && linked(),
            _ => false,
        }
    }

    fn watches(s: &CpuState, n: usize, va: u32, write: bool, privileged: bool) -> bool {
        let (value, control) = (s.debug.watchpoint_values[n], s.debug.watchpoint_controls[n]);
        let byte = match (field(control, 28, 24), value % 8) {
            (0, 0) => va / 8 == value / 8 && field(control, 12, 5) & 1 << (va % 8) != 0,
            (0, _) => va / 4 == value / 4 && field(control, 8, 5) & 1 << (va % 4) != 0,
            (1 | 2, _) => false,
            (bits, _) => va >> bits == value >> bits && field(control, 12, 5) & 1 << (va % 8) != 0,
        };
        let access = field(control, 4, 3) & if write { 2 } else { 1 } != 0;
        let level = field(control, 2, 1) & if privileged { 1 } else { 2 } != 0;
        let linked = field(control, 20, 20) == 0 || context_current(s, field(control, 19, 16));
        field(control, 0, 0) == 1 && byte && access && level && linked && field(control, 15, 14) < 2
    }

    /// Returns a core with debug on and these registers, all near address 0x1000 and context 1.
    fn state() -> impl Strategy<Value = CpuState> {
        let near = prop_oneof![0x1000u32..0x1010, 0u32..3, any::<u32>()];
        let control = (
            any::<u32>(),
            0u32..6,
            prop_oneof![Just(0u32), 3u32..5, 0u32..32],
        )
            .prop_map(|(bits, kind, mask)| bits & 0x000f_ffff | kind << 20 | mask << 24);
        (
            prop::collection::vec((near.clone(), control.clone(), any::<bool>()), 6),
            prop::collection::vec((near, control, any::<bool>()), 4),
            prop::sample::select(vec![Mode::Usr, Mode::Svc, Mode::Sys, Mode::Abt, Mode::Irq]),
            0u32..3,
        )
            .prop_map(|(breakpoints, watchpoints, mode, context)| {
                let mut s = CpuState::reset(0);
                write(&mut s, reg(1, 0, 4), 0).unwrap();
                write(&mut s, reg(0, 2, 2), MDBGEN).unwrap();
                for (n, (value, control, on)) in (0..).zip(breakpoints) {
                    write(&mut s, reg(0, n, 4), value).unwrap();
                    write(&mut s, reg(0, n, 5), control & !1 | u32::from(on)).unwrap();
                }
                for (n, (value, control, on)) in (0..).zip(watchpoints) {
                    write(&mut s, reg(0, n, 6), value).unwrap();
                    write(&mut s, reg(0, n, 7), control & !1 | u32::from(on)).unwrap();
                }
                assert!(s.debug.is_possible());
                s.switch_mode(mode);
                s.cp15.contextidr = context;
                s
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn breakpoints_match_what_the_architecture_says(s in state(), at in 0u32..16) {
            let va = 0x1000 + (at & !1);
            let want = (0..6).any(|n| breaks(&s, n, va));
            let event = at_instruction(&s, va);
            prop_assert_eq!(event, want.then_some(DebugEvent::Breakpoint));
            let armed = armed(&s);
            prop_assert!(!want || armed.everywhere || armed.addresses.contains(&va));
        }

        #[test]
        fn watchpoints_match_what_the_architecture_says(
            s in state(),
            first in 0xff8u32..0x1018,
            size in 1u32..9,
            store in any::<bool>(),
            privileged in any::<bool>(),
        ) {
            let last = first + size - 1;
            let want = (first..=last).find(|va| (0..4).any(|n| watches(&s, n, *va, store, privileged)));
            let access = if store { Access::Write } else { Access::Read };
            prop_assert_eq!(at_access(&s, first, last, access, privileged), want);
            if let Some(va) = want {
                let covers = |w: &crate::watch::Watchpoint| (w.start..=w.last).contains(&va);
                prop_assert!(armed(&s).watched.iter().any(covers));
            }
        }
    }
}
