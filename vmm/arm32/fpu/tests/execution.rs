//! Instructions on the register bank: whether all are there, at random, and by hand.

#![expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is two halfwords"
)]

mod common;

use arm32_fpu::exec::{execute, memory};
use arm32_fpu::{FpRegs, fpscr};
use arm32_isa::{Class, ENCODINGS, Insn, Neon2Op, Neon3Op, Set, VfpOp, decode_a32, decode_t32};
use common::{D, Lcg, M, N, registers, run};

/// Returns whether the core, with the help of this crate, moves between core registers and the
/// bank.
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

/// Returns the T32 word of an A32 one (ARM ARM A7.1): the condition becomes 1110, U moves, loads
/// start with F9.
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
                assert!(access.bytes <= 128);
                for transfer in access.transfers(false).chain(access.transfers(true)) {
                    assert!(transfer.offset + transfer.size <= access.bytes);
                    transfer.load(&mut regs, u64::from(word));
                    let _ = transfer.store(&regs);
                }
            }
        }
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
