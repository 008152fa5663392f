//! Why a saved IOMMU does not fit a machine.

use viommu::CacheRestoreError;
use viommu::ipmmu::RestoreError;
use viommu::rockchip;

/// The reason for which a saved IOMMU does not fit.
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
    /// The registers of a Rockchip IOMMU.
    #[error(transparent)]
    Rockchip(#[from] rockchip::RestoreError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheRestoreError),
}
