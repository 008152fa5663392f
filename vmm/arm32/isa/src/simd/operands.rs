//! Functions that table rows call to make operands of VFP and Advanced SIMD instructions.

/// Returns a register number, single or double.
pub(crate) const fn fpreg(double: u32, x: u32, v: u32) -> u32 {
    if double != 0 {
        dreg(x, v)
    } else {
        (v << 1) | x
    }
}

/// Returns a doubleword register number: the extra bit is the top one.
pub(crate) const fn dreg(x: u32, v: u32) -> u32 {
    (x << 4) | v
}

/// Returns the size (0 to 3) of the lanes in a shift amount L:imm6: the place of its highest one.
pub(crate) const fn shift_size(imm: u32) -> u32 {
    match imm >> 3 & 15 {
        // The rows of shifts exclude 0, where instructions with a modified immediate are.
        0 | 1 => 0,
        2 | 3 => 1,
        4..=7 => 2,
        _ => 3,
    }
}

/// Returns a right shift, 1 to the lane size.
pub(crate) const fn shift_right(imm: u32) -> u32 {
    (16 << shift_size(imm)) - imm
}

/// Returns a left shift, 0 to the lane size less one.
pub(crate) const fn shift_left(imm: u32) -> u32 {
    // The highest one of `imm` is the lane size, so that this is not negative.
    imm - (8 << shift_size(imm))
}

/// Returns the immediate that AdvSIMDExpandImm makes (DDI 0406C A7.4.6).
pub(crate) const fn expand_neon_imm(op: u32, cmode: u32, imm: u32) -> u64 {
    let byte = imm as u64;
    let words = 0x1_0000_0001;
    let halves = 0x1_0001_0001_0001;
    match (cmode >> 1, cmode & 1, op) {
        (0..=3, _, _) => (byte << (8 * (cmode >> 1))) * words,
        (4 | 5, _, _) => (byte << (8 * (cmode >> 1 & 1))) * halves,
        (6, 0, _) => (byte << 8 | 0xff) * words,
        (6, _, _) => (byte << 16 | 0xffff) * words,
        (_, 0, 0) => byte * 0x0101_0101_0101_0101,
        (_, 0, _) => spread_bits(imm),
        // Op 1 is UNDEFINED here, and has no row.
        _ => expand_single(imm) as u64 * words,
    }
}

/// Returns a byte of ones for each set bit of `imm`, and a byte of zeros for each other.
const fn spread_bits(imm: u32) -> u64 {
    let mut value = 0;
    let mut bit = 0;
    // `for` does not work in a `const fn`.
    while bit < 8 {
        if imm >> bit & 1 != 0 {
            value |= 0xff << (8 * bit);
        }
        bit += 1;
    }
    value
}

/// Returns the constant that VFPExpandImm makes in single precision (DDI 0406C A7.5.1).
pub const fn expand_single(imm: u32) -> u32 {
    // NOT(b) and copies of b: exponents from -3 to 4.
    let exponent = if imm & 0x40 != 0 { 0x1f << 25 } else { 1 << 30 };
    (imm & 0x80) << 24 | exponent | (imm & 0x3f) << 19
}

/// Returns the constant that VFPExpandImm makes in double precision (DDI 0406C A7.5.1).
pub const fn expand_double(imm: u32) -> u64 {
    let exponent = if imm & 0x40 != 0 { 0xff << 54 } else { 1 << 62 };
    ((imm & 0x80) as u64) << 56 | exponent | ((imm & 0x3f) as u64) << 48
}

/// Returns the alignment of a multiple structure access or of VLD4: its two-bit field.
pub(crate) const fn multi_align(field: u32) -> u32 {
    if field == 0 { 1 } else { 4 << field }
}

/// Returns the alignment of an access to all lanes: the whole structure if the bit is set, 8 bytes
/// for four words.
pub(crate) const fn all_align(elements: u32, size: u32, bit: u32) -> u32 {
    match (bit, elements, size) {
        (0, _, _) => 1,
        (_, 4, 2) => 8,
        _ => elements << size,
    }
}
