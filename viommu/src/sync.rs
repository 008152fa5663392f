//! The primitives that the lock-free parts are built on, so that `loom` can take their place.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicPtr, AtomicU64, Ordering, fence},
};

/// Issues a sequentially consistent fence, just after a sequentially consistent read-modify-write.
///
/// On x86-64 such an operation is a locked instruction, which is a full barrier already (Intel SDM
/// volume 3, 10.2.5; AMD APM volume 2, 7.4.2), so the compiler alone is told; elsewhere this is a
/// fence.
#[inline]
pub(crate) fn fence_after_rmw() {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    fence(Ordering::SeqCst);
}

/// Pauses in a loop that waits for another thread to go on.
#[inline]
// Spinning first: what is waited for usually takes a few instructions. Later its thread may need
// this processor.
pub(crate) fn relax(round: u32) {
    #[cfg(loom)]
    {
        let _ = round;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    {
        /// Rounds of spinning before the processor is given away.
        const SPINS: u32 = 64;
        if round < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}
