//! An IOMMU's points, brought to the plan.

use std::sync::Arc;

use viommu::FaultReason;
use viommu::inject::{
    DescriptorFault, DescriptorRead, Flush, FlushFault, Injector, RegisterAccess, Translation,
};
use viommu::ipmmu::Register;
use viommu::virtio::{FaultReport, Request, spec::Status};

use super::delayed_action::DelayedAction;
use super::engine::{FaultAction, Injection};
use super::spec::{FaultKind, FaultPoint};

/// The level that faults are reported at which come from no walk.
const LEVEL: u8 = 3;

/// Asks a plan at every point of an IOMMU.
pub struct IommuPoints {
    injection: Arc<Injection>,
    /// What the machine calls the IOMMU.
    iommu: String,
}

impl IommuPoints {
    /// Returns the points of the IOMMU that the machine calls `iommu`.
    pub fn new(injection: &Arc<Injection>, iommu: &str) -> Self {
        Self {
            injection: Arc::clone(injection),
            iommu: iommu.to_owned(),
        }
    }
}

impl Injector for IommuPoints {
    fn epoch(&self) -> u64 {
        self.injection.epoch()
    }

    fn translation(&self, at: &Translation) -> Option<viommu::Miss> {
        let device = self.injection.name(at.requester.source);
        let words = |_: &FaultAction| format!(" ({} of IOVA {:#x})", at.access, at.iova);
        let action = self
            .injection
            .at(FaultPoint::Translation, device, 1, |_| true, words)?;
        if action.what == FaultKind::Status {
            let alarm = DelayedAction::Status {
                device: device.into(),
                // Checked to be 32 bits.
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it was checked"
                )]
                status: action.value as u32,
            };
            self.injection.later(0, alarm);
            return None;
        }
        Some(viommu::Miss {
            reason: reason(action.what)?,
            level: Some(LEVEL),
        })
    }

    fn descriptor(&self, at: &DescriptorRead) -> Option<DescriptorFault> {
        let words = |_: &FaultAction| format!(" (descriptor at {:#x})", at.address);
        let device = self.injection.name(at.requester.source);
        let action = self
            .injection
            .at(FaultPoint::PageTable, device, 64, |_| true, words)?;
        Some(match (action.what, at.value) {
            (FaultKind::Flip, Some(value)) => DescriptorFault::Value(value ^ action.mask),
            _ => DescriptorFault::Abort,
        })
    }

    fn flush(&self, at: &Flush<'_>) -> Option<FlushFault> {
        let words = |_: &FaultAction| format!(" (context {})", at.context);
        let action = self
            .injection
            .at(FaultPoint::Flush, at.instance, 1, |_| true, words)?;
        match action.what {
            FaultKind::Late => Some(FlushFault::Late(action.count)),
            FaultKind::Stuck => Some(FlushFault::Stuck),
            FaultKind::Ignored => Some(FlushFault::Ignored),
            _ => None,
        }
    }

    fn register_read(&self, at: &RegisterAccess<'_>) -> Option<u32> {
        let name = register_name(at.register);
        self.injection.register_read(at.instance, &name, at.value)
    }

    fn register_write(&self, at: &RegisterAccess<'_>) -> Option<Option<u32>> {
        let name = register_name(at.register);
        self.injection.register_write(at.instance, &name, at.value)
    }

    fn request(&self, request: &Request) -> Option<Status> {
        let words = |_: &FaultAction| format!(" ({request:?})");
        let action = self
            .injection
            .at(FaultPoint::Request, &self.iommu, 1, |_| true, words)?;
        u8::try_from(action.value)
            .ok()
            .and_then(Status::from_number)
    }

    fn loses_report(&self, report: &FaultReport) -> bool {
        let words = |_: &FaultAction| format!(" (IOVA {:#x})", report.address);
        self.injection
            .at(FaultPoint::Report, &self.iommu, 1, |_| true, words)
            .is_some()
    }
}

/// The name of a register in a plan; that of the older generation where they differ.
fn register_name(register: Register) -> String {
    match register {
        Register::Context(_, register) => format!("{register:?}").to_uppercase(),
        Register::Utlb(_, register) => format!("{register:?}").to_uppercase(),
    }
}

fn reason(what: FaultKind) -> Option<FaultReason> {
    Some(match what {
        FaultKind::Translation => FaultReason::Translation,
        FaultKind::Permission => FaultReason::Permission,
        FaultKind::AccessFlag => FaultReason::AccessFlag,
        FaultKind::Format => FaultReason::Format,
        FaultKind::Secure => FaultReason::Secure,
        FaultKind::Abort => FaultReason::WalkAbort,
        FaultKind::MultiHit => FaultReason::MultipleHits,
        _ => return None,
    })
}
