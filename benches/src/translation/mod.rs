//! `benches translation`: what DMA through viommu costs, through vm-memory's IOMMU, and without
//! one.

mod cases;
mod counts;
mod directory;
mod models;
mod peers;
mod rounds;
mod table;
mod virtio;
mod world;

use std::time::Duration;

use serde::Serialize;

pub use cases::{Contenders, GROUPS, Group, HITS, LOOKUP, READ};
pub use models::ModelKind;
pub use peers::{Peer, Viommu};
pub use rounds::{Case, Contender, Effort, Timer, measure};
pub use virtio::Driver;
pub use world::World;

/// How many mappings there are in the worlds that are measured.
pub const MAPPINGS: [u64; 3] = [64, 4096, 65_536];

/// The cases that complete models are measured by too: those that take a mapping to be there, and
/// to be invalidated.
const OF_MODELS: [&str; 5] = [LOOKUP, READ, cases::MISS, cases::REFILL, cases::FLUSH];

/// What to measure.
///
/// All sides do the same work on the same guest memory: 4 KiB mappings that cannot be merged, in a
/// page table in guest memory, accessed in one uniformly random order that was made before. They
/// take turns in short rounds; the figure is the lower quartile of the rounds. Lookups and pinned
/// reads by viommu are made with one pin for 64.
///
/// The complete models besides the bare translation unit have the same mappings in tables of their
/// own format, and are invalidated by writes to their registers, as Linux's drivers do it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Numbers of mappings
    #[arg(long, value_delimiter = ',', default_values_t = MAPPINGS,
        value_parser = clap::value_parser!(u64).range(64..=65_536))]
    mappings: Vec<u64>,
    /// Regions that guest memory is made of; the machine has one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    regions: u64,
    /// Rounds of turns
    #[arg(long, default_value_t = 101, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Only groups of cases whose name contains this: hits, kinds, misses, changes, flushes,
    /// threads, queue, scale, hotplug
    #[arg(long, default_value = "")]
    only: String,
    /// What translates for viommu: each is measured against the same peers
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = ModelKind::ALL)]
    models: Vec<ModelKind>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Instead of measuring times, count what copies from a slice take, with valgrind:
    /// instructions, and misses of simulated caches and TLBs
    #[arg(long)]
    counts: bool,
    /// Make the copies that `--counts` counts
    #[arg(long, hide = true)]
    counted: Option<counts::Side>,
}

/// One line of the result; nanoseconds for an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What is measured.
    pub case: &'static str,
    /// What translates for viommu.
    pub model: &'static str,
    /// Among how many mappings.
    pub mappings: u64,
    /// Nanoseconds that it takes here.
    pub viommu_ns: Option<f64>,
    /// The same of vm-memory's IOMMU.
    pub vm_memory_ns: Option<f64>,
    /// The same of plain memory.
    pub mmap_ns: Option<f64>,
}

/// Time of one turn of a round: shorter than a time slice of the host's scheduler.
pub const TURN: Duration = Duration::from_micros(1000);
/// The same where each operation of a turn is preceded by much that is not measured, or threads are
/// started.
const LONG_TURN: Duration = Duration::from_millis(4);
/// How long one group of cases may take.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Measures, and prints the result.
///
/// # Errors
/// If the result cannot be printed, or valgrind is asked for and fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(side) = args.counted {
        args.mappings.iter().for_each(|n| counts::copies(side, *n));
        return Ok(());
    }
    if args.counts {
        return counts::run(&args.mappings, args.json);
    }
    let mut rows = Vec::new();
    for mappings in &args.mappings {
        let world = World::new(*mappings, args.regions);
        for model in &args.models {
            rows.extend(measure_model(args, &world, *model));
        }
    }
    if args.json {
        let text = serde_json::to_string(&rows)?;
        println!("{text}");
    } else {
        print_table(&mut rows, args.regions);
    }
    Ok(())
}

/// Measures the groups that are asked for, of one model.
fn measure_model(args: &Args, world: &World, model: ModelKind) -> Vec<Row> {
    let mut rows = Vec::new();
    for group in GROUPS
        .iter()
        .filter(|group| group.name.contains(&args.only))
    {
        eprintln!(
            "{} mappings, {}: {}",
            world.mappings,
            model.name(),
            group.name
        );
        let effort = Effort {
            rounds: args.rounds,
            turn: if matches!(group.name, "flushes" | "threads" | "hotplug") {
                LONG_TURN
            } else {
                TURN
            },
            patience: PATIENCE,
        };
        // New contenders for each group: none starts with what another has left in the caches.
        let contenders = Contenders::behind(world, model.with(world));
        rows.extend(measure_group_of(model, group, &contenders, effort));
    }
    rows
}

/// Measures the cases of a group.
pub fn measure_group(group: &Group, contenders: &Contenders<'_>, effort: Effort) -> Vec<Row> {
    measure_group_of(ModelKind::Unit, group, contenders, effort)
}

/// Measures the cases of a group that there are for a model.
fn measure_group_of(
    model: ModelKind,
    group: &Group,
    contenders: &Contenders<'_>,
    effort: Effort,
) -> Vec<Row> {
    let mut cases = (group.cases)(contenders);
    cases.retain(|case| model == ModelKind::Unit || OF_MODELS.contains(&case.name));
    if cases.is_empty() {
        return Vec::new();
    }
    let results = measure(&mut cases, effort);
    let rows = cases.iter().zip(results).map(|(case, times)| {
        let of = |peer| {
            let at = case.contenders.iter().position(|side| side.peer == peer)?;
            // Hundredths of a nanosecond are noise.
            times.get(at).map(|time| (time * 100.0).round() / 100.0)
        };
        Row {
            case: case.name,
            model: model.name(),
            mappings: contenders.mappings(),
            viommu_ns: of(Peer::Viommu),
            vm_memory_ns: of(Peer::VmMemory),
            mmap_ns: of(Peer::Mmap),
        }
    });
    rows.collect()
}

