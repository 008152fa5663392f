//! Instructions on the register bank: against a plain model of the manual's pseudocode, by hand, and at random.

use arm32_fpu::exec::{execute, memory};
use arm32_fpu::{FpRegs, fpscr};
use arm32_isa::{
    Class, ENCODINGS, Insn, Neon2Op, Neon3Op, NeonDiffOp, NeonMovnOp, NeonNarrowOp, NeonPermuteOp,
    NeonShiftOp, Set, VfpOp, decode_a32, decode_t32,
};
use proptest::prelude::*;

/// Whether the core, with the help of this crate, moves between core registers and the bank.
fn is_transfer(insn: &Insn) -> bool {
    matches!(
        insn,
        Insn::Vmrs { .. }
            | Insn::Vmsr { .. }
            | Insn::VmovCore { .. }
            | Insn::VmovCore2 { .. }
            | Insn::VmovCoreD { .. }
            | Insn::VmovToLane { .. }
            | Insn::VmovFromLane { .. }
            | Insn::VdupCore { .. }
    )
}

/// A generator of words, good enough for tests.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

fn registers(seed: u64) -> FpRegs {
    let mut random = Lcg(seed);
    let mut regs = FpRegs::default();
    for number in 0..32 {
        regs.set_d(
            number,
            u64::from(random.next()) << 32 | u64::from(random.next()),
        );
    }
    regs.write_fpscr(random.next());
    regs
}

/// Every encoding of the tables is executed, described or transferred, by exactly one of them.
#[test]
fn every_encoding_is_implemented() {
    let mut random = Lcg(1);
    let mut seen = 0;
    for encoding in ENCODINGS
        .iter()
        .filter(|e| e.class.intersects(Class::FP.union(Class::SIMD)))
    {
        let word = (0..100_000)
            .map(|_| (random.next() & !encoding.mask) | encoding.value)
            .find(|word| encoding.matches(*word) && encoding.decodes(*word))
            .unwrap_or_else(|| panic!("no word of {} {:?}", encoding.name, encoding.set));
        let insn = match encoding.set {
            Set::A32 => decode_a32(word).insn,
            _ => decode_t32((word >> 16) as u16, word as u16, false).insn,
        };
        let ways = [
            execute(&mut registers(2), &insn),
            memory::access(&insn).is_some(),
            is_transfer(&insn),
        ];
        assert_eq!(
            ways.iter().filter(|way| **way).count(),
            1,
            "{}: {insn:?}",
            encoding.name
        );
        seen += 1;
    }
    assert!(seen > 500, "{seen} encodings are too few for both sets");
}

/// The T32 word of an A32 one (ARM ARM A7.1): the condition becomes 1110, U moves, loads start with F9.
fn thumb(word: u32) -> u32 {
    match word >> 24 {
        0xf2 => word & 0x00ff_ffff | 0xef00_0000,
        0xf3 => word & 0x00ff_ffff | 0xff00_0000,
        0xf4 => word & 0x00ff_ffff | 0xf900_0000,
        _ => word & 0x0fff_ffff | 0xe000_0000,
    }
}

/// Every word of the A32 tables means the same in T32.
#[test]
fn both_sets_decode_alike() {
    let mut random = Lcg(4);
    let all = ENCODINGS.iter().filter(|e| e.set == Set::A32);
    for encoding in all.filter(|e| e.class.intersects(Class::FP.union(Class::SIMD))) {
        for _ in 0..100 {
            let word = (random.next() & !encoding.mask) | encoding.value;
            if !encoding.matches(word) {
                continue;
            }
            let twin = thumb(word);
            let decoded = decode_t32((twin >> 16) as u16, twin as u16, false).insn;
            assert_eq!(
                decode_a32(word).insn,
                decoded,
                "{} {word:08x}",
                encoding.name
            );
        }
    }
}

/// Words from the coprocessor and SIMD spaces, decoded in both sets, never panic.
#[test]
fn random_words_do_not_panic() {
    let mut random = Lcg(3);
    for _ in 0..200_000 {
        let space = [
            0xf200_0000,
            0xf300_0000,
            0xf400_0000,
            0xec00_0a00,
            0xed00_0a00,
            0xee00_0a00,
        ];
        let word = space[(random.next() % 6) as usize] ^ (random.next() & 0x01ff_f1ff);
        let t32 = decode_t32((word >> 16) as u16, word as u16, false);
        for insn in [decode_a32(word).insn, t32.insn] {
            let mut regs = registers(u64::from(word));
            execute(&mut regs, &insn);
            assert_eq!(regs.fpscr & !fpscr::WRITABLE, 0);
            if let Some(access) = memory::access(&insn) {
                assert!(usize::from(access.bytes) <= memory::MAX_BYTES);
                let mut bytes = [0; memory::MAX_BYTES];
                for big_endian in [false, true] {
                    access.load(&mut regs, &bytes, big_endian);
                    access.store(&regs, &mut bytes, big_endian);
                }
            }
        }
    }
}

/// Lane `index` as a number.
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

/// `x * 2^amount`, rounded down or to nearest, without limit of size.
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

/// The pseudocode of operations on three registers, on one lane.
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

const D: u8 = 1;
const N: u8 = 2;
const M: u8 = 3;

