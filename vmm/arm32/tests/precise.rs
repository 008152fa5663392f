//! Aborts are precise, counts are exact, and memory outside RAM is an abort, never a panic.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]

mod common;

use arm32::cpu::CoreExit;
use arm32::state::Mode;
use common::{BASE, DEVICE, RAM_SIZE, core_with};

const END: u32 = BASE + RAM_SIZE as u32;

#[test]
fn a_load_multiple_that_runs_off_ram_changes_nothing_but_the_abort_registers() {
    let (mut core, _) = core_with(&[0xe8b0_00fe]); // ldmia r0!, {r1-r7}
    core.cpu.s.r[0] = END - 8;
    core.cpu.s.r[1] = 77;
    assert_eq!(core.run(1), CoreExit::Budget);
    let s = &core.cpu.s;
    assert_eq!(s.psr.mode, Mode::Abt);
    assert_eq!((s.r[0], s.r[1], s.r[15]), (END - 8, 77, 0x10));
    assert_eq!(s.r[14], BASE + 8);
    assert_eq!((s.cp15.dfar, s.cp15.dfsr & 0x40f), (END, 8));
}

#[test]
fn a_store_across_the_end_of_ram_writes_no_byte() {
    let (mut core, bus) = core_with(&[0xe580_1000]); // str r1, [r0], unaligned: MMU off is strongly ordered
    core.cpu.s.r[0] = END - 2;
    core.cpu.s.r[1] = !0;
    core.run(1);
    assert_eq!(core.cpu.s.psr.mode, Mode::Abt);
    assert_eq!(bus.word(u64::from(END) - 4), 0);
}

#[test]
fn undefined_instructions_trap_and_count() {
    let (mut core, _) = core_with(&[0xe3a0_0001, 0xe7f0_00f0]); // mov r0, #1; udf #0
    core.run(2);
    let s = &core.cpu.s;
    assert_eq!(
        (s.psr.mode, s.r[14], s.r[15], s.retired),
        (Mode::Und, BASE + 8, 4, 2)
    );
}

#[test]
fn nowhere_to_fetch_from_still_uses_up_the_budget() {
    let (mut core, _) = core_with(&[]);
    core.cpu.s.r[15] = 0x2000_0000;
    assert_eq!(core.run(1000), CoreExit::Budget);
    assert_eq!(core.cpu.s.retired, 1000);
}

#[test]
fn devices_see_each_access_once() {
    let (mut core, _) = core_with(&[0xe590_1000, 0xe590_2000]); // ldr r1, [r0]; ldr r2, [r0]
    core.cpu.s.r[0] = DEVICE as u32;
    core.run(2);
    assert_eq!((core.cpu.s.r[1], core.cpu.s.r[2]), (0, 1));
}

#[test]
fn user_mode_cannot_touch_the_system() {
    for word in [0xf10c_0080u32, 0xee11_0f10, 0xe140_0070] {
        // cpsid i (ignored), mrc sctlr, hvc #0 (undefined)
        let (mut core, _) = core_with(&[word]);
        let cpsr = core.cpu.s.cpsr();
        core.cpu.s.set_cpsr((cpsr & !0xdf) | 0x10);
        core.cpu.select_tlb();
        core.run(1);
        let s = &core.cpu.s;
        if word == 0xf10c_0080 {
            assert_eq!((s.psr.mode, s.psr.irq_masked), (Mode::Usr, false));
        } else {
            assert_eq!(s.psr.mode, Mode::Und, "{word:#x}");
        }
    }
}
