//! Gives the cores time until something ends the run.
//!
//! Work is given in slices. Between slices, and only there, console input passes its gate and
//! limits and requests are looked at; in virtual time the slices end at the same instruction in
//! every run. When all cores sleep, virtual time skips to the next event, and host time waits for
//! it, as virtual time does too while a person may type.

mod passage;
mod waiting;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vmm_base::Clock;
use vmm_base::{Limits, Reason};

use super::Stop;
use super::context::RunContext;
use super::pace::{self, Pace, RunSlice};
use super::timing::Timing;

pub use passage::{Passage, Pause, Until};
pub use waiting::Silence;

/// Instructions between looks at input, limits and requests: a few milliseconds of the host, a
/// millisecond of virtual time.
const SLICE: u64 = 1_000_000;
/// The same for a recorded run in host time, whose clock the host's moves on between slices only.
const RECORDED_SLICE: u64 = 50_000;
/// The longest sleep of the host without another look; bounds what a clock that jumps can do.
const MAX_SLEEP: Duration = Duration::from_secs(3600);
/// The same in host time: cores on threads of their own may go on without waking anyone.
const MAX_HOST_SLEEP: Duration = Duration::from_secs(1);

/// One run of a machine.
pub struct RunLoop<'a> {
    /// What it works with.
    pub context: &'a mut RunContext,
    /// Work of the device thread that is not done: it may yet raise an interrupt.
    pub pending: &'a AtomicU64,
    /// When to give up.
    pub limits: Limits,
    /// When their limit of wall time is reached.
    pub deadline: Option<Instant>,
    /// How long the guest has shown nothing.
    pub silence: Silence,
}

