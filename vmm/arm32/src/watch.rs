//! Watchpoints: ranges of virtual addresses whose accesses stop a core, for an observer, or make a debug event, for
//! the guest.
//!
//! A watched page misses the fast path of the software TLB and keeps its entry all the same, so that a run that is
//! watched translates when, and only when, a run that is not would. Where nothing is watched, nothing is checked.

use std::ptr::NonNull;

use crate::cpu::{CoreExit, Cpu, Flow};
use crate::debug::{DebugEvent, events};
use crate::exception::Exception;
use crate::mmu::{Access, Fault};

/// Which accesses a watchpoint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchKind {
    /// Loads.
    Read,
    /// Stores.
    Write,
    /// Both.
    Access,
}

impl WatchKind {
    /// Whether it is about `access`.
    const fn covers(self, access: Access) -> bool {
        match access {
            Access::Read => !matches!(self, Self::Write),
            Access::Write => !matches!(self, Self::Read),
            Access::Execute => false,
        }
    }
}

/// A range of virtual addresses to watch, in every address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watchpoint {
    /// The first address.
    pub start: u32,
    /// The last address; the range is empty when it is less than `start`.
    pub last: u32,
    /// Which accesses.
    pub kind: WatchKind,
}

impl Watchpoint {
    /// Watches `len` bytes from `start`, or up to the end of the address space.
    pub const fn new(start: u32, len: u32, kind: WatchKind) -> Self {
        let last = match len {
            0 => {
                return Self {
                    start: 1,
                    last: 0,
                    kind,
                };
            }
            _ => start.saturating_add(len - 1),
        };
        Self { start, last, kind }
    }

    /// Whether it is about some byte of `first..=last` accessed by `access`.
    const fn meets(&self, first: u32, last: u32, access: Access) -> bool {
        self.kind.covers(access) && self.start <= last && first <= self.last
    }
}

/// A watched access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchHit {
    /// What it met.
    pub watchpoint: Watchpoint,
    /// The first accessed address that is watched.
    pub va: u32,
    /// Whether it is a store.
    pub write: bool,
    /// The instruction was executed: an access to a device that it made before this one cannot be
    /// taken back. Otherwise it is about to be.
    pub done: bool,
}

/// The watchpoints of a core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    /// Those of observers.
    observed: Vec<Watchpoint>,
    /// The addresses that the guest's watchpoints are about.
    guest: Vec<Watchpoint>,
    /// There are some.
    any: bool,
}

impl Watches {
    /// Has observers watch exactly these.
    pub fn set(&mut self, watchpoints: &[Watchpoint]) {
        self.observed = watchpoints.to_vec();
        self.any = !self.observed.is_empty() || !self.guest.is_empty();
    }

    /// Has the guest watch exactly these; whether that is a change.
    pub fn set_guest(&mut self, watchpoints: &[Watchpoint]) -> bool {
        let changed = self.guest != watchpoints;
        self.guest = watchpoints.to_vec();
        self.any = !self.observed.is_empty() || !self.guest.is_empty();
        changed
    }

    /// Whether nothing is watched.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Whether `access` to the page of `va` may be watched.
    pub fn page(&self, va: u32, access: Access) -> bool {
        let all = self.observed.iter().chain(&self.guest);
        first(all, va & !0xfff, va | 0xfff, access).is_some()
    }
}

/// The first watchpoint of `all` about some byte of `first..=last`.
fn first<'a>(
    all: impl IntoIterator<Item = &'a Watchpoint>,
    first: u32,
    last: u32,
    access: Access,
) -> Option<Watchpoint> {
    all.into_iter()
        .find(|watch| watch.meets(first, last, access))
        .copied()
}

impl Cpu {
    /// Watches exactly these ranges.
    pub(crate) fn set_watchpoints(&mut self, watchpoints: &[Watchpoint]) {
        self.tlb.watch(watchpoints);
    }

    /// Where a watched page lies in host memory, if the fast path would have answered for an access of `size` bytes
    /// at `va` were the page not watched.
    pub(crate) fn watched_page(&self, va: u32, size: u32, access: Access) -> Option<NonNull<u8>> {
        if self.tlb.watches().is_empty() || va & (size - 1) != 0 {
            return None;
        }
        self.tlb.watched(va, access == Access::Write)
    }

    /// Stops before the instruction at `idx` of the running block when an observer watches its
    /// access to `size` bytes at `va`, and raises a Data Abort when the guest does; otherwise says
    /// how to go on. A second time, when the core goes on, an observer lets the access through.
    /// `privileged`: the access is made as PL1.
    #[inline]
    pub(crate) fn watch(
        &mut self,
        va: u32,
        size: u32,
        access: Access,
        privileged: bool,
        idx: u8,
    ) -> Result<Flow, Flow> {
        if self.tlb.watches().is_empty() {
            return Ok(Flow::Next);
        }
        let last = va.saturating_add(size - 1);
        self.watch_slow(va, last, access, privileged, idx)
    }

    #[cold]
    fn watch_slow(
        &mut self,
        va: u32,
        last: u32,
        access: Access,
        privileged: bool,
        idx: u8,
    ) -> Result<Flow, Flow> {
        let watches = self.tlb.watches();
        let watched = first(&watches.observed, va, last, access);
        let event = first(&watches.guest, va, last, access)
            .and_then(|_| events::at_access(&self.s, va, last, access, privileged));
        let now = self.s.retired + u64::from(idx);
        let done = self.stops.touched == Some(now);
        // Once a device was touched there is no going on from a stop, and an access that the guest
        // is spared is not made.
        let stops = self.stops.watched != Some(now) && !(done && event.is_some());
        if let Some(watchpoint) = watched.filter(|_| stops) {
            self.stops.watched = Some(now);
            self.exit = Some(CoreExit::Watchpoint(WatchHit {
                watchpoint,
                va: va.max(watchpoint.start),
                write: access == Access::Write,
                done,
            }));
            return if done {
                Ok(Flow::End)
            } else {
                Err(Flow::Exception)
            };
        }
        match event {
            Some(va) => {
                let fault = Fault::debug(DebugEvent::Watchpoint, va, access);
                Err(self.raise(Exception::DataAbort(fault)))
            }
            None => Ok(Flow::Next),
        }
    }
}
