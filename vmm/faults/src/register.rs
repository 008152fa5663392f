//! Registers that are read and written wrongly: those of IOMMUs and of virtio slots.

use super::engine::{Injection, Strike};
use super::spec::{Rule, What, Where};

impl Injection {
    /// The guest reads a register of `device` that shows `value`; what it sees instead.
    pub(crate) fn register_read(&self, device: &str, name: &str, value: u32) -> Option<u32> {
        let strike = self.register(Where::RegisterRead, device, name, value)?;
        Some(instead(&strike, value))
    }

    /// The guest writes `value` to a register of `device`; what is written instead, if anything is.
    pub(crate) fn register_write(
        &self,
        device: &str,
        name: &str,
        value: u32,
    ) -> Option<Option<u32>> {
        let strike = self.register(Where::RegisterWrite, device, name, value)?;
        Some((strike.what != What::Lost).then(|| instead(&strike, value)))
    }

    fn register(&self, place: Where, device: &str, name: &str, value: u32) -> Option<Strike> {
        let named = |rule: &Rule| rule.register.as_deref().is_none_or(|wanted| wanted == name);
        let words = |strike: &Strike| match strike.what {
            What::Lost => format!(" ({name}, {value:#x})"),
            _ => format!(" ({name}, {value:#x} to {:#x})", instead(strike, value)),
        };
        self.at(place, device, 32, named, words)
    }
}

fn instead(strike: &Strike, value: u32) -> u32 {
    match strike.what {
        What::Flip => value ^ strike.mask as u32,
        // Checked to be 32 bits.
        _ => strike.value as u32,
    }
}
