//! Behaviours of kernels, each a named set of probes, and the probes that only look.

use std::collections::BTreeMap;

use serde::Deserialize;
use vmm_files::toml_file;
use vmm_machine::IommuModel;

use super::error::LabError;
use super::ops::TEARDOWN;
use vmm_introspect::probe::{Probe, parse};

/// The file with the behaviours that are known.
const SHIPPED: &str = include_str!("behaviours.toml");

/// The probes of every run. Those with a question mark are left out of kernels where they do not
/// fit: static functions may be inlined, and older kernels have no `dma_ops_setup`.
const LOOKS: [&str; 8] = [
    "?arch_setup_dma_ops { print(dev.name, dev.dma_ops, dev.archdata.mapping) }",
    "?arch_setup_dma_ops@return { print(dev.name, dev.dma_ops, dev.archdata.mapping) }",
    "?arch_teardown_dma_ops { print(dev.name, dev.dma_ops, dev.archdata.mapping, dev.archdata.dma_ops_setup) }",
    "??arch_teardown_dma_ops { print(dev.name, dev.dma_ops, dev.archdata.mapping) }",
    "?arch_teardown_dma_ops@return { print(dev.name, dev.dma_ops, dev.archdata.mapping) }",
    "?driver_bound { print(dev.name, dev.driver.name) }",
    "?device_unbind_cleanup { print(dev.name) }",
    "?release_iommu_mapping { print(kref) }",
];

/// Returns whether this is a probe by which teardowns are counted.
pub(super) fn is_of_teardown(probe: &Probe) -> bool {
    probe.site.symbol == TEARDOWN && !probe.site.at_return
}

/// The probe besides these where each device has a mapping of its own, whose mappings are told one
/// by one.
const UNMAP: &str = "?arm_iommu_unmap_page@return { print(dev.name, handle) }";

/// The behaviour of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Behaviour {
    /// A description in one sentence.
    pub about: String,
    /// The probes that make it so.
    pub probes: Vec<String>,
}

/// Behaviours by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviours(BTreeMap<String, Behaviour>);

impl Behaviours {
    /// Returns those that are shipped.
    ///
    /// # Errors
    /// None: a test reads them.
    pub fn shipped() -> Result<Self, LabError> {
        Self::read("behaviours.toml", SHIPPED)
    }

    /// Reads those in `text`, which came from `file`.
    ///
    /// # Errors
    /// The text cannot be used: what is wrong with it, as a sentence.
    pub fn read(file: &str, text: &str) -> Result<Self, LabError> {
        let list: BTreeMap<String, Behaviour> = toml_file::parse_named(file, text)?;
        for (name, behaviour) in &list {
            // Mistakes are told when the file is read, also in behaviours that no case uses.
            for probe in &behaviour.probes {
                parse(probe).map_err(|error| LabError::Meaning {
                    file: file.into(),
                    what: format!("the behaviour {name} has a probe `{probe}`: {error}").into(),
                })?;
            }
        }
        Ok(Self(list))
    }

    /// Returns the behaviour of this name.
    pub fn get(&self, name: &str) -> Option<&Behaviour> {
        self.0.get(name)
    }

    /// Returns the names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Behaviour {
    /// Returns the probes of a run: those that look first, then those that act, so that a look
    /// shows what the kernel had. At a return the order is the same.
    pub(super) fn probes(&self, iommu: IommuModel) -> Vec<Probe> {
        let texts = LOOKS
            .into_iter()
            .chain((iommu == IommuModel::Virtio).then_some(UNMAP))
            .chain(self.probes.iter().map(String::as_str));
        // All were parsed when they were read, so none is left out here.
        texts.filter_map(|text| parse(text).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_read() {
        let shipped = Behaviours::shipped().unwrap();
        let names: Vec<&str> = shipped.names().collect();
        assert_eq!(
            names,
            [
                "flag-lowered",
                "guard-absent",
                "ops-kept",
                "ops-null",
                "stock",
                "streaming-first",
                "v8-07-11",
                "v8-07-11-32-bit"
            ]
        );
        assert!(shipped.get("stock").unwrap().probes.is_empty());
        let guard = shipped.get("guard-absent").unwrap();
        let probes = guard.probes(IommuModel::Ipmmu);
        assert_eq!(probes.len(), LOOKS.len() + guard.probes.len());
        assert_eq!(guard.probes(IommuModel::Virtio).len(), probes.len() + 1);
    }

    #[test]
    fn mistakes_are_sentences() {
        let refused = |text| Behaviours::read("b.toml", text).unwrap_err().to_string();
        let text = refused("[x]\nabout = 'x'\nprobes = ['f {']\n");
        assert!(
            text.contains("b.toml") && text.contains("the behaviour x"),
            "{text}"
        );
        assert!(refused("[x]\nabuot = 'x'\n").contains("line 2"));
    }
}
