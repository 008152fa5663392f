//! The decoder against Arm's own tables (AARCHMRS, as the crate `aarchmrs-instructions`).
//!
//! For random words of every row, ours and theirs, both must name the same instruction. Arm's
//! tables describe Armv8 AArch32, so `arm/differences.rs` lists where the two are meant to differ,
//! each with a reason. A difference that is not listed fails, and so does one that never occurs.

#![expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is one or two halfwords"
)]

#[path = "arm/a32_rows.rs"]
mod a32_rows;
mod common;
#[path = "arm/differences.rs"]
mod differences;
#[path = "arm/t32_rows.rs"]
mod t32_rows;

use arm32_isa::{Cond, Decoded, ENCODINGS, Set, decode_a32, decode_t32, t32_is_32bit};
use differences::{Case, DIFFERENCES, NOT_ARMV7};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// Random words of each of our rows, and of each of Arm's.
const WORDS_PER_ROW: usize = 100;

/// Random words of each set, whatever they are.
const RANDOM_WORDS: usize = 100_000;

/// Unexpected differences shown of each pair of instructions.
const SHOWN: usize = 2;

/// A row of Arm's tables.
pub struct ArmRow {
    name: &'static str,
    mask: u32,
    value: u32,
    should: u32,
}

/// Makes the list of rows from module paths and row names.
#[macro_export]
macro_rules! arm_rows {
    ($($($segment:ident)::+ : $($name:ident)+;)+) => {{
        let mut rows = Vec::new();
        $({
            use aarchmrs_instructions::$($segment)::+ as module;
            rows.extend([$($crate::ArmRow {
                name: module::$name::NAME,
                mask: module::$name::OPCODE_MASK,
                value: module::$name::OPCODE,
                should: module::$name::SHOULD_BE_MASK,
            }),+]);
        })+
        rows
    }};
}

impl ArmRow {
    /// Returns the bits that decide. A row may take should-be bits into its mask; they do not
    /// decide.
    fn deciding(&self) -> u32 {
        self.mask & !self.should
    }

    fn matches(&self, set: Set, word: u32) -> bool {
        let conditional = set == Set::A32 && self.mask >> 28 == 0;
        (word ^ self.value) & self.deciding() == 0 && !(conditional && word >> 28 == 15)
    }

    /// Returns whether its words are 16 bits wide: T32 has them in the same list.
    fn is_narrow(&self) -> bool {
        self.mask >> 16 == 0
    }
}

/// Returns the rows that match.
fn arm_matches(rows: &[ArmRow], set: Set, word: u32) -> impl Iterator<Item = &ArmRow> {
    rows.iter()
        .filter(move |r| (set == Set::T16) == r.is_narrow() && r.matches(set, word))
}

/// Returns the most specific row that matches.
fn arm_match(rows: &[ArmRow], set: Set, word: u32) -> Option<&ArmRow> {
    arm_matches(rows, set, word).max_by_key(|r| r.deciding().count_ones())
}

fn decode(set: Set, word: u32) -> Decoded {
    match set {
        Set::A32 => decode_a32(word),
        Set::T32 => decode_t32((word >> 16) as u16, word as u16, false),
        Set::T16 => decode_t32(word as u16, 0, false),
    }
}

/// Returns our mnemonic without condition, qualifiers and data types; "undefined" if there is none.
fn our_mnemonic(set: Set, word: u32) -> (String, &'static str) {
    let mut decoded = decode(set, word);
    decoded.cond = Cond::Al;
    let text = decoded.asm(0).to_string();
    let mnemonic = text.split([' ', '.']).next().unwrap_or_default().to_owned();
    let row = usize::from(decoded.encoding.0)
        .checked_sub(1)
        .map_or("", |i| ENCODINGS[i].name);
    (mnemonic, row)
}

/// Returns arm's mnemonic: the row's name up to the first underscore.
fn arm_mnemonic(row: &ArmRow) -> String {
    row.name
        .split('_')
        .next()
        .unwrap_or_default()
        .to_lowercase()
}

/// Returns whether the two names are one instruction: ours may say that it sets flags.
fn same(ours: &str, theirs: &str) -> bool {
    ours == theirs || ours.strip_suffix('s') == Some(theirs)
}

struct Comparison<'a> {
    rows: &'a [ArmRow],
    used: Vec<usize>,
    unexpected: BTreeMap<String, Vec<String>>,
    /// Arm's rows that agreed on some word.
    agreed: BTreeSet<&'static str>,
}

