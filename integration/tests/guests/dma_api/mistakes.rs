//! Mistakes of a driver's: a module that is compiled for stock kernels makes them on behalf of the
//! disk.

use integration::{Disk, Guest, module};
use viommu::vm_memory::{Bytes, GuestAddress};
use vmm::sanitizer::{Kind, Report};

use super::{ALL, Watched};
use crate::debug_registers::{disk_of, source};

/// Compiles the module of mistakes for a stock kernel, and returns the disk that it is on.
fn mistakes(image: &str) -> Disk {
    let directory = tempfile::tempdir().expect("a directory");
    disk_of(&module(image, &source("dma_mistakes"), directory.path()))
}

/// Copies the module from the disk.
const COPY: &str = "dd if=/dev/vda of=/m.ko bs=512 2>/dev/null";

/// Makes a guest make these mistakes on behalf of its disk, one after another.
fn mistaken(guest: &Guest, disk: &Disk, mistakes: impl IntoIterator<Item = &'static str>) -> Guest {
    let mistakes: Vec<&str> = mistakes.into_iter().collect();
    let guest = guest.clone().read_only_disk(disk).run(COPY);
    guest.run(&format!(
        "for m in {}; do insmod /m.ko device=a000000.virtio_mmio mistake=$m && \
            rmmod dma_mistakes || exit 1; done",
        mistakes.join(" ")
    ))
}

/// Asserts that a report is of this kind, of the disk, says these words, and is of one mistake.
fn assert_once(report: &Report, mistake: &str, (kind, words): (Kind, &str)) {
    assert_eq!(
        (report.kind, report.count),
        (kind, 1),
        "{mistake}: {report:#?}"
    );
    assert_eq!(report.device, "disk0", "{mistake}");
    assert!(report.text.contains(words), "{mistake}: {}", report.text);
}

/// Makes the mistakes of the module that are accesses of the CPU, all in one run.
fn accesses_of_the_cpu_are_found(guest: &Guest, disk: &Disk) {
    let harmless = ["sync", "sync-list", "list", "read-twice"];
    let mistakes = [
        (
            "write-owned",
            "(DMA_TO_DEVICE), of which the CPU writes 4 bytes at",
        ),
        (
            "read-owned",
            "(DMA_FROM_DEVICE), of which the CPU reads 4 bytes at",
        ),
        (
            "share-line",
            "(DMA_FROM_DEVICE), beside which the CPU writes 4 bytes at",
        ),
        (
            "write-synced",
            "(DMA_BIDIRECTIONAL), of which the CPU writes 4 bytes at",
        ),
        (
            "read-list",
            "(DMA_FROM_DEVICE), of which the CPU reads 4 bytes at",
        ),
    ];
    let all = harmless
        .into_iter()
        .chain(mistakes.map(|(mistake, _)| mistake));
    let guest = mistaken(guest, disk, all);
    let (run, findings) = Watched::new(guest, "dma=ownership,shared-line", &[]).finish();
    run.assert_good();
    // Of modules these kernels have no symbols: their code is below the kernel's.
    let found = findings.reports.iter().filter(|report| {
        let accessed = report.history.accessed.as_ref().expect("who accessed");
        accessed.stack[0].starts_with("0xbf")
    });
    let found: Vec<&Report> = found.collect();
    assert_eq!(found.len(), mistakes.len(), "{findings:#?}");
    for ((mistake, words), report) in mistakes.iter().zip(found) {
        let kind = match *mistake {
            "share-line" => Kind::SharedLine,
            _ => Kind::Ownership,
        };
        assert_once(report, mistake, (kind, words));
        assert!(
            report.physical.is_some_and(|at| at.0 >= 0x4000_0000),
            "{mistake}: {report:#?}"
        );
    }
}