fn run(insn: &Insn, d: u64, n: u64, m: u64) -> (u64, bool) {
    let mut regs = FpRegs::default();
    (
        regs.d[usize::from(D)],
        regs.d[usize::from(N)],
        regs.d[usize::from(M)],
    ) = (d, n, m);
    assert!(execute(&mut regs, insn));
    (regs.d(D), regs.fpscr & fpscr::QC != 0)
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
                .map(|i| model3(*op, bits, unsigned, lane(d, size, i, unsigned), lane(n, size, i, unsigned), lane(m, size, i, unsigned), &mut q))
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
            let goes_right = matches!(op, NeonShiftOp::Vshr | NeonShiftOp::Vsra | NeonShiftOp::Vrshr | NeonShiftOp::Vrsra | NeonShiftOp::Vsri);
            let insn = Insn::NeonShift { op: *op, unsigned, size, q: false, vd: D, vm: M, shift: if goes_right { right } else { left } };
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

#[test]
fn operations_by_hand() {
    let unary = |op, size, m| {
        run(
            &Insn::Neon2 {
                op,
                unsigned: false,
                size,
                q: false,
                vd: D,
                vm: M,
            },
            0,
            0,
            m,
        )
    };
    assert_eq!(
        unary(Neon2Op::Vcls, 1, 0x8000_ffff_0000_0100),
        (0x0000_000f_000f_0006, false)
    );
    assert_eq!(
        unary(Neon2Op::Vclz, 2, 0x0000_0001_0000_0000),
        (0x0000_001f_0000_0020, false)
    );
    assert_eq!(
        unary(Neon2Op::Vcnt, 0, 0xff0f_0301_0000_8055),
        (0x0804_0201_0000_0104, false)
    );
    assert_eq!(
        unary(Neon2Op::Vqabs, 1, 0x8000_ffff_0001_7fff),
        (0x7fff_0001_0001_7fff, true)
    );
    assert_eq!(
        unary(Neon2Op::Vrev64, 0, 0x0123_4567_89ab_cdef),
        (0xefcd_ab89_6745_2301, false)
    );
    assert_eq!(
        unary(Neon2Op::Vpaddl, 0, 0xff01_7f7f_8080_0102),
        (0x0000_00fe_ff00_0003, false)
    );
    let table = Insn::Vtbl {
        extension: true,
        regs: 1,
        vd: D,
        vn: N,
        vm: M,
    };
    let (bytes, _) = run(
        &table,
        0xaaaa_aaaa_aaaa_aaaa,
        0x7766_5544_3322_1100,
        0x08ff_0706_0003_0201,
    );
    assert_eq!(bytes, 0xaaaa_7766_0033_2211);
    let extract = Insn::Vext {
        q: false,
        vd: D,
        vn: N,
        vm: M,
        imm: 3,
    };
    assert_eq!(
        run(&extract, 0, 0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908).0,
        0x0a09_0807_0605_0403
    );
    let poly = Insn::Neon3 {
        op: Neon3Op::VmulP,
        unsigned: false,
        size: 0,
        q: false,
        vd: D,
        vn: N,
        vm: M,
    };
    assert_eq!(run(&poly, 0, 0x03, 0x03).0, 0x05);
}

/// Scalars obey the FPSCR; vectors flush and use the default NaN whatever it says.
#[test]
fn scalars_and_vectors_obey_different_controls() {
    let mut regs = FpRegs::default();
    regs.set_d(N, 0x0000_0001_ff80_0001);
    regs.set_d(M, 0x0000_0001_3f80_0000);
    let mut scalar = regs.clone();
    let add = Insn::Vfp3 {
        op: VfpOp::Vadd,
        double: false,
        vd: 2,
        vn: 4,
        vm: 6,
    };
    assert!(execute(&mut scalar, &add));
    assert_eq!((scalar.s(2), scalar.fpscr), (0xffc0_0001, fpscr::IOC));
    let add = Insn::Neon3 {
        op: Neon3Op::VaddF,
        unsigned: false,
        size: 2,
        q: false,
        vd: D,
        vn: N,
        vm: M,
    };
    assert!(execute(&mut regs, &add));
    assert_eq!(
        (regs.d(D), regs.fpscr),
        (0x7fc0_0000, fpscr::IOC | fpscr::IDC)
    );
}

#[test]
fn comparisons_set_the_flags() {
    let compare = |a: u32, b: u32, e| {
        let mut regs = FpRegs::default();
        regs.set_s(0, a);
        regs.set_s(1, b);
        execute(
            &mut regs,
            &Insn::VfpCmp {
                double: false,
                e,
                zero: false,
                vd: 0,
                vm: 1,
            },
        );
        regs.fpscr
    };
    assert_eq!(compare(0x3f80_0000, 0x4000_0000, false), fpscr::N);
    assert_eq!(compare(0x8000_0000, 0, false), fpscr::Z | fpscr::C);
    assert_eq!(compare(0x4000_0000, 0xff80_0000, true), fpscr::C);
    assert_eq!(compare(0x7fc0_0000, 0, false), fpscr::C | fpscr::V);
    assert_eq!(
        compare(0x7fc0_0000, 0, true),
        fpscr::C | fpscr::V | fpscr::IOC
    );
}
