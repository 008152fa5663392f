//! Instructions, and misses of simulated caches and TLBs, of copies through an IOMMU and without
//! one: what they cost where the clock cannot tell why.

use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use viommu::DmaSpace;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::cases::{BATCH, copy};
use super::peers::{Viommu, resolve};
use super::world::{Order, World};
use crate::valgrind::callgrind;

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
    let mut command = Command::new(program);
    command
        .args(["translation", "--counted", side.name()])
        .args(["--mappings", &mappings.to_string()]);
    let flags = ["--cache-sim=yes", COUNTED, levels[0], levels[1]];
    let sums = callgrind(&flags, &command)?;
    let of = |name: &str| {
        let sum = sums.get(name).copied();
        sum.with_context(|| format!("valgrind has not counted {name}"))
    };
    Ok(Sums {
        instructions: of("Ir")?,
        accesses: of("Dr")? + of("Dw")?,
        first: of("D1mr")? + of("D1mw")?,
        second: of("DLmr")? + of("DLmw")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_make_their_copies() {
        for side in [Side::Viommu, Side::Mmap] {
            copies(side, 64);
        }
    }
}
