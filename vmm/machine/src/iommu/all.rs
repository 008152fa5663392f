//! All IOMMUs of a machine, whatever their models.

use std::collections::BTreeMap;

use viommu::DmaListener;
use vmm_devices::ram::DmaSpace;

use super::IommuSummary;
use super::models::{self, Face, IommuContext, IommuDevice, UnitState};
use super::saved::WrongIommu;
use crate::config::{IommuModel, Port};
use crate::entry::{Entry, Role};
use crate::error::Error;
use crate::targets::ShowStatus;

/// The IOMMUs of a machine.
#[derive(Default)]
pub(crate) struct Iommus(Vec<Box<dyn IommuDevice>>);

impl Iommus {
    /// Makes the IOMMUs among `devices`, out of reset.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn new(devices: &[Entry], context: &IommuContext<'_>) -> Result<Self, Error> {
        let mut iommus = Vec::new();
        // Model by model, as all instances of Gen3 are one device.
        for model in IommuModel::ALL.into_iter().filter_map(models::model) {
            let own = |entry: &&Entry| matches!(entry.role, Some(Role::Iommu(of, _)) if of == model.model());
            let entries: Vec<&Entry> = devices.iter().filter(own).collect();
            if !entries.is_empty() {
                iommus.extend(model.make(&entries, context)?);
            }
        }
        Ok(Self(iommus))
    }

    /// Returns what stands at the entry of `role`, if that is an IOMMU's.
    pub fn face(&self, role: Role) -> Option<Face> {
        self.0.iter().find_map(|iommu| iommu.face(role))
    }

    /// Returns what a device at `port` sees.
    pub fn space(&self, port: Port) -> Option<DmaSpace> {
        self.0.iter().find_map(|iommu| iommu.space(port))
    }

    /// Has `listener` told of what the device at `port` meets.
    ///
    /// # Errors
    /// The IOMMU takes no listener.
    pub fn listen(&self, port: Port, listener: Box<dyn DmaListener>) -> Result<(), Error> {
        let mut listener = Some(listener);
        for iommu in &self.0 {
            if let Some(taken) = iommu.listen(port, &mut listener) {
                return taken.map_err(|why| Error::Host {
                    what: "follow an IOMMU for another process",
                    source: why,
                });
            }
        }
        Ok(())
    }

    /// Returns a way to have the IOMMU that one of `devices` stands behind show a status; it
    /// answers with the name of the entry whose interrupt that is.
    pub fn show_status(&self, devices: &[Entry]) -> ShowStatus {
        // Looked up now, as what is returned outlives the entries.
        let mut ports = BTreeMap::new();
        for entry in devices {
            let Some(port) = entry.iommu else { continue };
            if let Some(show) = self.0.iter().find_map(|iommu| iommu.show_status(port)) {
                ports.insert(entry.name.clone(), show);
            }
        }
        Box::new(move |device, status| Some(ports.get(device)?(status)))
    }

    /// Returns the state of all, to be saved.
    pub fn save(&self) -> Vec<UnitState> {
        self.0.iter().map(|iommu| iommu.save()).collect()
    }

    /// Takes over a saved state. Observers are told of the attachments.
    ///
    /// # Errors
    /// If it does not fit; what does not is left as it was.
    pub fn restore(&self, saved: &[UnitState]) -> Result<(), WrongIommu> {
        if saved.len() != self.0.len() {
            return Err(WrongIommu::Number);
        }
        let mut both = self.0.iter().zip(saved);
        both.try_for_each(|(iommu, saved)| iommu.restore(saved))
    }

    /// Returns what happened so far at each instance, and at what they share.
    pub fn summaries(&self) -> Vec<IommuSummary> {
        self.0.iter().flat_map(|iommu| iommu.summaries()).collect()
    }
}
