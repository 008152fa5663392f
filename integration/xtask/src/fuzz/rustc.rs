//! Rust's compiler as cargo calls it for the fuzz targets: this program in its place, which adds
//! options for some crates.
//!
//! cargo has options of the compiler for all crates or for none. But libFuzzer looks at every
//! counter after every input, and calls for comparisons take most of the time of whoever compares
//! much: with counters in this workspace alone, and calls only where there are texts and files to
//! be understood, inputs take half the time or less.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, io};

/// Says to be in the compiler's place.
const VARIABLE: &str = "XTASK_FUZZ_RUSTC";

/// Options for every crate.
const ALL: [&str; 2] = ["--cfg", "fuzzing"];
/// Options for crates of the workspace: a counter for each edge between blocks, and the blocks'
/// addresses.
const COUNTERS: [&str; 4] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];
/// An option for those with much to be found out by comparing: calls before comparisons.
const COMPARISONS: &str = "-Cllvm-args=-sanitizer-coverage-trace-compares";
/// Crates without those calls: what they compare are mostly not inputs.
const BUSY: [&str; 4] = ["arm32", "arm32_fpu", "arm32_isa", "viommu"];

/// Makes `cargo` call this program for each crate.
///
/// # Errors
/// When this program cannot be found.
pub(super) fn wrap(cargo: &mut Command) -> io::Result<()> {
    cargo
        // Cargo separates the flags in this variable by this character.
        .env("CARGO_ENCODED_RUSTFLAGS", ALL.join("\x1f"))
        .env("RUSTC_WRAPPER", env::current_exe()?)
        .env(VARIABLE, "1");
    Ok(())
}

/// Goes on as the compiler, if it was called in its place; comes back if not, or if that was not
/// possible.
pub(crate) fn become_compiler() -> Option<ExitCode> {
    env::var_os(VARIABLE)?;
    let mut arguments = env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let directory = env::var_os("CARGO_MANIFEST_DIR");
    let own =
        directory.is_some_and(|directory| Path::new(&directory).starts_with(crate::workspace()));
    // Programs that only the build runs are compiled for no target by name.
    if own && has("--target") {
        rustc.args(COUNTERS);
        if !BUSY.iter().any(|name| has(name)) {
            rustc.arg(COMPARISONS);
        }
    }
    let error = rustc.args(arguments).env_remove(VARIABLE).exec();
    eprintln!("cargo xtask: {}: {error}", rustc.get_program().display());
    Some(ExitCode::FAILURE)
}
