//! An IOMMU's points, brought to the plan.

use std::sync::Arc;

use viommu::FaultReason;
use viommu::inject::{
    DescriptorFault, DescriptorRead, Flush, FlushFault, Injector, RegisterAccess, Translation,
};
use viommu::ipmmu::Register;
use viommu::virtio::{FaultReport, Request, spec::Status};

use super::alarm::Alarm;
use super::engine::{Injection, Strike};
use super::spec::{What, Where};

/// The level that faults are reported at which come from no walk.
const LEVEL: u8 = 3;

/// Asks a plan at every point of an IOMMU.
pub struct IommuPoints(pub Arc<Injection>);

impl Injector for IommuPoints {
    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn translation(&self, at: &Translation) -> Option<viommu::Miss> {
        let device = self.0.name(at.requester.source);
        let words = |_: &Strike| format!(" ({} of IOVA {:#x})", at.access, at.iova);
        let strike = self.0.at(Where::Translation, device, 1, |_| true, words)?;
        if strike.what == What::Status {
            let alarm = Alarm::Status {
                device: device.into(),
                // Checked to be 32 bits.
                status: strike.value as u32,
            };
            self.0.later(0, alarm);
            return None;
        }
        Some(viommu::Miss {
            reason: reason(strike.what)?,
            level: Some(LEVEL),
        })
    }

    fn descriptor(&self, at: &DescriptorRead) -> Option<DescriptorFault> {
        let words = |_: &Strike| format!(" (descriptor at {:#x})", at.address);
        let device = self.0.name(at.requester.source);
        let strike = self.0.at(Where::PageTable, device, 64, |_| true, words)?;
        Some(match (strike.what, at.value) {
            (What::Flip, Some(value)) => DescriptorFault::Value(value ^ strike.mask),
            _ => DescriptorFault::Abort,
        })
    }

    fn flush(&self, at: &Flush<'_>) -> Option<FlushFault> {
        let words = |_: &Strike| format!(" (context {})", at.context);
        let strike = self.0.at(Where::Flush, at.instance, 1, |_| true, words)?;
        match strike.what {
            What::Late => Some(FlushFault::Late(strike.count)),
            What::Stuck => Some(FlushFault::Stuck),
            What::Ignored => Some(FlushFault::Ignored),
            _ => None,
        }
    }

    fn register_read(&self, at: &RegisterAccess<'_>) -> Option<u32> {
        let name = register_name(at.register);
        self.0.register_read(at.instance, &name, at.value)
    }

    fn register_write(&self, at: &RegisterAccess<'_>) -> Option<Option<u32>> {
        let name = register_name(at.register);
        self.0.register_write(at.instance, &name, at.value)
    }

    fn request(&self, request: &Request) -> Option<Status> {
        let words = |_: &Strike| format!(" ({request:?})");
        let strike = self.0.at(Where::Request, "", 1, |_| true, words)?;
        u8::try_from(strike.value)
            .ok()
            .and_then(Status::from_number)
    }

    fn loses_report(&self, report: &FaultReport) -> bool {
        let words = |_: &Strike| format!(" (IOVA {:#x})", report.address);
        self.0.at(Where::Report, "", 1, |_| true, words).is_some()
    }
}

/// The name of a register in a plan; that of the older generation where they differ.
fn register_name(register: Register) -> String {
    match register {
        Register::Context(_, register) => format!("{register:?}").to_uppercase(),
        Register::Utlb(_, register) => format!("{register:?}").to_uppercase(),
    }
}

fn reason(what: What) -> Option<FaultReason> {
    Some(match what {
        What::Translation => FaultReason::Translation,
        What::Permission => FaultReason::Permission,
        What::AccessFlag => FaultReason::AccessFlag,
        What::Format => FaultReason::Format,
        What::Secure => FaultReason::Secure,
        What::Abort => FaultReason::WalkAbort,
        What::MultiHit => FaultReason::MultipleHits,
        _ => return None,
    })
}
