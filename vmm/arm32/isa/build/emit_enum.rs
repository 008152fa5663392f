//! Emits `enum Insn` and the functions that build it from a matched word.

use super::parse::{Row, Table};
use super::text::{bind_letters, idents};
use std::fmt::Write;

/// Returns the text of `insn.rs`.
pub fn emit(table: &Table) -> String {
    let mut out = String::new();
    declaration(table, &mut out);
    builder(table, &mut out);
    out
}

fn declaration(table: &Table, out: &mut String) {
    out.push_str(
        "/// One instruction, whatever its encoding.\n\
         #[derive(Clone, Copy, Debug, PartialEq)]\npub enum Insn {\n",
    );
    for variant in &table.variants {
        for line in &variant.doc {
            // Writing to a String does not fail, here and below.
            let _ = writeln!(out, "    /// {line}");
        }
        if variant.fields.is_empty() {
            let _ = writeln!(out, "    {},", variant.name);
            continue;
        }
        let _ = writeln!(out, "    {} {{", variant.name);
        for (field, ty) in &variant.fields {
            let meaning = table
                .meaning(variant, field)
                .unwrap_or("As in the assembler syntax.");
            let _ = writeln!(out, "        /// {meaning}\n        {field}: {ty},");
        }
        out.push_str("    },\n");
    }
    out.push_str("}\n\n");
}

fn builder(table: &Table, out: &mut String) {
    out.push_str(
        "/// Builds the instruction of `row` from the matched word `w`.\n\
         pub(crate) fn build(row: u16, w: u32, in_it: bool) -> Insn {\n    match row {\n",
    );
    for (index, row) in table.rows.iter().enumerate() {
        let _ = writeln!(
            out,
            "        // {} {} {}",
            row.set.name(),
            row.name,
            row.origin
        );
        let _ = writeln!(out, "        {} => {},", index + 1, construct(row));
    }
    // Uses both arguments, so that tables without fields give no warnings.
    out.push_str("        _ => {\n            let _ = (w, in_it);\n            Insn::Undefined\n        }\n    }\n}\n");
}

fn construct(row: &Row) -> String {
    let mut text = format!("Insn::{}", row.variant);
    if row.fields.is_empty() {
        return text;
    }
    text.push_str(" { ");
    for (field, expr) in &row.fields {
        let _ = write!(
            text,
            "{field}: field({}), ",
            bind_letters(expr, &row.pattern)
        );
    }
    text.push('}');
    text
}

/// Returns whether any row refers to the IT state.
pub fn uses_it(row: &Row) -> bool {
    row.fields
        .iter()
        .any(|(_, e)| idents(e).iter().any(|i| i == "in_it"))
}
