//! What tests look at: the events of an IOMMU, as text.

use std::sync::Mutex;

use crate::event::{Event, Observer};
use crate::register_event::{RegisterEvent, RegisterObserver};

/// What observers of an IOMMU are told, as text, and its interrupt's levels.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    /// Adds a line.
    pub(crate) fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Returns what happened since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl RegisterObserver for Log {
    fn event(&self, event: &dyn RegisterEvent) {
        self.push(event.to_string());
    }
}

impl Observer for Log {
    fn event(&self, event: &Event) {
        if let Event::BusError { address, .. } = event {
            self.push(format!("no memory at {address:#x}"));
        }
    }
}
