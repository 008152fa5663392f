//! Why a saved IOMMU does not fit a machine.

use viommu::CacheRestoreError;

/// The reason for which a saved IOMMU does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongIommu {
    /// There are more or fewer.
    #[error("the saved state is of another number of IOMMUs")]
    Number,
    /// One of them is of another model.
    #[error("the saved state is of another model of IOMMU")]
    Model,
    /// The registers, for what its model says of them.
    #[error("{0}")]
    Registers(String),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheRestoreError),
}

impl WrongIommu {
    /// Says why a model's registers do not fit.
    pub(super) fn registers(why: impl std::error::Error) -> Self {
        Self::Registers(why.to_string())
    }
}
