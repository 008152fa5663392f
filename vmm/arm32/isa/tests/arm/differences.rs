//! Where our decoder and Arm's Armv8 tables are meant to differ.

use crate::matches;
use arm32_isa::Set;

/// A word that the two name differently.
pub struct Case<'a> {
    /// Its instruction set.
    pub set: Set,
    /// The word.
    pub word: u32,
    /// Our mnemonic, or "undefined".
    pub ours: &'a str,
    /// Arm's mnemonic, or "undefined".
    pub theirs: &'a str,
    /// The name of our row, or nothing.
    pub our_row: &'a str,
    /// The name of Arm's row, or nothing.
    pub their_row: &'a str,
    /// Whether should-be bits of Arm's row are not as they should be.
    pub should_violated: bool,
}

impl Case<'_> {
    fn undefined_here(&self) -> bool {
        self.ours == "undefined"
    }

    /// Returns `len` bits of the word from bit `lo`.
    fn bits(&self, lo: u32, len: u32) -> u32 {
        self.word >> lo & (u32::MAX >> (32 - len))
    }

    fn theirs_is(&self, names: &[&str]) -> bool {
        names.contains(&self.theirs)
    }
}

/// An intended difference.
pub struct Difference {
    /// Why.
    pub reason: &'static str,
    /// Whether it is another name for the same instruction.
    pub same_instruction: bool,
    /// Whether it explains a case.
    pub explains: fn(&Case<'_>) -> bool,
}

/// Returns another name for the same instruction.
const fn name(reason: &'static str, explains: fn(&Case<'_>) -> bool) -> Difference {
    Difference {
        reason,
        same_instruction: true,
        explains,
    }
}

/// Returns another meaning.
const fn meaning(reason: &'static str, explains: fn(&Case<'_>) -> bool) -> Difference {
    Difference {
        reason,
        same_instruction: false,
        explains,
    }
}

/// Returns whether it is VFP or Advanced SIMD by Arm's name.
fn vector(c: &Case<'_>) -> bool {
    c.theirs.starts_with('v') || c.theirs.starts_with("fld") || c.theirs.starts_with("fst")
}

