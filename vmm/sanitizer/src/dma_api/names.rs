//! The guest's devices: their names, and which of the board's devices they are.

use std::collections::BTreeMap;

use vmm_introspect::memory::Memory;
use vmm_introspect::types::Types;
use vmm_introspect::types::path::PathError;
use vmm_machine::board::Board;

/// Longest name of a device that is read, in bytes; those of a board are shorter.
const MAX_NAME: usize = 64;

/// Where a `struct device` has its name (`dev_name` of include/linux/device.h), in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    init_name: u64,
    object_name: u64,
}

impl Layout {
    /// Returns that of a kernel with these types.
    ///
    /// # Errors
    /// Its devices are not described.
    pub fn of(types: &Types) -> Result<Self, PathError> {
        let offset = |member| {
            let path = types.resolve("device", member)?;
            // Members of the structure itself: the path follows no pointer.
            Ok(path.offset().unwrap_or(0).into())
        };
        Ok(Self {
            init_name: offset("init_name")?,
            object_name: offset("kobj.name")?,
        })
    }

    /// Returns the name of the `struct device` at `device`.
    pub fn name(self, memory: &dyn Memory, device: u64) -> Option<String> {
        let pointer = |offset: u64| {
            let at = u32::try_from(device.wrapping_add(offset)).ok()?;
            let pointer = memory.word(at.into()).ok()?;
            (pointer != 0).then_some(u64::from(pointer))
        };
        let text = pointer(self.init_name).or_else(|| pointer(self.object_name))?;
        let (name, _) = memory.text(text, MAX_NAME).ok()?;
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

/// What the board calls its bus masters, by the names that the guest has for them.
#[derive(Clone, Debug, Default)]
pub struct Masters(BTreeMap<String, String>);

impl Masters {
    /// Returns those of a board.
    pub fn of(board: &Board) -> Self {
        let masters = board.devices.iter().filter(|entry| entry.master);
        let names = masters.map(|entry| (entry.linux_name(), entry.name.clone()));
        Self(names.collect())
    }

    /// Returns the board's name of the device that the guest calls `name`.
    pub fn board_name(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
