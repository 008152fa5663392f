//! Passing through what was run before, and pausing for the history of a machine.
//!
//! A machine that goes back restores a checkpoint and runs from there to where it is wanted. On the
//! way observers are told of nothing, and the stops that they want are only counted.

use std::sync::Arc;

use vmm_base::{Clock, Reason};

use super::super::observe::{Arrival, Backward};
use super::super::pace::Pace;
use super::super::timing::Timing;
use super::super::{Halted, Resume, Stop, StopHandler};
use super::RunLoop;

/// A place to which a machine runs before observers are asked for anything: the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// After so many instructions of all cores.
    pub instructions: Option<u64>,
    /// When the guest's clock shows so many nanoseconds since power-on.
    pub guest_ns: Option<u64>,
    /// When the console's sink asks for an end, or someone else
    /// ([`StopHandle::arrive`](crate::StopHandle::arrive)).
    pub asked: bool,
    /// At so many more stops that an observer wants.
    pub stops: Option<u64>,
    /// After the instruction with which this core has retired so many. The core is stepped.
    pub step: Option<(usize, u64)>,
    /// Whether observers are told of the stops on the way, which are met for the first time.
    pub told: bool,
}

impl Until {
    /// Returns no place at all.
    pub const NEVER: Self = Self {
        instructions: None,
        guest_ns: None,
        asked: false,
        stops: None,
        step: None,
        told: false,
    };

    /// Returns the place after so many instructions of all cores.
    pub const fn instructions(instructions: u64) -> Self {
        Self {
            instructions: Some(instructions),
            ..Self::NEVER
        }
    }
}

/// Why a run pauses without being over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// A checkpoint is due.
    Checkpoint,
    /// An observer wants to go back.
    Back(Backward),
    /// The run came to where it was to pass to; at this stop, if it is one.
    Arrived(Option<Stop>),
    /// It came there, and it was over there before, for this reason.
    Over(Reason),
}

/// A stop that an observer wants, met on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The stop.
    pub stop: Stop,
    /// How many there were with it.
    pub number: u64,
    /// The instructions retired by all cores then.
    pub instructions: u64,
}

/// What the run loop has to do with the history of its machine.
#[derive(Debug, Default)]
pub struct Passage {
    /// Whether there is a history.
    pub kept: bool,
    /// The instructions after which a checkpoint is due.
    pub due: Option<u64>,
    /// Where the run passes to.
    pub until: Option<Until>,
    /// The last wanted stop on the way there.
    pub met: Option<Met>,
    /// The instructions up to which the run is known, as it was there before it went back.
    pub known: u64,
    /// What observers are told before the run goes on.
    pub arrival: Option<Arrival>,
    pause: Option<Pause>,
}

impl Passage {
    /// Returns whether the run pauses.
    pub const fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Takes the reason for which the run pauses.
    pub const fn take_pause(&mut self) -> Option<Pause> {
        self.pause.take()
    }
}