impl Comparison<'_> {
    fn check(&mut self, set: Set, word: u32) {
        let (ours, our_row) = our_mnemonic(set, word);
        let found = arm_match(self.rows, set, word);
        let (theirs, their_row) =
            found.map_or(("undefined".to_owned(), ""), |r| (arm_mnemonic(r), r.name));
        // Arm's less specific rows may be the right ones: for each to be known, any match counts.
        let agreeing = |r: &&ArmRow| same(&ours, &arm_mnemonic(r));
        self.agreed.extend(
            arm_matches(self.rows, set, word)
                .filter(agreeing)
                .map(|r| r.name),
        );
        if same(&ours, &theirs) {
            return;
        }
        let should_violated = found.is_some_and(|r| (word ^ r.value) & r.mask & r.should != 0);
        let case = Case {
            set,
            word,
            ours: &ours,
            theirs: &theirs,
            our_row,
            their_row,
            should_violated,
        };
        match DIFFERENCES.iter().position(|d| (d.explains)(&case)) {
            Some(index) => {
                self.used[index] += 1;
                // Another name for the same instruction is agreement too.
                if DIFFERENCES[index].same_instruction {
                    self.agreed.insert(their_row);
                }
            }
            None => self
                .unexpected
                .entry(format!(
                    "{set:?} {ours} ({our_row}) / {theirs} ({their_row})"
                ))
                .or_default()
                .push(format!("{word:#010x} {}", decode(set, word).asm(0))),
        }
    }
}

/// Returns a random word of one of Arm's rows; should-be bits as they should be.
fn random_word(row: &ArmRow, set: Set, rng: &mut impl RngCore) -> u32 {
    let random = rng.next_u32();
    let word = random & !row.mask | row.value;
    match set {
        Set::A32 if row.mask >> 28 == 0 && word >> 28 == 15 => word & 0xefff_ffff,
        Set::T16 => word & 0xffff,
        _ => word,
    }
}

fn random_of_set(set: Set, rng: &mut impl RngCore) -> u32 {
    loop {
        let word = rng.next_u32();
        match set {
            Set::A32 => return word,
            Set::T16 if !t32_is_32bit(word as u16) => return word & 0xffff,
            Set::T32 if t32_is_32bit((word >> 16) as u16) => return word,
            _ => {}
        }
    }
}

/// Compares one set and checks that each of Arm's rows is known here or listed as newer.
fn compare_set(comparison: &mut Comparison<'_>, set: Set, rng: &mut Xoshiro256PlusPlus) {
    for row in ENCODINGS.iter().filter(|e| e.set == set) {
        for word in (0..WORDS_PER_ROW).filter_map(|_| row.random(rng)) {
            comparison.check(set, word);
        }
    }
    for row in comparison
        .rows
        .iter()
        .filter(|r| (set == Set::T16) == r.is_narrow())
    {
        for _ in 0..WORDS_PER_ROW {
            comparison.check(set, random_word(row, set, rng));
        }
    }
    for _ in 0..RANDOM_WORDS {
        comparison.check(set, random_of_set(set, rng));
    }
}

/// Returns arm's rows that nothing here agreed with and that are not listed as newer, and listed
/// ones that are known here after all.
fn missing(rows: &[ArmRow], agreed: &BTreeSet<&str>) -> Vec<String> {
    let newer = |name: &str| {
        NOT_ARMV7
            .iter()
            .any(|(_, names)| names.iter().any(|n| matches(n, name)))
    };
    rows.iter()
        .filter(|r| agreed.contains(r.name) == newer(r.name))
        .map(|r| {
            let what = if newer(r.name) {
                "listed as newer but known"
            } else {
                "unknown here"
            };
            format!("{} is {what}", r.name)
        })
        .collect()
}

/// Returns whether a name fits a pattern, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((prefix, suffix)) => name
            .strip_prefix(prefix)
            .is_some_and(|rest| (0..=rest.len()).any(|i| matches(suffix, &rest[i..]))),
    }
}

#[test]
fn instructions_agree_with_arms_tables() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let (a32, t32) = (a32_rows::rows(), t32_rows::rows());
    let mut used = vec![0; DIFFERENCES.len()];
    let mut unexpected = BTreeMap::new();
    let mut absent = Vec::new();
    for (rows, sets) in [(&a32, &[Set::A32][..]), (&t32, &[Set::T32, Set::T16][..])] {
        let mut comparison = Comparison {
            rows,
            used,
            unexpected,
            agreed: BTreeSet::new(),
        };
        for set in sets {
            compare_set(&mut comparison, *set, &mut rng);
        }
        absent.extend(missing(rows, &comparison.agreed));
        Comparison {
            used,
            unexpected,
            ..
        } = comparison;
    }
    let listed = DIFFERENCES.iter().map(|difference| difference.reason);
    common::assert_listed("pairs", &unexpected, SHOWN, listed.zip(used));
    assert!(absent.is_empty(), "rows of Arm's tables: {absent:#?}");
}

#[test]
fn every_listed_newer_instruction_is_in_arms_tables() {
    let names: Vec<&str> = a32_rows::rows()
        .iter()
        .chain(&t32_rows::rows())
        .map(|r| r.name)
        .collect();
    for pattern in NOT_ARMV7.iter().flat_map(|(_, patterns)| *patterns) {
        assert!(
            names.iter().any(|n| matches(pattern, n)),
            "nothing fits {pattern}"
        );
    }
}
