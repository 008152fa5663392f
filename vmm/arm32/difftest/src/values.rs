//! Operand values: interesting ones as often as uniform ones.

use rand_core::RngCore;

/// Words at the edges of integer arithmetic.
const INTEGERS: [u32; 24] = [
    0,
    1,
    2,
    3,
    7,
    8,
    0x1f,
    0x20,
    0x21,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_0000,
    0xffff_8000,
    0xffff_ff80,
    0xffff_fffe,
    0xffff_ffff,
];

/// Single-precision numbers at edges: zeros, denormals, normals next to them, ones, halfway cases,
/// numbers at the limits of integers, the largest, infinities, NaNs of both kinds.
const SINGLES: [u32; 40] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x807f_ffff,
    0x0040_0000,
    0x0080_0000,
    0x8080_0000,
    0x0080_0001,
    0x0100_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x3f00_0000,
    0xbf00_0000,
    0x3fc0_0000,
    0x4020_0000,
    0x4060_0000,
    0x4b00_0000,
    0x4b7f_ffff,
    0x4b80_0000,
    0x4b80_0001,
    0x4eff_ffff,
    0x4f00_0000,
    0xcf00_0000,
    0xcf00_0001,
    0x4f7f_ffff,
    0x4f80_0000,
    0x477f_e000,
    0x477f_f000,
    0x3880_0000,
    0x3300_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc1_2345,
    0xffa0_1234,
];

/// The same for double precision.
const DOUBLES: [u64; 36] = [
    0,
    0x8000_0000_0000_0000,
    1,
    0x8000_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x800f_ffff_ffff_ffff,
    0x0008_0000_0000_0000,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0000,
    0x3ff0_0000_0000_0001,
    0x3fef_ffff_ffff_ffff,
    0x3fe0_0000_0000_0000,
    0xbfe0_0000_0000_0000,
    0x3ff8_0000_0000_0000,
    0x4004_0000_0000_0000,
    0x4330_0000_0000_0000,
    0x433f_ffff_ffff_ffff,
    0x4340_0000_0000_0000,
    0x41df_ffff_ffc0_0000,
    0x41e0_0000_0000_0000,
    0xc1e0_0000_0000_0000,
    0xc1e0_0000_0020_0000,
    0x41ef_ffff_ffe0_0000,
    0x41f0_0000_0000_0000,
    0x3810_0000_0000_0000,
    0x380f_ffff_ffff_ffff,
    0x36a0_0000_0000_0000,
    0x47ef_ffff_f000_0000,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_1234_5678_9abc,
    0xfff4_0000_dead_beef,
];

/// Half-precision numbers at edges.
const HALVES: [u16; 14] = [
    0, 0x8000, 1, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x3555, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e55,
    0xfd01,
];

/// Returns one of `choices`.
#[expect(clippy::cast_possible_truncation, reason = "a few choices")]
pub fn pick<T: Copy>(rng: &mut impl RngCore, choices: &[T]) -> T {
    choices[below(rng, choices.len() as u32) as usize]
}

/// Returns a number below `n`, which is not 0.
pub fn below(rng: &mut impl RngCore, n: u32) -> u32 {
    // The upper half of the product: no division, and a bias that does not matter here.
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// Returns true with a chance of `percent` in a hundred.
pub fn chance(rng: &mut impl RngCore, percent: u32) -> bool {
    below(rng, 100) < percent
}

/// Returns an operand in a core register.
pub fn word(rng: &mut impl RngCore) -> u32 {
    match below(rng, 8) {
        0..3 => pick(rng, &INTEGERS),
        3 => pick(rng, &SINGLES),
        4 => below(rng, 64),
        // Every magnitude as often as any other.
        5 => rng.next_u32() >> below(rng, 32),
        _ => rng.next_u32(),
    }
}

/// Returns a single-precision number.
fn single(rng: &mut impl RngCore) -> u32 {
    match below(rng, 8) {
        0..4 => pick(rng, &SINGLES),
        // Near one, where sums and products of two cancel or round.
        4 => (0x3f00_0000 + below(rng, 0x0180_0000)) | rng.next_u32() & 1 << 31,
        // Next to an edge.
        5 => pick(rng, &SINGLES)
            .wrapping_add(below(rng, 5))
            .wrapping_sub(2),
        _ => rng.next_u32(),
    }
}

/// Returns a doubleword register: a double, two singles, four halves, or lanes of integers.
pub fn doubleword(rng: &mut impl RngCore) -> u64 {
    match below(rng, 10) {
        0..2 => pick(rng, &DOUBLES),
        2 => pick(rng, &DOUBLES)
            .wrapping_add(u64::from(below(rng, 5)))
            .wrapping_sub(2),
        // Near one, as in `single`.
        3 => (0x3fe0_0000_0000_0000 + (rng.next_u64() >> 11)) | rng.next_u64() & 1 << 63,
        4..7 => u64::from(single(rng)) << 32 | u64::from(single(rng)),
        7 => (0..4).fold(0, |v, _| v << 16 | u64::from(pick(rng, &HALVES))),
        8 => (0..8).fold(0, |v, _| {
            v << 8 | u64::from(pick(rng, &[0u8, 1, 0x7f, 0x80, 0xff, 0x55, 0xfe]))
        }),
        _ => rng.next_u64(),
    }
}

/// Returns an FPSCR: half of the time without a mode, otherwise any; cumulative flags mostly clear,
/// so that those that are set show, but IXC, without which host code leaves arithmetic to handlers.
pub fn fpscr(rng: &mut impl RngCore) -> u32 {
    // AHP, DN, FZ and RMode.
    const MODES: u32 = 0x07c0_0000;
    // N, Z, C, V, QC and the cumulative exception flags.
    const FLAGS: u32 = 0xf800_009f;
    const IXC: u32 = 1 << 4;
    let modes = if chance(rng, 50) {
        0
    } else {
        rng.next_u32() & MODES
    };
    let flags = if chance(rng, 80) {
        rng.next_u32() & 0xf000_0000
    } else {
        rng.next_u32() & FLAGS
    };
    let inexact = if chance(rng, 40) { IXC } else { 0 };
    modes | flags | inexact
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[below(&mut rng, 7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn fpscr_has_no_bit_that_the_core_lacks() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let seen = (0..1000).fold(0, |all, _| all | fpscr(&mut rng));
        assert_eq!(seen, 0xffc0_009f);
    }
}
