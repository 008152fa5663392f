//! Where to go back to, and the way there.

use std::sync::Arc;

use super::Course;
use super::checkpoint::Checkpoint;
use crate::vcpu::{Arrival, Backward, Pause, Silence, Stop, Until};
use crate::{Error, Machine, Reason};

/// From a checkpoint that is no further away than this many instructions a place is reached at
/// once.
const NEAR: u64 = 1 << 12;
/// On the way to a place that is further away, checkpoints are left where this part of it is left:
/// who has gone back one step mostly goes on to do so.
const REST: u64 = 64;
/// As many instructions of a core may be stepped one by one.
const STEPPED: u64 = 64;

/// A place to go back to.
enum Place {
    /// The beginning of the history.
    Begin,
    /// After so many instructions, of which this is told.
    At(u64, Stop),
    /// The stop of this number after a checkpoint, met after so many instructions.
    Stop(Arc<Checkpoint>, u64, u64),
    /// Where the machine is, of which this is told, if anything is.
    Here(Option<Stop>),
}

impl Machine {
    /// Goes back, and has observers told where it has arrived before the run goes on.
    ///
    /// # Errors
    /// Why the run is over: someone ended it on the way, or a limit did.
    pub(super) fn go_back(&mut self, how: Backward, course: &Course<'_>) -> Result<(), Reason> {
        // While the way is looked for nothing is added to the history.
        self.context.passage.due = None;
        let place = match how {
            Backward::Step { core } => self.last_step(core, course)?,
            Backward::Continue => self.last_stop(course)?,
        };
        self.context.passage.arrival = match place {
            Place::Begin => {
                if let Some(first) = self.checkpoint(0) {
                    self.put_back(&first)?;
                }
                Some(Arrival::Begin)
            }
            Place::At(instructions, stop) => {
                self.approach(instructions, course)?;
                Some(Arrival::Stop(stop))
            }
            Place::Stop(checkpoint, number, instructions) => {
                self.put_back(&checkpoint)?;
                let until = Until {
                    stops: Some(number),
                    // It comes before the next instruction; this is for a machine that does
                    // something else.
                    ..Until::instructions(instructions + 1)
                };
                self.context.passage.met = None;
                let stop = self.pass(until, course)?;
                stop.map(Arrival::Stop)
            }
            Place::Here(stop) => stop.map(Arrival::Stop),
        };
        self.set_due();
        Ok(())
    }

    /// Returns checkpoint `index`.
    fn checkpoint(&self, index: usize) -> Option<Arc<Checkpoint>> {
        let history = self.history.as_ref()?;
        history.kept.get(index).map(Arc::clone)
    }

    /// Returns the last checkpoint after at most so many instructions.
    pub(super) fn last_checkpoint_at(&self, instructions: u64) -> Option<Arc<Checkpoint>> {
        let history = self.history.as_ref()?;
        history.kept.last_at(instructions).map(Arc::clone)
    }

    /// Returns the last checkpoint that `is_before` holds for, of those of which it holds for the
    /// first ones.
    fn last_checkpoint(&self, is_before: impl Fn(&Checkpoint) -> bool) -> Option<Arc<Checkpoint>> {
        let count = self.history.as_ref()?.kept.count(|one| is_before(one));
        self.checkpoint(count.checked_sub(1)?)
    }

    fn put_back(&mut self, checkpoint: &Checkpoint) -> Result<(), Reason> {
        checkpoint.put_back(self).map_err(|why: Error| {
            tracing::error!("{why}");
            Reason::Stopped
        })
    }

    /// Runs to `until`, with nobody being told of what is on the way; returns the stop there, if it
    /// is one.
    ///
    /// # Errors
    /// Why the run is over before it comes there.
    pub(super) fn pass(
        &mut self,
        until: Until,
        course: &Course<'_>,
    ) -> Result<Option<Stop>, Reason> {
        self.context.passage.until = Some(until);
        let mut silence = Silence::default();
        loop {
            let reason = self.run_loop(course, &mut silence);
            match self.context.passage.take_pause() {
                None => {
                    self.context.passage.until = None;
                    return Err(reason);
                }
                Some(Pause::Arrived(stop)) => return Ok(stop),
                Some(Pause::Over(reason)) => {
                    self.last = Some(reason);
                    return Ok(None);
                }
                Some(Pause::Checkpoint) => self.add_checkpoint(),
                // Nobody is asked on the way.
                Some(Pause::Back(_)) => {}
            }
        }
    }

