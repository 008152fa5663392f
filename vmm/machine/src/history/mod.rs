//! The history of a machine: what it takes to go back to any instruction of its run.
//!
//! A run in virtual time, or that of a recording, is a function of where it begins. So a machine
//! goes back by restoring a checkpoint in its place and running forward from there, to the
//! instruction. Checkpoints are kept in memory: the state, and the pages of RAM that differ from
//! those of the checkpoint before. The further back, the fewer are left.
//!
//! What is run again has no effect outside: observers are told of nothing on the way, and the
//! console shows only what it has not shown. Disks are written to memory only, which goes back,
//! too. What is typed is given to the guest again at the times at which it came.

mod checkpoint;
mod kept;
mod pages;
mod search;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use vmm_base::{ByteSize, Limits, Reason};
use vmm_devices::virtio::worker::Worker;

use super::{Accel, Config, Error, Machine, TimeMode};
use crate::vcpu::{Arrival, Backward, Pace, Pause, RunLoop, Silence, Timing, Until};
use checkpoint::Checkpoint;
use kept::Kept;
use pages::Held;

/// The memory that a history takes by default, for pages that differ between its checkpoints.
pub const HISTORY_LIMIT: ByteSize = ByteSize(512 << 20);
/// The instructions from one checkpoint to the next, at least: what is run again in some 20 ms.
const INTERVAL: u64 = 1 << 24;
/// Checkpoints are at least this part of the run so far apart, so that a long run is slowed down by
/// no more than a short one.
const PARTS: u64 = 128;

/// Why a machine can have no history. Each ends a sentence about a machine that cannot go back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHistory {
    /// KVM runs its cores.
    #[error("its cores are KVM's, whose runs do not repeat; leave --accel out")]
    Kvm,
    /// Its clock is the host's.
    #[error(
        "its clock is the host's, so that its run does not repeat; record it with --record, and go back in the replay"
    )]
    HostTime,
    /// It is being recorded.
    #[error("its run is being recorded; go back in the replay of the recording")]
    Recorded,
    /// Its guest writes to a file.
    #[error(
        "the guest writes to the disk {path}, which cannot be undone; add ,overlay or ,ro to it",
        path = .0.display()
    )]
    Disk(PathBuf),
    /// A device of it is another process.
    #[error("the state of its vhost-user devices is in other processes; leave out --vhost-user")]
    VhostUser,
    /// Faults are put in.
    #[error("a fault plan is at work in it")]
    Faults,
}

impl NoHistory {
    /// Returns why a machine of `config` that is powered on has no history, as far as that says.
    pub fn of(config: &Config) -> Option<Self> {
        let mut disks = config.disks.iter();
        let written = disks.find(|disk| !disk.read_only && !disk.overlay);
        if config.accel == Accel::Kvm {
            Some(Self::Kvm)
        } else if !config.vhost_user.is_empty() {
            Some(Self::VhostUser)
        } else if config.time == TimeMode::Host {
            Some(Self::HostTime)
        } else {
            written.map(|disk| Self::Disk(disk.path.clone()))
        }
    }
}

/// What a machine knows of its run so far.
pub(super) struct History {
    kept: Kept<Arc<Checkpoint>>,
    held: Held,
    /// The most bytes of pages.
    limit: u64,
}

impl History {
    /// Drops what there is too much of; the machine has retired `now` instructions.
    fn thin(&mut self, now: u64) {
        let (held, limit) = (self.held.clone(), self.limit);
        self.kept.thin(now, || held.bytes() <= limit);
    }
}

/// What an end of the whole run depends on, however often it goes back.
struct Course<'a> {
    limits: Limits,
    deadline: Option<Instant>,
    pending: &'a AtomicU64,
}

impl<'a> Course<'a> {
    fn new(limits: Limits, pending: &'a AtomicU64) -> Self {
        // A limit that is too far away for an `Instant` is none.
        let deadline = limits
            .wall
            .and_then(|wall| Instant::now().checked_add(wall));
        Self {
            limits,
            deadline,
            pending,
        }
    }
}

