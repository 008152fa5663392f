//! What the console UART *is*, as plain data.

use std::convert::Infallible;
use std::sync::Arc;

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use vm_superio::serial::{Error, NoEvents};
use vm_superio::{Serial, SerialState};

use super::{Discard, MAX_WAITING, Output, Pulse, Uart};

/// The UART: its registers, and what is on its way to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UartState {
    /// Registers and FIFO.
    #[serde(with = "SerialData")]
    pub serial: SerialState,
    /// Input that found the FIFO full.
    pub backlog: Vec<u8>,
    /// Bytes written by the guest so far.
    pub bytes_out: u64,
}

/// [`SerialState`], which has no `serde` of its own.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SerialState")]
struct SerialData {
    baud_divisor_low: u8,
    baud_divisor_high: u8,
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    in_buffer: Vec<u8>,
}

impl Uart {
    /// The state, to be saved.
    pub fn save(&self) -> UartState {
        let inner = self.inner();
        UartState {
            serial: inner.serial.state(),
            backlog: inner.backlog.iter().copied().collect(),
            bytes_out: inner.serial.writer().bytes,
        }
    }

    /// Takes over a saved state; the sink stays. `vm-superio` may send an interrupt for what is pending: the controller's
    /// own state is to be restored after this.
    ///
    /// # Errors
    /// If more waits than can; then nothing changes.
    pub fn restore(&self, saved: &UartState) -> Result<(), Error<Infallible>> {
        let UartState {
            serial,
            backlog,
            bytes_out,
        } = saved;
        if backlog.len() > MAX_WAITING {
            return Err(Error::FullFifo);
        }
        let mut inner = self.inner();
        let trigger = Pulse(Arc::clone(&inner.serial.interrupt_evt().0));
        // The sink is put where it belongs below.
        let nowhere = Output {
            sink: Box::new(Discard),
            stop: Box::new(|| ()),
            bytes: 0,
            digest: Hasher::new(),
        };
        let serial = Serial::from_state(serial, trigger, NoEvents, nowhere)?;
        let output = std::mem::replace(&mut inner.serial, serial).into_writer();
        *inner.serial.writer_mut() = Output {
            bytes: *bytes_out,
            ..output
        };
        inner.backlog = backlog.iter().copied().collect();
        Ok(())
    }
}
