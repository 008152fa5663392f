//! The machine's side: stops for the debugger, and carries out its orders.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use arm32::Watchpoint;
use vmm_machine::Reason;
use vmm_machine::vcpu::{Arrival, Backward, Cores, Halted, Resume, Stop, StopHandler};

use super::event::{Cause, Event};

/// The time for which the machine waits for an order before it looks whether the run must end.
const PATIENCE: Duration = Duration::from_millis(50);

/// A piece of work that the session's thread wants done while the machine is halted.
pub(super) type Job = Box<dyn FnOnce(&mut Halted<'_>, &mut StopRequests) + Send>;

/// An order of the session's thread.
pub(super) enum Order {
    /// Do this, and wait for more.
    Do(Job),
    /// Run on.
    Resume,
    /// Go back.
    Back(Backward),
    /// End the run.
    End,
}

/// The events that the debugger asked to stop for.
#[derive(Debug, Default)]
pub(super) struct StopRequests {
    pub breakpoints: BTreeSet<u64>,
    pub watchpoints: BTreeSet<Watchpoint>,
    /// The core that is stepped, and the range in which it is stepped on without telling the
    /// debugger.
    pub step: Option<(usize, Range<u64>)>,
}

impl StopRequests {
    /// Forgets everything, and has the machine forget it.
    pub fn clear(&mut self, halted: &mut Halted<'_>) {
        for va in std::mem::take(&mut self.breakpoints) {
            halted.cores.remove_breakpoint(va);
        }
        // Taken in any case; only 32-bit cores can have been given any.
        let watchpoints = std::mem::take(&mut self.watchpoints);
        if let Cores::Aarch32(cluster) = &mut halted.cores {
            for watchpoint in watchpoints {
                cluster.remove_watchpoint(watchpoint);
            }
        }
        self.free(halted);
    }

    /// Ends single steps, and lets all cores run.
    pub fn free(&mut self, halted: &mut Halted<'_>) {
        self.step = None;
        for core in 0..halted.cores.len() {
            halted.cores.set_step(core, false);
            halted.cores.set_held(core, false);
        }
    }

    /// Returns whether the debugger is to be told of `stop`.
    fn covers(&self, stop: Stop, halted: &mut Halted<'_>) -> bool {
        match stop {
            // Probes set breakpoints as well, of which the debugger must not hear.
            Stop::Breakpoint { pc, .. } => self.breakpoints.contains(&pc),
            Stop::Watchpoint { hit, .. } => self.watchpoints.contains(&hit.watchpoint),
            Stop::Step { core } => self.step.as_ref().is_some_and(|(stepped, on)| {
                // A step within the range that the debugger named goes on without it being told.
                let pc = halted.core(core).map(|core| core.pc());
                *stepped == core && !pc.is_some_and(|pc| on.contains(&pc))
            }),
            _ => false,
        }
    }
}

/// The machine's side of a debugger's session.
pub(super) struct Observer {
    /// The session's thread asked for an interrupt that did not come yet.
    pub interrupt: Arc<AtomicBool>,
    pub events: SyncSender<Event>,
    /// `None` when the run is over.
    pub orders: Option<Receiver<Order>>,
    pub wanted: StopRequests,
    pub thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Tells the session's thread why the machine stands still, and does what it says until it lets
    /// the guest run.
    fn obey(&mut self, cause: Cause, halted: &mut Halted<'_>) -> Resume {
        let Some(orders) = &self.orders else {
            return Resume::Continue;
        };
        // What the guest has written so far is on the user's terminal before the debugger shows
        // where it is.
        halted.flush_console();
        // Other cores may run again, and no step may be left over: the debugger decides anew how
        // each goes on.
        self.wanted.free(halted);
        self.interrupt.store(false, Ordering::Release);
        let current = halted.cores.current();
        let mut resume = Resume::Continue;
        if self.events.send(Event::Stopped { cause, current }).is_ok() {
            // With a timeout, as a debugger may be silent for good, and a limit of the run or a
            // user's interrupt must end it.
            while !halted.must_end() {
                match orders.recv_timeout(PATIENCE) {
                    Ok(Order::Do(job)) => job(halted, &mut self.wanted),
                    Ok(Order::Resume) => break,
                    Ok(Order::Back(how)) => {
                        resume = Resume::Back(how);
                        break;
                    }
                    Ok(Order::End) => {
                        resume = Resume::End;
                        break;
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    // The session's thread is gone: the guest runs on as if there had been no
                    // debugger.
                    Err(RecvTimeoutError::Disconnected) => {
                        self.wanted.clear(halted);
                        break;
                    }
                }
            }
        }
        resume
    }
}

impl StopHandler for Observer {
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume {
        if self.wanted.covers(stop, halted) {
            self.obey(Cause::Stop(stop), halted)
        } else {
            Resume::Continue
        }
    }

    fn interrupted(&mut self, halted: &mut Halted<'_>) -> Resume {
        // Others interrupt the machine, too; only what the session asked for halts it.
        if self.interrupt.load(Ordering::Acquire) {
            self.obey(Cause::Interrupt, halted)
        } else {
            Resume::Continue
        }
    }

    fn arrived(&mut self, arrival: Arrival, halted: &mut Halted<'_>) -> Resume {
        self.obey(Cause::Arrival(arrival), halted)
    }

    fn wants(&self, stop: Stop) -> bool {
        match stop {
            Stop::Breakpoint { pc, .. } => self.wanted.breakpoints.contains(&pc),
            Stop::Watchpoint { hit, .. } => self.wanted.watchpoints.contains(&hit.watchpoint),
            // Steps are not looked for.
            _ => false,
        }
    }

    fn ended(&mut self, reason: Reason) {
        // What was ordered and not done is dropped, and who waits for it is told so.
        self.orders = None;
        // The session may have ended before the run: then nobody needs to know.
        let _ = self.events.send(Event::Ended(reason));
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic of its own was reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // A machine that is dropped before its run ended: the session's thread must end all the
        // same.
        if self.orders.is_some() {
            self.ended(Reason::Stopped);
        }
    }
}
