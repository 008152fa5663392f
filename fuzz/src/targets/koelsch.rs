//! The devices of an R-Car SoC under any driver, in any saved state: nothing panics, the interrupt
//! lines are what the registers say, no step waits for ever, and a state that was saved is taken
//! over again.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vm_memory::{Bytes, GuestAddress};
use vmm::devices::alarm::Alarm;
use vmm::devices::ram::{DmaSpace, GuestRam};
use vmm::devices::renesas::blocks::{Block, Kind};
use vmm::devices::renesas::dmac::{CHANNELS, ChannelWindow, CommonWindow, Dmac};
use vmm::devices::uart::{Capture, Console, ScifUart};
use vmm_base::testing::LevelLine;
use vmm_base::{Clock, VirtualClock};

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 256;
/// Bytes of RAM.
const RAM: usize = 64 << 10;
const KINDS: [Kind; 8] = [
    Kind::Clocks,
    Kind::Reset,
    Kind::PowerDomains,
    Kind::CorePower,
    Kind::Product,
    Kind::Pins,
    Kind::Counter,
    Kind::ExternalInterrupts,
];
const BASE: MmioAddress = MmioAddress(0);

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    /// A register of the DMA controller that all channels share.
    Common(u8, u32),
    /// One of a channel.
    Channel(u8, u8, u32),
    /// A transfer in memory: channel, source, destination, units, and control.
    Transfer(u8, u16, u16, u8, u32),
    /// The same with descriptors at an address, and their number.
    Chain(u8, u16, u8, u32),
    /// Bytes in memory.
    Memory(u16, u32),
    Uart(u8, u16),
    Typed(u8),
    /// A register of a block.
    Block(u8, u16, u32),
    /// So many nanoseconds pass.
    Pass(u32),
    /// Any access of the bus, of any width.
    Access(u8, u64, [u8; 9], bool),
    /// All of them go on in others.
    Moved,
    /// A byte of each saved state is another.
    Damaged(u16, u8),
}

struct Place {
    clock: Arc<VirtualClock>,
    ram: Arc<GuestRam>,
    /// Those of the channels, of address errors, and of the console.
    lines: Vec<Arc<LevelLine>>,
    dmac: Arc<Dmac>,
    uart: ScifUart,
    blocks: [Block; KINDS.len()],
}

impl Place {
    fn new(clock: Arc<VirtualClock>, ram: Arc<GuestRam>) -> Self {
        let lines: Vec<Arc<LevelLine>> = (0..CHANNELS + 2).map(|_| Arc::default()).collect();
        let quiet = Box::new(|| ());
        let dmac = Dmac::new(clock.clone(), lines[CHANNELS].clone(), quiet.clone());
        for line in &lines[..CHANNELS] {
            dmac.add_channel(DmaSpace::pass_through(Arc::clone(&ram)), line.clone());
        }
        Self {
            dmac: Arc::new(dmac),
            uart: ScifUart::new(
                lines[CHANNELS + 1].clone(),
                Box::new(Capture::default()),
                quiet,
            ),
            blocks: KINDS.map(Block::new),
            lines,
            clock,
            ram,
        }
    }

