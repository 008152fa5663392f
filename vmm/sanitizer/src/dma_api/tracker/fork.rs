//! What is known of a guest, for a machine that goes on from a snapshot of its machine.

use super::{Arc, GuestRam, Owners, Reports, Tracker};

impl Tracker {
    /// Returns one that knows what this one knows, of a guest that goes on in `ram`, and reports to
    /// `reports`.
    pub fn fork(&self, reports: Arc<Reports>, ram: Arc<GuestRam>) -> Self {
        Self {
            reports,
            ram,
            masters: self.masters.clone(),
            layouts: self.layouts,
            numbers: self.numbers,
            are_physical: self.are_physical,
            anchored: self.anchored,
            owners: self.owners.as_ref().map(Owners::fork),
            pools: self.pools.clone(),
            shadow: self.shadow.clone(),
            stacks: self.stacks.clone(),
            names: self.names.clone(),
            devices: self.devices.clone(),
        }
    }
}
