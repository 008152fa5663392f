//! Properties of the arithmetic, against `rustc_apfloat`, the host and each other.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers are cut to their formats, and counts of bits are small"
)]

use proptest::prelude::*;
use rustc_apfloat::ieee::{self, Quad};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

use super::arith::*;
use super::fast::Fast;
use super::*;
use crate::fpscr::{self, DZC, IOC, IXC, OFC, UFC};

const MODES: [(Rounding, Round); 4] = [
    (Rounding::Nearest, Round::NearestTiesToEven),
    (Rounding::Up, Round::TowardPositive),
    (Rounding::Down, Round::TowardNegative),
    (Rounding::Zero, Round::TowardZero),
];

fn env(rounding: Rounding) -> Env {
    Env {
        rounding,
        flush: false,
        default_nan: false,
        alternative_half: false,
        flags: 0,
    }
}

/// Returns bit patterns with exponents near the edges and each other, and fractions with few ones.
fn datum<F: Format>() -> impl Strategy<Value = u64> {
    let max = F::EXP_MAX;
    let bias = max / 2;
    let field = prop_oneof![
        0..=max,
        0..=2u64,
        (max - 3)..=max,
        (bias - 3)..=(bias + 3),
        (bias / 2 - 3)..=(bias / 2 + 3),
    ];
    let frac = prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        (0..64u32).prop_map(|n| 1u64.wrapping_shl(n)),
        (0..64u32).prop_map(|n| u64::MAX.wrapping_shl(n)),
        any::<u64>().prop_map(|f| f << (F::FRAC_BITS / 2)),
    ];
    (any::<bool>(), field, frac).prop_map(|(sign, field, frac)| {
        u64::from(sign) << F::SIGN_SHIFT | field << F::FRAC_BITS | frac & F::FRAC
    })
}

/// Returns the reference's result and flags; whether the exact result was tiny comes from
/// binary128.
fn expected<T: Float + FloatConvert<Quad>>(
    result: StatusAnd<T>,
    wide: StatusAnd<Quad>,
) -> (T, u32) {
    let mut flags = 0;
    for (status, flag) in [
        (Status::INVALID_OP, IOC),
        (Status::DIV_BY_ZERO, DZC),
        (Status::OVERFLOW, OFC),
        (Status::INEXACT, IXC),
    ] {
        if result.status.contains(status) {
            flags |= flag;
        }
    }
    let smallest = widen(T::smallest_normalized());
    let tiny = wide.value.is_finite() && wide.value.abs() < smallest;
    if tiny && flags & IXC != 0 {
        flags |= UFC;
    }
    // The reference does not call it an overflow when the result stays finite.
    let limit = Quad::from_u128(1).value.scalbn(T::MAX_EXP + 1);
    if wide.value.is_finite() && wide.value.abs() >= limit && flags & IXC != 0 {
        flags |= OFC;
    }
    (result.value, flags)
}

fn widen<T: Float + FloatConvert<Quad>>(value: T) -> Quad {
    value.convert(&mut false).value
}

