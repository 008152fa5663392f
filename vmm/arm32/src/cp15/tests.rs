#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "registers of 32 bits are given the low word, some of it from signed numbers"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::table::{Kind, Who, find, registers};
use super::*;
use crate::debug::DebugEvent;
use crate::mmu::testing::TestBus;
use crate::state::{CpuState, Mode};

fn env(bus: &TestBus) -> Env<'_> {
    Env {
        count: 1000,
        cycles: 500,
        cpu_count: 4,
        ..Env::at_reset(bus)
    }
}

const fn p15_64(opc1: u8, crm: u8) -> CpReg64 {
    CpReg64 {
        coproc: 15,
        opc1,
        crm,
    }
}

fn get(s: &mut CpuState, at: [u8; 4]) -> Result<u32, Undefined> {
    read(s, &env(&TestBus::default()), CpReg::p15(at))
}

fn put(s: &mut CpuState, at: [u8; 4], value: u32) -> Result<Effects, Undefined> {
    write(s, &env(&TestBus::default()), CpReg::p15(at), value)
}

const SCTLR: [u8; 4] = [1, 0, 0, 0];
const TTBCR: [u8; 4] = [2, 0, 0, 2];
const NONE: Effects = Effects::NONE;

#[test]
fn values_at_reset() {
    let mut s = CpuState::reset(2);
    for (at, want) in [
        ([0, 0, 0, 0], 0x414f_c0f0),
        ([0, 0, 0, 1], 0x8444_c004),
        ([0, 0, 0, 4], 0x414f_c0f0),
        ([0, 0, 0, 5], 0x8000_0002),
        ([0, 0, 1, 0], 0x0000_0131),
        ([0, 0, 1, 1], 0x0001_0011),
        ([0, 0, 1, 2], 0x0200_0055),
        ([0, 0, 1, 4], 0x1020_1105),
        ([0, 0, 2, 0], 0x0210_1110),
        ([0, 0, 2, 5], 0),
        ([0, 0, 3, 4], 0), // reserved identification registers
        ([0, 0, 7, 7], 0),
        ([0, 1, 0, 1], 0x0a20_0023),
        (SCTLR, 0x00c5_0078),
        ([1, 0, 0, 1], 0x41),
        ([1, 0, 0, 2], 0),
        ([1, 0, 1, 2], 0x0004_0c00),
        ([2, 0, 0, 0], 0),
        (TTBCR, 0),
        ([3, 0, 0, 0], 0),
        ([9, 0, 12, 0], 0x410f_3000),
        ([9, 1, 0, 2], 3 << 24),
        ([12, 0, 0, 0], 0),
        ([14, 0, 0, 0], 62_500_000),
        ([15, 4, 0, 0], 0),
    ] {
        assert_eq!(get(&mut s, at), Ok(want), "{at:?}");
    }
}

#[test]
fn cache_sizes_follow_the_selection() {
    let mut s = CpuState::reset(0);
    // Bytes of a cache: sets, ways and line size.
    let size = |v: u32| ((v >> 13 & 0x7fff) + 1) * ((v >> 3 & 0x3ff) + 1) * (16 << (v & 7));
    for (select, kib) in [(0, 32), (1, 32), (2, 512)] {
        assert_eq!(put(&mut s, [0, 2, 0, 0], select), Ok(NONE));
        assert_eq!(size(get(&mut s, [0, 1, 0, 0]).unwrap()), kib << 10);
    }
    put(&mut s, [0, 2, 0, 0], 3).unwrap();
    assert_eq!(get(&mut s, [0, 1, 0, 0]), Ok(0));
}

