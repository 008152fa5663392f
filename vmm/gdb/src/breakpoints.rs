//! What a debugger stops for: breakpoints and watchpoints.

use arm32::{Cluster, WatchKind, Watchpoint};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps, SwBreakpoint,
    SwBreakpointOps, WatchKind as Kind,
};
use gdbstub::target::{TargetError, TargetResult};
use vmm_machine::vcpu::{Cores, Halted};

use super::isa::Isa;
use super::observer::StopRequests;
use super::target::Target;

/// Breakpoints and watchpoints that a debugger may set, each: more than anyone uses, and little
/// memory.
const MAX_WANTED: usize = 10_000;

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
}

impl<I: Isa> Breakpoints for Target<I> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        self.abilities.watches.then_some(self)
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
