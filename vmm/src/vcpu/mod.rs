//! The cores, and the loop that gives them time.

mod accel;
mod control;
#[cfg(any(target_arch = "aarch64", test))]
mod doze;
mod emulated;
#[cfg(target_arch = "aarch64")]
pub mod kvm;
#[cfg(not(target_arch = "aarch64"))]
#[path = "kvm_absent.rs"]
pub mod kvm;
mod observe;
mod pace;
mod run;
#[cfg(any(target_arch = "aarch64", test))]
mod threads;
mod waker;

use arm32::wires::Machine;
use arm32::{Cluster, Stop};

use crate::machine::Reason;

pub use accel::{Acceleration, Irqchip, KvmError, Platform, Width};
pub use control::Control;
pub use emulated::Emulated;
pub use observe::{Halted, Resume, StopHandler};
pub(crate) use pace::check;
pub use pace::{Divergence, Ending, Log, Pace, Replay, Turn};
pub use run::{RunCounters, RunLoop, Timing};
pub use waker::Waker;

/// How the first core starts. By ARM Linux's boot protocol R0 = 0, R1 = all ones (no machine number), R2 = device tree; by
/// arm64's X0 = device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// Physical address of the first instruction.
    pub entry: u32,
    /// Physical address of the device tree.
    pub dtb: u32,
}

/// All cores of a machine.
pub trait Vcpus {
    /// Prepares core 0 for its first instruction; the others stay off.
    ///
    /// # Errors
    /// When KVM refuses.
    fn boot(&mut self, boot: BootState) -> Result<(), KvmError>;

    /// Instructions retired by all cores; 0 where nobody counts them.
    fn retired(&self) -> u64;

    /// Runs at most `budget` instructions; cores that nobody counts instructions of run for a moment.
    ///
    /// # Errors
    /// Why the run cannot go on, for a reason that is not the guest's.
    fn run(&mut self, machine: &mut dyn Machine, budget: u64) -> Result<Stop, Reason>;

    /// Has cores that run on threads of their own stand still until the next [`run`](Self::run).
    fn pause(&mut self) {}

    /// The interpreted cores, for observers; `None` when they run otherwise.
    fn cluster(&mut self) -> Option<&mut Cluster> {
        None
    }
}
