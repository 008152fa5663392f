//! The table compiler: parse, check, emit.

mod emit_asm;
mod emit_decode;
mod emit_enum;
mod emit_meta;
mod overlap;
mod parse;
mod pattern;
mod predicate;
mod text;

/// Compiles the table files (name, text) into generated source files (name, text).
///
/// All mistakes are collected, so that one build shows them all.
///
/// # Errors
/// A message for each mistake.
pub fn generate(sources: &[(String, String)]) -> Result<Vec<(&'static str, String)>, Vec<String>> {
    let table = parse::parse(sources)?;
    let conflicts = overlap::check(&table.rows);
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    Ok(vec![
        ("insn.rs", emit_enum::emit(&table)),
        ("decode.rs", emit_decode::emit(&table)),
        ("asm.rs", emit_asm::emit(&table)?),
        ("meta.rs", emit_meta::emit(&table)),
    ])
}
