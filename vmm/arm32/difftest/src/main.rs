//! Runs differential tests: `cargo run --release -p arm32-difftest -- --cases 1000000`.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arm32_difftest::error::Error;
use arm32_difftest::generate::{Generator, Kind, Sets};
use arm32_difftest::layout::SLOTS;
use arm32_difftest::qemu::Qemu;
use arm32_difftest::runner::{Runner, Summary, Tier};
use clap::Parser;

/// Runs random instruction sequences on the ARM core and under qemu-arm, and compares.
#[derive(Parser)]
struct Arguments {
    /// How many cases to run.
    #[arg(long, default_value_t = 10_000)]
    cases: u64,
    /// Cases are a function of the seed and their number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first case; to look at one difference again, begin with its batch.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Instruction sets.
    #[arg(long, value_enum, default_value_t = Sets::Both)]
    set: Sets,
    /// What instructions cases are made of.
    #[arg(long, value_enum, default_value_t = Kind::All)]
    class: Kind,
    /// How the ARM core executes instructions.
    #[arg(long, value_enum, default_value_t = Tier::Interpreter)]
    tier: Tier,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// How many differences to make small and show.
    #[arg(long, default_value_t = 5)]
    show: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let start = Instant::now();
    match run(&arguments) {
        Ok(summary) => report(&arguments, &summary, start.elapsed().as_secs_f64()),
        Err(error) => {
            eprintln!("error: {error}");
            // Not 1, which means that there are differences.
            ExitCode::from(2)
        }
    }
}

fn report(arguments: &Arguments, summary: &Summary, seconds: f64) -> ExitCode {
    for difference in summary
        .differences
        .iter()
        .filter(|d| !d.report.is_empty())
        .take(arguments.show)
    {
        println!("{}", difference.report);
    }
    let numbers: Vec<String> = summary
        .differences
        .iter()
        .take(20)
        .map(|d| d.number.to_string())
        .collect();
    if !numbers.is_empty() {
        println!(
            "differing cases of seed {}: {}{}",
            arguments.seed,
            numbers.join(" "),
            if summary.differences.len() > 20 {
                " ..."
            } else {
                ""
            }
        );
    }
    println!(
        "{} cases ({} instructions, {} ended by a signal) in {seconds:.1} s: {} differences; {} left out \
            that went astray",
        summary.cases,
        summary.instructions,
        summary.signals,
        summary.differences.len(),
        summary.endless,
    );
    if summary.differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all batches, on as many threads as asked for.
fn run(arguments: &Arguments) -> Result<Summary, Error> {
    let qemu = Qemu::find()?;
    let generator = Generator::new(arguments.class, arguments.set, arguments.seed);
    let (next, total) = (AtomicU64::new(0), Mutex::new(Summary::default()));
    let work = || -> Result<(), Error> {
        let mut runner = Runner::new(qemu.clone(), arguments.tier)?;
        loop {
            // Relaxed: a number is all that threads take from one another here.
            let done = next.fetch_add(SLOTS.into(), Ordering::Relaxed);
            if done >= arguments.cases {
                return Ok(());
            }
            // Threads that run at the same time may explain more in all; `report` cuts that off.
            let shown = lock(&total).differences.len();
            #[expect(clippy::cast_possible_truncation, reason = "it is at most SLOTS")]
            let count = (arguments.cases - done).min(SLOTS.into()) as u32;
            let summary = runner.batch(
                &generator,
                arguments.first + done,
                count,
                arguments.show.saturating_sub(shown),
            )?;
            lock(&total).add(summary);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.jobs.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        // The first error is returned; the scope still waits for the other threads.
        threads.into_iter().try_for_each(|t| {
            t.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let mut summary = std::mem::take(&mut *lock(&total));
    // Threads end in any order.
    summary.differences.sort_by_key(|d| d.number);
    Ok(summary)
}

/// Returns the total; a thread that panicked while it held it is reported when it is joined.
fn lock(total: &Mutex<Summary>) -> std::sync::MutexGuard<'_, Summary> {
    total
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
