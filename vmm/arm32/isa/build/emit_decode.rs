//! Emits the decoder's tables: rows by bucket, most specific first, and the conditions.
//!
//! A bucket is a value of some key bits of the word (`src/decode.rs` computes the key the same
//! way from `KEYS`). Each bucket lists the rows that can match a word with that key.

use super::parse::{Row, Set, Table};
use super::text::{bind_letters, without_outer_brackets};
use std::fmt::Write;

/// Returns the key bits of a set, as (lowest bit, length) runs, most significant first.
///
/// A32 has one key bit in front: whether the condition field is 1111.
fn key_runs(set: Set) -> &'static [(u32, u32)] {
    match set {
        Set::A32 => &[(20, 8), (4, 4)],
        Set::T32 => &[(20, 9), (4, 4)],
        Set::T16 => &[(6, 10)],
    }
}

/// Returns the text of `decode.rs`.
pub fn emit(table: &Table) -> String {
    let mut out = String::new();
    patterns(table, &mut out);
    for set in [Set::A32, Set::T32, Set::T16] {
        buckets(table, set, &mut out);
    }
    conditions(table, &mut out);
    out
}

fn patterns(table: &Table, out: &mut String) {
    // Writing to a String does not fail, here and below.
    let _ = writeln!(
        out,
        "/// Mask, value and whether there is a condition, by row; row 0 is nothing.\n\
         pub(crate) static PATTERNS: [Pattern; {}] = [\n    Pattern {{ mask: 0, value: 0, conditional: \
         false, cond_shift: NO_COND }},",
        table.rows.len() + 1
    );
    for row in &table.rows {
        let p = &row.pattern;
        // One run in every row, so that its lowest bit says where it is.
        let shift = p
            .field('c')
            .map_or("NO_COND".to_owned(), |f| f.parts[0].lo.to_string());
        let _ = writeln!(
            out,
            "    Pattern {{ mask: {:#010x}, value: {:#010x}, conditional: {}, cond_shift: {shift} }},",
            p.mask,
            p.value,
            condition_source(row).is_some(),
        );
    }
    out.push_str("];\n\n");
}

/// Returns a key's bits put back in place, and the mask of all key bits.
fn unkey(set: Set, key: u32) -> (u32, u32) {
    let (mut mask, mut value, mut left) = (0, 0, key);
    // The last run is in the lowest bits of the key.
    for (lo, len) in key_runs(set).iter().rev() {
        let ones = (1 << len) - 1;
        mask |= ones << lo;
        value |= (left & ones) << lo;
        left >>= len;
    }
    (mask, value)
}

fn in_bucket(row: &Row, set: Set, key: u32, key_bits: u32) -> bool {
    let (mut mask, mut value) = unkey(set, key);
    if set == Set::A32 {
        let unconditional = key >> key_bits != 0;
        let top = row.pattern.mask >> 28;
        let fixed_unconditional = top == 15 && row.pattern.value >> 28 == 15;
        // Rows with a condition field are in the conditional half of the buckets, and only there.
        if row.pattern.field('c').is_some() == unconditional {
            return false;
        }
        // Rows without one go by the top bits that they fix: 1111, or else a condition.
        if fixed_unconditional != unconditional && row.pattern.field('c').is_none() {
            return false;
        }
        // The condition field is dealt with above.
        mask &= 0x0fff_ffff;
        value &= 0x0fff_ffff;
    }
    // Key bits that the row leaves open put it into several buckets.
    (row.pattern.value ^ value) & row.pattern.mask & mask == 0
}

fn buckets(table: &Table, set: Set, out: &mut String) {
    let key_bits: u32 = key_runs(set).iter().map(|(_, len)| len).sum();
    let total = 1 << (key_bits + u32::from(set == Set::A32));
    let mut order: Vec<usize> = (0..table.rows.len())
        .filter(|i| table.rows[*i].set == set)
        .collect();
    // The most specific row first: the decoder takes the first one that matches.
    order.sort_by_key(|i| {
        let row = &table.rows[*i];
        (
            std::cmp::Reverse((row.pattern.mask.count_ones(), row.condition.is_some())),
            // Ties stay in the order of the tables, whatever the sort does with equal keys.
            *i,
        )
    });
    // Each bucket ends where the next one begins, so that there is one more start.
    let mut starts = vec![0usize];
    let mut rows: Vec<usize> = Vec::new();
    for key in 0..total {
        // Numbers begin at 1, since row 0 means that none matches.
        rows.extend(
            order
                .iter()
                .filter(|i| in_bucket(&table.rows[**i], set, key, key_bits))
                .map(|i| i + 1),
        );
        starts.push(rows.len());
    }
    let name = set.name();
    array(
        out,
        &format!("{name}_STARTS"),
        "u32",
        "Where each bucket begins.",
        &starts,
    );
    array(
        out,
        &format!("{name}_ROWS"),
        "u16",
        "Rows by bucket.",
        &rows,
    );
}

fn array(out: &mut String, name: &str, ty: &str, doc: &str, values: &[usize]) {
    let _ = writeln!(
        out,
        "/// {doc}\nstatic {name}: [{ty}; {}] = [",
        values.len()
    );
    for chunk in values.chunks(16) {
        let line: Vec<String> = chunk.iter().map(usize::to_string).collect();
        let _ = writeln!(out, "    {},", line.join(", "));
    }
    out.push_str("];\n\n");
}

/// Returns the condition as Rust, without the part that the buckets of A32 already decide.
fn condition_source(row: &Row) -> Option<String> {
    let (text, _) = row.condition.as_ref()?;
    let text = match row.set {
        Set::A32 if text == "c != 15" => return None,
        Set::A32 => text.strip_prefix("c != 15 && ").unwrap_or(text),
        _ => text,
    };
    Some(bind_letters(without_outer_brackets(text), &row.pattern))
}

fn conditions(table: &Table, out: &mut String) {
    out.push_str(
        "/// Whether the condition of `row` holds for a word that matches its bits.\n\
         pub(crate) fn accepts(row: u16, w: u32) -> bool {\n    match row {\n",
    );
    for (index, row) in table.rows.iter().enumerate() {
        if let Some(source) = condition_source(row) {
            let _ = writeln!(out, "        {} => {source},", index + 1);
        }
    }
    out.push_str("        _ => true,\n    }\n}\n");
}
