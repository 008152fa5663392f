//! The cache of predecoded code never shows: cold or warm, in one run or in pieces, a program does
//! the same.

mod common;

use arm32::cpu::CoreExit;
use arm32::state::Mode;
use common::{BASE, PROGRAM, RAM, core_with};
use proptest::prelude::*;

fn started() -> (arm32::core::Core, std::sync::Arc<common::FlatBus>) {
    let (mut core, bus) = core_with(PROGRAM);
    core.cpu.s.r[13] = BASE + 0x8000;
    (core, bus)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_make_the_whole(pieces in prop::collection::vec((1u64..700, any::<bool>()), 1..40)) {
        let total = pieces.iter().map(|(n, _)| n).sum();
        let (mut whole, whole_bus) = started();
        prop_assert_eq!(whole.run(total), CoreExit::Budget);
        let (mut parts, parts_bus) = started();
        for (n, forget) in pieces {
            prop_assert_eq!(parts.run(n), CoreExit::Budget);
            if forget {
                parts.forget_code();
            }
        }
        prop_assert_eq!(whole.cpu.s.retired, total);
        prop_assert_eq!(&whole.cpu.s, &parts.cpu.s);
        prop_assert_eq!(whole_bus.bytes(), parts_bus.bytes());
    }
}

/// Returns R0 after `instructions` of the program.
fn r0_after(program: &[u32], instructions: u64) -> u32 {
    let (mut core, _) = core_with(program);
    core.run(instructions);
    core.cpu.s.r[0]
}

/// Overwrites `mov r0, #1` by `mov r0, #2`, without the maintenance that the architecture asks for.
#[test]
fn overwritten_code_runs_as_written() {
    let program = [
        0xeb00_0005, //       bl   code     (predecodes it)
        0xe28f_1010, //       add  r1, pc, #16    address of code
        0xe59f_2014, //       ldr  r2, =0xe3a00002
        0xe581_2000, //       str  r2, [r1]
        0xeb00_0001, //       bl   code
        0xeaff_fffe, //       b    .
        0xe1a0_0000, //       nop
        0xe3a0_0001, // code: mov  r0, #1
        0xe12f_ff1e, //       bx   lr
        0xe3a0_0002, //          literal
    ];
    assert_eq!(r0_after(&program, 40), 2);
}

/// An instruction overwrites the one after it, in the block that both are in.
#[test]
fn the_next_instruction_may_be_the_one_that_was_written() {
    let program = [
        0xe59f_200c, //       ldr  r2, =0xe3a00002
        0xe58f_2000, //       str  r2, [pc]       code
        0xe1a0_0000, //       nop
        0xe3a0_0001, // code: mov  r0, #1
        0xeaff_fffe, //       b    .
        0xe3a0_0002, //          literal
    ];
    assert_eq!(r0_after(&program, 8), 2);
}

/// A device writes: nothing but the map of code pages tells of it.
#[test]
fn what_a_device_writes_runs() {
    let (mut core, bus) = core_with(&[
        0xe3a0_0001, // loop: mov  r0, #1
        0xeaff_fffd, //       b    loop
    ]);
    core.run(9);
    assert_eq!(core.cpu.s.r[0], 1);
    bus.write_words(RAM, &[0xe3a0_0007]);
    core.run(2);
    assert_eq!(core.cpu.s.r[0], 7);
}

/// Data beside code is written at every turn of a loop: the code stays.
#[test]
fn data_beside_code_is_no_code() {
    let (mut core, bus) = core_with(&[
        0xe280_0001, // loop: add  r0, r0, #1
        0xe58f_0000, //       str  r0, [pc]
        0xeaff_fffc, //       b    loop
        0,           //          data
    ]);
    core.run(30_000);
    assert_eq!(bus.word(RAM + 12), 10_000);
}

/// A branch from a page that both privilege levels execute to one that only the kernel does: having
/// taken it as the kernel does not let a user follow.
#[test]
fn a_branch_warmed_by_the_kernel_takes_no_user_along() {
    const SHARED: u32 = BASE + 0x1_0000;
    const TABLE: u64 = RAM + 0x4000;
    const SECOND: u32 = BASE + 0x8000;
    let (mut core, bus) = core_with(&[]);
    bus.write_words(SHARED.into(), &[0xea00_03fe]); // b SHARED + 0x1000
    bus.write_words(u64::from(SHARED) + 0x1000, &[0xeaff_fffe]); // b .
    bus.write_words(TABLE + 0x400 * 4, &[SECOND | 1]);
    // Small pages, Normal memory: AP 0b11 for the first, 0b01 for the second.
    bus.write_words(
        u64::from(SECOND) + 0x10 * 4,
        &[SHARED | 0x3e, (SHARED + 0x1000) | 0x1e],
    );
    let s = &mut core.cpu.s;
    (s.cp15.ttbr0, s.cp15.dacr) = (TABLE, 1);
    s.cp15.sctlr |= 1;
    s.r[15] = SHARED;
    assert_eq!(core.run(4), CoreExit::Budget);
    assert_eq!(core.cpu.s.r[15], SHARED + 0x1000);

    let cpsr = core.cpu.s.cpsr();
    core.cpu.s.set_cpsr((cpsr & !0xdf) | 0x10);
    core.cpu.s.r[15] = SHARED;
    core.cpu.select_tlb();
    core.run(2);
    let s = &core.cpu.s;
    assert_eq!(s.psr.mode, Mode::Abt);
    assert_eq!((s.cp15.ifsr, s.cp15.ifar), (0x00f, SHARED + 0x1000));
}
