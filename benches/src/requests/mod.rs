//! `benches requests`: what virtio-iommu requests cost, through a real virtqueue in memory.

mod driver;

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::statistics::lower_quartile;
use serde::Serialize;
use vm_memory::{Bytes, GuestAddress};

use driver::Driver;

/// Pairs of MAP and UNMAP in a batch of 32 requests.
const BATCH_PAIRS: u64 = 16;
/// Numbers of mappings among which is looked up, mapped and unmapped.
const MAPPINGS: [u64; 3] = [64, 4096, 65_536];
/// How long a round of one case takes, about.
const ROUND: Duration = Duration::from_millis(2);

/// What to measure.
///
/// The device's side of the request queue is timed, in memory, from the available ring to the used ring: fetching
/// chains of two descriptors, executing, invalidating, waiting for devices (none is at work), answering. What the driver
/// does is not. Cases take turns in rounds; the figure is the lower quartile of the rounds.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds of turns
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    case: &'static str,
    mappings: u64,
    /// Nanoseconds for a request or an access.
    ns: f64,
    /// How many a second.
    per_second: f64,
}

/// What one turn does: times so many operations.
type Turn = fn(&mut Driver, u64) -> Duration;

/// The cases: a name, how many mappings there are already, the fewest operations of a turn, and what is timed.
const CASES: [(&str, u64, Turn); 5] = [
    ("MAP or UNMAP, in batches of 32", 2 * BATCH_PAIRS, batches),
    ("MAP or UNMAP, alone", 2, alone),
    ("UNMAP of a mapping in use, alone", 1, in_use),
    ("access, translation cached", 64, cached),
    ("access, without a cache", 64, timed_accesses),
];

/// Measures, and prints the result.
///
/// # Errors
/// If the result cannot be printed.
pub fn run(args: &Args) -> Result<(), String> {
    let mut rows = Vec::new();
    for mappings in MAPPINGS {
        let mut driver = Driver::new(mappings, true);
        let mut plain = Driver::new(mappings, false);
        rows.extend(CASES.iter().map(|(case, least, turn)| {
            let driver = if case.ends_with("without a cache") {
                &mut plain
            } else {
                &mut driver
            };
            let ns = measure(driver, *least, args.rounds, *turn);
            Row {
                case,
                mappings,
                ns: (ns * 10.0).round() / 10.0,
                per_second: (1e9 / ns).round(),
            }
        }));
    }
    if args.json {
        let text = serde_json::to_string(&rows).map_err(|error| error.to_string())?;
        println!("{text}");
        return Ok(());
    }
    println!(
        "{:<36} {:>9} {:>10} {:>14}",
        "", "mappings", "ns", "per second"
    );
    for (case, ..) in CASES {
        for row in rows.iter().filter(|row| row.case == case) {
            println!(
                "{:<36} {:>9} {:>10.1} {:>14.0}",
                row.case, row.mappings, row.ns, row.per_second
            );
        }
    }
    Ok(())
}

/// Nanoseconds for an operation.
fn measure(driver: &mut Driver, least: u64, rounds: u32, turn: Turn) -> f64 {
    // Once to warm up, and to learn how many operations fill a round.
    let first = turn(driver, least).as_nanos().max(1);
    let times = (ROUND.as_nanos() / first).clamp(1, 100_000) as u64;
    let count = least * times;
    let round = |_| turn(driver, count).as_nanos() as f64 / count as f64;
    let times: Vec<f64> = (0..rounds).map(round).collect();
    lower_quartile(&times).unwrap_or_default()
}

/// MAP and UNMAP of pages, 32 requests for each notification; mapped in one batch, unmapped in the next.
fn batches(driver: &mut Driver, count: u64) -> Duration {
    let mut taken = Duration::ZERO;
    let pages = 2 * BATCH_PAIRS;
    for batch in 0..count.div_ceil(pages) {
        // Half the requests of each batch map, the other half unmap what they mapped.
        for pair in 0..BATCH_PAIRS {
            let iova = driver.spare_iova(batch * BATCH_PAIRS + pair);
            driver.map(iova);
            driver.unmap(iova);
        }
        taken += driver.serve(pages as u16);
    }
    taken
}

/// One request for each notification.
fn alone(driver: &mut Driver, count: u64) -> Duration {
    let mut taken = Duration::ZERO;
    for pair in 0..count.div_ceil(2) {
        let iova = driver.spare_iova(pair);
        driver.map(iova);
        taken += driver.serve(1);
        driver.unmap(iova);
        taken += driver.serve(1);
    }
    taken
}

/// Unmappings of what a device has just accessed.
fn in_use(driver: &mut Driver, count: u64) -> Duration {
    let mut taken = Duration::ZERO;
    for n in 0..count {
        let iova = driver.spare_iova(n);
        driver.map(iova);
        driver.serve(1);
        access(driver, iova);
        driver.unmap(iova);
        taken += driver.serve(1);
    }
    taken
}

fn access(driver: &Driver, iova: u64) {
    let value: u64 = driver
        .device
        .read_obj(GuestAddress(iova))
        .expect("it is mapped");
    black_box(value);
}

/// Accesses to mappings in random order, as often as they please.
fn cached(driver: &mut Driver, count: u64) -> Duration {
    for page in 0..driver.mappings {
        access(driver, driver.iova(page));
    }
    timed_accesses(driver, count)
}

/// Accesses in random order. Without a cache each asks the mapping store.
fn timed_accesses(driver: &mut Driver, count: u64) -> Duration {
    let iovas: Vec<u64> = (0..count.min(4096)).map(|_| driver.random_iova()).collect();
    let start = Instant::now();
    for iova in iovas.iter().cycle().take(count as usize) {
        access(driver, *iova);
    }
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_runs_and_leaves_what_it_found() {
        let mut driver = Driver::new(64, true);
        for (case, least, turn) in CASES {
            assert!(measure(&mut driver, least, 1, turn) > 0.0, "{case}");
            assert_eq!(driver.iommu.mappings(), 64, "{case}");
        }
    }
}
