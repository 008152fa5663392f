//! Where a run begins, and where it is to be saved.

use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use vmm::campaign::single;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::{Config, IommuSink, Machine, Reason};
use vmm_devices::uart::ConsoleSink;
use vmm_machine::{Fork, Recorder, Recording, RunFaults, Snapshot, Source};

use super::output::{self, Output};
use super::report::Verdict;
use super::signals::Cause;
use super::{CommandExit, UserError};

/// The place where a run begins.
pub enum Origin {
    /// At power-on.
    Power(Box<Config>),
    /// At a snapshot, which was read from this file.
    Snapshot(Snapshot, PathBuf),
    /// At power-on, as it was recorded.
    Recording(Box<Recording>),
}

impl Origin {
    /// Returns what the machine is made from.
    pub fn config(&self) -> &Config {
        match self {
            Self::Power(config) => config,
            Self::Snapshot(snapshot, _) => snapshot.config(),
            Self::Recording(recording) => &recording.header().config,
        }
    }

    /// Returns the guest's time there, in nanoseconds since power-on.
    pub fn start_ns(&self) -> u64 {
        match self {
            Self::Power(_) => 0,
            Self::Snapshot(snapshot, _) => snapshot.guest_ns(),
            Self::Recording(recording) => recording.start_ns(),
        }
    }

    /// Makes the machine there, with faults if there are any, and what records its run in `record`
    /// if that is wanted. The types of the kernel are for conditions of a fault plan.
    pub fn machine(
        &self,
        seed: Option<u64>,
        (faults, types): (Option<RunFaults>, &TypesFrom),
        console: Box<dyn ConsoleSink>,
        iommu_sink: Option<Arc<dyn IommuSink>>,
        record: Option<Output>,
    ) -> Result<(Machine, Option<Recorder<Output>>), UserError> {
        let recorded = |(machine, recorder)| (machine, Some(recorder));
        let plan = match self {
            Self::Recording(recording) => recording.header().faults.clone(),
            Self::Power(_) | Self::Snapshot(..) => faults.clone(),
        };
        let mut made = match (self, record) {
            (Self::Power(config), None) => {
                let machine = RunFaults::machine(faults.as_ref(), |injection| {
                    let machine = Machine::builder(config, console).iommu_sink(iommu_sink);
                    machine.injection(injection).build()
                });
                (machine?, None)
            }
            (Self::Power(config), Some(output)) => recorded(Recorder::start(
                config, console, iommu_sink, faults, output,
            )?),
            (Self::Snapshot(snapshot, path), record) => {
                let fork = Fork {
                    console,
                    iommu_sink,
                    seed,
                };
                match record {
                    None => {
                        let machine = RunFaults::machine(faults.as_ref(), |injection| {
                            snapshot.machine_with_faults(fork, injection)
                        });
                        (machine?, None)
                    }
                    Some(output) => {
                        // Hashes the whole file, which only a recording needs.
                        let file = Source::of(path).map_err(|error| {
                            let name = path.display();
                            UserError::new(format!("cannot read the snapshot {name}: {error}"))
                        })?;
                        recorded(Recorder::resume(snapshot, file, fork, faults, output)?)
                    }
                }
            }
            // The command line does not take --record beside --replay.
            (Self::Recording(recording), _) => (recording.machine(console, iommu_sink)?, None),
        };
        if let Some(faults) = plan {
            single::watch_functions(&faults.plan, types, &mut made.0)?;
        }
        Ok(made)
    }
}

/// The moment at which a run is to be saved, and the file. A console that shows what is expected,
/// and a probe that stops, count too.
pub struct Moment {
    /// Guest time.
    pub guest_ns: Option<u64>,
    /// Instructions.
    pub instructions: Option<u64>,
    /// The file.
    pub output: Output,
}

impl Moment {
    /// Returns whether a run that ended at `guest_ns`, for `cause` if it was ended from outside,
    /// ended at the moment.
    pub fn is_now(&self, reason: Reason, guest_ns: u64, cause: Option<Cause>) -> bool {
        match reason {
            // The user's --timeout is a limit of guest time too, and may have come first.
            Reason::Timeout => self.guest_ns.is_some_and(|at| guest_ns >= at),
            Reason::InstructionLimit | Reason::ConsoleStop => true,
            // By a probe.
            Reason::Stopped => cause.is_none(),
            _ => false,
        }
    }

    /// Returns what becomes of `verdict` for a run that was to come to the moment.
    pub fn judge(is_now: bool, verdict: Verdict) -> Verdict {
        match verdict.outcome {
            _ if is_now => Verdict {
                outcome: CommandExit::Success,
                sentence: "the guest came to the moment".into(),
            },
            CommandExit::Success => Verdict {
                outcome: CommandExit::GuestFailure,
                sentence: format!("{} before the moment to save it", verdict.sentence),
            },
            _ => verdict,
        }
    }

    /// Writes `snapshot`, which was made at this moment, so that a file of that name is a whole
    /// one, whatever happens meanwhile.
    pub fn write(self, snapshot: &Snapshot) -> Result<(), UserError> {
        let path = self.output.path().display().to_string();
        let mut out = BufWriter::with_capacity(1 << 20, self.output);
        snapshot
            .write(&mut out)
            // Not left to the drop of the writer, which ignores a failure of its last flush.
            .and_then(|()| out.into_inner().map_err(|error| error.into_error()))
            .and_then(Output::publish_durably)
            .map_err(|error| {
                let why = output::reason(&error);
                UserError::new(format!("cannot write the snapshot {path}: {why}"))
            })
    }
}
