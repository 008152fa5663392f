//! The console: a 16550A by `vm-superio`, between a sink for output and a gate for input.

mod gate;
mod saved;
mod sink;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crc32fast::Hasher;
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};

pub use gate::{ConsoleInput, GateState, InputGate, InputRecord, MAX_WAITING};
pub use saved::UartState;
pub use sink::{Capture, ConsoleSink, Discard, Flow};

use crate::irq::Interrupt;

/// Registers are `1 << REG_SHIFT` bytes apart.
pub const REG_SHIFT: u32 = 0;
/// Input clock in hertz: the usual 1.8432 MHz, which divides to every standard rate.
pub const CLOCK_HZ: u32 = 1_843_200;
/// Bytes of live input that wait for the guest to read them; further ones wait at the gate.
const MAX_BACKLOG: usize = 64 << 10;
/// Registers of a 16550A.
const REGISTERS: u64 = 8;

/// The UART's interrupt. `vm-superio` tells only of new causes, so the line is edge-triggered.
struct Pulse(Arc<dyn Interrupt>);

impl Trigger for Pulse {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.pulse();
        Ok(())
    }
}

/// Brings output bytes to the sink, and the sink's wish to stop to the machine.
struct Output {
    sink: Box<dyn ConsoleSink>,
    stop: Box<dyn Fn() + Send>,
    bytes: u64,
    /// Of what was written since the machine was made.
    digest: Hasher,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        self.digest.update(bytes);
        if self.sink.write(bytes) == Flow::Stop {
            (self.stop)();
        }
        Ok(bytes.len())
    }

    // vm-superio flushes after every byte; the sink is flushed when the machine rests.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Inner {
    serial: Serial<Pulse, NoEvents, Output>,
    /// Input that passed the gate and found the FIFO full.
    backlog: VecDeque<u8>,
}

impl Inner {
    fn refill(&mut self) {
        let room = self.serial.fifo_capacity().min(self.backlog.len());
        if room > 0 {
            let bytes = self.backlog.make_contiguous();
            // In loop-back mode the FIFO takes nothing and the input waits.
            let taken = self.serial.enqueue_raw_bytes(&bytes[..room]).unwrap_or(0);
            self.backlog.drain(..taken);
        }
    }
}

/// The console UART.
pub struct Uart(Mutex<Inner>);

impl Uart {
    /// A UART at reset. `stop` is called when the sink asks to end the run.
    pub fn new(
        interrupt: Arc<dyn Interrupt>,
        sink: Box<dyn ConsoleSink>,
        stop: Box<dyn Fn() + Send>,
    ) -> Self {
        let output = Output {
            sink,
            stop,
            bytes: 0,
            digest: Hasher::new(),
        };
        Self(Mutex::new(Inner {
            serial: Serial::new(Pulse(interrupt), output),
            backlog: VecDeque::new(),
        }))
    }

    /// Gives the guest `input`, as fast as its FIFO takes it.
    pub fn feed(&self, input: &[u8]) {
        let mut inner = self.inner();
        // A guest that never reads must not fill our memory: what does not fit is lost, as on a real line.
        let room = MAX_WAITING - inner.backlog.len();
        inner.backlog.extend(input.iter().take(room));
        inner.refill();
    }

    /// Bytes of input that it takes now; more would be lost.
    pub fn room(&self) -> usize {
        MAX_BACKLOG.saturating_sub(self.inner().backlog.len())
    }

    /// Reads a register.
    pub fn read(&self, offset: u64) -> u8 {
        let register = offset >> REG_SHIFT;
        if register >= REGISTERS {
            return 0;
        }
        let mut inner = self.inner();
        let value = inner.serial.read(register as u8);
        inner.refill();
        value
    }

    /// Writes a register.
    pub fn write(&self, offset: u64, value: u8) {
        let register = offset >> REG_SHIFT;
        if register < REGISTERS {
            let mut inner = self.inner();
            // Neither our trigger nor our writer fails.
            let _ = inner.serial.write(register as u8, value);
            inner.refill();
        }
    }

    /// Bytes written by the guest so far.
    pub fn bytes_out(&self) -> u64 {
        self.inner().serial.writer().bytes
    }

    /// What the guest has written since the machine was made, in 32 bits.
    pub fn digest(&self) -> u32 {
        self.inner().serial.writer().digest.clone().finalize()
    }

    /// Tells the sink that the machine rests.
    pub fn flush(&self) {
        self.inner().serial.writer_mut().sink.flush();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl DeviceMmio for Uart {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Line(AtomicU64);

    impl Interrupt for Line {
        fn set(&self, _level: bool) {}

        fn pulse(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn uart() -> (Uart, Capture, Arc<Line>) {
        let (capture, line) = (Capture::default(), Arc::new(Line::default()));
        (
            Uart::new(line.clone(), Box::new(capture.clone()), Box::new(|| ())),
            capture,
            line,
        )
    }

    #[test]
    fn output_reaches_the_sink() {
        let (uart, capture, _) = uart();
        for byte in b"hello" {
            uart.write(0, *byte);
        }
        assert_eq!(capture.bytes(), b"hello");
        assert_eq!(uart.bytes_out(), 5);
    }

    #[test]
    fn more_input_than_the_fifo_holds_arrives_in_order() {
        let (uart, _, line) = uart();
        uart.write(1, 1); // interrupt on received data
        let input: Vec<u8> = (0..200).collect();
        uart.feed(&input);
        assert_eq!(line.0.load(Ordering::Relaxed), 1);
        let mut back = Vec::new();
        while uart.read(5) & 1 != 0 {
            back.push(uart.read(0));
        }
        assert_eq!(back, input);
    }

    #[test]
    fn a_sink_can_stop_the_machine() {
        struct Stopper;
        impl ConsoleSink for Stopper {
            fn write(&mut self, bytes: &[u8]) -> Flow {
                if bytes == b"!" {
                    Flow::Stop
                } else {
                    Flow::Continue
                }
            }
        }
        let stops = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&stops);
        let stop = Box::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let uart = Uart::new(Arc::new(Line::default()), Box::new(Stopper), stop);
        uart.write(0, b'?');
        assert_eq!(stops.load(Ordering::Relaxed), 0);
        uart.write(0, b'!');
        assert_eq!(stops.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn offsets_outside_and_wide_accesses_are_harmless() {
        let (uart, capture, _) = uart();
        uart.write(8, b'x');
        uart.write(u64::MAX, b'x');
        assert_eq!(uart.read(u64::MAX), 0);
        uart.mmio_write(MmioAddress(0), 0, b"abcd");
        let mut data = [0xff; 4];
        uart.mmio_read(MmioAddress(0), 5, &mut data);
        assert_eq!((capture.bytes(), data), (b"a".to_vec(), [0x60, 0, 0, 0]));
    }
}
