//! What can be told of stock 64-bit kernels from their images, which have not relocated themselves,
//! and of a compiled kernel from its `vmlinux`.

use std::fs;

use integration::obtain;
use vmm::introspect::symbols::Symbols;
use vmm::introspect::types::vmlinux::{MismatchError, Vmlinux};
use vmm::introspect::types::{Source, Types};
use vmm::vcpu::Width;

/// Where such a kernel's first byte may be mapped.
const TEXT: u64 = 0xffff_a5e2_c8e0_0000;

/// Returns how far the branch in the header leads from the first byte
/// (Documentation/arch/arm64/booting.rst): in bytes.
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

/// With CONFIG_KALLSYMS_ALL and CONFIG_RELR: words to be relocated have the address for which the
/// kernel was linked.
#[test]
fn a_6_12_kernel() {
    check("debian-arm64-6.12", true);
}

/// Structures that the lab, modules and examples of probes name members of, and some with unions,
/// bit-fields and arrays.
const STRUCTURES: [&str; 20] = [
    "bus_type",
    "dev_archdata",
    "dev_iommu",
    "device",
    "device_driver",
    "device_node",
    "device_private",
    "dma_iommu_mapping",
    "iommu_fwspec",
    "kobject",
    "kref",
    "mod_kallsyms",
    "module",
    "page",
    "platform_device",
    "platform_driver",
    "sk_buff",
    "task_struct",
    "virtio_device",
    "virtqueue",
];

/// Returns the members of a structure, each with its place and its type.
fn members(types: &Types, name: &str) -> Vec<String> {
    let ty = types.structure(name);
    let ty = ty.unwrap_or_else(|| panic!("no struct {name}"));
    let member = |name: &str| {
        let found = types.member(ty, name).expect("a member that is listed");
        let (at, bits, of) = (found.bit_offset, found.bit_size, types.type_name(found.ty));
        format!("{name} {at} {bits:?} {of} {:?}", types.size(found.ty))
    };
    let size = format!("{:?}", types.size(ty));
    let members = types.member_names(ty).map(member);
    std::iter::once(size).chain(members).collect()
}

/// A compiled kernel has BTF in its image, which `pahole` made of the DWARF in its `vmlinux`.
#[test]
fn dwarf_and_btf_of_a_kernel_are_the_same() {
    let image = obtain("ipmmu");
    let kernel = fs::read(image.raw_kernel.expect("an Image")).expect("a kernel");
    let file = fs::read(image.vmlinux.expect("a vmlinux")).expect("a file");
    let vmlinux = Vmlinux::parse(&file).expect("types");
    let btf = Types::find(&kernel).expect("types");
    for name in STRUCTURES {
        let (dwarf, btf) = (members(vmlinux.types(), name), members(&btf, name));
        assert!(dwarf.len() > 1, "{name}: {dwarf:?}");
        assert_eq!(dwarf, btf, "{name}");
    }
    for name in [
        "arch_setup_dma_ops",
        "arch_teardown_dma_ops",
        "really_probe",
        "driver_bound",
        "release_iommu_mapping",
        "arm_iommu_attach_device",
    ] {
        let shown = |types: &Types| {
            let function = types.function(name);
            let function = function.unwrap_or_else(|| panic!("no {name}"));
            let arguments = function.arguments.iter();
            let arguments: Vec<_> = arguments
                .map(|a| (a.name.to_owned(), types.type_name(a.ty)))
                .collect();
            (arguments, types.type_name(function.returns))
        };
        assert_eq!(shown(vmlinux.types()), shown(&btf), "{name}");
    }
    vmlinux.check(&kernel).expect("the same build");
    let other = fs::read(obtain("virtio-iommu").raw_kernel.expect("an Image")).expect("a kernel");
    let error = vmlinux.check(&other).expect_err("another build");
    let MismatchError::Version { file, kernel } = &error else {
        panic!("{error}");
    };
    assert!(
        file.contains("ipmmu") && kernel.contains("virtio"),
        "{error}"
    );
}
