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
    /// The byte with the flag that says that the device is coherent, and its bit.
    coherent: Option<(u64, u8)>,
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
        // In `struct device` since Linux 6.0 on ARM, as on other architectures before.
        let coherent = ["dma_coherent", "archdata.dma_coherent"];
        let coherent = coherent.into_iter().find_map(|member| {
            let path = types.resolve("device", member).ok()?;
            let bit = path.bits.map_or(0, |bits| bits.offset);
            Some((u64::from(path.offset()?), bit))
        });
        Ok(Self {
            coherent,
            init_name: offset("init_name")?,
            object_name: offset("kobj.name")?,
        })
    }

    /// Returns whether the kernel has the `struct device` at `device` for coherent, so that its
    /// memory belongs to both sides at any time; a kernel that has no such flag has all of them so.
    pub fn is_coherent(self, memory: &dyn Memory, device: u64) -> bool {
        let Some((offset, bit)) = self.coherent else {
            return true;
        };
        let mut byte = [0];
        let at = device.wrapping_add(offset).wrapping_add(u64::from(bit / 8));
        memory.read(at, &mut byte).is_err() || byte[0] >> (bit % 8) & 1 != 0
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
