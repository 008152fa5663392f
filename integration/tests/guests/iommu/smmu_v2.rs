//! Wholly stock kernels with LPAE, with their own driver, behind SMMUs.

use integration::{Guest, Run};

use super::{iommu, utlb};
use crate::copies::{MIB, copied, copied_once};
use crate::disturbed::{rebound, stray};

/// Returns a guest with `count` SMMUs.
fn guest(image: &str, count: usize) -> Guest {
    (0..count).fold(Guest::image(image), |guest, _| guest.iommu("smmuv2"))
}

/// Asserts that the driver had nothing to complain of.
fn assert_silent(run: &Run) {
    let text = run.text();
    for words in [
        "context fault",
        "global fault",
        "Blocked unknown Stream",
        "TLB sync timed out",
        "differs from mapped region size",
        "translation fault!",
        "Failed to create",
    ] {
        assert!(!text.contains(words), "{words:?} in\n{text}");
    }
}

/// Copies a disk to a second one, and that to a third, each a stream of its own at one SMMU, and
/// the entropy device at another.
fn copies(image: &str, mebibytes: usize) -> Run {
    let guest = guest(image, 2).rng_at("smmu1:7");
    let run = copied(
        mebibytes * MIB,
        81,
        guest,
        ["smmu0:31", "smmu0:0", "smmu0:5"],
    );
    assert_silent(&run);
    for (device, stream) in [("disk0", 31), ("disk1", 0), ("disk2", 5), ("rng", 7)] {
        let port = utlb(&run, device);
        assert_eq!((port.utlb, port.attaches), (stream, 1), "{device}");
    }
    let summary = iommu(&run, "smmu0");
    assert_eq!(summary.model, "smmuv2");
    assert!(summary.fills > 0, "{summary:?}");
    // Each mebibyte is at least one mapping unmade, of each of the four transfers.
    assert!(summary.flushes >= 4 * mebibytes as u64, "{summary:?}");
    run
}

#[test]
fn the_6_1_kernel() {
    let run = copies("debian-armmp-lpae-6.1", 16);
    let text = run.text();
    for words in [
        "arm-smmu 9900000.iommu: SMMUv2 with:",
        "stage 1 translation",
        "8 context banks (0 stage-2 only)",
        "stream matching with 16 register groups",
        "Stage-1: 32-bit VA -> 40-bit IPA",
    ] {
        assert!(text.contains(words), "{words:?} not in\n{text}");
    }
}

/// Copies a disk to a second one, without the entropy device.
fn copy(image: &str) -> Run {
    let run = copied_once(84, guest(image, 1));
    assert_silent(&run);
    assert!(iommu(&run, "smmu0").fills > 0);
    run
}

/// Without the entropy device, which this kernel waits for without end, behind an IOMMU or not.
#[test]
fn the_5_10_kernel() {
    copy("debian-armmp-lpae-5.10");
}

#[test]
fn the_6_12_kernel() {
    copies("debian-armmp-lpae-6.12", 2);
}

/// Its driver shifts a word by 32, which its own check reports at the first device that is
/// attached.
#[test]
fn the_7_2_kernel() {
    let run = copy("debian-armmp-lpae-7.2");
    let text = run.text();
    let reports = text.matches("UBSAN: shift-out-of-bounds in").count();
    assert_eq!(reports, 1, "{text}");
    assert!(
        text.contains("drivers/iommu/arm/arm-smmu/arm-smmu.c:838"),
        "{text}"
    );
}

#[test]
fn a_stray_access_is_reported_and_the_guest_carries_on() {
    let boot = || {
        stray(82, 1, |disk| {
            guest("debian-armmp-lpae-6.1", 1).disk(disk).rng_at("none")
        })
    };
    let run = boot();
    let text = run.text();
    // A write (0x10) that found nothing at level 1, of stream 0.
    let words = "arm-smmu 9900000.iommu: Unhandled context fault: fsr=0x202, iova=0xbffff000, fsynr=0x11, \
         cbfrsynra=0x0, cb=0";
    assert_eq!(text.matches(words).count(), 1, "{text}");
    let port = utlb(&run, "disk0");
    assert_eq!((port.faults, port.bus_errors), (1, 0));
    run.assert_same(&boot());
}

/// The kernel makes no second mapping, and leaves the stream with a bank that does not translate:
/// the device reaches memory past the SMMU.
#[test]
fn a_device_that_is_bound_again_has_no_mapping_in_6_1() {
    let run = rebound(83, 1, |disk| {
        guest("debian-armmp-lpae-6.1", 1).disk(disk).rng_at("none")
    });
    let text = run.text();
    assert!(
        text.contains("Failed to create 18446744073709551615-byte IOMMU mapping"),
        "{text}"
    );
    let port = utlb(&run, "disk0");
    assert_eq!((port.faults, port.bus_errors), (0, 0), "{text}");
}
