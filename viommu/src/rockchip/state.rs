//! The state of a Rockchip IOMMU, to be saved and restored: register contents, and nothing that
//! follows from them.

use serde::{Deserialize, Serialize};

use super::spec::{Format, Interrupts, Status};

/// Everything that a [`RockchipIommu`](super::RockchipIommu) knows. Its configuration and the
/// translation cache are not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RockchipState {
    /// [`RockchipState::VERSION`].
    pub version: u32,
    /// MMU_DTE_ADDR.
    pub dte_addr: u32,
    /// What of MMU_STATUS is stored: paging, stall, and the page fault.
    pub status: u32,
    /// Whether a stall was asked for that MMU_STATUS does not show yet.
    pub stalling: bool,
    /// MMU_PAGE_FAULT_ADDR.
    pub page_fault_addr: u32,
    /// MMU_INT_RAWSTAT.
    pub int_rawstat: u32,
    /// MMU_INT_MASK.
    pub int_mask: u32,
    /// MMU_AUTO_GATING.
    pub auto_gating: u32,
    /// Accesses so far to what is not modelled.
    pub unimplemented: u64,
}

impl RockchipState {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 1;

    /// Returns the registers out of reset. That all are zero is a choice, but for MMU_DTE_ADDR
    /// (6.1, `rk_iommu_force_reset`).
    pub(super) const fn reset(unimplemented: u64) -> Self {
        Self {
            version: Self::VERSION,
            dte_addr: 0,
            status: 0,
            stalling: false,
            page_fault_addr: 0,
            int_rawstat: 0,
            int_mask: 0,
            auto_gating: 0,
            unimplemented,
        }
    }

    pub(super) const fn status(&self) -> Status {
        Status::from_bits(self.status)
    }

    /// Returns what the registers of an IOMMU of this format can hold of a saved state: a snapshot
    /// is a file, and may have bits set that no register has.
    pub(super) const fn sane(self, format: Format) -> Self {
        let Self {
            version,
            dte_addr,
            status,
            stalling,
            page_fault_addr,
            int_rawstat,
            int_mask,
            auto_gating,
            unimplemented,
        } = self;
        let status = Status::from_bits(status);
        // Only what is stored: the others follow from what is under way.
        let kept = Status::new()
            .with_paging_enabled(status.paging_enabled())
            .with_page_fault_active(status.page_fault_active())
            .with_stall_active(status.stall_active())
            .with_page_fault_is_write(status.page_fault_is_write());
        Self {
            version,
            dte_addr: dte_addr & format.directory_mask(),
            status: kept.into_bits(),
            // One that is there is not under way. Paging may have been disabled since it was asked
            // for.
            stalling: stalling && !status.stall_active(),
            page_fault_addr,
            int_rawstat: int_rawstat & interrupt_mask(),
            int_mask: int_mask & interrupt_mask(),
            auto_gating,
            unimplemented,
        }
    }
}

/// Returns the bits that the interrupt registers have.
pub(super) const fn interrupt_mask() -> u32 {
    Interrupts::new()
        .with_page_fault(true)
        .with_bus_error(true)
        .into_bits()
}

/// Why a saved state does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Written by another version.
    #[error("the saved Rockchip IOMMU state has version {0}, but this build reads version \
        {expected}", expected = RockchipState::VERSION)]
    Version(u32),
}
