//! The cores, and the loop that gives them time.

mod aarch64;
mod accel;
mod context;
mod emulated;
#[cfg(any(target_arch = "aarch64", test))]
mod idle_detector;
#[cfg(target_arch = "aarch64")]
pub mod kvm;
#[cfg(not(target_arch = "aarch64"))]
#[path = "kvm_absent.rs"]
pub mod kvm;
#[cfg(any(target_arch = "aarch64", test))]
mod mirror;
mod observe;
mod pace;
mod run;
mod saved;
mod stop;
#[cfg(any(target_arch = "aarch64", test))]
mod threads;
mod timing;
mod wall_timer;

use arm32::Cluster;
use arm32::wires::Machine;
use vmm_base::Reason;

pub use aarch64::{Aarch64Core, Aarch64Cores, Aarch64State, Pstate};
pub use accel::{Acceleration, GicMap, Irqchip, KvmError, Platform};
pub use arm32::{RamHit, RamWatch, WatchKind};
pub use context::RunContext;
pub use emulated::Emulated;
pub use observe::{Arrival, Backward, Core, Cores, Halted, NoMemory, Resume, StopHandler};
pub(crate) use pace::check;
pub use pace::{Divergence, Ending, Log, Pace, Replay, ReplayPlace, RunSlice};
pub use run::{Passage, Pause, RunLoop, Silence, Until};
pub use saved::{GicRegister, KvmCore, KvmState, SystemError};
pub use stop::Stop;
pub use timing::{RunCounters, Timing};
pub use vmm_base::{Control, Waker, Width};
pub use wall_timer::WallTimer;

/// How the first core starts. By ARM Linux's boot protocol R0 = 0, R1 = all ones (no machine
/// number), R2 = device tree; by arm64's X0 = device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootState {
    /// Physical address of the first instruction.
    pub entry: u32,
    /// Physical address of the device tree.
    pub dtb: u32,
}

/// The error of cores that KVM has nothing to do with.
const EMULATED: KvmError = KvmError::Saved("the cores are emulated");

/// All cores of a machine.
pub trait Vcpus {
    /// Prepares core 0 for its first instruction; the others stay off.
    ///
    /// # Errors
    /// When KVM refuses.
    fn boot(&mut self, boot: BootState) -> Result<(), KvmError>;

    /// Returns the instructions retired by all cores; 0 where they are not counted.
    fn retired(&self) -> u64;

    /// Runs at most `budget` instructions; cores whose instructions are not counted run for a
    /// moment.
    ///
    /// # Errors
    /// Why the run cannot go on, for a reason that is not the guest's.
    fn run(&mut self, machine: &mut dyn Machine, budget: u64) -> Result<Stop, Reason>;

    /// Makes cores that run on threads of their own stand still until the next [`run`](Self::run).
    fn pause(&mut self) {}

    /// Returns what KVM keeps of the cores, which are made to stand still.
    ///
    /// # Errors
    /// When KVM refuses, or they run otherwise.
    fn save_kvm(&mut self) -> Result<KvmState, KvmError> {
        Err(EMULATED)
    }

    /// Restores the state of cores that have not run.
    ///
    /// # Errors
    /// When KVM refuses, or it is not the state of such cores.
    fn restore_kvm(&mut self, saved: &KvmState) -> Result<(), KvmError> {
        let _ = saved;
        Err(EMULATED)
    }

    /// Returns the emulated cores; `None` when they run otherwise.
    fn cluster(&mut self) -> Option<&mut Cluster> {
        None
    }

    /// Makes the cores stand still and shows them to observers, who may change them; `None` when
    /// they cannot be shown. To be followed by [`hide`](Self::hide).
    ///
    /// # Errors
    /// Why the run cannot go on.
    fn show(&mut self) -> Result<Option<Cores<'_>>, Reason> {
        Ok(self.cluster().map(Cores::Aarch32))
    }

    /// Makes what observers changed take effect. `image` tells, if an observer knows, that the
    /// guest's kernel lies from the second address, a physical one, on and will be mapped to the
    /// first.
    ///
    /// # Errors
    /// Why the run cannot go on.
    fn hide(&mut self, image: Option<(u64, u64)>) -> Result<(), Reason> {
        let _ = image;
        Ok(())
    }
}
