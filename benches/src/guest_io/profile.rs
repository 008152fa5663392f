//! Where the guest's own instructions go, with the IOMMU and without.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;
use guest_images::Image;
use vmm::IommuConfig;
use vmm::introspect::symbols::Symbols;

use super::run::{Guest, PHASES, SIZE};

/// Instructions from one sample to the next: a prime, so that no loop of the guest keeps in step
/// with it.
const EVERY: u64 = 20_011;
/// Functions shown for each copy.
const SHOWN: usize = 16;

/// Samples of each function, for each copy.
type Counts = Vec<BTreeMap<String, u64>>;

/// Prints for each copy the functions with the most instructions, by their difference.
///
/// # Errors
/// The image has no bare kernel, or a guest does not copy all.
pub fn run(guest: &Guest, image: &Image, iommu: &IommuConfig) -> anyhow::Result<()> {
    let kernel = image
        .raw_kernel
        .as_ref()
        .context("this image has no bare kernel to find symbols in: use --image ipmmu")?;
    let kernel = fs::read(kernel).context("cannot read the kernel")?;
    let symbols = Symbols::find(&kernel)?;
    let plain = sample(guest, &symbols, None)?;
    let behind = sample(guest, &symbols, Some(iommu))?;
    for (phase, (plain, behind)) in PHASES.iter().zip(plain.iter().zip(&behind)) {
        print(phase.name, plain, behind);
    }
    Ok(())
}

fn sample(guest: &Guest, symbols: &Symbols, iommu: Option<&IommuConfig>) -> anyhow::Result<Counts> {
    eprintln!(
        "sampling {}",
        iommu.map_or("without", |iommu| iommu.model.name())
    );
    let mut counts = vec![BTreeMap::new(); PHASES.len()];
    guest.sample(iommu, EVERY, &mut |phase, pc| {
        // The kernel has the upper quarter of the address space (VMSPLIT_3G).
        let name = match symbols.at(pc.into()) {
            Some(at) if pc >= 0xc000_0000 => at.symbol.name.to_owned(),
            _ if pc >= 0xc000_0000 => "(kernel)".to_owned(),
            _ => "(user)".to_owned(),
        };
        *counts[phase].entry(name).or_insert(0) += 1;
    })?;
    Ok(counts)
}

fn print(name: &str, plain: &BTreeMap<String, u64>, behind: &BTreeMap<String, u64>) {
    let per_page = |count: u64| (count * EVERY) as f64 / (SIZE >> 12) as f64;
    let of = |counts: &BTreeMap<String, u64>, name: &str| counts.get(name).copied().unwrap_or(0);
    let total = |counts: &BTreeMap<String, u64>| per_page(counts.values().sum());
    let mut names: Vec<&String> = plain.keys().chain(behind.keys()).collect();
    names.sort_unstable();
    names.dedup();
    // Stable: equal differences stay in the order of names, so that the output repeats.
    names.sort_by_key(|name| std::cmp::Reverse(of(behind, name).abs_diff(of(plain, name))));
    println!("{name}: the guest's instructions for each 4 KiB, without and with the IOMMU");
    println!("{:>10.0} {:>10.0}  in all", total(plain), total(behind));
    for name in names.iter().take(SHOWN) {
        println!(
            "{:>10.0} {:>10.0}  {name}",
            per_page(of(plain, name)),
            per_page(of(behind, name))
        );
    }
    println!();
}