impl Machine {
    /// Has the machine keep what it takes to go back, from here on, in about `limit` of memory at
    /// most. When there is no room for more, the history begins later. Its run stays the same, and
    /// takes longer.
    ///
    /// # Errors
    /// [`Error::NoHistory`] if its run does not repeat, or has effects that cannot be undone.
    pub fn keep_history(&mut self, limit: ByteSize) -> Result<(), Error> {
        match self.why_no_history() {
            Some(why) => return Err(Error::NoHistory(why)),
            None => self.history = None,
        }
        let held = Held::default();
        let first = Checkpoint::of(self, None, &held)?;
        self.history = Some(Box::new(History {
            kept: Kept::new(Arc::new(first)),
            held,
            limit: limit.0,
        }));
        self.context.passage.kept = true;
        self.set_due();
        Ok(())
    }

    /// Returns whether it can go back.
    pub fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// Returns after how many instructions its history begins, if it has one.
    pub fn history_start(&self) -> Option<u64> {
        let first = self.history.as_ref()?.kept.first()?;
        Some(first.instructions)
    }

    /// Returns the bytes of memory that the pages of its history take.
    pub fn history_bytes(&self) -> u64 {
        self.history
            .as_ref()
            .map_or(0, |history| history.held.bytes())
    }

    fn why_no_history(&self) -> Option<NoHistory> {
        if self.controller.vm().is_some() {
            return Some(NoHistory::Kvm);
        }
        if self.context.faults.is_some() {
            return Some(NoHistory::Faults);
        }
        match (&self.context.pace, &self.context.timing) {
            (Pace::Record(..), _) => Some(NoHistory::Recorded),
            // Neither it nor a machine that goes on from a snapshot writes to a disk's file,
            // whatever the configuration says.
            (Pace::Replay(_), _) => None,
            (Pace::Free, Timing::Host(_)) => Some(NoHistory::HostTime),
            (Pace::Free, Timing::Virtual(_)) if self.origin.is_some() => None,
            (Pace::Free, Timing::Virtual(_)) => NoHistory::of(&self.config),
        }
    }

    /// Has the next run go to `until` before observers are interrupted
    /// ([`StopHandle::interrupt`](super::StopHandle::interrupt)), so that they are there then.
    pub fn go_first_to(&mut self, until: Until) {
        self.context.passage.until = Some(Until {
            told: true,
            ..until
        });
    }

    /// Goes back, or on, to where the cores have retired so many instructions, without observers
    /// being told of what is on the way. Between two calls of [`run`](Machine::run). Returns why
    /// the run ended if it did so before; `None` if the machine is there.
    ///
    /// # Errors
    /// The machine has no history, or it begins later.
    pub fn go_to(&mut self, instructions: u64) -> Result<Option<Reason>, Error> {
        let missing = || Error::NoCheckpoint(instructions);
        if instructions < self.instructions() {
            let checkpoint = self.last_checkpoint_at(instructions);
            checkpoint.ok_or_else(missing)?.put_back(self)?;
            self.set_due();
        }
        Ok(self.run_to(Until::instructions(instructions), Limits::default()))
    }

    /// Runs on to `until`, without observers being told of what is on the way. Between two calls of
    /// [`run`](Self::run). Returns why the run ended, or which limit it reached, if it did so
    /// before; `None` if the machine is there.
    pub fn run_to(&mut self, until: Until, limits: Limits) -> Option<Reason> {
        // One that was asked for before is not meant.
        self.context.control.take_console_stop();
        let passed = self.on_course(limits, |machine, course| machine.pass(until, course));
        if let Err(reason) = passed {
            self.last = Some(reason);
        }
        self.context.uart.flush();
        self.last
    }

    /// Goes back as an observer could ([`Resume::Back`](crate::Resume)). Between two calls of
    /// [`run`](Self::run). Returns where it arrived; `None` if it stays where it is, as someone
    /// interrupts it or there is no history.
    ///
    /// # Errors
    /// Someone ended the run on the way.
    pub fn back(&mut self, how: Backward) -> Result<Option<Arrival>, Reason> {
        if !self.has_history() {
            return Ok(None);
        }
        self.on_course(Limits::default(), |machine, course| {
            machine.go_back(how, course)?;
            Ok(machine.context.passage.arrival.take())
        })
    }

