//! The virtio-iommu driver, unmodified but for a Kconfig dependency, and real devices behind our
//! virtio-iommu.

mod capture;
mod faults;
mod hostile;
mod lifecycle;
mod snapshots;
mod transfers;

use integration::{Guest, Run};
use vmm::VirtioIommuSummary;

use crate::copies;

/// The image whose kernel has the driver.
const IMAGE: &str = "virtio-iommu";

/// Returns a guest with the driver and one virtio-iommu, in the notation of the command line.
fn guest(iommu: &str) -> Guest {
    Guest::image(IMAGE).iommu(iommu)
}

/// Returns what happened at the first virtio-iommu.
fn device(run: &Run) -> VirtioIommuSummary {
    let first = run.summary.iommus.first().and_then(|iommu| iommu.virtio);
    first.expect("a virtio-iommu")
}

/// Makes a guest copy so many bytes between disks, as [`copies::copied`] does, by requests that
/// were all carried out.
fn copied(size: usize, seed: u64, guest: Guest, ports: [&str; 3]) -> Run {
    let run = copies::copied(size, seed, guest, ports);
    assert_clean(&run);
    run
}

/// Asserts that every access of the run was translated and allowed, and every request carried out.
fn assert_clean(run: &Run) {
    crate::iommu::assert_clean(run);
    for iommu in &run.summary.iommus {
        let device = iommu.virtio.expect("a virtio-iommu");
        assert_eq!((device.refused, device.reports), (0, 0), "{device:?}");
    }
}
