//! `benches inject`: how many runs of a fault plan a second, from a snapshot and with a reboot for
//! each, and by how many run at once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use benches::core_time::{ClockId, core_seconds};
use guest_images::Terminal;
use serde::Serialize;
use vmm::campaign::campaign::Prepared;
use vmm::campaign::run::Record;
use vmm::campaign::scenario::Scenario;
use vmm::campaign::start::{Boot, Forked, Start};
use vmm::faults::plan;
use vmm::{GuestKernel, KernelChoice};

/// What to measure: runs in a second of one core's time, whatever else the host does meanwhile.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The plan
    #[arg(long, default_value = "none")]
    plan: String,
    /// Runs from a snapshot
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Runs with a reboot
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    reboots: u64,
    /// Campaigns from the snapshot with so many runs at once, one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    jobs: Vec<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, as JSON has it.
#[derive(Debug, Serialize)]
struct Rates {
    plan: String,
    instructions_per_run: u64,
    snapshot_runs_per_s: f64,
    reboot_runs_per_s: f64,
    ratio: f64,
    campaigns: Vec<Rate>,
}

/// A campaign with so many runs at once.
#[derive(Debug, Serialize)]
struct Rate {
    jobs: NonZeroUsize,
    /// Runs in a second of the host's time.
    runs_per_s: f64,
    /// Time of cores that a million runs take, in hours.
    core_hours_per_million: f64,
}

/// Runs a campaign of `runs` runs, `jobs` at once.
fn campaign(prepared: &Prepared<'_>, runs: u64, jobs: NonZeroUsize) -> Rate {
    let (begin, cores) = (Instant::now(), core_seconds(ClockId::ProcessCPUTime));
    let task = |run| Some(prepared.task(1, run));
    let (done, stop) = (BTreeMap::new(), AtomicBool::new(false));
    let mut each = |_: &mut Record| Ok::<(), Infallible>(());
    let Ok(_) = prepared.run(&task, 0..runs, done, jobs, &stop, &mut each);
    let cores = core_seconds(ClockId::ProcessCPUTime) - cores;
    Rate {
        jobs,
        runs_per_s: runs as f64 / begin.elapsed().as_secs_f64(),
        core_hours_per_million: cores / runs as f64 * 1e6 / 3600.0,
    }
}

/// Runs the measurement.
///
/// # Errors
/// There is no such plan, or the kernel cannot be had.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let plan = plan::find(&args.plan)?;
    let scenario = Scenario::new(plan.scenario);
    let kernel = GuestKernel::obtain(
        plan.scenario.image(),
        &KernelChoice::OfImage,
        &mut Terminal::new(),
    );
    let kernel = kernel?;
    let boot = Boot {
        kernel: &kernel,
        scenario: &scenario,
        sanitize: None,
    };
    let rate = |start: &dyn Start, runs: u64| -> anyhow::Result<(f64, u64)> {
        // Before the clock starts: a campaign does this once, however many runs it has.
        let prepared = Prepared::new(&plan, &scenario, start)?;
        let (begin, mut instructions) = (core_seconds(ClockId::ThreadCPUTime), 0);
        for run in 0..runs {
            let done = prepared.runner.run(&prepared.task(1, run), None);
            instructions += done.record.instructions;
        }
        let seconds = core_seconds(ClockId::ThreadCPUTime) - begin;
        Ok((runs as f64 / seconds, instructions / runs))
    };
    let forked = Forked::new(boot)?;
    let (snapshot, instructions_per_run) = rate(&forked, args.runs)?;
    let (reboot, _) = rate(&boot, args.reboots)?;
    let prepared = Prepared::new(&plan, &scenario, &forked)?;
    let campaigns = args.jobs.iter();
    let campaigns = campaigns
        .map(|jobs| campaign(&prepared, args.runs, *jobs))
        .collect();
    let rates = Rates {
        plan: args.plan.clone(),
        instructions_per_run,
        snapshot_runs_per_s: snapshot,
        reboot_runs_per_s: reboot,
        ratio: snapshot / reboot,
        campaigns,
    };
    if args.json {
        let text = serde_json::to_string_pretty(&rates)?;
        println!("{text}");
    } else {
        println!(
            "{}: {snapshot:.1} runs/s from a snapshot, {reboot:.2} runs/s with a reboot for each: {:.0} \
                times as many; {:.2} M instructions a run",
            rates.plan,
            rates.ratio,
            instructions_per_run as f64 / 1e6
        );
        for rate in &rates.campaigns {
            println!(
                "{:3} at once: {:.1} runs/s, {:.1} hours of a core for a million runs",
                rate.jobs, rate.runs_per_s, rate.core_hours_per_million
            );
        }
    }
    Ok(())
}
