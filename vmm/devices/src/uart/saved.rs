//! What the console UART *is*, as plain data.

use serde::{Deserialize, Serialize};

use super::{ns16550a, pl011, scif};

/// The state of a UART, of whichever part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// Their registers have different names, and no other name is taken.
#[serde(untagged)]
pub enum UartState {
    /// A 16550A.
    Ns16550a(PortState<ns16550a::Registers>),
    /// A PL011.
    Pl011(PortState<pl011::Registers>),
    /// A SCIF.
    Scif(PortState<scif::Registers>),
}

/// A UART: its registers, and what is on its way to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortState<R> {
    /// Registers and FIFO.
    pub registers: R,
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
    /// The registers of another part.
    #[error("the saved console is another kind of UART")]
    Kind,
}
