//! A clock generator whose driver is a module: Analog Devices' axi-clkgen, as far as Linux's driver
//! (drivers/clk/clk-axi-clkgen.c of Linux 6.1) uses it.
//!
//! Its use here is to come late. A device whose node names this clock in `assigned-clocks` has its
//! DMA set up, is then refused its clock, deferred, and has its DMA torn down, until someone loads
//! the module. Nothing is clocked by it.
//!
//! The generator's dividers are in a bank of inner registers behind a pair of access registers.
//! They are kept and read back; at reset they pass the input clock's rate on.

mod spec;

use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use crate::words;

use spec::{
    ACCESS_READ, ACCESS_SELECT, ACCESS_VALUE, CLKFB_2, CLKIN_DIV, CLKOUT0_2, CLKSEL, DIVIDE_BY_ONE,
    DRP_CNTRL, DRP_STATUS, INNER_REGISTERS, NO_DIVIDER, RESET, inner_number,
};

/// All that the guest can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The reset register.
    pub reset: u32,
    /// The input clock select register.
    pub select: u32,
    /// The inner registers, 16 bits each.
    pub inner: Vec<u16>,
    /// The value last read from one of them.
    pub read: u16,
}

impl Default for State {
    fn default() -> Self {
        let mut inner = vec![0; INNER_REGISTERS];
        // With zeros in these the driver would compute a rate of zero.
        inner[CLKOUT0_2] = DIVIDE_BY_ONE;
        inner[CLKFB_2] = DIVIDE_BY_ONE;
        inner[CLKIN_DIV] = NO_DIVIDER;
        Self {
            reset: 0,
            select: 0,
            inner,
            read: 0,
        }
    }
}

/// The clock generator.
#[derive(Debug, Default)]
pub struct ClockGenerator(Mutex<State>);

impl ClockGenerator {
    /// Returns the state to be saved.
    pub fn save(&self) -> State {
        self.state().clone()
    }

    /// Takes over a saved state, and returns whether it could: it has to have as many inner
    /// registers as there are.
    pub fn restore(&self, saved: &State) -> bool {
        let fits = saved.inner.len() == INNER_REGISTERS;
        if fits {
            *self.state() = saved.clone();
        }
        fits
    }

    /// Reads the register at `offset`; others read as zero.
    pub fn read(&self, offset: u64) -> u32 {
        let state = self.state();
        match offset {
            RESET => state.reset,
            CLKSEL => state.select,
            // The busy bit stays 0: an access is over when the write that makes it returns.
            DRP_STATUS => state.read.into(),
            _ => 0,
        }
    }

    /// Writes the register at `offset`; others ignore it.
    pub fn write(&self, offset: u64, value: u32) {
        let mut state = self.state();
        match offset {
            RESET => state.reset = value,
            CLKSEL => state.select = value,
            DRP_CNTRL if value & ACCESS_SELECT != 0 => {
                // A number of seven bits: whatever the guest writes, there is such a register.
                let number = inner_number(value);
                if value & ACCESS_READ != 0 {
                    state.read = state.inner[number];
                } else {
                    state.inner[number] = (value & ACCESS_VALUE) as u16;
                }
            }
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl DeviceMmio for ClockGenerator {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        words::read(offset, data, |offset| self.read(offset));
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // The bus of the core is 32 bits wide: narrower writes are not supported.
        if let Some(word) = words::written(offset, data) {
            self.write(offset, word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(clock: &ClockGenerator, number: u32) -> u32 {
        clock.write(DRP_CNTRL, ACCESS_SELECT | ACCESS_READ | number << 16);
        clock.read(DRP_STATUS)
    }

    #[test]
    fn inner_registers_are_kept_and_divide_by_one_at_reset() {
        let clock = ClockGenerator::default();
        assert_eq!(inner(&clock, 0x09), 0x40);
        assert_eq!(inner(&clock, 0x15), 0x40);
        assert_eq!(inner(&clock, 0x16), 0x1000);
        clock.write(DRP_CNTRL, ACCESS_SELECT | 0x28 << 16 | 0xabcd);
        assert_eq!(inner(&clock, 0x28), 0xabcd);
        assert_eq!(inner(&clock, 0x27), 0);
    }

    #[test]
    fn an_access_without_select_does_nothing() {
        let clock = ClockGenerator::default();
        clock.write(DRP_CNTRL, 0x28 << 16 | 0xabcd);
        assert_eq!(inner(&clock, 0x28), 0);
    }

    #[test]
    fn control_registers_read_back_and_the_rest_is_zero() {
        let clock = ClockGenerator::default();
        clock.write(RESET, 3);
        clock.write(CLKSEL, 1);
        clock.write(0xffc, u32::MAX);
        assert_eq!((clock.read(RESET), clock.read(CLKSEL)), (3, 1));
        assert_eq!(clock.read(0xffc), 0);
    }

    #[test]
    fn any_access_is_answered() {
        let clock = ClockGenerator::default();
        for offset in (0..0x1000).chain([u64::MAX]) {
            for size in [1, 2, 4, 8] {
                let mut data = vec![0xff; size];
                clock.mmio_write(MmioAddress(0), offset, &data);
                clock.mmio_read(MmioAddress(0), offset, &mut data);
            }
        }
        assert_eq!(clock.read(RESET), u32::MAX);
    }
}
