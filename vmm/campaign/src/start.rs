//! Where runs come from: a machine at the beginning of its scenario.

use std::collections::VecDeque;
use std::sync::Arc;

use vmm_devices::uart::{Capture, ConsoleSink, Flow};
use vmm_faults::Injection;
use vmm_files::scratch::ScratchFile;
use vmm_machine::snapshot::{Fork, Snapshot};
use vmm_machine::{BothSinks, GuestKernel, Limits, Machine, Reason, TextError};
use vmm_sanitizer::Options;

use super::error::CampaignError;
use super::mistakes::{Unconnected, Watch};
use super::scenario::{self, Scenario};
use vmm_timeline::recording::Recording;

/// What the guest says when its scenario begins.
const READY: &str = "guest: ready";
/// Longest line that is looked at; what the guest's `/init` says is far shorter.
const MAX_LINE: usize = 64;
/// Guest time after which a guest does not come to its scenario, in nanoseconds.
const BOOT_LIMIT_NS: u64 = 60_000_000_000;

/// Shows the console to a capture, and stops the machine after each of some lines, in their order:
/// when the scenario begins, and when its last command has ended, as the guest's power-off is no
/// part of it.
struct Watched {
    capture: Capture,
    /// How the lines begin.
    lines: VecDeque<String>,
    line: Vec<u8>,
}

impl Watched {
    /// Stops where the scenario begins, if that is `ahead`, and where it ends.
    fn new(capture: &Capture, scenario: &Scenario, ahead: bool) -> Self {
        let end = format!("guest: command {} exited with ", scenario.commands.len());
        let begin = ahead.then(|| READY.to_owned());
        Self {
            capture: capture.clone(),
            lines: begin.into_iter().chain([end]).collect(),
            line: Vec::new(),
        }
    }
}

impl ConsoleSink for Watched {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        self.capture.write(bytes);
        let mut flow = Flow::Continue;
        for &byte in bytes {
            if byte == b'\n' {
                // By its beginning: behind it are a status and the carriage return of the guest's
                // terminal.
                let wanted = self.lines.front().map(String::as_bytes);
                if wanted.is_some_and(|wanted| self.line.starts_with(wanted)) {
                    self.lines.pop_front();
                    flow = Flow::Stop;
                }
                self.line.clear();
            // Longer than any line that is waited for: the rest is not compared.
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
        }
        flow
    }
}

/// A machine's console and sink.
pub type Sinks = (
    Box<dyn ConsoleSink>,
    Option<Arc<dyn vmm_machine::IommuSink>>,
);

/// Who sees what a machine shows, besides its run.
#[derive(Clone, Copy)]
pub enum Viewer<'v> {
    /// Nobody.
    Nobody,
    /// A timeline.
    Timeline(&'v Arc<Recording>),
    /// Someone who is given the console of the run, and returns the console and the sink that the
    /// machine gets.
    Other(&'v dyn Fn(Box<dyn ConsoleSink>) -> Result<Sinks, TextError>),
}

impl<'v> From<Option<&'v Arc<Recording>>> for Viewer<'v> {
    fn from(recording: Option<&'v Arc<Recording>>) -> Self {
        recording.map_or(Self::Nobody, Self::Timeline)
    }
}

impl Viewer<'_> {
    const fn recording(&self) -> Option<&Arc<Recording>> {
        match self {
            Self::Timeline(recording) => Some(recording),
            Self::Nobody | Self::Other(_) => None,
        }
    }

    /// Returns the console and the sink that the machine gets, which a sanitizer sees as well.
    fn sinks(
        self,
        console: Box<dyn ConsoleSink>,
        watch: Option<&Unconnected<'_>>,
    ) -> Result<Sinks, CampaignError> {
        let (console, sink) = match self {
            Self::Nobody => (console, None),
            Self::Timeline(recording) => (recording.console(console), Some(recording.sink())),
            Self::Other(view) => view(console)?,
        };
        Ok((console, BothSinks::of(sink, watch.map(Unconnected::sink))))
    }

    fn connect(self, machine: &Machine) {
        if let Self::Timeline(recording) = self {
            recording.connect(machine, |entry| entry.name.clone());
        }
    }
}

/// Makes machines that are at the beginning of their scenario.
///
/// A reboot for each is one way; going on from a snapshot that was taken once is another.
pub trait Start: Sync {
    /// Returns a machine at the beginning of the scenario, with `injection` not armed yet.
    ///
    /// # Errors
    /// It does not come there: it ended early, or the machine cannot be made.
    fn start(
        &self,
        injection: &Arc<Injection>,
        viewer: Viewer<'_>,
    ) -> Result<Started, CampaignError>;

    /// Learns that `jobs` machines will run at the same time, after others that ran alone.
    fn prepare(&self, jobs: usize) {
        let _ = jobs;
    }
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
    pub disk: Option<ScratchFile>,
    /// Its sanitizer, if mistakes with DMA are looked for.
    pub watch: Option<Watch>,
}

