//! Copies of 64-bit cores: what comes in goes out, and what lies between.

#![expect(
    clippy::cast_possible_truncation,
    reason = "each register is told of with no more bits than it has"
)]

use std::sync::Arc;

use arm32::Power;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::super::tests::assert_passes_on;
use super::super::{Mirror, RegisterValues, spec};
use crate::vcpu::aarch64::Aarch64Cores;
use vmm_devices::ram::GuestRam;

const RAM: u64 = 0x4000_0000;
/// PSTATE in EL1 with its own stack pointer, and in EL0.
const KERNEL: u128 = 0x6000_0005;
const PROGRAM: u128 = 0x8000_0000;
const VECTORS: u128 = 0xffff_8000_0801_0800;
const PC: u128 = 0xffff_8000_0802_0004;

fn copies() -> (Aarch64Cores, Arc<GuestRam>) {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), 1 << 20)]).unwrap();
    let ram = Arc::new(ram);
    (Aarch64Cores::new(2, Arc::clone(&ram)), ram)
}

/// Creates a core, every register different.
fn registers(copies: &Aarch64Cores, pstate: u128) -> RegisterValues {
    let numbered = (0..).zip(copies.wanted());
    let mut registers: RegisterValues = numbered.map(|(n, id)| (id, 0x1000 + n)).collect();
    let special = [
        (spec::PSTATE, pstate),
        (spec::SCTLR, 0),
        (spec::PC, PC),
        (spec::VBAR, VECTORS),
    ];
    registers.extend(special);
    registers
}

#[test]
fn registers_are_where_kvm_has_them() {
    let (mut copies, _) = copies();
    let given = registers(&copies, KERNEL);
    copies.load(1, &given, Power::Off);
    let s = copies.state(1);
    assert_eq!(u128::from(s.x[30]), given[&spec::x(30)]);
    assert_eq!(u128::from(s.sp()), given[&spec::SP_EL1]);
    assert_eq!(u128::from(s.spsr), given[&spec::spsr(0)]);
    assert_eq!(s.v[31], given[&spec::v(31)]);
    assert_eq!(u128::from(copies.pc(1)), PC);
    assert_eq!(copies.power(1), Power::Off);
    // What a debugger's own step leaves in the state is not shown.
    let stepped = registers(&copies, KERNEL | u128::from(spec::SINGLE_STEP));
    copies.load(0, &stepped, Power::Running);
    assert!(!copies.state(0).pstate.single_step());
}

#[test]
fn wishes_are_passed_on() {
    let (mut copies, _) = copies();
    copies.insert_breakpoint(PC as u64);
    copies.set_step(1, true);
    copies.set_held(0, true);
    assert_passes_on(&mut copies, PC as u64);
}

#[test]
fn addresses_are_found_by_the_guests_tables() {
    let (mut copies, ram) = copies();
    let mut given = registers(&copies, KERNEL);
    copies.load(0, &given, Power::Running);
    assert_eq!(copies.locate(0, RAM), None, "nothing is mapped yet");
    // One level of tables for 25 bits of pages of 64 KiB.
    ram.write_obj(RAM | 0x5_0003, GuestAddress(RAM + 8 * 3))
        .unwrap();
    given.insert(spec::SCTLR, 1);
    given.insert(spec::TTBR1, RAM.into());
    given.insert(spec::TCR, 3 << 30 | 39 << 16);
    copies.load(0, &given, Power::Running);
    let va = !0 << 25 | 0x3_1234;
    assert_eq!(copies.locate(0, va), Some(RAM + 0x5_1234));
    assert_eq!(copies.locate(0, va + 0x1_0000), None);
}

#[test]
fn breakpoint_instructions_stop_in_every_state() {
    let (mut copies, _) = copies();
    let mut load = |pstate| {
        let given = registers(&copies, pstate);
        copies.load(0, &given, Power::Running);
        let ours = copies.trap(0, PC as u64);
        let code = |word: u32| copies.is_trap(0, word.to_le_bytes());
        let ours = code(u32::from_le_bytes(ours.try_into().unwrap()));
        // BRK of WARN, BKPT in A32, BKPT in T32, NOP in A64.
        (
            ours,
            [0xd421_0000, 0xe120_0070, 0xbe01, 0xd503_201f].map(code),
        )
    };
    assert_eq!(load(KERNEL), (true, [true, false, false, false]));
    assert_eq!(load(PROGRAM), (true, [true, false, false, false]));
    assert_eq!(load(0x10), (false, [false, true, false, false]));
    assert_eq!(load(0x30), (false, [false, false, true, false]));
}

