//! What can be seen at an IOMMU, without a look into the guest's kernel.

mod requests;
mod stale;
mod stray;

use viommu::Event;
use vmm_machine::IommuInfo;

use crate::sanitizer::Part;
use crate::{Kind, Options};

/// Returns the parts that `options` ask for.
pub(crate) fn parts(options: &Options) -> Vec<Box<dyn Part>> {
    let mut parts: Vec<Box<dyn Part>> = Vec::new();
    if options.wants(Kind::MissingInvalidation) {
        parts.push(Box::new(stale::StaleHits::default()));
    }
    if options.wants(Kind::StrayAddress) {
        parts.push(Box::new(stray::StrayAccesses::default()));
    }
    if options.wants_any(&[Kind::DoubleMap, Kind::DoubleUnmap]) {
        parts.push(Box::new(requests::Requests::default()));
    }
    parts
}

/// Returns the name of the device whose access `event` is about, or of all at its port.
fn device(iommu: &IommuInfo, event: &Event, port: u32) -> String {
    match iommu.source(event) {
        Some(device) => device.into(),
        None => {
            let masters = iommu.masters.get(port as usize);
            masters.map(|names| names.join("+")).unwrap_or_default()
        }
    }
}

/// Returns what a device that has accessed `iova` did, as words.
fn did(access: viommu::Access) -> &'static str {
    match access {
        viommu::Access::Read => "read",
        viommu::Access::Write => "wrote",
    }
}

#[cfg(test)]
mod tests;
