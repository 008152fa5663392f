//! The console: a 16550A, between a sink for output and a gate for input.

mod gate;
mod registers;
mod saved;
mod sink;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crc32fast::Hasher;
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_base::Interrupt;

pub use gate::{
    Attendance, ConsoleInput, GateState, InputGate, InputRecord, MAX_RECORD, MAX_WAITING,
};
pub use registers::Registers;
pub use saved::{UartState, WrongUart};
pub use sink::{Capture, ConsoleSink, Discard, Flow, MAX_CAPTURE};

/// Registers are `1 << REG_SHIFT` bytes apart.
pub const REG_SHIFT: u32 = 0;
/// Input clock in hertz: the usual 1.8432 MHz, which divides to every standard rate.
pub const CLOCK_HZ: u32 = 1_843_200;
/// Bytes of live input that wait for the guest to read them; further ones wait at the gate.
const MAX_BACKLOG: usize = 64 << 10;
/// Registers of a 16550A.
const REGISTERS: u64 = 8;

/// The guest's output.
struct Output {
    sink: Box<dyn ConsoleSink>,
    stop: Box<dyn Fn() + Send>,
    bytes: u64,
    /// The most that `bytes` has been: what a guest that went back writes once more is not shown
    /// again.
    shown: u64,
    digest: Hasher,
}

impl Output {
    fn send(&mut self, byte: u8) {
        self.bytes += 1;
        // By this digest a replay is compared with its recording.
        self.digest.update(&[byte]);
        if self.bytes <= self.shown {
            return;
        }
        self.shown = self.bytes;
        if self.sink.write(&[byte]) == Flow::Stop {
            (self.stop)();
        }
    }
}

struct Inner {
    registers: Registers,
    /// Input that passed the gate and found no room.
    backlog: VecDeque<u8>,
    output: Output,
    interrupt: Arc<dyn Interrupt>,
    /// The level of the interrupt line.
    level: bool,
}

impl Inner {
    /// Drives the interrupt line as the registers, and what waits for them, say.
    fn settle(&mut self) {
        // The backlog counts as received: its bytes enter the FIFO only when the driver comes to
        // look.
        let more = !self.backlog.is_empty() && self.registers.interrupts_for_more();
        let level = more || self.registers.interrupts();
        // Called after every access, but a controller is told of changes only.
        if level != self.level {
            self.level = level;
            self.interrupt.set(level);
        }
    }
}

/// The console UART.
pub struct Uart(Mutex<Inner>);

impl Uart {
    /// Creates a UART at reset. `stop` is called when the sink asks to end the run.
    pub fn new(
        interrupt: Arc<dyn Interrupt>,
        sink: Box<dyn ConsoleSink>,
        stop: Box<dyn Fn() + Send>,
    ) -> Self {
        let output = Output {
            sink,
            stop,
            bytes: 0,
            shown: 0,
            digest: Hasher::new(),
        };
        Self(Mutex::new(Inner {
            registers: Registers::default(),
            backlog: VecDeque::new(),
            output,
            interrupt,
            level: false,
        }))
    }

    /// Sends the guest `input`, as fast as its FIFO takes it.
    pub fn feed(&self, input: &[u8]) {
        let mut inner = self.inner();
        // A guest that never reads must not fill our memory: what does not fit is lost, as on a
        // real line.
        let room = MAX_WAITING - inner.backlog.len();
        inner.backlog.extend(input.iter().take(room));
        inner.settle();
    }

    /// Returns how many bytes of live input it takes now; further ones are to wait at the gate.
    pub fn room(&self) -> usize {
        MAX_BACKLOG.saturating_sub(self.inner().backlog.len())
    }

    /// Reads a register.
    pub fn read(&self, offset: u64) -> u8 {
        let register = offset >> REG_SHIFT;
        // The window on the bus is a page, most of which is empty.
        if register >= REGISTERS {
            return 0;
        }
        let mut inner = self.inner();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was compared with REGISTERS"
        )]
        let register = register as u8;
        let Inner {
            registers, backlog, ..
        } = &mut *inner;
        // Bytes arrive when the guest looks for them, before the register is read: it must see what
        // it caused to arrive.
        let arrives = registers.room(register).min(backlog.len());
        backlog
            .drain(..arrives)
            .for_each(|byte| registers.receive(byte));
        let value = registers.read(register);
        // A read can end an interrupt: DATA, IIR, LSR and MSR have such effects.
        inner.settle();
        value
    }

    /// Writes a register.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it was compared with REGISTERS"
    )]
    pub fn write(&self, offset: u64, value: u8) {
        let register = offset >> REG_SHIFT;
        if register < REGISTERS {
            let mut inner = self.inner();
            if let Some(byte) = inner.registers.write(register as u8, value) {
                inner.output.send(byte);
            }
            inner.settle();
        }
    }

    /// Returns the number of bytes written by the guest so far.
    pub fn bytes_out(&self) -> u64 {
        self.inner().output.bytes
    }

    /// Returns a CRC-32 of what the guest has written since the machine was made.
    pub fn digest(&self) -> u32 {
        self.inner().output.digest.clone().finalize()
    }

    /// Returns what [`digest`](Self::digest) is made of, to go back to it.
    pub fn digest_state(&self) -> Hasher {
        self.inner().output.digest.clone()
    }

    /// Goes back to a digest of before, after a state of that time was restored.
    pub fn set_digest(&self, digest: Hasher) {
        self.inner().output.digest = digest;
    }

    /// Tells the sink that the machine pauses.
    pub fn flush(&self) {
        self.inner().output.sink.flush();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl DeviceMmio for Uart {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        // Registers are a byte wide: of a wider access only the first byte means anything.
        data.fill(0);
        if let Some(first) = data.first_mut() {
            *first = self.read(offset);
        }
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        if let Some(first) = data.first() {
            self.write(offset, *first);
        }
    }
}
