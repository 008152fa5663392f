//! `cargo xtask fuzz`: every fuzz target, for as long as one likes, and what they reach.
//!
//! The targets are built much as cargo-fuzz builds them, with compiler options that a stable
//! toolchain has, and without the address sanitizer, which it has not. A target's working corpus,
//! its logs and the sums of all runs are kept in `target/fuzz-corpus`, outside of git; its seeds
//! are in `fuzz/corpus`.

mod rustc;
mod totals;

use crate::error::Error;
use crate::process::{self, finish, output};
pub(crate) use rustc::become_compiler;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fs, io, thread};
use totals::{Run, Totals};

/// Longest run at a time: what was run is counted after each, and every target has its turn before
/// one has its second.
const SLICE_SECONDS: u64 = 300;
/// Seconds after which an input counts as one that hangs.
const HANG_SECONDS: u64 = 60;

/// What `cargo xtask fuzz` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Targets to run: all, unless some are named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How many minutes of processor time each target gets
    #[arg(long, value_name = "N", default_value_t = 1)]
    minutes: u64,
    /// Count what earlier calls ran: each target runs until it has had its minutes of processor
    /// time in all
    #[arg(long)]
    in_all: bool,
    /// How many targets run at a time
    #[arg(long, value_name = "J", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
    /// Only find a planted mistake and replay the seeds, and fail where they enter fewer functions
    /// than fuzz/targets.toml says
    #[arg(long, conflicts_with_all = ["minutes", "in_all", "choose_seeds"])]
    check: bool,
    /// Only choose new seeds from what earlier calls found
    #[arg(long, conflicts_with_all = ["minutes", "in_all"])]
    choose_seeds: bool,
}

/// The places of programs and files.
struct Places {
    program: PathBuf,
    seeds: PathBuf,
    work: PathBuf,
    findings: PathBuf,
}

/// Runs targets, or replays their seeds.
///
/// # Errors
/// When they cannot be built or run, or something was found.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Error> {
    let places = build()?;
    if arguments.check {
        finish(
            places.command(&["self-test"]),
            "the search for a planted mistake",
        )?;
        return finish(places.command(&["cover"]), "the check of the seeds");
    }
    let targets = chosen(&places, &arguments.targets)?;
    if arguments.choose_seeds {
        for target in targets.keys() {
            let (seeds, work) = (places.seeds.join(target), places.corpus(target)?);
            let mut command = places.command(&["seeds", target]);
            command.arg(&seeds).arg(&seeds).arg(&work);
            finish(command, "choosing seeds")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut totals = Totals::read(&places.work.join("totals.json"))?;
    let runs = fuzz(&places, &targets, arguments, &mut totals)?;
    // One may have come after the last run, and the report takes a while.
    process::check_signals()?;
    report(&places, &targets, &runs, &totals)?;
    let found: u64 = runs.values().map(|run| run.findings).sum();
    if found == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "{found} inputs made a target fail; they are in {}, and `{} run TARGET FILE` repeats one",
        places.findings.display(),
        places.program.display()
    );
    Ok(ExitCode::FAILURE)
}

/// Builds the program that all targets are in.
fn build() -> Result<Places, Error> {
    let root = crate::workspace();
    let host = output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Error::Failed("rustc -vV".into()))?;
    let target = root.join("target/fuzz");
    // With a target named, programs that only the build runs are built without counters.
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--locked", "--bin", "all"])
        .args(["--target", host])
        .current_dir(root.join("fuzz"))
        // Functions are found by their lines, and floors count those that are left after inlining:
        // the same ones whatever CI asks of other builds.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_TARGET_DIR", &target);
    rustc::wrap(&mut cargo).map_err(|source| process::failed("this program", source))?;
    finish(cargo, "building the fuzz targets")?;
    let places = Places {
        program: target.join(host).join("release/all"),
        seeds: root.join("fuzz/corpus"),
        work: root.join("target/fuzz-corpus"),
        findings: root.join("target/fuzz-findings"),
    };
    for dir in [&places.work, &places.findings] {
        fs::create_dir_all(dir).map_err(|source| file_error(dir, source))?;
    }
    Ok(places)
}

impl Places {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// Returns the working corpus of a target, made if there is none.
    fn corpus(&self, target: &str) -> Result<PathBuf, Error> {
        let dir = self.work.join(target);
        fs::create_dir_all(&dir).map_err(|source| file_error(&dir, source))?;
        Ok(dir)
    }
}

/// Returns the targets to run, with their options for libFuzzer.
fn chosen(places: &Places, wanted: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let list = output(&mut places.command(&["list"]))?;
    let known: BTreeMap<String, String> = list
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, options)| (name.to_owned(), options.to_owned()))
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains_key(*name)) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        return Err(Error::Unknown {
            what: "fuzz target",
            name: unknown.clone(),
            known: names.join(", "),
        });
    }
    let mut chosen = known;
    chosen.retain(|name, _| wanted.is_empty() || wanted.contains(name));
    Ok(chosen)
}

