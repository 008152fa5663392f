//! Interrupts: the lines that devices drive and the controller that brings them to the cores.

pub mod gicv2;
#[cfg(test)]
pub mod testing;

use std::sync::Arc;

pub use gicv2::Gic;

/// One interrupt input of the controller, as a device sees it. All lines of this machine are level-sensitive.
pub trait Interrupt: Send + Sync {
    /// Drives a level-sensitive line.
    fn set(&self, level: bool);
}

/// A shared peripheral interrupt of a [`Gic`].
#[derive(Clone, Debug)]
pub struct IrqLine {
    gic: Arc<Gic>,
    irq: u32,
}

impl IrqLine {
    /// The line with interrupt identifier `irq` (32 and above).
    pub fn new(gic: Arc<Gic>, irq: u32) -> Self {
        Self { gic, irq }
    }
}

impl Interrupt for IrqLine {
    fn set(&self, level: bool) {
        self.gic.set_shared(self.irq, level);
    }
}
