//! Any accesses to the interrupt controller, from any core, between any changes of its inputs, with
//! moves to another one in between. What it signals is what its registers say.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use arm32::wires::Pins;
use vmm::irq::gicv2::Gic;
use vmm::vcpu::Waker;

/// Registers of the distributor by the word (GICv2 architecture, IHI 0048B, 4.3), and how many
/// words each has here.
const DISTRIBUTOR: [(u64, u64); 16] = [
    (0x000, 3),
    (0x080, 3),
    (0x100, 3),
    (0x180, 3),
    (0x200, 3),
    (0x280, 3),
    (0x300, 3),
    (0x380, 3),
    (0x400, 24),
    (0x800, 24),
    (0xc00, 6),
    (0xf00, 1),
    (0xf10, 4),
    (0xf20, 4),
    (0xfd0, 12),
    (0x000, 1024),
];
/// Registers of a core's interface (4.4).
const INTERFACE: [u64; 16] = [
    0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0xd0, 0xe0, 0xfc, 0x1000,
    0x0c,
];

const CPUS: usize = 4;
const IRQS: u32 = 96;

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    ReadDistributor(u8, u8, u8),
    WriteDistributor(u8, u8, u8, Value),
    ReadInterface(u8),
    WriteInterface(u8, Value),
    /// Acknowledges what is signalled, and ends it.
    Serve(bool),
    Shared(u8, bool),
    Private(u8, bool),
    Any(u16, u8, u32, bool),
    Moved,
}

/// A value to write.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    All,
    Bit(u8),
    Small(u8),
    Any(u32),
}

impl Value {
    fn word(self) -> u32 {
        match self {
            Self::All => u32::MAX,
            Self::Bit(bit) => 1 << (bit & 31),
            Self::Small(value) => value.into(),
            Self::Any(value) => value,
        }
    }
}

struct Machine {
    gic: Gic,
    pins: Vec<Arc<Pins>>,
}

impl Machine {
    fn new() -> Self {
        let gic = Gic::new(CPUS, IRQS, Arc::new(Waker::default()));
        let pins: Vec<Arc<Pins>> = (0..CPUS).map(|_| Arc::default()).collect();
        gic.connect(pins.clone());
        Self { gic, pins }
    }

    /// Returns the offset and width of an access to the distributor.
    fn place(register: u8, word: u8, size: u8) -> (u64, u32) {
        let (first, words) = DISTRIBUTOR[usize::from(register % 16)];
        let width = [4u32, 4, 1, 2][usize::from(size & 3)];
        let within = u64::from(size >> 4 & 3) & !u64::from(width - 1);
        (first + u64::from(word) % words * 4 + within, width)
    }

    /// Asserts that pins are as the state says, by the rules of 3.3 and 4.4.1.
    fn check(&self) {
        let state = self.gic.save().gic;
        for (cpu, pins) in self.pins.iter().enumerate() {
            assert_eq!((pins.irq(), pins.fiq()), state.outputs(cpu), "core {cpu}");
            if let Some(candidate) = state.highest(cpu) {
                assert!(candidate.irq < IRQS);
                let word = state
                    .word(cpu, candidate.irq as usize / 32)
                    .expect("it is there");
                let bit = 1 << (candidate.irq % 32);
                assert!(word.pending() & word.enabled & !word.active & bit != 0);
            }
        }
    }

    fn step(&mut self, cpu: usize, step: &Step) {
        let gic = &self.gic;
        match *step {
            Step::ReadDistributor(register, word, size) => {
                let (offset, size) = Self::place(register, word, size);
                gic.dist_read(cpu, offset, size);
            }
            Step::WriteDistributor(register, word, size, value) => {
                let (offset, size) = Self::place(register, word, size);
                gic.dist_write(cpu, offset, size, value.word());
            }
            Step::ReadInterface(register) => {
                gic.cpu_read(cpu, INTERFACE[usize::from(register % 16)]);
            }
            Step::WriteInterface(register, value) => {
                gic.cpu_write(cpu, INTERFACE[usize::from(register % 16)], value.word());
            }
            Step::Serve(end) => {
                let before = gic.save().gic.signalled(cpu);
                let taken = gic.cpu_read(cpu, 0x0c);
                let id = taken & 0x3ff;
                if let Some(signalled) = before.filter(|_| id < 1020) {
                    assert_eq!(
                        id, signalled.irq,
                        "what is signalled is what is acknowledged"
                    );
                }
                if end {
                    gic.cpu_write(cpu, 0x10, taken);
                }
            }
            Step::Shared(irq, level) => gic.set_shared(u32::from(irq) % 80, level),
            Step::Private(irq, level) => gic.set_private(cpu, u32::from(irq) % 40, level),
            Step::Any(offset, size, value, write) => {
                let size = 1 << (size & 3);
                match (write, offset & 0x8000 != 0) {
                    (false, false) => _ = gic.dist_read(cpu, offset.into(), size),
                    (true, false) => gic.dist_write(cpu, offset.into(), size, value),
                    (false, true) => _ = gic.cpu_read(cpu, u64::from(offset & 0x1fff)),
                    (true, true) => gic.cpu_write(cpu, u64::from(offset & 0x1fff), value),
                }
            }
            Step::Moved => {
                let saved = gic.save();
                let next = Self::new();
                next.gic.restore(&saved).expect("it is of such a one");
                assert_eq!(next.gic.save(), saved);
                *self = next;
            }
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut machine = Machine::new();
    // As a kernel does at first, with everything in one group.
    if u.ratio(7, 8).unwrap_or(false) {
        machine.gic.dist_write(0, 0, 4, 3);
        for cpu in 0..CPUS {
            machine.gic.cpu_write(cpu, 0x04, 0xf0);
            machine.gic.cpu_write(cpu, 0x00, 3);
            machine.gic.dist_write(cpu, 0x100, 4, u32::MAX);
        }
        machine.gic.dist_write(0, 0x104, 4, u32::MAX);
    }
    while !u.is_empty() {
        let (Ok(cpu), Ok(step)) = (u.arbitrary::<u8>(), u.arbitrary::<Step>()) else {
            return;
        };
        machine.step(usize::from(cpu) % CPUS, &step);
        machine.check();
    }
}
