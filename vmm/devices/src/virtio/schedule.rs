//! When devices go on with work that exceeded their turn, in virtual time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use vmm_base::{Clock, Control};

use super::VirtioMmio;
use super::budget::{Allowance, Budget, PAUSE_NS};
use super::waits::Waits;

/// Nothing is left to be done.
const NEVER: u64 = u64::MAX;

/// Queues of one device that are to be served again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// When, in nanoseconds since power-on.
    pub at_ns: u64,
    /// A bit for each queue.
    pub queues: u64,
}

/// Which of `count` is the first to go on at `now_ns`: another one each time.
pub(super) const fn turn(now_ns: u64, count: usize) -> usize {
    match count {
        0 => 0,
        count => ((now_ns / PAUSE_NS) % count as u64) as usize,
    }
}

/// What devices did at once, at most, in bytes as a [`Budget`] counts them.
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

    /// By one device, at one instruction or between two slices of them.
    pub fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// By all of them, between two looks of the run loop. The cores look more often: after each
    /// instruction that reaches a device.
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
    /// When the first of them goes on.
    next_ns: AtomicU64,
    /// Not their owner: the devices have the schedule themselves.
    slots: OnceLock<Vec<Weak<Mutex<VirtioMmio>>>>,
}

impl Schedule {
    /// Nothing to be done; `control` is asked to look again when that changes.
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

    /// The devices, in the order in which those go on that are due at the same time. To be called once.
    pub fn connect(&self, slots: &[Arc<Mutex<VirtioMmio>>]) {
        let first = self.slots.set(slots.iter().map(Arc::downgrade).collect());
        debug_assert!(first.is_ok(), "the devices are known already");
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What a device may do now.
    pub(super) fn budget(&self) -> Budget {
        Budget::of(self.allowance().at(self.clock.now_ns()))
    }

    /// A device has used so much of it.
    pub(super) fn charge(&self, budget: &Budget) {
        self.allowance().take(budget.spent());
        self.work.add(budget.spent());
    }

    /// Whoever runs the machine looks at requests to stop and at limits.
    pub fn looked(&self) {
        self.work.since_look.store(0, Ordering::Relaxed);
    }

    /// What devices did at once.
    pub const fn work(&self) -> &Work {
        &self.work
    }

    /// Queues that wait for the host.
    pub fn waits(&self) -> Arc<Waits> {
        Arc::clone(&self.waits)
    }

    /// Whether any queue waits for the host.
    pub fn is_waiting(&self) -> bool {
        self.waits.any()
    }

    /// What the clock shows.
    pub(super) fn now(&self) -> u64 {
        self.clock.now_ns()
    }

    /// When work that is left over now goes on.
    pub(super) fn later(&self) -> u64 {
        self.clock.now_ns().saturating_add(PAUSE_NS)
    }

    /// A device goes on at `at_ns`, or in the longest time that one may wait.
    pub(super) fn announce(&self, at_ns: u64) {
        let at_ns = at_ns.min(self.later());
        self.next_ns.fetch_min(at_ns, Ordering::AcqRel);
        self.control.recheck();
    }

    /// When the next device goes on, in nanoseconds since power-on.
    pub fn next(&self) -> Option<u64> {
        let next = self.next_ns.load(Ordering::Acquire);
        (next != NEVER).then_some(next)
    }

    /// Has one device go on that is due; whether there was one. To be called between slices of
    /// work, with no device locked.
    pub fn run_due(&self) -> bool {
        let now = self.clock.now_ns();
        if self.next_ns.load(Ordering::Acquire) > now {
            return false;
        }
        let slots = self.slots.get().map_or(&[][..], Vec::as_slice);
        let (before, after) = slots.split_at(turn(now, slots.len()));
        let (mut done, mut next) = (false, NEVER);
        for slot in after.iter().chain(before).filter_map(Weak::upgrade) {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            done = done || slot.go_on(now);
            next = next.min(slot.deferred().map_or(NEVER, |deferred| deferred.at_ns));
        }
        self.next_ns.store(next, Ordering::Release);
        done
    }

    /// What devices may do, to be saved.
    pub fn save(&self) -> Allowance {
        let mut allowance = *self.allowance();
        // The same however often it was looked at before.
        allowance.at(self.clock.now_ns());
        allowance
    }

    /// Goes on from what was saved; as little as zero and as much as a turn is fine.
    pub fn restore(&self, saved: Allowance) {
        let mut allowance = self.allowance();
        *allowance = saved;
        allowance.at(self.clock.now_ns());
    }
}
