//! The DMA tester: a bus master that reads, writes, compares and fills any address at any time, as
//! any of its requesters, and says what it met. A guest tells it by its registers
//! ([`spec`]), the host by a script ([`script`]). docs/dma-tester.md is its manual.
//!
//! Work is done between two slices of the machine's run, in turns of a bounded size
//! ([`budget`](crate::virtio::budget)), and at times of the machine's clock: it repeats exactly.

mod operation;
mod registers;
mod saved;
pub mod script;
pub mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use viommu::Extent;
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_base::{Control, Interrupt};

use crate::ram::DmaSpace;
use crate::virtio::schedule::Schedule;
use crate::words;

pub use operation::{Active, Met, Operation, OperationKind, Pattern, Progress};
pub use registers::Registers;
pub use saved::DmaTesterState;
use script::{Fired, Happened, Known, MAX_FILLED, Step, StepAddress, StepResult, Trigger};
use spec::*;

struct Inner {
    registers: Registers,
    status: u32,
    met: Met,
    interrupts: u32,
    buffer: Box<[u8; BUFFER_SIZE]>,
    active: Option<Active>,
    results: Vec<StepResult>,
    under_way: Option<StepResult>,
    /// The level of the interrupt line.
    level: bool,
}

/// What a script waits for. Apart from the rest, as events come while an operation accesses memory.
#[derive(Default)]
struct Watch {
    /// The step that waits, and how many events it still waits for.
    step: usize,
    waits: u32,
    fired: Option<Fired>,
    /// Addresses that were filled since it waits, the last [`MAX_FILLED`] of them.
    filled: Vec<u64>,
}

impl Watch {
    fn remember(&mut self, address: u64) {
        if self.filled.contains(&address) {
            return;
        }
        if self.filled.len() == MAX_FILLED {
            self.filled.remove(0);
        }
        self.filled.push(address);
    }
}

/// The device.
pub struct DmaTester {
    /// What each requester sees of memory.
    spaces: Vec<DmaSpace>,
    line: Arc<dyn Interrupt>,
    schedule: Arc<Schedule>,
    control: Arc<Control>,
    script: Vec<Step>,
    /// What events call the device itself.
    name: String,
    inner: Mutex<Inner>,
    watch: Mutex<Watch>,
}

