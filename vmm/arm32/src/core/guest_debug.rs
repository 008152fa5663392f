//! The guest's breakpoints and watchpoints, beside those of observers.
//!
//! Where an instruction's address alone says that a breakpoint may match, a stop stands in front of
//! it, as for observers. A mismatch or an unlinked Context ID match may match anywhere: then
//! instructions run one at a time. Where none is set, no code is different and nothing is compared.

use super::Core;
use crate::block::{Block, NONE};
use crate::cpu::CoreExit;
use crate::debug::events::{self, Armed};
use crate::exception::Exception;
use crate::exec;
use crate::mmu::{Access, Fault};

impl Core {
    /// Sees to what [`Cpu::stale`](crate::cpu::Cpu) says; returns the reason to leave the loop, if
    /// there is one.
    #[cold]
    pub(super) fn attend(&mut self) -> Option<CoreExit> {
        if std::mem::take(&mut self.cpu.stale.debug) {
            self.rearm();
        }
        // While any instruction may make an event, the loop has to ask before each.
        self.cpu.pins.set_attention(self.armed.everywhere);
        std::mem::take(&mut self.cpu.stale.overflow).then_some(CoreExit::TimerChanged)
    }

    /// Looks out for what the debug registers say now, and for nothing else.
    fn rearm(&mut self) {
        let armed = events::armed(&self.cpu.s);
        if armed == self.armed {
            return;
        }
        // Only where something changed: other code stays predecoded.
        for va in self.armed.addresses.symmetric_difference(&armed.addresses) {
            self.blocks.discard(*va);
        }
        self.cpu.tlb.watch_for_guest(&armed.watched);
        self.armed = armed;
        self.look_again();
    }

    /// Makes predecoded code look out for nothing; what it must look out for is worked out before
    /// the next instruction.
    pub(super) fn forget_armed(&mut self) {
        self.armed = Armed::default();
        self.cpu.tlb.watch_for_guest(&[]);
        self.cpu.debug_changed();
    }

    /// Returns the addresses of instructions that have stops in front.
    pub(super) fn stops_in_code(&self) -> impl Iterator<Item = u32> {
        self.breakpoints.union(&self.armed.addresses).copied()
    }

    /// Returns whether any instruction has a stop in front.
    pub(super) fn any_stops(&self) -> bool {
        !self.breakpoints.is_empty() || !self.armed.addresses.is_empty()
    }

    /// Returns whether the instruction at `va` has a stop in front.
    pub(super) fn stops_at(&self, va: u32) -> bool {
        self.breakpoints.contains(&va) || self.armed.addresses.contains(&va)
    }

    /// Adds the block at `va`, behind the stops that belong there: an observer sees the instruction
    /// first. Returns as [`Blocks::insert`](crate::block::Blocks::insert) does.
    pub(super) fn insert(&mut self, va: u32, block: Block) -> (u32, bool) {
        let stops: &[exec::Handler] = match (
            self.breakpoints.contains(&va),
            self.armed.addresses.contains(&va),
        ) {
            (false, false) => return self.blocks.insert(block),
            (true, false) => &[exec::breakpoint],
            (false, true) => &[exec::guest_breakpoint],
            (true, true) => &[exec::breakpoint, exec::guest_breakpoint],
        };
        self.blocks.insert_behind(stops, block)
    }

    /// Returns, while a breakpoint may match anywhere, the block of the instruction at R15 (`next`,
    /// if it is one), of which one instruction is to run.
    ///
    /// # Errors
    /// The exception to take instead. A fault of the fetch comes before a debug event.
    #[cold]
    pub(super) fn step(&mut self, next: u32) -> Result<u32, Exception> {
        // Not looked up again behind an observer's breakpoint that was passed.
        let next = if next != NONE && self.holds(next) {
            next
        } else {
            self.look_up(None).map_err(Exception::PrefetchAbort)?
        };
        let pc = self.cpu.s.r[15];
        match events::at_instruction(&self.cpu.s, pc) {
            Some(event) => {
                let fault = Fault::debug(event, pc, Access::Execute);
                Err(Exception::PrefetchAbort(fault))
            }
            None => Ok(next),
        }
    }
}
