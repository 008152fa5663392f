//! `benches history`: what it takes to keep the history of a run, and to go back in it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use benches::statistics::median;
use guest_images::{Cache, Terminal};
use serde::Serialize;
use vmm::devices::uart::Discard;
use vmm::machine::{Arrival, Backward, HISTORY_LIMIT};
use vmm::vcpu::Stop;
use vmm::{Config, Halted, KernelFormat, Limits, Machine, Reason, Resume, StopHandler};

/// What to measure.
///
/// A guest boots for a number of instructions, once without a history and once with it. From there
/// it goes back over all of it, to its beginning, as a debugger's reverse-continue does whose
/// breakpoint was never met; and step by step, as reverse-step does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest image
    #[arg(long, default_value = "ipmmu")]
    image: String,
    /// How many instructions it boots for
    #[arg(long, default_value_t = 100_000_000)]
    instructions: u64,
    /// Steps back
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// Runs of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, as JSON has it.
#[derive(Debug, Serialize)]
struct Figures {
    image: String,
    instructions: u64,
    /// To run so far without a history, and with it.
    plain_s: f64,
    kept_s: f64,
    /// Bytes of the pages in it.
    kept_bytes: u64,
    /// To go back over all of it.
    continue_s: f64,
    /// The first step back, the median of all, and the longest.
    first_step_ms: f64,
    step_ms: f64,
    longest_step_ms: f64,
}

/// Goes back when it is asked to, so often.
struct Back {
    how: Backward,
    left: u32,
    /// When it arrived, and where.
    arrivals: Arc<Mutex<Vec<(Instant, Arrival)>>>,
}

/// Where no code is.
const NOWHERE: u64 = 0xffff_fff0;

impl StopHandler for Back {
    fn stopped(&mut self, _: Stop, _: &mut Halted<'_>) -> Resume {
        Resume::Continue
    }

    fn interrupted(&mut self, halted: &mut Halted<'_>) -> Resume {
        halted.cores.insert_breakpoint(NOWHERE);
        Resume::Back(self.how)
    }

    fn arrived(&mut self, arrival: Arrival, _: &mut Halted<'_>) -> Resume {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.push((Instant::now(), arrival));
        self.left = self.left.saturating_sub(1);
        match self.left {
            0 => Resume::End,
            _ => Resume::Back(self.how),
        }
    }

    fn wants(&self, _: Stop) -> bool {
        true
    }
}

/// Boots for `instructions`; returns the machine and the seconds that it took.
fn boot(config: &Config, instructions: u64, keeps: bool) -> anyhow::Result<(Machine, f64)> {
    let mut machine = Machine::builder(config, Box::new(Discard)).build()?;
    let begin = Instant::now();
    if keeps {
        machine.keep_history(HISTORY_LIMIT)?;
    }
    let limits = Limits {
        instructions: Some(instructions),
        ..Limits::default()
    };
    let reason = machine.run(limits).reason;
    ensure!(
        reason == Reason::InstructionLimit,
        "the guest {} before that",
        reason.sentence()
    );
    Ok((machine, begin.elapsed().as_secs_f64()))
}

/// Goes back so often; returns when each way back was over, in seconds from the one before.
fn go_back(machine: &mut Machine, how: Backward, count: u32) -> anyhow::Result<Vec<f64>> {
    let arrivals = Arc::default();
    machine.observe(Box::new(Back {
        how,
        left: count,
        arrivals: Arc::clone(&arrivals),
    }));
    machine.stop_handle().interrupt();
    let mut before = Instant::now();
    machine.run(Limits::default());
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let begins = |(_, arrival): &(Instant, Arrival)| *arrival == Arrival::Begin;
    ensure!(
        arrivals.len() == count as usize
            && arrivals.iter().all(begins) == (how == Backward::Continue),
        "the guest did not go back as it should"
    );
    let passed = arrivals.iter().map(|(at, _)| {
        let passed = at.duration_since(before).as_secs_f64();
        before = *at;
        passed
    });
    Ok(passed.collect())
}

/// Measures going back, and prints it.
///
/// # Errors
/// An image cannot be had, or a guest does not do what it should.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let image = Cache::open()?.obtain(&args.image, &mut Terminal::new())?;
    let config = Config {
        kernel: image.kernel,
        kernel_format: KernelFormat::Zimage,
        initrd: Some(image.initramfs),
        cmdline: "console=ttyS0 earlycon panic=-1".into(),
        ..Config::default()
    };
    let (mut plain, mut kept, mut over_all) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut steps, mut kept_bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..args.runs {
        plain.push(boot(&config, args.instructions, false)?.1);
        let (mut machine, seconds) = boot(&config, args.instructions, true)?;
        kept.push(seconds);
        kept_bytes = machine.history_bytes();
        over_all.extend(go_back(&mut machine, Backward::Continue, 1)?);
        let (mut machine, _) = boot(&config, args.instructions, true)?;
        let taken = go_back(&mut machine, Backward::Step { core: 0 }, args.steps)?;
        first.push(taken[0] * 1e3);
        steps.extend(taken.iter().map(|seconds| seconds * 1e3));
    }
    let middle = |times: &[f64]| median(times).context("nothing was measured");
    let figures = Figures {
        image: args.image.clone(),
        instructions: args.instructions,
        plain_s: middle(&plain)?,
        kept_s: middle(&kept)?,
        kept_bytes,
        continue_s: middle(&over_all)?,
        first_step_ms: middle(&first)?,
        step_ms: middle(&steps)?,
        longest_step_ms: steps.iter().copied().fold(0.0, f64::max),
    };
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print(&figures);
    }
    Ok(())
}

fn print(figures: &Figures) {
    let Figures {
        image,
        instructions,
        plain_s,
        kept_s,
        kept_bytes,
        continue_s,
        first_step_ms,
        step_ms,
        longest_step_ms,
    } = figures;
    println!("{image}: {:.0} M instructions", *instructions as f64 / 1e6);
    println!("  run without a history       {plain_s:8.3} s");
    println!(
        "  run with it                 {kept_s:8.3} s, {} MiB",
        kept_bytes >> 20
    );
    println!("  back over all of it         {continue_s:8.3} s");
    println!("  the first step back         {first_step_ms:8.2} ms");
    println!("  a step back                 {step_ms:8.2} ms, the longest {longest_step_ms:.2} ms");
}
