//! The PL011, as Linux's driver and as others use it, and beside a model.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vmm_base::testing::LevelLine;

use super::spec::*;
use super::*;
use crate::uart::{Capture, Console, Pl011Uart, PortState, Uart};

fn uart() -> (Pl011Uart, Capture, Arc<LevelLine>) {
    let (capture, line) = (Capture::default(), Arc::new(LevelLine::default()));
    let uart = Pl011Uart::new(line.clone(), Box::new(capture.clone()), Box::new(|| ()));
    (uart, capture, line)
}

/// Returns a UART that Linux's driver has started (drivers/tty/serial/amba-pl011.c,
/// `pl011_startup`).
fn listening() -> (Pl011Uart, Capture, Arc<LevelLine>) {
    let all = uart();
    let uart = &all.0;
    uart.write(offset::ICR, 0x7ff);
    uart.write(offset::IFLS, 0x12);
    uart.write(offset::LCR_H, 0x70);
    uart.write(
        offset::CR,
        cr::UARTEN | cr::TXE | cr::RXE | cr::RTS | cr::DTR,
    );
    uart.write(offset::ICR, interrupt::RT | interrupt::RX);
    while uart.read(offset::FR) & fr::RXFE == 0 {
        uart.read(offset::DR);
    }
    uart.write(offset::IMSC, interrupt::RT | interrupt::RX);
    all
}

#[test]
fn linux_reads_input_of_any_length() {
    for length in [1_usize, 7, 8, 15, 16, 17, 255, 256, 257, 300, 5000] {
        let (uart, _, line) = uart();
        let input: Vec<u8> = (0..length).map(|n| n.to_le_bytes()[0]).collect();
        // Typed ahead: what the driver clears while it starts is not lost.
        uart.feed(&input);
        uart.write(offset::LCR_H, 0x70);
        uart.read(offset::DR);
        uart.write(offset::IMSC, interrupt::RT | interrupt::RX);
        let mut back = Vec::new();
        while line.is_high() {
            // As `pl011_int`: acknowledged first, but for what only reading ends.
            let status = uart.read(offset::RIS) & uart.read(offset::IMSC);
            assert_ne!(status, 0, "an interrupt that nobody made");
            uart.write(offset::ICR, status & !(interrupt::RT | interrupt::RX));
            for _ in 0..256 {
                if uart.read(offset::FR) & fr::RXFE != 0 {
                    break;
                }
                back.push(uart.read(offset::DR).to_le_bytes()[0]);
            }
        }
        assert_eq!(back, input);
    }
}

#[test]
fn the_trigger_level_and_the_time_out_are_told_apart() {
    let (uart, _, line) = listening();
    uart.feed(&[1; 9]);
    assert_eq!(uart.read(offset::RIS), interrupt::RX | interrupt::RT);
    uart.read(offset::DR);
    assert_eq!(uart.read(offset::MIS), interrupt::RX | interrupt::RT);
    uart.read(offset::DR);
    assert_eq!(uart.read(offset::RIS), interrupt::RT);
    for _ in 0..7 {
        assert!(line.is_high());
        uart.read(offset::DR);
    }
    assert_eq!(uart.read(offset::RIS), 0);
    assert!(!line.is_high());
}

#[test]
fn a_transmitter_that_is_empty_again_says_so_until_it_is_told() {
    let (uart, capture, line) = listening();
    uart.write(offset::IMSC, interrupt::TX);
    assert!(!line.is_high(), "only what was sent has it come down");
    uart.write(offset::DR, u32::from(b'a'));
    assert!(line.is_high());
    uart.write(offset::ICR, interrupt::TX);
    assert!(!line.is_high());
    assert_eq!(capture.bytes(), b"a");
    assert_eq!(uart.read(offset::FR), fr::RXFE | fr::TXFE | FAR_END);
    uart.write(offset::CR, cr::UARTEN | cr::RXE);
    uart.write(offset::DR, u32::from(b'b'));
    assert_eq!(capture.bytes(), b"a", "a transmitter that is off");
}

#[test]
fn loop_back_hears_itself_and_loses_what_finds_no_room() {
    let (uart, capture, line) = listening();
    uart.feed(b"from outside");
    uart.write(
        offset::CR,
        cr::UARTEN | cr::TXE | cr::RXE | cr::LBE | cr::OUT2,
    );
    assert_eq!(uart.read(offset::RIS) & 0xf, 0xf, "all four lines changed");
    for n in 0..18 {
        uart.write(offset::DR, n);
    }
    assert!(line.is_high());
    assert_eq!(uart.read(offset::RSR_ECR), RSR_OVERRUN);
    assert_eq!(uart.read(offset::FR), fr::RXFF | fr::TXFE | fr::RI);
    let back: Vec<u32> = (0..16).map(|_| uart.read(offset::DR)).collect();
    assert_eq!(back, (0..16).collect::<Vec<u32>>());
    uart.write(offset::DR, 7);
    assert_eq!(uart.read(offset::DR), 7 | DR_OVERRUN);
    uart.write(offset::RSR_ECR, 0);
    assert_eq!((uart.read(offset::RSR_ECR), uart.read(offset::DR)), (0, 0));
    assert_eq!(capture.bytes(), b"");
}

