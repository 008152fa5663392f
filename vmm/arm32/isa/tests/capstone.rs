//! Every row of the tables against capstone: mnemonic and operands of random words.
//!
//! `capstone/differences.rs` lists where the two are meant to differ, each with a reason. A
//! difference that is not listed fails, and so does an entry that never occurs.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an instruction is one or two halfwords, and Capstone's immediates are compared as words"
)]

mod common;
#[path = "capstone/differences.rs"]
mod differences;
#[path = "capstone/normalise.rs"]
mod normalise;

use arm32_isa::{Decoded, ENCODINGS, Encoding, Set, decode_a32, decode_t32};
use capstone::Capstone;
use capstone::arch::arm::ArchMode;
use capstone::prelude::*;
use differences::{Case, DIFFERENCES};
use normalise::normalise;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;
use std::collections::BTreeMap;

/// Random words a row.
const WORDS_PER_ROW: usize = 400;

/// Examples shown of each row that differs unexpectedly.
const SHOWN: usize = 3;

const ADDRESS: u32 = 0x1000;

fn engine(set: Set) -> Capstone {
    let mode = if set == Set::A32 {
        ArchMode::Arm
    } else {
        ArchMode::Thumb
    };
    Capstone::new()
        .arm()
        .mode(mode)
        .build()
        .expect("capstone starts")
}

fn decode(set: Set, word: u32) -> Decoded {
    match set {
        Set::A32 => decode_a32(word),
        Set::T32 => decode_t32((word >> 16) as u16, word as u16, false),
        Set::T16 => decode_t32(word as u16, 0, false),
    }
}

fn bytes(set: Set, word: u32) -> Vec<u8> {
    match set {
        Set::A32 => word.to_le_bytes().to_vec(),
        Set::T32 => word.rotate_left(16).to_le_bytes().to_vec(),
        Set::T16 => (word as u16).to_le_bytes().to_vec(),
    }
}

/// Returns capstone's text, or "invalid".
fn theirs(engine: &Capstone, set: Set, word: u32) -> String {
    let bytes = bytes(set, word);
    match engine.disasm_count(&bytes, ADDRESS.into(), 1) {
        Ok(list) if list.len() == 1 && list[0].bytes().len() == bytes.len() => {
            format!(
                "{} {}",
                list[0].mnemonic().unwrap_or(""),
                list[0].op_str().unwrap_or("")
            )
        }
        _ => "invalid".to_owned(),
    }
}

/// Compares random words of one row; marks the listed differences that occurred.
fn check_row(
    engine: &Capstone,
    row: &Encoding,
    rng: &mut Xoshiro256PlusPlus,
    used: &mut [usize],
) -> Vec<String> {
    let mut unexpected = Vec::new();
    for _ in 0..WORDS_PER_ROW {
        let Some(word) = row.random(rng) else { break };
        let ours = normalise(&decode(row.set, word).asm(ADDRESS).to_string());
        let theirs = normalise(&theirs(engine, row.set, word));
        if ours == theirs {
            continue;
        }
        let case = Case {
            row,
            word,
            ours: &ours,
            theirs: &theirs,
        };
        match DIFFERENCES.iter().position(|d| d.applies(&case)) {
            Some(index) => used[index] += 1,
            None => unexpected.push(format!(
                "{:?} {:<10} {word:08x}  ours `{ours}`  capstone `{theirs}`",
                row.set, row.name
            )),
        }
    }
    unexpected
}

#[test]
fn text_agrees_with_capstone() {
    let mut used = vec![0; DIFFERENCES.len()];
    let mut report: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let engines = [engine(Set::A32), engine(Set::T32)];
    for row in &ENCODINGS {
        // IT changes how capstone reads what follows: give it an engine of its own.
        let fresh = (row.name == "IT").then(|| engine(row.set));
        let shared = &engines[usize::from(row.set != Set::A32)];
        // Seeded by name, so that a new row leaves the words of others alone.
        let seed = row.name.bytes().fold(row.set as u64, |acc, b| {
            acc.wrapping_mul(31).wrapping_add(u64::from(b))
        });
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let unexpected = check_row(fresh.as_ref().unwrap_or(shared), row, &mut rng, &mut used);
        if !unexpected.is_empty() {
            report.insert(format!("{:?} {}", row.set, row.name), unexpected);
        }
    }
    let listed = DIFFERENCES.iter().map(|difference| difference.reason);
    common::assert_listed("rows", &report, SHOWN, listed.zip(used));
}