macro_rules! against_apfloat {
    ($module:ident, $format:ident) => {
        mod $module {
            use super::*;
            type Reference = ieee::$format;

            fn reference(bits: u64) -> Reference {
                Reference::from_bits(u128::from(bits))
            }

            fn agrees(bits: u64, env: &Env, (value, flags): (Reference, u32)) -> Result<(), TestCaseError> {
                if value.is_nan() {
                    prop_assert_eq!(bits & $format::INFINITY, $format::INFINITY);
                    prop_assert_ne!(bits & $format::FRAC, 0);
                } else {
                    prop_assert_eq!(u128::from(bits), value.to_bits());
                }
                prop_assert_eq!(env.flags, flags);
                Ok(())
            }

            fn plain(bits: u64) -> bool {
                !reference(bits).is_nan()
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(4000))]

                #[test]
                fn two_operands(a in datum::<$format>(), b in datum::<$format>()) {
                    // Which NaN results is a rule of Arm's own: `nan_operands_by_hand` has it.
                    prop_assume!(plain(a) && plain(b));
                    let (x, y) = (reference(a), reference(b));
                    let (wx, wy) = (widen(x), widen(y));
                    // Truncated: rounding could lift a tiny result to the smallest normal one.
                    let to_zero = Round::TowardZero;
                    for (ours, theirs) in MODES {
                        let results: [(fn(&mut Env, u64, u64) -> u64, _); 4] = [
                            (add::<$format>, expected(x.add_r(y, theirs), wx.add_r(wy, to_zero))),
                            (sub::<$format>, expected(x.sub_r(y, theirs), wx.sub_r(wy, to_zero))),
                            (mul::<$format>, expected(x.mul_r(y, theirs), wx.mul_r(wy, to_zero))),
                            (div::<$format>, expected(x.div_r(y, theirs), wx.div_r(wy, to_zero))),
                        ];
                        for (operation, want) in results {
                            let mut e = env(ours);
                            let bits = operation(&mut e, a, b);
                            agrees(bits, &e, want)?;
                        }
                    }
                }

                #[test]
                fn fused(a in datum::<$format>(), b in datum::<$format>(), c in datum::<$format>()) {
                    prop_assume!(plain(a) && plain(b) && plain(c));
                    let (x, y, z) = (reference(a), reference(b), reference(c));
                    for (ours, theirs) in MODES {
                        let mut e = env(ours);
                        let bits = mul_add::<$format>(&mut e, c, a, b);
                        let wide = widen(x).mul_add_r(widen(y), widen(z), Round::TowardZero);
                        agrees(bits, &e, expected(x.mul_add_r(y, z, theirs), wide))?;
                    }
                }

                /// With IXC set already, the host does more; nothing may change but that flag.
                #[test]
                fn fast_is_slow(a in datum::<$format>(), b in datum::<$format>(), c in datum::<$format>(),
                                flush: bool, default_nan: bool) {
                    for flags in [0, IXC] {
                        let start = Env { flush, default_nan, flags, ..env(Rounding::Nearest) };
                        let check = |fast: Option<u64>, after: Env, slow: fn(&mut Env, u64, u64, u64) -> u64| {
                            if let Some(bits) = fast {
                                let mut e = start;
                                prop_assert_eq!(bits, slow(&mut e, a, b, c));
                                prop_assert_eq!(after, e);
                            }
                            Ok(())
                        };
                        let mut e = start;
                        check($format::fast_add(&mut e, a, b), e, |e, a, b, _| slow_add::<$format>(e, a, b, false))?;
                        let mut e = start;
                        check($format::fast_mul(&mut e, a, b), e, |e, a, b, _| slow_mul::<$format>(e, a, b))?;
                        let mut e = start;
                        check($format::fast_div(&mut e, a, b), e, |e, a, b, _| slow_div::<$format>(e, a, b))?;
                        let mut e = start;
                        check($format::fast_sqrt(&mut e, a), e, |e, a, _, _| slow_sqrt::<$format>(e, a))?;
                        let mut e = start;
                        check($format::fast_mul_add(&mut e, c, a, b), e, |e, a, b, c| {
                            slow_mul_add::<$format>(e, c, a, b)
                        })?;
                    }
                }

                /// The root is the largest number whose exact square is not larger than the
                /// operand.
                #[test]
                fn square_root(a in datum::<$format>()) {
                    let a = a & !$format::SIGN;
                    let x = reference(a);
                    prop_assume!(x.is_finite_non_zero());
                    let mut down = env(Rounding::Zero);
                    let low = sqrt::<$format>(&mut down, a);
                    let square = |bits| widen(reference(bits)) * widen(reference(bits));
                    prop_assert!(square(low).value <= widen(x));
                    // Bit patterns of positive numbers are in the order of the numbers.
                    prop_assert!(square(low + 1).value > widen(x));
                    let exact = square(low).value == widen(x);
                    prop_assert_eq!(down.flags, if exact { 0 } else { IXC });
                    let mut up = env(Rounding::Up);
                    prop_assert_eq!(sqrt::<$format>(&mut up, a), low + u64::from(!exact));
                    let mut nearest = env(Rounding::Nearest);
                    let host = match stringify!($format) {
                        "Single" => u64::from(f32::from_bits(a as u32).sqrt().to_bits()),
                        _ => f64::from_bits(a).sqrt().to_bits(),
                    };
                    prop_assert_eq!(sqrt::<$format>(&mut nearest, a), host);
                }

                #[test]
                fn to_integers(a in datum::<$format>(), fraction in 0..=32u32, signed: bool, narrow: bool) {
                    let x = reference(a);
                    let bits = if narrow { 16 } else { 32 };
                    let to = integer::Fixed { bits, fraction: fraction.min(bits), signed };
                    for (ours, theirs) in MODES {
                        let mut e = env(ours);
                        let bits = integer::to_fixed::<$format>(&mut e, a, to, ours);
                        let mut exact = false;
                        let scaled = widen(x).scalbn(to.fraction as i32);
                        let (value, status) = if signed {
                            let r = scaled.to_i128_r(to.bits as usize, theirs, &mut exact);
                            (r.value as u64, r.status)
                        } else {
                            let r = scaled.to_u128_r(to.bits as usize, theirs, &mut exact);
                            (r.value as u64, r.status)
                        };
                        if !x.is_nan() {
                            prop_assert_eq!(bits, value);
                        } else {
                            prop_assert_eq!(bits, 0);
                        }
                        let mut flags = 0;
                        if status.contains(Status::INVALID_OP) {
                            flags |= IOC;
                        } else if status.contains(Status::INEXACT) {
                            flags |= IXC;
                        }
                        prop_assert_eq!(e.flags, flags);
                    }
                }

                #[test]
                fn from_integers(value: u32, fraction in 0..=32u32, signed: bool) {
                    let from = integer::Fixed { bits: 32, fraction, signed };
                    for (ours, theirs) in MODES {
                        let mut e = env(Rounding::Nearest);
                        let bits = integer::from_fixed::<$format>(&mut e, u64::from(value), from, ours);
                        let wide = if signed {
                            Quad::from_i128(i128::from(value as i32)).value
                        } else {
                            Quad::from_u128(u128::from(value)).value
                        };
                        let scaled = wide.scalbn(-(fraction as i32));
                        let r: StatusAnd<Reference> = FloatConvert::convert_r(scaled, theirs, &mut false);
                        prop_assert_eq!(u128::from(bits), r.value.to_bits());
                        prop_assert_eq!(e.flags & IXC != 0, r.status.contains(Status::INEXACT));
                    }
                }

                #[test]
                fn order(a in datum::<$format>(), b in datum::<$format>()) {
                    let mut e = env(Rounding::Nearest);
                    let ordering = reference(a).partial_cmp(&reference(b));
                    prop_assert_eq!(compare::compare::<$format>(&mut e, a, b, false), ordering);
                }
            }
        }
    };
}

