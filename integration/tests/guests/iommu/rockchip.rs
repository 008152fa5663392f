//! Wholly stock kernels, with their own driver, behind Rockchip IOMMUs.

use integration::{Guest, Run};

use super::{assert_clean, iommu, utlb};
use crate::copies::{MIB, copied, copied_once};
use crate::disturbed::{UNMAPPED, rebound, stray};

/// Returns a guest with `count` IOMMUs.
fn guest(image: &str, model: &str, count: usize) -> Guest {
    (0..count).fold(Guest::image(image), |guest, _| guest.iommu(model))
}

/// Copies a disk to a second one, and that to a third, each device behind an IOMMU of its own.
fn copies(image: &str, model: &str, mebibytes: usize) -> Run {
    let guest = guest(image, model, 4).rng_at("rockchip3");
    let ports = ["rockchip0", "rockchip1", "rockchip2"];
    let run = copied(mebibytes * MIB, 71, guest, ports);
    for (index, device) in ["disk0", "disk1", "disk2", "rng"].into_iter().enumerate() {
        let port = utlb(&run, device);
        // Enabled when the device was bound, and disabled by the driver's `shutdown` at the end.
        assert_eq!(
            (port.utlb, port.attaches, port.detaches),
            (0, 1, 1),
            "{device}"
        );
        let summary = iommu(&run, &format!("rockchip{index}"));
        assert_eq!(summary.model, model);
        assert!(summary.fills > 0, "{summary:?}");
        // At the end it is disabled.
        assert_eq!(summary.mappings, 0, "{summary:?}");
    }
    // Each mebibyte is at least one mapping made and unmade, in each direction.
    let flushes = |name| iommu(&run, name).flushes;
    assert!(flushes("rockchip0") >= 2 * mebibytes as u64);
    assert!(flushes("rockchip1") >= 4 * mebibytes as u64);
    assert_eq!(run.output(3).lines().count(), 4, "{}", run.output(3));
    let text = run.text();
    for words in ["Page fault", "BUS_ERROR", "timed out", "Failed to create"] {
        assert!(!text.contains(words), "{words:?} in\n{text}");
    }
    run
}

#[test]
fn the_6_1_kernel_with_32_bit_addresses() {
    copies("debian-armmp-6.1", "rockchip", 16);
}

#[test]
fn the_6_1_kernel_with_40_bit_addresses() {
    copies("debian-armmp-6.1", "rockchip-v2", 2);
}

/// Without the entropy device, which this kernel waits for without end, behind an IOMMU or not.
#[test]
fn the_5_10_kernel() {
    let run = copied_once(74, guest("debian-armmp-5.10", "rockchip", 2));
    assert_clean(&run);
}

#[test]
fn the_6_12_kernel() {
    copies("debian-armmp-6.12", "rockchip-v2", 2);
}

#[test]
fn the_7_2_kernel() {
    copies("debian-armmp-7.2", "rockchip-v2", 2);
}

#[test]
fn a_stray_access_is_reported_and_the_guest_carries_on() {
    let boot = || {
        stray(72, 1, |disk| {
            guest("debian-armmp-6.1", "rockchip", 1)
                .disk(disk)
                .rng_at("none")
        })
    };
    let run = boot();
    let text = run.text();
    let words = format!("rk_iommu 9800000.iommu: Page fault at {UNMAPPED:#018x} of type write");
    assert_eq!(text.matches(&words).count(), 1, "{text}");
    let port = utlb(&run, "disk0");
    assert_eq!((port.faults, port.bus_errors), (1, 0));
    run.assert_same(&boot());
}

/// Unbinds the only disk's device and binds it again.
fn bound_again(image: &str, model: &str, times: usize) -> Run {
    rebound(73, times, |disk| {
        guest(image, model, 1).disk(disk).rng_at("none")
    })
}

/// The kernel takes the mapping away and makes no other: the device reaches memory past the IOMMU.
#[test]
fn a_device_that_is_bound_again_has_no_mapping_in_6_1() {
    let run = bound_again("debian-armmp-6.1", "rockchip", 2);
    let text = run.text();
    assert!(
        text.contains("Failed to create 18446744073709551615-byte IOMMU mapping"),
        "{text}"
    );
    let port = utlb(&run, "disk0");
    assert_eq!((port.attaches, port.detaches), (1, 1));
    assert_eq!((port.faults, port.bus_errors), (0, 0), "{text}");
}

#[test]
fn a_device_that_is_bound_again_200_times_has_its_mapping_in_6_12() {
    let run = bound_again("debian-armmp-6.12", "rockchip-v2", 200);
    assert_clean(&run);
    let port = utlb(&run, "disk0");
    assert_eq!((port.attaches, port.detaches), (201, 201));
}
