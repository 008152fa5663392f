//! An IOMMU's points, brought to the plan.

use std::sync::Arc;

use viommu::FaultReason;
use viommu::inject::{
    DescriptorFault, DescriptorRead, Flush, FlushFault, Injector, RegisterAccess, Translation,
};
use viommu::virtio::{FaultReport, Request, spec::Status};

use super::delayed_action::DelayedAction;
use super::engine::{FaultAction, Injection};
use super::spec::{self, ReportFault, RequestFault, TranslationFault};

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
        let words =
            |_: &FaultAction<TranslationFault>| format!(" ({} of IOVA {:#x})", at.access, at.iova);
        let action = self.injection.at(device, 1, words)?;
        let reason = match action.fault {
            TranslationFault::Translation {} => FaultReason::Translation,
            TranslationFault::Permission {} => FaultReason::Permission,
            TranslationFault::AccessFlag {} => FaultReason::AccessFlag,
            TranslationFault::Format {} => FaultReason::Format,
            TranslationFault::Secure {} => FaultReason::Secure,
            TranslationFault::Abort {} => FaultReason::WalkAbort,
            TranslationFault::MultiHit {} => FaultReason::MultipleHits,
            TranslationFault::Status { value } => {
                let alarm = DelayedAction::Status {
                    device: device.into(),
                    status: value,
                };
                // Not from here, in the middle of a translation: the run loop does it next.
                self.injection.later(0, alarm);
                return None;
            }
        };
        Some(viommu::Miss {
            reason,
            level: Some(LEVEL),
        })
    }

    fn descriptor(&self, at: &DescriptorRead) -> Option<DescriptorFault> {
        let words =
            |_: &FaultAction<spec::DescriptorFault>| format!(" (descriptor at {:#x})", at.address);
        let device = self.injection.name(at.requester.source);
        // The seed may choose one of the bits that descriptors of this format have.
        let action = self.injection.at(device, at.bits, words)?;
        Some(match (&action.fault, at.value) {
            (spec::DescriptorFault::Flip { mask }, Some(value)) => {
                DescriptorFault::Value(value ^ action.bits(*mask))
            }
            // Where no memory answers there are no bits to flip.
            _ => DescriptorFault::Abort,
        })
    }

    fn flush(&self, at: &Flush<'_>) -> Option<FlushFault> {
        let words = |_: &FaultAction<spec::FlushFault>| format!(" (context {})", at.context);
        let action = self.injection.at(at.instance, 1, words)?;
        Some(match action.fault {
            spec::FlushFault::Late { count } => FlushFault::Late(count.into()),
            spec::FlushFault::Stuck {} => FlushFault::Stuck,
            spec::FlushFault::Ignored {} => FlushFault::Ignored,
        })
    }

    fn register_read(&self, at: &RegisterAccess<'_>) -> Option<u32> {
        self.injection
            .register_read(at.instance, at.register, at.value)
    }

    fn register_write(&self, at: &RegisterAccess<'_>) -> Option<Option<u32>> {
        self.injection
            .register_write(at.instance, at.register, at.value)
    }

    fn request(&self, request: &Request) -> Option<Status> {
        let words = |_: &FaultAction<RequestFault>| format!(" ({request:?})");
        let action = self.injection.at(&self.iommu, 1, words)?;
        let RequestFault::Value { value } = action.fault;
        // Always a status: the plan's type takes no other number.
        Status::from_repr(value.into())
    }

    fn loses_report(&self, report: &FaultReport) -> bool {
        let words = |_: &FaultAction<ReportFault>| format!(" (IOVA {:#x})", report.address);
        let action = self.injection.at(&self.iommu, 1, words);
        action.is_some_and(|action| action.fault == ReportFault::Lost {})
    }
}

#[cfg(test)]
mod tests;
