//! The live registers: contents, and what is under way.

use super::spec::Status;
use super::state::RockchipState;
use crate::fault::{Access, Fault, FaultReason};
use crate::grace::GracePeriod;
use crate::inject::FlushFault;

/// The registers of an IOMMU.
#[derive(Debug)]
pub(super) struct Registers {
    /// Contents.
    pub(super) state: RockchipState,
    /// The stall that is under way: it is there when accesses from before it have ended.
    pub(super) stall: Option<GracePeriod>,
    /// What was invalidated and may still be in use: the IOMMU is idle when it is not.
    pub(super) zap: Option<GracePeriod>,
    /// What keeps the IOMMU from showing that it is idle, besides accesses that are under way.
    pub(super) held: Option<FlushFault>,
    /// The level of the interrupt line.
    pub(super) level: bool,
}

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It is shown as a page fault.
    PageFault,
    /// It is shown as a bus error.
    BusError,
    /// The one before has not been acknowledged.
    Lost,
}

impl Registers {
    /// Creates the registers out of reset, with nothing under way.
    pub(super) fn new() -> Self {
        Self {
            state: RockchipState::reset(0),
            stall: None,
            zap: None,
            held: None,
            level: false,
        }
    }

    /// Updates the stall that is under way; returns whether it has just come to be there.
    pub(super) fn poll_stall(&mut self) -> bool {
        let done = self.stall.as_mut().is_some_and(GracePeriod::is_over);
        if done {
            self.stall = None;
            self.state.stalling = false;
            let status = self.state.status().with_stall_active(true);
            self.state.status = status.into_bits();
        }
        done
    }

    /// Updates what was invalidated; returns whether nothing is under way through it.
    pub(super) fn poll_zap(&mut self) -> bool {
        if self.zap.as_mut().is_some_and(GracePeriod::is_over) {
            self.zap = None;
        }
        self.zap.is_none()
    }

    /// Counts down a late invalidation before a look of the guest.
    pub(super) fn count_look(&mut self) {
        self.held = self.held.and_then(FlushFault::after_look);
    }

    /// Returns MMU_STATUS.
    pub(super) fn status(&mut self) -> Status {
        let idle = self.poll_zap() && self.held.is_none();
        // No access waits to be made again: one that is refused is refused for good.
        self.state
            .status()
            .with_idle(idle)
            .with_replay_buffer_empty(true)
    }

    /// Records a fault.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the register has the low half"
    )]
    pub(super) fn record(&mut self, fault: &Fault) -> Recorded {
        let state = &mut self.state;
        let status = state.status();
        let mut pending = super::spec::Interrupts::from_bits(state.int_rawstat);
        if fault.reason == FaultReason::WalkAbort {
            // The driver reads the address of either (6.1, `rk_iommu_irq`). That of a page fault is
            // not replaced.
            if !status.page_fault_active() {
                state.page_fault_addr = fault.iova as u32;
            }
            pending.set_bus_error(true);
            state.int_rawstat = pending.into_bits();
            return Recorded::BusError;
        }
        if status.page_fault_active() {
            return Recorded::Lost;
        }
        state.status = status
            .with_page_fault_active(true)
            .with_page_fault_is_write(fault.access == Access::Write)
            .into_bits();
        state.page_fault_addr = fault.iova as u32;
        pending.set_page_fault(true);
        state.int_rawstat = pending.into_bits();
        Recorded::PageFault
    }
}
