//! Accesses that the IPMMU refuses, as the unmodified driver reports them.

use integration::{Guest, disk};
use vm_memory::{Bytes, GuestAddress};

use super::utlb;

/// In the shared mapping (1 GiB to 3 GiB), and far from where the kernel begins to use it.
const UNMAPPED: u64 = 0xbfff_f000;

/// IMSTR.TF (drivers/iommu/ipmmu-vmsa.c).
const TRANSLATION_FAULT: u32 = 1;

#[test]
fn a_stray_access_is_reported_and_the_guest_carries_on() {
    let boot = || {
        let disk = disk::noise(1 << 20, 51);
        let mut live = Guest::image("ipmmu")
            .iommu("ipmmu")
            .disk(&disk)
            .run("sha256sum /dev/vda")
            .run("sleep 1; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/vda")
            .start();
        live.run_until("guest: command 1 exited with 0\r\n");
        let dma = live.machine().dma_space("disk0").expect("there is a disk");
        assert!(
            dma.write_obj(0x5a5a_5a5a_u32, GuestAddress(UNMAPPED))
                .is_err()
        );
        let run = live.finish();
        run.assert_good();
        assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
        assert_eq!(run.output(2), run.output(1));
        run
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
    // Nobody attaches anything before the first command of a kernel whose driver is told to stay away.
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
