//! Firmware calls of any kind, from cores in any state, and the clock generator under any driver:
//! beside what the specifications say (PSCI, DEN 0022; SMCCC, DEN 0028) and a bank of plain
//! registers.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "results are negative numbers in registers, and halves are cut out of words"
)]

use arbitrary::{Arbitrary, Unstructured};
use arm32::wires::{Conduit, FirmwareAction};
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vmm::devices::clkgen::ClockGenerator;
use vmm::machine::psci::{Answer, Firmware, answer};

use super::rest::Rest;

/// Steps of one case.
const STEPS: usize = 512;
/// Cores.
const CORES: usize = 4;

/// A function of the firmware.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Function {
    Psci(u8),
    Convention(u8),
    Any(u32),
}

impl Function {
    fn number(self) -> u32 {
        match self {
            Self::Psci(n) => 0x8400_0000 + u32::from(n),
            Self::Convention(n) => 0x8000_0000 + u32::from(n),
            Self::Any(n) => n,
        }
    }
}

/// An argument of a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Argument {
    Small(u8),
    Function(Function),
    Any(u32),
}

impl Argument {
    fn value(self) -> u32 {
        match self {
            Self::Small(n) => n.into(),
            Self::Function(function) => function.number(),
            Self::Any(n) => n,
        }
    }
}

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    Call(Function, [Argument; 3]),
    Conduit(u8, Function),
    /// An inner register is written, or read.
    Inner(u8, u16, bool),
    Register(u8, u32, bool),
    /// Any access of the bus.
    Access(u16, u8, [u8; 8], bool),
    Moved,
}

/// The state of the generator as a guest sees it.
struct Bank {
    reset: u32,
    select: u32,
    inner: [u16; 128],
    last: u16,
}