#[test]
fn other_worlds_do_not_exist() {
    let mut s = CpuState::reset(0);
    for at in [
        [1, 0, 1, 0],  // SCR
        [1, 0, 1, 1],  // SDER
        [12, 0, 0, 1], // MVBAR
        [1, 4, 0, 0],  // HSCTLR
        [12, 4, 0, 0], // HVBAR
        [14, 4, 1, 0], // CNTHCTL
        [8, 4, 7, 0],  // TLBIALLH
        [7, 0, 8, 4],  // ATS12NSOPR
        [4, 0, 0, 0],
        [7, 0, 7, 0],
        [11, 0, 0, 0],
    ] {
        assert_eq!(get(&mut s, at), Err(Undefined), "{at:?}");
        assert_eq!(put(&mut s, at, 0), Err(Undefined), "{at:?}");
    }
    let bus = TestBus::default();
    for reg in [p15_64(4, 14), p15_64(6, 2), p15_64(6, 14), p15_64(4, 2)] {
        assert_eq!(read64(&mut s, &env(&bus), reg), Err(Undefined));
        assert_eq!(write64(&mut s, &env(&bus), reg, 0), Err(Undefined));
    }
}

#[test]
fn read_only_and_write_only_are_kept_apart() {
    let mut s = CpuState::reset(0);
    for at in [
        [0, 0, 0, 0],
        [0, 0, 0, 5],
        [0, 0, 3, 0],
        [1, 0, 1, 2],
        [14, 0, 0, 0],
    ] {
        assert_eq!(put(&mut s, at, 0), Err(Undefined), "{at:?}");
    }
    for at in [[7, 0, 5, 0], [8, 0, 7, 0], [7, 0, 10, 4], [9, 0, 12, 4]] {
        assert_eq!(get(&mut s, at), Err(Undefined), "{at:?}");
    }
}

#[test]
fn sctlr_keeps_its_fixed_bits() {
    let mut s = CpuState::reset(0);
    put(&mut s, SCTLR, u32::MAX).unwrap();
    assert_eq!(get(&mut s, SCTLR), Ok(sctlr::WRITABLE | sctlr::RESET));
    put(&mut s, SCTLR, 0).unwrap();
    assert_eq!(get(&mut s, SCTLR), Ok(sctlr::RESET & !sctlr::CP15BEN));
}

#[test]
fn cpacr_ties_coprocessors_10_and_11_together() {
    let mut s = CpuState::reset(0);
    let effects = put(&mut s, [1, 0, 0, 2], u32::MAX).unwrap();
    assert!(effects.execution);
    assert_eq!(get(&mut s, [1, 0, 0, 2]), Ok(0xc0f0_0000));
    put(&mut s, [1, 0, 0, 2], 3 << 20).unwrap();
    assert_eq!(get(&mut s, [1, 0, 0, 2]), Ok(0x00f0_0000));
}

#[test]
fn ttbcr_has_the_bits_of_its_format() {
    let mut s = CpuState::reset(0);
    put(&mut s, TTBCR, 0x7fff_ffff).unwrap();
    assert_eq!(get(&mut s, TTBCR), Ok(0x37));
    put(&mut s, TTBCR, u32::MAX).unwrap();
    assert_eq!(get(&mut s, TTBCR), Ok(0xbfc7_3f87));
}

#[test]
fn translation_tables_are_64_bits_wide_in_two_views() {
    let (mut s, bus) = (CpuState::reset(0), TestBus::default());
    write64(&mut s, &env(&bus), p15_64(0, 2), u64::MAX).unwrap();
    assert_eq!(
        read64(&mut s, &env(&bus), p15_64(0, 2)),
        Ok(0x00ff_00ff_ffff_ffff)
    );
    put(&mut s, [2, 0, 0, 0], 0x1234_5678).unwrap();
    assert_eq!(get(&mut s, [2, 0, 0, 0]), Ok(0x1234_5678));
    assert_eq!(s.cp15.ttbr0, 0x00ff_00ff_1234_5678);
}

