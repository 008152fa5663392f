//! Integer Advanced SIMD against a plain model of the manual's pseudocode.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lanes are cut to their size"
)]

mod common;

use arm32_fpu::exec::execute;
use arm32_fpu::{FpRegs, fpscr};
use arm32_isa::{Insn, Neon3Op, NeonDiffOp, NeonMovnOp, NeonNarrowOp, NeonPermuteOp, NeonShiftOp};
use common::{D, M, N, registers, run};
use proptest::prelude::*;

/// Returns lane `index` as a number.
fn lane(vector: u64, size: u8, index: u32, unsigned: bool) -> i128 {
    let bits = 8 << size;
    let top = vector << (64 - bits * (index + 1));
    if unsigned {
        i128::from(top >> (64 - bits))
    } else {
        i128::from(top as i64 >> (64 - bits))
    }
}

/// Puts the low bits of numbers together.
fn vector(size: u8, lanes: impl Iterator<Item = i128>) -> u64 {
    let bits = 8 << size;
    lanes.enumerate().fold(0, |v, (index, x)| {
        v | ((x as u64) & (u64::MAX >> (64 - bits))) << (bits * index as u32)
    })
}

/// Saturates to `bits` bits and notes whether that changed anything.
fn saturate(x: i128, bits: u32, unsigned: bool, q: &mut bool) -> i128 {
    let (min, max) = if unsigned {
        (0, (1 << bits) - 1)
    } else {
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    };
    *q |= x < min || x > max;
    x.clamp(min, max)
}

/// Returns `x * 2^amount`, rounded down or to nearest, without limit of size.
fn shift(x: i128, amount: i32, round: bool) -> i128 {
    match amount {
        // Far enough for every lane, and not too far for the model.
        64.. => {
            if x == 0 {
                0
            } else {
                x.signum() << 126
            }
        }
        0..64 => x << amount,
        -100..0 => (x + if round { 1 << (-amount - 1) } else { 0 }) >> -amount,
        _ => {
            if x < 0 && !round {
                -1
            } else {
                0
            }
        }
    }
}

/// Computes one lane of an operation on three registers, as the pseudocode has it.
fn model3(
    op: Neon3Op,
    bits: u32,
    unsigned: bool,
    d: i128,
    n: i128,
    m: i128,
    q: &mut bool,
) -> Option<i128> {
    let truth = |condition: bool| if condition { -1 } else { 0 };
    let amount = i32::from(m as i8);
    Some(match op {
        Neon3Op::Vhadd => (n + m) >> 1,
        Neon3Op::Vrhadd => (n + m + 1) >> 1,
        Neon3Op::Vhsub => (n - m) >> 1,
        Neon3Op::Vqadd => saturate(n + m, bits, unsigned, q),
        Neon3Op::Vqsub => saturate(n - m, bits, unsigned, q),
        Neon3Op::Vcgt => truth(n > m),
        Neon3Op::Vcge => truth(n >= m),
        Neon3Op::Vshl => shift(n, amount, false),
        Neon3Op::Vrshl => shift(n, amount, true),
        Neon3Op::Vqshl => saturate(shift(n, amount, false), bits, unsigned, q),
        Neon3Op::Vqrshl => saturate(shift(n, amount, true), bits, unsigned, q),
        Neon3Op::Vmax => n.max(m),
        Neon3Op::Vmin => n.min(m),
        Neon3Op::Vabd => (n - m).abs(),
        Neon3Op::Vaba => d + (n - m).abs(),
        Neon3Op::Vadd => n + m,
        Neon3Op::Vsub => n - m,
        Neon3Op::Vtst => truth(n & m != 0),
        Neon3Op::Vceq => truth(n == m),
        Neon3Op::Vmla => d + n * m,
        Neon3Op::Vmls => d - n * m,
        Neon3Op::Vmul => n * m,
        Neon3Op::Vqdmulh => saturate((2 * n * m) >> bits, bits, false, q),
        Neon3Op::Vqrdmulh => saturate((2 * n * m + (1 << (bits - 1))) >> bits, bits, false, q),
        _ => return None,
    })
}