    /// Does something that takes the machine to elsewhere in its run.
    fn on_course<T>(
        &mut self,
        limits: Limits,
        go: impl FnOnce(&mut Self, &Course<'_>) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        self.context.control.begin();
        self.last = None;
        // Without a device thread no work is ever pending.
        let nothing = Arc::new(AtomicU64::new(0));
        let pending = self.worker.as_ref().map_or(nothing, Worker::pending);
        let course = Course::new(limits, &pending);
        let alarm = self.alarm(&limits);
        let gone = go(self, &course);
        // It must not interrupt a later run.
        drop(alarm);
        gone
    }

    /// Returns the instructions up to which its run is known, as it was there before it went back;
    /// those that are retired if it is nowhere else.
    pub fn known_instructions(&self) -> u64 {
        self.context.passage.known.max(self.instructions())
    }

    /// Returns the places of its history's checkpoints, in instructions of all cores: from each the
    /// run can be repeated at once.
    pub fn checkpoints(&self) -> Vec<u64> {
        let history = self.history.as_ref();
        let kept = history.into_iter().flat_map(|history| history.kept.iter());
        kept.map(|checkpoint| checkpoint.instructions).collect()
    }

    /// Runs until the run is over, going back on the way as observers want it.
    pub(super) fn run_through(&mut self, limits: Limits, pending: &AtomicU64) -> Reason {
        let course = Course::new(limits, pending);
        let mut silence = Silence::default();
        let reason = loop {
            let reason = self.run_loop(&course, &mut silence);
            let gone_back = match self.context.passage.take_pause() {
                None => break reason,
                Some(Pause::Checkpoint) => {
                    self.add_checkpoint();
                    Ok(())
                }
                Some(Pause::Back(backward)) => self.go_back(backward, &course),
                // Where it was to go first.
                Some(Pause::Arrived(_)) => Ok(()),
                Some(Pause::Over(reason)) => Err(reason),
            };
            if let Err(reason) = gone_back {
                break reason;
            }
        };
        // What ended the run may have come on the way to somewhere.
        self.context.passage.until = None;
        self.context.passage.arrival = None;
        reason
    }

    fn run_loop(&mut self, course: &Course<'_>, silence: &mut Silence) -> Reason {
        let mut run = RunLoop {
            context: &mut self.context,
            pending: course.pending,
            limits: course.limits,
            deadline: course.deadline,
            silence: *silence,
        };
        let reason = run.run();
        *silence = run.silence;
        reason
    }

    /// Adds a checkpoint here, if the last one is not near.
    fn add_checkpoint(&mut self) {
        let now = self.instructions();
        let last = self.last_checkpoint_at(now);
        if last.is_some_and(|last| now - last.instructions >= INTERVAL / 2) {
            self.leave_checkpoint();
        }
        self.set_due();
    }

    /// Adds a checkpoint here.
    fn leave_checkpoint(&mut self) {
        let now = self.instructions();
        let last = self.last_checkpoint_at(now);
        let Some(mut history) = self.history.take() else {
            return;
        };
        match Checkpoint::of(self, last.as_deref(), &history.held) {
            Ok(checkpoint) => {
                history.kept.add(Arc::new(checkpoint));
                history.thin(now);
            }
            // More has to be run again from the one before.
            Err(why) => tracing::warn!("no checkpoint after instruction {now}: {why}"),
        }
        self.history = Some(history);
    }

    /// Has the run pause where the next checkpoint is due.
    fn set_due(&mut self) {
        let now = self.instructions();
        let last = self.last_checkpoint_at(now);
        self.context.passage.due = last.map(|last| {
            let whole = now.saturating_sub(self.history_start().unwrap_or(now));
            last.instructions + INTERVAL.max(whole / PARTS)
        });
    }
}