#[test]
fn writes_say_what_they_changed() {
    let mut s = CpuState::reset(0);
    let mut put = |at, value| put(&mut s, at, value).unwrap();
    let (dacr, asid, tables) = ([3, 0, 0, 0], [13, 0, 0, 1], [2, 0, 0, 0]);
    assert_eq!(put(dacr, 0), NONE);
    assert_eq!(put(dacr, 1), Effects { dacr: true, ..NONE });
    assert_eq!(put(asid, 0x100), NONE, "only the process number");
    assert_eq!(put(asid, 0x101), Effects { asid: true, ..NONE });
    let want = Effects {
        tables: true,
        ..NONE
    };
    assert_eq!(put(tables, 0x4000), want);
    let want = Effects {
        regime: true,
        ..NONE
    };
    assert_eq!(put(SCTLR, sctlr::RESET | sctlr::M), want);
    assert_eq!(put([10, 0, 2, 0], 1), want);
    let want = Effects {
        execution: true,
        ..NONE
    };
    assert_eq!(put(SCTLR, sctlr::RESET | sctlr::M | sctlr::A), want);
    // Privileged access never by TTBR0 PAN: the walk is disabled and the ASID comes from TTBR1.
    assert!(put(TTBCR, ttbcr::EAE).regime);
    assert_eq!(
        put(TTBCR, ttbcr::EAE | ttbcr::EPD0),
        Effects {
            tables: true,
            ..NONE
        }
    );
}

#[test]
fn the_long_format_takes_the_asid_from_the_selected_base() {
    let (mut s, bus) = (CpuState::reset(0), TestBus::default());
    put(&mut s, TTBCR, ttbcr::EAE | ttbcr::A1).unwrap();
    let env = env(&bus);
    let effects = write64(&mut s, &env, p15_64(0, 2), 7 << 48).unwrap();
    assert_eq!((effects.asid, effects.tables), (false, true));
    let effects = write64(&mut s, &env, p15_64(1, 2), 9 << 48).unwrap();
    assert_eq!((effects.asid, s.cp15.asid()), (true, 9));
    let effects = write(&mut s, &env, CpReg::p15([13, 0, 0, 1]), 5).unwrap();
    assert_eq!(effects, NONE, "CONTEXTIDR holds no ASID now");
}

#[test]
fn tlb_maintenance_and_its_reach() {
    let mut s = CpuState::reset(0);
    let va = 0x1234_5678;
    let page = TlbFlush::Va(0x1234_5000);
    for (opc2, want) in [
        (0, TlbFlush::All),
        (1, page),
        (2, TlbFlush::NonGlobal),
        (3, page),
    ] {
        let here = Effects { tlb: want, ..NONE };
        let everywhere = Effects {
            broadcast: Some(want),
            ..here
        };
        assert_eq!(put(&mut s, [8, 0, 7, opc2], va), Ok(here));
        assert_eq!(put(&mut s, [8, 0, 3, opc2], va), Ok(everywhere));
        let split = if opc2 == 3 { Err(Undefined) } else { Ok(here) };
        assert_eq!(put(&mut s, [8, 0, 5, opc2], va), split);
        assert_eq!(put(&mut s, [8, 0, 6, opc2], va), split);
    }
}

#[test]
fn cache_maintenance_and_barriers() {
    let mut s = CpuState::reset(0);
    // ICIALLU, ICIALLUIS, ICIMVAU.
    let fetch = Effects {
        fetch: true,
        ..NONE
    };
    for at in [[7, 0, 5, 0], [7, 0, 1, 0], [7, 0, 5, 1]] {
        assert_eq!(put(&mut s, at, 0), Ok(fetch), "{at:?}");
    }
    for at in [[7, 0, 5, 6], [7, 0, 1, 6], [7, 0, 14, 1], [7, 0, 6, 2]] {
        assert_eq!(put(&mut s, at, 0), Ok(NONE), "{at:?}");
    }
    s.switch_mode(Mode::Usr);
    let isb = Effects { sync: true, ..NONE };
    assert_eq!(put(&mut s, [7, 0, 5, 4], 0), Ok(isb));
    assert_eq!(put(&mut s, [7, 0, 10, 4], 0), Ok(NONE));
    assert_eq!(put(&mut s, [7, 0, 10, 5], 0), Ok(NONE));
    assert_eq!(put(&mut s, [7, 0, 14, 1], 0), Err(Undefined));
    s.cp15.sctlr &= !sctlr::CP15BEN;
    assert_eq!(put(&mut s, [7, 0, 10, 5], 0), Err(Undefined));
}

