//! `benches inject`: how many runs of a fault plan a second, from a snapshot and with a reboot for
//! each, by how many run at once, and beside another revision.

mod beside;

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

use beside::Beside;

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
    /// Measure another revision of this repository in turns with this build: a tag, or what git
    /// takes for a commit. The first time it is built, in a temporary clone
    #[arg(long, value_name = "REV")]
    beside: Option<String>,
    /// How many turns
    #[arg(long, default_value_t = 3, requires = "beside", value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
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
    let beside = args.beside.as_deref();
    let beside = beside.map(|revision| beside::measure(args, revision));
    let rates = Rates {
        beside: beside.transpose()?,
        plan: args.plan.clone(),
        instructions_per_run,
        snapshot_runs_per_s: snapshot,
        reboot_runs_per_s: reboot,
        ratio: snapshot / reboot,
        campaigns,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rates)?);
    } else {
        rates.print();
    }
    Ok(())
}

impl Rates {
    /// Prints it for a person.
    fn print(&self) {
        println!(
            "{}: {:.1} runs/s from a snapshot, {:.2} runs/s with a reboot for each: {:.0} times as many; \
                {:.2} M instructions a run",
            self.plan,
            self.snapshot_runs_per_s,
            self.reboot_runs_per_s,
            self.ratio,
            self.instructions_per_run as f64 / 1e6
        );
        for rate in &self.campaigns {
            println!(
                "{:3} at once: {:.1} runs/s, {:.1} hours of a core for a million runs",
                rate.jobs, rate.runs_per_s, rate.core_hours_per_million
            );
        }
        if let Some(beside) = &self.beside {
            beside.print();
        }
    }
}
