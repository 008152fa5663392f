//! `benches requests`: what virtio-iommu requests cost, through a real virtqueue in memory.

#![expect(clippy::cast_possible_truncation, reason = "batches are small")]

use std::hint::black_box;
use std::time::Duration;

use benches::statistics::lower_quartile;
use benches::translation::{
    self, Contenders, Driver, Effort, HITS, LOOKUP, MAPPINGS, PATIENCE, READ, TURN, World,
    measure_group,
};
use serde::Serialize;
use vm_memory::{Bytes, GuestAddress};

/// Pairs of MAP and UNMAP in a batch of 32 requests.
const BATCH_PAIRS: u64 = 16;
/// How long a round of one case takes, about.
const ROUND: Duration = Duration::from_millis(2);

/// What to measure.
///
/// The device's side of the request queue is timed, in memory, from the available ring to the used
/// ring: fetching chains of two descriptors, executing, invalidating, waiting for devices (none is
/// at work), answering. What the driver does is not. Lookups and reads are those of `benches
/// translation`, beside the same peers, through the device's translation cache and, without one,
/// through its store of mappings. Figures are lower quartiles of the rounds.
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
    /// Nanoseconds that vm-memory's IOMMU takes.
    vm_memory_ns: Option<f64>,
    /// Nanoseconds that plain memory takes.
    mmap_ns: Option<f64>,
}

impl Row {
    fn new(case: &'static str, mappings: u64, ns: f64) -> Self {
        Self {
            case,
            mappings,
            ns: (ns * 10.0).round() / 10.0,
            per_second: (1e9 / ns).round(),
            vm_memory_ns: None,
            mmap_ns: None,
        }
    }

    /// Creates a row of the hits of a device with a cache or without; none of a case that is not
    /// for it.
    fn of_hit(row: &translation::Row, cached: bool) -> Option<Self> {
        let case = match (row.case, cached) {
            (LOOKUP, true) => "lookup, cached",
            (LOOKUP, false) => "lookup, not cached",
            (READ, true) => "read 64 B, cached",
            (READ, false) => "read 64 B, not cached",
            _ => return None,
        };
        Some(Self {
            vm_memory_ns: row.vm_memory_ns,
            mmap_ns: row.mmap_ns,
            ..Self::new(case, row.mappings, row.viommu_ns?)
        })
    }
}

/// What one turn does: times so many operations.
type TimedOperations = fn(&mut Driver, u64) -> Duration;

/// What is asked of the device: a name, the fewest operations of a turn, and what is timed.
const CASES: [(&str, u64, TimedOperations); 4] = [
    ("MAP or UNMAP, in batches of 32", 2 * BATCH_PAIRS, batches),
    ("MAP or UNMAP, alone", 2, alone),
    ("UNMAP of a mapping in use, alone (strict)", 1, strict),
    (
        "UNMAP of mappings in use, in batches of 32 (lazy)",
        2 * BATCH_PAIRS,
        lazy,
    ),
];

/// Measures, and prints the result.
///
/// # Errors
/// If the result cannot be printed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let effort = Effort {
        rounds: args.rounds,
        turn: TURN,
        patience: PATIENCE,
    };
    let rows = MAPPINGS.map(|mappings| measure_all(&World::new(mappings, 1), effort));
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    if args.json {
        let text = serde_json::to_string(&rows)?;
        println!("{text}");
        return Ok(());
    }
    println!(
        "{:<50} {:>8} {:>8} {:>12} {:>10} {:>8}",
        "", "mappings", "ns", "per second", "vm-memory", "mmap"
    );
    // One case together, the numbers of mappings below each other.
    for first in rows.iter().filter(|row| row.mappings == MAPPINGS[0]) {
        for row in rows.iter().filter(|row| row.case == first.case) {
            let peer = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| format!("{ns:.1}"));
            println!(
                "{:<50} {:>8} {:>8.1} {:>12.0} {:>10} {:>8}",
                row.case,
                row.mappings,
                row.ns,
                row.per_second,
                peer(row.vm_memory_ns),
                peer(row.mmap_ns)
            );
        }
    }
    Ok(())
}

/// Returns all that is measured among the mappings of one world.
fn measure_all(world: &World, effort: Effort) -> Vec<Row> {
    let mut driver = Driver::new(world, true);
    let mut rows: Vec<Row> = CASES
        .iter()
        .map(|(case, least, turn)| {
            let ns = measure(&mut driver, *least, effort.rounds, *turn);
            Row::new(case, world.mappings, ns)
        })
        .collect();
    for (driver, cached) in [(driver, true), (Driver::new(world, false), false)] {
        let contenders = Contenders::behind(world, driver.viommu());
        let hits = measure_group(&HITS, &contenders, effort);
        rows.extend(hits.iter().filter_map(|row| Row::of_hit(row, cached)));
    }
    rows
}

/// Returns the nanoseconds for an operation.
fn measure(driver: &mut Driver, least: u64, rounds: u32, turn: TimedOperations) -> f64 {
    // Once to warm up, and to learn how many operations fill a round.
    let first = turn(driver, least).as_nanos().max(1);
    let times = (ROUND.as_nanos() / first).clamp(1, 100_000) as u64;
    let count = least * times;
    let round = |_| turn(driver, count).as_nanos() as f64 / count as f64;
    let times: Vec<f64> = (0..rounds).map(round).collect();
    lower_quartile(&times).unwrap_or_default()
}

/// Measures MAP and UNMAP of pages, 32 requests for each notification.
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

/// Measures one request for each notification.
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

/// Measures unmappings of what a device has just accessed, each waited for, as a driver does that
/// lets nothing linger.
fn strict(driver: &mut Driver, count: u64) -> Duration {
    unmappings(driver, count, 1)
}

/// Measures the same by a driver that collects them until it flushes.
fn lazy(driver: &mut Driver, count: u64) -> Duration {
    unmappings(driver, count, 2 * BATCH_PAIRS)
}

fn unmappings(driver: &mut Driver, count: u64, batch: u64) -> Duration {
    let mut taken = Duration::ZERO;
    for first in (0..count).step_by(batch as usize) {
        let pages = first..first + batch;
        for page in pages.clone() {
            driver.map(driver.spare_iova(page));
        }
        driver.serve(batch as u16);
        for page in pages.clone() {
            // So that the cache holds what is invalidated then.
            access(driver, driver.spare_iova(page));
        }
        for page in pages {
            driver.unmap(driver.spare_iova(page));
        }
        taken += driver.serve(batch as u16);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_runs_and_leaves_what_it_found() {
        let world = World::new(64, 1);
        let mut driver = Driver::new(&world, true);
        for (case, least, turn) in CASES {
            assert!(measure(&mut driver, least, 1, turn) > 0.0, "{case}");
            assert_eq!(driver.iommu.mappings(), 64, "{case}");
        }
        let effort = Effort {
            rounds: 1,
            turn: Duration::from_micros(20),
            patience: Duration::ZERO,
        };
        let rows = measure_all(&world, effort);
        assert_eq!(rows.len(), CASES.len() + 4);
        let peers = rows.iter().filter(|row| row.vm_memory_ns.is_some());
        assert_eq!(peers.count(), 4);
    }
}
