//! Words and halfwords at misaligned addresses: in normal memory as anywhere, elsewhere and with
//! SCTLR.A an alignment fault (DDI 0406C A3.2.1), whatever the TLB holds and whoever asks it.

mod common;

use std::sync::Arc;

use arm32::cluster::Cluster;
use arm32::core::Core;
use arm32::cp15::sctlr;
use arm32::cpu::CoreExit;
use arm32::state::{CpuState, Mode};
use common::{BASE, Firmware, FlatBus, RAM, TestClock};

/// Translation table, at a multiple of 16 KiB.
const TABLE: u64 = RAM + 0x1_0000;
/// The same megabyte of RAM as at [`BASE`], but strongly ordered.
const ORDERED: u32 = 0x5000_0000;
const CODE: u32 = BASE + 0x1000;
/// Where a misaligned word is loaded again and again.
const AGAIN: u32 = CODE + 0x100;
const DATA: u32 = BASE + 0x4000;
const VECTORS: u32 = BASE + 0x2000;
/// ldr r1, [r0]; ldrh r2, [r0]; str r3, [r4]; strh r3, [r4, #5]; b to the first
const ROUND: [u32; 5] = [
    0xe590_1000,
    0xe1d0_20b0,
    0xe584_3000,
    0xe1c4_30b5,
    0xeaff_fffa,
];
/// mcr p15, 0, r9, c1, c0, 0; b to the start of the round
const WRITE_SCTLR: [u32; 2] = [0xee01_9f10, 0xeaff_fff8];

/// Writes the tables, the program and some data.
fn prepare(bus: &FlatBus) {
    for (va, memory) in [(BASE, 0xc0e), (ORDERED, 0xc02)] {
        // A section that everybody may read and write, normal or strongly ordered (DDI 0406C
        // B3.5.1, B3.8.2).
        bus.write_words(TABLE + 4 * u64::from(va >> 20), &[BASE | memory]);
    }
    bus.write_words(CODE.into(), &ROUND);
    bus.write_words(u64::from(CODE) + 20, &WRITE_SCTLR);
    // ldr r1, [r0, #1]; b to it
    bus.write_words(AGAIN.into(), &[0xe590_1001, 0xeaff_fffd]);
    let bytes: Vec<u32> = (0..0x800)
        .map(|n| 0x0302_0100 + 0x0404_0404 * (n & 0x3f))
        .collect();
    bus.write_words(DATA.into(), &bytes);
}

fn begin(s: &mut CpuState) {
    (s.cp15.ttbr0, s.cp15.dacr) = (TABLE, 1);
    s.cp15.sctlr |= sctlr::M;
    s.cp15.vbar = VECTORS;
    (s.r[0], s.r[4], s.r[15]) = (DATA, DATA + 0x100, CODE);
}

/// Returns a core that runs the round for the first time, by the interpreter or as host code.
fn core(translate: bool) -> (Core, Arc<FlatBus>) {
    let bus = FlatBus::new();
    prepare(&bus);
    let mut core = Core::new(0, 1, bus.clone(), Arc::<TestClock>::default());
    if translate {
        core.translate_code_after(1).unwrap();
    }
    begin(&mut core.cpu.s);
    go_round(&mut core);
    (core, bus)
}

/// Runs the round some times, so that what it asks for is cached.
fn go_round(core: &mut Core) {
    assert_eq!(core.run(5 * 6), CoreExit::Budget);
}

/// Returns the fault that the core has taken, by DFSR and DFAR, and has it go round again.
fn fault(s: &mut CpuState) -> Option<(u32, u32)> {
    let found = (s.psr.mode == Mode::Abt).then_some((s.cp15.dfsr & 0x40f, s.cp15.dfar));
    (s.psr.mode, s.r[15]) = (Mode::Svc, CODE);
    found
}

const ALIGNMENT: u32 = 1;

