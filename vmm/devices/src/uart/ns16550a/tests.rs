use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vmm_base::testing::LevelLine;

use super::spec::*;
use super::*;
use crate::uart::{Capture, ConsoleSink, Flow, MAX_WAITING, Uart};

fn uart() -> (Uart, Capture, Arc<LevelLine>) {
    let (capture, line) = (Capture::default(), Arc::new(LevelLine::default()));
    (
        Uart::new(line.clone(), Box::new(capture.clone()), Box::new(|| ())),
        capture,
        line,
    )
}

/// Returns where a register is on the bus.
fn at(register: u8) -> u64 {
    u64::from(register) << REG_SHIFT
}

/// Returns a UART whose driver wants interrupts for received data, with FIFOs that trigger at 8
/// bytes.
fn listening() -> (Uart, Capture, Arc<LevelLine>) {
    let all = uart();
    all.0.write(at(offset::IIR_FCR), 0x80 | fcr::ENABLE);
    all.0.write(at(offset::IER), ier::RECEIVED);
    all
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
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bytes are whatever"
)]
fn input_of_any_length_raises_the_line_until_all_of_it_was_read() {
    for length in [1, 7, 8, 15, 16, 17, 255, 256, 257, 300, 512, 1000, 5000] {
        let (uart, _, line) = listening();
        let input: Vec<u8> = (0..length).map(|n| n as u8).collect();
        uart.feed(&input);
        let mut back = Vec::new();
        // A driver that reads at most 256 bytes an interrupt, as Linux's does.
        while line.is_high() {
            let cause = uart.read(at(offset::IIR_FCR)) & 0xf;
            assert!(matches!(cause, iir::RECEIVED | iir::TIMEOUT), "{cause:#x}");
            for _ in 0..256 {
                if uart.read(at(offset::LSR)) & lsr::DATA == 0 {
                    break;
                }
                back.push(uart.read(at(offset::DATA)));
            }
        }
        assert_eq!(back, input);
    }
}

#[test]
fn fewer_bytes_than_the_trigger_level_are_a_time_out() {
    let (uart, _, line) = listening();
    uart.feed(&[1; 9]);
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::FIFO | iir::RECEIVED);
    // To look changes nothing.
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::FIFO | iir::RECEIVED);
    uart.read(at(offset::DATA));
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::FIFO | iir::RECEIVED);
    uart.read(at(offset::DATA));
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::FIFO | iir::TIMEOUT);
    for _ in 0..7 {
        uart.read(at(offset::DATA));
    }
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::FIFO | iir::NONE);
    assert!(!line.is_high());
}

#[test]
fn nobody_types_before_the_guest_listens() {
    let (uart, _, _) = uart();
    uart.feed(b"typed ahead");
    // As Linux's driver does before it opens the port.
    uart.write(at(offset::IIR_FCR), fcr::ENABLE);
    uart.write(at(offset::IIR_FCR), 0x7);
    uart.write(at(offset::IIR_FCR), 0);
    for register in [offset::LSR, offset::DATA, offset::IIR_FCR, offset::MSR] {
        uart.read(at(register));
    }
    uart.write(at(offset::IER), ier::RECEIVED);
    uart.write(at(offset::IIR_FCR), fcr::ENABLE);
    let back: Vec<u8> = (0..11).map(|_| uart.read(at(offset::DATA))).collect();
    assert_eq!(back, b"typed ahead");
    // And one that polls is heard too.
    uart.write(at(offset::IER), 0);
    uart.feed(b"x");
    let polls = (0..100).find(|_| uart.read(at(offset::LSR)) & lsr::DATA != 0);
    assert!(polls.is_some());
    assert_eq!(uart.read(at(offset::DATA)), b'x');
}

#[test]
fn an_empty_transmitter_is_told_once() {
    let (uart, _, line) = uart();
    uart.write(at(offset::IER), ier::EMPTY);
    assert!(line.is_high());
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::EMPTY);
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::NONE);
    assert!(!line.is_high());
    uart.write(at(offset::DATA), b'a');
    assert!(line.is_high());
    uart.write(at(offset::IER), 0);
    assert!(!line.is_high());
    uart.write(at(offset::IER), ier::EMPTY);
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::EMPTY, "asked anew");
}

