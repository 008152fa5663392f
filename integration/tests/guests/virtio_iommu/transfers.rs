//! Data through the virtio-iommu, compared by the host.

use integration::disk;

use super::{assert_clean, copied, device, guest};
use crate::copies::{MIB, Pieces};

#[test]
fn sixty_four_mebibytes() {
    let guest = guest("virtio").rng_at("viommu0:200");
    let run = copied(64 * MIB, 71, guest, ["viommu0", "viommu0", "viommu0:7"]);
    let text = run.text();
    assert!(text.contains("virtio_iommu virtio0: page mask"), "{text}");
    let iommu = &run.summary.iommus[0];
    let ports: Vec<(u32, &str, u64)> = iommu
        .utlbs
        .iter()
        .map(|port| (port.utlb, port.devices[0].as_str(), port.attaches))
        .collect();
    let wanted = [
        (0, "disk0", 1),
        (1, "disk1", 1),
        (7, "disk2", 1),
        (200, "rng", 1),
    ];
    assert_eq!(ports, wanted);
    let device = device(&run);
    // Each device has a domain, and each mebibyte is at least one mapping made and unmade in each
    // direction.
    assert_eq!((device.domains, device.requests.probe), (4, 4));
    assert!(device.requests.map >= 256, "{device:?}");
    assert!(device.requests.unmap >= 256, "{device:?}");
    assert!(run.output(3).lines().count() == 4, "{}", run.output(3));
}

#[test]
fn buffers_of_all_sizes() {
    let pieces = Pieces::new(72);
    let run = pieces.boot(guest("virtio").cpus(2));
    assert_clean(&run);
    pieces.assert_copied();
}

#[test]
fn in_host_time_requests_wait_for_the_devices() {
    let guest = guest("virtio").host_time().cpus(2);
    copied(8 * MIB, 73, guest, ["viommu0", "viommu0", "viommu0"]);
}

#[test]
fn everything_repeats() {
    for (cpus, mebibytes) in [(1, 16), (4, 2)] {
        let boot = || {
            let guest = guest("virtio").cpus(cpus).seed(5);
            copied(
                mebibytes * MIB,
                74,
                guest,
                ["viommu0", "viommu0", "viommu0"],
            )
        };
        boot().assert_same(&boot());
    }
}

#[test]
fn two_instances_have_domains_of_their_own() {
    let guest = guest("virtio").iommu("virtio,name=second");
    let run = copied(2 * MIB, 75, guest, ["viommu0:3", "second", "second:3"]);
    for (iommu, domains) in run.summary.iommus.iter().zip([2, 2]) {
        assert_eq!(iommu.virtio.unwrap().domains, domains, "{iommu:?}");
        assert!(iommu.fills > 0, "{iommu:?}");
    }
}

/// What a driver sees of VIRTIO_RING_F_INDIRECT_DESC, bit 28, at each device of the kind 0x17 (a
/// virtio-iommu) and others.
const INDIRECT: &str =
    "for d in /sys/bus/virtio/devices/*; do cat $d/device; cut -c29 $d/features; done";

#[test]
fn requests_go_without_indirect_descriptors() {
    let disk = disk::noise(2 * MIB, 77);
    for (iommu, indirect) in [("virtio", "1"), ("virtio,indirect=false", "0")] {
        let guest = guest(iommu).disk(&disk).run("sha256sum /dev/vda");
        let run = guest.run(INDIRECT).boot();
        assert_clean(&run);
        assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
        let text = run.output(2);
        let lines: Vec<&str> = text.lines().collect();
        let pairs: Vec<(&str, &str)> = lines.chunks_exact(2).map(|two| (two[0], two[1])).collect();
        assert!(pairs.contains(&("0x0017", indirect)), "{pairs:?}");
        assert!(pairs.contains(&("0x0002", "1")), "{pairs:?}");
    }
}

#[test]
fn a_kernel_without_the_driver_goes_past_it() {
    let disk = disk::noise(MIB, 76);
    let guest = integration::Guest::image("ipmmu").iommu("virtio");
    let run = guest
        .disk(&disk)
        // It waits ten seconds for a driver of the IOMMU.
        .run("sleep 12; sha256sum /dev/vda")
        .boot();
    run.assert_good();
    assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
    assert_eq!(
        device(&run),
        vmm::VirtioIommuSummary {
            resets: 1,
            ..Default::default()
        }
    );
}