#[test]
fn in_normal_memory_bytes_are_what_they_are_at() {
    for translate in [false, true] {
        let (mut core, bus) = core(translate);
        for (from, to) in [(1, 2), (3, 1), (0xffe, 0x1fff), (0xfff, 0x1ffd)] {
            let s = &mut core.cpu.s;
            (s.r[0], s.r[3], s.r[4]) = (DATA + from, 0x8070_6050 + from, DATA + 0x1000 + to);
            go_round(&mut core);
            assert_eq!(fault(&mut core.cpu.s), None);
            let byte = |at: u32| {
                let word = bus.word(u64::from(DATA + at) & !3);
                word >> (8 * (at % 4)) & 0xff
            };
            let bytes = |at: u32, count: u32| (0..count).map(|n| byte(at + n) << (8 * n)).sum();
            let s = &core.cpu.s;
            assert_eq!(
                (s.r[1], s.r[2]),
                (bytes(from, 4), bytes(from, 2)),
                "{from:#x}"
            );
            let stored: [u32; 2] = [bytes(0x1000 + to, 4), bytes(0x1005 + to, 2)];
            assert_eq!(stored, [s.r[3], s.r[3] & 0xffff], "{to:#x}");
        }
    }
}

#[test]
fn strongly_ordered_memory_faults_however_well_it_is_cached() {
    for translate in [false, true] {
        let (mut core, _) = core(translate);
        core.cpu.s.r[0] = DATA - BASE + ORDERED;
        go_round(&mut core);
        assert_eq!(fault(&mut core.cpu.s), None);
        core.cpu.s.r[0] += 2;
        core.run(1);
        let at = core.cpu.s.r[0];
        assert_eq!(fault(&mut core.cpu.s), Some((ALIGNMENT, at)));
        // A halfword there is aligned.
        core.cpu.s.r[15] = CODE + 4;
        core.run(1);
        assert_eq!(fault(&mut core.cpu.s), None);
    }
}

#[test]
fn with_sctlr_a_everything_faults_until_it_is_clear_again() {
    for translate in [false, true] {
        let (mut core, _) = core(translate);
        core.cpu.s.r[0] = DATA + 1;
        go_round(&mut core);
        assert_eq!(fault(&mut core.cpu.s), None);
        let plain = core.cpu.s.cp15.sctlr;
        for strict in [true, false, true] {
            let s = &mut core.cpu.s;
            (s.r[9], s.r[15]) = (plain | if strict { sctlr::A } else { 0 }, CODE + 20);
            // MCR, the branch, and the load.
            core.run(3);
            let wanted = strict.then_some((ALIGNMENT, DATA + 1));
            assert_eq!(fault(&mut core.cpu.s), wanted, "translated: {translate}");
        }
    }
}

/// What says that addresses may be misaligned is kept with the pages that are cached.
#[test]
fn a_restored_core_still_knows_where_addresses_may_be_misaligned() {
    let begun = || {
        let (bus, clock) = (FlatBus::new(), Arc::<TestClock>::default());
        prepare(&bus);
        let cores = Cluster::new(1, bus.clone(), clock);
        (cores, bus)
    };
    let (mut cores, bus) = begun();
    let s = cores.state_mut(0);
    begin(s);
    s.r[15] = AGAIN;
    cores.run(&mut Firmware::default(), 10);
    let saved = cores.save();
    let (mut restored, restored_bus) = begun();
    restored.restore(&saved).unwrap();
    for (cores, bus) in [(&mut cores, bus), (&mut restored, restored_bus)] {
        // The TLB still has what the tables have no more: whoever asked them would fault.
        bus.write_words(TABLE + 4 * u64::from(BASE >> 20), &[0]);
        bus.write_words(DATA.into(), &[0x8070_6050]);
        cores.run(&mut Firmware::default(), 10);
        let s = cores.state(0);
        assert_eq!((s.psr.mode, s.r[1]), (Mode::Svc, 0x0480_7060));
    }
}
