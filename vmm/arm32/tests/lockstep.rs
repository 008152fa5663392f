//! Two clusters in lockstep: what one has predecoded, the other has not.
//!
//! Programs are random, and do what makes it hard to know what code is: they overwrite themselves,
//! map other pages in place of those that they run in, with and without maintenance, take
//! exceptions into themselves, change between A32 and T32, and do all of that on two cores at once.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]

mod common;

use std::sync::Arc;

use arm32::cluster::Cluster;
use arm32::state::CpuState;
use common::{BASE, Firmware, FlatBus, RAM, TestClock};
use proptest::prelude::*;

/// First-level table, and the second-level table of the megabyte of RAM.
const TABLE: u64 = RAM + 0x4000;
const SECOND: u64 = RAM + 0x8000;
/// Pages of random code.
const CODE: u32 = BASE + 0x1_0000;
const PAGES: u32 = 4;
/// Words of code in each.
const WORDS: u32 = 48;
/// Pages that these may become.
const OTHERS: u32 = BASE + 0x2_0000;

/// One word of a program, from a few random bits.
fn word(kind: u8, bits: u32) -> u32 {
    let field = |shift: u32, mask: u32| bits >> shift & mask;
    // R0 to R7 hold data; R8 to R12 are bases, which nothing here writes.
    let (rd, rn, rm) = (field(0, 7), field(3, 7), field(6, 7));
    let base = 8 + field(9, 3);
    let offset = field(11, 63) * 4;
    let cond = [0xe, 0xe, 0, 1, 0xa, 3][field(17, 0xff) as usize % 6];
    if kind % 20 == 19 && field(20, 3) == 0 {
        // vadd.i32 or veor Qd, Qn, Qm, which have no condition
        let registers = rn << 17 | rd << 13 | rm << 1;
        return [0xf220_0840, 0xf300_0150][field(22, 1) as usize] | registers;
    }
    let body = match kind % 20 {
        0 | 1 => {
            let op = [1, 2, 4, 5, 10, 12, 13, 15][field(20, 7) as usize];
            op << 21 | 1 << 20 | rn << 16 | rd << 12 | rm
        }
        2 => 0x03a0_0000 | rd << 12 | field(20, 0xff),
        3 | 4 => 0x0580_0000 | base << 16 | rd << 12 | offset,
        5 => 0x0590_0000 | base << 16 | rd << 12 | offset,
        6 => 0x05c0_0000 | base << 16 | rd << 12 | offset | field(20, 3),
        7 => 0x0880_0000 | base << 16 | (1 + field(20, 14)),
        // A copy of an instruction of the program, put elsewhere in it.
        8 => 0x0590_7000 | base << 16 | offset,
        9 => 0x0580_7000 | base << 16 | offset,
        10 | 11 => 0x0a00_0000 | (field(20, 31).wrapping_sub(16) & 0xff_ffff),
        // TLBIMVA, TLBIALL, ICIALLU, ISB by coprocessor, DACR
        12 => [
            0x0e08_bf37,
            0x0e08_0f17,
            0x0e07_0f15,
            0x0e07_0f95,
            0x0e03_5f10,
        ][field(20, 7) as usize % 5],
        // Another page in place of one: R11 is in the table, R6 a descriptor.
        13 => 0x058b_6000 | (field(20, 3) * 4),
        14 => [0x0f00_0000, 0x012f_ff1c, 0x0198_0f9f, 0x0188_1f92][field(20, 3) as usize],
        15 => 0x0320_f001,
        // vldr and vstr of doubles and singles
        16 => 0x0d90_0b00 | base << 16 | rd << 12 | offset >> 2,
        17 => 0x0d80_0a00 | field(20, 1) << 8 | base << 16 | rd << 12 | offset >> 2,
        // vadd.f64, vmul.f64, vmov between a core register and a single one, vcmp.f64, vmrs
        18 => match field(20, 7) {
            0 | 1 => 0x0e30_0b00 | rn << 16 | rd << 12 | rm,
            2 => 0x0e20_0b00 | rn << 16 | rd << 12 | rm,
            3 => 0x0e00_0a10 | rn << 16 | rd << 12,
            4 => 0x0e10_0a10 | rn << 16 | rd << 12,
            5 => 0x0eb4_0b40 | rd << 12 | rm,
            _ => 0x0ef1_fa10,
        },
        // FPEXC and CPACR, of values that enable VFP or not
        _ => match field(20, 7) {
            1 => 0x0ee8_0a10 | rd << 12,
            2 => 0x0e01_0f50 | rd << 12,
            3 => 0x03a0_0101 | rd << 12,
            _ => 0x03a0_060f | rd << 12,
        },
    };
    cond << 28 | body
}