impl RunLoop<'_> {
    /// Runs to the end, or to a [`Pause`], of which observers do not hear.
    pub fn run(&mut self) -> Reason {
        let reason = self.run_slices();
        let reason = self.at_end(reason);
        if self.context.passage.is_paused() {
            return reason;
        }
        // Before anyone looks at what the cores did.
        self.context.vcpus.pause();
        if reason == Reason::WallTimeout {
            self.log_places();
        }
        let reason = self.end_as_recorded(reason);
        self.context
            .observers
            .iter_mut()
            .for_each(|o| o.ended(reason));
        reason
    }

    /// Logs where the cores stand, for who wonders what a guest did that came to no end.
    fn log_places(&mut self) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        if let Ok(Some(mut cores)) = self.context.vcpus.show() {
            for index in 0..cores.len() {
                let (power, pc) = (cores.power(index), cores.core(index).map(|core| core.pc()));
                tracing::info!("core {index} is {power:?} at {:#x}", pc.unwrap_or_default());
            }
        }
        // What fails here fails again when the machine goes on, and is said then.
        let _ = self.context.vcpus.hide(None);
    }

    fn run_slices(&mut self) -> Reason {
        loop {
            match self.comes_to_a_pause() {
                Ok(false) => {}
                // Nobody hears of this reason.
                Ok(true) => return Reason::Stopped,
                Err(reason) => return reason,
            }
            // Before anything is looked at: what changes later then ends the sleep at once.
            let ticket = self.context.waker.ticket();
            self.context.schedule.looked();
            let waits = self.waits_for_the_host();
            if let Some(reason) = self.must_end(waits) {
                return reason;
            }
            match self.interrupt() {
                Ok(false) => {}
                Ok(true) => continue,
                Err(reason) => return reason,
            }
            if waits {
                // Whoever ends the wait wakes the loop; until then the guest's clock stands still.
                self.sleep(None, ticket);
                continue;
            }
            // Here no device is locked, and this work locks them itself.
            self.context.deferred_work.run();
            if let Some(faults) = &self.context.faults {
                faults.run_due();
            }
            if self.context.schedule.run_due() || self.context.test_dma() {
                // A device has had its turn: requests and limits are looked at before the next has
                // its own.
                continue;
            }
            match self.begin_turn() {
                Ok(input) if input.is_empty() => {}
                Ok(input) => self.context.uart.feed(&input),
                Err(reason) => return reason,
            }
            // Now that the guest's clock shows what it does in this turn.
            self.context.alarms.iter().for_each(|alarm| alarm.tick());
            self.context.counters.slices += 1;
            let budget = self.budget();
            match self.slice(budget) {
                Ok(Stop::SystemOff) => return Reason::PowerOff,
                Ok(Stop::SystemReset) => return Reason::Reset,
                Ok(Stop::Idle { wake_ns }) => {
                    self.context.counters.idle += 1;
                    // Held cores run on when who holds them says so, and asleep among the rest is
                    // not dead.
                    let cluster = self.context.vcpus.cluster();
                    let held = cluster.is_some_and(|cluster| cluster.any_held());
                    if let Some(reason) = self.idle(wake_ns, held, ticket) {
                        return reason;
                    }
                }
                Ok(_) => {
                    // The host's clock does not wait for the end of a line.
                    if let Timing::Host(_) = self.context.timing {
                        self.context.uart.flush();
                    }
                }
                Err(reason) => return reason,
            }
        }
    }

    /// Returns whether virtual time stands still until the host has done what a queue waits for.
    fn waits_for_the_host(&self) -> bool {
        matches!(self.context.timing, Timing::Virtual(_)) && self.context.schedule.is_waiting()
    }

    /// Returns why the run ends now. While it waits for the host the guest's own limits have their
    /// time to come: how long it waits must not be seen in what the guest has done by then.
    fn must_end(&self, waits: bool) -> Option<Reason> {
        self.context.control.take().or_else(|| {
            if waits {
                self.is_late().then_some(Reason::WallTimeout)
            } else {
                self.exceeded()
            }
        })
    }

    /// Returns the state of the machine now.
    fn turn(&mut self) -> RunSlice {
        RunSlice {
            instructions: self.context.vcpus.retired(),
            now_ns: self.context.timing.now_ns(),
            check: pace::check(self.context.vcpus.cluster(), self.context.uart.digest()),
            input: Vec::new(),
        }
    }

    /// Lets in what comes from outside; the console's input.
    fn begin_turn(&mut self) -> Result<Vec<u8>, Reason> {
        if matches!(self.context.pace, Pace::Free) {
            let room = match self.is_known() {
                true => 0,
                false => self.context.uart.room(),
            };
            return Ok(self.context.gate.open(self.context.timing.now_ns(), room));
        }
        // The turn has the time that the guest sees from here on.
        self.catch_up();
        let mut turn = self.turn();
        match &mut self.context.pace {
            Pace::Free => {}
            Pace::Record(_, log) => {
                turn.input = self
                    .context
                    .gate
                    .open(turn.now_ns, self.context.uart.room());
                log(&turn);
            }
            Pace::Replay(replay) => {
                // The slice ended before its turn, as for a debugger: nothing comes until then.
                if turn.instructions < replay.next().instructions {
                    return Ok(Vec::new());
                }
                // All turns are over: the recorded run ended here.
                if let Some(reason) = replay.ending() {
                    return Err(replay.compare(&turn).err().unwrap_or(reason));
                }
                turn.input = replay.begin(&turn)?;
                // It comes from the recording and not through the gate, which keeps a record for
                // `console_record` all the same.
                self.context.gate.passed(turn.now_ns, &turn.input);
            }
        }
        Ok(turn.input)
    }

    /// Makes the guest's clock show the time of the host, or what that was, where it is the host's.
    fn catch_up(&self) {
        let Timing::Virtual(clock) = &self.context.timing else {
            return;
        };
        match &self.context.pace {
            Pace::Record(Some(host), _) => clock.advance_to(host.now_ns()),
            Pace::Replay(replay)
                if replay.host && replay.next().instructions == self.context.vcpus.retired() =>
            {
                // Never in the middle of a recorded slice, which a limit may cut in parts.
                clock.advance_to(replay.next().now_ns);
            }
            _ => {}
        }
    }

    /// Returns whether the guest itself ended the run where the recording does.
    fn end_as_recorded(&mut self, reason: Reason) -> Reason {
        let by_guest = matches!(reason, Reason::PowerOff | Reason::Reset | Reason::GuestDead);
        let found = self.turn();
        match &mut self.context.pace {
            Pace::Replay(replay) if by_guest => match replay.ending() {
                Some(recorded) if recorded == reason => {
                    replay.compare(&found).err().unwrap_or(reason)
                }
                _ => replay.diverged(format!("the guest {}", reason.sentence()), &found),
            },
            // Unless it is known already.
            Pace::Replay(replay) if reason == Reason::Diverged => {
                replay.diverged("the guest sleeps, and not in the recording,".into(), &found)
            }
            _ => reason,
        }
    }

    /// Gives the cores `budget` instructions. Observers are told of stops on the way, and the slice
    /// ends where it would without them.
    fn slice(&mut self, budget: u64) -> Result<Stop, Reason> {
        // One end for the whole slice, however many stops there are on the way.
        let end = self.context.vcpus.retired().saturating_add(budget);
        loop {
            let left = end.saturating_sub(self.context.vcpus.retired());
            match self.context.vcpus.run(&mut self.context.wires, left)? {
                stop @ (Stop::Breakpoint { .. }
                | Stop::Watchpoint { .. }
                | Stop::WatchedRam { .. }
                | Stop::Step { .. }) => self.meet(stop)?,
                Stop::Requested => {
                    self.interrupt()?;
                    // A device has work for later, which may be due before the
                    // end that was chosen without it.
                    if self.context.control.take_recheck() {
                        return Ok(Stop::Requested);
                    }
                }
                stop => return Ok(stop),
            }
            // Looked at after each stop, too: breakpoints and steps may follow each other for ever.
            if self.context.control.pending() || self.is_late() {
                return Ok(Stop::Requested);
            }
        }
    }

    /// Returns whether the limit of wall time is reached.
    fn is_late(&self) -> bool {
        passed(self.deadline)
    }

    fn exceeded(&self) -> Option<Reason> {
        // The guest's own limits first, so that the host's speed does not
        // choose between two that are reached.
        let limits = &self.limits;
        if limits
            .guest_ns
            .is_some_and(|limit| self.context.timing.now_ns() >= limit)
        {
            return Some(Reason::Timeout);
        }
        if limits
            .instructions
            .is_some_and(|limit| self.context.vcpus.retired() >= limit)
        {
            return Some(Reason::InstructionLimit);
        }
        self.is_late().then_some(Reason::WallTimeout)
    }

    /// Returns when something happens by itself next.
    fn next_event(&self) -> Option<u64> {
        let faults = self.context.faults.as_ref();
        let alarm = faults.and_then(|faults| faults.injection.next_alarm());
        let alarms = self.context.alarms.iter();
        let device = alarms.filter_map(|alarm| alarm.next_alarm()).min();
        let work = self.context.schedule.next();
        let tester = self.context.dma_tester.as_ref();
        let tester = tester.and_then(|tester| tester.next());
        let events = [
            alarm,
            device,
            work,
            tester,
            self.context.gate.next_scheduled(),
        ];
        events.into_iter().flatten().min()
    }

    /// Returns the instructions until the next point at which something must be looked at.
    fn budget(&self) -> u64 {
        let last = self.last_instruction();
        let mut budget = match &self.context.pace {
            Pace::Free | Pace::Record(None, _) => SLICE,
            Pace::Record(Some(_), _) => RECORDED_SLICE,
            // To the next turn, whose time is the only one at which something happens.
            Pace::Replay(replay) => {
                let next = replay.next().instructions;
                let end = next.min(last.unwrap_or(u64::MAX));
                // May be 0: while all cores slept, turns followed each other at one instruction.
                let left = end.saturating_sub(self.context.vcpus.retired());
                return self
                    .left_until(self.last_ns())
                    .map_or(left, |by_time| left.min(by_time));
            }
        };
        if let Some(last) = last {
            budget = budget.min(last.saturating_sub(self.context.vcpus.retired()));
        }
        if let Timing::Virtual(clock) = &self.context.timing {
            for event in self.last_ns().into_iter().chain(self.next_event()) {
                budget = budget.min(clock.instructions_until(event).unwrap_or(SLICE));
            }
        }
        // The guest goes on even if an event is due already.
        budget.max(1)
    }

    /// Waits, as all cores sleep or are `held`, until guest time `wake_ns` or an interrupt.
    fn idle(&mut self, wake_ns: Option<u64>, held: bool, ticket: u64) -> Option<Reason> {
        // Virtual time stands still while all cores sleep: a time that has come and woke nobody
        // never will.
        let wake_ns = wake_ns.filter(|ns| match &self.context.timing {
            Timing::Virtual(clock) => *ns > clock.now_ns(),
            Timing::Host(_) => true,
        });
        let event = wake_ns.into_iter().chain(self.next_event()).min();
        // A limit is no event: what nothing will wake is dead now, and
        // does not sleep up to its limit.
        let until = event
            .into_iter()
            .chain(self.last_ns().filter(|_| event.is_some()))
            .min();
        match &self.context.pace {
            Pace::Replay(replay) => return self.idle_again(replay, until),
            Pace::Record(Some(host), _) if until.is_some() || self.may_wake(ticket) => {
                // The guest's clock is virtual and follows the host's, so this sleep is a real one.
                let left = |ns: u64| Duration::from_nanos(ns.saturating_sub(host.now_ns()));
                let until = until.into_iter().chain(self.limits.guest_ns).min();
                self.sleep(until.map(left), ticket);
                return None;
            }
            _ => {}
        }
        let waits = self.waits_for_a_person() && !self.is_known();
        match (&self.context.timing, until) {
            (Timing::Virtual(clock), _) if waits && (until.is_some() || self.may_wake(ticket)) => {
                self.wait_in_virtual_time(clock, until.or(self.limits.guest_ns), ticket);
                None
            }
            (Timing::Virtual(clock), Some(ns)) => {
                // A prompt ends no line, and with its timers to wake it the guest may never come to
                // `sleep`.
                self.context.uart.flush();
                clock.skip_to(ns);
                None
            }
            (Timing::Host(clock), Some(ns)) => {
                self.sleep(
                    Some(Duration::from_nanos(ns.saturating_sub(clock.now_ns()))),
                    ticket,
                );
                None
            }
            (_, None) if held || self.may_wake(ticket) => {
                let limit = match &self.context.timing {
                    Timing::Host(clock) => {
                        let left =
                            |ns: u64| Duration::from_nanos(ns.saturating_sub(clock.now_ns()));
                        let limit = self.limits.guest_ns.map_or(MAX_HOST_SLEEP, left);
                        Some(limit.min(MAX_HOST_SLEEP))
                    }
                    // No time of the guest passes: only a wake-up or the deadline ends this.
                    Timing::Virtual(_) => None,
                };
                self.sleep(limit, ticket);
                None
            }
            (_, None) => Some(Reason::GuestDead),
        }
    }

    /// Lets time pass while all cores sleep as they did in the recorded run: to that of the next
    /// turn, or without one, the guest is dead.
    fn idle_again(&self, replay: &pace::Replay, until: Option<u64>) -> Option<Reason> {
        let next = replay.next();
        if replay.ending() == Some(Reason::GuestDead) && until.is_none() {
            return Some(Reason::GuestDead);
        }
        if next.instructions != self.context.vcpus.retired() {
            return Some(Reason::Diverged);
        }
        if let Timing::Virtual(clock) = &self.context.timing
            && !replay.host
        {
            // Not beyond the next turn, where something may have ended this sleep in the recorded
            // run. In host time `catch_up` sets the clock then.
            clock.skip_to(until.map_or(next.now_ns, |until| until.min(next.now_ns)));
        }
        None
    }

    /// Returns whether anything may yet wake a core: input, unfinished work of a device, or what
    /// happened since `ticket`.
    fn may_wake(&self, ticket: u64) -> bool {
        // In this order: a device raises its interrupt before its work counts as done.
        let work = self.context.gate.can_arrive(self.context.uart.room())
            || self.context.schedule.is_waiting()
            || self.pending.load(Ordering::Acquire) > 0;
        work || self.context.waker.ticket() != ticket
    }

    fn sleep(&self, time: Option<Duration>, ticket: u64) {
        // Someone may be waiting for what is shown: a prompt ends no line.
        self.context.uart.flush();
        let deadline = self.deadline;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let time = time
            .into_iter()
            .chain(left)
            .min()
            .unwrap_or(MAX_SLEEP)
            .min(MAX_SLEEP);
        self.context.waker.wait(ticket, Some(time));
    }
}

fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}