impl DmaTester {
    /// Creates the device `name` with a requester for each of `spaces`, at most
    /// [`MAX_REQUESTERS`], which carries out `script`. The run loop is asked by `control` to look
    /// at [`next`](Self::next) again where that may have changed.
    pub fn new(
        name: &str,
        spaces: Vec<DmaSpace>,
        line: Arc<dyn Interrupt>,
        (schedule, control): (Arc<Schedule>, Arc<Control>),
        script: Vec<Step>,
    ) -> Self {
        let tester = Self {
            spaces,
            line,
            schedule,
            control,
            script,
            name: name.to_owned(),
            inner: Mutex::new(Inner {
                registers: Registers::default(),
                status: 0,
                met: Met::default(),
                interrupts: 0,
                buffer: Box::new([0; BUFFER_SIZE]),
                active: None,
                results: Vec::new(),
                under_way: None,
                level: false,
            }),
            watch: Mutex::default(),
        };
        tester.watch_for(0, None);
        tester
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the steps of the script.
    pub fn script(&self) -> &[Step] {
        &self.script
    }

    /// Returns what became of the steps that are over.
    pub fn results(&self) -> Vec<StepResult> {
        self.inner().results.clone()
    }

    /// Returns whether the script waits for events at IOMMUs.
    pub fn wants_events(&self) -> bool {
        self.script.iter().any(|step| step.on.is_some())
    }

    /// Is called when something has happened at an IOMMU, which may be in the middle of an access
    /// of this device.
    pub fn tell(&self, happened: &Happened<'_>) {
        if happened.device == Some(&self.name) {
            return;
        }
        let mut watch = self.watch();
        let Some(step) = self.script.get(watch.step) else {
            return;
        };
        if let Some(address) = happened.address.filter(|_| step.remembers(happened)) {
            watch.remember(address);
        }
        if !step.waits_for(happened) {
            return;
        }
        if watch.waits == 0 {
            // The invalidation that a virtio-iommu makes of an unmapping comes before the rest of
            // it, which alone says what was unmapped.
            if let Some(fired) = watch
                .fired
                .as_mut()
                .filter(|_| happened.what == Trigger::Unmap)
            {
                fired.address = happened.address;
            }
            return;
        }
        watch.waits -= 1;
        if watch.waits == 0 {
            watch.fired = Some(Fired {
                at_ns: self.schedule.now(),
                address: happened.address,
            });
            drop(watch);
            // The step begins as soon as the instruction is over that made it happen.
            self.control.recheck();
        }
    }

    /// Has step `index` wait for its event, if it is to begin after one; or for no more, as this
    /// one has happened.
    fn watch_for(&self, index: usize, fired: Option<Fired>) {
        let step = self.script.get(index);
        let nth = step.filter(|step| step.on.is_some()).map(|step| step.nth);
        *self.watch() = Watch {
            step: index,
            waits: nth.filter(|_| fired.is_none()).unwrap_or_default(),
            fired,
            filled: Vec::new(),
        };
    }

    /// Returns when the next step begins, if that is known; not before the operation under way is
    /// over.
    fn step_due(&self, inner: &Inner) -> Option<u64> {
        if inner.active.is_some() {
            return None;
        }
        let step = self.script.get(inner.results.len())?;
        let begin = match (step.at, step.on) {
            (Some(time), _) => time.0,
            (None, Some(_)) => self.watch().fired?.at_ns,
            (None, None) => inner.results.last().map_or(0, |result| result.begun_ns),
        };
        Some(begin.saturating_add(step.delay.map_or(0, |time| time.0)))
    }

    /// Returns when there is something to do next, in nanoseconds of the machine's clock.
    pub fn next(&self) -> Option<u64> {
        let inner = self.inner();
        let active = inner.active.as_ref().map(|active| active.progress.due_ns);
        active.or_else(|| self.step_due(&inner))
    }

    /// Does what is due, within the budget of a turn, and returns whether anything was. To be
    /// called between slices of work, with no device locked.
    pub fn run_due(&self) -> bool {
        let now_ns = self.schedule.now();
        let mut inner = self.inner();
        if self.step_due(&inner).is_some_and(|due| due <= now_ns) {
            self.begin_step(&mut inner, now_ns);
        }
        let due = inner.active.as_ref().map(|active| active.progress.due_ns);
        if due.is_none_or(|due| due > now_ns) {
            return false;
        }
        self.work(&mut inner, now_ns);
        self.settle(&mut inner);
        true
    }

    fn work(&self, inner: &mut Inner, now_ns: u64) {
        let Some(mut active) = inner.active else {
            return;
        };
        let requester = usize::try_from(active.operation.requester).ok();
        // One that does not exist was refused when the operation was started.
        let Some(space) = requester.and_then(|requester| self.spaces.get(requester)) else {
            return;
        };
        let mut budget = self.schedule.budget();
        let (faults, mismatches) = (inner.met.faults, inner.met.mismatches);
        let work = (&mut inner.met, &mut *inner.buffer);
        let is_over = active.work(work, space, &mut budget, now_ns);
        self.schedule.charge(&budget);
        inner.active = (!is_over).then_some(active);
        if inner.met.faults > faults {
            inner.interrupts |= INTERRUPT_FAULT;
        }
        if inner.met.mismatches > mismatches {
            inner.interrupts |= INTERRUPT_MISMATCH;
        }
        if is_over {
            self.end(inner, STATUS_DONE);
        }
    }

    /// Ends the operation with this bit of [`STATUS`].
    fn end(&self, inner: &mut Inner, status: u32) {
        inner.active = None;
        inner.status |= status;
        inner.interrupts |= INTERRUPT_DONE;
        if let Some(mut result) = inner.under_way.take() {
            result.met = inner.met;
            inner.results.push(result);
            self.watch_for(inner.results.len(), None);
        }
    }

    fn start(&self, inner: &mut Inner, operation: Operation, due_ns: u64) {
        inner.status = 0;
        inner.met = Met::default();
        inner.active = Some(Active {
            operation,
            progress: Progress {
                due_ns,
                ..Progress::default()
            },
        });
    }

    /// Begins the next step of the script, whose time has come.
    fn begin_step(&self, inner: &mut Inner, now_ns: u64) {
        let index = inner.results.len();
        let Some(step) = self.script.get(index) else {
            return;
        };
        let fired = self.watch().fired;
        let address = match step.address {
            StepAddress::At(address) => Some(address),
            StepAddress::Known(Known::Event) => fired.and_then(|fired| fired.address),
            StepAddress::Known(Known::Previous) => {
                let previous = inner.results.last();
                previous.and_then(|previous| previous.address)
            }
        };
        let address = match (step.on, step.address) {
            (Some(Trigger::Unmap), StepAddress::Known(known)) => {
                let address = match known {
                    Known::Previous => address.filter(|at| !self.is_mapped(step.requester, *at)),
                    Known::Event => address.or_else(|| self.unmapped(step.requester)),
                };
                if address.is_none() {
                    // It was another page's. The next unmapping may be of this one.
                    let mut watch = self.watch();
                    (watch.waits, watch.fired) = (1, None);
                    return;
                }
                address
            }
            _ => address,
        };
        let result = StepResult {
            begun_ns: now_ns,
            address,
            met: Met::default(),
        };
        match address {
            Some(address) => {
                inner.under_way = Some(result);
                self.start(inner, step.operation(address), now_ns);
            }
            None => {
                inner.results.push(result);
                self.watch_for(index + 1, None);
            }
        }
    }

    /// Returns an address that was filled and that the requester has no mapping of any more.
    fn unmapped(&self, requester: u32) -> Option<u64> {
        // Copied: the IOMMU is not to be asked with the watch locked, which its observers lock.
        let filled = self.watch().filled.clone();
        let mut filled = filled.into_iter();
        filled.find(|address| !self.is_mapped(requester, *address))
    }

    /// Returns whether the requester has a mapping there, without anybody being told.
    fn is_mapped(&self, requester: u32, iova: u64) -> bool {
        let space = usize::try_from(requester).ok();
        let space = space.and_then(|requester| self.spaces.get(requester));
        matches!(
            space.and_then(|space| space.extent(iova)),
            Some(Extent::Mapped(_))
        )
    }

    /// Drives the interrupt line.
    fn settle(&self, inner: &mut Inner) {
        let level = inner.interrupts & inner.registers.interrupt_enable != 0;
        if level != inner.level {
            inner.level = level;
            self.line.set(level);
        }
    }

    fn status(inner: &Inner) -> u32 {
        let mut status = inner.status;
        for (bit, holds) in [
            (STATUS_BUSY, inner.active.is_some()),
            (STATUS_FAULT, inner.met.faults > 0),
            (STATUS_MISMATCH, inner.met.mismatches > 0),
        ] {
            status |= if holds { bit } else { 0 };
        }
        status
    }

    fn command(&self, inner: &mut Inner, command: u32) {
        if command == COMMAND_ABORT {
            if inner.active.is_some() {
                self.end(inner, STATUS_ABORTED);
            }
            return;
        }
        let operation = inner.registers.operation(command);
        match operation.filter(|operation| operation.is_possible(self.spaces.len())) {
            Some(operation) if inner.active.is_none() => {
                let delay = u64::from(inner.registers.delay);
                let due_ns = self.schedule.now().saturating_add(delay);
                self.start(inner, operation, due_ns);
                // It is done as soon as this instruction is over, and not at the end of the slice.
                self.control.recheck();
            }
            _ => inner.status |= STATUS_REFUSED,
        }
    }

    /// Reads the register at `offset`, a multiple of 4.
    #[expect(clippy::cast_possible_truncation, reason = "halves of 64 bits")]
    pub fn read(&self, offset: u64) -> u32 {
        let inner = self.inner();
        let met = &inner.met;
        match offset {
            ID => ID_VALUE,
            VERSION => VERSION_VALUE,
            REQUESTERS => self.spaces.len() as u32,
            STATUS => Self::status(&inner),
            FAULT_REASON => met.reason,
            FAULT_LO => met.fault as u32,
            FAULT_HI => (met.fault >> 32) as u32,
            FAULTS => met.faults,
            ACCESSES => met.accesses,
            MOVED_LO => met.moved as u32,
            MOVED_HI => (met.moved >> 32) as u32,
            CHECKSUM => met.checksum,
            MISMATCHES => met.mismatches,
            MISMATCH_LO => met.mismatch as u32,
            MISMATCH_HI => (met.mismatch >> 32) as u32,
            INTERRUPT_STATUS => inner.interrupts,
            _ => match buffer_index(offset) {
                Some(index) => {
                    let bytes = &inner.buffer[index..index + 4];
                    bytes.try_into().map_or(0, u32::from_le_bytes)
                }
                None => inner.registers.get(offset),
            },
        }
    }

    /// Writes the register at `offset`, a multiple of 4.
    pub fn write(&self, offset: u64, value: u32) {
        let mut inner = self.inner();
        match offset {
            COMMAND => self.command(&mut inner, value),
            INTERRUPT_STATUS => inner.interrupts &= !value,
            _ => match buffer_index(offset) {
                Some(index) => inner.buffer[index..index + 4].copy_from_slice(&value.to_le_bytes()),
                None => inner.registers.set(offset, value),
            },
        }
        self.settle(&mut inner);
    }
}

/// Returns where in the buffer the word at `offset` is, if it is in it.
fn buffer_index(offset: u64) -> Option<usize> {
    let index = usize::try_from(offset.checked_sub(BUFFER)?).ok()?;
    (index + 4 <= BUFFER_SIZE).then_some(index)
}

impl DeviceMmio for DmaTester {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        words::read(offset, data, |offset| self.read(offset));
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // The registers are words: what is narrower or wider is ignored.
        if let Some(word) = words::written(offset, data) {
            self.write(offset, word);
        }
    }
}
