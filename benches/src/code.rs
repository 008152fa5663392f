//! `benches code`: what host code costs, and what it is worth to have it from a run before.

use anyhow::Context;
use benches::statistics::{median_or_nan, range};
use benches::valgrind;
use guest_images::{Cache, Terminal};
use vmm::ByteSize;

use crate::guest::{self, Boots};

/// What to measure.
///
/// A guest boots to its power-off several times in one process, each time from a snapshot of before
/// its first instruction. The first time all code is decoded and made; afterwards what the run
/// before has made is there, and so is memory that the host has mapped. So the difference is more
/// than any store of code can save that outlives a process.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The guest image
    #[arg(long, default_value = "ipmmu")]
    image: String,
    /// Processes, each of which boots the guest three times
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Size of RAM
    #[arg(long, default_value = "256M")]
    memory: ByteSize,
    /// Instead, have valgrind count the host's instructions between the guest's instructions 50 and
    /// 150 million
    #[arg(long)]
    counts: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The guest's instructions between which the host's are counted.
const COUNTED: [u64; 2] = [50_000_000, 150_000_000];

/// Measures, and prints the result.
///
/// # Errors
/// The image cannot be had, the guest does not end well, or there is no valgrind.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let cache = Cache::open()?;
    let image = cache.obtain(&args.image, &mut Terminal::new())?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let console = directory.path().join("console");
    let guest = guest::Args::of(&image, args.memory, "ttyS0", console);
    if args.counts {
        return count(guest, args);
    }
    let guest = guest::Args {
        again: true,
        ..guest
    };
    let mut boots = Vec::new();
    for n in 1..=args.runs {
        let (_, these) = guest::told::<Boots>(&guest)?;
        let Boots { cold, warm } = these;
        eprintln!("run {n} of {}: {cold:.3} s, then {warm:.3} s", args.runs);
        boots.push(these);
    }
    if args.json {
        println!("{}", serde_json::to_string(&boots)?);
        return Ok(());
    }
    println!("{}: processor time from power-on to power-off", args.image);
    let row = |name: &str, values: &[f64]| {
        let middle = median_or_nan(values);
        let (least, most) = range(values).unwrap_or_default();
        println!("  {name:16} {middle:6.3}  ({least:.3} to {most:.3})");
    };
    let of = |what: fn(&Boots) -> f64| boots.iter().map(what).collect::<Vec<_>>();
    row("cold, s", &of(|boots| boots.cold));
    row("warm, s", &of(|boots| boots.warm));
    row("warm to cold", &of(|boots| boots.warm / boots.cold));
    Ok(())
}

/// Has valgrind count the host's instructions for each of the guest's, and prints the result.
fn count(guest: guest::Args, args: &Args) -> anyhow::Result<()> {
    let mut sums = [0; 2];
    for (limit, sum) in COUNTED.into_iter().zip(&mut sums) {
        let guest = guest::Args {
            instructions: Some(limit),
            ..guest.clone()
        };
        eprintln!("{limit} instructions");
        // Links between blocks are written while they run.
        let counts = valgrind::callgrind(&["--smc-check=all"], &guest.command()?)?;
        *sum = counts.get("Ir").copied().unwrap_or_default();
    }
    let guests = COUNTED[1] - COUNTED[0];
    let each = sums[1].saturating_sub(sums[0]) as f64 / guests as f64;
    if args.json {
        println!(
            "{}",
            serde_json::json!({ "image": args.image, "ratio": each })
        );
    } else {
        println!(
            "{}: {each:.2} host instructions for each of the guest's, from {} to {} million",
            args.image,
            COUNTED[0] / 1_000_000,
            COUNTED[1] / 1_000_000
        );
    }
    Ok(())
}