#[test]
fn a_guests_own_breakpoint_is_an_exception_in_it() {
    let (mut copies, _) = copies();
    for (pstate, code, vector, syndrome, after) in [
        // SPAN is clear in the first: programs' memory is out of reach then.
        (KERNEL, 0xd421_0000_u32, 0x200, 0xf200_0800, 0x6040_03c5),
        (KERNEL & !1, 0xd421_0000, 0, 0xf200_0800, 0x6040_03c5),
        (PROGRAM, 0xd420_0020, 0x400, 0xf200_0001, 0x8040_03c5),
        (0x8000_0010, 0xe120_1274, 0x600, 0xe200_0124, 0x8040_03c5),
        (0x8000_0030, 0xbe07, 0x600, 0xe000_0007, 0x8040_03c5_u128),
    ] {
        let given = registers(&copies, pstate);
        copies.load(0, &given, Power::Running);
        copies.take_own_trap(0, code.to_le_bytes());
        let out = copies.store(0);
        assert_eq!(out[&spec::PC], VECTORS + vector, "{code:#x}");
        assert_eq!(out[&spec::PSTATE], after, "{code:#x}");
        assert_eq!(out[&spec::ELR_EL1], PC);
        assert_eq!(out[&spec::SPSR_EL1], pstate);
        assert_eq!(out[&spec::ESR], syndrome, "{code:#x}");
    }
}

#[test]
fn interrupts_wait_while_one_instruction_is_executed() {
    let (mut copies, _) = copies();
    let given = registers(&copies, KERNEL | 0x300);
    copies.load(0, &given, Power::Running);
    // mrs x2, daif; msr daif, x2; msr daifset, #2; msr daifclr, #15; eret; eretaa; eretab
    for masks in [
        0xd53b_4222,
        0xd51b_4222,
        0xd503_42df,
        0xd503_4fff,
        0xd69f_03e0,
        0xd69f_0bff,
        0xd69f_0fff_u32,
    ] {
        assert_eq!(copies.mask(0, masks.to_le_bytes()), None, "{masks:#x}");
    }
    // stp x29, x30, [sp, #-16]!; and what only looks like the others: mrs x2, nzcv; msr spsel, #1;
    // ret
    for plain in [0xa9bf_7bfd, 0xd53b_4202, 0xd500_41bf, 0xd65f_03c0_u32] {
        let masked = copies.mask(0, plain.to_le_bytes()).unwrap();
        assert_eq!(copies.store(0)[&spec::PSTATE], 0x6000_03c5);
        copies.unmask(0, masked);
        assert_eq!(copies.store(0)[&spec::PSTATE], 0x6000_0305);
    }
    // It made an abort, which has saved the masks.
    let push = 0xa9bf_7bfd_u32.to_le_bytes();
    let masked = copies.mask(0, push).unwrap();
    copies.take_own_trap(0, push);
    copies.unmask(0, masked);
    let out = copies.store(0);
    assert_eq!(out[&spec::SPSR_EL1], 0x6000_0305);
    assert_eq!(out[&spec::PSTATE] & 0xc0, 0xc0);
}

proptest! {
    /// What observers leave alone comes back as it came.
    #[test]
    fn what_is_loaded_is_stored(words in prop::collection::vec(any::<u64>(), 100)) {
        let (mut copies, _) = copies();
        let wanted = copies.wanted();
        let mut given: RegisterValues = wanted.iter().copied().zip(words.iter().map(|w| u128::from(*w))).collect();
        prop_assert_eq!(given.len(), wanted.len());
        given.insert(spec::PSTATE, u128::from(words[0]) & !u128::from(spec::SINGLE_STEP));
        for id in [spec::FPSR, spec::FPCR] {
            given.insert(id, u128::from(words[1] as u32));
        }
        copies.load(1, &given, Power::Running);
        prop_assert_eq!(copies.store(1), given);
    }
}
