//! Whatever a core writes to memory that was restored, it tells: nothing else is copied back.

mod common;
mod programs;

use std::sync::Arc;

use arm32::bus::Bus;
use arm32::core::Core;
use common::{BASE, FlatBus, RAM, TestClock};
use programs::program;
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Where the program is, where its exceptions lead, and the first page of its data.
const CODE: u32 = BASE + 0x1000;
const VECTORS: u32 = BASE + 0x2000;
const DATA: u32 = BASE + 0x4000;
/// Bytes of its data.
const DATA_SIZE: u32 = 0x8000;
/// Bytes of RAM.
const SIZE: usize = 0x1_0000;

/// Returns a core at the beginning of a random program, whose registers have addresses of data.
fn begun(random: &mut impl RngCore) -> (Core, Arc<FlatBus>) {
    let bus = FlatBus::with_size(SIZE);
    let thumb = random.next_u32().is_multiple_of(3);
    let code: Vec<u32> = program(random, thumb)
        .chunks(2)
        .map(|pair| u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0xbf00)) << 16)
        .collect();
    bus.write_words(CODE.into(), &code);
    // ldr pc, [pc, #24]: all exceptions lead back to the program.
    bus.write_words(VECTORS.into(), &[0xe59f_f018; 8]);
    bus.write_words(u64::from(VECTORS) + 32, &[CODE | u32::from(thumb); 8]);
    let mut core = Core::new(0, 1, bus.clone(), Arc::<TestClock>::default());
    let s = &mut core.cpu.s;
    s.cp15.vbar = VECTORS;
    s.r[..15].fill_with(|| {
        let address = DATA + random.next_u32() % DATA_SIZE;
        // Most accesses must be aligned: the MMU is off.
        if random.next_u32().is_multiple_of(4) {
            address
        } else {
            address & !7
        }
    });
    s.fp.d.fill_with(|| random.next_u64());
    (s.fpexc, s.cp15.cpacr) = (1 << 30, 0x00f0_0000);
    s.set_cpsr(s.cpsr() & !0x20 | u32::from(thumb) << 5);
    s.r[15] = CODE;
    (core, bus)
}

/// Returns the numbers of the pages that differ, and of those that count as written.
fn compare(bus: &FlatBus, before: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let now = bus.bytes();
    let pages = before.chunks(4096).zip(now.chunks(4096));
    let changed = (0..).zip(pages).filter(|(_, (before, now))| before != now);
    let written = bus.code_pages().unwritten().written();
    (
        changed.map(|(number, _)| number).collect(),
        written
            .take_while(|number| (*number as usize) < SIZE / 4096)
            .collect(),
    )
}

#[test]
fn no_page_is_changed_in_silence_by_any_encoding_in_either_tier() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
    let (mut changes, mut idle) = (0, 0);
    for case in 0..2_000 {
        let (mut core, bus) = begun(&mut random);
        if case % 2 == 0 {
            core.translate_code_after(1 + case % 3).unwrap();
        }
        let mut before = bus.bytes();
        bus.code_pages().unwritten().forget();
        for _ in 0..3 {
            core.run(1 + u64::from(random.next_u32()) % 120);
            let (changed, written) = compare(&bus, &before);
            let told = changed.iter().all(|number| written.contains(number));
            assert!(
                told,
                "case {case}: {changed:?} changed, {written:?} were told"
            );
            changes += changed.len();
            idle += usize::from(written.is_empty());
            // As when the next machine begins, whose TLB is filled anew.
            core.cpu.tlb.flush_all();
            before = bus.bytes();
            bus.code_pages().unwritten().restored();
        }
    }
    assert!(changes > 500 && idle > 500, "{changes} {idle}");
}

/// A page takes the slow path once: for the TLB's entry that told of it, and for others of the same
/// page.
#[test]
fn stores_are_told_once() {
    let bus = FlatBus::with_size(SIZE);
    // str r0, [r1]; add r0, r0, #1; b .-8
    bus.write_words(RAM, &[0xe581_0000, 0xe280_0001, 0xeaff_fffc]);
    bus.code_pages().unwritten().forget();
    let mut core = Core::new(0, 1, bus.clone(), Arc::<TestClock>::default());
    (core.cpu.s.r[1], core.cpu.s.r[15]) = (DATA, BASE);
    assert!(core.cpu.tlb.write::<4>(DATA).is_none());
    core.run(9);
    assert!(core.cpu.tlb.write::<4>(DATA).is_some());
    let number = (DATA - BASE) / 4096;
    assert!(bus.code_pages().unwritten().written().any(|n| n == number));
    assert!(
        !bus.code_pages()
            .unwritten()
            .written()
            .any(|n| n == number + 1)
    );
}
