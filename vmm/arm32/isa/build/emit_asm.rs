//! Emits the disassembler from the rows' templates.
//!
//! In a template `{c}` is the condition, `{f}` prints a field by its type, `{f:n}` as a number,
//! `{f:d}` as a decimal one, `{f?yes}` and `{f?yes:no}` choose text by a `bool` field, and
//! `{=expr}` prints a Rust expression over the fields, `pc` (the instruction's address) and `t32`.

use super::parse::{Row, Table};
use super::text::idents;
use anyhow::{Context, bail, ensure};
use std::fmt::Write;

/// Returns the text of `asm.rs`.
///
/// # Errors
/// A message for each template that makes no sense.
pub fn emit(table: &Table) -> Result<String, Vec<String>> {
    // Many rows share variant and template: one arm for each such pair.
    let mut groups: Vec<(&Row, Vec<usize>)> = Vec::new();
    for (index, row) in table.rows.iter().enumerate() {
        let same = |r: &Row| r.variant == row.variant && r.template == row.template;
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, members)) => members.push(index + 1),
            None => groups.push((row, vec![index + 1])),
        }
    }
    let mut out = String::from(
        "/// Writes the assembler text of an instruction that `row` made.\n\
         pub(crate) fn write_asm(\n    f: &mut fmt::Formatter<'_>,\n    row: u16,\n    insn: &Insn,\n    \
         c: Cond,\n    pc: u32,\n    t32: bool,\n) -> fmt::Result {\n    match row {\n",
    );
    let mut errors = Vec::new();
    for (row, members) in groups {
        match arm(row) {
            Ok(body) => {
                // Writing to a String does not fail.
                let _ = writeln!(out, "        {} => {body}", row_pattern(&members));
            }
            Err(e) => errors.push(format!("{}: {e:#}", row.place())),
        }
    }
    out.push_str(
        "        _ => {}\n    }\n    let _ = (c, pc, t32);\n    f.write_str(\"undefined\")\n}\n",
    );
    if errors.is_empty() {
        Ok(out)
    } else {
        Err(errors)
    }
}

/// Returns a match pattern for ascending row numbers: runs as ranges.
fn row_pattern(rows: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &row in rows {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => runs.push((row, row)),
        }
    }
    let text = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first} | {last}"),
        _ => format!("{first}..={last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(" | ")
}

fn arm(row: &Row) -> anyhow::Result<String> {
    let mut used: Vec<String> = Vec::new();
    let mut body = String::new();
    let mut rest = row.template.as_str();
    while let Some((literal, tail)) = rest.split_once("{") {
        push_literal(&mut body, literal);
        let (inside, after) = tail.split_once('}').context("`}` missing in template")?;
        body.push_str(&placeholder(row, inside, &mut used)?);
        rest = after;
    }
    push_literal(&mut body, rest);
    // Only what the template prints is bound: anything else would be an unused variable.
    let wanted: Vec<&str> = row
        .fields
        .iter()
        .map(|(f, _)| f.as_str())
        .filter(|f| used.iter().any(|u| u == f))
        .collect();
    let dots = if wanted.len() == row.fields.len() {
        ""
    } else {
        ", .."
    };
    // `if let`, since only the tables know that the row decides the variant.
    Ok(if wanted.is_empty() {
        format!("{{\n{body}            return Ok(());\n        }}")
    } else {
        format!(
            "if let Insn::{} {{ {}{dots} }} = *insn {{\n{body}            return Ok(());\n        }},",
            row.variant,
            wanted.join(", ")
        )
    })
}

fn push_literal(body: &mut String, text: &str) {
    if !text.is_empty() {
        let _ = writeln!(body, "            f.write_str({text:?})?;");
    }
}

fn placeholder(row: &Row, inside: &str, used: &mut Vec<String>) -> anyhow::Result<String> {
    if inside == "c" {
        return Ok("            f.write_str(c.suffix())?;\n".into());
    }
    if let Some(expr) = inside.strip_prefix('=') {
        // Names of functions are among them; `arm` keeps those that are fields.
        used.extend(idents(expr));
        return Ok(format!("            write!(f, \"{{}}\", {expr})?;\n"));
    }
    let end = inside.find(['?', ':']).unwrap_or(inside.len());
    let (field, spec) = inside.split_at(end);
    ensure!(
        row.fields.iter().any(|(f, _)| f == field),
        "template names `{field}`, which {} lacks",
        row.variant
    );
    used.push(field.to_owned());
    Ok(match spec.strip_prefix('?') {
        Some(texts) => {
            let (yes, no) = texts.split_once(':').unwrap_or((texts, ""));
            format!("            f.write_str(if {field} {{ {yes:?} }} else {{ {no:?} }})?;\n")
        }
        None if spec == ":d" => format!("            write!(f, \"{{{field}}}\")?;\n"),
        None if spec == ":n" => format!("            number(f, {field})?;\n"),
        None if spec.is_empty() => format!("            {field}.write(f)?;\n"),
        None => bail!("`{inside}` is no placeholder"),
    })
}