/// Starts each run by booting the guest.
#[derive(Clone, Copy)]
pub struct Boot<'b> {
    /// The kernel.
    pub kernel: &'b GuestKernel,
    /// The scenario.
    pub scenario: &'b Scenario,
    /// The mistakes with DMA that are looked for; `None` for none.
    pub sanitize: Option<&'b Options>,
}

impl Start for Boot<'_> {
    fn start(
        &self,
        injection: &Arc<Injection>,
        viewer: Viewer<'_>,
    ) -> Result<Started, CampaignError> {
        let disk = scenario::disk().map_err(CampaignError::Disk)?;
        let config = self.scenario.config(self.kernel, disk.path());
        let console = Capture::default();
        let watched = Watched::new(&console, self.scenario, true);
        let watch = self.sanitize;
        let watch = watch.map(|options| Unconnected::new(options, viewer.recording()));
        let (watched, sink) = viewer.sinks(Box::new(watched), watch.as_ref())?;
        // Fault points are built into devices, so the injection is there from the boot on, unarmed.
        let mut machine = Machine::builder(&config, watched)
            .iommu_sink(sink)
            .injection(injection)
            .build()?;
        viewer.connect(&machine);
        let watch = watch.map(|watch| watch.connect(&mut machine)).transpose()?;
        let exit = machine.run(Limits {
            guest_ns: Some(BOOT_LIMIT_NS),
            ..Limits::default()
        });
        // What the kernel says while it boots does not count.
        let skip = console.bytes().len();
        match exit.reason {
            // Only the first of the lines that `watched` waits for can have come by now.
            Reason::ConsoleStop => {
                watch.iter().try_for_each(Watch::begin)?;
                Ok(Started {
                    machine,
                    console,
                    skip,
                    disk: Some(disk),
                    watch,
                })
            }
            reason => Err(CampaignError::Early(reason)),
        }
    }
}

/// Starts each run from one snapshot.
pub struct Forked {
    snapshot: Snapshot,
    scenario: Scenario,
    /// The sanitizer of the machine that was booted.
    watch: Option<Watch>,
}

impl Forked {
    /// Boots the guest once.
    ///
    /// # Errors
    /// It does not come there: it ended early, or the machine cannot be made.
    pub fn new(boot: Boot<'_>) -> Result<Self, CampaignError> {
        // A machine with points at which nothing happens, as those have that go on from it.
        let Started { machine, watch, .. } = boot.start(&Injection::new(), Viewer::Nobody)?;
        let snapshot = machine.into_snapshot()?;
        Ok(Self {
            snapshot,
            scenario: boot.scenario.clone(),
            watch,
        })
    }

    /// Has the next run begin without what the runs before it left: memory that is mapped, and
    /// code. Its record is the same.
    pub fn release(&self) {
        self.snapshot.release();
    }
}

impl Start for Forked {
    fn start(
        &self,
        injection: &Arc<Injection>,
        viewer: Viewer<'_>,
    ) -> Result<Started, CampaignError> {
        let console = Capture::default();
        let watched = Watched::new(&console, &self.scenario, false);
        let watch = self.watch.as_ref();
        let watch = watch.map(|watch| Unconnected::fork(watch, viewer.recording()));
        let (shown, iommu_sink) = viewer.sinks(Box::new(watched), watch.as_ref())?;
        let fork = Fork {
            iommu_sink,
            ..Fork::new(shown)
        };
        let mut machine = self.snapshot.machine_with_faults(fork, Some(injection))?;
        viewer.connect(&machine);
        let watch = watch.map(|watch| watch.connect(&mut machine)).transpose()?;
        Ok(Started {
            machine,
            console,
            // This console is new: what was said before the snapshot is on the console of the boot.
            skip: 0,
            disk: None,
            watch,
        })
    }

    fn prepare(&self, jobs: usize) {
        self.snapshot.prepare(jobs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_faults::spec::ScenarioName;

    #[test]
    fn lines_are_waited_for_in_order_wherever_they_are_cut() {
        let scenario = Scenario::new(ScenarioName::Copy);
        let text = b"guest: command 2 exited with 0\nguest: guest: ready\r\nguest: ready\r\nguest: ready\r\n\
            guest: command 1 exited with 0\r\nguest: command 2 exited with 13\r\nguest: command 2 exited with 0\r\n";
        for cut in 1..8 {
            let capture = Capture::default();
            let mut console = Watched::new(&capture, &scenario, true);
            let mut stops = Vec::new();
            for part in text.chunks(cut) {
                if console.write(part) == Flow::Stop {
                    let ends = capture.bytes().into_iter().filter(|byte| *byte == b'\n');
                    stops.push(ends.count());
                }
            }
            assert_eq!(stops, [3, 5], "cut in parts of {cut}");
            assert_eq!(capture.bytes(), text);
        }
    }
}
