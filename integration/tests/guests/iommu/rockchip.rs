//! Wholly stock kernels, with their own driver, behind Rockchip IOMMUs.

use integration::{Guest, Run, disk};
use vm_memory::{Bytes, GuestAddress};

use super::{assert_clean, iommu, utlb};
use crate::copies::{MIB, copied};

/// Far from where the kernel begins to use IOVAs, and where no RAM is.
const UNMAPPED: u64 = 0xbfff_f000;

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
    let (source, target) = (disk::noise(2 * MIB, 74), disk::of(&vec![0; 2 * MIB]));
    let run = guest("debian-armmp-5.10", "rockchip", 2)
        .disk(&source)
        .disk(&target)
        .rng_at("none")
        .run("dd if=/dev/vda of=/dev/vdb bs=64k iflag=direct oflag=direct 2>&1")
        .run("sha256sum /dev/vdb")
        .boot();
    assert_clean(&run);
    assert_eq!(target.sha256(), source.sha256());
    assert_eq!(run.output(2), format!("{}  /dev/vdb", source.sha256()));
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
        let disk = disk::noise(MIB, 72);
        let mut live = guest("debian-armmp-6.1", "rockchip", 1)
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
    let words = format!("rk_iommu 9800000.iommu: Page fault at {UNMAPPED:#018x} of type write");
    assert_eq!(text.matches(&words).count(), 1, "{text}");
    let port = utlb(&run, "disk0");
    assert_eq!((port.faults, port.bus_errors), (1, 0));
    run.assert_same(&boot());
}

/// Unbinds the disk's device and binds it again, `times` times, and reads it after each.
fn rebound(image: &str, model: &str, times: usize) -> Run {
    let disk = disk::noise(MIB, 73);
    let again = format!(
        "cd /sys/bus/platform/drivers/virtio-mmio; for i in $(seq {times}); do \
         echo a000000.virtio_mmio >unbind && echo a000000.virtio_mmio >bind && sha256sum /dev/vda; done | uniq -c"
    );
    let run = guest(image, model, 1)
        .disk(&disk)
        .rng_at("none")
        .run(&again)
        .boot();
    run.assert_good();
    let output = run.output(1);
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, [&times.to_string(), &disk.sha256(), "/dev/vda"]);
    run
}

/// The kernel takes the mapping away and makes no other: the device reaches memory past the IOMMU.
#[test]
fn a_device_that_is_bound_again_has_no_mapping_in_6_1() {
    let run = rebound("debian-armmp-6.1", "rockchip", 2);
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
    let run = rebound("debian-armmp-6.12", "rockchip-v2", 200);
    assert_clean(&run);
    let port = utlb(&run, "disk0");
    assert_eq!((port.attaches, port.detaches), (201, 201));
}