#[test]
fn loop_back_hears_itself_and_nobody_else() {
    let (uart, capture, line) = listening();
    uart.write(at(offset::MCR), mcr::LOOP | mcr::RTS | mcr::OUT2);
    uart.feed(b"from outside");
    // Ready and asserting to the far end as well, so what changed is data set ready.
    assert_eq!(uart.read(at(offset::MSR)), msr::CTS | msr::DCD | 0x2);
    assert_eq!(uart.read(at(offset::MSR)), msr::CTS | msr::DCD);
    for n in 0..20 {
        uart.write(at(offset::DATA), n);
    }
    assert_eq!(capture.bytes(), b"");
    uart.write(at(offset::IER), ier::RECEIVED | ier::LINE);
    assert_eq!(uart.read(at(offset::IIR_FCR)), iir::FIFO | iir::LINE);
    assert_eq!(
        uart.read(at(offset::LSR)),
        lsr::IDLE | lsr::DATA | lsr::OVERRUN
    );
    assert_eq!(uart.read(at(offset::LSR)), lsr::IDLE | lsr::DATA);
    let back: Vec<u8> = (0..16).map(|_| uart.read(at(offset::DATA))).collect();
    assert_eq!(back, (0..16).collect::<Vec<u8>>());
    assert!(!line.is_high());
    uart.write(at(offset::MCR), 0);
    assert_eq!(uart.read(at(offset::MSR)), FAR_END | 0x2);
    assert_eq!(uart.read(at(offset::DATA)), b'f');
}

#[test]
fn a_receiver_without_fifo_holds_the_last_byte() {
    let (uart, _, _) = uart();
    uart.write(at(offset::MCR), mcr::LOOP);
    uart.write(at(offset::DATA), 1);
    uart.write(at(offset::DATA), 2);
    assert_eq!(
        uart.read(at(offset::LSR)),
        lsr::IDLE | lsr::DATA | lsr::OVERRUN
    );
    assert_eq!(
        (uart.read(at(offset::DATA)), uart.read(at(offset::DATA))),
        (2, 0)
    );
}

#[test]
fn the_divisor_latch_hides_two_registers() {
    let (uart, capture, _) = listening();
    uart.write(at(offset::LCR), lcr::DLAB | 0x3);
    uart.write(at(offset::DATA), 12);
    uart.write(at(offset::IER), 34);
    assert_eq!(
        (uart.read(at(offset::DATA)), uart.read(at(offset::IER))),
        (12, 34)
    );
    uart.write(at(offset::LCR), 0x3);
    assert_eq!(
        (uart.read(at(offset::IER)), capture.bytes()),
        (ier::RECEIVED, vec![])
    );
    uart.write(at(offset::SCR), 0x5a);
    assert_eq!(
        (uart.read(at(offset::SCR)), uart.read(at(offset::LCR))),
        (0x5a, 0x3)
    );
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
    let uart = Uart::new(Arc::new(LevelLine::default()), Box::new(Stopper), stop);
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

#[test]
fn impossible_saved_states_are_refused_and_change_nothing() {
    let (uart, _, _) = listening();
    let good = uart.save();
    type State = crate::uart::PortState<Registers>;
    let spoilt: [fn(&mut State); 8] = [
        |s| s.backlog = vec![0; MAX_WAITING + 1],
        |s| s.registers.ier = 0x10,
        |s| s.registers.fcr = 0x80,
        |s| s.registers.fcr |= 0x2,
        |s| s.registers.mcr = 0x20,
        |s| s.registers.changes = 0x10,
        |s| s.registers.received = [0; 17].into(),
        |s| s.registers.polls = 65,
    ];
    for spoil in spoilt {
        let mut bad = good.clone();
        bad.registers.scr = 1;
        spoil(&mut bad);
        assert!(uart.restore(&bad).is_err(), "{bad:?}");
        assert_eq!(uart.save(), good);
    }
}

/// What happens to a UART.
#[derive(Clone, Debug)]
enum Step {
    Read(u8),
    Write(u8, u8),
    Feed(Vec<u8>),
    /// Goes on in another one, from a saved state.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8_u8).prop_map(Step::Read),
        4 => Just(Step::Read(offset::DATA)),
        1 => Just(Step::Read(offset::LSR)),
        4 => (0..8_u8, any::<u8>()).prop_map(|(register, value)| Step::Write(register, value)),
        // So that the divisor latch and loop-back do not cover everything else most of the time.
        2 => (0..2_u8).prop_map(|n| Step::Write(offset::MCR, n << 4)),
        2 => Just(Step::Write(offset::LCR, 0x3)),
        2 => (0..16_u8).prop_map(|bits| Step::Write(offset::IER, bits)),
        3 => vec(any::<u8>(), 0..40).prop_map(Step::Feed),
        1 => Just(Step::Move),
    ]
}

/// The same device, written down as a list of rules over its history instead of registers.
#[derive(Default)]
struct Model {
    /// The last byte written to each register that only remembers.
    last: [u8; 8],
    latch: [u8; 2],
    fifo: Vec<u8>,
    line: Vec<u8>,
    overrun: bool,
    empty_untold: bool,
    msr_changes: u8,
    looks: u8,
    sent: Vec<u8>,
}

