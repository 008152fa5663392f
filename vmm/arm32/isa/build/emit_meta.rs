//! Emits the public list of encodings.

use super::emit_enum::uses_it;
use super::parse::Table;
use std::fmt::Write;

/// Returns the text of `meta.rs`.
pub fn emit(table: &Table) -> String {
    let mut out = format!(
        "/// All encodings; entry `i` has `EncodingId(i + 1)`.\npub static ENCODINGS: [Encoding; {}] = [\n",
        table.rows.len()
    );
    for (index, row) in table.rows.iter().enumerate() {
        let p = &row.pattern;
        let classes: Vec<String> = row
            .classes
            .iter()
            // `|` is not const, which the initialiser of a static has to be.
            .map(|c| format!(".union(Class::{c})"))
            .collect();
        // Writing to a String does not fail, here and below.
        let _ = writeln!(
            out,
            "    Encoding {{\n        id: EncodingId({}),\n        name: {:?},\n        set: Set::{},\n        \
             variant: {:?},\n        mask: {:#010x},\n        value: {:#010x},\n        should_mask: \
             {:#010x},\n        \
             should_value: {:#010x},\n        class: Class::empty(){},\n        flags_by_it: {},\n        fields: &[",
            index + 1,
            row.name,
            row.set.name(),
            row.variant,
            p.mask,
            p.value,
            p.should_mask,
            p.should_value,
            classes.concat(),
            uses_it(row),
        );
        for field in &p.fields {
            let parts: Vec<String> = field
                .parts
                .iter()
                .map(|part| format!("({}, {})", part.lo, part.len))
                .collect();
            let _ = writeln!(
                out,
                "            Field {{ letter: {:?}, parts: &[{}] }},",
                field.letter,
                parts.join(", ")
            );
        }
        out.push_str("        ],\n    },\n");
    }
    out.push_str("];\n");
    out
}
