//! The machine as the protocol's library wants it: every question becomes an order to the machine's
//! thread.

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, sync_channel};

use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume,
    MultiThreadResumeOps, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps,
    MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::reverse_exec::{ReverseContOps, ReverseStepOps};
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::breakpoints::BreakpointsOps;
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps, outputln};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{self, TargetError, TargetResult};
use vmm_machine::vcpu::{Backward, Core, Halted};

use super::isa::Isa;
use super::observer::{Order, StopRequests};
use super::registers::{self, Id, Values};
use super::{memory, monitor};

/// EFAULT, as the remote protocol numbers errors.
const EFAULT: u8 = 14;
/// EROFS, of the guest whose run is known already.
const EROFS: u8 = 30;

/// The machine is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the machine's run is over")]
pub(super) struct MachineGone;

/// The way in which one core is to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Continue,
    /// Step on while inside the range.
    Step(Range<u64>),
}

/// What a debugger can do with a machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    /// The number of its cores.
    pub cores: usize,
    /// Whether accesses can be watched.
    pub watches: bool,
    /// Whether it can go back. Then it cannot be changed: its run has to be the same each time.
    pub history: bool,
}

/// The machine, seen from the session's thread.
pub(super) struct Target<I> {
    pub(super) abilities: Abilities,
    orders: Sender<Order>,
    interrupt: Arc<AtomicBool>,
    /// The machine is halted, and carries out orders.
    pub halted: bool,
    actions: Vec<Option<Action>>,
    /// Cores without an action get no turn.
    locked: bool,
    /// The core whose registers were looked at last.
    seen: usize,
    isa: PhantomData<I>,
}

/// Returns the thread number of a core: from 1, as 0 means any thread in the protocol.
pub(super) fn tid(core: usize) -> Tid {
    NonZeroUsize::MIN.saturating_add(core)
}

/// Returns the core of a thread number.
fn core(tid: Tid) -> usize {
    tid.get() - 1
}

impl<I: Isa> Target<I> {
    /// Creates the view of a machine with these abilities.
    pub fn new(abilities: Abilities, orders: Sender<Order>, interrupt: Arc<AtomicBool>) -> Self {
        Self {
            abilities,
            orders,
            interrupt,
            halted: false,
            actions: vec![None; abilities.cores],
            locked: false,
            seen: 0,
            isa: PhantomData,
        }
    }

    /// Sends an order; returns `false` if nobody is there to carry it out.
    pub fn send(&self, order: Order) -> bool {
        self.orders.send(order).is_ok()
    }

    /// Has the machine's thread do `job`.
    pub fn ask<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Halted<'_>, &mut StopRequests) -> R + Send + 'static,
    ) -> Result<R, MachineGone> {
        // Room for the one answer: the machine's thread does not wait for it to be taken.
        let (answer, answered) = sync_channel(1);
        let job = Box::new(move |halted: &mut Halted<'_>, wanted: &mut StopRequests| {
            // Whoever asked waits for the answer, and has only gone if its thread has ended.
            let _ = answer.send(job(halted, wanted));
        });
        self.orders.send(Order::Do(job)).map_err(|_| MachineGone)?;
        // Fails where the run ends before the job is done: the job is dropped, and its sender with
        // it.
        answered.recv().map_err(|_| MachineGone)
    }

    /// Asks as [`Target::ask`] does, about the core of `tid`; an error while the guest runs, and
    /// for a core that is not there.
    fn ask_core<R: Send + 'static>(
        &self,
        tid: Tid,
        job: impl FnOnce(Core<'_>) -> R + Send + 'static,
    ) -> TargetResult<R, Self> {
        // Not fatal: the debugger is told of an error, and the session goes on.
        if !self.halted {
            return Err(TargetError::NonFatal);
        }
        self.ask(move |halted, _| halted.core(core(tid)).map(job))
            .map_err(TargetError::Fatal)?
            .ok_or(TargetError::NonFatal)
    }

    /// Returns an error if the guest cannot be changed.
    fn changes(&self) -> TargetResult<(), Self> {
        match self.abilities.history {
            true => Err(TargetError::Errno(EROFS)),
            false => Ok(()),
        }
    }

    /// Has the machine run again: `order` says how.
    fn go_on(&mut self, order: Order) -> Result<(), MachineGone> {
        self.halted = false;
        // An interrupt that was asked for while the machine stood still is no longer meant.
        self.interrupt.store(false, Ordering::Release);
        if self.send(order) {
            Ok(())
        } else {
            Err(MachineGone)
        }
    }

    /// Has the machine go back.
    pub fn go_back(&mut self, how: Backward) -> Result<(), MachineGone> {
        if !self.halted {
            return Ok(());
        }
        self.go_on(Order::Back(how))
    }

    /// Returns the core that the debugger goes back with: the one that it looks at. It names one,
    /// too, but names the first where it means all of them.
    pub const fn core_to_step(&self) -> usize {
        self.seen
    }

    fn set_action(&mut self, tid: Tid, action: Action) {
        // A debugger may name any thread.
        if let Some(slot) = self.actions.get_mut(core(tid)) {
            *slot = Some(action);
        }
    }
}

impl<I: Isa> target::Target for Target<I> {
    type Arch = I;
    type Error = MachineGone;