#[test]
fn the_part_says_what_it_is_and_any_access_is_answered() {
    let (uart, capture, _) = uart();
    let ids: Vec<u32> = (0..8).map(|n| uart.read(offset::ID + 4 * n)).collect();
    // As Linux's AMBA bus puts them together (drivers/amba/bus.c).
    let word = |ids: &[u32]| ids.iter().rev().fold(0, |word, id| word << 8 | id);
    assert_eq!(
        (word(&ids[..4]), word(&ids[4..])),
        (0x0024_1011, 0xb105_f00d)
    );
    for at in (0..0x1000).chain([u64::MAX]) {
        for size in [1, 2, 4, 8, 16] {
            let mut data = vec![0; size];
            uart.mmio_write(MmioAddress(0), at, &data);
            uart.mmio_read(MmioAddress(0), at, &mut data);
        }
    }
    uart.write(offset::CR, cr::UARTEN | cr::TXE);
    let sent = capture.bytes().len();
    uart.mmio_write(MmioAddress(0), 0, &[b'x', 0]);
    uart.mmio_write(MmioAddress(0), 2, b"yy");
    assert_eq!(capture.bytes()[sent..], *b"x");
}

#[test]
fn impossible_saved_states_are_refused_and_change_nothing() {
    type State = PortState<Registers>;
    let (uart, _, _) = listening();
    let good = uart.save();
    let spoilt: [fn(&mut State); 8] = [
        |s| s.backlog = vec![0; crate::uart::MAX_WAITING + 1],
        |s| s.registers.imsc = 0x800,
        |s| s.registers.ris = 1 << 7,
        |s| s.registers.cr = 1 << 3,
        |s| s.registers.lcr_h = 0x100,
        |s| s.registers.ifls = 0x40,
        |s| s.registers.received = [(0, false); 17].into(),
        |s| s.registers.polls = 65,
    ];
    for spoil in spoilt {
        let mut bad = good.clone();
        bad.registers.ibrd = 1;
        spoil(&mut bad);
        assert!(uart.restore(&bad).is_err(), "{bad:?}");
        assert_eq!(uart.save(), good);
    }
    // The state of one part is not that of another, in a file either.
    let other = Uart::new(
        Arc::new(LevelLine::default()),
        Box::new(Capture::default()),
        Box::new(|| ()),
    );
    for (from, to) in [
        (&uart as &dyn Console, &other as &dyn Console),
        (&other, &uart),
    ] {
        let text = serde_json::to_string(&from.state()).unwrap();
        let read = serde_json::from_str(&text).unwrap();
        assert_eq!(from.state(), read);
        assert!(to.take_over(&read).is_err());
        from.take_over(&read).unwrap();
    }
}

/// What happens to a UART.
#[derive(Clone, Debug)]
enum Step {
    Read(u64),
    Write(u64, u32),
    Feed(Vec<u8>),
    /// Goes on in another one, from a saved state.
    Move,
}

const USUAL: [u64; 11] = [
    offset::DR,
    offset::RSR_ECR,
    offset::FR,
    offset::LCR_H,
    offset::CR,
    offset::IFLS,
    offset::IMSC,
    offset::RIS,
    offset::MIS,
    offset::ICR,
    offset::IBRD,
];

fn step() -> impl Strategy<Value = Step> {
    let on = cr::UARTEN | cr::TXE | cr::RXE;
    prop_oneof![
        6 => proptest::sample::select(&USUAL[..]).prop_map(Step::Read),
        4 => (proptest::sample::select(&USUAL[..]), any::<u32>()).prop_map(|(at, v)| Step::Write(at, v)),
        3 => (0..0x100_u32).prop_map(|v| Step::Write(offset::DR, v)),
        3 => (0..2_u32).prop_map(move |n| Step::Write(offset::CR, on | n << 7)),
        2 => (0..2_u32).prop_map(|n| Step::Write(offset::LCR_H, 0x60 | n << 4)),
        2 => Just(Step::Write(offset::IMSC, 0x50)),
        3 => vec(any::<u8>(), 0..40).prop_map(Step::Feed),
        1 => Just(Step::Move),
    ]
}

/// The same device, written down as rules over what happened instead of registers.
struct Model {
    /// The last word written to each register that only remembers, by offset.
    last: std::collections::BTreeMap<u64, u32>,
    fifo: Vec<u32>,
    line: Vec<u8>,
    raw: u32,
    error: bool,
    gap: bool,
    looks: u32,
    sent: Vec<u8>,
}

impl Model {
    fn new() -> Self {
        Self {
            last: [(offset::CR, 0x301), (offset::IFLS, 0x12)].into(),
            fifo: Vec::new(),
            line: Vec::new(),
            raw: 0,
            error: false,
            gap: false,
            looks: 0,
            sent: Vec::new(),
        }
    }

