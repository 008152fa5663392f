//! Interrupt lines with someone in between: who looks at them, or who puts faults in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use vmm_base::Interrupt;
use vmm_faults::{FaultyLine, Injection};

use crate::controller::Controller;
use crate::entry::Entry;
use crate::error::Error;
use crate::iommu::IommuSink;

/// The interrupt lines of a machine, by what they pass through on their way to the interrupt
/// controller.
pub(super) struct Lines<'a> {
    controller: Controller,
    sink: Option<&'a Arc<dyn IommuSink>>,
    injection: Option<&'a Arc<Injection>>,
    /// Those that faults are injected on, by device.
    faulty: Mutex<BTreeMap<String, Arc<FaultyLine>>>,
}

impl<'a> Lines<'a> {
    /// Creates lines to `controller`.
    pub fn new(
        controller: &Controller,
        sink: Option<&'a Arc<dyn IommuSink>>,
        injection: Option<&'a Arc<Injection>>,
    ) -> Self {
        Self {
            controller: controller.clone(),
            sink,
            injection,
            faulty: Mutex::default(),
        }
    }

    /// Returns the first line of `entry`, with nothing in between; one to nowhere if it has none.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn plain(&self, entry: &Entry) -> Result<Arc<dyn Interrupt>, Error> {
        match entry.irqs.first() {
            Some(irq) => self.controller.line(*irq),
            None => Ok(Arc::new(Unconnected)),
        }
    }

    /// Returns the line of an IOMMU, which tells of its faults itself, if it has one.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn of_iommu(&self, entry: &Entry) -> Result<Option<Arc<dyn Interrupt>>, Error> {
        if entry.irqs.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.faulty(self.plain(entry)?, &entry.name)))
    }

    /// Returns the line of another device, with the machine's sink told of what happens on it if it
    /// wants to know.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn of_device(&self, entry: &Entry) -> Result<Arc<dyn Interrupt>, Error> {
        let line = self.plain(entry)?;
        // Asked once, so that a line that nobody watches costs nothing when it is driven.
        let line = match (self.sink, entry.irqs.first()) {
            (Some(sink), Some(irq)) if sink.wants_interrupts() => Arc::new(WatchedLine {
                line,
                device: entry.name.clone(),
                irq: irq.id(),
                sink: Arc::clone(sink),
            }),
            _ => line,
        };
        // The sink hears of what reaches the controller: faults come before it.
        Ok(self.faulty(line, &entry.name))
    }

    /// Returns the lines that faults are injected on, by device.
    pub fn into_faulty(self) -> BTreeMap<String, Arc<FaultyLine>> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.faulty.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    /// Returns the line, with faults injected on it if there are any.
    fn faulty(&self, line: Arc<dyn Interrupt>, device: &str) -> Arc<dyn Interrupt> {
        let Some(injection) = self.injection else {
            return line;
        };
        let faulty = Arc::new(FaultyLine::new(line, injection, device));
        let mut lines = self.faulty.lock().unwrap_or_else(|e| e.into_inner());
        // Names are unique on a valid board: no line takes the place of another.
        lines.insert(device.to_owned(), Arc::clone(&faulty));
        faulty
    }
}

/// A line that leads nowhere.
struct Unconnected;

impl Interrupt for Unconnected {
    fn set(&self, _level: bool) {}
}

/// An interrupt line that someone looks at.
struct WatchedLine {
    line: Arc<dyn Interrupt>,
    device: String,
    irq: u32,
    sink: Arc<dyn IommuSink>,
}

impl Interrupt for WatchedLine {
    fn set(&self, level: bool) {
        // Before the line: a core on another thread may take the interrupt at once, and what it
        // does then is to be reported later than its cause.
        self.sink.interrupt(&self.device, self.irq, level);
        self.line.set(level);
    }
}