fn prepare(bus: &FlatBus, words: &[(u8, u32)]) {
    let small = |page: u32| page | 0x3e;
    bus.write_words(TABLE + 0x400 * 4, &[SECOND as u32 | 1]);
    let pages: Vec<u32> = (0..256).map(|n| small(BASE + n * 0x1000)).collect();
    bus.write_words(SECOND, &pages);
    for (n, part) in (0..).zip(words.chunks(WORDS as usize)) {
        let mut code: Vec<u32> = part.iter().map(|(kind, bits)| word(*kind, *bits)).collect();
        // Back to the start of this page, or on to the next.
        code.push(0xea00_0000 | (WORDS + 2).wrapping_neg() & 0xff_ffff);
        let page = if n < PAGES {
            CODE + n * 0x1000
        } else {
            OTHERS + (n - PAGES) * 0x1000
        };
        bus.write_words(page.into(), &code);
        // The end of a page, from which T32 crosses into the next.
        bus.write_words(u64::from(page) + 0xffc, &[code[0]]);
    }
}

fn start(s: &mut CpuState, core: u32) {
    (s.cp15.ttbr0, s.cp15.dacr) = (TABLE, 1);
    s.cp15.vbar = CODE + 0x1000;
    s.cp15.sctlr |= 1;
    let page = CODE + core * 0x1000;
    s.r[8..13].copy_from_slice(&[
        page,
        CODE + 0x1000,
        OTHERS,
        SECOND as u32 + 0x40,
        CODE + 0x2ffd,
    ]);
    (s.r[5], s.r[6], s.r[13]) = (1 | core << 2, OTHERS | 0x3e, BASE + 0xf000);
    s.r[15] = page;
    (s.fpexc, s.cp15.cpacr) = (1 << 30, 0xf << 20);
    s.fp.fpscr = 0x10;
}

fn cluster(bus: &Arc<FlatBus>, clock: &Arc<TestClock>) -> Cluster {
    Cluster::new(2, bus.clone(), clock.clone())
}

/// A program in memory of its own, and its cores.
fn begun(words: &[(u8, u32)]) -> (Cluster, Arc<FlatBus>, Arc<TestClock>) {
    let (bus, clock) = (FlatBus::new(), Arc::<TestClock>::default());
    prepare(&bus, words);
    let mut cores = cluster(&bus, &clock);
    // HVC #1: core 0 switches core 1 on.
    bus.write_words(RAM, &[0xe140_0071]);
    let s = cores.state_mut(0);
    (s.r[1], s.r[2], s.r[15]) = (1, CODE, BASE);
    cores.run(&mut Firmware::default(), 1);
    for core in 0..2 {
        start(cores.state_mut(core), core as u32);
    }
    // As whoever sets up a state does: what was cached of the old one goes.
    let state = cores.save();
    cores.restore(&state).unwrap();
    (cores, bus, clock)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 40 } else { 400 }))]

    #[test]
    fn a_restored_cluster_goes_on_as_the_one_that_it_was_saved_from(
        words in prop::collection::vec((any::<u8>(), any::<u32>()), (2 * PAGES * WORDS) as usize),
        pieces in prop::collection::vec(1u64..300, 1..60),
    ) {
        let (mut warm, warm_bus, _) = begun(&words);
        let (mut cold, cold_bus, cold_clock) = begun(&words);
        for piece in pieces {
            let stop = warm.run(&mut Firmware::default(), piece);
            prop_assert_eq!(stop, cold.run(&mut Firmware::default(), piece));
            let state = cold.save();
            prop_assert_eq!(&warm.save(), &state);
            cold = cluster(&cold_bus, &cold_clock);
            cold.restore(&state).unwrap();
        }
        prop_assert_eq!(warm_bus.bytes(), cold_bus.bytes());
    }

    #[test]
    fn a_translating_cluster_does_what_an_interpreting_one_does(
        words in prop::collection::vec((any::<u8>(), any::<u32>()), (2 * PAGES * WORDS) as usize),
        pieces in prop::collection::vec(1u64..300, 1..60),
        threshold in 1u32..4,
    ) {
        let (mut plain, plain_bus, _) = begun(&words);
        let (mut translating, bus, _) = begun(&words);
        translating.translate_code_after(threshold).unwrap();
        for piece in pieces {
            let stop = plain.run(&mut Firmware::default(), piece);
            prop_assert_eq!(stop, translating.run(&mut Firmware::default(), piece));
            prop_assert_eq!(&plain.save(), &translating.save());
        }
        prop_assert_eq!(plain_bus.bytes(), bus.bytes());
    }
}
