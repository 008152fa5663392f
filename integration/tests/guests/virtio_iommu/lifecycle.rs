//! Devices that come and go.

use integration::disk;
use vmm::Reason;

use super::{device, guest};
use crate::iommu::lifecycle::comes_and_goes;
use crate::iommu::utlb;

#[test]
fn the_block_driver_comes_and_goes() {
    // The entropy device, which has a mapping now and then, stands outside; so its driver, like the
    // virtio-iommu's, comes before the disk's.
    let guest = guest("virtio").rng_at("none");
    let device = ("virtio", "virtio_blk", "virtio2");
    comes_and_goes(guest, device, "sha256sum /dev/vda");
}

/// What this kernel does when a platform device loses its driver, on ARM32: it has no default
/// domain to go back to and the driver has no other way to detach, so it warns, frees the domain,
/// and leaves the endpoint attached. Afterwards nothing can be attached, and the device's physical
/// addresses meet the empty domain. All of that is the kernel's own: no request is refused.
#[test]
fn a_device_whose_bus_driver_leaves_stays_attached_and_is_lost() {
    let disk = disk::noise(1 << 20, 101);
    let run = guest("virtio")
        .disk(&disk)
        .rng_at("none")
        .run("sha256sum /dev/vda")
        .run(
            "cd /sys/bus/platform/drivers/virtio-mmio; echo a000000.virtio_mmio >unbind; \
             (echo a000000.virtio_mmio >bind) & sleep 3; echo bound",
        )
        .boot();
    // Its disk never answers again, for which the kernel waits before it powers off.
    assert_eq!(run.reason, Reason::Timeout, "{}", run.text());
    assert_eq!(run.output(2).lines().last(), Some("bound"));
    assert!(run.output(1).starts_with(&disk.sha256()));
    run.assert_text(&[
        "iommu driver failed to attach the default/blocking domain",
        "Failed to attached device a000000.virtio_mmio to IOMMU_mapping",
        "virtio_iommu virtio0: page fault from EP 0 at 0xc",
    ]);
    let device = device(&run);
    assert_eq!((device.refused, device.requests.detach), (0, 0));
    assert_eq!((device.requests.attach, device.domains), (1, 1));
    // Every mapping that the driver knew of is unmapped.
    assert_eq!(run.summary.iommus[0].mappings, 0);
    assert!(utlb(&run, "disk0").faults > 0);
}
