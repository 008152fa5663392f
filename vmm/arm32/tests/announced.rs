//! What the identification registers announce, and that each of it is there: no instruction of it
//! is UNDEFINED.
//!
//! Fields by ARM ARM DDI 0406C B4.1.82 to B4.1.88 and B6.1.40 to B6.1.41; what the numbers stand
//! for is said there.

mod common;

use arm32::core::Core;
use arm32::state::Mode;
use common::{BASE, core_with};

/// MRC of a register to R1.
const ID_ISAR0: u32 = 0xee10_1f12;
const ID_ISAR1: u32 = 0xee10_1f32;
const ID_ISAR2: u32 = 0xee10_1f52;
const ID_ISAR3: u32 = 0xee10_1f72;
const ID_ISAR4: u32 = 0xee10_1f92;
/// VMRS of a register to R1.
const MVFR0: u32 = 0xeef7_1a10;
const MVFR1: u32 = 0xeef6_1a10;

/// CPACR = 0x00f00000; FPEXC = 0x40000000: floating point and Advanced SIMD are enabled.
const ENABLE: [u32; 4] = [0xe3a0_060f, 0xee01_0f50, 0xe3a0_0101, 0xeee8_0a10];

/// The register, the lowest bit of its field, the field's value, what that announces, and
/// instructions in A32 and T32.
type Row = (u32, u32, u32, &'static str, &'static [u32], &'static [u32]);

const ANNOUNCED: &[Row] = &[
    // sdiv r1, r2, r3; udiv r1, r2, r3
    (
        ID_ISAR0,
        24,
        2,
        "SDIV and UDIV",
        &[0xe711_f312, 0xe731_f312],
        &[0xf1f3_fb92, 0xf1f3_fbb2],
    ),
    // bkpt #0
    (ID_ISAR0, 20, 1, "BKPT", &[0xe120_0070], &[0xbf00_be00]),
    // cbnz r0, .+6; cbz r0, .+6
    (
        ID_ISAR0,
        12,
        1,
        "CBNZ and CBZ",
        &[],
        &[0xbf00_b908, 0xbf00_b108],
    ),
    // bfc r1, #2, #3; bfi r1, r2, #2, #3; sbfx r1, r2, #2, #3; ubfx r1, r2, #2, #3
    (
        ID_ISAR0,
        8,
        1,
        "bit fields",
        &[0xe7c4_111f, 0xe7c4_1112, 0xe7a2_1152, 0xe7e2_1152],
        &[0x0184_f36f, 0x0184_f362, 0x0182_f342, 0x0182_f3c2],
    ),
    // clz r1, r2
    (ID_ISAR0, 4, 1, "CLZ", &[0xe16f_1f12], &[0xf182_fab2]),
    // bxj r0
    (ID_ISAR1, 28, 1, "BXJ", &[0xe12f_ff20], &[0x8f00_f3c0]),
    // bx r0; blx r0; mov pc, r0
    (
        ID_ISAR1,
        24,
        3,
        "interworking",
        &[0xe12f_ff10, 0xe12f_ff30, 0xe1a0_f000],
        &[0xbf00_4700, 0xbf00_4780],
    ),
    // movw r1, #0x1234; movt r1, #0x1234
    (
        ID_ISAR1,
        20,
        1,
        "long immediates",
        &[0xe301_1234, 0xe341_1234],
        &[0x2134_f241, 0x2134_f2c1, 0x1123_f202, 0x1123_f2a2],
    ),
    // it eq
    (ID_ISAR1, 16, 1, "IT", &[], &[0xbf00_bf08]),
    // sxtb r1, r2; uxth r1, r2; sxtb16 r1, r2; uxtab16 r1, r2, r3; sxtah r1, r2, r3
    (
        ID_ISAR1,
        12,
        2,
        "extensions",
        &[
            0xe6af_1072,
            0xe6ff_1072,
            0xe68f_1072,
            0xe6c2_1073,
            0xe6b2_1073,
        ],
        &[
            0xbf00_b251,
            0xbf00_b291,
            0xf182_fa2f,
            0xf183_fa32,
            0xf183_fa02,
        ],
    ),
    // srsia sp!, #19; rfeia r0; cpsid i
    (
        ID_ISAR1,
        8,
        1,
        "SRS, RFE and CPS",
        &[0xf8ed_0513, 0xf890_0a00, 0xf10c_0080],
        &[0xc013_e9ad, 0xc000_e990, 0xbf00_b672],
    ),
    // ldm r0, {r1, r2}^; stm r0, {r1, r2}^; ldm r0, {r1, pc}^
    (
        ID_ISAR1,
        4,
        1,
        "LDM and STM of User registers",
        &[0xe8d0_0006, 0xe8c0_0006, 0xe8d0_8002],
        &[],
    ),
    // setend be
    (ID_ISAR1, 0, 1, "SETEND", &[0xf101_0200], &[0xbf00_b658]),
    // rev r1, r2; rev16 r1, r2; revsh r1, r2; rbit r1, r2
    (
        ID_ISAR2,
        28,
        2,
        "reversal",
        &[0xe6bf_1f32, 0xe6bf_1fb2, 0xe6ff_1fb2, 0xe6ff_1f32],
        &[0xbf00_ba11, 0xbf00_ba51, 0xbf00_bad1, 0xf1a2_fa92],
    ),
    // mrs r1, apsr; msr apsr_nzcvq, r1
    (
        ID_ISAR2,
        24,
        1,
        "MRS and MSR in T32",
        &[],
        &[0x8100_f3ef, 0x8800_f381],
    ),
    // umull r1, r2, r3, r4; umlal r1, r2, r3, r4; umaal r1, r2, r3, r4
    (
        ID_ISAR2,
        20,
        2,
        "unsigned multiplication",
        &[0xe082_1493, 0xe0a2_1493, 0xe042_1493],
        &[0x1204_fba3, 0x1204_fbe3, 0x1264_fbe3],
    ),
    // smull r1, r2, r3, r4; smlalbb r1, r2, r3, r4; smlad r1, r2, r3, r4; smmla r1, r2, r3, r4;
    // smusd r1, r2, r3
    (
        ID_ISAR2,
        16,
        3,
        "signed multiplication",
        &[
            0xe0c2_1493,
            0xe142_1483,
            0xe701_4312,
            0xe751_4312,
            0xe701_f352,
        ],
        &[
            0x1204_fb83,
            0x1284_fbc3,
            0x4103_fb22,
            0x4103_fb52,
            0xf103_fb42,
        ],
    ),
    // mla r1, r2, r3, r4; mls r1, r2, r3, r4
    (
        ID_ISAR2,
        12,
        2,
        "MLA and MLS",
        &[0xe021_4392, 0xe061_4392],
        &[0x4103_fb02, 0x4113_fb02],
    ),
    // pld [r0]; pli [r0]; pldw [r0]
    (
        ID_ISAR2,
        4,
        4,
        "memory hints",
        &[0xf5d0_f000, 0xf4d0_f000, 0xf590_f000],
        &[0xf000_f890, 0xf000_f990, 0xf000_f8b0],
    ),
    // ldrd r2, r3, [r0]; strd r2, r3, [r0]
    (
        ID_ISAR2,
        0,
        1,
        "LDRD and STRD",
        &[0xe1c0_20d0, 0xe1c0_20f0],
        &[0x2300_e9d0, 0x2300_e9c0],
    ),
    // nop
    (
        ID_ISAR3,
        24,
        1,
        "true NOP",
        &[0xe320_f000],
        &[0xbf00_bf00, 0x8000_f3af],
    ),
    // mov r1, r2
    (ID_ISAR3, 20, 1, "MOV of low registers", &[], &[0xbf00_4611]),
    // tbb [r4, r5]; tbh [r4, r5, lsl #1]
    (
        ID_ISAR3,
        16,
        1,
        "table branches",
        &[],
        &[0xf005_e8d4, 0xf015_e8d4],
    ),
    // ldrex r1, [r0]; strex r1, r2, [r0]; ldrexb r1, [r0]; strexh r1, r2, [r0]; ldrexd r2, r3,
    // [r0]; strexd r1, r2, r3, [r0]; clrex
    (
        ID_ISAR3,
        12,
        2,
        "exclusive accesses",
        &[
            0xe190_1f9f,
            0xe180_1f92,
            0xe1d0_1f9f,
            0xe1e0_1f92,
            0xe1b0_2f9f,
            0xe1a0_1f92,
            0xf57f_f01f,
        ],
        &[
            0x1f00_e850,
            0x2100_e840,
            0x1f4f_e8d0,
            0x2f51_e8c0,
            0x237f_e8d0,
            0x2371_e8c0,
            0x8f2f_f3bf,
        ],
    ),
    // svc #0
    (ID_ISAR3, 8, 1, "SVC", &[0xef00_0000], &[0xbf00_df00]),
    // sadd8 r1, r2, r3; ssat16 r1, #4, r2; sel r1, r2, r3; usada8 r1, r2, r3, r4; pkhbt r1, r2, r3;
    // uqsax r1, r2, r3
    (
        ID_ISAR3,
        4,
        3,
        "SIMD in core registers",
        &[
            0xe612_1f93,
            0xe6a3_1f32,
            0xe682_1fb3,
            0xe781_4312,
            0xe682_1013,
            0xe662_1f53,
        ],
        &[
            0xf103_fa82,
            0x0103_f322,
            0xf183_faa2,
            0x4103_fb72,
            0x0103_eac2,
            0xf153_fae2,
        ],
    ),
    // qadd r1, r2, r3; qdsub r1, r2, r3
    (
        ID_ISAR3,
        0,
        1,
        "saturation",
        &[0xe103_1052, 0xe163_1052],
        &[0xf182_fa83, 0xf1b2_fa83],
    ),
    // dmb sy; dsb sy; isb sy
    (
        ID_ISAR4,
        16,
        1,
        "barriers",
        &[0xf57f_f05f, 0xf57f_f04f, 0xf57f_f06f],
        &[0x8f5f_f3bf, 0x8f4f_f3bf, 0x8f6f_f3bf],
    ),
    // ldr r1, [r0, #4]!; stmdb r0!, {r1, r2}
    (
        ID_ISAR4,
        8,
        1,
        "write-back",
        &[0xe5b0_1004, 0xe920_0006],
        &[0x1f04_f850, 0x0006_e920],
    ),
    // ldr r1, [r0, r5, lsl #3]; str r1, [r0, -r5, lsr #2]; add r1, r2, r3, ror #5
    (
        ID_ISAR4,
        4,
        4,
        "shifts of loads, stores and operands",
        &[0xe790_1185, 0xe700_1125, 0xe082_12e3],
        &[0x1035_f850, 0x1173_eb02],
    ),
    // ldrt r1, [r0]; strbt r1, [r0]; ldrht r1, [r0]; ldrsbt r1, [r0]
    (
        ID_ISAR4,
        0,
        2,
        "unprivileged accesses",
        &[0xe4b0_1000, 0xe4e0_1000, 0xe0f0_10b0, 0xe0f0_10d0],
        &[0x1e00_f850, 0x1e00_f800, 0x1e00_f830, 0x1e00_f910],
    ),
    // vsqrt.f32 s1, s2; vsqrt.f64 d1, d2
    (
        MVFR0,
        20,
        1,
        "square root",
        &[0xeef1_0ac1, 0xeeb1_1bc2],
        &[],
    ),
    // vdiv.f32 s1, s2, s3; vdiv.f64 d1, d2, d3
    (MVFR0, 16, 1, "division", &[0xeec1_0a21, 0xee82_1b03], &[]),
    // vadd.f64 d1, d2, d3; vmov.f64 d1, #1.0; vcvt.f64.s32 d1, d1, #4
    (
        MVFR0,
        8,
        2,
        "double precision, VFPv3 and on",
        &[0xee32_1b03, 0xeeb7_1b00, 0xeeba_1bce],
        &[],
    ),
    // vadd.f32 s1, s2, s3; vmov.f32 s1, #1.0
    (
        MVFR0,
        4,
        2,
        "single precision, VFPv3 and on",
        &[0xee71_0a21, 0xeef7_0a00],
        &[],
    ),
    // vmov d31, r1, r2; vadd.f64 d31, d16, d17
    (
        MVFR0,
        0,
        2,
        "32 double registers",
        &[0xec42_1b3f, 0xee70_fba1],
        &[],
    ),
    // vfma.f32 s1, s2, s3; vfnms.f64 d1, d2, d3; vfma.f32 q1, q2, q3
    (
        MVFR1,
        28,
        1,
        "fused multiply-add",
        &[0xeee1_0a21, 0xee92_1b03, 0xf204_2c56],
        &[],
    ),
    // vcvtb.f32.f16 s1, s2; vcvtt.f16.f32 s1, s2
    (
        MVFR1,
        24,
        1,
        "conversion of half precision",
        &[0xeef2_0a41, 0xeef3_0ac1],
        &[],
    ),
    // vcvt.f32.f16 q1, d4; vcvt.f16.f32 d1, q2
    (
        MVFR1,
        20,
        1,
        "conversion of half precision, Advanced SIMD",
        &[0xf3b6_2704, 0xf3b6_1604],
        &[],
    ),
    // vadd.f32 q1, q2, q3; vrecpe.f32 q1, q2
    (
        MVFR1,
        16,
        1,
        "Advanced SIMD, single precision",
        &[0xf204_2d46, 0xf3bb_2544],
        &[],
    ),
    // vadd.i16 q1, q2, q3; vqdmulh.s16 q1, q2, q3; vtbl.8 d1, {d2, d3}, d4
    (
        MVFR1,
        12,
        1,
        "Advanced SIMD, integers",
        &[0xf214_2846, 0xf214_2b46, 0xf3b2_1904],
        &[],
    ),
    // vld4.8 {d0, d2, d4, d6}, [r0]; vst1.32 {d0[1]}, [r0]; vld2.16 {d0[], d1[]}, [r0]
    (
        MVFR1,
        8,
        1,
        "Advanced SIMD, loads and stores",
        &[0xf420_010f, 0xf480_088f, 0xf4a0_0d4f],
        &[],
    ),
];

/// Returns a core behind [`ENABLE`] and one more instruction. Addresses lie in RAM, and table
/// branches find a table of zeros.
fn after(instruction: u32, thumb: bool) -> Core {
    let (mut core, _) = core_with(&[&ENABLE[..], &[instruction]].concat());
    core.run(ENABLE.len() as u64);
    let s = &mut core.cpu.s;
    s.r[..13].fill(BASE + 0x2000);
    s.r[5] = 8;
    s.r[13] = BASE + 0x4000;
    s.psr.thumb = thumb;
    core.run(1);
    core
}

#[test]
fn what_is_announced_is_there() {
    for (register, shift, value, what, a32, t32) in ANNOUNCED {
        let found = after(*register, false).cpu.s.r[1] >> shift & 15;
        assert_eq!(found, *value, "{what}");
        for (instructions, thumb) in [(a32, false), (t32, true)] {
            for instruction in instructions.iter() {
                let s = &after(*instruction, thumb).cpu.s;
                let words = format!("{what}: {instruction:#010x}, T32: {thumb}");
                assert_ne!(s.psr.mode, Mode::Und, "{words}");
                assert_eq!(s.retired, ENABLE.len() as u64 + 1, "{words}");
            }
        }
    }
}

/// The fields that say that something is not there, or only at times.
#[test]
fn what_is_not_announced_is_not_there() {
    let field = |register, shift: u32| after(register, false).cpu.s.r[1] >> shift & 15;
    // ThumbEE: ENTERX.
    assert_eq!(field(ID_ISAR3, 28), 0);
    assert_eq!(after(0x8f1f_f3bf, true).cpu.s.psr.mode, Mode::Und);
    // SWP and SWPB on a uniprocessor only, which is where SCTLR.SW allows them: not at reset.
    assert_eq!((field(ID_ISAR0, 0), field(ID_ISAR4, 28)), (0, 1));
    for swap in [0xe100_1092, 0xe140_1092] {
        assert_eq!(after(swap, false).cpu.s.psr.mode, Mode::Und);
    }
    // No system registers by MRS of another mode, and no coprocessor other than 10, 11, 14 and 15:
    // CDP p0.
    assert_eq!((field(ID_ISAR0, 16), field(ID_ISAR4, 24)), (0, 0));
    assert_eq!(after(0xee00_0000, false).cpu.s.psr.mode, Mode::Und);
}