fn print_table(rows: &mut [Row], regions: u64) {
    // One case together, each model by itself, the numbers of mappings below each other; cases keep
    // their order.
    let mut order: Vec<&str> = Vec::new();
    for row in &*rows {
        if !order.contains(&row.case) {
            order.push(row.case);
        }
    }
    let models = ModelKind::ALL.map(ModelKind::name);
    rows.sort_by_key(|row| {
        let model = models.iter().position(|model| *model == row.model);
        (order.iter().position(|case| *case == row.case), model)
    });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "nanoseconds for an operation; RAM in {regions} region{}; load average {load}",
        if regions == 1 { "" } else { "s" }
    );
    println!(
        "{:<38} {:<9} {:>8} {:>10} {:>11} {:>10} {:>16} {:>12}",
        "", "model", "mappings", "viommu", "vm-memory", "mmap", "vm-memory/viommu", "viommu/mmap"
    );
    for row in &*rows {
        println!(
            "{:<38} {:<9} {:>8} {:>10} {:>11} {:>10} {:>16} {:>12}",
            row.case,
            row.model,
            row.mappings,
            shown(row.viommu_ns, ""),
            shown(row.vm_memory_ns, ""),
            shown(row.mmap_ns, ""),
            shown(ratio(row.vm_memory_ns, row.viommu_ns), "x"),
            shown(ratio(row.viommu_ns, row.mmap_ns), "x"),
        );
    }
    print_scaling(rows);
    print_compared(rows);
}

/// Prints what two threads read in the time in which one reads 1, each contender by itself.
fn print_scaling(rows: &[Row]) {
    let named = |name, mappings| {
        let mut found = rows.iter().filter(move |row| row.case == name);
        found.find(move |row: &&Row| row.mappings == mappings)
    };
    for one in rows.iter().filter(|row| row.case == cases::ONE_THREAD) {
        let Some(two) = named(cases::TWO_THREADS, one.mappings) else {
            continue;
        };
        println!(
            "{:<38} {:<9} {:>8} {:>10} {:>11} {:>10}",
            "throughput of 2 threads by that of 1",
            one.model,
            one.mappings,
            shown(ratio(one.viommu_ns, two.viommu_ns), "x"),
            shown(ratio(one.vm_memory_ns, two.vm_memory_ns), "x"),
            shown(ratio(one.mmap_ns, two.mmap_ns), "x"),
        );
    }
}

/// Prints how often one handle's or guard's time many of them take, and an undisturbed read's a
/// disturbed one.
fn print_compared(rows: &[Row]) {
    for (of, many, one) in cases::compared() {
        for row in rows.iter().filter(|row| row.case == many) {
            let same = |other: &&Row| other.case == one && other.mappings == row.mappings;
            let Some(other) = rows.iter().find(same) else {
                continue;
            };
            println!(
                "{:<38} {:<9} {:>8} {:>10}",
                of,
                row.model,
                row.mappings,
                shown(ratio(row.viommu_ns, other.viommu_ns), "x"),
            );
        }
    }
}

fn ratio(above: Option<f64>, below: Option<f64>) -> Option<f64> {
    above.zip(below).map(|(above, below)| above / below)
}

fn shown(value: Option<f64>, unit: &str) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_of_each_group_runs_and_names_its_peers() {
        let world = World::new(64, 1);
        let effort = Effort {
            rounds: 1,
            turn: Duration::from_micros(20),
            patience: Duration::ZERO,
        };
        let rows: Vec<Row> = GROUPS
            .iter()
            .flat_map(|group| measure_group(group, &Contenders::new(&world), effort))
            .collect();
        assert!(rows.iter().all(|row| row.viommu_ns.is_some()));
        let with = |peer: fn(&Row) -> Option<f64>| rows.iter().filter_map(peer).count();
        let peers = (with(|row| row.vm_memory_ns), with(|row| row.mmap_ns));
        assert_eq!((rows.len(), peers), (31, (17, 15)));
        for (_, many, one) in cases::compared() {
            for name in [many, one] {
                assert!(rows.iter().any(|row| row.case == name), "{name}");
            }
        }
        let json = serde_json::to_value(&rows[1]).unwrap();
        assert_eq!(
            (&json["mappings"], &json["model"]),
            (&64.into(), &"unit".into())
        );
        assert!(json["mmap_ns"].is_null());
    }

    #[test]
    fn complete_models_are_measured_by_the_same_cases() {
        let args = Args {
            mappings: vec![64],
            regions: 1,
            rounds: 1,
            only: "s".to_owned(),
            models: ModelKind::ALL[1..].to_vec(),
            json: false,
            counts: false,
            counted: None,
        };
        let world = World::new(64, 1);
        for model in &args.models {
            let rows = measure_model(&args, &world, *model);
            let cases: Vec<&str> = rows.iter().map(|row| row.case).collect();
            assert_eq!(cases, OF_MODELS);
            assert!(
                rows.iter()
                    .all(|row| row.model == model.name() && row.viommu_ns.is_some())
            );
        }
    }
}