impl RunLoop<'_> {
    /// Returns whether the run pauses before it goes on, and otherwise tells observers where it has
    /// arrived.
    pub(super) fn comes_to_a_pause(&mut self) -> Result<bool, Reason> {
        if let Some(arrival) = self.context.passage.arrival.take() {
            self.tell(|observer, halted| observer.arrived(arrival, halted))?;
            return Ok(false);
        }
        let (retired, now_ns) = (self.context.vcpus.retired(), self.context.timing.now_ns());
        let passage = &mut self.context.passage;
        if let Some(until) = passage.until {
            let asked = until.asked && self.context.control.take_console_stop();
            let counted = until.instructions.is_some_and(|last| retired >= last);
            let late = until.guest_ns.is_some_and(|last| now_ns >= last);
            if asked || counted || late {
                passage.until = None;
                passage.pause = Some(Pause::Arrived(None));
                return Ok(true);
            }
        }
        // A queue that waits for the host cannot be saved with what it waits for.
        if passage.due.is_some_and(|due| retired >= due) && !self.context.schedule.is_waiting() {
            passage.pause = Some(Pause::Checkpoint);
        }
        Ok(passage.is_paused())
    }

    /// Returns whether the guest does what it has done before: then nothing comes from outside but
    /// what came then, and nobody waits for it.
    pub(super) fn is_known(&self) -> bool {
        self.context.vcpus.retired() < self.context.passage.known
    }

    /// Returns the number of instructions after which the run ends or arrives.
    pub(super) fn last_instruction(&self) -> Option<u64> {
        let until = self
            .context
            .passage
            .until
            .and_then(|until| until.instructions);
        self.limits.instructions.into_iter().chain(until).min()
    }

    /// Returns the guest time at which the run ends or arrives.
    pub(super) fn last_ns(&self) -> Option<u64> {
        let until = self.context.passage.until.and_then(|until| until.guest_ns);
        self.limits.guest_ns.into_iter().chain(until).min()
    }

    /// Returns the instructions until guest time `ns`, if there is one and they can be told.
    pub(super) fn left_until(&self, ns: Option<u64>) -> Option<u64> {
        match &self.context.timing {
            Timing::Virtual(clock) => clock.instructions_until(ns?),
            Timing::Host(_) => None,
        }
    }

    /// Tells observers of a stop, or counts it on the way to another place. An error is a pause
    /// there, or the end of the run.
    pub(super) fn meet(&mut self, stop: Stop) -> Result<(), Reason> {
        let Some(until) = self.context.passage.until.filter(|until| !until.told) else {
            return self.tell(|observer, halted| observer.stopped(stop, halted));
        };
        let arrived = if let Stop::Step { core } = stop {
            let cluster = self.context.vcpus.cluster();
            let is_last = |(stepped, last): (usize, u64)| {
                stepped == core && cluster.is_some_and(|all| all.state(core).retired >= last)
            };
            until.step.is_some_and(is_last)
        } else if self
            .context
            .observers
            .iter()
            .any(|observer| observer.wants(stop))
        {
            let instructions = self.context.vcpus.retired();
            let passage = &mut self.context.passage;
            let number = passage.met.map_or(0, |met| met.number) + 1;
            passage.met = Some(Met {
                stop,
                number,
                instructions,
            });
            until.stops.is_some_and(|last| number >= last)
        } else {
            false
        };
        if !arrived {
            return Ok(());
        }
        self.context.passage.until = None;
        self.context.passage.pause = Some(Pause::Arrived(Some(stop)));
        // Nobody hears of this reason.
        Err(Reason::Stopped)
    }

    /// Lets observers look once more where the guest, or its recording, has ended: they may want to
    /// go back. Returns why the run ends if they do not.
    pub(super) fn at_end(&mut self, reason: Reason) -> Reason {
        let by_guest = matches!(reason, Reason::PowerOff | Reason::Reset | Reason::GuestDead);
        let retired = self.context.vcpus.retired();
        let recorded = match &self.context.pace {
            Pace::Replay(replay) => {
                replay.ending() == Some(reason) && replay.next().instructions == retired
            }
            Pace::Free | Pace::Record(..) => false,
        };
        let passage = &mut self.context.passage;
        if !passage.kept || passage.is_paused() || !(by_guest || recorded) {
            return reason;
        }
        if let Some(until) = passage.until.filter(|until| !until.told) {
            // Whoever went back from the end passes through all up to there.
            if until.instructions.is_some_and(|last| retired >= last) {
                passage.until = None;
                passage.pause = Some(Pause::Over(reason));
            }
            return reason;
        }
        // Where it was to go first, it does not come.
        passage.until = None;
        let told = self.tell(|observer, halted| observer.arrived(Arrival::End, halted));
        told.err().unwrap_or(reason)
    }

    /// Calls observers if someone asked for it, and returns whether it was so.
    pub(super) fn interrupt(&mut self) -> Result<bool, Reason> {
        // On the way to another place they look at nothing; they will when it is there.
        if self.context.passage.until.is_some() || !self.context.control.take_interrupt() {
            return Ok(false);
        }
        self.tell(|observer, halted| observer.interrupted(halted))?;
        Ok(true)
    }

    /// Shows all observers the machine; returns the reason if one ends the run or wants to go back.
    fn tell(
        &mut self,
        mut what: impl FnMut(&mut dyn StopHandler, &mut Halted<'_>) -> Resume,
    ) -> Result<(), Reason> {
        let (control, deadline) = (Arc::clone(&self.context.control), self.deadline);
        let must_end = || control.pending() || super::passed(deadline);
        let now_ns = self.context.timing.now_ns();
        let Some(cores) = self.context.vcpus.show()? else {
            return Ok(());
        };
        let mut halted = Halted {
            cores,
            image: None,
            now_ns,
            uart: &*self.context.uart,
            must_end: &must_end,
        };
        let (mut ends, mut back) = (false, None);
        for observer in self.context.observers.iter_mut() {
            // All are told, also when one before has ended the run.
            match what(observer.as_mut(), &mut halted) {
                Resume::Continue => {}
                Resume::End => ends = true,
                Resume::Back(backward) => back = Some(backward),
            }
        }
        let image = halted.image;
        self.context.vcpus.hide(image)?;
        match back.filter(|_| self.context.passage.kept) {
            _ if ends => Err(Reason::Stopped),
            Some(backward) => {
                self.context.passage.pause = Some(Pause::Back(backward));
                // Nobody hears of this reason.
                Err(Reason::Stopped)
            }
            None => Ok(()),
        }
    }
}
