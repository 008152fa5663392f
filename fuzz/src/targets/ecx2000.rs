//! The devices of Calxeda's ECX-2000 under any driver, in any saved state, and its device tree
//! damaged in any way: nothing panics, the interrupt lines are what the registers say, memory is
//! written only where a command names it, and a state that was saved is taken over again.

use std::io::Write;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use vm_device::bus::MmioAddress;
use vm_device::{DeviceMmio, MutDeviceMmio};
use vm_memory::{Bytes, GuestAddress};
use vmm::devices::ahci::Ahci;
use vmm::devices::alarm::Alarm;
use vmm::devices::disk::{Access, Disk};
use vmm::devices::ram::{DmaSpace, GuestRam};
use vmm::devices::sp804::DualTimer;
use vmm::devices::uart::{Capture, Console, Pl011Uart};
use vmm::devices::virtio::schedule::GoesOn;
use vmm::machine::fdt::{Chosen, SEED_BYTES, check, complete};
use vmm::machine::layout::Range;
use vmm_base::VirtualClock;
use vmm_base::testing::LevelLine;

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 256;
/// Bytes of RAM.
const RAM: usize = 64 << 10;
/// Sectors of the disk.
const SECTORS: usize = 8;
/// Where the driver has its command list, and the tables of its commands.
const LIST: u32 = 0x1000;
const TABLES: u32 = 0x2000;

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    /// A register of the SATA controller: its own, or the port's, of which bit 7 tells.
    Sata(u8, u32),
    /// A command of the disk: slot, command, features, address, count and regions.
    Command(u8, u8, u8, u8, u8, [(u16, u16); 3]),
    /// The port is started as drivers do.
    Start,
    /// Bytes in memory.
    Memory(u16, u32),
    Uart(u8, u16),
    Typed(u8),
    Timer(u8, u32),
    /// So many nanoseconds pass.
    Pass(u32),
    /// Any access of the bus, of any width, of one of the three.
    Access(u8, u64, [u8; 9], bool),
    /// All of them go on in others.
    Moved,
    /// A byte of each saved state is another.
    Damaged(u16, u8),
}

struct Place {
    clock: Arc<VirtualClock>,
    ram: Arc<GuestRam>,
    lines: [Arc<LevelLine>; 3],
    sata: Ahci,
    uart: Pl011Uart,
    timer: DualTimer,
}

