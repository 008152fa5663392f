//! What the console UART *is*, as plain data.

use serde::{Deserialize, Serialize};

use super::{MAX_WAITING, Registers, Uart};

/// The UART: its registers, and what is on its way to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UartState {
    /// Registers and FIFO.
    pub registers: Registers,
    /// Input that found the FIFO full.
    pub backlog: Vec<u8>,
    /// Bytes written by the guest so far.
    pub bytes_out: u64,
}

/// A saved state that no console can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongUart {
    /// More input than can wait.
    #[error("the saved console holds more input than it can")]
    Backlog,
    /// Registers that cannot have such values.
    #[error("the registers of the saved console have values that they cannot have")]
    Registers,
}

impl Uart {
    /// Returns the state to be saved.
    pub fn save(&self) -> UartState {
        let inner = self.inner();
        UartState {
            registers: inner.registers.clone(),
            backlog: inner.backlog.iter().copied().collect(),
            bytes_out: inner.output.bytes,
        }
    }

    /// Takes over a saved state and drives the interrupt line as it says; the sink stays, and is
    /// given only what it was not given before.
    ///
    /// # Errors
    /// No console can be in such a state; then nothing changes.
    pub fn restore(&self, saved: &UartState) -> Result<(), WrongUart> {
        let UartState {
            registers,
            backlog,
            bytes_out,
        } = saved;
        // A backlog grows past `MAX_BACKLOG` by scheduled input, which waits for no room, but never
        // past this.
        if backlog.len() > MAX_WAITING {
            return Err(WrongUart::Backlog);
        }
        if !registers.are_valid() {
            return Err(WrongUart::Registers);
        }
        let mut inner = self.inner();
        inner.registers = registers.clone();
        inner.backlog = backlog.iter().copied().collect();
        // The digest stays: it covers only what this machine has written.
        inner.output.bytes = *bytes_out;
        inner.output.shown = inner.output.shown.max(*bytes_out);
        inner.settle();
        Ok(())
    }
}
