//! Queues that wait for the host, which does something for them on a thread of its own.
//!
//! In virtual time the guest's clock stands still meanwhile, and the run can be ended all the same.
//! In host time the cores go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm_base::Waker;
use vmm_sys_util::eventfd::EventFd;

use super::pending::Pending;

/// The number of a machine's queues that wait.
#[derive(Debug, Default)]
pub struct Waits {
    count: AtomicU64,
    waker: Option<Arc<Waker>>,
}

impl Waits {
    /// Creates a count of no waiting queues; `waker` is woken when one can go on.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            count: AtomicU64::new(0),
            waker: Some(waker),
        }
    }

    /// Returns whether any queue waits.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }
}

/// Tells of a device's queues that wait.
#[derive(Clone)]
pub struct Waiting {
    waits: Arc<Waits>,
    /// The kicks with which a thread that serves the queues goes on, if one does.
    kicks: Option<(Arc<[EventFd]>, Pending)>,
}

impl Waiting {
    /// Creates the means for a device whose queues the run loop serves again when they can go on.
    pub fn new(waits: Arc<Waits>) -> Self {
        Self { waits, kicks: None }
    }

    /// Creates the means for a device whose queues a thread serves, at a write to one of `kicks` which is counted in
    /// `pending`.
    pub fn kicking(waits: Arc<Waits>, kicks: Arc<[EventFd]>, pending: Pending) -> Self {
        Self {
            waits,
            kicks: Some((kicks, pending)),
        }
    }

    /// Counts queue `index` as waiting until the result is dropped, on whatever thread.
    pub fn begin(&self, index: usize) -> Wait {
        // Before the work is handed to anybody: it may be over, and the count taken back, at once.
        self.waits.count.fetch_add(1, Ordering::AcqRel);
        Wait {
            waiting: self.clone(),
            index,
        }
    }
}

/// A queue that waits.
pub struct Wait {
    waiting: Waiting,
    index: usize,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Waiting { waits, kicks } = &self.waiting;
        if let Some((kicks, pending)) = kicks
            && let Some(kick) = kicks.get(self.index)
        {
            // Counted before it is sent: the thread may serve it, and uncount it, at once.
            pending.fetch_add(1, Ordering::AcqRel);
            // A counter that overflows means that a kick is already on its way.
            if kick.write(1).is_err() {
                pending.fetch_sub(1, Ordering::AcqRel);
            }
        }
        // Only now: whoever sees nothing waiting must see the kick.
        waits.count.fetch_sub(1, Ordering::AcqRel);
        // After the count: the run loop looks at that when it wakes.
        if let Some(waker) = &waits.waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;

    #[test]
    fn a_queue_waits_until_its_wait_is_dropped() {
        let waker = Arc::<Waker>::default();
        let waits = Arc::new(Waits::new(Arc::clone(&waker)));
        let wait = Waiting::new(Arc::clone(&waits)).begin(0);
        let ticket = waker.ticket();
        assert!(waits.any());
        drop(wait);
        assert!(!waits.any());
        assert_ne!(waker.ticket(), ticket);
    }

    #[test]
    fn a_thread_that_serves_the_queue_is_kicked() {
        let (waits, pending) = (Arc::<Waits>::default(), Pending::default());
        let kicks: Arc<[EventFd]> = (0..2)
            .map(|_| EventFd::new(EFD_NONBLOCK).unwrap())
            .collect();
        let waiting = Waiting::kicking(Arc::clone(&waits), Arc::clone(&kicks), pending.clone());
        drop(waiting.begin(1));
        assert!(kicks[0].read().is_err());
        assert_eq!(kicks[1].read().unwrap(), 1);
        assert_eq!(pending.load(Ordering::Acquire), 1);
        assert!(!waits.any());
    }
}
