//! Data through the IPMMU, compared by the host.

use integration::{Guest, disk};

use super::{assert_clean, iommu, utlb};
use crate::copies::{MIB, Pieces, copied};

#[test]
fn sixty_four_mebibytes_on_separate_utlbs() {
    let guest = Guest::image("ipmmu").iommu("ipmmu").rng_at("ipmmu0:31");
    let run = copied(64 * MIB, 31, guest, ["ipmmu0", "ipmmu0", "ipmmu0"]);
    let text = run.text();
    assert!(text.contains("Using IPMMU context 0"), "{text}");
    assert_eq!(text.matches("Reusing IPMMU context 0").count(), 3, "{text}");
    for (device, number) in [("disk0", 0), ("disk1", 1), ("disk2", 2), ("rng", 31)] {
        let utlb = utlb(&run, device);
        assert_eq!(
            (utlb.utlb, utlb.devices.len(), utlb.attaches, utlb.detaches),
            (number, 1, 1, 0)
        );
    }
    // Each mebibyte is at least one mapping made and unmade, in each direction.
    assert!(
        iommu(&run, "ipmmu0").flushes >= 256,
        "{:?}",
        run.summary.iommus
    );
    assert!(
        iommu(&run, "ipmmu0").fills >= 256,
        "{:?}",
        run.summary.iommus
    );
    assert!(run.output(3).lines().count() == 4, "{}", run.output(3));
}

#[test]
fn devices_share_a_utlb() {
    let guest = Guest::image("ipmmu")
        .iommu("ipmmu")
        .rng_at("ipmmu0:7")
        .cpus(2);
    let run = copied(8 * MIB, 32, guest, ["ipmmu0:7", "ipmmu0:7", "ipmmu0:7"]);
    let shared = utlb(&run, "rng");
    assert_eq!(shared.devices, ["disk0", "disk1", "disk2", "rng"]);
    // The driver enables it once more for each device, which changes nothing.
    assert_eq!((shared.utlb, shared.attaches, shared.detaches), (7, 1, 0));
    assert_eq!(run.text().matches("Reusing IPMMU context 0").count(), 3);
}

#[test]
fn buffers_of_all_sizes() {
    let pieces = Pieces::new(33);
    let run = pieces.boot(Guest::image("ipmmu").iommu("ipmmu"));
    assert_clean(&run);
    pieces.assert_copied();
}

#[test]
fn two_instances_have_two_address_spaces() {
    let guest = Guest::image("ipmmu")
        .iommu("ipmmu")
        .iommu("ipmmu,name=second")
        .rng_at("second:4");
    let run = copied(4 * MIB, 34, guest, ["ipmmu0:3", "second", "second:3"]);
    assert_eq!(
        run.text().matches("Using IPMMU context 0").count(),
        2,
        "{}",
        run.text()
    );
    for name in ["ipmmu0", "second"] {
        assert!(iommu(&run, name).fills > 0, "{:?}", run.summary.iommus);
    }
}

#[test]
fn gen3_instances_stand_before_one_main_ipmmu() {
    let guest = Guest::image("ipmmu")
        .iommu("ipmmu-gen3")
        .iommu("ipmmu-gen3")
        .rng_at("ipmmu1:47");
    let run = copied(4 * MIB, 35, guest, ["ipmmu0:3", "ipmmu0:40", "ipmmu1:3"]);
    // Context 0 is reserved on Gen3, and each instance has a domain of its own.
    run.assert_text(&[
        "Using IPMMU context 1",
        "Reusing IPMMU context 1",
        "Using IPMMU context 2",
    ]);
}

#[test]
fn a_device_may_stand_outside() {
    let guest = Guest::image("ipmmu").iommu("ipmmu").rng_at("none");
    let run = copied(MIB, 36, guest, ["none", "ipmmu0", "none"]);
    assert_eq!(
        iommu(&run, "ipmmu0").utlbs.len(),
        1,
        "{:?}",
        run.summary.iommus
    );
}

#[test]
fn in_host_time_flushes_wait_for_the_devices() {
    let guest = Guest::image("ipmmu").iommu("ipmmu").host_time().cpus(2);
    copied(8 * MIB, 37, guest, ["ipmmu0", "ipmmu0", "ipmmu0"]);
}

#[test]
fn ram_lies_outside_the_shared_mapping() {
    let disk = disk::noise(MIB, 38);
    let run = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .run(
            "grep 'System RAM' /proc/iomem; dmesg | grep -c 'software IO TLB'; grep -c swiotlb \
            /proc/kallsyms; sha256sum /dev/vda",
        )
        .boot();
    assert_clean(&run);
    let output = run.output(1);
    assert!(
        output.starts_with("c0000000-cfffffff : System RAM\n0\n0\n"),
        "{output}"
    );
    assert!(
        output.ends_with(&format!("{}  /dev/vda", disk.sha256())),
        "{output}"
    );
}

#[test]
fn everything_repeats() {
    for (model, cpus, mebibytes) in [("ipmmu", 1, 64), ("ipmmu", 4, 2), ("ipmmu-gen3", 2, 2)] {
        let boot = || {
            let guest = Guest::image("ipmmu")
                .iommu(model)
                .cpus(cpus)
                .seed(5)
                .rng_at("ipmmu0:9");
            copied(mebibytes * MIB, 39, guest, ["ipmmu0", "ipmmu0", "ipmmu0:9"])
        };
        boot().assert_same(&boot());
    }
}