impl Model {
    fn loops(&self) -> bool {
        self.last[4] & 0x10 != 0
    }

    fn depth(&self) -> usize {
        [1, 16][usize::from(self.last[2] & 1)]
    }

    fn msr_lines(&self) -> u8 {
        let m = self.last[4];
        if !self.loops() {
            return 0xb0;
        }
        (m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4
    }

    fn arrive(&mut self) {
        let listens = self.last[1] & 1 != 0 || self.looks >= 64;
        while listens && !self.loops() && self.fifo.len() < self.depth() && !self.line.is_empty() {
            self.fifo.push(self.line.remove(0));
        }
    }

    fn iir(&self) -> u8 {
        let level = match self.last[2] {
            fcr if fcr & 1 == 0 => 1,
            fcr => [1, 4, 8, 14][usize::from(fcr >> 6)],
        };
        let causes = [
            (4, self.overrun, 6),
            (1, self.fifo.len() >= level, 4),
            (1, !self.fifo.is_empty(), 12),
            (2, self.empty_untold, 2),
            (8, self.msr_changes != 0, 0),
        ];
        let mut causes = causes.into_iter();
        let found = causes.find(|(bit, is, _)| self.last[1] & bit != 0 && *is);
        found.map_or(1, |(_, _, code)| code)
    }

    fn raises(&self) -> bool {
        let more = !self.line.is_empty() && self.last[1] & 1 != 0 && !self.loops();
        more || self.iir() != 1
    }

    fn read(&mut self, register: u8) -> u8 {
        if [0, 2, 5].contains(&register) {
            self.arrive();
        }
        let latched = self.last[3] & 0x80 != 0;
        let looks = std::mem::take(&mut self.looks);
        match register {
            0 | 1 if latched => self.latch[usize::from(register)],
            0 if self.fifo.is_empty() => 0,
            0 => self.fifo.remove(0),
            2 => {
                let iir = self.iir();
                self.empty_untold &= iir != 2;
                iir | ((self.last[2] & 1) * 0xc0)
            }
            5 => {
                self.looks = if self.fifo.is_empty() {
                    64.min(looks + 1)
                } else {
                    0
                };
                let overrun = std::mem::take(&mut self.overrun);
                0x60 | u8::from(overrun) << 1 | u8::from(!self.fifo.is_empty())
            }
            6 => self.msr_lines() | std::mem::take(&mut self.msr_changes),
            other => self.last[usize::from(other)],
        }
    }

    fn write(&mut self, register: u8, value: u8) {
        self.looks = 0;
        let lines = self.msr_lines();
        match register {
            0 | 1 if self.last[3] & 0x80 != 0 => self.latch[usize::from(register)] = value,
            0 => {
                self.empty_untold = true;
                if !self.loops() {
                    self.sent.push(value);
                } else if self.fifo.len() < self.depth() {
                    self.fifo.push(value);
                } else {
                    self.overrun = true;
                    if self.depth() == 1 {
                        self.fifo[0] = value;
                    }
                }
            }
            1 => {
                self.empty_untold |= value & 2 > self.last[1] & 2;
                self.last[1] = value & 0xf;
            }
            2 => {
                if value & 1 != self.last[2] & 1 || value & 3 == 3 {
                    self.fifo.clear();
                }
                self.last[2] = value & (0xc9 * (value & 1));
            }
            4 => self.last[4] = value & 0x1f,
            5 | 6 => {}
            other => self.last[usize::from(other)] = value,
        }
        let now = self.msr_lines();
        let changed = (lines ^ now) & 0xb0 | (lines & !now) & 0x40;
        self.msr_changes |= changed >> 4;
    }
}

proptest! {
    #[test]
    fn it_does_what_the_data_sheet_says(steps in vec(step(), 1..300)) {
        let (mut uart, mut capture, mut line) = uart();
        let mut sent = Vec::new();
        let mut model = Model::default();
        for step in steps {
            match &step {
                Step::Read(register) => {
                    let expected = model.read(*register);
                    prop_assert_eq!(uart.read(at(*register)), expected, "{:?}", step);
                }
                Step::Write(register, value) => {
                    model.write(*register, *value);
                    uart.write(at(*register), *value);
                }
                Step::Feed(bytes) => {
                    model.line.extend(bytes);
                    uart.feed(bytes);
                }
                Step::Move => {
                    let state = uart.save();
                    sent.extend(capture.bytes());
                    (uart, capture, line) = self::uart();
                    uart.restore(&state).unwrap();
                    prop_assert_eq!(uart.save(), state);
                }
            }
            prop_assert_eq!(line.is_high(), model.raises(), "{:?}", step);
        }
        sent.extend(capture.bytes());
        prop_assert_eq!(sent, model.sent);
    }
}
