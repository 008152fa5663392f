//! `benches boot`: from the start of a process to the guest's power-off, here and under QEMU.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use benches::statistics::{median, range};
use guest_images::{Cache, Terminal};
use serde::Serialize;
use vmm::ByteSize;

use crate::{guest, qemu};

/// What to compare.
///
/// Both sides get the same compressed kernel, the same initial file system, one Cortex-A15 class core, the same memory,
/// the same kernel command line but for the console's name, and write the console to a file. Here the clock is virtual.
/// The runs take turns, so that whatever else the host does hits both alike.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest image
    #[arg(long, default_value = "ipmmu")]
    image: String,
    /// Runs on each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Size of RAM
    #[arg(long, default_value = "256M")]
    memory: ByteSize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, as JSON has it: times in seconds, `ratio` is ours by QEMU's.
#[derive(Debug, Serialize)]
struct Comparison {
    image: String,
    viommu_s: f64,
    qemu_s: f64,
    ratio: f64,
    mips: f64,
}

/// Kernel command lines; the consoles have other names.
const CMDLINE: &str = "earlycon panic=-1 console=";

/// Runs the comparison.
///
/// # Errors
/// An image or QEMU cannot be had, or a guest does not come up.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let image = cache.obtain(&args.image, &mut Terminal::new())?;
    // Before the first run: QEMU may have to be installed.
    let peer = qemu::version()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let side = |console: &str, name: &str| guest::Args {
        kernel: image.kernel.clone(),
        initrd: image.initramfs.clone(),
        cmdline: format!("{CMDLINE}{console}"),
        memory: args.memory,
        console: directory.path().join(name),
    };
    let (ours, theirs) = (side("ttyS0", "ours"), side("ttyAMA0", "theirs"));
    let (mut our_times, mut their_times, mut mips) = (Vec::new(), Vec::new(), Vec::new());
    let mut instructions = 0;
    for n in 1..=args.runs {
        let (time, cost) = guest::measure(&ours)?;
        came_up(&ours.console)?;
        let their_time = qemu::measure(&theirs)?;
        came_up(&theirs.console)?;
        eprintln!(
            "run {n} of {}: here {}, QEMU {}, {:.0} MIPS",
            args.runs,
            shown(time),
            shown(their_time),
            cost.mips
        );
        our_times.push(time.as_secs_f64());
        their_times.push(their_time.as_secs_f64());
        mips.push(cost.mips);
        // The same in every run, as the clock is virtual.
        instructions = cost.instructions;
    }
    let of = |values: &[f64]| median(values).unwrap_or(f64::NAN);
    let (viommu_s, qemu_s) = (of(&our_times), of(&their_times));
    let result = Comparison {
        image: image.spec.name.to_owned(),
        viommu_s,
        qemu_s,
        ratio: viommu_s / qemu_s,
        mips: of(&mips),
    };
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    println!(
        "{}: Linux {}, {instructions} instructions, {} of memory",
        result.image, image.version, args.memory
    );
    for (name, values) in [("here", &our_times), ("QEMU", &their_times)] {
        let (least, most) = range(values).unwrap_or_default();
        println!(
            "  {name}  {:8.3} s  (median of {}; {least:.3} to {most:.3})",
            of(values),
            values.len()
        );
    }
    println!("  ratio {:7.2}    ({peer})", result.ratio);
    println!("  speed {:7.0} MIPS", result.mips);
    Ok(())
}

fn shown(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Checks that a guest's userspace came up; a quick failure must not pass for a quick boot.
fn came_up(console: &Path) -> anyhow::Result<()> {
    let text = fs::read(console).context("cannot read the console")?;
    let text = String::from_utf8_lossy(&text);
    if text.contains("guest: ready") && text.contains("guest: powering off") {
        return Ok(());
    }
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n");
    Err(anyhow!(
        "the guest did not come up; its console ends with\n{tail}"
    ))
}
