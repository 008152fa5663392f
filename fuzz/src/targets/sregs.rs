//! The system registers of Calxeda's SoCs under any accesses and in any saved state, beside a model
//! that is a list of words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arbitrary::{Arbitrary, Unstructured};
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vmm::devices::sregs::{PowerRequest, SystemRegisters, SystemRegistersState};

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 512;
/// Offsets from here on are not kept, but for the two of the boot loader.
const END: u64 = 0x300;
const POWER: u64 = 0xf00;

/// An offset.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Kept(u8),
    /// PLLs.
    Pll(u8),
    /// The power request and the words of the boot loader.
    Boot(u8),
    Any(u64),
}

impl Place {
    fn offset(self) -> u64 {
        match self {
            Self::Kept(word) => u64::from(word) * 4,
            Self::Pll(word) => 0x100 + u64::from(word % 4) * 4,
            Self::Boot(word) => POWER + u64::from(word % 3) * 4,
            Self::Any(offset) => offset,
        }
    }
}

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    Read(Place),
    Write(Place, u32),
    /// A request of power off or a reset.
    Power(u8),
    /// Any access of the bus, of any width.
    Access(Place, u8, [u8; 16], bool),
    /// State of so many words.
    Restore(u8, u32),
    Moved,
}

/// What the registers hold.
struct Model {
    words: Vec<u32>,
    boot: [u32; 2],
    /// Requests to be switched off, and to be reset.
    requests: [u32; 2],
}

impl Model {
    fn new() -> Self {
        let mut words = vec![0; 0xc0];
        words[0x40..0x44].copy_from_slice(&[0x05f2_0121, 2, 0x05f3_0121, 0x05f4_0121]);
        Self {
            words,
            boot: [0; 2],
            requests: [0; 2],
        }
    }

    /// The word that `offset` is in.
    fn place(&mut self, offset: u64) -> Option<&mut u32> {
        match offset {
            0xf04 | 0xf08 => self.boot.get_mut(usize::from(offset == 0xf08)),
            0..END => self.words.get_mut(usize::try_from(offset / 4).ok()?),
            _ => None,
        }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let locked = match offset {
            0x100 | 0x108 | 0x10c => 0x3000_0000,
            _ => 0,
        };
        self.place(offset).map_or(0, |word| *word) | locked
    }

    fn write(&mut self, offset: u64, value: u32) {
        if offset == POWER {
            match value {
                1 | 2 => self.requests[1] += 1,
                3 => self.requests[0] += 1,
                _ => {}
            }
        }
        if let Some(word) = self.place(offset) {
            *word = value;
        }
    }
}

type Requests = Arc<[AtomicU32; 2]>;

fn registers(requests: &Requests) -> SystemRegisters {
    let requests = Arc::clone(requests);
    SystemRegisters::new(Box::new(move |request| {
        let count = match request {
            PowerRequest::Off => &requests[0],
            PowerRequest::Reset => &requests[1],
        };
        count.fetch_add(1, Ordering::Relaxed);
    }))
}

struct Fixture {
    requests: Requests,
    registers: SystemRegisters,
    model: Model,
}

impl Fixture {
    fn write(&mut self, offset: u64, value: u32) {
        self.registers.write(offset, value);
        self.model.write(offset, value);
    }

    fn access(&mut self, offset: u64, size: u8, bytes: [u8; 16], write: bool) {
        // The bus passes offsets of the window, in accesses that do not leave it.
        let offset = offset & 0xfff;
        let mut data = bytes[..usize::from(size % 17)].to_vec();
        if write {
            self.registers.mmio_write(MmioAddress(0), offset, &data);
            if let Ok(word) = data.try_into().map(u32::from_le_bytes)
                && offset.is_multiple_of(4)
            {
                self.model.write(offset, word);
            }
            return;
        }
        self.registers.mmio_read(MmioAddress(0), offset, &mut data);
        // What is narrower sees its part of the word; what goes beyond it, zero.
        let word = self.model.read(offset & !3).to_le_bytes();
        let mut bytes = word.iter().skip(offset as usize & 3).copied();
        assert!(data.iter().all(|byte| *byte == bytes.next().unwrap_or(0)));
    }

    fn restore(&mut self, words: u8, value: u32) {
        let saved = SystemRegistersState {
            words: vec![value; words.into()],
            boot_status: value,
            boot_data: !value,
        };
        let before = self.registers.save();
        if self.registers.restore(&saved) {
            assert_eq!(self.registers.save(), saved);
            self.model.words = saved.words;
            self.model.boot = [saved.boot_status, saved.boot_data];
        } else {
            assert_ne!(words, 0xc0, "as many words as there are");
            assert_eq!(self.registers.save(), before, "nothing was taken");
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Read(place) => {
                let offset = place.offset();
                let value = self.registers.read(offset);
                assert_eq!(value, self.model.read(offset), "{offset:#x}");
            }
            Step::Write(place, value) => self.write(place.offset(), value),
            Step::Power(request) => self.write(POWER, u32::from(request % 5)),
            Step::Access(place, size, bytes, write) => {
                self.access(place.offset(), size, bytes, write);
            }
            Step::Restore(words, value) => self.restore(words, value),
            Step::Moved => {
                let saved = self.registers.save();
                self.registers = registers(&self.requests);
                assert!(self.registers.restore(&saved), "it is its own state");
            }
        }
        let requests = [0, 1].map(|i: usize| self.requests[i].load(Ordering::Relaxed));
        assert_eq!(requests, self.model.requests);
        assert_eq!(self.registers.save().words, self.model.words);
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let requests = Requests::default();
    let mut place = Fixture {
        registers: registers(&requests),
        requests,
        model: Model::new(),
    };
    for step in steps.0.iter().take(STEPS) {
        place.step(step);
    }
}
