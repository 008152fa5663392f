//! The hits of a case's probes, and the pages that the kernel gave back without unmapping them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use vmm_introspect::probe::{Hit, Probe};
use vmm_introspect::types::value::Value;
use vmm_timeline::recording::Recording;

use super::mappings::Mappings;

/// Hits that are kept of one run: what a probe in a loop may cost.
const MAX_HITS: usize = 10_000;

/// Keeps hits of probes: those that concern a device of the scenario, or changed something.
pub(super) struct Hits {
    pub names: BTreeMap<String, String>,
    pub recording: Arc<Recording>,
    pub hits: Arc<Mutex<Vec<Hit>>>,
    /// The endpoints of devices, by the kernel's names of them.
    pub endpoints: BTreeMap<String, u32>,
    pub mappings: Arc<Mappings>,
    pub leftovers: Arc<Mutex<Vec<Leftover>>>,
}

/// A page that the kernel has given back, and that is still mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    /// The kernel's name of the device.
    pub device: String,
    /// Its endpoint.
    pub endpoint: u32,
    /// Its address for the device.
    pub iova: u64,
    /// The physical address that this leads to.
    pub address: u64,
}

impl Hits {
    /// Returns the page that `hit`, the return of `arm_iommu_unmap_page`, should have unmapped, if
    /// it is still mapped.
    fn leftover(&self, hit: &Hit) -> Option<Leftover> {
        /// The size of the kernel's pages, in bytes.
        const PAGE: u64 = 0x1000;
        let device = device(hit)?;
        let endpoint = *self.endpoints.get(device)?;
        let handle = hit.values.iter().find(|(name, _)| name == "handle")?;
        // The handle is of a buffer, which may begin within its page.
        let iova = u64::try_from(handle.1.as_ref().ok()?.number()?).ok()? & !(PAGE - 1);
        Some(Leftover {
            device: device.to_owned(),
            endpoint,
            iova,
            // Where it leads now: mapped anew later it may lead elsewhere, which is no fault of the
            // kernel.
            address: self.mappings.find(endpoint, iova)?,
        })
    }

    /// Keeps a hit that is of interest, and records it in the timeline.
    pub fn take(&self, probe: &Probe, hit: &Hit) {
        if probe.site.symbol == "arm_iommu_unmap_page" {
            let Some(left) = self.leftover(hit) else {
                // As it should be: these are many, and nobody wants to read of them.
                return;
            };
            // Poisoned only by a panic that its own thread has reported; another one here would
            // hide it.
            let leftovers = self.leftovers.lock();
            let mut leftovers = leftovers.unwrap_or_else(PoisonError::into_inner);
            // A guest may come here without end.
            if leftovers.len() < MAX_HITS {
                leftovers.push(left);
            }
        }
        let device = device(hit);
        let known = device.and_then(|device| self.names.get(device));
        // A probe that prints no device may be about one of the scenario's.
        let concerns = known.is_some() || device.is_none() || !hit.changes.is_empty();
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        if !concerns || hits.len() >= MAX_HITS {
            return;
        }
        self.recording.hit(probe, hit);
        if let Some(name) = known {
            match probe.site.symbol.as_str() {
                "driver_bound" => self.recording.binding(name, driver(hit)),
                "device_unbind_cleanup" => self.recording.binding(name, None),
                _ => {}
            }
        }
        hits.push(hit.clone());
    }
}

/// Returns the name of the device that a hit is about, if its probe printed it.
pub(super) fn device(hit: &Hit) -> Option<&str> {
    text(hit, "dev.name")
}

fn driver(hit: &Hit) -> Option<String> {
    text(hit, "dev.driver.name").map(str::to_owned)
}

fn text<'h>(hit: &'h Hit, name: &str) -> Option<&'h str> {
    let value = hit.values.iter().find(|(printed, _)| printed == name);
    match value {
        Some((_, Ok(Value::Text { text, .. }))) => Some(text),
        _ => None,
    }
}
