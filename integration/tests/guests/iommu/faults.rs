//! Accesses that the IPMMU refuses, as the unmodified driver reports them.

use integration::{Guest, disk};
use vm_memory::{Bytes, GuestAddress};

use super::utlb;
use crate::disturbed::{UNMAPPED, stray};

/// IMSTR.TF (drivers/iommu/ipmmu-vmsa.c).
const TRANSLATION_FAULT: u32 = 1;

#[test]
fn a_stray_access_is_reported_and_the_guest_carries_on() {
    let boot = || {
        stray(51, 1, |disk| {
            Guest::image("ipmmu").iommu("ipmmu").disk(disk)
        })
    };
    let run = boot();
    let text = run.text();
    let words = "ipmmu-vmsa 9800000.iommu: Unhandled fault: status 0x";
    let (_, report) = text
        .split_once(words)
        .unwrap_or_else(|| panic!("no report in\n{text}"));
    let line = report.lines().next().unwrap_or_default();
    let (status, iova) = line.split_once(" iova ").expect("status and iova");
    let status = u32::from_str_radix(status, 16).expect("a status");
    assert_eq!(status & 0x17, TRANSLATION_FAULT, "{line}");
    assert_eq!(iova, format!("{UNMAPPED:#x}"), "{line}");
    assert_eq!(text.matches(words).count(), 1, "{text}");
    assert_eq!(
        (utlb(&run, "disk0").faults, utlb(&run, "disk0").bus_errors),
        (1, 0)
    );
    run.assert_same(&boot());
}

#[test]
fn an_access_through_a_disabled_utlb_meets_no_memory() {
    // Nobody attaches anything before the first command of a kernel whose driver is told to stay
    // away.
    let disk = disk::noise(1 << 20, 52);
    let mut live = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .rng_at("none")
        .cmdline("initcall_blacklist=ipmmu_driver_init,virtio_mmio_init")
        .run("true")
        .start();
    live.run_until("guest: ready\r\n");
    let dma = live.machine().dma_space("disk0").expect("there is a disk");
    // An IOVA of the shared mapping: no RAM lies there, so that it is seen.
    assert!(dma.read_obj::<u32>(GuestAddress(0x4000_0000)).is_err());
    // Untranslated, faithful to the hardware.
    let ram = live.machine().board().ram.base;
    dma.read_obj::<u32>(GuestAddress(ram))
        .expect("RAM is reached");
    let run = live.finish();
    run.assert_good();
    assert_eq!(
        (utlb(&run, "disk0").faults, utlb(&run, "disk0").bus_errors),
        (0, 1)
    );
}
