//! A GICv2 as GIC-400 implements it, without the Security Extensions.
//!
//! | not modelled | why |
//! |---|---|
//! | Security Extensions: banked CTLR/BPR, NSACR, the non-secure view of priorities | cores have one security state |
//! | virtualization: GICH, GICV | cores have no Hyp mode |
//! | interrupt bypass (bits 5 to 8 of GICC_CTLR) | there is no legacy interrupt to bypass to; the bits are kept |
//! | the sender in a write to EOIR for an SGI | one SGI is active at a time whoever sent it |
//! | GICD_PPISR, GICD_SPISR | GIC-400 only debug registers; read as zero |
//!
//! Group bits work (group 1 needs AckCtl or the aliased registers); priorities have 32 levels.

mod distributor;
mod interface;
pub mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use serde::{Deserialize, Serialize};
use vmm_base::{Pins, Waker, warn_guest};

pub use state::{Candidate, GicState, Interface, MAX_CPUS, Private, STATE_VERSION, Word};

/// A GIC wired to its cores. Devices drive its lines from any thread.
#[derive(Debug)]
pub struct Gic {
    state: Mutex<Wired>,
    pins: OnceLock<Vec<Arc<Pins>>>,
    waker: Arc<Waker>,
    acknowledged: AtomicU64,
}

/// A GIC and what it has counted, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedGic {
    /// The GIC.
    pub gic: GicState,
    /// Interrupts acknowledged.
    pub acknowledged: u64,
}

/// A saved state that is not one of this GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved state is not one of this interrupt controller")]
pub struct WrongGic;

#[derive(Debug)]
struct Wired {
    gic: GicState,
    outputs: [(bool, bool); MAX_CPUS],
}

impl Gic {
    /// Creates a GIC at reset for `cpus` cores with `irqs` identifiers. `waker` is told when an
    /// output rises.
    pub fn new(cpus: usize, irqs: u32, waker: Arc<Waker>) -> Self {
        let gic = GicState::new(cpus, irqs);
        let state = Mutex::new(Wired {
            gic,
            outputs: Default::default(),
        });
        Self {
            state,
            pins: OnceLock::new(),
            waker,
            acknowledged: AtomicU64::new(0),
        }
    }

    /// Connects the cores, once: they are made after the bus that the GIC is on. At reset no output
    /// is high.
    pub fn connect(&self, pins: Vec<Arc<Pins>>) {
        // A second time is ignored: the cores are what they are.
        let _ = self.pins.set(pins);
    }

    /// Drives a shared interrupt line.
    pub fn set_shared(&self, irq: u32, level: bool) {
        self.change(|gic| gic.set_shared(irq, level));
    }

    /// Drives a private peripheral interrupt line of core `cpu`.
    pub fn set_private(&self, cpu: usize, irq: u32, level: bool) {
        self.change(|gic| gic.set_private(cpu, irq, level));
    }

    /// Reads the distributor as core `cpu`.
    pub fn dist_read(&self, cpu: usize, offset: u64, size: u32) -> u32 {
        self.change(|gic| gic.dist_read(cpu, offset, size))
    }

    /// Writes the distributor as core `cpu`.
    pub fn dist_write(&self, cpu: usize, offset: u64, size: u32, value: u32) {
        if !self.change(|gic| gic.dist_write(cpu, offset, size, value)) {
            warn_guest!("core {cpu} wrote {size} bytes, {value:#x}, to GICD+{offset:#x}: ignored");
        }
    }

    /// Reads the CPU interface of core `cpu`.
    pub fn cpu_read(&self, cpu: usize, offset: u64) -> u32 {
        // A read can change the outputs: one of IAR acknowledges, and so lowers the core's input.
        let value = self.change(|gic| gic.cpu_read(cpu, offset));
        // A special identifier tells that there was nothing to acknowledge.
        if matches!(offset, spec::GICC_IAR | spec::GICC_AIAR) && value & 0x3ff < spec::FIRST_SPECIAL
        {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        value
    }

    /// Writes the CPU interface of core `cpu`.
    pub fn cpu_write(&self, cpu: usize, offset: u64, value: u32) {
        if !self.change(|gic| gic.cpu_write(cpu, offset, value)) {
            warn_guest!("core {cpu} wrote {value:#x} to GICC+{offset:#x}: ignored");
        }
    }

    /// Returns the number of interrupts acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> SavedGic {
        SavedGic {
            gic: self.lock().gic.clone(),
            acknowledged: self.acknowledged(),
        }
    }

    /// Takes over a saved state and drives the cores' inputs accordingly. The devices that drive
    /// its lines are to be restored before: the levels in the saved state hold.
    ///
    /// # Errors
    /// [`WrongGic`] when the state is of another GIC, or of none; then nothing changes.
    pub fn restore(&self, saved: &SavedGic) -> Result<(), WrongGic> {
        // The guard lives no longer than the condition: `change` locks again.
        if !saved.gic.fits(&self.lock().gic) {
            return Err(WrongGic);
        }
        self.acknowledged
            .store(saved.acknowledged, Ordering::Relaxed);
        self.change(|gic| gic.clone_from(&saved.gic));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Wired> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Changes the state and drives the cores' inputs accordingly, as one step.
    fn change<R>(&self, f: impl FnOnce(&mut GicState) -> R) -> R {
        let mut wired = self.lock();
        let result = f(&mut wired.gic);
        let mut rose = false;
        // Under the lock, or the outputs of two changes could reach a core in the wrong order and
        // leave an input at the older level.
        for (cpu, pins) in self.pins.get().into_iter().flatten().enumerate() {
            let now = wired.gic.outputs(cpu);
            let before = std::mem::replace(&mut wired.outputs[cpu], now);
            if now.0 != before.0 {
                pins.set_irq(now.0);
            }
            if now.1 != before.1 {
                pins.set_fiq(now.1);
            }
            rose |= now.0 && !before.0 || now.1 && !before.1;
        }
        drop(wired);
        // After the lock is released, so that whoever is woken does not wait for it at once. Only a
        // rise can end a core's wait.
        if rose {
            self.waker.wake();
        }
        result
    }
}
