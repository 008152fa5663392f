//! When devices go on with work that exceeded their turn, in virtual time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use vmm_base::{Clock, Control};

use super::VirtioMmio;
use super::budget::{Allowance, Budget, PAUSE_NS};
use super::waits::Waits;

/// The time of the next work when there is none.
const NEVER: u64 = u64::MAX;

/// Queues of one device that are to be served again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// Their time, in nanoseconds since power-on.
    pub at_ns: u64,
    /// A bit for each queue.
    pub queues: u64,
}

/// Returns which of `count` is the first to go on at `now_ns`: another one each time.
pub(super) const fn turn(now_ns: u64, count: usize) -> usize {
    match count {
        0 => 0,
        count => ((now_ns / PAUSE_NS) % count as u64) as usize,
    }
}

/// The most that devices did at once, in bytes as a [`Budget`] counts them.
#[derive(Debug, Default)]
pub struct Work {
    since_look: AtomicU64,
    turn: AtomicU64,
    between_looks: AtomicU64,
}

impl Work {
    fn add(&self, bytes: u64) {
        let before = self.since_look.fetch_add(bytes, Ordering::Relaxed);
        let all = before.saturating_add(bytes);
        self.turn.fetch_max(bytes, Ordering::Relaxed);
        self.between_looks.fetch_max(all, Ordering::Relaxed);
    }

    /// Returns the most that one device did, at one instruction or between two slices of them.
    pub fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Returns the most that all of them did between two looks of the run loop. The cores look more
    /// often: after each instruction that reaches a device.
    pub fn between_looks(&self) -> u64 {
        self.between_looks.load(Ordering::Relaxed)
    }
}

/// Work of a machine's devices that goes on later.
pub struct Schedule {
    clock: Arc<dyn Clock>,
    control: Arc<Control>,
    allowance: Mutex<Allowance>,
    waits: Arc<Waits>,
    work: Work,
    /// The time at which the first of them goes on, in nanoseconds since power-on.
    next_ns: AtomicU64,
    /// Weak, as it does not own them: the devices hold the schedule themselves.
    slots: OnceLock<Vec<Weak<Mutex<VirtioMmio>>>>,
}

impl Schedule {
    /// Creates a schedule with nothing to do; `control` is asked to look again when that changes.
    pub fn new(clock: Arc<dyn Clock>, control: Arc<Control>) -> Self {
        Self {
            clock,
            allowance: Mutex::default(),
            waits: Arc::new(Waits::new(control.waker())),
            work: Work::default(),
            control,
            next_ns: AtomicU64::new(NEVER),
            slots: OnceLock::new(),
        }
    }

    /// Sets the devices, in the order in which those go on that are due at the same time. To be
    /// called once.
    pub fn connect(&self, slots: &[Arc<Mutex<VirtioMmio>>]) {
        let first = self.slots.set(slots.iter().map(Arc::downgrade).collect());
        debug_assert!(first.is_ok(), "the devices are known already");
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what a device may do now.
    pub fn budget(&self) -> Budget {
        Budget::of(self.allowance().at(self.clock.now_ns()))
    }

    /// Counts what a device has used of its budget.
    pub fn charge(&self, budget: &Budget) {
        self.allowance().take(budget.spent());
        self.work.add(budget.spent());
    }

    /// Is called when whoever runs the machine has looked at requests to stop and at limits.
    pub fn looked(&self) {
        self.work.since_look.store(0, Ordering::Relaxed);
    }

    /// Returns the counters of what devices did at once.
    pub const fn work(&self) -> &Work {
        &self.work
    }

    /// Returns the queues that wait for the host.
    pub fn waits(&self) -> Arc<Waits> {
        Arc::clone(&self.waits)
    }

    /// Returns whether any queue waits for the host.
    pub fn is_waiting(&self) -> bool {
        self.waits.any()
    }

    /// Returns what the clock shows.
    pub fn now(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Returns when work that is left over now goes on.
    pub(super) fn later(&self) -> u64 {
        self.clock.now_ns().saturating_add(PAUSE_NS)
    }

    /// Has a device go on at `at_ns`, or after the longest time that one may wait, whichever is
    /// earlier.
    pub(super) fn announce(&self, at_ns: u64) {
        let at_ns = at_ns.min(self.later());
        self.next_ns.fetch_min(at_ns, Ordering::AcqRel);
        // The slice under way may end only after this is due.
        self.control.recheck();
    }

    /// Returns when the next device goes on, in nanoseconds since power-on.
    pub fn next(&self) -> Option<u64> {
        let next = self.next_ns.load(Ordering::Acquire);
        (next != NEVER).then_some(next)
    }

    /// Has one device go on that is due, and returns whether there was one. To be called between
    /// slices of work, with no device locked.
    pub fn run_due(&self) -> bool {
        let now = self.clock.now_ns();
        if self.next_ns.load(Ordering::Acquire) > now {
            return false;
        }
        let slots = self.slots.get().map_or(&[][..], Vec::as_slice);
        // Another device is the first each time, so that none is held up by the ones before it for
        // good.
        let (before, after) = slots.split_at(turn(now, slots.len()));
        let (mut done, mut next) = (false, NEVER);
        for slot in after.iter().chain(before).filter_map(Weak::upgrade) {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            // One at a time: the run loop looks at requests to stop between two of them.
            done = done || slot.go_on(now);
            // Also of those that are due and had no turn, so that the next call finds them.
            next = next.min(slot.deferred().map_or(NEVER, |deferred| deferred.at_ns));
        }
        // A store, not a minimum: what was announced in between is among the times that were just
        // read.
        self.next_ns.store(next, Ordering::Release);
        done
    }

    /// Forgets what goes on when, for devices whose states are restored next.
    pub fn forget(&self) {
        self.next_ns.store(NEVER, Ordering::Release);
    }

    /// Returns what devices may do, to be saved.
    pub fn save(&self) -> Allowance {
        let mut allowance = *self.allowance();
        // The same however often it was looked at before.
        allowance.at(self.clock.now_ns());
        allowance
    }

    /// Takes over what was saved. Any value is fine: looking at it cuts it to a turn.
    pub fn restore(&self, saved: Allowance) {
        let mut allowance = self.allowance();
        *allowance = saved;
        allowance.at(self.clock.now_ns());
    }
}
