//! Observers of a run: who is told when a core stops at a breakpoint, at a watched access or after
//! a step.
//!
//! An observer sets breakpoints and watchpoints in the [`Cores`] it is shown and is then called at
//! each stop. It may look at cores and memory, change them, and say whether the run goes on. A run
//! in which observers only look is the same run, to the instruction and to the nanosecond of
//! virtual time; a run without observers does not know of them.

mod cores;

use vmm_devices::uart::Console;

use super::Stop;
pub use cores::{Core, Cores, NoMemory};

/// The way in which a run goes on after a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// As if nothing had happened.
    Continue,
    /// It ends, with [`Reason::Stopped`](crate::Reason::Stopped).
    End,
    /// At an earlier place, of which observers are told ([`StopHandler::arrived`]). Of a machine
    /// without a history this is [`Continue`](Self::Continue).
    Back(Backward),
}

/// How a machine with a history goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backward {
    /// To before the last instruction of a core.
    Step {
        /// Its index.
        core: usize,
    },
    /// To the last stop before this place that an observer wants ([`StopHandler::wants`]).
    Continue,
}

/// Where a machine with a history has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// At a stop, having gone back. At a breakpoint, the core is about to execute the instruction,
    /// and at a watchpoint it has just made the access, which a step back undoes.
    Stop(Stop),
    /// At the beginning of the history.
    Begin,
    /// At its end, where the guest or its recording ends: the run is over unless an observer goes
    /// back.
    End,
}

/// The machine while it stands still. Virtual time stands still with it.
pub struct Halted<'a> {
    /// The cores: breakpoints, watchpoints, steps, registers and memory.
    pub cores: Cores<'a>,
    /// Guest time, in nanoseconds since power-on.
    pub now_ns: u64,
    /// Where the guest's kernel lies, for an observer to say who knows: the virtual address that it
    /// will be mapped to, and the physical one. Breakpoints in it can then be set before it is
    /// mapped, also where they are instructions in memory. Where an observer does not know the
    /// virtual address yet, it may take the physical one for both: a core that comes to such a
    /// breakpoint stops, by whatever address it executes it.
    pub image: Option<(u64, u64)>,
    pub(super) uart: &'a dyn Console,
    pub(super) must_end: &'a dyn Fn() -> bool,
}

impl Halted<'_> {
    /// Returns core `core`.
    pub fn core(&mut self, core: usize) -> Option<Core<'_>> {
        self.cores.core(core)
    }

    /// Returns whether someone wants the run to end, or its limit of wall time has passed: an
    /// observer that waits for something else shall give up and return.
    pub fn must_end(&self) -> bool {
        (self.must_end)()
    }

    /// Flushes what the guest wrote to its console to its sink.
    pub fn flush_console(&self) {
        self.uart.flush();
    }
}

/// Someone who is told of stops. Several may be: each is told of every stop, in the order in which
/// they were installed, and leaves alone what it did not ask for.
pub trait StopHandler {
    /// Handles a stop of a core: `stop` is a breakpoint, a watchpoint or a step.
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume;

    /// Handles a call of [`StopHandle::interrupt`](crate::StopHandle::interrupt).
    fn interrupted(&mut self, halted: &mut Halted<'_>) -> Resume {
        let _ = halted;
        Resume::Continue
    }

    /// Handles an arrival in a machine with a history.
    fn arrived(&mut self, arrival: Arrival, halted: &mut Halted<'_>) -> Resume {
        let _ = (arrival, halted);
        Resume::Continue
    }

    /// Returns whether a machine that goes back shall arrive at a stop like this one.
    fn wants(&self, stop: Stop) -> bool {
        let _ = stop;
        false
    }

    /// Handles the end of the run.
    fn ended(&mut self, reason: crate::Reason) {
        let _ = reason;
    }
}
