//! `benches boot --rootfs`: from the start of a process to a login of the system on a root disk.

use std::process::Command;

use anyhow::Result;
use benches::statistics::{median, median_or_nan, range};
use serde::Serialize;
use vmm::ByteSize;

use super::side::Guest;
use super::watch::{Moment, Watched};
use crate::qemu;

/// What the console shows when somebody can log in.
const LOGIN: &str = " login: ";

/// The result, as JSON has it: times in seconds, ratios are ours by QEMU's.
#[derive(Debug, Serialize)]
struct Comparison {
    rootfs: &'static str,
    cores: u8,
    viommu_s: f64,
    qemu_s: f64,
    ratio: f64,
    viommu_processor_s: f64,
    qemu_processor_s: f64,
    processor_ratio: f64,
}

/// Times of all runs of one side, in seconds.
#[derive(Default)]
struct Times {
    wall: Vec<f64>,
    processor: Vec<f64>,
}

impl Times {
    fn add(&mut self, moment: Moment) {
        self.wall.push(moment.wall.as_secs_f64());
        self.processor.push(moment.processor.as_secs_f64());
    }

    fn print(&self, name: &str) {
        for (what, values) in [("", &self.wall), ("processor", &self.processor)] {
            if let (Some(middle), Some((least, most))) = (median(values), range(values)) {
                println!("  {name:6}{what:10}{middle:8.2} s  ({least:.2} to {most:.2})");
            }
        }
    }
}

/// Boots the root disk `runs` times on each side, in turns, and prints medians.
///
/// # Errors
/// A root disk or QEMU cannot be had, or a guest does not come to its login.
pub fn run(rootfs: &str, cores: u8, memory: ByteSize, runs: u32, json: bool) -> Result<()> {
    let peer = qemu::version()?;
    let guest = Guest::new(rootfs, memory, cores, "")?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for n in 1..=runs {
        let here = to_login(&mut guest.here()?)?;
        let there = to_login(&mut guest.under_qemu())?;
        eprintln!(
            "run {n} of {runs}: here {:.2} s (processor {:.2} s), QEMU {:.2} s (processor {:.2} s)",
            here.wall.as_secs_f64(),
            here.processor.as_secs_f64(),
            there.wall.as_secs_f64(),
            there.processor.as_secs_f64()
        );
        ours.add(here);
        theirs.add(there);
    }
    let (viommu_s, qemu_s) = (median_or_nan(&ours.wall), median_or_nan(&theirs.wall));
    let (viommu_processor_s, qemu_processor_s) = (
        median_or_nan(&ours.processor),
        median_or_nan(&theirs.processor),
    );
    let result = Comparison {
        rootfs: guest.name,
        cores,
        viommu_s,
        qemu_s,
        ratio: viommu_s / qemu_s,
        viommu_processor_s,
        qemu_processor_s,
        processor_ratio: viommu_processor_s / qemu_processor_s,
    };
    if json {
        println!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    println!(
        "{} to a login, cores: {cores}, medians of {runs}",
        guest.name
    );
    ours.print("here");
    theirs.print("QEMU");
    println!(
        "  ratio {:.2}, of processor time {:.2}    ({peer})",
        result.ratio, result.processor_ratio
    );
    Ok(())
}

fn to_login(command: &mut Command) -> Result<Moment> {
    let mut watched = Watched::start(command)?;
    Ok(watched.wait_for(LOGIN)?.1)
}
