//! Turns `tables/*.isa` into the instruction enum, decoder, disassembler and encoding list.
//!
//! The language of the tables is described in `DESIGN.md`; the work is done by the modules under
//! `build/`, which are also compiled into `tests/table_rules.rs` so that the rules have tests.

#[path = "build/mod.rs"]
mod table;

use std::path::{Path, PathBuf};
use std::{env, fs, process};

fn main() {
    let tables = Path::new("tables");
    println!("cargo::rerun-if-changed=tables");
    println!("cargo::rerun-if-changed=build");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    if let Err(errors) = run(tables, &out) {
        for error in errors {
            println!("cargo::error={error}");
        }
        process::exit(1);
    }
}

fn run(tables: &Path, out: &Path) -> Result<(), Vec<String>> {
    let mut files: Vec<PathBuf> = fs::read_dir(tables)
        .map_err(|e| vec![format!("cannot list {}: {e}", tables.display())])?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "isa"))
        .collect();
    // The order of files decides encoding numbers, so it must not depend on the file system.
    files.sort();
    let mut sources = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file)
            .map_err(|e| vec![format!("cannot read {}: {e}", file.display())])?;
        sources.push((file.display().to_string(), text));
    }
    for (name, text) in table::generate(&sources)? {
        fs::write(out.join(name), text)
            .map_err(|e| vec![format!("cannot write {}: {e}", out.join(name).display())])?;
    }
    Ok(())
}