against_apfloat!(single, Single);
against_apfloat!(double, Double);

macro_rules! conversion {
    ($name:ident, $from:ident, $to:ident) => {
        proptest! {
            #[test]
            fn $name(a in datum::<$from>()) {
                let x = ieee::$from::from_bits(u128::from(a));
                prop_assume!(!x.is_nan());
                for (ours, theirs) in MODES {
                    let mut e = env(ours);
                    let bits = convert::convert::<$from, $to>(&mut e, a);
                    let r: StatusAnd<ieee::$to> = FloatConvert::convert_r(x, theirs, &mut false);
                    let (value, flags) = expected(r, Status::OK.and(widen(x)));
                    prop_assert_eq!(u128::from(bits), value.to_bits());
                    prop_assert_eq!(e.flags, flags);
                }
            }
        }
    };
}
conversion!(single_to_double, Single, Double);
conversion!(double_to_single, Double, Single);
conversion!(single_to_half, Single, Half);
conversion!(half_to_single, Half, Single);

#[test]
fn estimates_are_the_manuals_tables() {
    for a in 256..512u32 {
        let x = (f64::from(a) + 0.5) / 512.0;
        assert_eq!(
            estimate::recip_estimate(a),
            (256.0 / x + 0.5).floor() as u32
        );
    }
    for a in 128..512u32 {
        let x = if a < 256 {
            (f64::from(a) + 0.5) / 512.0
        } else {
            (f64::from(a >> 1) + 0.5) / 256.0
        };
        assert_eq!(
            estimate::rsqrt_estimate(a),
            (256.0 / x.sqrt() + 0.5).floor() as u32
        );
    }
}

