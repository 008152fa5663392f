//! Accesses that the virtio-iommu refuses, as the driver reports them.

use integration::{Guest, Run, disk};

use super::{assert_clean, device, guest};
use crate::disturbed::{UNMAPPED, stray};
use crate::iommu::utlb;

fn strays(times: u64) -> Run {
    stray(81, times, |disk| guest("virtio").disk_at(disk, "viommu0:5"))
}

#[test]
fn a_stray_access_is_reported_and_the_guest_carries_on() {
    let run = strays(1);
    let line = format!("virtio_iommu virtio0: page fault from EP 5 at {UNMAPPED:#x} [W]");
    assert_eq!(run.text().matches(&line).count(), 1, "{}", run.text());
    let port = utlb(&run, "disk0");
    assert_eq!((port.faults, port.bus_errors), (1, 0));
    let device = device(&run);
    assert_eq!((device.reports, device.reports_lost), (1, 0));
    run.assert_same(&strays(1));
}

#[test]
fn reports_beyond_the_drivers_buffers_are_counted() {
    // The driver keeps 64 buffers, and 128 reports wait.
    let run = strays(300);
    let device = device(&run);
    assert_eq!(utlb(&run, "disk0").faults, 300);
    assert_eq!(device.reports + device.reports_lost, 300, "{device:?}");
    assert!(
        device.reports >= 128 && device.reports_lost > 0,
        "{device:?}"
    );
}

#[test]
fn without_bypass_nothing_passes_before_it_is_attached() {
    let disk = disk::noise(1 << 20, 82);
    let run = guest("virtio,bypass=false")
        .disk(&disk)
        .run("sha256sum /dev/vda; dd if=/dev/hwrng bs=64 count=1 of=/dev/null")
        .boot();
    assert_clean(&run);
    assert!(run.output(1).starts_with(&disk.sha256()));
    // A kernel without the driver gets nowhere: it waits ten seconds for one.
    let run = Guest::image("ipmmu")
        .iommu("virtio,bypass=false")
        .disk(&disk)
        .run("sleep 12; dd if=/dev/vda of=/dev/null bs=4k count=1 & sleep 2")
        .boot();
    assert!(utlb(&run, "disk0").faults > 0, "{}", run.text());
    let device = device(&run);
    assert_eq!(device.reports, 0);
    assert!(device.reports_waiting > 0, "{device:?}");
}