impl Place {
    fn new(clock: Arc<VirtualClock>, ram: Arc<GuestRam>) -> Self {
        let lines: [Arc<LevelLine>; 3] = std::array::from_fn(|_| Arc::default());
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&[0x5a; SECTORS * 512])
            .expect("it is written");
        let disk = Disk::open(file.path(), Access::Overlay).expect("a disk");
        let dma = DmaSpace::pass_through(Arc::clone(&ram));
        let quiet = Box::new(|| ());
        Self {
            sata: Ahci::new(Some(disk), "fuzz", dma, lines[0].clone()),
            uart: Pl011Uart::new(
                lines[1].clone(),
                Box::new(Capture::default()),
                quiet.clone(),
            ),
            timer: DualTimer::new(clock.clone(), 150_000_000, lines[2].clone(), quiet),
            lines,
            clock,
            ram,
        }
    }

    fn put(&self, at: u32, bytes: &[u8]) {
        // What a driver puts beyond its memory is not there.
        let _ = self.ram.write_slice(bytes, GuestAddress(at.into()));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Sata(register, value) => {
                let at = u64::from(register & 0x7f) & !3;
                let at = if register & 0x80 == 0 { at } else { 0x100 + at };
                self.sata.write(at, value);
                self.sata.read(at);
            }
            Step::Command(slot, command, features, lba, count, regions) => {
                let slot = slot % 32;
                let table = TABLES + u32::from(slot) * 0x100;
                let mut fis = [0_u8; 20];
                let fields = [
                    (0, 0x27),
                    (1, 0x80),
                    (2, command),
                    (3, features),
                    (4, lba),
                    (12, count),
                ];
                fields.iter().for_each(|(at, byte)| fis[*at] = *byte);
                self.put(table, &fis);
                for (n, (at, length)) in (0..).zip(regions) {
                    let words = [at.into(), 0, 0, u32::from(length)].map(u32::to_le_bytes);
                    self.put(table + 0x80 + n * 16, &words.concat());
                }
                let header = [3 << 16 | 5, 0, table, 0].map(u32::to_le_bytes).concat();
                self.put(LIST + u32::from(slot) * 32, &header);
                self.sata.write(0x134, 1 << slot);
                self.sata.write(0x138, 1 << slot);
            }
            Step::Start => self.start(),
            Step::Memory(at, word) => self.put(at.into(), &word.to_le_bytes()),
            Step::Uart(register, value) => {
                let at = (u64::from(register) * 4) & 0x7f;
                self.uart.write(at, value.into());
                self.uart.read(at);
            }
            Step::Typed(byte) => self.uart.feed(&[byte; 20]),
            Step::Timer(register, value) => {
                let at = (u64::from(register) * 4) & 0x3f;
                self.timer.write(at, value);
                self.timer.read(at);
            }
            Step::Pass(ns) => {
                self.clock
                    .skip_to(vmm_base::Clock::now_ns(&*self.clock) + u64::from(ns));
                self.timer.tick();
                let now = vmm_base::Clock::now_ns(&*self.clock);
                assert!(self.timer.next_alarm().is_none_or(|next| next > now));
                self.sata.go_on(now);
            }
            Step::Access(which, offset, bytes, write) => {
                let mut data = bytes[..usize::from(which >> 2) % 10].to_vec();
                let base = MmioAddress(0);
                match (which & 3, write) {
                    (0, true) => self.sata.mmio_write(base, offset, &data),
                    (0, false) => self.sata.mmio_read(base, offset, &mut data),
                    (1, true) => self.uart.mmio_write(base, offset, &data),
                    (1, false) => self.uart.mmio_read(base, offset, &mut data),
                    (_, true) => self.timer.mmio_write(base, offset, &data),
                    (_, false) => self.timer.mmio_read(base, offset, &mut data),
                }
            }
            Step::Moved => self.go_on_elsewhere(),
            Step::Damaged(at, byte) => self.damage(at, byte),
        }
        self.check();
    }

    /// Resets the link and starts the port, as a driver does.
    fn start(&mut self) {
        for (at, value) in [
            (0x118, 0),
            (0x100, LIST),
            (0x108, 0x4000),
            (0x12c, 0x301),
            (0x12c, 0x300),
            (0x130, u32::MAX),
            (0x114, u32::MAX),
            (0x118, 0x11),
            (4, 2),
        ] {
            self.sata.write(at, value);
        }
        assert_eq!(self.sata.read(0x128) & 0xf, 3, "the link is up");
    }

    fn go_on_elsewhere(&mut self) {
        let mut next = Self::new(Arc::clone(&self.clock), Arc::clone(&self.ram));
        let (sata, uart) = (self.sata.save(), self.uart.state());
        assert!(next.sata.restore(&sata), "it is of such a one");
        next.uart.take_over(&uart).expect("it is of such a one");
        assert!(next.timer.restore(&self.timer.save()));
        assert_eq!(next.uart.state(), uart);
        assert_eq!(next.sata.save().port, sata.port);
        *self = next;
    }

    /// Has each device take over a state that no device had, if it takes it.
    fn damage(&mut self, at: u16, byte: u8) {
        let change = |text: String| {
            let mut bytes = text.into_bytes();
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
            bytes
        };
        let text = |state| serde_json::to_string(state).expect("it is plain data");
        if let Ok(state) = serde_json::from_slice(&change(text(&self.sata.save()))) {
            self.sata.restore(&state);
        }
        let state = serde_json::to_string(&self.uart.state()).expect("it is plain data");
        if let Ok(state) = serde_json::from_slice(&change(state)) {
            let _ = self.uart.take_over(&state);
        }
        let state = serde_json::to_string(&self.timer.save()).expect("it is plain data");
        if let Ok(state) = serde_json::from_slice(&change(state)) {
            self.timer.restore(&state);
        }
    }

    fn check(&self) {
        let [sata, uart, timer] = &self.lines;
        let enabled = self.sata.read(4) & 2 != 0;
        assert_eq!(sata.is_high(), enabled && self.sata.read(8) & 1 != 0);
        if self.sata.read(0x110) & self.sata.read(0x114) != 0 {
            assert_eq!(self.sata.read(8), 1, "what is pending is told");
        }
        let masked = [0x14, 0x34].map(|at| self.timer.read(at));
        assert_eq!(timer.is_high(), masked != [0, 0]);
        // A byte that waits raises the line, too, and is there when it is looked for.
        if self.uart.read(0x40) != 0 {
            assert!(uart.is_high());
        }
    }
}

/// Completes a damaged device tree.
fn complete_tree(dtb: &[u8]) {
    let chosen = Chosen {
        cmdline: "console=ttyAMA0",
        initrd: Some(Range::new(0x800_0000, 0x1000)),
        rng_seed: &[7; SEED_BYTES],
    };
    let ram = Range::new(0, 256 << 20);
    let completed = complete(dtb, &chosen, ram, "/soc/serial@fff36000");
    assert_eq!(check(dtb).is_ok(), completed.is_ok());
    if let Ok(whole) = completed {
        let again = complete(&whole, &chosen, ram, "/soc/serial@fff36000");
        // What is completed is a device tree, and complete.
        assert!(again.is_ok_and(|again| again == whole) || whole.len() > 60 << 10);
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // The magic number of a device tree.
    if data.starts_with(&[0xd0, 0x0d]) {
        return complete_tree(data);
    }
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM)]).expect("some memory");
    let mut place = Place::new(Arc::default(), Arc::new(ram));
    for step in steps.0.iter().take(STEPS) {
        place.step(step);
    }
}