/// All intended differences; the first that explains a case counts.
pub const DIFFERENCES: &[Difference] = &[
    name("moves that shift are named after the shift", |c| {
        let shifts = ["lsl", "lsr", "asr", "ror", "rrx"];
        shifts.iter().any(|s| c.ours.starts_with(s)) && c.theirs.starts_with("mov")
    }),
    name("BLX (immediate) is in Arm's rows for BL", |c| {
        (c.ours, c.theirs) == ("blx", "bl")
    }),
    name("wide immediates have mnemonics of their own", |c| {
        matches!(
            (c.ours, c.theirs),
            ("addw", "add") | ("subw", "sub") | ("movw", "mov")
        )
    }),
    name(
        "addressing modes and IT's t and e are part of our mnemonic",
        |c| {
            c.theirs_is(&["ldm", "stm", "rfe", "srs", "it", "vldm", "vstm"])
                && c.ours.starts_with(c.theirs)
        },
    ),
    name(
        "push and pop are the preferred names of stores and loads through SP",
        |c| {
            matches!(
                (c.ours, c.theirs),
                ("push", "stmdb" | "str")
                    | ("pop", "ldm" | "ldr")
                    | ("vpush", "vstmdb")
                    | ("vpop", "vldm")
            )
        },
    ),
    name("CPS that names no interrupt mask", |c| {
        c.ours == "cps" && c.theirs_is(&["cpsid", "cpsie"])
    }),
    meaning(
        "a should-be bit that is violated makes the word UNDEFINED here",
        |c| c.should_violated && c.undefined_here(),
    ),
    meaning(
        "LDRT and friends with PC as base are UNPREDICTABLE: Arm's literal rows take them",
        |c| c.set == Set::A32 && c.bits(16, 4) == 15 && c.ours.strip_suffix('t') == Some(c.theirs),
    ),
    meaning(
        "T32 loads of PC-relative data: Arm's rows for other addressing do not exclude PC",
        |c| c.set == Set::T32 && c.bits(16, 4) == 15 && c.theirs.strip_suffix('t') == Some(c.ours),
    ),
    meaning(
        "PLDW (literal) does not exist: PLDW of PC in A32, PLD in T32",
        |c| c.bits(16, 4) == 15 && matches!((c.ours, c.theirs), ("pld", "pldw") | ("pldw", "pld")),
    ),
    meaning("hints that are not allocated in Armv7 do nothing", |c| {
        c.our_row == "HINT" && c.ours == "nop"
    }),
    meaning("memory hints that are not allocated do nothing", |c| {
        c.our_row.starts_with("NOP_") && (c.theirs == "undefined" || c.theirs.starts_with("ldrsh"))
    }),
    meaning(
        "Armv8 has no coprocessors but 14 and 15, and gave the space to new instructions",
        |c| {
            let generic = ["CDP", "MCR", "MRC", "MRRC", "LDC"];
            generic.iter().any(|g| c.our_row.starts_with(g))
                && !matches!(c.bits(8, 4), 10 | 11)
                && (c.theirs == "undefined" || vector(c))
        },
    ),
    meaning("SWP is gone in Armv8", |c| {
        c.our_row == "SWP" && c.theirs == "undefined"
    }),
    meaning("UDF with a condition is not in Arm's tables", |c| {
        c.our_row == "UDF" && c.theirs == "undefined" && c.word >> 28 != 14
    }),
    meaning("DSB #0 and #4 are speculation barriers in Armv8", |c| {
        c.ours == "dsb" && c.theirs_is(&["ssbb", "pssbb"])
    }),
    meaning(
        "bit fields that end before they begin or past bit 31",
        |c| c.undefined_here() && c.theirs_is(&["bfc", "bfi", "sbfx", "ubfx"]),
    ),
    meaning(
        "block transfers of nothing, with PC as base, or that load their base and write it",
        |c| {
            let base = match c.set {
                Set::T16 => 16,
                _ => c.bits(16, 4),
            };
            let list = if c.set == Set::T16 {
                c.bits(0, 8)
            } else {
                c.bits(0, 16)
            };
            let block = c.theirs.starts_with("ldm")
                || c.theirs.starts_with("stm")
                || c.theirs_is(&["push", "pop"]);
            let loaded = base < 16 && list >> base & 1 != 0;
            c.undefined_here() && block && (list == 0 || base == 15 || loaded)
        },
    ),
    meaning(
        "A32 LDRD and STRD of odd registers, or with P = 0 and W = 1",
        |c| {
            let odd = c.bits(12, 1) == 1;
            let index = c.bits(24, 1) == 0 && c.bits(21, 1) == 1;
            c.undefined_here()
                && c.theirs_is(&["ldrd", "strd"])
                && c.set == Set::A32
                && (odd || index)
        },
    ),
    meaning(
        "LDC and STC with neither P, U nor W are a hole beside MCRR",
        |c| {
            c.undefined_here() && c.theirs_is(&["ldc", "stc"]) && c.bits(23, 2) + c.bits(21, 1) == 0
        },
    ),
    meaning(
        "T32 SUBS PC from a register other than LR came with Armv8",
        |c| c.undefined_here() && c.their_row == "SUBS_PC_T5_AS" && c.bits(16, 4) != 14,
    ),
    meaning(
        "size 3 among vector operations of different lengths is VEXT",
        |c| c.our_row == "VEXT" && c.bits(20, 2) == 3,
    ),
    meaning(
        "VMOVL is VSHLL by 0: other amounts are a shift, imm6 = 000xxx is an immediate",
        |c| {
            let amount = c.bits(16, 3) != 0 || c.bits(19, 3).count_ones() != 1;
            c.theirs == "vmovl" && (c.ours == "vshll" && amount || c.bits(19, 3) == 0)
        },
    ),
    meaning(
        "T32 LDRD (literal) with neither P nor W is a hole among the exclusives",
        |c| c.undefined_here() && c.their_row == "LDRD_l_T1" && c.bits(24, 1) + c.bits(21, 1) == 0,
    ),
    meaning(
        "exclusives with PC, with overlapping registers, T32 ones with SP, odd pairs",
        |c| c.undefined_here() && (c.theirs.starts_with("ldrex") || c.theirs.starts_with("strex")),
    ),
    meaning(
        "T32 conditional branches with conditions 111x are other instructions",
        |c| c.undefined_here() && c.their_row == "B_T3" && c.bits(22, 4) >= 14,
    ),
    meaning("T32 BLX with H set", |c| {
        c.undefined_here() && c.their_row == "BL_i_T2" && c.bits(0, 1) == 1
    }),
    meaning("T32 stores with PC as base", |c| {
        c.undefined_here()
            && c.set == Set::T32
            && c.theirs.starts_with("str")
            && c.bits(16, 4) == 15
    }),
    meaning("RFE from PC", |c| {
        c.undefined_here() && c.theirs.starts_with("rfe") && c.bits(16, 4) == 15
    }),
    meaning(
        "Arm's tables leave size and register checks of vector instructions to pseudocode",
        |c| c.undefined_here() && vector(c),
    ),
    meaning("instructions of Armv8", |c| {
        c.undefined_here()
            && NOT_ARMV7
                .iter()
                .any(|(_, names)| names.iter().any(|n| matches(n, c.their_row)))
    }),
];

/// Rows of Arm's tables that Armv7 with the virtualization extensions does not have.
pub const NOT_ARMV7: &[(&str, &[&str])] = &[
    ("cryptography", &["AES*", "SHA1*", "SHA256*"]),
    ("CRC", &["CRC32*"]),
    (
        "acquire and release",
        &["LDA*", "STL_*", "STLB*", "STLH*", "STLEX*"],
    ),
    (
        "debug and barriers",
        &[
            "HLT*", "DCPS*", "SB_*", "SSBB*", "PSSBB*", "CSDB*", "TSB*", "ESB*",
        ],
    ),
    ("hints", &["SEVL*", "CLRBHB*"]),
    ("privileged access never", &["SETPAN*"]),
    (
        "half-precision arithmetic (FP16)",
        &["V*_H", "VMOVX*", "VINS*", "VMOV_toh*", "VMOV_h_*"],
    ),
    (
        "half to double precision",
        &["VCVTB_*_DH", "VCVTB_*_HD", "VCVTT_*_DH", "VCVTT_*_HD"],
    ),
    (
        "BF16",
        &["VCVT*_bfs", "VCVT_bfs*", "VFMA_bf*", "VMMLA*", "VDOT*"],
    ),
    (
        "rounding by instruction",
        &["VRINT*", "VCVTA*", "VCVTN*", "VCVTP*", "VCVTM*", "VJCVT*"],
    ),
    (
        "IEEE 754-2008 maximum and minimum, selection",
        &["VMAXNM*", "VMINNM*", "VSEL*"],
    ),
    (
        "rounding doubling multiply and accumulate",
        &["VQRDMLAH*", "VQRDMLSH*"],
    ),
    ("complex numbers", &["VCADD*", "VCMLA*"]),
    ("FP16 multiply long", &["VFMAL*", "VFMSL*"]),
    (
        "dot products and matrices",
        &["VSDOT*", "VUDOT*", "VUSDOT*", "VSUDOT*", "V*MMLA*"],
    ),
];
