//! A guest that is stopped on the way, to be looked at or interfered with, and goes on.

use std::sync::{Arc, Mutex, PoisonError};

use vmm::devices::uart::{Capture, ConsoleSink, Flow};
use vmm::machine::Fork;
use vmm::{Limits, Machine, Reason};

use crate::{GUEST_LIMIT_NS, Run, WALL_LIMIT};

/// A machine between its first instruction and its end.
pub struct Live {
    pub(crate) machine: Machine,
    pub(crate) console: Capture,
    pub(crate) marker: Marker,
    pub(crate) commands: usize,
}

impl Live {
    /// Runs until the console has shown `text`, and stops at the instruction that completed it.
    ///
    /// # Panics
    /// If the guest ends before.
    pub fn run_until(&mut self, text: &str) {
        self.marker.set(text);
        let reason = self.go_on();
        if reason != Reason::ConsoleStop {
            let so_far = self.run(reason).text();
            panic!(
                "the guest {} before it showed {text:?}:\n{so_far}",
                reason.sentence()
            );
        }
    }

    /// Returns the machine, where it stands.
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Returns the machine, to be prepared before its first step.
    pub const fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Returns the guest as it goes on from a snapshot of this moment.
    ///
    /// # Panics
    /// If it cannot be saved, or the machine cannot be made.
    #[must_use]
    pub fn restored(self) -> Self {
        let snapshot = match self.machine.into_snapshot() {
            Ok(snapshot) => snapshot,
            Err(error) => panic!("the machine cannot be saved: {error}"),
        };
        // Clones share what they collect: the console goes on where it was.
        let sink = Watched(self.console.clone(), self.marker.clone());
        let fork = Fork {
            console: Box::new(sink),
            iommu_sink: None,
            seed: None,
        };
        match snapshot.machine(fork) {
            Ok(machine) => Self { machine, ..self },
            Err(error) => panic!("the machine cannot be restored: {error}"),
        }
    }

    /// Runs to the end.
    pub fn finish(mut self) -> Run {
        // The empty text ends no run.
        self.marker.set("");
        let reason = self.go_on();
        self.run(reason)
    }

    fn go_on(&mut self) -> Reason {
        let limits = Limits {
            guest_ns: Some(GUEST_LIMIT_NS),
            wall: Some(WALL_LIMIT),
            ..Limits::default()
        };
        self.machine.run(limits).reason
    }

    fn run(&self, reason: Reason) -> Run {
        Run {
            commands: self.commands,
            reason,
            summary: self.machine.summary(),
            console: self.console.bytes(),
        }
    }
}

/// The text that ends a run when the console shows it; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marker(Arc<Mutex<Wanted>>);

#[derive(Debug, Default)]
struct Wanted {
    text: Vec<u8>,
    tail: Vec<u8>,
}

impl Marker {
    /// Sets the text that is waited for; nothing seen so far counts.
    fn set(&self, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Wanted {
            text: text.into(),
            tail: Vec::new(),
        };
    }

    fn feed(&self, bytes: &[u8]) -> Flow {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Wanted { text, tail } = &mut *wanted;
        if text.is_empty() {
            return Flow::Continue;
        }
        tail.extend_from_slice(bytes);
        let found = tail.windows(text.len()).any(|window| window == text);
        // The text may lie across two writes: as much stays as could be its beginning.
        tail.drain(..tail.len().saturating_sub(text.len()));
        if found { Flow::Stop } else { Flow::Continue }
    }
}

/// Captures the console and ends the run at the marker.
pub(crate) struct Watched(pub(crate) Capture, pub(crate) Marker);

impl ConsoleSink for Watched {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        self.0.write(bytes);
        self.1.feed(bytes)
    }
}
