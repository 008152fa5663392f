//! Which instruction and which access makes a debug event (ARM ARM DDI 0406C C3.3 to C3.5).
//!
//! Where the architecture says UNPREDICTABLE, a breakpoint or watchpoint does not match: one linked
//! to a breakpoint that is no enabled "linked Context ID match", one of a reserved type or mask. A
//! mismatch or an unlinked Context ID match is ignored in Abort, Undefined, IRQ and FIQ mode, or
//! the handler of the exception could not begin.

use std::collections::BTreeSet;

use super::controls::{BreakpointControl, BreakpointType, WatchpointControl};
use super::registers::{BREAKPOINTS, Debug, WATCHPOINTS, matches_contexts};
use super::spec::DebugEvent;
use crate::cp15::sctlr;
use crate::mmu::Access;
use crate::state::{CpuState, Mode};
use crate::watch::{WatchKind, Watchpoint};

/// What the core must look out for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Armed {
    /// Addresses of instructions before which [`at_instruction`] must be asked.
    pub addresses: BTreeSet<u32>,
    /// It must be asked before every instruction.
    pub everywhere: bool,
    /// Ranges of addresses: [`at_access`] must be asked when one is accessed.
    pub watched: Vec<Watchpoint>,
}

/// Bit `n + 24` of DBGVCR is for the Non-secure vector at offset `4 * n`. Prefetch Abort and Data
/// Abort (bits 27 and 28) make no event in Monitor debug-mode, for they could not be handled.
const VECTORS: u32 = 0xc600_0000;

/// Returns what the core in state `s` must look out for.
pub(crate) fn armed(s: &CpuState) -> Armed {
    let d = &s.debug;
    let mut armed = Armed::default();
    if !d.enabled() {
        return armed;
    }
    for (i, control) in breakpoints(d) {
        let value = d.breakpoint_values[i] & !3;
        match control.kind() {
            BreakpointType::Address {
                mismatch: false, ..
            } => {
                // Instructions begin at even addresses.
                let starts = [0, 2]
                    .into_iter()
                    .filter(|at| control.bytes() >> at & 1 != 0);
                armed.addresses.extend(starts.map(|at| value + at));
            }
            // A mismatch can match at any address.
            BreakpointType::Address { .. } => armed.everywhere = true,
            BreakpointType::Context { linked } => {
                armed.everywhere |= !linked && matches_contexts(i);
            }
            BreakpointType::Reserved => {}
        }
    }
    let base = vectors(s);
    let caught = (0..8).filter(|n| d.vcr & VECTORS & 1 << (n + 24) != 0);
    armed
        .addresses
        .extend(caught.map(|n| base.wrapping_add(4 * n)));
    armed.watched = watchpoints(d)
        .filter_map(|(i, control)| range(d, i, control))
        .collect();
    armed
}

/// Returns the debug event that comes before the instruction at `va`, if there is one.
pub(crate) fn at_instruction(s: &CpuState, va: u32) -> Option<DebugEvent> {
    let d = &s.debug;
    if !d.enabled() {
        return None;
    }
    if breakpoints(d).any(|(i, control)| breaks(s, i, control, va)) {
        return Some(DebugEvent::Breakpoint);
    }
    // Wraps below the vectors, to far more than 32.
    let vector = va.wrapping_sub(vectors(s));
    let caught = vector < 32 && vector & 3 == 0 && d.vcr & VECTORS & 1 << (vector / 4 + 24) != 0;
    caught.then_some(DebugEvent::VectorCatch)
}

/// Returns the first byte of `first..=last` whose `access` at PL1 (`privileged`) or PL0 makes a
/// watchpoint debug event.
pub(crate) fn at_access(
    s: &CpuState,
    first: u32,
    last: u32,
    access: Access,
    privileged: bool,
) -> Option<u32> {
    let d = &s.debug;
    if !d.enabled() {
        return None;
    }
    let matching = |(i, control): (usize, WatchpointControl)| {
        let applies = control.covers(access)
            && control.selects(privileged)
            && control.link().is_none_or(|to| context_matches(s, to));
        let (mask, bytes) = control.range(d.watchpoint_values[i]).filter(|_| applies)?;
        let value = d.watchpoint_values[i];
        (first..=last).find(|va| (va ^ value) & !mask == 0 && bytes >> (va & 7) & 1 != 0)
    };
    watchpoints(d).filter_map(matching).min()
}

/// Returns the enabled breakpoints.
fn breakpoints(d: &Debug) -> impl Iterator<Item = (usize, BreakpointControl)> {
    (0..BREAKPOINTS)
        .map(|i| (i, BreakpointControl(d.breakpoint_controls[i])))
        .filter(|(_, control)| control.enabled())
}

/// Returns the enabled watchpoints.
fn watchpoints(d: &Debug) -> impl Iterator<Item = (usize, WatchpointControl)> {
    (0..WATCHPOINTS)
        .map(|i| (i, WatchpointControl(d.watchpoint_controls[i])))
        .filter(|(_, control)| control.enabled())
}

/// Returns whether breakpoint `i` matches the instruction at `va`.
fn breaks(s: &CpuState, i: usize, control: BreakpointControl, va: u32) -> bool {
    let value = s.debug.breakpoint_values[i];
    let may_step = matches!(s.psr.mode, Mode::Usr | Mode::Svc | Mode::Sys);
    control.selects(s.psr.mode)
        && match control.kind() {
            BreakpointType::Address { mismatch, linked } => {
                let matches = (va ^ value) & !3 == 0 && control.bytes() >> (va & 3) & 1 != 0;
                let linked_matches = !linked || context_matches(s, control.link());
                matches != mismatch && (!mismatch || may_step) && linked_matches
            }
            BreakpointType::Context { linked: false } => {
                may_step && matches_contexts(i) && s.cp15.contextidr == value
            }
            BreakpointType::Context { linked: true } | BreakpointType::Reserved => false,
        }
}

/// Returns whether breakpoint `i` is a linked Context ID match, and its context is current.
fn context_matches(s: &CpuState, i: usize) -> bool {
    matches_contexts(i) && {
        let control = BreakpointControl(s.debug.breakpoint_controls[i]);
        control.enabled()
            && control.kind() == BreakpointType::Context { linked: true }
            && s.debug.breakpoint_values[i] == s.cp15.contextidr
    }
}

/// Returns the addresses that watchpoint `i` is about; `None` when it can match nothing.
fn range(d: &Debug, i: usize, control: WatchpointControl) -> Option<Watchpoint> {
    let value = d.watchpoint_values[i];
    let (mask, _) = control.range(value)?;
    let kind = match (control.covers(Access::Read), control.covers(Access::Write)) {
        (true, true) => WatchKind::Access,
        (true, false) => WatchKind::Read,
        (false, true) => WatchKind::Write,
        (false, false) => return None,
    };
    Some(Watchpoint {
        start: value & !mask,
        last: value | mask,
        kind,
    })
}

/// Returns where the exception vectors are.
const fn vectors(s: &CpuState) -> u32 {
    if s.cp15.sctlr & sctlr::V != 0 {
        0xffff_0000
    } else {
        s.cp15.vbar
    }
}
