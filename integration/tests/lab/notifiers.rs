//! DMA operations that a bus notifier of the platform code set, on wholly stock kernels.

use vmm::lab::{Health, Judged};
use vmm::timeline::{Finding, Mark};

use super::expected;

/// The releases whose notifiers set a flag of the device, and no DMA operations.
const WITH_FLAG: [&str; 3] = ["linux-6-1", "linux-6-12", "linux-7-2"];

fn finding<'j>(judged: &'j Judged, subject: &str) -> &'j Finding {
    judged.run.finding(subject).expect("a row of the report")
}

/// Returns whether the port of a device has ever translated for it.
fn translated(judged: &Judged, port: &str) -> bool {
    finding(judged, port).hypervisor.text.contains("context")
}

#[test]
fn in_5_10_the_coherency_fabric_takes_every_device_from_its_iommu() {
    let judged = expected("mvebu.linux-5-10.stock.on");
    assert_eq!(judged.judgement.health, Health::Bypassed);
    assert!(judged.run.changes.is_empty(), "an unmodified kernel");
    assert!(!translated(&judged, "rockchip0 uTLB 0") && !translated(&judged, "rockchip1 uTLB 0"));
    for (role, teardowns) in [('A', 0), ('B', 1)] {
        let dma = finding(&judged, &format!("{role}'s DMA"));
        assert!(dma.hypervisor.text.starts_with("0 accesses translated"));
        assert_eq!(dma.guest.mark, Mark::Ok, "the guest does not notice");
        let mappings = finding(&judged, "mappings of IOVAs");
        let none = format!("{role} got none");
        assert!(mappings.hypervisor.text.contains(&none), "{mappings:?}");
        let calls = format!("{role} {teardowns}");
        assert!(mappings.guest.text.contains(&calls), "{mappings:?}");
    }
    // The like machine without the fabric, and the same kernel.
    let without = expected("rockchip.linux-5-10.stock.on");
    assert!(translated(&without, "rockchip0 uTLB 0") && translated(&without, "rockchip1 uTLB 0"));
    let signs = &without.judgement.signs;
    assert!(!signs.iter().any(|sign| sign.ends_with("ops-before")));
}

#[test]
fn in_5_10_a_second_probe_finds_other_operations_where_the_first_ones_were_dropped() {
    let stock = expected("mvebu.linux-5-10.stock.on");
    assert!(!stock.judgement.signs.contains("b-other-ops"));
    let wide = expected("mvebu.linux-5-10.v8-07-11.on");
    let narrow = expected("mvebu.linux-5-10.v8-07-11-32-bit.on");
    for judged in [&wide, &narrow] {
        assert!(judged.judgement.signs.contains("b-other-ops"));
        // Only B lost its driver.
        assert!(!judged.judgement.signs.contains("a-other-ops"));
        let changes = &judged.run.changes;
        assert!(!changes.is_empty());
        assert!(
            changes
                .iter()
                .all(|change| change.meaning.ends_with("of a001000.virtio_mmio"))
        );
    }
    // With a mask of 64 bits the second mapping is too large to be made; with one of 32 there is
    // one.
    assert!(!translated(&wide, "rockchip1 uTLB 0"));
    assert!(translated(&narrow, "rockchip1 uTLB 0"));
}

#[test]
fn in_5_10_calxedas_platform_code_takes_coherent_devices_only() {
    let judged = expected("highbank.linux-5-10.stock.on");
    assert_eq!(judged.judgement.health, Health::Bypassed);
    assert!(judged.run.changes.is_empty(), "an unmodified kernel");
    assert!(!translated(&judged, "rockchip0 uTLB 0") && translated(&judged, "rockchip1 uTLB 0"));
    // dma-coherent in its node gives A the same operations again.
    let dropped = expected("highbank.linux-5-10.v8-07-11.on");
    assert!(!dropped.run.changes.is_empty());
    assert!(!dropped.judgement.signs.contains("a-other-ops"));
}

#[test]
fn since_6_0_the_mapping_is_made_and_what_coherent_devices_share_is_mapped_wrongly() {
    for release in WITH_FLAG {
        for system in ["mvebu", "highbank"] {
            let judged = expected(&format!("{system}.{release}.stock.on"));
            assert_eq!(judged.judgement.health, Health::Broken);
            assert!(
                translated(&judged, "rockchip0 uTLB 0"),
                "{system} {release}"
            );
        }
    }
}

#[test]
fn calxedas_own_disk_has_operations_of_the_platform_code_until_5_19() {
    let stock = expected("ecx2000.linux-5-10.stock.on");
    assert!(stock.run.changes.is_empty(), "an unmodified kernel");
    let device = &stock.run.machine.devices[0];
    assert_eq!(device.description, "a SATA disk");
    let dma = finding(&stock, "A's DMA");
    assert!(dma.guest.text.contains("1: checksum right"), "{dma:?}");
    // Bound again without them, as the notifier does not come again.
    let dropped = expected("ecx2000.linux-5-10.v8-07-11.on");
    assert!(!dropped.run.changes.is_empty());
    // This one does not start up on one core unless the interrupt controller knows of it.
    expected("ecx2000.linux-7-2.stock.on");
}
