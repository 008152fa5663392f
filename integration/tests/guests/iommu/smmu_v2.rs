//! Wholly stock kernels with LPAE, with their own driver, behind SMMUs.

use integration::{Guest, Run, disk};
use vm_memory::{Bytes, GuestAddress};

use super::{assert_clean, iommu, utlb};
use crate::copies::{MIB, copied};

/// Far from where the kernel begins to use IOVAs, and where no RAM is.
const UNMAPPED: u64 = 0xbfff_f000;

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

/// Copies a disk to a second one, and that to a third, each a stream of its own at one SMMU, and the entropy device at
/// another.
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

/// Without the entropy device, which this kernel waits for without end, behind an IOMMU or not.
#[test]
fn the_5_10_kernel() {
    let (source, target) = (disk::noise(2 * MIB, 84), disk::of(&vec![0; 2 * MIB]));
    let run = guest("debian-armmp-lpae-5.10", 1)
        .disk(&source)
        .disk(&target)
        .rng_at("none")
        .run("dd if=/dev/vda of=/dev/vdb bs=64k iflag=direct oflag=direct 2>&1")
        .run("sha256sum /dev/vdb")
        .boot();
    assert_clean(&run);
    assert_silent(&run);
    assert_eq!(target.sha256(), source.sha256());
    assert_eq!(run.output(2), format!("{}  /dev/vdb", source.sha256()));
}

#[test]
fn the_6_12_kernel() {
    copies("debian-armmp-lpae-6.12", 2);
}

#[test]
fn a_stray_access_is_reported_and_the_guest_carries_on() {
    let boot = || {
        let disk = disk::noise(MIB, 82);
        let mut live = guest("debian-armmp-lpae-6.1", 1)
            .disk(&disk)
            .rng_at("none")
            .run("sha256sum /dev/vda")
            .run("sleep 1; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/vda")
            .start();
        live.run_until("guest: command 1 exited with 0\r\n");
        let dma = live.machine().dma_space("disk0").expect("there is a disk");
        let stray = GuestAddress(UNMAPPED);
        assert!(dma.write_obj(0x5a5a_5a5a_u32, stray).is_err());
        let run = live.finish();
        run.assert_good();
        assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
        assert_eq!(run.output(2), run.output(1));
        run
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

/// Unbinds the disk's device and binds it again, and reads it after that.
fn rebound(image: &str) -> Run {
    let disk = disk::noise(MIB, 83);
    let run = guest(image, 1)
        .disk(&disk)
        .rng_at("none")
        .run(
            "cd /sys/bus/platform/drivers/virtio-mmio; \
             echo a000000.virtio_mmio >unbind && echo a000000.virtio_mmio >bind && sha256sum /dev/vda",
        )
        .boot();
    run.assert_good();
    assert_eq!(run.output(1), format!("{}  /dev/vda", disk.sha256()));
    run
}

/// The kernel makes no second mapping, and leaves the stream with a bank that does not translate: the device reaches
/// memory past the SMMU.
#[test]
fn a_device_that_is_bound_again_has_no_mapping_in_6_1() {
    let run = rebound("debian-armmp-lpae-6.1");
    let text = run.text();
    for words in [
        "iommu driver failed to attach the default/blocking domain",
        "Failed to create 18446744073709551615-byte IOMMU mapping",
    ] {
        assert!(text.contains(words), "{words:?} not in\n{text}");
    }
    let port = utlb(&run, "disk0");
    assert_eq!((port.attaches, port.detaches), (1, 1));
    assert_eq!((port.faults, port.bus_errors), (0, 0), "{text}");
}

#[test]
fn a_device_that_is_bound_again_has_a_mapping_in_6_12() {
    let run = rebound("debian-armmp-lpae-6.12");
    assert_clean(&run);
    let port = utlb(&run, "disk0");
    assert_eq!((port.attaches, port.detaches), (2, 2));
}
