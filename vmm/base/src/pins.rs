//! The inputs of a core.

use std::sync::atomic::{AtomicU32, Ordering};

const IRQ: u32 = 1;
const FIQ: u32 = 2;
const STOP: u32 = 4;
/// The core has something to see to between two instructions.
const ATTENTION: u32 = 8;

/// The inputs of one core. The interrupt controller drives them, from any thread.
///
/// All inputs share one word, so that a core sees with one load that nothing wants its attention.
#[derive(Debug, Default)]
pub struct Pins(AtomicU32);

impl Pins {
    /// Drives the IRQ input (level-sensitive).
    #[inline]
    pub fn set_irq(&self, level: bool) {
        self.drive(IRQ, level);
    }

    /// Drives the FIQ input (level-sensitive).
    #[inline]
    pub fn set_fiq(&self, level: bool) {
        self.drive(FIQ, level);
    }

    /// Asks the core to leave its run loop at the next block boundary. From another thread this is not
    /// deterministic: virtual time uses it only to end a run for good.
    #[inline]
    pub fn request_stop(&self) {
        self.drive(STOP, true);
    }

    /// Has the core see to itself before the next block, or not any longer. No input: only the
    /// core's own thread drives it.
    #[inline]
    pub fn set_attention(&self, on: bool) {
        self.drive(ATTENTION, on);
    }

    /// Whether the core has something to see to.
    #[inline]
    pub fn attention(&self) -> bool {
        self.0.load(Ordering::Relaxed) & ATTENTION != 0
    }

    #[inline]
    fn drive(&self, bit: u32, level: bool) {
        if level {
            self.0.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Whether any input is active, or the core has something to see to.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Whether an interrupt input is active: what ends a wait, unlike a request to stop.
    #[inline]
    pub fn interrupts(&self) -> bool {
        self.0.load(Ordering::Acquire) & (IRQ | FIQ) != 0
    }

    /// The IRQ input.
    #[inline]
    pub fn irq(&self) -> bool {
        self.0.load(Ordering::Acquire) & IRQ != 0
    }

    /// The FIQ input.
    #[inline]
    pub fn fiq(&self) -> bool {
        self.0.load(Ordering::Acquire) & FIQ != 0
    }

    /// Takes a pending stop request.
    #[inline]
    pub fn take_stop(&self) -> bool {
        self.0.load(Ordering::Relaxed) & STOP != 0
            && self.0.fetch_and(!STOP, Ordering::AcqRel) & STOP != 0
    }
}
