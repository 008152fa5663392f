//! `--sanitize dma`: nothing is reported of healthy kernels, and mistakes that are planted are.

use integration::{Disk, Guest, Run, disk};
use vm_memory::{Bytes, GuestAddress};
use vmm::introspect::probe;
use vmm::sanitizer::{Findings, Kind, Report, Sanitizer};

use crate::copies::MIB;

/// Runs a guest with a sanitizer, and with probes that make it do something wrong.
fn sanitized(guest: Guest, options: &str, probes: &[&str]) -> (Run, Findings) {
    let sanitizer = Sanitizer::new(options.parse().expect("options"), Box::new(|_| {}));
    let mut live = guest.start_watched(Some(sanitizer.sink()));
    if !probes.is_empty() {
        let parse = |text: &&str| probe::parse(text).expect("a probe");
        let probes = probes.iter().map(parse).collect();
        probe::attach(live.machine_mut(), probes, Box::new(|_, _| {}));
    }
    let run = live.finish();
    let findings = sanitizer.finish(run.summary.guest_ns);
    (run, findings)
}

/// Copies with O_DIRECT: by DMA from and to the pages of a process.
const COPY: &str = "dd if=/dev/vda of=/dev/vdb bs=256k iflag=direct oflag=direct 2>&1";

/// Asserts that nothing is reported of a guest that reads 32 MiB from one disk and writes them to
/// another, and that they arrive.
fn assert_healthy(image: &str, model: &str, options: &str) -> Run {
    let (source, target) = (disk::noise(32 * MIB, 91), disk::of(&vec![0; 32 * MIB]));
    let guest = Guest::image(image).iommu(model).iommu(model);
    // A port of each: some models have one only.
    let names = guest.config().iommu_list();
    let guest = guest
        .disk_at(&source, &names[0].0)
        .disk_at(&target, &names[1].0)
        .rng_at("none")
        .run(COPY);
    let (run, findings) = sanitized(guest, options, &[]);
    run.assert_good();
    assert_eq!(findings, Findings::default());
    assert_eq!(target.sha256(), source.sha256());
    let hits: u64 = run.summary.iommus.iter().map(|iommu| iommu.hits).sum();
    assert!(hits > 1000, "{:?}", run.summary.iommus);
    run
}

#[test]
fn a_healthy_ipmmu() {
    assert_healthy("ipmmu", "ipmmu", "dma");
    assert_healthy("ipmmu", "ipmmu", "dma=stale");
    assert_healthy("ipmmu", "ipmmu-gen3", "dma");
}

#[test]
fn a_healthy_rockchip_iommu() {
    assert_healthy("debian-armmp-6.1", "rockchip", "dma");
    assert_healthy("debian-armmp-6.1", "rockchip", "dma=stale");
}

#[test]
fn a_healthy_smmu() {
    assert_healthy("debian-armmp-lpae-6.1", "smmuv2", "dma");
    assert_healthy("debian-armmp-lpae-6.1", "smmuv2", "dma=stale");
}

#[test]
fn a_healthy_virtio_iommu() {
    assert_healthy("virtio-iommu", "virtio", "dma");
    assert_healthy("virtio-iommu", "virtio", "dma=stale");
}

/// Returns a guest that reads a disk, again and again.
fn reading(image: &str, model: &str, disk: &Disk) -> Guest {
    Guest::image(image)
        .iommu(model)
        .read_only_disk(disk)
        .rng_at("none")
        .run("for n in 1 2 3 4; do dd if=/dev/vda of=/dev/null bs=16k iflag=direct 2>&1; done")
}

#[test]
fn who_looks_changes_nothing() {
    let disk = disk::noise(MIB, 92);
    let guest = || reading("ipmmu", "ipmmu", &disk);
    let plain = guest().boot();
    let (looked_at, findings) = sanitized(guest(), "dma", &[]);
    assert_eq!(findings, Findings::default());
    plain.assert_same(&looked_at);
}