/// Each flag by hand: operation, operands, result, flags.
#[test]
fn flags_by_hand() {
    type Op = fn(&mut Env, u64, u64) -> u64;
    const ONE: u64 = 0x3f80_0000;
    const MIN_NORMAL: u64 = 0x0080_0000;
    const MAX: u64 = 0x7f7f_ffff;
    const INF: u64 = 0x7f80_0000;
    const NAN: u64 = 0x7fc0_0000;
    let flushing = Env {
        flush: true,
        ..env(Rounding::Nearest)
    };
    let cases: [(Op, Env, u64, u64, u64, u32); 12] = [
        (div::<Single>, env(Rounding::Nearest), ONE, 0, INF, DZC),
        (div::<Single>, env(Rounding::Nearest), 0, 0, NAN, IOC),
        (mul::<Single>, env(Rounding::Nearest), INF, 0, NAN, IOC),
        (sub::<Single>, env(Rounding::Nearest), INF, INF, NAN, IOC),
        (
            add::<Single>,
            env(Rounding::Nearest),
            MAX,
            MAX,
            INF,
            OFC | IXC,
        ),
        (add::<Single>, env(Rounding::Zero), MAX, MAX, MAX, OFC | IXC),
        (add::<Single>, env(Rounding::Nearest), ONE, 1, ONE, IXC),
        // Exact denormal results raise nothing; inexact ones raise underflow, even if they round up
        // to the smallest normal number: 0x3f7fffff is 1 - 2^-24.
        (
            mul::<Single>,
            env(Rounding::Nearest),
            MIN_NORMAL,
            0x3f00_0000,
            MIN_NORMAL >> 1,
            0,
        ),
        (
            mul::<Single>,
            env(Rounding::Nearest),
            MIN_NORMAL,
            0x3f7f_ffff,
            MIN_NORMAL,
            UFC | IXC,
        ),
        (mul::<Single>, flushing, MIN_NORMAL, 0x3f7f_ffff, 0, UFC),
        (add::<Single>, flushing, 1, 0x8000_0001, 0, fpscr::IDC),
        (
            mul::<Single>,
            flushing,
            0x8000_0001,
            ONE,
            0x8000_0000,
            fpscr::IDC,
        ),
    ];
    for (index, (op, start, a, b, result, flags)) in cases.into_iter().enumerate() {
        let mut e = start;
        assert_eq!((op(&mut e, a, b), e.flags), (result, flags), "case {index}");
    }
}

#[test]
fn nan_operands_by_hand() {
    const Q1: u64 = 0x7fc0_0001;
    const Q2: u64 = 0xffc0_0002;
    const S2: u64 = 0xff80_0002;
    const S3: u64 = 0x7f80_0003;
    let mut e = env(Rounding::Nearest);
    assert_eq!((add::<Single>(&mut e, Q1, Q2), e.flags), (Q1, 0));
    assert_eq!((add::<Single>(&mut e, Q1, S2), e.flags), (Q2, IOC));
    let mut e = env(Rounding::Nearest);
    assert_eq!((sub::<Single>(&mut e, 0, Q2), e.flags), (Q2, 0));
    assert_eq!((mul_add::<Single>(&mut e, Q1, S2, S3), e.flags), (Q2, IOC));
    // Infinity by zero wins over a quiet addend, not over a signalling one.
    let mut e = env(Rounding::Nearest);
    assert_eq!(
        (mul_add::<Single>(&mut e, Q1, 0x7f80_0000, 0), e.flags),
        (0x7fc0_0000, IOC)
    );
    assert_eq!(mul_add::<Single>(&mut e, S2, 0x7f80_0000, 0), Q2);
    let mut e = Env {
        default_nan: true,
        ..env(Rounding::Nearest)
    };
    assert_eq!((add::<Single>(&mut e, Q2, 0), e.flags), (0x7fc0_0000, 0));
}

#[test]
fn alternative_half_precision_by_hand() {
    let alternative = Env {
        alternative_half: true,
        ..env(Rounding::Nearest)
    };
    let half = |bits| {
        let mut e = alternative;
        (convert::convert::<Single, Half>(&mut e, bits), e.flags)
    };
    assert_eq!(half(0x7f80_0000), (0x7fff, IOC));
    assert_eq!(half(0xffc0_0000), (0x8000, IOC));
    assert_eq!(half(0x47ff_e000), (0x7fff, 0)); // 131008, the largest
    assert_eq!(half(0x4800_0000), (0x7fff, IOC));
    let mut e = alternative;
    assert_eq!(
        (convert::convert::<Half, Single>(&mut e, 0x7fff), e.flags),
        (0x47ff_e000, 0)
    );
}
