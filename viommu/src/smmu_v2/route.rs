//! Where the accesses of a stream go, as the registers have it.

use super::spec::{CbarKind, Gfsr, S2cr, S2crKind, Smr};
use super::state::SmmuV2State;
use crate::attachment::Attachment;
use crate::fault::DomainId;

/// Where the accesses of a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To the bus, untranslated.
    Bypass,
    /// Through a context bank.
    Bank(usize),
    /// Nowhere: each is a global fault of this kind.
    Fault(GlobalFault),
}

/// A kind of global fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GlobalFault {
    /// The stream's context is one that faults, or whose kind is not implemented.
    InvalidContext,
    /// The stream matches no group.
    Unidentified,
    /// The stream matches several groups.
    Conflict,
    /// The stream's context bank does not exist.
    NoBank,
}

impl GlobalFault {
    /// Returns the bit of sGFSR.
    pub(super) const fn status(self) -> Gfsr {
        let status = Gfsr::new();
        match self {
            Self::InvalidContext => status.with_icf(true),
            Self::Unidentified => status.with_usf(true),
            Self::Conflict => status.with_smcf(true),
            Self::NoBank => status.with_ucbf(true),
        }
    }
}

impl Route {
    #[expect(clippy::cast_possible_truncation, reason = "there are few banks")]
    pub(super) fn attachment(self) -> Attachment {
        match self {
            Self::Bypass => Attachment::Bypass,
            Self::Bank(bank) => Attachment::Domain(DomainId(bank as u32)),
            Self::Fault(_) => Attachment::Blocked,
        }
    }
}

impl SmmuV2State {
    /// Returns where the accesses of a stream go.
    pub(super) fn route(&self, stream: u32) -> Route {
        let control = self.cr0();
        // First: without the SMMU as a client's protection, streams are not looked at.
        if control.clientpd() {
            return Route::Bypass;
        }
        let mut matching = self
            .groups
            .iter()
            .filter(|group| matches(Smr::from_bits(group.smr), stream));
        match (matching.next(), matching.next()) {
            (None, _) if control.usfcfg() => Route::Fault(GlobalFault::Unidentified),
            (Some(_), Some(_)) if control.smcfcfg() => Route::Fault(GlobalFault::Conflict),
            (None, _) | (Some(_), Some(_)) => Route::Bypass,
            (Some(group), None) => self.context(S2cr::from_bits(group.s2cr)),
        }
    }

    fn context(&self, s2cr: S2cr) -> Route {
        match s2cr.kind() {
            S2crKind::Bypass => Route::Bypass,
            S2crKind::Fault => Route::Fault(GlobalFault::InvalidContext),
            S2crKind::Translate => {
                let number = usize::from(s2cr.cbndx());
                match self.banks.get(number) {
                    None => Route::Fault(GlobalFault::NoBank),
                    // That the kinds that ID0 does not have fault so is a choice.
                    Some(bank) if bank.cbar().kind() != CbarKind::Stage1 => {
                        Route::Fault(GlobalFault::InvalidContext)
                    }
                    Some(bank) if bank.sctlr().m() => Route::Bank(number),
                    Some(_) => Route::Bypass,
                }
            }
        }
    }
}

/// Returns whether a group is of a stream.
fn matches(smr: Smr, stream: u32) -> bool {
    let differs = stream ^ u32::from(smr.id());
    smr.valid() && differs & !u32::from(smr.mask()) == 0
}
