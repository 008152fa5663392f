//! Hits that code looks at itself, where the notation cannot say what is wanted.

use vmm_machine::vcpu::{Core, Cores, RamHit};

use super::abi::{Abi, CoreMemory};
use super::eval::Frame;
use super::kernel::Kernel;
use crate::memory::{Memory, MemoryError};

/// Is told of each hit while the machine stands still.
pub trait Watcher: Send {
    /// Sees a hit.
    fn hit(&mut self, moment: &Moment<'_, '_>);

    /// Sees an access that a core is about to make to RAM that is watched. Arguments, and where
    /// the function returns to, are not those of a call then: the core may be anywhere in it.
    fn accessed(&mut self, moment: &Moment<'_, '_>, hit: &RamHit) {
        let _ = (moment, hit);
    }

    /// Has RAM watched, or not any more, after it has seen something.
    fn watch_ram(&mut self, cores: &mut Cores<'_>) {
        let _ = cores;
    }
}

/// The machine at a hit: to read only.
pub struct Moment<'m, 'c> {
    /// The index of the probe, in the order in which they were given.
    pub probe: usize,
    /// Guest time, in nanoseconds since power-on.
    pub now_ns: u64,
    /// The guest's kernel.
    pub kernel: &'m Kernel,
    /// The core that came to the place of the probe.
    pub core: &'m Core<'c>,
    pub(super) frame: &'m Frame,
}

impl Moment<'_, '_> {
    /// Returns word `n` of the function's arguments, from 0, as it was at the function's entry;
    /// `None` if it could not be read, or is none of the first ten.
    pub fn argument(&self, n: usize) -> Option<u64> {
        self.frame.arguments.get(n).copied().flatten()
    }

    /// Returns the instruction that the function returns to.
    pub fn returns_to(&self) -> u64 {
        self.frame.returns_to(Abi::of(self.core.width()))
    }
}

/// The guest's memory as the core sees it.
impl Memory for Moment<'_, '_> {
    fn read(&self, va: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        CoreMemory(self.core).read(va, into)
    }
}