#[test]
fn user_mode_reaches_only_what_it_may() {
    let mut s = CpuState::reset(0);
    s.switch_mode(Mode::Usr);
    assert_eq!(put(&mut s, [13, 0, 0, 2], 7), Ok(NONE), "TPIDRURW");
    assert_eq!(get(&mut s, [13, 0, 0, 2]), Ok(7));
    assert_eq!(get(&mut s, [13, 0, 0, 3]), Ok(0), "TPIDRURO");
    assert_eq!(put(&mut s, [13, 0, 0, 3], 7), Err(Undefined));
    assert_eq!(get(&mut s, [9, 0, 14, 0]), Ok(0), "PMUSERENR");
    for r in registers() {
        let gated = matches!(
            r.read,
            Who::Counters | Who::PhysTimer | Who::VirtTimer | Who::Monitors
        );
        if matches!(r.read, Who::Kernel) || gated {
            let bus = TestBus::default();
            assert_eq!(
                read(&mut s, &env(&bus), r.reg),
                Err(Undefined),
                "{}",
                r.name
            );
        }
    }
}

#[test]
fn the_kernel_opens_counters_and_monitors_to_user_mode() {
    let (mut s, bus) = (CpuState::reset(0), TestBus::default());
    let env = env(&bus);
    s.switch_mode(Mode::Usr);
    let open = |s: &mut CpuState, control: u32| {
        s.timer.kernel_control = control;
        [0, 1, 2, 3].map(|opc1| read64(s, &env, p15_64(opc1, 14)).is_ok())
    };
    assert_eq!(open(&mut s, 0), [false, false, false, false]);
    assert_eq!(open(&mut s, 1), [true, false, false, false]);
    assert_eq!(open(&mut s, 2), [false, true, false, false]);
    assert_eq!(open(&mut s, 1 << 8), [false, false, false, true]);
    assert_eq!(open(&mut s, 1 << 9), [false, false, true, false]);
    s.timer.kernel_control = 2;
    assert_eq!(get(&mut s, [14, 0, 0, 0]), Ok(62_500_000));
    assert_eq!(get(&mut s, [14, 0, 3, 1]), Err(Undefined));
    assert_eq!(get(&mut s, [9, 0, 13, 0]), Err(Undefined));
    s.pmu.user_enable = true;
    assert_eq!(get(&mut s, [9, 0, 13, 0]), Ok(0));
    assert_eq!(get(&mut s, [9, 0, 14, 1]), Err(Undefined), "PMINTENSET");
}

#[test]
fn timers_by_their_registers() {
    let (mut s, bus) = (CpuState::reset(0), TestBus::default());
    let env = env(&bus);
    let changed = Effects {
        timer: true,
        ..NONE
    };
    assert_eq!(read64(&mut s, &env, p15_64(0, 14)), Ok(1000));
    assert_eq!(read64(&mut s, &env, p15_64(1, 14)), Ok(1000));
    assert_eq!(put(&mut s, [14, 0, 3, 0], 50), Ok(changed));
    assert_eq!(read64(&mut s, &env, p15_64(3, 14)), Ok(1050));
    assert_eq!(put(&mut s, [14, 0, 3, 1], 7), Ok(changed));
    assert_eq!(get(&mut s, [14, 0, 3, 1]), Ok(3));
    assert_eq!(write64(&mut s, &env, p15_64(2, 14), 900), Ok(changed));
    assert_eq!(get(&mut s, [14, 0, 2, 0]), Ok((-100i32) as u32));
    assert_eq!(put(&mut s, [14, 0, 2, 1], 1), Ok(changed));
    assert_eq!(get(&mut s, [14, 0, 2, 1]), Ok(5));
    assert!(s.timer.lines(env.count).phys);
    assert_eq!(put(&mut s, [14, 0, 1, 0], u32::MAX), Ok(changed));
    assert_eq!(get(&mut s, [14, 0, 1, 0]), Ok(0x3ff));
    assert_eq!(write64(&mut s, &env, p15_64(0, 14), 0), Err(Undefined));
}

