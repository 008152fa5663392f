//! The kinds of the DMA sanitizer that follow the kernel's DMA API: mistakes that are planted in
//! unmodified kernels, each with its report, and kernels that make none.

mod mistakes;

use integration::{Guest, Run, disk};
use viommu::vm_memory::{Bytes, GuestAddress};
use vmm::introspect::probe;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::sanitizer::{DmaApi, Findings, Kind, Report, Sanitizer};

/// All kinds that follow the DMA API.
const ALL: &str = "dma=outside-mapping,direction,freed-page,leak,double-map,double-unmap,active-after-remove,\
    ownership";
/// What guests do with their disk where nothing is wrong: 64 MiB written and read.
const TRANSFER: &str = "dd if=/dev/urandom of=/tmp/noise bs=1M count=4 2>/dev/null && for n in 0 4 8 12 16 20 24 28 32 \
    36 40 44 48 52 56 60; do dd if=/tmp/noise of=/dev/vda bs=1M seek=$n conv=fsync 2>/dev/null || exit 1; done; \
    echo 3 >/proc/sys/vm/drop_caches; cmp -n 4194304 /tmp/noise /dev/vda && sha256sum /dev/vda >/dev/null";
/// Reads one page of the disk.
const READ_PAGE: &str = "dd if=/dev/vda of=/dev/null bs=4096 count=1 2>/dev/null";

/// A guest that is watched from its first instruction.
struct Watched {
    live: integration::Live,
    sanitizer: std::sync::Arc<Sanitizer>,
    api: DmaApi,
}

impl Watched {
    /// Watches `guest`, whose kernel the probes `planted` change, for what `options` say.
    fn new(guest: Guest, options: &str, planted: &[&str]) -> Self {
        let options = options.parse().expect("options");
        let sanitizer = Sanitizer::new(options, Box::new(|_| ()));
        let mut live = guest.start_watched(Some(sanitizer.sink()));
        let planted = planted
            .iter()
            .map(|text| probe::parse(text).expect("a probe"));
        let machine = live.machine_mut();
        probe::attach(machine, planted.collect(), Box::new(|_, _| ()));
        let api = DmaApi::attach(&sanitizer, machine, TypesFrom::Kernel);
        let api = api.expect("a kernel that can be watched");
        Self {
            live,
            sanitizer,
            api,
        }
    }

    /// Runs it to its end.
    fn finish(self) -> (Run, Findings) {
        let run = self.live.finish();
        assert_eq!(self.api.problem(), None);
        let findings = self.sanitizer.finish(run.summary.guest_ns);
        (run, findings)
    }
}

/// Returns the first report of a run that ended well, all of which are of this kind.
fn first((run, findings): (Run, Findings), kind: Kind) -> Report {
    run.assert_good();
    let kinds: Vec<Kind> = findings.counts.keys().copied().collect();
    assert_eq!(kinds, [kind], "{findings:#?}");
    findings.reports[0].clone()
}

/// Returns the innermost function that mapped what a report is about.
fn mapped_by(report: &Report) -> &str {
    let call = report.history.mapped.as_ref().expect("who mapped");
    assert!(call.at > 0 && call.at <= report.at, "{report:#?}");
    &call.stack[0]
}

