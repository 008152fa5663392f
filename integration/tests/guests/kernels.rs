//! What can be told of stock 64-bit kernels from their images, which have not relocated themselves.

use std::fs;

use integration::obtain;
use vmm::introspect::symbols::Symbols;
use vmm::introspect::types::{Source, Types};
use vmm::vcpu::Width;

/// Where such a kernel's first byte may be mapped.
const TEXT: u64 = 0xffff_a5e2_c8e0_0000;

/// Returns how far the branch in the header leads from the first byte (Documentation/arch/arm64/booting.rst): in bytes.
fn entry(image: &[u8]) -> u64 {
    let code = u32::from_le_bytes(image[4..8].try_into().expect("four bytes"));
    assert_eq!(code >> 26, 0b000101, "the second instruction is a branch");
    4 + 4 * u64::from(code & ((1 << 26) - 1))
}

fn check(name: &str, has_variables: bool) {
    let image = fs::read(obtain(name).kernel).expect("a kernel");
    let mut symbols = Symbols::find(&image).expect("symbols");
    assert_eq!(symbols.width(), Width::Bits64);
    assert!(symbols.len() > 50_000, "{}", symbols.len());
    assert_eq!(symbols.offset("primary_entry"), Some(entry(&image)));
    let offset = symbols.offset("really_probe").expect("really_probe");
    assert!(symbols.place(TEXT));
    assert_eq!(symbols.address("really_probe"), Some(TEXT + offset));
    let location = symbols.at(TEXT + offset + 4).expect("a function");
    assert_eq!(location.to_string(), "really_probe+0x4");
    assert_eq!(symbols.address("modules").is_some(), has_variables);

    let (types, source) = Types::of_kernel(&image, symbols.width()).expect("types");
    assert_eq!((source, types.width()), (Source::Btf, Width::Bits64));
    let probed = types.function("really_probe").expect("its prototype");
    let names: Vec<&str> = probed.arguments.iter().map(|a| a.name).collect();
    assert_eq!(names, ["dev", "drv"]);
    let device = probed.arguments[0].ty;
    assert_eq!(types.type_name(device), "struct device *");
    assert_eq!(types.size(device), Some(8));
    for (structure, path) in [
        ("device", "driver->name"),
        ("device", "iommu->fwspec->num_ids"),
        ("module", "kallsyms->typetab"),
    ] {
        if let Err(error) = types.resolve(structure, path) {
            panic!("{name}: {path}: {error}");
        }
    }
}

/// Without CONFIG_KALLSYMS_ALL there are symbols of functions only, `_text` not among them;
/// relocations keep what they add for themselves.
#[test]
fn a_6_1_kernel() {
    check("debian-arm64-6.1", false);
}

/// With CONFIG_KALLSYMS_ALL and CONFIG_RELR: words to be relocated have the address for which the kernel was linked.
#[test]
fn a_6_12_kernel() {
    check("debian-arm64-6.12", true);
}
