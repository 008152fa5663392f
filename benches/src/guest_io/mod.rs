//! `benches guest-io`: throughput of virtio-blk in a guest, with an IOMMU before the disk and
//! without.

mod profile;
mod run;

use benches::statistics::median_or_nan;
use guest_images::{Cache, Terminal};
use serde::Serialize;
use vmm::sanitizer::Options;
use vmm::{ByteSize, IommuConfig, IommuModel};

use run::{Guest, PHASES, Sample, Side};

/// What to measure.
///
/// The guest copies 64 MiB from and to its disk with dd, past its page cache in blocks of three
/// sizes, and once through it. The times are the host's, between lines on the console; what
/// starting dd takes is measured apart and taken off. Guests with and without the IOMMU take turns;
/// the figures are medians. The clock is the host's, devices have a thread of their own, and the
/// disk is a file in the host's page cache.
///
/// The guest's instructions are counted too: mapping, unmapping and flushing is work that the IOMMU
/// makes for the guest's kernel, on any machine. What the ratio would be by that alone is the
/// "guest limit"; "machine" is the ratio by it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The IOMMU: its model
    #[arg(long, value_name = "MODEL", default_value = "ipmmu")]
    iommu: IommuConfig,
    /// The guest image [default: the one whose kernel has a driver for the IOMMU]
    #[arg(long)]
    image: Option<String>,
    /// Runs on each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Size of RAM
    #[arg(long, default_value = "256M")]
    memory: ByteSize,
    /// Compare a sanitizer instead: the disk is behind the IOMMU on both sides, and on one of them
    /// mistakes with DMA are looked for; see docs/sanitizer.md
    #[arg(long, value_name = "dma[=KIND,...]", conflicts_with = "profile")]
    sanitize: Option<Options>,
    /// Sample instead which functions of the guest's kernel take its instructions, with the IOMMU
    /// and without
    #[arg(long, conflicts_with = "json")]
    profile: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Returns the side with what is measured, or the one without, and its name.
    fn side(&self, with: bool) -> (Side<'_>, &'static str) {
        let sanitize = self.sanitize.as_ref();
        let side = Side {
            iommu: (with || sanitize.is_some()).then_some(&self.iommu),
            sanitize: sanitize.filter(|_| with),
        };
        let name = match (with, sanitize) {
            (false, _) => "without",
            (true, None) => self.iommu.model.name(),
            (true, Some(_)) => "sanitize",
        };
        (side, name)
    }

    fn image(&self) -> &str {
        self.image.as_deref().unwrap_or(match self.iommu.model {
            IommuModel::Virtio => "virtio-iommu",
            IommuModel::Rockchip | IommuModel::RockchipV2 => "debian-armmp",
            IommuModel::SmmuV2 => "debian-armmp-lpae",
            _ => "ipmmu",
        })
    }
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    /// MiB a second without an IOMMU, or without a sanitizer.
    plain_mib_s: f64,
    /// MiB a second with it.
    iommu_mib_s: f64,
    /// The latter by the former.
    ratio: f64,
    /// The guest's instructions for each KiB without it.
    plain_instructions: f64,
    /// With it.
    iommu_instructions: f64,
    /// What the ratio would be if an instruction took as long with the IOMMU as without: the
    /// guest's own part.
    guest_limit: f64,
    /// The ratio by that: the part of the machine.
    machine_ratio: f64,
}

/// Runs the comparison.
///
/// # Errors
/// An image cannot be had, or a guest does not copy all.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let image = cache.obtain(args.image(), &mut Terminal::new())?;
    let guest = Guest::new(&image, args.memory)?;
    if args.profile {
        return profile::run(&guest, &image, &args.iommu);
    }
    let (mut plain, mut behind) = (Vec::new(), Vec::new());
    for n in 1..=args.runs {
        // Who goes first takes turns too.
        for with in [n % 2 == 0, n % 2 != 0] {
            let (side, name) = args.side(with);
            let samples = guest.run(&side)?;
            let rates: Vec<String> = samples.iter().map(|s| format!("{:.0}", s.rate())).collect();
            eprintln!(
                "run {n} of {}: {name:>8}: {} MiB/s",
                args.runs,
                rates.join(" ")
            );
            if with { &mut behind } else { &mut plain }.push(samples);
        }
    }
    let rows: Vec<Row> = (0..PHASES.len())
        .map(|phase| row(phase, &plain, &behind))
        .collect();
    if args.json {
        let text = serde_json::to_string(&rows)?;
        println!("{text}");
    } else {
        print_table(&rows, args, &image.version);
    }
    Ok(())
}

fn row(phase: usize, plain: &[Vec<Sample>], behind: &[Vec<Sample>]) -> Row {
    let of = |runs: &[Vec<Sample>], value: fn(&Sample) -> f64| {
        let values: Vec<f64> = runs.iter().map(|samples| value(&samples[phase])).collect();
        median_or_nan(&values)
    };
    let rates = [plain, behind].map(|runs| of(runs, Sample::rate));
    let work = [plain, behind].map(|runs| of(runs, Sample::instructions));
    let (ratio, guest_limit) = (rates[1] / rates[0], work[0] / work[1]);
    Row {
        case: PHASES[phase].name,
        plain_mib_s: rates[0],
        iommu_mib_s: rates[1],
        ratio,
        plain_instructions: work[0],
        iommu_instructions: work[1],
        guest_limit,
        machine_ratio: ratio / guest_limit,
    }
}

fn print_table(rows: &[Row], args: &Args, version: &str) {
    let model = args.iommu.model.name();
    let sides = match &args.sanitize {
        None => format!("{model} against none"),
        Some(_) => format!("{model} with a sanitizer against the same without"),
    };
    println!(
        "{}: Linux {version}, {} of memory, {sides}, medians of {}",
        args.image(),
        args.memory,
        args.runs
    );
    println!(
        "{:<26} {:>12} {:>12} {:>7} {:>25} {:>12} {:>8}",
        "64 MiB", "without", "with", "ratio", "guest instructions/KiB", "guest limit", "machine"
    );
    for row in rows {
        println!(
            "{:<26} {:>6.0} MiB/s {:>6.0} MiB/s {:>7.2} {:>12.0} {:>12.0} {:>12.2} {:>8.2}",
            row.case,
            row.plain_mib_s,
            row.iommu_mib_s,
            row.ratio,
            row.plain_instructions,
            row.iommu_instructions,
            row.guest_limit,
            row.machine_ratio
        );
    }
    // All of it in one go: the time of each is in proportion to its reciprocal rate.
    let time = |rate: fn(&Row) -> f64| rows.iter().map(|row| 1.0 / rate(row)).sum::<f64>();
    println!(
        "{:<26} {:>20} {:>20.2}",
        "all together",
        "",
        time(|row| row.plain_mib_s) / time(|row| row.iommu_mib_s)
    );
}
