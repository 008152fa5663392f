//! A device of a stock kernel that is attached to a mapping of somebody else's making, as drivers
//! of some bus masters do for their own.

use std::path::Path;

use integration::{Guest, Run, disk, module};
use vmm::introspect::probe::{self, parse};

use super::{iommu, utlb};
use crate::debug_registers::disk_of;

const IMAGE: &str = "debian-armmp-6.1";
/// Lowers the flag by which `arch_teardown_dma_ops` knows that a mapping is the kernel's, when it
/// has taken that down.
const LOWERED: &str = "arch_teardown_dma_ops@return if dev.archdata.dma_ops_setup \
    { set(dev.archdata.dma_ops_setup, 0) }";

/// Has the module attach a disk's device that has no driver for the moment, binds its driver twice,
/// and reads it each time. Before that it worked behind the mapping that the kernel makes for each
/// device.
fn attached_by_a_module(probes: &[&str]) -> Run {
    let directory = tempfile::tempdir().expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/programs/own_mapping.c");
    let module = module(IMAGE, &source, directory.path());
    let data = disk::noise(1 << 20, 75);
    let code = disk_of(&module);
    let driver = "cd /sys/bus/platform/drivers/virtio-mmio && n=a000000.virtio_mmio";
    let read = "echo $n >bind && sha256sum /dev/vda && echo $n >unbind";
    let mut live = Guest::image(IMAGE)
        .iommu("rockchip")
        .rng_at("none")
        .disk_at(&data, "rockchip0")
        .disk_at(&code, "none")
        .run("dd if=/dev/vdb of=/m.ko bs=512 2>/dev/null && sha256sum /dev/vda")
        .run(&format!(
            "{driver} && echo $n >unbind && insmod /m.ko device=$n"
        ))
        .run(&format!("{driver} && {read}"))
        .run(&format!("{driver} && {read}"))
        .start();
    let probes = probes.iter().map(|text| parse(text).expect("a probe"));
    let outcome = probe::attach(live.machine_mut(), probes.collect(), Box::new(|_, _| {}));
    let run = live.finish();
    let outcome = outcome.lock().expect("the outcome").clone();
    assert!(outcome.error.is_none(), "{outcome:?}");
    run.assert_good();
    for command in [1, 3, 4] {
        let output = run.output(command);
        assert!(output.starts_with(&data.sha256()), "{command}: {output}");
    }
    let port = utlb(&run, "disk0");
    // The kernel's own mapping, and the module's.
    assert_eq!((port.attaches, port.detaches), (2, 2));
    assert_eq!((port.faults, port.bus_errors), (0, 0));
    run
}

/// The flag that guards other people's mappings was raised at the device's first probe, and is
/// never lowered.
#[test]
fn a_mapping_of_a_drivers_own_goes_at_the_first_unbind_if_the_kernel_ever_made_one() {
    let stock = attached_by_a_module(&[]);
    let text = stock.text();
    // At the third bind there is no mapping, so that the kernel tries to make one.
    assert_eq!(text.matches("-byte IOMMU mapping").count(), 1, "{text}");
    let lowered = attached_by_a_module(&[LOWERED]);
    let text = lowered.text();
    assert_eq!(text.matches("-byte IOMMU mapping").count(), 0, "{text}");
    // The last read is translated there, and in the stock kernel it is not.
    let fills = |run: &Run| iommu(run, "rockchip0").fills;
    let (read_twice, read_thrice) = (fills(&stock), fills(&lowered));
    assert!(
        4 * read_thrice > 5 * read_twice,
        "{read_thrice} {read_twice}"
    );
}