    /// Goes to where so many instructions are retired, which lies in the history, and leaves
    /// checkpoints close to it.
    fn approach(&mut self, instructions: u64, course: &Course<'_>) -> Result<(), Reason> {
        let Some(from) = self.last_checkpoint_at(instructions) else {
            return Ok(());
        };
        self.put_back(&from)?;
        loop {
            let left = instructions.saturating_sub(self.instructions());
            if left <= NEAR {
                return self
                    .pass(Until::instructions(instructions), course)
                    .map(drop);
            }
            self.pass(Until::instructions(instructions - left / REST), course)?;
            self.leave_checkpoint();
        }
    }

    /// Returns the place before the last instruction of core `core`.
    fn last_step(&mut self, core: usize, course: &Course<'_>) -> Result<Place, Reason> {
        let now = self.instructions();
        let Some(retired) = self.retired_by(core).filter(|retired| *retired > 0) else {
            return Ok(Place::Begin);
        };
        let stop = Stop::Step { core };
        let before = |one: &Checkpoint| one.cores.get(core).is_some_and(|of| *of < retired);
        if self.last_checkpoint(before).is_none() {
            return Ok(Place::Begin);
        }
        // Mostly the last instruction of all was this core's, and always if there is no other.
        self.approach(now - 1, course)?;
        if self.retired_by(core) == Some(retired - 1) {
            return Ok(Place::Here(Some(stop)));
        }
        let Some(from) = self.last_checkpoint(before) else {
            return Ok(Place::Begin);
        };
        self.put_back(&from)?;
        // In as many instructions as the core has left it cannot have gone too far, whichever cores
        // execute them.
        loop {
            let left = retired - self.retired_by(core).unwrap_or(retired).min(retired);
            if left <= STEPPED {
                break;
            }
            let next = self.instructions() + left - STEPPED;
            self.pass(Until::instructions(next), course)?;
        }
        let until = Until {
            step: Some((core, retired)),
            ..Until::instructions(now)
        };
        self.set_step(core, true);
        let passed = self.pass(until, course);
        self.set_step(core, false);
        passed?;
        Ok(Place::At(self.instructions() - 1, stop))
    }

    fn retired_by(&mut self, core: usize) -> Option<u64> {
        let cluster = self.context.vcpus.cluster()?;
        (core < cluster.len()).then(|| cluster.state(core).retired)
    }

    fn set_step(&mut self, core: usize, on: bool) {
        if let Some(cluster) = self.context.vcpus.cluster() {
            cluster.set_step(core, on);
        }
    }

    /// Returns the place of the last stop before this one that an observer wants.
    fn last_stop(&mut self, course: &Course<'_>) -> Result<Place, Reason> {
        let mut end = self.instructions();
        while let Some(from) = self.last_checkpoint(|one| one.instructions < end) {
            self.put_back(&from)?;
            self.context.passage.met = None;
            self.pass(Until::instructions(end), course)?;
            if let Some(met) = self.context.passage.met.take() {
                return Ok(match met.stop {
                    // Whoever goes back comes to an access from behind.
                    Stop::Watchpoint { hit, .. } if hit.done => {
                        Place::At(met.instructions, met.stop)
                    }
                    Stop::Watchpoint { .. } => Place::At(met.instructions + 1, met.stop),
                    _ => Place::Stop(from, met.number, met.instructions),
                });
            }
            if self.context.control.interrupt_pending() {
                self.put_back(&from)?;
                // Someone wants to look at the machine.
                return Ok(Place::Here(None));
            }
            end = from.instructions;
        }
        Ok(Place::Begin)
    }
}
