//! Instructions, and misses of simulated caches and TLBs, of copies through an IOMMU and without
//! one: what they cost where the clock cannot tell why.

use std::collections::HashMap;
use std::process::Command;
use std::{io, iter};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use viommu::DmaSpace;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::cases::{BATCH, copy};
use super::peers::{Viommu, resolve};
use super::world::{Order, World};

/// Copies that are counted: each line and page that they need is fetched for the first time seldom
/// enough not to show.
const COPIES: u64 = 1 << 19;
/// Counts nothing but this module's functions of that name, and what they call.
const COUNTED: &str = "--toggle-collect=*translation*counts*counted*";
/// Caches of the sizes of a Zen 4 core's: 32 KiB and 1 MiB, lines of 64 bytes.
const CACHES: [&str; 2] = ["--D1=32768,8,64", "--LL=1048576,8,64"];
/// Its data TLBs, as caches whose lines are pages: 64 entries (the core has 72; the simulator takes
/// powers of two of sets only) and 3072.
const TLBS: [&str; 2] = ["--D1=262144,64,4096", "--LL=12582912,24,4096"];

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// A pinned [`DmaSpace`]
    Viommu,
    /// Guest memory without an IOMMU
    Mmap,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Viommu => "viommu",
            Self::Mmap => "mmap",
        }
    }
}

/// What one copy takes, on the average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counts {
    side: Side,
    mappings: u64,
    instructions: f64,
    /// Loads and stores.
    accesses: f64,
    l1_misses: f64,
    l2_misses: f64,
    l1_tlb_misses: f64,
    l2_tlb_misses: f64,
}

/// Makes the copies that are counted, in this process.
pub fn copies(side: Side, mappings: u64) {
    let world = World::new(mappings, 1);
    let viommu = Viommu::new(&world);
    // Every mapping is in the cache, and all memory is the host's own.
    let mut each = world.each();
    each.visit(mappings, |iova| resolve(&viommu.space.pin(), iova));
    world.label_pages();
    match side {
        Side::Viommu => counted_viommu(&viommu.space, world.random_iovas()),
        Side::Mmap => counted_mmap(&world.memory, world.random_physical()),
    }
}

#[inline(never)]
fn counted_viommu(space: &DmaSpace, mut order: Order<'_>) {
    order.batches(COPIES, BATCH, |batch| {
        let pinned = space.pin();
        for iova in batch {
            copy(&pinned, GuestAddress(*iova));
        }
    });
}

#[inline(never)]
fn counted_mmap(memory: &GuestMemoryMmap<()>, mut order: Order<'_>) {
    order.visit(COPIES, |address| copy(memory, address));
}

/// Counts, and prints the result.
///
/// # Errors
/// If there is no valgrind, or it fails.
pub fn run(mappings: &[u64], json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for mappings in mappings {
        for side in [Side::Mmap, Side::Viommu] {
            eprintln!("{mappings} mappings: {}", side.name());
            rows.push(count(side, *mappings)?);
        }
    }
    if json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    println!("counts of one copy of 64 bytes from a slice, pinned; caches and TLBs are simulated");
    println!(
        "{:<8} {:>8} {:>13} {:>10} {:>10} {:>10} {:>14} {:>14}",
        "",
        "mappings",
        "instructions",
        "accesses",
        "L1 misses",
        "L2 misses",
        "L1 TLB misses",
        "L2 TLB misses"
    );
    for row in &rows {
        println!(
            "{:<8} {:>8} {:>13.1} {:>10.1} {:>10.2} {:>10.2} {:>14.2} {:>14.2}",
            row.side.name(),
            row.mappings,
            row.instructions,
            row.accesses,
            row.l1_misses,
            row.l2_misses,
            row.l1_tlb_misses,
            row.l2_tlb_misses
        );
    }
    Ok(())
}

fn count(side: Side, mappings: u64) -> anyhow::Result<Counts> {
    let caches = simulate(side, mappings, CACHES)?;
    let tlbs = simulate(side, mappings, TLBS)?;
    let each = |sum: u64| sum as f64 / COPIES as f64;
    Ok(Counts {
        side,
        mappings,
        instructions: each(caches.instructions),
        accesses: each(caches.accesses),
        l1_misses: each(caches.first),
        l2_misses: each(caches.second),
        l1_tlb_misses: each(tlbs.first),
        l2_tlb_misses: each(tlbs.second),
    })
}

/// What valgrind has counted.
#[derive(Debug, PartialEq, Eq)]
struct Sums {
    instructions: u64,
    accesses: u64,
    /// Data that the first level did not have.
    first: u64,
    /// Data that the second did not have either.
    second: u64,
}

fn simulate(side: Side, mappings: u64, levels: [&str; 2]) -> anyhow::Result<Sums> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--cache-sim=yes"])
        .args(["--callgrind-out-file=/dev/null", COUNTED])
        .args(levels)
        .arg(program)
        .args(["translation", "--counted", side.name()])
        .args(["--mappings", &mappings.to_string()]);
    let output = match valgrind.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no valgrind here; install it: apt-get install valgrind")
        }
        output => output.context("cannot run valgrind")?,
    };
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed:\n{text}");
    parse(&text).with_context(|| format!("valgrind says something else than its counts:\n{text}"))
}

/// Finds the sums in what callgrind prints at its end; `None` if it simulated nothing.
fn parse(text: &str) -> Option<Sums> {
    let after = |what| text.lines().find_map(|line| Some(line.split_once(what)?.1));
    let names = after("Events    :")?.split_whitespace();
    let sums = after("Collected :")?.split_whitespace();
    // It leaves zeros at the end out.
    let sums = sums
        .map(|sum| sum.parse().ok())
        .chain(iter::repeat(Some(0)));
    let sums: HashMap<&str, Option<u64>> = names.zip(sums).collect();
    let of = |name| *sums.get(name)?;
    Some(Sums {
        instructions: of("Ir").filter(|sum| *sum > 0)?,
        accesses: of("Dr")? + of("Dw")?,
        first: of("D1mr")? + of("D1mw")?,
        second: of("DLmr")? + of("DLmw")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_callgrind_prints() {
        let text = "==1== Events    : Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw\n\
                    ==1== Collected : 100 20 10 1 2 3 4 5 6\n==1== \n";
        let sums = Sums {
            instructions: 100,
            accesses: 30,
            first: 5,
            second: 11,
        };
        assert_eq!(parse(text), Some(sums));
        let short = text.replace(" 5 6", "");
        assert_eq!(parse(&short).map(|sums| sums.second), Some(0));
        // As without a function of that name.
        assert_eq!(parse(&text.replace(": 100 20 10 1 2 3 4 5 6", ": 0")), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn both_sides_make_their_copies() {
        for side in [Side::Viommu, Side::Mmap] {
            copies(side, 64);
        }
    }
}