/// Doublewords whose lanes are often at the limits or small.
fn lanes() -> impl Strategy<Value = u64> {
    let byte = prop_oneof![
        any::<u8>(),
        Just(0),
        Just(0xff),
        Just(0x80),
        Just(0x7f),
        Just(1),
        0..40u8
    ];
    prop_oneof![
        proptest::array::uniform8(byte).prop_map(u64::from_le_bytes),
        proptest::array::uniform4(prop_oneof![
            Just(0x8000u16),
            Just(0x7fff),
            0..70u16,
            0xffc0..=0xffffu16
        ])
        .prop_map(|h| h.iter().rev().fold(0, |v, x| v << 16 | u64::from(*x))),
        proptest::array::uniform2(prop_oneof![
            Just(0x8000_0000u32),
            Just(0x7fff_ffff),
            any::<u32>()
        ])
        .prop_map(|w| u64::from(w[0]) | u64::from(w[1]) << 32),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn three_registers(d in lanes(), n in lanes(), m in lanes(), size in 0..4u8, unsigned: bool) {
        for op in Neon3Op::ALL {
            let only_small = !matches!(op, Neon3Op::Vqadd | Neon3Op::Vqsub | Neon3Op::Vshl | Neon3Op::Vrshl
                | Neon3Op::Vqshl | Neon3Op::Vqrshl | Neon3Op::Vadd | Neon3Op::Vsub);
            let doubling = matches!(op, Neon3Op::Vqdmulh | Neon3Op::Vqrdmulh);
            if (only_small && size == 3) || (doubling && size == 0) {
                continue;
            }
            let unsigned = unsigned && !doubling;
            let bits = 8 << size;
            let mut q = false;
            let lanes: Option<Vec<i128>> = (0..64 / bits)
                .map(|i| {
                    let [d, n, m] = [d, n, m].map(|v| lane(v, size, i, unsigned));
                    model3(*op, bits, unsigned, d, n, m, &mut q)
                })
                .collect();
            let Some(lanes) = lanes else { continue };
            let insn = Insn::Neon3 { op: *op, unsigned, size, q: false, vd: D, vn: N, vm: M };
            prop_assert_eq!(run(&insn, d, n, m), (vector(size, lanes.into_iter()), q), "{:?}", insn);
        }
    }

    #[test]
    fn shifts_by_immediates(d in lanes(), m in lanes(), size in 0..4u8, unsigned: bool, amount in 0..64u8) {
        let bits = 8u32 << size;
        let left = amount % bits as u8;
        let right = left + 1;
        for op in NeonShiftOp::ALL {
            let mut q = false;
            let unsigned = unsigned && *op != NeonShiftOp::Vqshlu;
            let mask = |shifted: u64| shifted & (u64::MAX >> (64 - bits));
            let result = vector(size, (0..64 / bits).map(|i| {
                let (x, y) = (lane(m, size, i, unsigned), lane(d, size, i, unsigned));
                let raw = lane(m, size, i, true) as u64;
                let old = lane(d, size, i, true) as u64;
                match op {
                    NeonShiftOp::Vshr => shift(x, -i32::from(right), false),
                    NeonShiftOp::Vsra => y + shift(x, -i32::from(right), false),
                    NeonShiftOp::Vrshr => shift(x, -i32::from(right), true),
                    NeonShiftOp::Vrsra => y + shift(x, -i32::from(right), true),
                    NeonShiftOp::Vshl => x << left,
                    NeonShiftOp::Vqshl => saturate(x << left, bits, unsigned, &mut q),
                    NeonShiftOp::Vqshlu => saturate(x << left, bits, true, &mut q),
                    NeonShiftOp::Vsli => i128::from((raw << left) | (old & mask((1 << left) - 1))),
                    NeonShiftOp::Vsri => {
                        let all = mask(u64::MAX).checked_shr(right.into()).unwrap_or(0);
                        i128::from(raw.checked_shr(right.into()).unwrap_or(0) | (old & !all))
                    }
                }
            }));
            let goes_right = matches!(
                op,
                NeonShiftOp::Vshr | NeonShiftOp::Vsra | NeonShiftOp::Vrshr | NeonShiftOp::Vrsra | NeonShiftOp::Vsri
            );
            let shift = if goes_right { right } else { left };
            let insn = Insn::NeonShift { op: *op, unsigned, size, q: false, vd: D, vm: M, shift };
            prop_assert_eq!(run(&insn, d, 0, m), (result, q), "{:?}", insn);
        }
    }

    #[test]
    fn narrowing(low in lanes(), high in lanes(), size in 0..3u8, unsigned: bool, amount in 0..32u8) {
        let (narrow, wide) = (8u32 << size, size + 1);
        let right = amount % narrow as u8 + 1;
        let mut regs = FpRegs::default();
        (regs.d[4], regs.d[5]) = (low, high);
        let source = |i: u32, unsigned| {
            let per_register = 64 / (2 * narrow);
            lane(if i < per_register { low } else { high }, wide, i % per_register, unsigned)
        };
        for op in NeonNarrowOp::ALL {
            let (rounds, source_unsigned, target_unsigned, saturates) = match op {
                NeonNarrowOp::Vshrn => (false, true, true, false),
                NeonNarrowOp::Vrshrn => (true, true, true, false),
                NeonNarrowOp::Vqshrun => (false, false, true, true),
                NeonNarrowOp::Vqrshrun => (true, false, true, true),
                NeonNarrowOp::Vqshrn => (false, unsigned, unsigned, true),
                NeonNarrowOp::Vqrshrn => (true, unsigned, unsigned, true),
            };
            let mut q = false;
            let result = vector(size, (0..64 / narrow).map(|i| {
                let x = shift(source(i, source_unsigned), -i32::from(right), rounds);
                if saturates { saturate(x, narrow, target_unsigned, &mut q) } else { x }
            }));
            let mut after = regs.clone();
            execute(&mut after, &Insn::NeonNarrow { op: *op, unsigned, size, vd: D, vm: 4, shift: right });
            prop_assert_eq!((after.d(D), after.fpscr & fpscr::QC != 0), (result, q), "{:?}", op);
        }
        let mut q = false;
        let result = vector(size, (0..64 / narrow).map(|i| saturate(source(i, false), narrow, true, &mut q)));
        execute(&mut regs, &Insn::NeonMovn { op: NeonMovnOp::Vqmovun, unsigned: false, size, vd: D, vm: 4 });
        prop_assert_eq!((regs.d(D), regs.fpscr & fpscr::QC != 0), (result, q));
    }

    #[test]
    fn long_products(low in lanes(), high in lanes(), n in lanes(), m in lanes(), size in 1..3u8) {
        let bits = 16u32 << size;
        for op in [NeonDiffOp::Vqdmull, NeonDiffOp::Vqdmlal, NeonDiffOp::Vqdmlsl] {
            let mut q = false;
            let mut results = (0..64 / (8 << size)).map(|i| {
                let per_register = 64 / bits;
                let d = lane(if i < per_register { low } else { high }, size + 1, i % per_register, false);
                let product = 2 * lane(n, size, i, false) * lane(m, size, i, false);
                let product = saturate(product, bits, false, &mut q);
                match op {
                    NeonDiffOp::Vqdmlal => saturate(d + product, bits, false, &mut q),
                    NeonDiffOp::Vqdmlsl => saturate(d - product, bits, false, &mut q),
                    _ => product,
                }
            }).collect::<Vec<_>>();
            let upper = results.split_off(results.len() / 2);
            let mut regs = FpRegs::default();
            (regs.d[4], regs.d[5], regs.d[usize::from(N)], regs.d[usize::from(M)]) = (low, high, n, m);
            execute(&mut regs, &Insn::NeonDiff { op, unsigned: false, size, vd: 4, vn: N, vm: M });
            prop_assert_eq!(regs.d(4), vector(size + 1, results.into_iter()));
            prop_assert_eq!(regs.d(5), vector(size + 1, upper.into_iter()));
            prop_assert_eq!(regs.fpscr & fpscr::QC != 0, q);
        }
    }

    /// VZIP undoes VUZP, and VTRN undoes itself.
    #[test]
    fn permutations_have_inverses(seed: u64, size in 0..3u8, q: bool) {
        let before = registers(seed);
        let mut regs = before.clone();
        let sequence = [NeonPermuteOp::Vuzp, NeonPermuteOp::Vzip, NeonPermuteOp::Vtrn, NeonPermuteOp::Vtrn];
        for op in sequence {
            execute(&mut regs, &Insn::NeonPermute { op, size, q, vd: 2, vm: 8 });
        }
        prop_assert_eq!(regs, before);
    }
}
