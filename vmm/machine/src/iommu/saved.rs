//! What the IOMMUs of a machine *are*, as plain data.

use serde::{Deserialize, Serialize};
use viommu::ipmmu::{IpmmuState, RestoreError};
use viommu::{CacheRestoreError, CacheState};

use super::VirtioIommuSummary;
use super::tally::TallyState;

/// One IOMMU: what the guest has told it, what it has cached, and what was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// An IPMMU: one instance of Gen2, or all of Gen3.
    Ipmmu {
        /// Its registers.
        registers: IpmmuState,
        /// Its translation cache.
        cache: CacheState,
        /// What was counted at each instance.
        tallies: Vec<TallyState>,
    },
    /// A virtio-iommu, whose driver's doings are saved with its slot.
    Virtio {
        /// Its translation cache.
        cache: CacheState,
        /// What was counted.
        tally: TallyState,
        /// What else was counted.
        counts: VirtioIommuSummary,
    },
}

/// Why a saved IOMMU does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongIommu {
    /// There are more or fewer.
    #[error("the saved state is of another number of IOMMUs")]
    Number,
    /// One of them is of another model.
    #[error("the saved state is of another model of IOMMU")]
    Model,
    /// The registers.
    #[error(transparent)]
    Registers(#[from] RestoreError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheRestoreError),
}
