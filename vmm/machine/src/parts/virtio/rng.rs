//! The entropy device: virtio-rng, with a seed.

use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::virtio::rng::Rng;

use super::Device;
use crate::entry::Entry;
use crate::error::Error;
use crate::parts::Part;
use crate::seeds::noise_seed;
use crate::wiring::Wiring;

/// Returns the entropy device.
pub(super) fn device() -> Device {
    Device {
        name: "rng".into(),
        role: None,
        part: Arc::new(Entropy),
    }
}

#[derive(Debug)]
struct Entropy;

impl Part for Entropy {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        super::describe(node, None)
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let device = Box::new(Rng::new(noise_seed(wiring.config())));
        wiring.transport(entry, source, device).map(drop)
    }
}
