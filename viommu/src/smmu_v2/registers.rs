//! The live registers: contents, and what is under way.

use super::config::Shape;
use super::route::{GlobalFault, Route};
use super::spec::{GFSR_FAULTS, Gfsr, Gfsynr0};
use super::state::SmmuV2State;
use crate::fault::{Access, Fault};
use crate::grace::GracePeriod;
use crate::inject::FlushFault;

/// The registers of an SMMU.
#[derive(Debug)]
pub(super) struct Registers {
    /// Contents; `syncing` is set while the [`Sync`] is under way.
    pub(super) state: SmmuV2State,
    /// What TLBSYNC of each bank asked for.
    pub(super) syncs: Vec<Sync>,
    /// What sTLBGSYNC asked for.
    pub(super) sync: Sync,
    /// The end of accesses by attachments that the last write has changed.
    pub(super) attaching: Option<GracePeriod>,
    /// The level of the interrupt line.
    pub(super) level: bool,
}

/// What the guest waits for after invalidations.
#[derive(Debug, Default)]
pub(super) struct Sync {
    /// The end of accesses that were under way when the guest asked.
    grace: Option<GracePeriod>,
    /// What keeps it from being complete, besides those.
    held: Option<FlushFault>,
    /// What will keep the next one: a fault of an invalidation since this one was begun.
    pending: Option<FlushFault>,
}

impl Sync {
    /// Begins to wait. It ends no earlier than one that it takes the place of, but for a fault that
    /// held that up.
    pub(super) fn begin(&mut self, grace: GracePeriod) {
        self.grace = Some(grace);
        self.held = self.pending.take();
    }

    /// Notes the fault of an invalidation. Of several that the guest waits for at once, the last
    /// one counts.
    pub(super) fn note(&mut self, fault: Option<FlushFault>) {
        self.pending = fault.or(self.pending);
    }

    /// Returns whether a fault holds it up.
    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Counts down a late invalidation at a look of the guest.
    pub(super) fn count_look(&mut self) {
        self.held = self.held.and_then(FlushFault::after_look);
    }

    /// Returns whether it is under way still.
    pub(super) fn poll(&mut self) -> bool {
        if self.held.is_none() && self.grace.as_mut().is_some_and(GracePeriod::is_over) {
            self.grace = None;
        }
        self.grace.is_some()
    }
}

impl Registers {
    /// Creates registers with these contents, with nothing under way.
    pub(super) fn new(state: SmmuV2State) -> Self {
        Self {
            syncs: state.banks.iter().map(|_| Sync::default()).collect(),
            state,
            sync: Sync::default(),
            attaching: None,
            level: false,
        }
    }

    /// Creates the registers out of reset.
    pub(super) fn reset(shape: Shape) -> Self {
        Self::new(SmmuV2State::reset(shape))
    }

    /// Updates the attachments that have changed; returns whether no access by the old ones is
    /// under way.
    pub(super) fn poll_attaching(&mut self) -> bool {
        if self.attaching.as_mut().is_some_and(GracePeriod::is_over) {
            self.attaching = None;
        }
        self.attaching.is_none()
    }

    /// Updates what the guest waits for, and returns whether it is under way: of a bank, or of the
    /// whole SMMU.
    pub(super) fn poll_sync(&mut self, bank: Option<usize>) -> bool {
        let (sync, syncing) = match bank {
            None => (&mut self.sync, &mut self.state.syncing),
            Some(bank) => (&mut self.syncs[bank], &mut self.state.banks[bank].syncing),
        };
        *syncing = sync.poll();
        *syncing
    }

    /// Returns whether the interrupt is asked for, by any context bank or by global faults.
    pub(super) fn interrupts(&self) -> bool {
        let state = &self.state;
        let global = state.cr0().gcfgfie() && state.gfsr & GFSR_FAULTS != 0;
        global || state.banks.iter().any(|bank| bank.interrupts())
    }

    /// Records the fault of a stream that has no context bank; returns whether it is the first, of
    /// which all is shown. `None` if by now it would not fault.
    pub(super) fn record(&mut self, fault: &Fault) -> Option<bool> {
        let Route::Fault(kind) = self.state.route(fault.endpoint.0) else {
            return None;
        };
        Some(self.record_global(kind, fault))
    }

    fn record_global(&mut self, kind: GlobalFault, fault: &Fault) -> bool {
        let state = &mut self.state;
        if state.gfsr & GFSR_FAULTS != 0 {
            state.gfsr |= Gfsr::new().with_multi(true).into_bits();
            return false;
        }
        state.gfsr = kind.status().into_bits();
        state.gfar = fault.iova;
        state.gfsynr0 = Gfsynr0::new()
            .with_wnr(fault.access == Access::Write)
            .into_bits();
        state.gfsynr1 = fault.endpoint.0 & 0xffff;
        true
    }
}
