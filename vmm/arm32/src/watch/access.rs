//! What a core does about accesses that may be watched.

use super::{RamWatch, WatchHit, Watchpoint, first};
use crate::cpu::{CoreExit, Cpu, Flow};
use crate::debug::{DebugEvent, events};
use crate::exception::Exception;
use crate::mmu::{Access, Fault};

impl Cpu {
    /// Watches exactly these ranges.
    pub(crate) fn set_watchpoints(&mut self, watchpoints: &[Watchpoint]) {
        self.tlb.watch(watchpoints);
    }

    /// Watches exactly these ranges of the page with this number in RAM.
    pub(crate) fn watch_ram(&mut self, number: u32, ranges: &[RamWatch]) {
        self.tlb.watch_ram(number, ranges);
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
        // An access that wraps is watched as far as the end of the address space.
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
        let exit = match watched {
            _ if !stops => None,
            Some(watchpoint) => Some(CoreExit::Watchpoint(WatchHit {
                watchpoint,
                va: va.max(watchpoint.start),
                write: access == Access::Write,
                done,
            })),
            None => {
                let hit = self.watched_ram(va, last, access, done);
                hit.map(CoreExit::WatchedRam)
            }
        };
        if exit.is_some() {
            self.stops.watched = Some(now);
            self.exit = exit;
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
