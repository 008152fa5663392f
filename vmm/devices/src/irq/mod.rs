//! Interrupts: the lines that devices drive and the controller that brings them to the cores.

pub mod gicv2;

use std::sync::Arc;

use vmm_base::Interrupt;

pub use gicv2::Gic;

/// A shared peripheral interrupt of a [`Gic`].
#[derive(Clone, Debug)]
pub struct IrqLine {
    gic: Arc<Gic>,
    irq: u32,
}

impl IrqLine {
    /// Creates the line with interrupt identifier `irq` (32 and above).
    pub fn new(gic: Arc<Gic>, irq: u32) -> Self {
        Self { gic, irq }
    }
}

impl Interrupt for IrqLine {
    fn set(&self, level: bool) {
        self.gic.set_shared(self.irq, level);
    }
}
