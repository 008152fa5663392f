//! The console's 16550A under any driver: what it reads, what is sent, and its interrupt line,
//! beside a model that follows the data sheet register by register (PC16550D, June 1995), with the
//! bytes that wait on the line told apart from those that arrived.

use std::collections::VecDeque;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vmm::devices::uart::{Capture, Console, Pl011Uart, REG_SHIFT, Uart};
use vmm_base::testing::LevelLine;

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 512;
/// Bytes that may wait before who types has to.
const ROOM: usize = 64 << 10;
/// Looks at an empty receiver that show that a guest polls.
const POLLS: u32 = 64;

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    Read(u8),
    Write(u8, u8),
    /// A register gets one of the values that drivers write to it.
    Usual(u8, u8),
    /// So many bytes are typed.
    Typed(u8, u8),
    /// The line status is looked at so often.
    Polled(u8),
    /// As drivers serve interrupts: while there is data, at most so many bytes.
    Served(u8),
    /// Any access of the bus.
    Outside(u64, u8),
    /// Another console goes on.
    Moved,
}

/// What the data sheet says of the registers, and the bytes that wait.
#[derive(Default)]
struct Model {
    enabled: u8,
    fifo: Option<u8>,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    received: VecDeque<u8>,
    waiting: VecDeque<u8>,
    overrun: bool,
    empty: bool,
    delta: u8,
    polls: u32,
    sent: Vec<u8>,
    /// Bytes that consoles before this one have sent.
    sent_before: u64,
}

impl Model {
    fn capacity(&self) -> usize {
        if self.fifo.is_some() { 16 } else { 1 }
    }

    fn loops(&self) -> bool {
        self.modem_control & 0x10 != 0
    }

    /// Returns whether bytes come in from the line.
    fn hears(&self) -> bool {
        !self.loops() && (self.enabled & 1 != 0 || self.polls >= POLLS)
    }

    /// Returns the lines of the modem: CTS, DSR and DCD of a terminal that is always there, or in
    /// loop-back RTS, DTR, OUT1, OUT2.
    fn modem(&self) -> u8 {
        if !self.loops() {
            return 0xb0;
        }
        let out = self.modem_control;
        (out & 2) << 3 | (out & 1) << 5 | (out & 4) << 4 | (out & 8) << 4
    }

    /// Returns the interrupt of highest priority (table IV).
    fn cause(&self) -> u8 {
        let wants = |bit: u8| self.enabled & bit != 0;
        let trigger = self
            .fifo
            .map_or(1, |control| [1, 4, 8, 14][usize::from(control >> 6)]);
        match self.received.len() {
            _ if wants(4) && self.overrun => 0x6,
            n if wants(1) && n >= trigger => 0x4,
            n if wants(1) && n > 0 => 0xc,
            _ if wants(2) && self.empty => 0x2,
            _ if wants(8) && self.delta != 0 => 0x0,
            _ => 0x1,
        }
    }

    fn level(&self) -> bool {
        let more = !self.waiting.is_empty() && self.enabled & 1 != 0 && !self.loops();
        more || self.cause() != 1
    }

    fn read(&mut self, register: u8) -> u8 {
        // What shows whether there is data has it arrive.
        if matches!(register, 0 | 2 | 5) && self.hears() {
            while self.received.len() < self.capacity() {
                let Some(byte) = self.waiting.pop_front() else {
                    break;
                };
                self.received.push_back(byte);
            }
        }
        let polls = std::mem::take(&mut self.polls);
        let latch = self.line_control & 0x80 != 0;
        match register {
            0 | 1 if latch => self.divisor[usize::from(register)],
            0 => self.received.pop_front().unwrap_or(0),
            1 => self.enabled,
            2 => {
                let cause = self.cause();
                self.empty &= cause != 2;
                cause | if self.fifo.is_some() { 0xc0 } else { 0 }
            }
            3 => self.line_control,
            4 => self.modem_control,
            5 => {
                let none = self.received.is_empty();
                if none {
                    self.polls = (polls + 1).min(POLLS);
                }
                let lost = std::mem::take(&mut self.overrun);
                0x60 | u8::from(lost) << 1 | u8::from(!none)
            }
            6 => self.modem() | std::mem::take(&mut self.delta),
            7 => self.scratch,
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u8) {
        self.polls = 0;
        let latch = self.line_control & 0x80 != 0;
        match register {
            0 | 1 if latch => self.divisor[usize::from(register)] = value,
            0 => {
                self.empty = true;
                match (self.loops(), self.received.len() < self.capacity()) {
                    (false, _) => self.sent.push(value),
                    (true, true) => self.received.push_back(value),
                    (true, false) => {
                        self.overrun = true;
                        if self.fifo.is_none() {
                            self.received[0] = value;
                        }
                    }
                }
            }
            1 => {
                self.empty |= value & !self.enabled & 2 != 0;
                self.enabled = value & 0xf;
            }
            2 => {
                let fifo = (value & 1 != 0).then_some(value);
                if fifo.is_some() != self.fifo.is_some() || value & 3 == 3 {
                    self.received.clear();
                }
                self.fifo = fifo;
            }
            3 => self.line_control = value,
            4 => {
                let before = self.modem();
                self.modem_control = value & 0x1f;
                let after = self.modem();
                // The ring indicator counts where it ends.
                self.delta |= ((before ^ after) & 0xb0 | before & !after & 0x40) >> 4;
            }
            7 => self.scratch = value,
            _ => {}
        }
    }
}

struct Fixture {
    uart: Uart,
    line: Arc<LevelLine>,
    sink: Capture,
    model: Model,
}

impl Fixture {
    fn new() -> Self {
        let (line, sink) = (Arc::<LevelLine>::default(), Capture::default());
        let uart = Uart::new(line.clone(), Box::new(sink.clone()), Box::new(|| ()));
        let model = Model::default();
        Self {
            uart,
            line,
            sink,
            model,
        }
    }

