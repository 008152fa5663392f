//! The state of a DMA tester, saved and restored.

use serde::{Deserialize, Serialize};

use super::operation::{Active, Met};
use super::registers::Registers;
use super::script::{MAX_FILLED, MAX_TIME_NS, ScriptState};
use super::spec::*;
use super::{DmaTester, Watch};

/// The state of a DMA tester, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmaTesterState {
    /// What the guest has written.
    pub registers: Registers,
    /// [`STATUS`], without the bits that follow from the rest.
    pub status: u32,
    /// What the last operation met.
    pub met: Met,
    /// [`INTERRUPT_STATUS`].
    pub interrupts: u32,
    /// The buffer.
    pub buffer: Vec<u8>,
    /// The operation that is under way.
    pub active: Option<Active>,
    /// How far the script is.
    pub script: ScriptState,
}

impl DmaTester {
    /// Returns the state to be saved.
    pub fn save(&self) -> DmaTesterState {
        let inner = self.inner();
        let watch = self.watch();
        DmaTesterState {
            registers: inner.registers,
            status: inner.status,
            met: inner.met,
            interrupts: inner.interrupts,
            buffer: inner.buffer.to_vec(),
            active: inner.active,
            script: ScriptState {
                results: inner.results.clone(),
                under_way: inner.under_way.clone(),
                waits: watch.waits,
                fired: watch.fired,
                filled: watch.filled.clone(),
            },
        }
    }

    /// Takes over a saved state, and returns whether it could: it has to be one that this device,
    /// with its requesters and its script, can have.
    pub fn restore(&self, saved: &DmaTesterState) -> bool {
        let DmaTesterState {
            registers,
            status,
            met,
            interrupts,
            buffer,
            active,
            script,
        } = saved;
        let requesters = self.spaces.len();
        let Ok(buffer) = <[u8; BUFFER_SIZE]>::try_from(buffer.as_slice()) else {
            return false;
        };
        let index = script.results.len();
        let step = self.script.get(index);
        let events = step.filter(|step| step.on.is_some());
        let now_ns = self.schedule.now();
        // No operation waits longer than a script may have it wait.
        let latest_ns = now_ns.saturating_add(MAX_TIME_NS);
        let is_timely = |active: &Active| {
            active.progress.due_ns <= latest_ns && active.operation.interval_ns <= MAX_TIME_NS
        };
        let mut begun = script.results.iter().chain(&script.under_way);
        let fits = status & !(STATUS_DONE | STATUS_ABORTED | STATUS_REFUSED) == 0
            && interrupts & !(INTERRUPT_DONE | INTERRUPT_FAULT | INTERRUPT_MISMATCH) == 0
            && active.is_none_or(|active| active.is_possible(requesters) && is_timely(&active))
            && begun.all(|result| result.begun_ns <= now_ns)
            && script.fired.is_none_or(|fired| fired.at_ns <= now_ns)
            && index <= self.script.len()
            // A step that is under way is an operation that is.
            && (script.under_way.is_none() || (active.is_some() && step.is_some()))
            && script.waits <= events.map_or(0, |step| step.nth)
            && (script.fired.is_none() || events.is_some())
            && script.filled.len() <= MAX_FILLED;
        if !fits {
            return false;
        }
        let mut inner = self.inner();
        inner.registers = *registers;
        inner.status = *status;
        inner.met = *met;
        inner.interrupts = *interrupts;
        *inner.buffer = buffer;
        inner.active = *active;
        inner.results = script.results.clone();
        inner.under_way = script.under_way.clone();
        *self.watch() = Watch {
            step: index,
            waits: script.waits,
            fired: script.fired,
            filled: script.filled.clone(),
        };
        self.settle(&mut inner);
        true
    }
}
