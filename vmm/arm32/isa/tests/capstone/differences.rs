//! Where our text and capstone's are meant to differ.

use arm32_isa::{Encoding, Set};

/// A word on which the two differ.
pub struct Case<'a> {
    /// The row that decodes it.
    pub row: &'a Encoding,
    /// The word.
    pub word: u32,
    /// Our text, normalised.
    pub ours: &'a str,
    /// Capstone's text, normalised, or "invalid".
    pub theirs: &'a str,
}

impl Case<'_> {
    /// Returns a field of the word, 0 if the row has none of that letter.
    fn field(&self, letter: char) -> u32 {
        self.row.field(letter).map_or(0, |f| f.get(self.word))
    }

    /// Returns whether capstone takes the word for no instruction.
    fn invalid(&self) -> bool {
        self.theirs == "invalid"
    }
}

/// An intended difference.
pub struct Difference {
    /// Why.
    pub reason: &'static str,
    /// Names of the rows concerned (a final `*` matches any rest); empty for any row.
    pub rows: &'static [&'static str],
    /// Whether it explains a case.
    pub explains: fn(&Case<'_>) -> bool,
}

impl Difference {
    /// Returns whether it explains this case.
    pub fn applies(&self, case: &Case<'_>) -> bool {
        let named = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(prefix) => case.row.name.starts_with(prefix),
            None => case.row.name == *pattern,
        };
        (self.rows.is_empty() || self.rows.iter().any(named)) && (self.explains)(case)
    }
}

/// Splits `text #number` at its last `#`; the number may be negative.
fn split_number(text: &str) -> Option<(&str, i64)> {
    let (head, number) = text.rsplit_once('#')?;
    Some((head, number.parse().ok()?))
}

/// Returns whether the texts are the same but for a final number that is equal modulo 2^32.
fn same_word(case: &Case<'_>) -> bool {
    match (split_number(case.ours), split_number(case.theirs)) {
        (Some((a, x)), Some((b, y))) => a == b && x as u32 == y as u32,
        _ => false,
    }
}

/// Returns whether capstone's `#byte,#rotation` is our value.
fn same_rotated(ours: &str, theirs: &str) -> bool {
    let parts = || {
        let (head, value) = split_number(ours)?;
        let (rest, rotation) = split_number(theirs)?;
        let (theirs, byte) = split_number(rest.strip_suffix(',')?)?;
        Some((head, value, theirs, byte, rotation))
    };
    parts().is_some_and(|(head, value, theirs, byte, rotation)| {
        head == theirs && value as u32 == (byte as u32).rotate_right(rotation as u32)
    })
}

/// Returns whether the texts are the same but for the spelling of a final floating-point number.
fn same_float(case: &Case<'_>) -> bool {
    let split = |text: &str| {
        let (head, number) = text.rsplit_once('#')?;
        Some((head.to_owned(), number.parse::<f64>().ok()?))
    };
    split(case.ours).is_some_and(|ours| split(case.theirs) == Some(ours))
}

/// Returns whether capstone shows our `adr rd,#offset` as an addition.
fn adr_as_sum(case: &Case<'_>) -> bool {
    let Some((head, offset)) = split_number(case.ours) else {
        return false;
    };
    let (mnemonic, rd) = head.split_once(' ').unwrap_or((head, ""));
    let cond = mnemonic.trim_start_matches("adr");
    let wide = if case.row.set == Set::T32 { "w" } else { "" };
    let (op, value) = match case.row.name {
        "ADR_add" => ("add", offset as u32),
        _ => ("sub", (offset as u32).wrapping_neg()),
    };
    let sum = format!("{op}{wide}{cond} {rd}pc,#{value}");
    sum == case.theirs || same_rotated(&sum, case.theirs)
}

/// Returns whether two texts have the same first word up to a final condition.
fn same_but_condition(case: &Case<'_>) -> bool {
    let first = |text: &str| text.split(' ').next().unwrap_or("").to_owned();
    let (ours, theirs) = (first(case.ours), first(case.theirs));
    let rest = case.ours.strip_prefix(ours.as_str()) == case.theirs.strip_prefix(theirs.as_str());
    ours.strip_prefix(theirs.as_str())
        .is_some_and(|cond| cond.len() == 2)
        && rest
}

