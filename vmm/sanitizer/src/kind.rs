//! The kinds of mistake that are looked for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of mistake that a guest makes with DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A device used a translation that the guest's page tables no longer have, and that was not
    /// invalidated.
    MissingInvalidation,
    /// A device used, untranslated, an address that was meant for its IOMMU.
    StrayAddress,
    /// A device accessed bytes beyond those that were mapped for it.
    OutsideMapping,
    /// A device read what was mapped for it to write, or the reverse.
    Direction,
    /// A device accessed a page that the kernel has freed, or a page was freed while it was mapped
    /// for a device.
    FreedPage,
    /// A mapping was left when the driver of its device was unbound.
    Leak,
    /// Something was mapped that was mapped already.
    DoubleMap,
    /// Something was unmapped that was not mapped, or was mapped otherwise.
    DoubleUnmap,
    /// A device accessed memory after its driver was unbound.
    ActiveAfterRemove,
    /// The CPU accessed bytes that belonged to a device that is not coherent.
    Ownership,
    /// The CPU wrote to a cache line with bytes that such a device writes.
    SharedLine,
}

impl Kind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::MissingInvalidation,
        Self::StrayAddress,
        Self::OutsideMapping,
        Self::Direction,
        Self::FreedPage,
        Self::Leak,
        Self::DoubleMap,
        Self::DoubleUnmap,
        Self::ActiveAfterRemove,
        Self::Ownership,
        Self::SharedLine,
    ];

    /// Returns whether it is looked for where no kinds are named. Two owners of a cache line are a
    /// matter of layout, which harms nobody whose devices are really coherent.
    pub const fn is_default(self) -> bool {
        !matches!(self, Self::SharedLine)
    }

    /// Returns the name that users choose it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingInvalidation => "missing-invalidation",
            Self::StrayAddress => "stray-address",
            Self::OutsideMapping => "outside-mapping",
            Self::Direction => "direction",
            Self::FreedPage => "freed-page",
            Self::Leak => "leak",
            Self::DoubleMap => "double-map",
            Self::DoubleUnmap => "double-unmap",
            Self::ActiveAfterRemove => "active-after-remove",
            Self::Ownership => "ownership",
            Self::SharedLine => "shared-line",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
