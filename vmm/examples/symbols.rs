//! Looks into an unpacked kernel image (`Image`), a copy of guest RAM, a BTF blob or a `vmlinux`
//! with debug information, and prints what it finds.
//!
//! ```sh
//! cargo run --release -p vmm --example symbols -- Image                      # what is there, and how long it took
//! cargo run --release -p vmm --example symbols -- Image --list               # all symbols, as in System.map
//! cargo run --release -p vmm --example symbols -- Image arch_teardown_dma_ops device.archdata.dma_ops_setup
//! cargo run --release -p vmm --example symbols -- vmlinux --table            # offsets for types/offsets.toml
//! ```

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use vmm::introspect::symbols::{Symbols, SymbolsError};
use vmm::introspect::types::Types;
use vmm::introspect::types::offsets::{banner, describe};
use vmm::introspect::types::vmlinux::{Vmlinux, VmlinuxError};
use vmm::vcpu::Width;

/// What offset tables hold.
const TABLE: &[(&str, &[&str])] = &[
    ("kobject", &["name", "parent", "kset"]),
    (
        "device",
        &[
            "kobj",
            "parent",
            "init_name",
            "bus",
            "driver",
            "driver_data",
            "dma_ops",
            "dma_mask",
            "coherent_dma_mask",
            "archdata",
            "of_node",
            "iommu_group",
            "iommu",
            "dma_coherent",
        ],
    ),
    ("dev_archdata", &["mapping", "dma_ops_setup"]),
    ("device_driver", &["name", "bus", "owner", "of_match_table"]),
    ("bus_type", &["name", "dev_name"]),
    ("device_node", &["name", "full_name", "phandle"]),
    ("dev_iommu", &["fwspec", "iommu_dev", "priv"]),
    ("iommu_fwspec", &["num_ids", "flags"]),
    ("platform_device", &["name", "id", "dev"]),
    ("page", &["_refcount", "compound_head", "compound_info"]),
    (
        "scatterlist",
        &["page_link", "offset", "length", "dma_address", "dma_length"],
    ),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        eprintln!(
            "usage: symbols FILE [--list] [--table] [SYMBOL | ADDRESS | STRUCTURE.MEMBER]..."
        );
        return ExitCode::from(2);
    };
    let image = match std::fs::read(&file) {
        Ok(image) => image,
        Err(error) => {
            eprintln!("{file} cannot be read: {error}");
            return ExitCode::from(2);
        }
    };
    let rest: Vec<String> = arguments.collect();
    if rest.iter().any(|a| a == "--table") {
        return table(&image);
    }
    let started = Instant::now();
    let symbols = Symbols::find(&image);
    let symbols_took = started.elapsed();
    if rest.iter().any(|a| a == "--list") {
        for symbol in symbols.iter().flat_map(Symbols::iter) {
            let digits = 2 * symbols_width(&symbols).bytes() as usize;
            println!(
                "{:0digits$x} {} {}",
                symbol.address, symbol.kind, symbol.name
            );
        }
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let types = Types::of_kernel(&image, symbols_width(&symbols));
    let types_took = started.elapsed();
    println!("{}", banner(&image).unwrap_or("no banner"));
    match &symbols {
        Ok(symbols) => {
            println!("{} symbols in {symbols_took:.1?}", symbols.len());
            if let (Width::Bits64, Some(text)) = (symbols.width(), symbols.text()) {
                println!("_text at {text:#x}");
            }
        }
        Err(error) => println!("{error} ({symbols_took:.1?})"),
    }
    match &types {
        Ok((types, source)) => {
            let functions = types.functions();
            println!(
                "{} types, {functions} functions from {source:?} in {types_took:.1?}",
                types.len()
            );
        }
        Err(error) => println!("{error} ({types_took:.1?})"),
    }
    for query in rest.iter().filter(|a| !a.starts_with("--")) {
        println!("{query}:");
        answer(
            query,
            symbols.as_ref().ok(),
            types.as_ref().ok().map(|t| &t.0),
        );
    }
    ExitCode::SUCCESS
}

/// How wide the kernel's addresses are; of 32 bits where there are no symbols to tell.
fn symbols_width(symbols: &Result<Symbols, SymbolsError>) -> Width {
    symbols.as_ref().map_or(Width::Bits32, Symbols::width)
}

fn table(image: &[u8]) -> ExitCode {
    let types = match Vmlinux::parse(image) {
        Ok(vmlinux) => Ok(Arc::clone(vmlinux.types())),
        Err(VmlinuxError::NotElf) => Types::find(image)
            .map(Arc::new)
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match types {
        Ok(types) => {
            print!("{}", describe(&types, TABLE));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(query: &str, symbols: Option<&Symbols>, types: Option<&Types>) {
    if let Some(symbols) = symbols {
        for symbol in symbols.named(query) {
            println!("  {:#010x} {}", symbol.address, symbol.kind);
        }
        let number = query.strip_prefix("0x").map(|n| u64::from_str_radix(n, 16));
        if let Some(Ok(address)) = number {
            match symbols.at(address) {
                Some(location) => println!("  {location}"),
                None => println!("  no symbol"),
            }
        }
    }
    let Some(types) = types else { return };
    if let Some(function) = types.function(query) {
        for argument in function.arguments {
            println!(
                "  argument {}: {}",
                argument.name,
                types.type_name(argument.ty)
            );
        }
        println!("  returns {}", types.type_name(function.returns));
    }
    if let Some((structure, path)) = query.split_once(['.', '-']) {
        match types.resolve(structure, path.trim_start_matches('>')) {
            Ok(path) => println!(
                "  {:?} {:?}: {}",
                path.steps,
                path.bits,
                types.type_name(path.ty)
            ),
            Err(error) => println!("  {error}"),
        }
    }
}
