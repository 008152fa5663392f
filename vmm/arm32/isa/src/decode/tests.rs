//! Words with known meaning.

use super::*;
use crate::types::*;

fn a32(word: u32) -> Insn {
    decode_a32(word).insn
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is two halfwords"
)]
fn t32(word: u32) -> Insn {
    decode_t32((word >> 16) as u16, word as u16, false).insn
}

fn t16(word: u16, in_it: bool) -> Insn {
    decode_t32(word, 0, in_it).insn
}

#[test]
fn both_sets_make_the_same_instruction() {
    // add r0, r1, r2, lsl #3
    assert_eq!(a32(0xe081_0182), t32(0xeb01_00c2));
    // ldr r3, [r4], #-8
    assert_eq!(a32(0xe414_3008), t32(0xf854_3908));
    // smlabt r1, r2, r3, r4
    assert_eq!(a32(0xe101_43c2), t32(0xfb12_4113));
    // mrc p15, 0, r0, c1, c0, 0
    assert_eq!(a32(0xee11_0f10), t32(0xee11_0f10));
    // ldmdb r3!, {r0, r1}
    assert_eq!(a32(0xe933_0003), t32(0xe933_0003));
    // dmb ish
    assert_eq!(a32(0xf57f_f05b), t32(0xf3bf_8f5b));
    // movw r5, #0xabcd
    assert_eq!(a32(0xe30a_5bcd), t32(0xf64a_35cd));
}

#[test]
fn flags_of_narrow_instructions_follow_the_it_block() {
    let adds = |s| Insn::DpReg {
        op: DpOp::Add,
        s,
        rd: 0,
        rn: 1,
        rm: 2,
        shift: Shift::Lsl,
        amount: 0,
    };
    assert_eq!(t16(0x1888, false), adds(true));
    assert_eq!(t16(0x1888, true), adds(false));
    // cmp r1, #5 sets them in any case.
    assert!(matches!(
        t16(0x2905, true),
        Insn::DpImm {
            op: DpOp::Cmp,
            s: true,
            ..
        }
    ));
    // add r8, r9 never does.
    assert!(matches!(
        t16(0x44c8, false),
        Insn::DpReg {
            op: DpOp::Add,
            s: false,
            rd: 8,
            ..
        }
    ));
}

#[test]
fn conditions_come_with_the_instruction() {
    assert_eq!(decode_a32(0x1a00_0000).cond, Cond::Ne);
    assert_eq!(decode_a32(0xea00_0000).cond, Cond::Al);
    assert_eq!(decode_t32(0xd001, 0, false).cond, Cond::Eq);
    assert_eq!(decode_t32(0xf300, 0x8000, false).cond, Cond::Gt);
    assert_eq!(decode_t32(0xe001, 0, false).cond, Cond::Al);
}

#[test]
fn branches_are_relative_to_the_architectural_pc() {
    assert_eq!(a32(0xeaff_fffe), Insn::B { offset: -8 });
    assert_eq!(
        a32(0xfbff_fffe),
        Insn::Bl {
            offset: -6,
            exchange: true
        }
    );
    assert_eq!(t16(0xe7fe, false), Insn::B { offset: -4 });
    assert_eq!(
        t32(0xf7ff_fffe),
        Insn::Bl {
            offset: -4,
            exchange: false
        }
    );
    assert_eq!(
        t32(0xf7ff_effe),
        Insn::Bl {
            offset: -4,
            exchange: true
        }
    );
    // b.w at the end of the range of the conditional form
    assert_eq!(t32(0xf000_8000), Insn::B { offset: 0 });
    assert_eq!(t32(0xf43f_afff), Insn::B { offset: -2 });
    // cbnz r3 with all offset bits set
    assert_eq!(
        t16(0xbbfb, false),
        Insn::Cbz {
            nonzero: true,
            rn: 3,
            offset: 126
        }
    );
}

#[test]
fn exception_returns_are_data_processing_with_s_and_pc() {
    // subs pc, lr, #4
    let insn = |imm| Insn::DpImm {
        op: DpOp::Sub,
        s: true,
        rd: 15,
        rn: 14,
        imm,
        carry: ImmCarry::Keep,
    };
    assert_eq!(a32(0xe25e_f004), insn(4));
    assert_eq!(t32(0xf3de_8f04), insn(4));
    assert_eq!(t32(0xf3de_8f00), Insn::Eret);
    // ldm sp!, {r0, pc}^
    assert!(matches!(
        a32(0xe8fd_8001),
        Insn::Ldm {
            user: true,
            list: 0x8001,
            ..
        }
    ));
}

#[test]
fn thumb_load_multiple_writes_back_unless_it_loads_the_base() {
    assert!(matches!(
        t16(0xc903, false),
        Insn::Ldm {
            rn: 1,
            list: 3,
            wback: false,
            ..
        }
    ));
    assert!(matches!(
        t16(0xc905, false),
        Insn::Ldm {
            rn: 1,
            list: 5,
            wback: true,
            ..
        }
    ));
    // push {r4, lr} and pop {r4, pc}
    assert!(matches!(
        t16(0xb510, false),
        Insn::Stm {
            rn: 13,
            list: 0x4010,
            ..
        }
    ));
    assert!(matches!(
        t16(0xbd10, false),
        Insn::Ldm {
            rn: 13,
            list: 0x8010,
            ..
        }
    ));
}

#[test]
fn holes_and_later_instructions_are_undefined() {
    for word in [
        0xe7e0_00f0, // between UBFX and UDF
        0xe190_0c9f, // ldaex
        0xe101_0042, // crc32b
        0xe8b0_0000, // ldm r0!, {}
        0xe1c0_10d0, // ldrd r1, ...
        0xf000_0fff, // no unconditional instruction
    ] {
        assert_eq!(a32(word), Insn::Undefined, "{word:#x}");
    }
    assert_eq!(t32(0xf3af_8220), Insn::Undefined, "CPS with imod 01");
    assert_eq!(t16(0xba80, false), Insn::Undefined, "HLT");
    assert_eq!(t16(0xb400, false), Insn::Undefined, "PUSH of nothing");
}

#[test]
fn sysm_of_banked_registers_is_m_and_m1() {
    // mrs r0, lr_usr (M1 = 6), mrs r1, spsr_fiq (R = 1, M1 = 14), msr sp_hyp, r2 (M = 1, M1 = 15)
    assert_eq!(
        a32(0xe106_0200),
        Insn::MrsBanked {
            rd: 0,
            spsr: false,
            sysm: 6
        }
    );
    assert_eq!(
        a32(0xe14e_1200),
        Insn::MrsBanked {
            rd: 1,
            spsr: true,
            sysm: 14
        }
    );
    assert_eq!(
        a32(0xe12f_f302),
        Insn::MsrBanked {
            rn: 2,
            spsr: false,
            sysm: 31
        }
    );
    assert_eq!(
        t32(0xf3e6_8020),
        Insn::MrsBanked {
            rd: 0,
            spsr: false,
            sysm: 6
        }
    );
}