/// All intended differences.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "capstone shows ADR (32-bit encodings) as an addition to PC",
        rows: &["ADR_add", "ADR_sub"],
        explains: adr_as_sum,
    },
    Difference {
        reason: "capstone shows modified immediates of unusual rotation as byte and rotation",
        rows: &["DP_imm", "CMP_imm", "MOV_imm", "MSR_imm"],
        explains: |c| same_rotated(c.ours, c.theirs),
    },
    Difference {
        reason: "capstone shows some modified immediates as signed",
        rows: &["DP_imm", "CMP_imm", "MOV_imm", "MVN_imm", "MSR_imm"],
        explains: same_word,
    },
    Difference {
        reason: "BKPT with a condition is UNPREDICTABLE: decoded here, rejected by capstone",
        rows: &["BKPT"],
        explains: |c| c.invalid() && c.field('c') != 14,
    },
    Difference {
        reason: "HVC with a condition is UNPREDICTABLE: capstone drops the condition",
        rows: &["HVC"],
        explains: same_but_condition,
    },
    Difference {
        reason: "permanently undefined words: capstone names only some (AL in A32), two T16 ones otherwise",
        rows: &["UDF"],
        explains: |c| c.invalid() || c.theirs == "trap",
    },
    Difference {
        reason: "UNPREDICTABLE CPS (mode or flags without the bit that uses them) does what remains",
        rows: &["CPS"],
        explains: |c| c.invalid(),
    },
    Difference {
        reason: "CPS that changes interrupt masks but names none: capstone shows them as none",
        rows: &["CPS"],
        explains: |c| c.field('f') == 0 && c.theirs.contains("none"),
    },
    Difference {
        reason: "DSB #12 is DFB in Armv8-R",
        rows: &["DSB"],
        explains: |c| c.field('o') == 12 && c.theirs == "dfb",
    },
    Difference {
        reason: "unallocated hints are NOP; capstone shows their numbers or Armv8's names",
        rows: &["HINT"],
        explains: |c| {
            let hint = ["hint", "sevl", "esb", "csdb", "clrbhb", "tsb"];
            c.ours.starts_with("nop")
                && (c.invalid() || hint.iter().any(|h| c.theirs.starts_with(h)))
        },
    },
    Difference {
        reason: "should-be bits of A32 hints are ignored here, as QEMU does",
        rows: &["HINT"],
        explains: |c| c.row.set == Set::A32 && c.invalid() && c.word & 0xf00 != 0,
    },
    Difference {
        reason: "a push or pop of one register: capstone shows the load or store",
        rows: &["PUSH_one", "POP_one"],
        explains: |c| c.theirs.starts_with("str") || c.theirs.starts_with("ldr"),
    },
    Difference {
        reason: "T32 CLZ and reversals name Rm twice: capstone mixes the two, we ignore the first",
        rows: &["CLZ", "REV*", "RBIT"],
        explains: |c| c.row.set == Set::T32 && c.word >> 16 & 15 != c.word & 15,
    },
    Difference {
        reason: "IT with condition 1111 is UNPREDICTABLE: as AL here, with t and e by its own low bit",
        rows: &["IT"],
        explains: |c| c.field('f') == 15,
    },
    Difference {
        reason: "an addition of SP to another register: capstone shows both operands",
        rows: &["ADD_hi"],
        explains: |c| c.theirs.contains(",sp,"),
    },
    Difference {
        reason: "T32 store lists with SP or PC are UNPREDICTABLE: stored here, as QEMU does",
        rows: &["STMIA", "STMDB", "PUSH"],
        explains: |c| c.row.set == Set::T32 && c.invalid() && c.field('r') & 0xa000 != 0,
    },
    Difference {
        reason: "Armv8.2 half-precision and dot-product instructions took coprocessors 9 and 13",
        rows: &["CDP*", "LDC*", "MCR*", "MRC*"],
        explains: |c| matches!(c.field('p'), 9 | 13) && c.theirs.starts_with('v'),
    },
    Difference {
        reason: "capstone shows the zero offset of a T16 literal load",
        rows: &["LDR_lit"],
        explains: |c| c.theirs.strip_suffix(",#0]") == c.ours.strip_suffix("]"),
    },
    Difference {
        reason: "unallocated memory hints are NOP (DDI 0406C A5.7.1, A6.3.8, A6.3.9)",
        rows: &["NOP_*"],
        explains: |c| c.invalid(),
    },
    Difference {
        reason: "PLDW (literal) does not exist: PLD here",
        rows: &["PLD_lit"],
        explains: |c| c.invalid() && c.word & 1 << 21 != 0,
    },
    Difference {
        reason: "banked register numbers that name none are UNPREDICTABLE: left to the executor",
        rows: &["MRS_bank", "MSR_bank"],
        explains: |c| c.invalid() && c.ours.contains('?'),
    },
    Difference {
        reason: "MSR of no field of CPSR is UNPREDICTABLE: writes nothing",
        rows: &["MSR_reg"],
        explains: |c| c.invalid() && c.field('m') == 0,
    },
    Difference {
        reason: "VEXT counts bytes; capstone shows the wider pseudo-instructions",
        rows: &["VEXT"],
        explains: |c| c.theirs.starts_with("vext."),
    },
    Difference {
        reason: "FLDMX and FSTMX past D15 are UNPREDICTABLE: done here, rejected by capstone",
        rows: &["VLDM_d*"],
        explains: |c| c.invalid() && c.word & 1 != 0,
    },
    Difference {
        reason: "floating-point constants are written with fewer digits here",
        rows: &["VMOV_f32", "VMOV_fimm"],
        explains: same_float,
    },
    Difference {
        reason: "reserved system registers of VFP: capstone rejects them or shows Armv8's MVFR2",
        rows: &["VMRS", "VMSR"],
        explains: |c| c.ours.contains("fpreserved") && (c.invalid() || c.theirs.contains("mvfr2")),
    },
    Difference {
        reason: "writes to read-only system registers of VFP: left to the executor",
        rows: &["VMSR"],
        explains: |c| c.invalid() && c.ours.contains("mvfr"),
    },
];
