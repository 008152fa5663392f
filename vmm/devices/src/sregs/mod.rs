//! The system registers of Calxeda's server SoCs, as far as Linux's platform code for them
//! (arch/arm/mach-highbank) uses them: coherency of bus masters, which is set here and means
//! nothing, and the power request.

mod spec;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use crate::words;

use spec::{
    A9_PLL, AT_RESET, BOOT_DATA, BOOT_STATUS, DDR_PLL, EMMC_PLL, HARD_RESET, KEPT, PLL_LOCKED,
    POWER_REQUEST, SHUTDOWN, SOFT_RESET,
};

/// What a guest requests of the machine's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// To be switched off.
    Off,
    /// To be reset.
    Reset,
}

/// All that the guest can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SystemRegistersState {
    /// The words from offset 0 on.
    pub words: Vec<u32>,
    /// The status of the boot loader.
    pub boot_status: u32,
    /// What the boot loader is told.
    pub boot_data: u32,
}

impl Default for SystemRegistersState {
    fn default() -> Self {
        let mut words = vec![0; KEPT];
        for (offset, value) in AT_RESET {
            if let Some(word) = kept(offset).and_then(|index| words.get_mut(index)) {
                *word = value;
            }
        }
        Self {
            words,
            boot_status: 0,
            boot_data: 0,
        }
    }
}

/// Returns which of the words that are kept is at `offset`.
fn kept(offset: u64) -> Option<usize> {
    let index = usize::try_from(offset / 4).ok()?;
    (index < KEPT).then_some(index)
}

/// The system registers.
pub struct SystemRegisters {
    /// Called when the guest makes a request.
    power: Box<dyn Fn(PowerRequest) + Send + Sync>,
    state: Mutex<SystemRegistersState>,
}

impl SystemRegisters {
    /// Creates the registers as at reset. `power` is called for each request, and must not wait.
    pub fn new(power: Box<dyn Fn(PowerRequest) + Send + Sync>) -> Self {
        Self {
            power,
            state: Mutex::default(),
        }
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> SystemRegistersState {
        self.state().clone()
    }

    /// Takes over a saved state, and returns whether it could: it has to have as many words as
    /// there are.
    pub fn restore(&self, saved: &SystemRegistersState) -> bool {
        if saved.words.len() != KEPT {
            return false;
        }
        *self.state() = saved.clone();
        true
    }

    /// Reads the register at `offset`; others read as zero.
    pub fn read(&self, offset: u64) -> u32 {
        let state = self.state();
        let word = match offset {
            BOOT_STATUS => state.boot_status,
            BOOT_DATA => state.boot_data,
            _ => {
                let word = kept(offset).and_then(|index| state.words.get(index));
                word.copied().unwrap_or_default()
            }
        };
        match offset {
            // A PLL takes no time here to lock.
            A9_PLL | DDR_PLL | EMMC_PLL => word | PLL_LOCKED,
            _ => word,
        }
    }

    /// Writes the register at `offset`; others ignore it.
    pub fn write(&self, offset: u64, value: u32) {
        match (offset, value) {
            (POWER_REQUEST, SOFT_RESET | HARD_RESET) => (self.power)(PowerRequest::Reset),
            (POWER_REQUEST, SHUTDOWN) => (self.power)(PowerRequest::Off),
            (BOOT_STATUS, _) => self.state().boot_status = value,
            (BOOT_DATA, _) => self.state().boot_data = value,
            _ => {
                let mut state = self.state();
                if let Some(word) = kept(offset).and_then(|index| state.words.get_mut(index)) {
                    *word = value;
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, SystemRegistersState> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for SystemRegisters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SystemRegisters")
            .field(&*self.state())
            .finish()
    }
}

impl DeviceMmio for SystemRegisters {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        words::read(offset, data, |offset| self.read(offset));
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // Linux writes words only, and nothing says what a narrower write would do.
        if let Some(word) = words::written(offset, data) {
            self.write(offset, word);
        }
    }
}
