//! Operands against the pseudocode of DDI 0406C, written out anew.

use super::*;

/// Returns T32ExpandImm_C of A6.3.2: value and carry, with `carry_in` shown as [`ImmCarry::Keep`].
fn t32_model(imm12: u32) -> (u32, ImmCarry) {
    let byte = imm12 & 0xff;
    if imm12 >> 10 == 0 {
        let value = match imm12 >> 8 {
            0 => byte,
            1 => byte * 0x0001_0001,
            2 => byte * 0x0100_0100,
            _ => byte * 0x0101_0101,
        };
        return (value, ImmCarry::Keep);
    }
    let (unrotated, by) = (0x80 | imm12 & 0x7f, imm12 >> 7);
    let value = (0..by).fold(unrotated, |x, _| x >> 1 | (x & 1) << 31);
    (
        value,
        if value >> 31 == 1 {
            ImmCarry::Set
        } else {
            ImmCarry::Clear
        },
    )
}

#[test]
fn modified_immediates_expand_as_the_manual_says() {
    for imm12 in 0..0x1000 {
        let (value, carry) = t32_model(imm12);
        assert_eq!(
            (expand_t32_imm(imm12), t32_imm_carry(imm12)),
            (value, carry),
            "{imm12:#x}"
        );
        let rotated = (0..2 * (imm12 >> 8)).fold(imm12 & 0xff, |x, _| x >> 1 | (x & 1) << 31);
        assert_eq!(expand_a32_imm(imm12), rotated);
        let carry = match (imm12 >> 8, rotated >> 31) {
            (0, _) => ImmCarry::Keep,
            (_, 0) => ImmCarry::Clear,
            _ => ImmCarry::Set,
        };
        assert_eq!(a32_imm_carry(imm12), carry, "{imm12:#x}");
    }
}

#[test]
fn immediate_shifts_are_as_meant() {
    let shift = |kind, amount| (imm_shift(kind, amount), imm_amount(kind, amount));
    assert_eq!(shift(0, 0), (Shift::Lsl, 0));
    assert_eq!(shift(0, 31), (Shift::Lsl, 31));
    assert_eq!(shift(1, 0), (Shift::Lsr, 32));
    assert_eq!(shift(1, 5), (Shift::Lsr, 5));
    assert_eq!(shift(2, 0), (Shift::Asr, 32));
    assert_eq!(shift(3, 0), (Shift::Rrx, 1));
    assert_eq!(shift(3, 31), (Shift::Ror, 31));
}

#[test]
fn thumb_branch_offsets_reach_both_ends() {
    // B.W with all offset bits clear and J1 = J2 = 1 is a branch to PC.
    assert_eq!(t32_branch_offset(0, 1, 1, 0), 0);
    assert_eq!(t32_branch_offset(1, 1, 1, 0x1f_ffff), -2);
    assert_eq!(t32_branch_offset(1, 0, 0, 0), -(1 << 24));
    assert_eq!(t32_branch_offset(0, 0, 0, 0x1f_ffff), (1 << 24) - 2);
}

#[test]
fn sign_extension_keeps_the_low_bits() {
    assert_eq!(sext(0x80, 8), -128);
    assert_eq!(sext(0x7f, 8), 127);
    assert_eq!(sext(0x1ff, 8), -1);
    assert_eq!(sext(0x8000_0000, 32), i32::MIN);
}