    fn read(&mut self, register: u8) -> u8 {
        let mut data = [0xff; 4];
        let offset = u64::from(register) << REG_SHIFT;
        self.uart.mmio_read(MmioAddress(0), offset, &mut data);
        let [value, rest @ ..] = data;
        assert_eq!(rest, [0; 3], "a register has a byte");
        assert_eq!(value, self.model.read(register), "register {register}");
        self.check();
        value
    }

    fn write(&mut self, register: u8, value: u8) {
        let data = [value, 0xff];
        let offset = u64::from(register) << REG_SHIFT;
        self.uart.mmio_write(MmioAddress(0), offset, &data);
        self.model.write(register, value);
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.line.is_high(), self.model.level(), "the line");
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Read(register) => _ = self.read(register % 8),
            Step::Write(register, value) => self.write(register % 8, value),
            Step::Usual(register, which) => {
                let (register, values) = [
                    (1, [0, 1, 5, 7]),
                    (2, [0, 1, 7, 0x81]),
                    (3, [3, 0x13, 0x83, 0x80]),
                    (4, [0, 3, 0xb, 0x1b]),
                ][usize::from(register & 3)];
                self.write(register, values[usize::from(which & 3)]);
            }
            Step::Typed(first, count) => {
                let bytes: Vec<u8> = (0..count).map(|n| first.wrapping_add(n)).collect();
                Console::feed(&self.uart, &bytes);
                self.model.waiting.extend(bytes);
                self.check();
            }
            Step::Polled(times) => (0..times % 80).for_each(|_| _ = self.read(5)),
            Step::Served(most) => {
                self.read(2);
                for _ in 0..most {
                    if self.read(5) & 1 == 0 {
                        break;
                    }
                    self.read(0);
                }
            }
            Step::Outside(offset, value) => {
                let offset = offset | 8 << REG_SHIFT;
                assert_eq!(self.uart.read(offset), 0);
                self.uart.write(offset, value);
                self.check();
            }
            Step::Moved => {
                let saved = self.uart.state();
                let next = Self::new();
                next.uart.take_over(&saved).expect("it is of such a one");
                assert_eq!(next.uart.state(), saved);
                other_kind(&self.uart);
                self.sent();
                let mut model = std::mem::take(&mut self.model);
                model.sent_before += std::mem::take(&mut model.sent).len() as u64;
                *self = Self { model, ..next };
                self.check();
            }
        }
    }

    fn sent(&self) {
        let Model {
            sent,
            sent_before,
            waiting,
            ..
        } = &self.model;
        assert_eq!(self.sink.bytes(), *sent, "what was sent");
        let console: &dyn Console = &self.uart;
        assert_eq!(console.digest(), crc32fast::hash(sent));
        assert_eq!(console.bytes_out(), sent_before + sent.len() as u64);
        assert_eq!(console.room(), ROOM.saturating_sub(waiting.len()));
        console.set_digest(console.digest_state());
        console.flush();
    }
}

/// Has a UART of another part refuse the state of `uart`, and the other way round.
fn other_kind(uart: &dyn Console) {
    let (line, sink) = (Arc::<LevelLine>::default(), Capture::default());
    let other = Pl011Uart::new(line, Box::new(sink), Box::new(|| ()));
    let other: &dyn Console = &other;
    assert!(other.take_over(&uart.state()).is_err());
    assert!(uart.take_over(&other.state()).is_err());
    other.feed(b"x");
    assert_eq!((other.room(), other.bytes_out()), (ROOM - 1, 0));
    other.set_digest(other.digest_state());
    assert_eq!(other.digest(), 0);
    other.flush();
    let state = other.state();
    other.take_over(&state).expect("its own");
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let mut place = Fixture::new();
    for step in steps.0.iter().take(STEPS) {
        place.step(step);
    }
    place.sent();
    // Nothing that was typed is lost, whatever was done to the registers before.
    let held = place.model.received.len() + place.model.waiting.len();
    for (register, value) in [(3, 3), (4, 3), (1, 1)] {
        place.write(register, value);
    }
    let mut back = 0;
    while place.read(5) & 1 != 0 {
        place.read(0);
        back += 1;
    }
    assert_eq!(back, held, "bytes that a driver reads");
}
