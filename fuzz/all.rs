//! All targets in one program.
//!
//! `all run TARGET [OPTION OF LIBFUZZER...] [DIR...]` fuzzes. `all cover [TARGET DIR...]...`
//! replays files and prints what of each subject they enter: without targets the seeds of all, and
//! then a floor that is not reached is an error. `all seeds TARGET TO FROM...` chooses seeds. `all
//! list` prints what `targets.toml` says. `all self-test` finds a planted mistake.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use viommu_fuzz::coverage::Functions;
use viommu_fuzz::{list, seeds, targets};

/// Files and bytes that the seeds of a target have at most.
const MOST_SEEDS: usize = 64;
const SEED_BYTES: u64 = 80 << 10;

/// The target that runs.
static RUNS: std::sync::OnceLock<fn(&[u8])> = std::sync::OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(target) = RUNS.get() {
        target(data);
    }
});

unsafe extern "C" {
    /// libFuzzer as a library (compiler-rt/lib/fuzzer/FuzzerInterface.h).
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        callback: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
}

unsafe extern "C" fn one(data: *const u8, size: usize) -> c_int {
    // SAFETY: libFuzzer passes what it passes to every such function: `size` bytes that stay as
    // they are meanwhile.
    unsafe { libfuzzer_sys::test_input_wrap(data, size) }
}

/// The name of the mistake that `self-test` finds.
const PLANTED: &str = "planted";
/// Inputs in which it has to be found: with coverage it takes some ten thousand, without it none
/// would do.
const PLANTED_RUNS: u32 = 4_000_000;

fn target(name: &str) -> anyhow::Result<fn(&[u8])> {
    let planted = (PLANTED, targets::planted::fuzz as targets::Run);
    let found = targets::ALL
        .iter()
        .chain([&planted])
        .find(|(known, _)| *known == name);
    found.map(|(_, run)| *run).with_context(|| {
        let names: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
        format!(
            "there is no target {name:?}: there are {}",
            names.join(", ")
        )
    })
}

fn fuzz(name: &str, options: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    RUNS.set(target(name)?).map_err(|_| "it runs already")?;
    let arguments = ["fuzz"].into_iter().chain(options.iter().map(|o| &**o));
    let arguments: Vec<CString> = arguments.map(CString::new).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*mut c_char> = arguments
        .iter()
        .map(|argument| argument.as_ptr().cast_mut())
        .chain([std::ptr::null_mut()])
        .collect();
    let mut count = c_int::try_from(arguments.len())?;
    let mut first = pointers.as_mut_ptr();
    // SAFETY: arguments as those of a C program: as many strings as it says, and a null pointer
    // behind them.
    let status = unsafe { LLVMFuzzerRunDriver(&raw mut count, &raw mut first, one) };
    Ok(ExitCode::from(u8::try_from(status)?))
}

/// Prints what the files in `dirs` reach of each target's subject; `false` when a floor is
/// `checked` and not reached.
fn cover(jobs: &[(String, Vec<PathBuf>)], checked: bool) -> Result<bool, Box<dyn Error>> {
    let listed = list::all()?;
    let functions = Functions::read()?;
    let mut good = true;
    for (name, dirs) in jobs {
        let facts = listed.get(name).ok_or("it is not in targets.toml")?;
        let files = seeds::files(dirs)?;
        let began = std::time::Instant::now();
        let blocks: BTreeSet<usize> = seeds::replay(target(name)?, &files)?
            .concat()
            .into_iter()
            .collect();
        let covered = functions.subject(facts, &blocks);
        let low = checked && covered.percent() < facts.floor;
        println!(
            "{name}: {} of {} functions entered, {} % (floor {} %), by {} files in {:.1} s{}",
            covered.entered,
            covered.functions,
            covered.percent(),
            facts.floor,
            files.len(),
            began.elapsed().as_secs_f64(),
            if low { ": BELOW ITS FLOOR" } else { "" }
        );
        if low || std::env::var_os("VIOMMU_FUZZ_LIST").is_some() {
            covered
                .never
                .iter()
                .for_each(|name| println!("    never: {name}"));
        }
        good &= !low;
    }
    Ok(good)
}

/// Has a program of its own find the planted mistake, and repeat it.
fn self_test() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let finding = dir.path().join("finding");
    let run = |options: &[&str]| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", PLANTED]).args(options);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status()
    };
    let artifact = format!("-exact_artifact_path={}", finding.display());
    let runs = format!("-runs={PLANTED_RUNS}");
    let found = run(&[
        "-seed=1",
        "-len_control=0",
        "-max_len=256",
        &runs,
        &artifact,
    ])?;
    if found.success() || !finding.is_file() {
        return Err("a planted mistake was not found".into());
    }
    let finding = finding.to_str().ok_or("a temporary directory of no name")?;
    if run(&[finding])?.success() {
        return Err(
            "a planted mistake was found, and is not repeated by the input that was kept".into(),
        );
    }
    println!("a planted mistake was found, and is found again");
    Ok(())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = arguments
        .split_first()
        .ok_or("run, cover, seeds, list or self-test?")?;
    match (command.as_str(), rest) {
        ("run", [name, options @ ..]) => return fuzz(name, options),
        ("cover", []) => {
            let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
            let jobs = targets::ALL
                .iter()
                .map(|(name, _)| ((*name).to_owned(), vec![home.join(name)]));
            let good = cover(&jobs.collect::<Vec<_>>(), true)?;
            return Ok(if good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        ("cover", [name, dirs @ ..]) => {
            let dirs = dirs.iter().map(PathBuf::from).collect();
            cover(&[(name.clone(), dirs)], false)?;
        }
        ("seeds", [name, to, from @ ..]) => {
            let from: Vec<PathBuf> = from.iter().map(PathBuf::from).collect();
            let count = seeds::choose(target(name)?, &from, Path::new(to), MOST_SEEDS, SEED_BYTES)?;
            println!("{name}: {count} seeds");
        }
        ("self-test", []) => self_test()?,
        ("list", []) => {
            for (name, facts) in list::all()? {
                let options = facts.options.join(" ");
                println!("{name} -max_len={} {options}", facts.max_len);
            }
        }
        _ => return Err("run, cover, seeds, list or self-test?".into()),
    }
    Ok(ExitCode::SUCCESS)
}
