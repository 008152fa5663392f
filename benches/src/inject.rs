//! `benches inject`: how many runs of a fault plan a second, from a snapshot and with a reboot for
//! each.

use benches::core_time::core_seconds;
use guest_images::Terminal;
use serde::Serialize;
use vmm::campaign::campaign::Prepared;
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
    };
    let rate = |start: &dyn Start, runs: u64| -> anyhow::Result<(f64, u64)> {
        // Before the clock starts: a campaign does this once, however many runs it has.
        let prepared = Prepared::new(&plan, &scenario, start)?;
        let (begin, mut instructions) = (core_seconds(), 0);
        for run in 0..runs {
            let done = prepared.runner.run(&prepared.task(1, run), None);
            instructions += done.record.instructions;
        }
        let seconds = core_seconds() - begin;
        Ok((runs as f64 / seconds, instructions / runs))
    };
    let forked = Forked::new(boot)?;
    let (snapshot, instructions_per_run) = rate(&forked, args.runs)?;
    let (reboot, _) = rate(&boot, args.reboots)?;
    let rates = Rates {
        plan: args.plan.clone(),
        instructions_per_run,
        snapshot_runs_per_s: snapshot,
        reboot_runs_per_s: reboot,
        ratio: snapshot / reboot,
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
    }
    Ok(())
}