/// Runs the targets in turns until each has had its time; what each did. What was run is in
/// `totals` also after an error.
fn fuzz(
    places: &Places,
    targets: &BTreeMap<String, String>,
    arguments: &Arguments,
    totals: &mut Totals,
) -> Result<BTreeMap<String, Run>, Error> {
    // Asked for before anything runs: who ends what was left behind at a signal would end this too.
    let (commit, day) = (totals::commit(), totals::today()?);
    let mut left: BTreeMap<&str, u64> = BTreeMap::new();
    for name in targets.keys() {
        let had = if arguments.in_all {
            totals.processor_ms(name)
        } else {
            0
        };
        left.insert(name, (arguments.minutes * 60_000).saturating_sub(had));
    }
    let left = Mutex::new(left);
    let sums = Mutex::new((totals, BTreeMap::<String, Run>::new()));
    loop {
        let queue: VecDeque<(&str, u64)> = lock(&left)
            .iter()
            .filter(|(_, left)| **left > 0)
            // libFuzzer counts seconds of the clock. What processor time a busy host did not give
            // in them is left for another round.
            .map(|(name, left)| (*name, SLICE_SECONDS.min(left.div_ceil(1_000))))
            .collect();
        if queue.is_empty() {
            break;
        }
        let queue = Mutex::new(queue);
        let worker = || -> Result<(), Error> {
            loop {
                process::check_signals()?;
                let Some((name, seconds)) = lock(&queue).pop_front() else {
                    return Ok(());
                };
                let (run, ended) = slice(places, name, &targets[name], seconds);
                // A target that fails at once is not run for ever.
                let counted = match run.findings {
                    0 => run.processor_ms.max(1_000),
                    _ => seconds * 1_000,
                };
                if let Some(left) = lock(&left).get_mut(name) {
                    *left = left.saturating_sub(counted);
                }
                let (totals, runs) = &mut *lock(&sums);
                runs.entry(name.to_owned()).or_default().add(&run);
                totals.add(name, &run, &commit, &day)?;
                println!(
                    "{name}: {} executions in {} s, {} s of them processor time{}",
                    run.executions,
                    run.seconds,
                    run.processor_ms / 1_000,
                    if run.findings > 0 { ": FAILED" } else { "" }
                );
                // Not before what was done is counted.
                ended?;
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(Error::Failed("a thread".into())))
            })
        })?;
    }
    let (_, runs) = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(runs)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a target once; what it did until its end, and whether that was the end that it should have
/// had.
#[expect(
    clippy::cast_possible_truncation,
    reason = "64 bits of milliseconds are enough for any process"
)]
fn slice(places: &Places, name: &str, options: &str, seconds: u64) -> (Run, Result<(), Error>) {
    let log = places.work.join(format!("{name}.log"));
    let mut taken = Duration::ZERO;
    let mut run = || -> Result<bool, Error> {
        let file = File::create(&log).map_err(|source| file_error(&log, source))?;
        let corpus = places.corpus(name)?;
        let seeds = places.corpus_of_seeds(name)?;
        let mut command = places.command(&["run", name, "-len_control=0", "-print_final_stats=1"]);
        command
            .args(options.split_whitespace())
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-timeout={HANG_SECONDS}"))
            .arg("-rss_limit_mb=4096")
            .arg(format!(
                "-artifact_prefix={}/{name}-",
                places.findings.display()
            ))
            // libFuzzer writes new inputs to the first directory only.
            .arg(corpus)
            .arg(seeds)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        Ok(process::run_timed(&mut command, &mut taken)?.success())
    };
    let ended = run();
    // Messages of guests' mistakes need not be UTF-8.
    let text = fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut run = Run {
        processor_ms: taken.as_millis() as u64,
        ..Run::of_log(&text)
    };
    match ended {
        Ok(true) => (run, Ok(())),
        Ok(false) => {
            run.findings += 1;
            let tail: Vec<&str> = text.lines().rev().take(20).collect();
            tail.iter().rev().for_each(|line| eprintln!("    {line}"));
            (run, Ok(()))
        }
        Err(error) => (run, Err(error)),
    }
}

impl Places {
    /// Returns the seeds of a target; a new one has none.
    fn corpus_of_seeds(&self, target: &str) -> Result<PathBuf, Error> {
        let dir = self.seeds.join(target);
        fs::create_dir_all(&dir).map_err(|source| file_error(&dir, source))?;
        Ok(dir)
    }
}

/// Prints what was run now and in all, and what of each subject is entered by what was found.
fn report(
    places: &Places,
    targets: &BTreeMap<String, String>,
    runs: &BTreeMap<String, Run>,
    totals: &Totals,
) -> Result<(), Error> {
    for name in targets.keys() {
        let run = runs.get(name).cloned().unwrap_or_default();
        println!(
            "{name}: {} executions now, {} a second; {} in {} minutes of processor time in all",
            run.executions,
            run.rate(),
            totals.executions(name),
            totals.processor_ms(name) / 60_000
        );
        let mut command = places.command(&["cover", name]);
        command
            .arg(places.corpus_of_seeds(name)?)
            .arg(places.corpus(name)?);
        finish(command, "counting functions")?;
    }
    println!("{} executions of all targets in all", totals.sum());
    Ok(())
}

fn file_error(path: &Path, source: io::Error) -> Error {
    process::failed(&path.display().to_string(), source)
}
