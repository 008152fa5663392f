//! Where runs come from: a machine at the beginning of its scenario.

use std::sync::Arc;

use tempfile::NamedTempFile;

use super::engine::Injection;
use super::scenario::{self, Scenario};
use crate::devices::uart::{Capture, ConsoleSink, Flow};
use crate::lab::Kernel;
use crate::machine::snapshot::{Fork, Snapshot};
use crate::observe::recording::Recording;
use crate::{Limits, Machine, Reason};

/// What the guest says when its scenario begins.
const MARKER: &[u8] = b"guest: ready\r\n";
/// Guest time after which a guest does not come to its scenario, in nanoseconds.
const BOOT_LIMIT_NS: u64 = 60_000_000_000;

/// Shows the console to a capture and stops the machine where the scenario begins.
struct Watched {
    capture: Capture,
    matched: usize,
    found: bool,
}

impl ConsoleSink for Watched {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        self.capture.write(bytes);
        for &byte in bytes.iter().filter(|_| !self.found) {
            self.matched = match byte {
                byte if byte == MARKER[self.matched] => self.matched + 1,
                byte if byte == MARKER[0] => 1,
                _ => 0,
            };
            if self.matched == MARKER.len() {
                self.found = true;
                return Flow::Stop;
            }
        }
        Flow::Continue
    }
}

/// Makes machines that are at the beginning of their scenario.
///
/// A reboot for each is one way; going on from a snapshot that was taken once is another.
pub trait Start: Sync {
    /// A machine at the beginning of the scenario, with `injection` not armed yet.
    ///
    /// # Errors
    /// In words.
    fn start(
        &self,
        injection: &Arc<Injection>,
        recording: Option<&Arc<Recording>>,
    ) -> Result<Started, String>;
}

/// A machine at the beginning of its scenario.
pub struct Started {
    /// The machine.
    pub machine: Machine,
    /// Its console.
    pub console: Capture,
    /// How many bytes were on the console before.
    pub skip: usize,
    /// Its disk, if that is a file of its own, which is there as long as this.
    pub disk: Option<NamedTempFile>,
}

/// Starts each run by booting the guest.
#[derive(Clone, Copy)]
pub struct Boot<'b> {
    /// The kernel.
    pub kernel: &'b Kernel,
    /// The scenario.
    pub scenario: &'b Scenario,
}

/// The machine's console and sink, which a recording may want to see.
type Sinks = (Box<dyn ConsoleSink>, Option<Arc<dyn crate::IommuSink>>);

fn sinks(console: Box<dyn ConsoleSink>, recording: Option<&Arc<Recording>>) -> Sinks {
    match recording {
        None => (console, None),
        Some(recording) => (recording.console(console), Some(recording.sink())),
    }
}

fn connect(recording: Option<&Arc<Recording>>, machine: &Machine) {
    if let Some(recording) = recording {
        recording.connect(machine, |entry| entry.name.clone());
    }
}

impl Start for Boot<'_> {
    fn start(
        &self,
        injection: &Arc<Injection>,
        recording: Option<&Arc<Recording>>,
    ) -> Result<Started, String> {
        let disk = scenario::disk().map_err(|error| format!("there is no disk: {error}"))?;
        let config = self.scenario.config(self.kernel, disk.path());
        let console = Capture::default();
        let watched = Watched {
            capture: console.clone(),
            matched: 0,
            found: false,
        };
        let (watched, sink) = sinks(Box::new(watched), recording);
        let mut machine = Machine::with_faults(&config, watched, sink, Some(injection))
            .map_err(|error| error.to_string())?;
        connect(recording, &machine);
        let exit = machine.run(Limits {
            guest_ns: Some(BOOT_LIMIT_NS),
            ..Limits::default()
        });
        let skip = console.bytes().len();
        match exit.reason {
            Reason::ConsoleStop => Ok(Started {
                machine,
                console,
                skip,
                disk: Some(disk),
            }),
            reason => Err(format!(
                "the guest {} before its scenario began",
                reason.sentence()
            )),
        }
    }
}

/// Starts each run from one snapshot.
pub struct Forked(Snapshot);

impl Forked {
    /// Boots the guest once.
    ///
    /// # Errors
    /// In words.
    pub fn new(boot: Boot<'_>) -> Result<Self, String> {
        // A machine with points at which nothing happens, as those have that go on from it.
        let Started { machine, .. } = boot.start(&Injection::new(), None)?;
        let snapshot = machine.into_snapshot().map_err(|error| error.to_string())?;
        Ok(Self(snapshot))
    }
}

impl Start for Forked {
    fn start(
        &self,
        injection: &Arc<Injection>,
        recording: Option<&Arc<Recording>>,
    ) -> Result<Started, String> {
        let console = Capture::default();
        let (shown, iommu_sink) = sinks(Box::new(console.clone()), recording);
        let fork = Fork {
            iommu_sink,
            ..Fork::new(shown)
        };
        let machine = self.0.machine_with_faults(fork, Some(injection));
        let machine = machine.map_err(|error| error.to_string())?;
        connect(recording, &machine);
        Ok(Started {
            machine,
            console,
            skip: 0,
            disk: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_found_once_wherever_it_is_cut() {
        for cut in 1..8 {
            let mut console = Watched {
                capture: Capture::default(),
                matched: 0,
                found: false,
            };
            let text = b"guest: guest: ready\r\nguest: ready\r\n";
            let flows: Vec<Flow> = text.chunks(cut).map(|part| console.write(part)).collect();
            let stops = flows.iter().filter(|flow| **flow == Flow::Stop).count();
            assert_eq!(stops, 1, "{cut}");
            assert_eq!(console.capture.bytes(), text);
        }
    }
}