impl Bank {
    fn read(&self, offset: u64) -> u32 {
        match offset {
            0x40 => self.reset,
            0x44 => self.select,
            0x74 => self.last.into(),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        match offset {
            0x40 => self.reset = value,
            0x44 => self.select = value,
            0x70 if value >> 29 & 1 != 0 => {
                let inner = &mut self.inner[(value >> 16 & 0x7f) as usize];
                if value >> 28 & 1 != 0 {
                    self.last = *inner;
                } else {
                    *inner = value as u16;
                }
            }
            _ => {}
        }
    }
}

struct Fixture {
    powered: [bool; CORES],
    clocks: ClockGenerator,
    bank: Bank,
}

impl Fixture {
    /// Makes a call, and carries out what it comes to.
    fn call(&mut self, function: u32, arguments: [u32; 3]) {
        let [first, second, third] = arguments;
        let call = [function, first, second, third];
        let Answer { result, action } = answer(Conduit::Hvc(0), call, &self.powered);
        let core = usize::try_from(first).ok().filter(|core| *core < CORES);
        // Every call returns a value or does not return.
        let ends = matches!(
            action,
            FirmwareAction::CpuOff | FirmwareAction::SystemOff | FirmwareAction::SystemReset
        );
        assert_ne!(result.is_some(), ends, "{call:x?}");
        match action {
            // By PSCI's numbers (Arm DEN 0022): 1 suspends, 2 switches a core off, 3 one on, 8 and
            // 9 end the system.
            FirmwareAction::CpuOn {
                cpu,
                entry,
                context,
            } => {
                assert_eq!((function, Some(cpu)), (0x8400_0003, core));
                assert_eq!((entry, context, result), (second, third, Some(0)));
                assert!(!self.powered[cpu], "it was on");
                self.powered[cpu] = true;
            }
            FirmwareAction::CpuOff => {
                assert_eq!(function, 0x8400_0002);
                // One of those that are on, as the input goes.
                self.powered[first as usize % CORES] = false;
            }
            FirmwareAction::Suspend => assert_eq!((function, first >> 16 & 1), (0x8400_0001, 0)),
            FirmwareAction::SystemOff => assert_eq!(function, 0x8400_0008),
            FirmwareAction::SystemReset => assert_eq!(function, 0x8400_0009),
            FirmwareAction::Undefined => panic!("HVC #0 is the firmware's"),
            FirmwareAction::Return => {
                let result = result.expect("a call that returns");
                let expected = match function {
                    0x8400_0004 => core
                        .filter(|_| second == 0)
                        .map(|core| u32::from(!self.powered[core])),
                    // It is on, or A32 code cannot start there.
                    0x8400_0003 => core.map(|core| match self.powered[core] {
                        true => -4i32 as u32,
                        false => {
                            assert_eq!(second & 3, 2, "{call:x?}");
                            -9i32 as u32
                        }
                    }),
                    _ => Some(result),
                };
                assert_eq!(result, expected.unwrap_or(-2i32 as u32), "{call:x?}");
                // What is announced is there, and what is not is not.
                let known = result != u32::MAX;
                if !matches!(function, 0x8400_000a | 0x8000_0001) {
                    let asked = |by| answer(Conduit::Hvc(0), [by, function, 0, 0], &[]);
                    let announced = [0x8400_000a, 0x8000_0001]
                        .iter()
                        .any(|by| asked(*by).result == Some(0));
                    assert_eq!(known, announced, "{call:x?}");
                }
            }
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        self.clocks.write(offset, value);
        self.bank.write(offset, value);
    }

    fn read(&self, offset: u64) {
        assert_eq!(
            self.clocks.read(offset),
            self.bank.read(offset),
            "{offset:#x}"
        );
    }

    fn access(&mut self, offset: u16, size: u8, bytes: [u8; 8], write: bool) {
        let (offset, size) = (u64::from(offset & 0xff), 1 << (size & 3));
        let mut data = bytes[..size].to_vec();
        if write {
            self.clocks.mmio_write(MmioAddress(0), offset, &data);
            if let (Ok(word), 0) = (<[u8; 4]>::try_from(data), offset & 3) {
                self.bank.write(offset, u32::from_le_bytes(word));
            }
        } else {
            self.clocks.mmio_read(MmioAddress(0), offset, &mut data);
        }
        for register in [0x40, 0x44, 0x70, 0x74] {
            self.read(register);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Call(function, arguments) => {
                self.call(function.number(), arguments.map(Argument::value));
            }
            Step::Conduit(which, function) => {
                let conduit = match which {
                    0 => Conduit::Smc(0),
                    which => Conduit::Hvc(which.into()),
                };
                let call = [function.number(), 0, 0, 0];
                let answer = Firmware::Psci1.answer(conduit, call, &self.powered);
                assert_eq!(answer.action, FirmwareAction::Undefined);
                // The firmware of Calxeda's is called by SMC, and has three functions.
                let answer = Firmware::Calxeda.answer(conduit, call, &self.powered);
                let called = conduit == Conduit::Smc(0);
                assert_eq!(answer.action != FirmwareAction::Undefined, called);
                let known = [0x8400_0002, 0x8400_0004, 0x8400_0006].contains(&call[0]);
                // NOT_SUPPORTED is -1.
                let refused = answer.result == Some(u32::MAX);
                assert_eq!(called && !known, refused);
            }
            Step::Inner(number, value, read) => {
                let control = 1 << 29 | u32::from(read) << 28 | u32::from(number & 0x7f) << 16;
                self.write(0x70, control | u32::from(value));
                self.read(0x74);
            }
            Step::Register(word, value, write) => {
                let offset = u64::from(word % 64) * 4;
                if write {
                    self.write(offset, value);
                }
                self.read(offset);
            }
            Step::Access(offset, size, bytes, write) => self.access(offset, size, bytes, write),
            Step::Moved => {
                let saved = self.clocks.save();
                let next = ClockGenerator::default();
                assert!(next.restore(&saved) && next.save() == saved);
                let mut wrong = saved;
                wrong.inner.pop();
                assert!(!next.restore(&wrong), "a register is missing");
                self.clocks = next;
            }
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let clocks = ClockGenerator::default();
    let inner = clocks.save().inner;
    let bank = Bank {
        reset: 0,
        select: 0,
        inner: inner.try_into().expect("128 of them"),
        last: 0,
    };
    let mut place = Fixture {
        powered: [true, false, false, false],
        clocks,
        bank,
    };
    for step in steps.0.iter().take(STEPS) {
        place.step(step);
    }
}
