//! The unmodified `ipmmu-vmsa` driver and real devices behind our IPMMU.

mod faults;
pub(crate) mod hostile;
pub(crate) mod lifecycle;
mod rockchip;
mod smmu_v2;
mod transfers;

use integration::Run;
use vmm::{IommuSummary, UtlbSummary};

/// Returns what happened at the IOMMU `name`.
fn iommu<'r>(run: &'r Run, name: &str) -> &'r IommuSummary {
    let found = run.summary.iommus.iter().find(|iommu| iommu.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", run.summary.iommus))
}

/// Returns what happened at the micro-TLB of `device`.
pub(crate) fn utlb<'r>(run: &'r Run, device: &str) -> &'r UtlbSummary {
    let all = run.summary.iommus.iter().flat_map(|iommu| &iommu.utlbs);
    let mut behind = all.filter(|utlb| utlb.devices.iter().any(|name| name == device));
    match (behind.next(), behind.next()) {
        (Some(utlb), None) => utlb,
        _ => panic!("{device} is not behind one uTLB: {:?}", run.summary.iommus),
    }
}

/// Asserts that every access of the run was translated and allowed, and no buffer was bounced.
pub(crate) fn assert_clean(run: &Run) {
    run.assert_good();
    for iommu in &run.summary.iommus {
        for utlb in &iommu.utlbs {
            assert_eq!(
                (utlb.faults, utlb.bus_errors),
                (0, 0),
                "{}: {utlb:?}\n{}",
                iommu.name,
                run.text()
            );
        }
    }
    let text = run.text();
    for words in [
        "Unhandled fault",
        "software IO TLB",
        "TLB sync timed out",
        "fault from EP",
        "Call trace",
    ] {
        assert!(!text.contains(words), "{words:?} in\n{text}");
    }
}
