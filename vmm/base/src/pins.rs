//! The inputs of a core.

use std::sync::atomic::{AtomicU32, Ordering};

const IRQ: u32 = 1;
const FIQ: u32 = 2;
const STOP: u32 = 4;
/// The core has to look at its own state between two instructions.
const ATTENTION: u32 = 8;

/// Predecoded code of the core was overwritten, or there is code where it may write at once.
const CODE: u32 = 16;

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

    /// Asks the core to leave its run loop at the next block boundary. From another thread this is
    /// not deterministic: virtual time uses it only to end a run for good.
    #[inline]
    pub fn request_stop(&self) {
        self.drive(STOP, true);
    }

    /// Has the core look at its own state before the next block, or no longer. This is no input:
    /// only the core's own thread drives it.
    #[inline]
    pub fn set_attention(&self, on: bool) {
        self.drive(ATTENTION, on);
    }

    /// Returns whether the core has to look at its own state.
    #[inline]
    pub fn attention(&self) -> bool {
        // Relaxed: no other thread drives this one.
        self.0.load(Ordering::Relaxed) & ATTENTION != 0
    }

    /// Has the core look, before the next block, what became of the code that it has predecoded.
    /// Any thread may.
    #[inline]
    pub fn set_code(&self, on: bool) {
        self.drive(CODE, on);
    }

    /// Takes the request of [`Pins::set_code`].
    #[inline]
    pub fn take_code(&self) -> bool {
        // As in `take_stop`, the load comes first. The locked operation then acquires what the
        // request was made for: the news of pages.
        self.0.load(Ordering::Relaxed) & CODE != 0
            && self.0.fetch_and(!CODE, Ordering::AcqRel) & CODE != 0
    }

    #[inline]
    fn drive(&self, bit: u32, level: bool) {
        if level {
            // Released, so that a core that sees the input also sees what was written before it was
            // driven.
            self.0.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.0.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Returns whether any input is active, or the core has to look at its own state.
    #[inline(always)]
    pub fn any(&self) -> bool {
        // Asked before each block, so the cheapest load: whoever acts on an input loads it again
        // with `Acquire`.
        self.0.load(Ordering::Relaxed) != 0
    }

    /// Returns the word that is 0 unless [`Pins::any`], for code that is generated.
    pub const fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Returns whether an interrupt input is active. That ends a wait for interrupts, unlike a
    /// request to stop.
    #[inline]
    pub fn interrupts(&self) -> bool {
        self.0.load(Ordering::Acquire) & (IRQ | FIQ) != 0
    }

    /// Returns the level of the IRQ input.
    #[inline]
    pub fn irq(&self) -> bool {
        self.0.load(Ordering::Acquire) & IRQ != 0
    }

    /// Returns the level of the FIQ input.
    #[inline]
    pub fn fiq(&self) -> bool {
        self.0.load(Ordering::Acquire) & FIQ != 0
    }

    /// Takes a pending stop request.
    #[inline]
    pub fn take_stop(&self) -> bool {
        // The load first spares the bus the locked operation in the usual case, in which there is
        // no request.
        self.0.load(Ordering::Relaxed) & STOP != 0
            && self.0.fetch_and(!STOP, Ordering::AcqRel) & STOP != 0
    }
}
