//! A UART apart from which registers it has: where its bytes come from and go to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crc32fast::Hasher;
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_base::Interrupt;

use super::gate::MAX_WAITING;
use super::saved::{PortState, UartState, WrongUart};
use super::sink::{ConsoleSink, Flow};
use super::{ns16550a, pl011, scif};

/// Bytes of live input that wait for the guest to read them; further ones wait at the gate.
const MAX_BACKLOG: usize = 64 << 10;

/// The registers of a part, as plain data, apart from where its bytes come from and go to.
///
/// Both lines are infinitely fast. What is written is sent at once, so the transmitter is always
/// empty. And what is going to arrive does so when the guest looks for it, as far as there is room.
pub trait RegisterFile: Clone + Default + Send {
    /// What a register holds.
    type Word: Copy;

    /// Puts what was read at `offset` on the bus.
    fn to_bus(offset: u64, word: Self::Word, data: &mut [u8]);

    /// Returns what an access of the bus writes at `offset`, if that part takes it.
    fn from_bus(offset: u64, data: &[u8]) -> Option<Self::Word>;

    /// Returns whether the registers can have these values.
    fn are_valid(&self) -> bool;

    /// Returns whether the interrupt output is high for what has happened.
    fn interrupts(&self) -> bool;

    /// Returns how many bytes the receiver takes from the line when the guest reads at `offset`;
    /// none if the register there does not show them.
    fn room(&self, offset: u64) -> usize;

    /// Returns whether the interrupt output is high for a byte that is on the line.
    fn interrupts_for_more(&self) -> bool;

    /// Receives a byte.
    fn receive(&mut self, byte: u8);

    /// Reads the register at `offset`; there may be none.
    fn read(&mut self, offset: u64) -> Self::Word;

    /// Writes the register at `offset`; there may be none. Returns the byte that is sent, if one
    /// is.
    fn write(&mut self, offset: u64, word: Self::Word) -> Option<u8>;
}

/// The machine's console, whichever UART it is.
pub trait Console: Send + Sync {
    /// Sends the guest `input`, as fast as its FIFO takes it.
    fn feed(&self, input: &[u8]);

    /// Returns how many bytes of live input it takes now; further ones are to wait at the gate.
    fn room(&self) -> usize;

    /// Returns the number of bytes written by the guest so far.
    fn bytes_out(&self) -> u64;

    /// Returns a CRC-32 of what the guest has written since the machine was made.
    fn digest(&self) -> u32;

    /// Returns what [`digest`](Self::digest) is made of, to go back to it.
    fn digest_state(&self) -> Hasher;

    /// Goes back to a digest of before, after a state of that time was restored.
    fn set_digest(&self, digest: Hasher);

    /// Tells the sink that the machine pauses.
    fn flush(&self);

    /// Returns the state to be saved.
    fn state(&self) -> UartState;

    /// Takes over a saved state and drives the interrupt line as it says; the sink stays, and is
    /// given only what it was not given before.
    ///
    /// # Errors
    /// No such console can be in such a state; then nothing changes.
    fn take_over(&self, saved: &UartState) -> Result<(), WrongUart>;
}

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

struct Inner<R> {
    registers: R,
    /// Input that passed the gate and found no room.
    backlog: VecDeque<u8>,
    output: Output,
    interrupt: Arc<dyn Interrupt>,
    /// The level of the interrupt line.
    level: bool,
}

impl<R: RegisterFile> Inner<R> {
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

/// A UART with the registers of some part.
pub struct SerialPort<R>(Mutex<Inner<R>>);

impl<R: RegisterFile> SerialPort<R> {
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
            registers: R::default(),
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

    /// Reads the register at `offset`; there may be none.
    pub fn read(&self, offset: u64) -> R::Word {
        let mut inner = self.inner();
        let Inner {
            registers, backlog, ..
        } = &mut *inner;
        // Bytes arrive when the guest looks for them, before the register is read: it must see what
        // it caused to arrive.
        let arrives = registers.room(offset).min(backlog.len());
        backlog
            .drain(..arrives)
            .for_each(|byte| registers.receive(byte));
        let value = registers.read(offset);
        // A read can end an interrupt.
        inner.settle();
        value
    }

    /// Writes the register at `offset`; there may be none.
    pub fn write(&self, offset: u64, value: R::Word) {
        let mut inner = self.inner();
        if let Some(byte) = inner.registers.write(offset, value) {
            inner.output.send(byte);
        }
        inner.settle();
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> PortState<R> {
        let inner = self.inner();
        PortState {
            registers: inner.registers.clone(),
            backlog: inner.backlog.iter().copied().collect(),
            bytes_out: inner.output.bytes,
        }
    }

    /// Takes over a saved state and drives the interrupt line as it says; the sink stays, and is
    /// given only what it was not given before.
    ///
    /// # Errors
    /// No such UART can be in such a state; then nothing changes.
    pub fn restore(&self, saved: &PortState<R>) -> Result<(), WrongUart> {
        let PortState {
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

    fn inner(&self) -> MutexGuard<'_, Inner<R>> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl<R: RegisterFile> DeviceMmio for SerialPort<R> {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        R::to_bus(offset, self.read(offset), data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        if let Some(word) = R::from_bus(offset, data) {
            self.write(offset, word);
        }
    }
}

/// Implements [`Console`] for a UART with the registers of a part, by its variant of [`UartState`].
macro_rules! console {
    ($registers:ty, $kind:path) => {
        impl Console for SerialPort<$registers> {
            fn feed(&self, input: &[u8]) {
                Self::feed(self, input);
            }

            fn room(&self) -> usize {
                Self::room(self)
            }

            fn bytes_out(&self) -> u64 {
                Self::bytes_out(self)
            }

            fn digest(&self) -> u32 {
                Self::digest(self)
            }

            fn digest_state(&self) -> Hasher {
                Self::digest_state(self)
            }

            fn set_digest(&self, digest: Hasher) {
                Self::set_digest(self, digest);
            }

            fn flush(&self) {
                Self::flush(self);
            }

            fn state(&self) -> UartState {
                $kind(self.save())
            }

            fn take_over(&self, saved: &UartState) -> Result<(), WrongUart> {
                match saved {
                    $kind(saved) => self.restore(saved),
                    _ => Err(WrongUart::Kind),
                }
            }
        }
    };
}

console!(ns16550a::Registers, UartState::Ns16550a);
console!(pl011::Registers, UartState::Pl011);
console!(scif::Registers, UartState::Scif);