    fn base_ops(&mut self) -> BaseOps<'_, I, MachineGone> {
        BaseOps::MultiThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Isa> MultiThreadBase for Target<I> {
    fn read_registers(&mut self, regs: &mut Values<I>, tid: Tid) -> TargetResult<(), Self> {
        self.seen = core(tid);
        let all = self.ask_core(tid, |core| Values::of(&core))?;
        *regs = all.ok_or(TargetError::NonFatal)?;
        Ok(())
    }

    fn write_registers(&mut self, regs: &Values<I>, tid: Tid) -> TargetResult<(), Self> {
        self.changes()?;
        let regs = regs.clone();
        let wrote = self.ask_core(tid, move |mut core| regs.write(&mut core))?;
        wrote.ok_or(TargetError::NonFatal)
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn read_addrs(
        &mut self,
        start: I::Address,
        data: &mut [u8],
        tid: Tid,
    ) -> TargetResult<usize, Self> {
        let (start, len) = (start.into(), data.len());
        let read = self.ask_core(tid, move |core| memory::read(&core, start, len))?;
        // The protocol allows a shorter answer, but none at all is an error.
        if read.is_empty() && len > 0 {
            return Err(TargetError::Errno(EFAULT));
        }
        data[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    fn write_addrs(&mut self, start: I::Address, data: &[u8], tid: Tid) -> TargetResult<(), Self> {
        self.changes()?;
        let (start, data) = (start.into(), data.to_vec());
        let wrote = self.ask_core(tid, move |mut core| memory::write(&mut core, start, &data))?;
        wrote.ok_or(TargetError::Errno(EFAULT))
    }

    fn list_active_threads(&mut self, active: &mut dyn FnMut(Tid)) -> Result<(), MachineGone> {
        // Cores that are off are threads, too: the debugger sees the same ones all the time.
        (0..self.abilities.cores).for_each(|core| active(tid(core)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }

    fn support_thread_extra_info(&mut self) -> Option<ThreadExtraInfoOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Isa> SingleRegisterAccess<Tid> for Target<I> {
    fn read_register(&mut self, tid: Tid, reg: Id<I>, buf: &mut [u8]) -> TargetResult<usize, Self> {
        self.seen = core(tid);
        let bytes = self.ask_core(tid, move |core| registers::read(&core, reg))?;
        let bytes = bytes.ok_or(TargetError::NonFatal)?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_register(&mut self, tid: Tid, reg: Id<I>, val: &[u8]) -> TargetResult<(), Self> {
        self.changes()?;
        let bytes = val.to_vec();
        let wrote = self.ask_core(tid, move |mut core| {
            registers::write(&mut core, reg, &bytes)
        })?;
        wrote.ok_or(TargetError::NonFatal)
    }
}

impl<I: Isa> ThreadExtraInfo for Target<I> {
    fn thread_extra_info(&self, tid: Tid, buf: &mut [u8]) -> Result<usize, MachineGone> {
        if !self.halted {
            return Ok(0);
        }
        let power = self.ask(move |halted, _| halted.cores.power(core(tid)))?;
        let text = monitor::power_text(power).as_bytes();
        let len = text.len().min(buf.len());
        buf[..len].copy_from_slice(&text[..len]);
        Ok(len)
    }
}

impl<I: Isa> MultiThreadResume for Target<I> {
    fn resume(&mut self) -> Result<(), MachineGone> {
        if !self.halted {
            return Ok(());
        }
        let actions = self.actions.clone();
        // Cores that get no turn are another run.
        let locked = self.locked && !self.abilities.history;
        self.ask(move |halted, wanted| {
            for (core, action) in actions.into_iter().enumerate() {
                // With scheduler locking, cores that the debugger did not name get no turn.
                halted.cores.set_held(core, locked && action.is_none());
                if let Some(Action::Step(range)) = action {
                    halted.cores.set_step(core, true);
                    wanted.step = Some((core, range));
                }
            }
        })?;
        self.go_on(Order::Resume)
    }

    fn clear_resume_actions(&mut self) -> Result<(), MachineGone> {
        self.actions.fill(None);
        self.locked = false;
        Ok(())
    }

    fn set_resume_action_continue(
        &mut self,
        tid: Tid,
        _signal: Option<Signal>,
    ) -> Result<(), MachineGone> {
        // A core cannot be sent the signal that a debugger may pass on to a program.
        self.set_action(tid, Action::Continue);
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_range_step(&mut self) -> Option<MultiThreadRangeSteppingOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, Tid, Self>> {
        self.abilities.history.then_some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, Tid, Self>> {
        self.abilities.history.then_some(self)
    }

    fn support_scheduler_locking(&mut self) -> Option<MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl<I: Isa> MultiThreadSingleStep for Target<I> {
    fn set_resume_action_step(
        &mut self,
        tid: Tid,
        _signal: Option<Signal>,
    ) -> Result<(), MachineGone> {
        // No address is in an empty range: the next stop is the step's end.
        self.set_action(tid, Action::Step(0..0));
        Ok(())
    }
}

impl<I: Isa> MultiThreadRangeStepping for Target<I> {
    fn set_resume_action_range_step(
        &mut self,
        tid: Tid,
        start: I::Address,
        end: I::Address,
    ) -> Result<(), MachineGone> {
        self.set_action(tid, Action::Step(start.into()..end.into()));
        Ok(())
    }
}

impl<I: Isa> MultiThreadSchedulerLocking for Target<I> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), MachineGone> {
        self.locked = true;
        Ok(())
    }
}

impl<I: Isa> MonitorCmd for Target<I> {
    fn handle_monitor_cmd(
        &mut self,
        cmd: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), MachineGone> {
        let command = String::from_utf8_lossy(cmd).into_owned();
        let answer = if self.halted {
            self.ask(move |halted, _| monitor::answer(&command, halted))?
        } else {
            "the guest runs: interrupt it first".into()
        };
        outputln!(out, "{answer}");
        Ok(())
    }
}