    fn get(&self, at: u64) -> u32 {
        self.last.get(&at).copied().unwrap_or(0)
    }

    fn deep(&self) -> bool {
        self.get(offset::LCR_H) & 0x10 != 0
    }

    fn depth(&self) -> usize {
        if self.deep() { 16 } else { 1 }
    }

    /// The trigger level in sixteenths of the FIFO.
    fn level(&self) -> usize {
        match (self.deep(), self.get(offset::IFLS) >> 3 & 7) {
            (false, _) => 1,
            (true, n @ 0..=2) => 2 << n,
            (true, 3) => 12,
            (true, _) => 14,
        }
    }

    fn on(&self, bits: u32) -> bool {
        self.get(offset::CR) & bits == bits
    }

    fn hears(&self) -> bool {
        let wanted = self.get(offset::IMSC) & 0x50 != 0 || self.looks >= 64;
        wanted && self.on(0x201) && !self.on(0x80)
    }

    fn put(&mut self, byte: u8) {
        if self.fifo.len() == self.depth() {
            (self.error, self.gap) = (true, true);
            self.raw |= 0x400;
            return;
        }
        let gap = u32::from(std::mem::take(&mut self.gap)) << 11;
        self.fifo.push(u32::from(byte) | gap);
        self.raw |= 0x40;
        if self.fifo.len() >= self.level() {
            self.raw |= 0x10;
        }
    }

    fn modem(&self) -> u32 {
        let c = self.get(offset::CR);
        if !self.on(0x80) {
            return 7;
        }
        (c >> 11 & 1) | (c >> 10 & 1) << 1 | (c >> 12 & 1) << 2 | (c >> 13 & 1) << 8
    }

    fn read(&mut self, at: u64) -> u32 {
        if [offset::DR, offset::FR, offset::RIS, offset::MIS].contains(&at) {
            while self.hears() && self.fifo.len() < self.depth() && !self.line.is_empty() {
                let byte = self.line.remove(0);
                self.put(byte);
            }
        }
        let looks = std::mem::take(&mut self.looks);
        match at {
            offset::DR if self.fifo.is_empty() => 0,
            offset::DR => {
                let byte = self.fifo.remove(0);
                if self.fifo.len() < self.level() {
                    self.raw &= !0x10;
                }
                if self.fifo.is_empty() {
                    self.raw &= !0x40;
                }
                byte
            }
            offset::RSR_ECR => u32::from(self.error) << 3,
            offset::FR => {
                let (empty, full) = (self.fifo.is_empty(), self.fifo.len() == self.depth());
                if empty {
                    self.looks = (looks + 1).min(64);
                }
                0x80 | u32::from(empty) << 4 | u32::from(full) << 6 | self.modem()
            }
            offset::RIS => self.raw,
            offset::MIS => self.raw & self.get(offset::IMSC),
            offset::ICR => 0,
            other => self.get(other),
        }
    }

    fn write(&mut self, at: u64, value: u32) {
        self.looks = 0;
        let modem = self.modem();
        match at {
            offset::DR if !self.on(0x101) => {}
            offset::DR => {
                self.raw |= 0x20;
                let byte = value.to_le_bytes()[0];
                match (self.on(0x80), self.on(0x200)) {
                    (false, _) => self.sent.push(byte),
                    (true, true) => self.put(byte),
                    (true, false) => {}
                }
            }
            offset::RSR_ECR => self.error = false,
            offset::ICR => self.raw &= !value,
            offset::FR | offset::RIS | offset::MIS => {}
            _ => {
                let bits = match at {
                    offset::LCR_H => 0xff,
                    offset::CR => 0xff87,
                    offset::IFLS => 0x3f,
                    offset::IMSC => 0x7ff,
                    _ => 0xffff,
                };
                if at == offset::LCR_H && (value ^ self.get(at)) & 0x10 != 0 {
                    self.fifo.clear();
                    self.raw &= !0x50;
                }
                self.last.insert(at, value & bits);
            }
        }
        let changed = modem ^ self.modem();
        self.raw |= changed >> 8 & 1 | (changed & 1) << 1 | changed & 4 | (changed & 2) << 2;
    }

    fn raises(&self) -> bool {
        let wanted = self.get(offset::IMSC) & 0x50 != 0;
        let room = self.fifo.len() < self.depth();
        let more = wanted && self.hears() && room && !self.line.is_empty();
        more || self.raw & self.get(offset::IMSC) != 0
    }
}

proptest! {
    #[test]
    fn it_does_what_the_manual_says(steps in vec(step(), 1..300)) {
        let (mut uart, mut capture, mut line) = uart();
        let mut sent = Vec::new();
        let mut model = Model::new();
        for step in steps {
            match &step {
                Step::Read(at) => {
                    let expected = model.read(*at);
                    prop_assert_eq!(uart.read(*at), expected, "{:?}", step);
                }
                Step::Write(at, value) => {
                    model.write(*at, *value);
                    uart.write(*at, *value);
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