#[test]
fn pending_inputs_show_in_isr() {
    let (mut s, bus) = (CpuState::reset(0), TestBus::default());
    let mut env = env(&bus);
    env.irq = true;
    assert_eq!(read(&mut s, &env, CpReg::p15([12, 0, 1, 0])), Ok(1 << 7));
    env.fiq = true;
    assert_eq!(read(&mut s, &env, CpReg::p15([12, 0, 1, 0])), Ok(3 << 6));
}

#[test]
fn counters_show_retired_instructions() {
    let (mut s, bus) = (CpuState::reset(0), TestBus::default());
    put(&mut s, [9, 0, 12, 1], 1 << 31).unwrap();
    assert!(put(&mut s, [9, 0, 12, 0], 1).unwrap().pmu);
    let later = Env {
        cycles: 720,
        ..env(&bus)
    };
    assert_eq!(read(&mut s, &later, CpReg::p15([9, 0, 13, 0])), Ok(220));
}

#[test]
fn the_table_is_found_by_encoding() {
    let mut seen = BTreeSet::new();
    for r in registers() {
        let e = r.reg;
        assert!(seen.insert((e.coproc, e.crn, e.opc1, e.crm, e.opc2)));
        assert!(e.crn < 16 && e.crm < 16 && e.opc1 < 8 && e.opc2 < 8);
        let found = find(e).expect("listed registers exist");
        assert_eq!(found.reg, e);
        assert!(!matches!(found.kind, Kind::Operation(_)) || found.read == Who::Nobody);
        let other = CpReg { coproc: 13, ..e };
        assert!(find(other).is_none());
    }
}

#[test]
fn state_survives_a_snapshot() {
    let mut s = CpuState::reset(3);
    put(&mut s, [12, 0, 0, 0], 0x8000_0020).unwrap();
    put(&mut s, [9, 0, 12, 1], 1 << 31).unwrap();
    s.timer.virt.compare = u64::MAX;
    s.debug.note_event(DebugEvent::Bkpt, 0, false);
    let parts = (&s.cp15, &s.timer, &s.pmu, &s.debug);
    let text = serde_json::to_string(&parts).unwrap();
    let back = serde_json::from_str(&text).unwrap();
    let (cp15, timer, pmu, debug): (Cp15, _, _, _) = back;
    assert_eq!(parts, (&cp15, &timer, &pmu, &debug));
}

proptest! {
    /// Whatever a guest reads and writes, in whatever mode: no panic, and fixed registers stay
    /// fixed.
    #[test]
    fn any_access_is_answered(
        accesses in prop::collection::vec(
            (14u8..16, 0u8..8, 0u8..16, 0u8..16, 0u8..8, any::<u64>(), any::<bool>()), 1..60),
        count in any::<u64>(),
        cycles in any::<u64>(),
    ) {
        let bus = TestBus::default();
        let mut s = CpuState::reset(1);
        for (coproc, opc1, crn, crm, opc2, value, user) in accesses {
            s.switch_mode(if user { Mode::Usr } else { Mode::Svc });
            let env = Env { count, cycles, ..env(&bus) };
            let reg = CpReg { coproc, opc1, crn, crm, opc2 };
            let wide = CpReg64 { coproc, opc1, crm };
            let _ = write(&mut s, &env, reg, value as u32);
            let _ = read(&mut s, &env, reg);
            let _ = write64(&mut s, &env, wide, value);
            let _ = read64(&mut s, &env, wide);
            let _ = (s.pmu.line(cycles, true), s.pmu.next_overflow(false));
            let _ = (s.timer.next_deadline(count), s.timer.next_event(count));
        }
        s.switch_mode(Mode::Svc);
        prop_assert_eq!(s.cp15.sctlr & !sctlr::WRITABLE, sctlr::RESET & !sctlr::WRITABLE);
        prop_assert_eq!(get(&mut s, [0, 0, 0, 5]), Ok(0x8000_0001));
    }
}
