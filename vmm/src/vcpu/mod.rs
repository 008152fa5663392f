//! The cores, and the loop that gives them time.

mod control;
mod emulated;
mod observe;
mod run;
mod waker;

use std::sync::Arc;

use arm32::wires::{Machine, Pins};
use arm32::{Cluster, Stop};

pub use control::Control;
pub use emulated::Emulated;
pub use observe::{Halted, Resume, StopHandler};
pub use run::{RunCounters, RunLoop, Timing};
pub use waker::Waker;

/// How the first core starts (ARM Linux's boot protocol): R0 = 0, R1 = all ones (no machine number), R2 = device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// Physical address of the first instruction.
    pub entry: u32,
    /// Physical address of the device tree.
    pub dtb: u32,
}

/// All cores of a machine, run by one thread.
pub trait Vcpus {
    /// The interrupt inputs of core `cpu`.
    fn pins(&self, cpu: usize) -> Arc<Pins>;

    /// Prepares core 0 for its first instruction; the others stay off.
    fn boot(&mut self, boot: BootState);

    /// Instructions retired by all cores.
    fn retired(&self) -> u64;

    /// Runs at most `budget` instructions.
    fn run(&mut self, machine: &mut dyn Machine, budget: u64) -> Stop;

    /// The interpreted cores, for observers; `None` when they run otherwise.
    fn cluster(&mut self) -> Option<&mut Cluster> {
        None
    }
}
