//! Registers that are read and written wrongly: those of IOMMUs and of virtio slots.

use super::engine::{FaultAction, Injection};
use super::spec::{FaultKind, FaultPoint, Rule};

impl Injection {
    /// The guest reads a register of `device` that shows `value`; what it sees instead.
    pub(crate) fn register_read(&self, device: &str, name: &str, value: u32) -> Option<u32> {
        let action = self.register(FaultPoint::RegisterRead, device, name, value)?;
        Some(instead(&action, value))
    }

    /// The guest writes `value` to a register of `device`; what is written instead, if anything is.
    pub(crate) fn register_write(
        &self,
        device: &str,
        name: &str,
        value: u32,
    ) -> Option<Option<u32>> {
        let action = self.register(FaultPoint::RegisterWrite, device, name, value)?;
        Some((action.what != FaultKind::Lost).then(|| instead(&action, value)))
    }

    fn register(
        &self,
        place: FaultPoint,
        device: &str,
        name: &str,
        value: u32,
    ) -> Option<FaultAction> {
        let named = |rule: &Rule| rule.register.as_deref().is_none_or(|wanted| wanted == name);
        let words = |action: &FaultAction| match action.what {
            FaultKind::Lost => format!(" ({name}, {value:#x})"),
            _ => format!(" ({name}, {value:#x} to {:#x})", instead(action, value)),
        };
        self.at(place, device, 32, named, words)
    }
}

fn instead(action: &FaultAction, value: u32) -> u32 {
    match action.what {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a register has 32 bits, of which the mask flips some"
        )]
        FaultKind::Flip => value ^ action.mask as u32,
        // Checked to be 32 bits.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was checked"
        )]
        _ => action.value as u32,
    }
}