/// Asserts that nothing is found in a guest that transfers 64 MiB in each direction.
fn healthy(guest: Guest) {
    let disk = disk::noise(64 << 20, 3);
    let guest = guest
        .memory("256M".parse().expect("a size"))
        .disk(&disk)
        .run(TRANSFER);
    let uses_dma_api = guest.config().access_platform || !guest.config().iommu_list().is_empty();
    let watched = Watched::new(guest, ALL, &[]);
    let calls = watched.api.clone();
    let (run, findings) = watched.finish();
    run.assert_good();
    assert_eq!(calls.calls() > 1000, uses_dma_api, "{}", calls.calls());
    let transferred = run.summary.disks[0];
    assert!(
        transferred.bytes_written >= 64 << 20 && transferred.bytes_read >= 64 << 20,
        "{transferred:?}"
    );
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn nothing_is_found_in_a_healthy_kernel_behind_an_ipmmu() {
    healthy(Guest::image("ipmmu").iommu("ipmmu"));
}

#[test]
fn nothing_is_found_in_a_healthy_stock_kernel_behind_a_rockchip_iommu() {
    healthy(
        Guest::image("debian-armmp-6.1")
            .iommu("rockchip")
            .rng_at("none"),
    );
}

#[test]
fn nothing_is_found_in_a_healthy_stock_lpae_kernel_behind_an_smmu() {
    healthy(Guest::image("debian-armmp-lpae-6.1").iommu("smmuv2"));
}

#[test]
fn nothing_is_found_in_a_healthy_kernel_behind_a_virtio_iommu() {
    healthy(Guest::image("virtio-iommu").iommu("virtio"));
}

#[test]
fn nothing_is_found_in_older_and_newer_stock_kernels() {
    for image in ["debian-armmp-5.10", "debian-armmp-6.12", "debian-armmp-7.2"] {
        healthy(Guest::image(image).iommu("rockchip").rng_at("none"));
    }
}

#[test]
fn who_follows_the_calls_changes_nothing() {
    let disk = disk::noise(1 << 20, 3);
    let guest = || {
        Guest::image("ipmmu")
            .iommu("ipmmu")
            .read_only_disk(&disk)
            .run(READ_PAGE)
    };
    let plain = guest().boot();
    let (run, findings) = Watched::new(guest(), "dma", &[]).finish();
    assert!(findings.is_empty(), "{findings:#?}");
    plain.assert_same(&run);
}

#[test]
fn nothing_is_found_in_a_healthy_kernel_without_an_iommu() {
    healthy(Guest::image("ipmmu").access_platform());
    // Here drivers do without the DMA API, of which nothing can be known.
    healthy(Guest::image("ipmmu"));
}

/// Each page that is read is mapped as half a page: the disk goes on beyond it.
#[test]
fn an_access_beyond_a_mapping_is_found() {
    for guest in [
        Guest::image("ipmmu").iommu("ipmmu"),
        Guest::image("ipmmu").access_platform(),
    ] {
        let disk = disk::noise(1 << 20, 3);
        let shorten = "dma_map_page_attrs if size == 4096 && dir == 2 { set(size, 2048) }";
        let guest = guest.disk(&disk).run(READ_PAGE);
        let found = Watched::new(guest, "dma=outside-mapping", &[shorten]).finish();
        let report = first(found, Kind::OutsideMapping);
        assert_eq!(report.device, "disk0");
        assert!(report.text.contains("writes 4096 bytes"), "{}", report.text);
        assert!(
            report.text.contains("outside of 2048 bytes"),
            "{}",
            report.text
        );
        assert_eq!(report.iova.0 % 4096, 2048, "the first byte beyond");
        let physical = report.physical.expect("a kernel before 6.18 tells").0;
        assert_eq!(physical % 4096, 2048, "{report:#?}");
        assert!(physical >= 0x4000_0000, "{report:#?}");
        assert!(
            mapped_by(&report).starts_with("vring_map_one_sg+"),
            "{report:#?}"
        );
    }
}

/// The same in stock kernels, the newest of which maps by another function.
#[test]
fn an_access_beyond_a_mapping_is_found_in_stock_kernels() {
    for (image, shorten) in [
        (
            "debian-armmp-5.10",
            "dma_map_page_attrs if arg3 == 4096 { set(r3, 2048) }",
        ),
        (
            "debian-armmp-6.12",
            "dma_map_page_attrs if arg3 == 4096 { set(r3, 2048) }",
        ),
        (
            "debian-armmp-7.2",
            "dma_map_phys if arg2 == 4096 && arg3 == 2 { set(r2, 2048) }",
        ),
    ] {
        let disk = disk::noise(1 << 20, 3);
        let guest = Guest::image(image).iommu("rockchip").rng_at("none");
        let guest = guest.disk(&disk).run(READ_PAGE);
        let found = Watched::new(guest, "dma=outside-mapping", &[shorten]).finish();
        let report = first(found, Kind::OutsideMapping);
        assert!(
            report.text.contains("outside of 2048 bytes"),
            "{image}: {}",
            report.text
        );
        assert!(!mapped_by(&report).is_empty(), "{image}: {report:#?}");
    }
}

/// What the disk writes is mapped for it to read.
#[test]
fn an_access_against_the_direction_is_found() {
    let disk = disk::noise(1 << 20, 3);
    // At the function's entry its fifth argument is at the top of the stack.
    let turn =
        "dma_map_page_attrs if size == 4096 && arg4 == 2 { set((struct kobject)sp.name, 1) }";
    let guest = Guest::image("ipmmu")
        .access_platform()
        .disk(&disk)
        .run(READ_PAGE);
    let found = Watched::new(guest, "dma=direction", &[turn]).finish();
    let report = first(found, Kind::Direction);
    assert!(report.text.contains("writes 4096 bytes"), "{}", report.text);
    assert!(report.text.contains("(DMA_TO_DEVICE)"), "{}", report.text);
    // Without an IOMMU the device's addresses are physical ones.
    assert!(report.iova.0 >= 0x4000_0000, "{report:#?}");
    assert!(
        mapped_by(&report).starts_with("vring_map_one_sg+"),
        "{report:#?}"
    );
}

/// A driver that unmaps nothing leaves pages mapped that are freed, and all of its mappings when it
/// is unbound.
#[test]
fn mappings_that_are_left_are_found() {
    let disk = disk::noise(1 << 20, 3);
    let skip = "dma_unmap_page_attrs if size == 4096 { return }";
    let guest = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .run(READ_PAGE)
        .run("echo 3 >/proc/sys/vm/drop_caches; sleep 1")
        .run(
            "cd /sys/bus/platform/drivers/virtio-mmio && ls -d *virtio_mmio | head -n 1 >/tmp/name",
        )
        .run("cd /sys/bus/platform/drivers/virtio-mmio && echo $(cat /tmp/name) >unbind");
    // What was read is used, though it is still the device's: that is another kind.
    let options = ALL.trim_end_matches(",ownership");
    let (run, findings) = Watched::new(guest, options, &[skip]).finish();
    run.assert_good();
    let of = |kind| findings.reports.iter().find(|report| report.kind == kind);
    let leak = of(Kind::Leak).unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!(leak.device, "disk0");
    assert!(leak.text.contains("has 4096 bytes"), "{}", leak.text);
    assert!(
        mapped_by(leak).starts_with("vring_map_one_sg+"),
        "{leak:#?}"
    );
    let freed = of(Kind::FreedPage).unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(freed.text.ends_with("is freed"), "{}", freed.text);
    let by = freed.history.freed.as_ref().expect("who freed");
    let is_named = |name: &str| by.stack.iter().any(|text| text.starts_with(name));
    assert!(by.at == freed.at && is_named("release_pages"), "{freed:#?}");
    assert_eq!(freed.iova.0 % 4096, 0);
    let kinds: Vec<Kind> = findings.counts.keys().copied().collect();
    assert_eq!(kinds, [Kind::FreedPage, Kind::Leak], "{findings:#?}");
}

/// The disk accesses memory after its driver was unbound.
#[test]
fn a_device_that_is_active_without_a_driver_is_found() {
    let disk = disk::noise(1 << 20, 3);
    let guest = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .run(READ_PAGE)
        .run("cd /sys/bus/platform/drivers/virtio-mmio && echo a000000.virtio_mmio >unbind")
        .run("true");
    let mut watched = Watched::new(guest, ALL, &[]);
    watched.live.run_until("guest: command 2 exited with 0\r\n");
    let dma = watched.live.machine().dma_space("disk0").expect("a disk");
    // Whether the IOMMU lets it is not the question.
    let _ = dma.write_obj(7u32, GuestAddress(0x1000));
    let report = first(watched.finish(), Kind::ActiveAfterRemove);
    assert!(
        report
            .text
            .contains("disk0 writes 4 bytes at 0x1000, after its driver was unbound"),
        "{}",
        report.text
    );
}

/// The disk writes late: a page that its driver did not unmap has been freed meanwhile.
#[test]
fn an_access_to_a_page_that_is_free_is_found() {
    let disk = disk::noise(1 << 20, 3);
    let skip = "dma_unmap_page_attrs if dir == 2 { return }";
    let guest = || {
        let guest = Guest::image("ipmmu")
            .iommu("ipmmu")
            .disk(&disk)
            .run("cat /dev/vda >/dev/null");
        guest
            .run("echo 3 >/proc/sys/vm/drop_caches; sleep 1")
            .run("true")
    };
    // Which pages that are shows the end of the same run.
    let freed = first(
        Watched::new(guest(), "dma=freed-page", &[skip]).finish(),
        Kind::FreedPage,
    );
    let mut watched = Watched::new(guest(), "dma=freed-page", &[skip]);
    watched.live.run_until("guest: command 2 exited with 0\r\n");
    let dma = watched.live.machine().dma_space("disk0").expect("a disk");
    let (mut free, mut used) = (0, 0);
    for page in 0..200 {
        watched.sanitizer.reports().clear();
        let at = freed.iova.0 + 4096 * page;
        // Not all pages between are mapped.
        let _ = dma.write_obj(7u32, GuestAddress(at));
        let findings = watched.sanitizer.reports().findings();
        // What a request says of itself is in pages between, which are nobody else's yet.
        let Some(report) = findings.reports.first() else {
            continue;
        };
        let rest = report
            .text
            .strip_prefix(&format!("disk0 writes 4 bytes at {at:#x}, which "));
        let rest = rest.unwrap_or_else(|| panic!("{report:#?}"));
        // Some of the pages have other users by now.
        free += u32::from(rest.starts_with("is free by the kernel's records, and mapped as"));
        used += u32::from(rest.starts_with("was freed, and mapped as"));
        assert!(
            mapped_by(report).starts_with("vring_map_one_sg+") && report.history.freed.is_some(),
            "{report:#?}"
        );
    }
    assert!(free > 0 && used > 0, "{free} and {used}");
}
