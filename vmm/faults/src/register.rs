//! Registers that are read and written wrongly: those of IOMMUs and of virtio slots.

use std::fmt::Display;

use super::engine::{FaultAction, Injection};
use super::point::PointFault;
use super::spec::{ReadFault, RegisterFault, WriteFault};

impl Injection {
    /// Returns what the guest sees instead as it reads a register of `device` that shows `value`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a register has 32 bits, of which the mask flips some"
    )]
    pub(crate) fn register_read(&self, device: &str, name: &str, value: u32) -> Option<u32> {
        let seen = |action: &FaultAction<RegisterFault<ReadFault>>| match action.fault.fault {
            ReadFault::Value { value } => Some(value),
            ReadFault::Flip { mask } => Some(value ^ action.bits(mask) as u32),
        };
        // The same closure makes the record, so that this and the guest's value agree.
        seen(&self.register(device, name, value, seen)?)
    }

    /// Returns what is written instead as the guest writes `value` to a register of `device`, if
    /// anything is.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a register has 32 bits, of which the mask flips some"
    )]
    pub(crate) fn register_write(
        &self,
        device: &str,
        name: &str,
        value: u32,
    ) -> Option<Option<u32>> {
        let written = |action: &FaultAction<RegisterFault<WriteFault>>| match action.fault.fault {
            WriteFault::Lost {} => None,
            WriteFault::Value { value } => Some(value),
            WriteFault::Flip { mask } => Some(value ^ action.bits(mask) as u32),
        };
        Some(written(&self.register(device, name, value, written)?))
    }

    /// Returns what strikes at a register that would have `value`, and has what `instead` says.
    fn register<F: Display>(
        &self,
        device: &str,
        name: &str,
        value: u32,
        instead: impl Fn(&FaultAction<RegisterFault<F>>) -> Option<u32>,
    ) -> Option<FaultAction<RegisterFault<F>>>
    where
        RegisterFault<F>: PointFault,
    {
        let named = |fault: &RegisterFault<F>| {
            let wanted = fault.register.as_deref();
            // A rule that names no register is about all of the device's.
            wanted.is_none_or(|wanted| wanted == name)
        };
        let words = |action: &FaultAction<RegisterFault<F>>| match instead(action) {
            None => format!(" ({name}, {value:#x})"),
            Some(new) => format!(" ({name}, {value:#x} to {new:#x})"),
        };
        self.at_part((device, name), 32, named, words)
    }
}
