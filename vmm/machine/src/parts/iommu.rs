//! IOMMUs, of whatever model.

use viommu::SourceId;
use vm_fdt::FdtWriter;

use super::{Part, Placed};
use crate::config::{Config, IommuModel};
use crate::entry::{Entry, IommuPart, Role};
use crate::error::Error;
use crate::fdt;
use crate::iommu::IommuWindows;
use crate::iommu::models::{self, Face};
use crate::wiring::Wiring;

/// Returns the IOMMUs of `config`, each model's in one go and in the order in which the models are
/// listed.
pub(crate) fn all(config: &Config, windows: &IommuWindows) -> Vec<Placed> {
    let list = config.iommu_list();
    let of = |wanted: IommuModel| {
        let all = list.iter().enumerate();
        let those = all.filter(move |(_, (_, model))| *model == wanted);
        those
            .map(|(index, (name, _))| (index, name.clone()))
            .collect::<Vec<_>>()
    };
    let models = IommuModel::ALL.into_iter().filter_map(models::model);
    let entries = models.flat_map(|model| model.place(&of(model.model()), windows));
    entries
        .map(|entry| Placed::new(entry, IommuEntry))
        .collect()
}

/// An IOMMU, or a part of one, as the entry's role says.
#[derive(Debug)]
struct IommuEntry;

impl Part for IommuEntry {
    fn describe(&self, entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        let Some(Role::Iommu(model, part)) = entry.role else {
            return Ok(());
        };
        let Some(model) = models::model(model) else {
            return Ok(());
        };
        let compatible = model.compatible().iter().map(|name| (*name).into());
        node.property_string_list("compatible", compatible.collect())?;
        // Where there is one, it is the micro-TLB or the endpoint of a master.
        node.property_u32("#iommu-cells", model.model().facts().cells)?;
        node.property_phandle(match part {
            IommuPart::Instance(index) => fdt::phandle_iommu(index),
            IommuPart::Shared => fdt::PHANDLE_IOMMU_SHARED,
        })?;
        model.describe(part, fdt::PHANDLE_IOMMU_SHARED, node)
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        match entry.role.and_then(|role| wiring.iommus().face(role)) {
            Some(Face::Window(window)) => wiring.attach(entry, 0, window),
            Some(Face::Transport(device)) => {
                let slot = wiring.transport(entry, source, device)?;
                wiring.add_virtio_iommu(slot);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