/// Frees a block of a pool twice, and has the disk access what is no block.
fn accesses_beside_blocks_of_a_pool_are_found(guest: &Guest, disk: &Disk) {
    let guest = mistaken(guest, disk, ["free-block-twice"]).run("true");
    let mut watched = Watched::new(guest, ALL, &[]);
    watched.live.run_until("guest: command 2 exited with 0\r\n");
    let found = watched.sanitizer.reports().findings().reports;
    let [twice] = &found[..] else {
        panic!("{found:#?}");
    };
    assert_eq!((twice.kind, &*twice.device), (Kind::DoubleUnmap, "disk0"));
    assert!(
        twice.text.contains("dma_pool_free of 48 bytes"),
        "{}",
        twice.text
    );
    assert!(twice.text.contains("was unmapped before"), "{}", twice.text);
    let dma = watched.live.machine().dma_space("disk0").expect("a disk");
    // A block has 48 bytes and is followed by the next one after 64.
    for offset in [64, 4, 64 + 48] {
        let at = twice.iova.0 + offset;
        dma.write_obj(7u32, GuestAddress(at))
            .expect("what is mapped");
    }
    let (run, findings) = watched.finish();
    run.assert_good();
    let beside: Vec<&str> = findings.reports[1..]
        .iter()
        .map(|report| {
            assert_eq!(report.kind, Kind::OutsideMapping, "{report:#?}");
            &*report.text
        })
        .collect();
    let [freed, beyond] = &beside[..] else {
        panic!("{findings:#?}");
    };
    assert!(freed.contains("after 48 bytes"), "{freed}");
    assert!(
        beyond.contains("(DMA_BIDIRECTIONAL, of a pool) in the same page"),
        "{beyond}"
    );
}

/// Makes the mistakes of the module that are calls of the kernel, all in one run at whose end the
/// driver is unbound.
fn calls_are_found(guest: &Guest, disk: &Disk) {
    let harmless = ["read-twice", "list"];
    let mistakes = [
        ("map-twice", Kind::DoubleMap, "was given 512 bytes"),
        ("unmap-twice", Kind::DoubleUnmap, "was unmapped before"),
        ("unmap-less", Kind::DoubleUnmap, "was mapped as 512 bytes"),
        ("free-early", Kind::FreedPage, "is freed"),
        ("kfree-early", Kind::FreedPage, "is freed"),
        ("cache-early", Kind::FreedPage, "is freed"),
        // Left until then.
        ("leak", Kind::Leak, "has 512 bytes"),
        ("leak-coherent", Kind::Leak, "(DMA_BIDIRECTIONAL, coherent)"),
    ];
    let all = harmless
        .into_iter()
        .chain(mistakes.map(|(mistake, ..)| mistake));
    let unbind = "cd /sys/bus/platform/drivers/virtio-mmio && echo a000000.virtio_mmio >unbind";
    let guest = mistaken(guest, disk, all).run(unbind);
    // The kernel links free memory to more, by words in it: the CPU's access is another kind.
    let options = ALL.trim_end_matches(",ownership");
    let (run, mut findings) = Watched::new(guest, options, &[]).finish();
    run.assert_good();
    // What is left is told by address.
    let is_coherent = |report: &Report| report.text.contains("coherent");
    findings
        .reports
        .sort_by_key(|report| (report.kind == Kind::Leak, is_coherent(report)));
    assert_eq!(findings.reports.len(), mistakes.len(), "{findings:#?}");
    for ((mistake, kind, words), report) in mistakes.iter().zip(&findings.reports) {
        assert_once(report, mistake, (*kind, words));
        assert_eq!(
            report.physical.is_some_and(|at| at.0 >= 0x4000_0000),
            *mistake != "leak-coherent",
            "{mistake}: {report:#?}"
        );
        // Of modules these kernels have no symbols: their code is below the kernel's.
        let freed = report.history.freed.as_ref();
        let by_module = freed.map(|call| call.stack.iter().any(|text| text.starts_with("0xbf")));
        assert_eq!(
            by_module,
            (*kind == Kind::FreedPage).then_some(true),
            "{mistake}: {report:#?}"
        );
    }
}

/// Makes all mistakes of the module in stock kernels like `guest`.
fn mistakes_are_found(image: &str, guest: &Guest) {
    let disk = mistakes(image);
    accesses_of_the_cpu_are_found(guest, &disk);
    accesses_beside_blocks_of_a_pool_are_found(guest, &disk);
    calls_are_found(guest, &disk);
}

#[test]
fn mistakes_of_a_driver_are_found_behind_an_iommu() {
    let image = "debian-armmp-6.1";
    mistakes_are_found(image, &Guest::image(image).iommu("rockchip").rng_at("none"));
}

#[test]
fn mistakes_of_a_driver_are_found_without_an_iommu() {
    let image = "debian-armmp-lpae-6.1";
    mistakes_are_found(image, &Guest::image(image).access_platform());
}

/// What frees memory has other names in other kernels.
#[test]
fn mistakes_of_a_driver_are_found_in_the_oldest_and_the_newest_stock_kernels() {
    for image in ["debian-armmp-5.10", "debian-armmp-7.2"] {
        let guest = Guest::image(image).iommu("rockchip").rng_at("none");
        calls_are_found(&guest, &mistakes(image));
    }
}
