//! The machine as the protocol's library wants it: every question becomes an order to the machine's
//! thread.

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, sync_channel};

use arm32::{Cluster, WatchKind, Watchpoint};
use gdbstub::common::{Signal, Tid};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread::{
    MultiThreadBase, MultiThreadRangeStepping, MultiThreadRangeSteppingOps, MultiThreadResume,
    MultiThreadResumeOps, MultiThreadSchedulerLocking, MultiThreadSchedulerLockingOps,
    MultiThreadSingleStep, MultiThreadSingleStepOps,
};
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind as Kind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps, outputln};
use gdbstub::target::ext::thread_extra_info::{ThreadExtraInfo, ThreadExtraInfoOps};
use gdbstub::target::{self, TargetError, TargetResult};
use vmm_machine::vcpu::{Core, Cores, Halted};

use super::isa::Isa;
use super::observer::{Order, StopRequests};
use super::registers::{self, Id, Values};
use super::{memory, monitor};

/// Breakpoints and watchpoints that a debugger may set, each: more than anyone uses, and little
/// memory.
const MAX_WANTED: usize = 10_000;
/// EFAULT, as the remote protocol numbers errors.
const EFAULT: u8 = 14;

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

/// The machine, seen from the session's thread.
pub(super) struct Target<I> {
    cores: usize,
    /// Whether accesses can be watched.
    watches: bool,
    orders: Sender<Order>,
    interrupt: Arc<AtomicBool>,
    /// The machine is halted, and carries out orders.
    pub halted: bool,
    actions: Vec<Option<Action>>,
    /// Cores without an action get no turn.
    locked: bool,
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

/// Returns a kind of watchpoint in the protocol's terms.
pub(super) const fn watch_kind(kind: WatchKind) -> Kind {
    match kind {
        WatchKind::Read => Kind::Read,
        WatchKind::Write => Kind::Write,
        WatchKind::Access => Kind::ReadWrite,
    }
}

/// Returns a watchpoint with addresses of 32 bits: 64-bit cores have none.
fn watchpoint<A: TryInto<u32>>(start: A, len: A, kind: Kind) -> Option<Watchpoint> {
    let kind = match kind {
        Kind::Read => WatchKind::Read,
        Kind::Write => WatchKind::Write,
        Kind::ReadWrite => WatchKind::Access,
    };
    let (start, len) = (start.try_into().ok()?, len.try_into().ok()?);
    Some(Watchpoint::new(start, len, kind))
}

impl<I: Isa> Target<I> {
    /// Creates the view of a machine of `cores` cores, whose accesses can be watched or not.
    pub fn new(
        cores: usize,
        watches: bool,
        orders: Sender<Order>,
        interrupt: Arc<AtomicBool>,
    ) -> Self {
        Self {
            cores,
            watches,
            orders,
            interrupt,
            halted: false,
            actions: vec![None; cores],
            locked: false,
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

    /// Changes what the debugger wants to stop for.
    fn want(
        &self,
        job: impl FnOnce(&mut Halted<'_>, &mut StopRequests) -> bool + Send + 'static,
    ) -> TargetResult<bool, Self> {
        // While the guest runs nobody takes orders: waiting for an answer would block the session.
        if !self.halted {
            return Err(TargetError::NonFatal);
        }
        self.ask(job).map_err(TargetError::Fatal)
    }

    /// Changes what the debugger wants to watch, where that can be watched.
    fn want_watched(
        &self,
        watchpoint: Option<Watchpoint>,
        job: impl FnOnce(Watchpoint, &mut Cluster, &mut StopRequests) -> bool + Send + 'static,
    ) -> TargetResult<bool, Self> {
        self.want(
            move |halted, wanted| match (watchpoint, &mut halted.cores) {
                (Some(watchpoint), Cores::Aarch32(cluster)) => job(watchpoint, cluster, wanted),
                _ => false,
            },
        )
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
        let all = self.ask_core(tid, |core| Values::of(&core))?;
        *regs = all.ok_or(TargetError::NonFatal)?;
        Ok(())
    }

    fn write_registers(&mut self, regs: &Values<I>, tid: Tid) -> TargetResult<(), Self> {
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
        let (start, data) = (start.into(), data.to_vec());
        let wrote = self.ask_core(tid, move |mut core| memory::write(&mut core, start, &data))?;
        wrote.ok_or(TargetError::Errno(EFAULT))
    }

    fn list_active_threads(&mut self, active: &mut dyn FnMut(Tid)) -> Result<(), MachineGone> {
        // Cores that are off are threads, too: the debugger sees the same ones all the time.
        (0..self.cores).for_each(|core| active(tid(core)));
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
        let bytes = self.ask_core(tid, move |core| registers::read(&core, reg))?;
        let bytes = bytes.ok_or(TargetError::NonFatal)?;
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_register(&mut self, tid: Tid, reg: Id<I>, val: &[u8]) -> TargetResult<(), Self> {
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
        let locked = self.locked;
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
        self.halted = false;
        // An interrupt that was asked for while the machine stood still is no longer meant.
        self.interrupt.store(false, Ordering::Release);
        if self.send(Order::Resume) {
            Ok(())
        } else {
            Err(MachineGone)
        }
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

impl<I: Isa> Breakpoints for Target<I> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        self.watches.then_some(self)
    }
}

impl<I: Isa> SwBreakpoint for Target<I> {
    fn add_sw_breakpoint(&mut self, addr: I::Address, _kind: usize) -> TargetResult<bool, Self> {
        // Bit 0 of a function's address says Thumb, and is no part of it.
        let va = addr.into() & !1;
        self.want(move |halted, wanted| {
            if wanted.breakpoints.len() >= MAX_WANTED {
                return false;
            }
            // Inserted once however often it is asked for: the machine counts insertions.
            if wanted.breakpoints.insert(va) {
                halted.cores.insert_breakpoint(va);
            }
            true
        })
    }

    fn remove_sw_breakpoint(&mut self, addr: I::Address, _kind: usize) -> TargetResult<bool, Self> {
        let va = addr.into() & !1;
        self.want(move |halted, wanted| {
            // Only what the debugger has set: other observers, such as probes, have breakpoints of
            // their own.
            wanted.breakpoints.remove(&va) && halted.cores.remove_breakpoint(va)
        })
    }
}

impl<I: Isa> HwBreakpoint for Target<I> {
    fn add_hw_breakpoint(&mut self, addr: I::Address, kind: usize) -> TargetResult<bool, Self> {
        // Both kinds are the machine's breakpoints, which change no memory that a debugger sees.
        self.add_sw_breakpoint(addr, kind)
    }

    fn remove_hw_breakpoint(&mut self, addr: I::Address, kind: usize) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(addr, kind)
    }
}

impl<I: Isa> HwWatchpoint for Target<I> {
    fn add_hw_watchpoint(
        &mut self,
        addr: I::Address,
        len: I::Address,
        kind: Kind,
    ) -> TargetResult<bool, Self> {
        self.want_watched(
            watchpoint(addr, len, kind),
            |watchpoint, cluster, wanted| {
                if wanted.watchpoints.len() >= MAX_WANTED {
                    return false;
                }
                if wanted.watchpoints.insert(watchpoint) {
                    cluster.insert_watchpoint(watchpoint);
                }
                true
            },
        )
    }

    fn remove_hw_watchpoint(
        &mut self,
        addr: I::Address,
        len: I::Address,
        kind: Kind,
    ) -> TargetResult<bool, Self> {
        self.want_watched(
            watchpoint(addr, len, kind),
            |watchpoint, cluster, wanted| {
                wanted.watchpoints.remove(&watchpoint) && cluster.remove_watchpoint(watchpoint)
            },
        )
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
