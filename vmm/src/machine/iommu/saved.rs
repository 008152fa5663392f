//! What the IOMMUs of a machine *are*, as plain data.

use serde::{Deserialize, Serialize};
use viommu::ipmmu::{IpmmuState, RestoreError};
use viommu::{CacheRestoreError, CacheState};

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
}

/// Why a saved IOMMU does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongIommu {
    /// There are more or fewer.
    #[error("the saved state is of another number of IOMMUs")]
    Number,
    /// The registers.
    #[error(transparent)]
    Registers(#[from] RestoreError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheRestoreError),
}