    fn step(&mut self, step: &Step) {
        let channel = |number: u8| usize::from(number) % CHANNELS;
        match *step {
            Step::Common(register, value) => {
                let at = u64::from(register) & !3;
                self.dmac.write(at, value);
                self.dmac.read(at);
            }
            Step::Channel(number, register, value) => {
                let at = u64::from(register) & 0x7c;
                self.dmac.write_channel(channel(number), at, value);
                self.dmac.read_channel(channel(number), at);
            }
            Step::Transfer(number, from, to, units, control) => {
                self.dmac.write(0x60, 1);
                for (at, value) in [
                    (0, u32::from(from)),
                    (4, u32::from(to)),
                    (8, u32::from(units) << 4),
                    // Automatic requests, and memory to memory in units of any size.
                    (0xc, control & !0xf00 | 0x401),
                ] {
                    self.dmac.write_channel(channel(number), at, value);
                }
            }
            Step::Chain(number, list, count, control) => {
                self.dmac.write(0x60, 1);
                for (at, value) in [
                    (0x50, u32::from(list) | 1),
                    (0x1c, u32::from(count) << 24 | 1 << 15),
                    (0xc, control & !0xf00 | 0x1e40_0401),
                ] {
                    self.dmac.write_channel(channel(number), at, value);
                }
            }
            // What a driver puts beyond its memory is not there.
            Step::Memory(at, word) => {
                let _ = self.ram.write_obj(word, GuestAddress(at.into()));
            }
            Step::Uart(register, value) => {
                let at = (u64::from(register) * 4) & 0x3f;
                self.uart.write(at, value);
                self.uart.read(at);
            }
            Step::Typed(byte) => self.uart.feed(&[byte; 20]),
            Step::Block(which, offset, value) => {
                let block = &self.blocks[usize::from(which) % KINDS.len()];
                let at = u64::from(offset) & 0xffc;
                block.write(at, value);
                block.read(at);
            }
            Step::Pass(ns) => {
                self.clock.skip_to(self.clock.now_ns() + u64::from(ns));
                self.dmac.tick();
            }
            Step::Access(which, offset, bytes, write) => self.access(which, offset, bytes, write),
            Step::Moved => self.go_on_elsewhere(),
            Step::Damaged(at, byte) => self.damage(at, byte),
        }
        self.check();
    }

    fn access(&self, which: u8, offset: u64, bytes: [u8; 9], write: bool) {
        let mut data = bytes[..usize::from(which >> 2) % 10].to_vec();
        let common = CommonWindow(Arc::clone(&self.dmac));
        let channel = ChannelWindow(Arc::clone(&self.dmac), usize::from(bytes[8]));
        let block = &self.blocks[usize::from(bytes[8]) % KINDS.len()];
        let device: &dyn DeviceMmio = match which & 3 {
            0 => &common,
            1 => &channel,
            2 => block,
            _ => &self.uart,
        };
        match write {
            true => device.mmio_write(BASE, offset, &data),
            false => device.mmio_read(BASE, offset, &mut data),
        }
    }

    fn go_on_elsewhere(&mut self) {
        let next = Self::new(Arc::clone(&self.clock), Arc::clone(&self.ram));
        let (dmac, uart) = (self.dmac.save(), self.uart.state());
        next.dmac.restore(&dmac).expect("it is of such a one");
        next.uart.take_over(&uart).expect("it is of such a one");
        assert_eq!((next.dmac.save(), next.uart.state()), (dmac, uart));
        for (next, block) in next.blocks.iter().zip(&self.blocks) {
            assert!(next.restore(&block.save()));
            assert_eq!(next.save(), block.save());
        }
        *self = next;
    }

    /// Has each device take over a state that no device had, if it takes it.
    fn damage(&mut self, at: u16, byte: u8) {
        let change = |text: serde_json::Result<String>| {
            let mut bytes = text.expect("it is plain data").into_bytes();
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
            bytes
        };
        let dmac = change(serde_json::to_string(&self.dmac.save()));
        if let Ok(state) = serde_json::from_slice(&dmac) {
            let _ = self.dmac.restore(&state);
        }
        let uart = change(serde_json::to_string(&self.uart.state()));
        if let Ok(state) = serde_json::from_slice(&uart) {
            let _ = self.uart.take_over(&state);
        }
        let block = change(serde_json::to_string(&self.blocks[0].save()));
        if let Ok(state) = serde_json::from_slice(&block) {
            self.blocks[0].restore(&state);
        }
    }

    fn check(&self) {
        let requests = self.dmac.read(0x20);
        for (channel, line) in self.lines[..CHANNELS].iter().enumerate() {
            assert_eq!(line.is_high(), requests >> channel & 1 != 0);
        }
        assert_eq!(
            self.lines[CHANNELS].is_high(),
            self.dmac.read(0x60) & 4 != 0
        );
        // The longest burst is a page, of 4 ns a byte.
        let next = self.dmac.next_alarm();
        assert!(next.is_none_or(|next| next <= self.clock.now_ns() + 4 * 4096));
        // A byte that waits raises the line, and so does an empty transmitter that is to.
        if self.uart.read(0x08) & 0x80 != 0 {
            assert!(self.lines[CHANNELS + 1].is_high());
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM)]).expect("some memory");
    let mut place = Place::new(Arc::default(), Arc::new(ram));
    for step in steps.0.iter().take(STEPS) {
        place.step(step);
    }
}
