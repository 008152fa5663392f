//! Work that goes on in another turn.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::VirtioMmio;
use crate::virtio::budget::{Budget, Halts, TURN_BYTES};
use crate::virtio::schedule::{Deferred, Schedule, turn};
use crate::virtio::waits::Waiting;

/// Nanoseconds of virtual time after which a device does what it can do by itself at once: the time
/// that a frame takes to another host of a network and back.
const SOON_NS: u64 = 50_000;

/// The amount of a device's work that is done at a time, and the moment at which it goes on.
pub(super) enum Pace {
    /// There is nobody else to have work done; it goes on when [`VirtioMmio::go_on`] is called.
    Alone,
    /// In virtual time.
    Virtual(Arc<Schedule>),
    /// On a thread.
    Host(Arc<Halts>),
}

impl Pace {
    /// Returns a turn that begins now.
    pub fn budget(&self) -> Budget {
        match self {
            Self::Alone => Budget::of(TURN_BYTES),
            Self::Virtual(schedule) => schedule.budget(),
            Self::Host(halts) => Budget::host(halts),
        }
    }

    /// Counts what was done in a turn.
    pub fn charge(&self, budget: &Budget) {
        if let Self::Virtual(schedule) = self {
            schedule.charge(budget);
        }
    }
}

impl VirtioMmio {
    /// Has `schedule` decide how much is done at a time, and when the rest.
    pub fn set_schedule(&mut self, schedule: Arc<Schedule>) {
        self.waits = schedule.waits();
        self.device
            .set_waiting(Waiting::new(Arc::clone(&self.waits)));
        self.pace = Pace::Virtual(schedule);
    }

    /// Returns what the device may do now. A device whose driver spins until it is answered has a
    /// turn of its own, whatever others do.
    pub(super) fn budget(&self) -> Budget {
        if self.device.may_wait() {
            self.pace.budget()
        } else {
            Budget::of(TURN_BYTES)
        }
    }

    /// Returns the queues that are to be served again.
    pub fn deferred(&self) -> Option<Deferred> {
        self.deferred
    }

    /// Returns the queues that are to be served again, and those that wait for the host: all that a
    /// machine which goes on from a snapshot has to serve.
    pub(in crate::virtio) fn left_over(&self) -> Option<Deferred> {
        let waiting = (0..self.queues.len()).filter(|index| self.device.waits(*index));
        // What the host does for them is not saved, so these have to ask for it anew.
        let waiting = waiting.fold(0, |queues, index| queues | 1 << index);
        let Deferred { at_ns, queues } = self.deferred.unwrap_or_default();
        let queues = queues | waiting;
        (queues != 0).then_some(Deferred { at_ns, queues })
    }

    /// Sets which queues are served again: these, and no others.
    pub(in crate::virtio) fn set_deferred(&mut self, deferred: Option<Deferred>) {
        self.deferred = deferred.filter(|deferred| deferred.queues != 0);
        if let (Some(deferred), Pace::Virtual(schedule)) = (&mut self.deferred, &self.pace) {
            // Restored state may ask for any time; nothing ever waits longer than this.
            deferred.at_ns = deferred.at_ns.min(schedule.later());
            schedule.announce(deferred.at_ns);
        }
    }

    /// Returns whether queue `index` is to be served again.
    pub(super) fn is_deferred(&self, index: usize) -> bool {
        self.deferred.is_some_and(|d| d.queues >> index & 1 != 0)
    }

    /// Has queue `index` served again, in a later turn.
    pub(super) fn go_on_later(&mut self, index: usize) {
        let at_ns = match &self.pace {
            // A kick to itself, behind those of other queues. Not while the machine is about to be
            // saved: then it is left over.
            Pace::Host(halts) if !halts.settle.load(Ordering::Acquire) => {
                self.kick(index);
                return;
            }
            // At any time: it goes on when whoever runs the machine says so.
            Pace::Host(_) | Pace::Alone => 0,
            Pace::Virtual(schedule) => schedule.later(),
        };
        // The queues of a device go on together, at the time of the first that was left over.
        let mut deferred = self.deferred.unwrap_or(Deferred { at_ns, queues: 0 });
        deferred.queues |= 1 << index;
        self.set_deferred(Some(deferred));
    }

    /// Has queue `index` served again when the host has done what it waits for.
    pub(super) fn go_on_then(&mut self, index: usize) {
        // In host time the thread that serves it is kicked by whatever ends the wait.
        if let Pace::Virtual(schedule) = &self.pace {
            // Due at once, but the run loop does nothing else before the wait for the host is over.
            let at_ns = schedule.now();
            let queues = self.deferred.map_or(0, |deferred| deferred.queues);
            let queues = queues | 1 << index;
            self.set_deferred(Some(Deferred { at_ns, queues }));
        }
    }

    /// Has the queues served for which the device has something to do by itself.
    pub(super) fn look_ahead(&mut self) {
        self.alarm = None;
        let Some(due) = self.device.due() else {
            return;
        };
        let at_ns = match (&self.pace, due.after_ns) {
            (Pace::Virtual(schedule), after) => schedule
                .now()
                .saturating_add(after.unwrap_or(0).max(SOON_NS)),
            (Pace::Alone, _) => 0,
            // The thread that serves the queues wakes then.
            (Pace::Host(_), Some(_)) => {
                self.alarm = Some(due);
                return;
            }
            (Pace::Host(_), None) => {
                (0..self.queues.len())
                    .filter(|index| due.queues >> index & 1 != 0)
                    .for_each(|index| self.go_on_later(index));
                return;
            }
        };
        let before = self.deferred.unwrap_or(Deferred { at_ns, queues: 0 });
        self.set_deferred(Some(Deferred {
            // What is left over goes on with it: its work is bounded whenever it is done.
            at_ns: before.at_ns.min(at_ns),
            queues: before.queues | due.queues,
        }));
    }

    /// Returns in how many nanoseconds the device has something to do by itself, in host time.
    pub fn alarm_after_ns(&self) -> Option<u64> {
        self.alarm.and_then(|due| due.after_ns)
    }

    /// Serves the queues that [`alarm_after_ns`](Self::alarm_after_ns) is about, on the thread that
    /// serves the queues.
    pub fn kick_alarm(&mut self) {
        let queues = self.alarm.take().map_or(0, |due| due.queues);
        for index in (0..self.queues.len()).filter(|index| queues >> index & 1 != 0) {
            self.kick(index);
        }
    }

    /// Goes on with what is due at `now_ns`, and returns whether anything was.
    pub fn go_on(&mut self, now_ns: u64) -> bool {
        let Some(Deferred { queues, .. }) = self.deferred.filter(|d| d.at_ns <= now_ns) else {
            return false;
        };
        // Before serving, which may leave work over again.
        self.deferred = None;
        let count = self.queues.len();
        // All queues share what may be done now, so each is the first at times.
        let first = turn(now_ns, count);
        for index in (first..count).chain(0..first) {
            // The driver may have reset or disabled the queue since it was left over.
            if queues >> index & 1 != 0 && self.is_live(index) {
                self.serve(index);
            }
        }
        true
    }

    /// Goes on with everything that is left over, on the thread that serves the queues.
    pub fn kick_deferred(&mut self) {
        // Taken before the kicks: `process_queue` leaves queues alone that are still deferred.
        let queues = self.deferred.take().map_or(0, |deferred| deferred.queues);
        for index in (0..self.queues.len()).filter(|index| queues >> index & 1 != 0) {
            self.kick(index);
        }
    }
}