/// Asserts that a driver which leaves out invalidations is found out, and returns the reports.
fn assert_missing(image: &str, model: &str, options: &str, probe: &str) -> Vec<Report> {
    let disk = disk::noise(MIB, 92);
    let (run, findings) = sanitized(reading(image, model, &disk), options, &[probe]);
    let kinds: Vec<&Kind> = findings.counts.keys().collect();
    assert_eq!(kinds, [&Kind::MissingInvalidation], "{}", run.text());
    for report in &findings.reports {
        let words = "that was not invalidated, though the page tables lead to 0x";
        let late = "that was not invalidated, which the page tables no longer have";
        assert!(
            report.text.contains(words) || report.text.contains(late),
            "{report:#?}"
        );
        assert_eq!(report.device, "disk0");
    }
    // What was mapped anew meanwhile is told at once.
    let elsewhere = |report: &&Report| report.text.contains("lead to");
    assert!(
        findings.reports.iter().any(|r| elsewhere(&r)),
        "{findings:#?}"
    );
    findings.reports
}

#[test]
fn a_flush_that_the_ipmmu_driver_leaves_out() {
    for options in ["dma", "dma=stale,missing-invalidation"] {
        assert_missing("ipmmu", "ipmmu", options, "ipmmu_iotlb_sync { return }");
    }
}

#[test]
fn a_zap_that_the_rockchip_driver_leaves_out() {
    assert_missing(
        "debian-armmp-6.1",
        "rockchip",
        "dma",
        "rk_iommu_zap_iova { return }",
    );
}

#[test]
fn an_invalidation_that_the_smmu_driver_leaves_out() {
    let probe = "arm_smmu_tlb_add_page_s1 { return }";
    assert_missing("debian-armmp-lpae-6.1", "smmuv2", "dma", probe);
}

const UNBIND: &str = "echo a000000.virtio_mmio >/sys/bus/platform/drivers/virtio-mmio/unbind";
const BIND: &str = "echo a000000.virtio_mmio >/sys/bus/platform/drivers/virtio-mmio/bind";

#[test]
fn a_device_that_goes_on_when_its_port_is_switched_off() {
    let disk = disk::noise(MIB, 93);
    let sanitizer = Sanitizer::new("dma".parse().expect("options"), Box::new(|_| {}));
    let mut live = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .rng_at("none")
        .run("sha256sum /dev/vda")
        .run(&format!("{UNBIND}; echo unbound"))
        .start_watched(Some(sanitizer.sink()));
    live.run_until("unbound\r\n");
    let dma = live.machine().dma_space("disk0").expect("there is a disk");
    // Where no RAM is: the first IOVAs are far below it.
    assert!(dma.read_obj::<u32>(GuestAddress(0x1004)).is_err());
    let run = live.finish();
    run.assert_good();
    let findings = sanitizer.finish(run.summary.guest_ns);
    let [report] = &findings.reports[..] else {
        panic!("{findings:#?}");
    };
    assert_eq!(
        (report.kind, report.device.as_str(), report.iova.0),
        (Kind::StrayAddress, "disk0", 0x1004)
    );
    assert!(
        report
            .text
            .contains("untranslated through uTLB 0 of ipmmu0")
    );
}

#[test]
fn a_driver_that_comes_and_goes_makes_no_mistake() {
    let disk = disk::noise(MIB, 94);
    let again = format!("for i in 1 2 3; do {UNBIND} && {BIND} && sha256sum /dev/vda; done");
    for (image, model) in [("ipmmu", "ipmmu"), ("debian-armmp-6.1", "rockchip")] {
        let guest = Guest::image(image).iommu(model).disk(&disk).rng_at("none");
        let (run, findings) = sanitized(guest.run(&again), "dma=stale", &[]);
        run.assert_good();
        assert_eq!(findings, Findings::default(), "{image}");
    }
}
