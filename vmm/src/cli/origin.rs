//! Where a run begins, and where it is to be saved.

use std::sync::Arc;

use vmm::devices::uart::ConsoleSink;
use vmm::machine::{Fork, Recording, Snapshot};
use vmm::{Config, IommuSink, Machine, Reason};

use super::output::Output;
use super::report::Verdict;
use super::signals::Cause;
use super::{Outcome, UserError};

/// Where a run begins.
pub enum Origin {
    /// At power-on.
    Power(Box<Config>),
    /// At a snapshot.
    Snapshot(Snapshot),
    /// At power-on, as it was recorded.
    Recording(Box<Recording>),
}

impl Origin {
    /// What the machine is made from.
    pub fn config(&self) -> &Config {
        match self {
            Self::Power(config) => config,
            Self::Snapshot(snapshot) => snapshot.config(),
            Self::Recording(recording) => &recording.header().config,
        }
    }

    /// The machine there, and the guest's time.
    pub fn machine(
        &self,
        seed: Option<u64>,
        console: Box<dyn ConsoleSink>,
        iommu_sink: Option<Arc<dyn IommuSink>>,
    ) -> Result<(Machine, u64), UserError> {
        match self {
            Self::Power(config) => {
                let machine = Machine::with_iommu_sink(config, console, iommu_sink)?;
                Ok((machine, 0))
            }
            Self::Snapshot(snapshot) => {
                let machine = snapshot.machine(Fork {
                    console,
                    iommu_sink,
                    seed,
                })?;
                Ok((machine, snapshot.guest_ns()))
            }
            Self::Recording(recording) => Ok((recording.machine(console, iommu_sink)?, 0)),
        }
    }
}

/// When a run is to be saved, and where. A console that shows what is expected, and a probe that stops, count too.
pub struct Moment {
    /// Guest time.
    pub guest_ns: Option<u64>,
    /// Instructions.
    pub instructions: Option<u64>,
    /// The file.
    pub output: Output,
}

impl Moment {
    /// Whether a run that ended at `guest_ns`, for `cause` if it was ended from outside, ended at the moment.
    pub fn is_now(&self, reason: Reason, guest_ns: u64, cause: Option<Cause>) -> bool {
        match reason {
            Reason::Timeout => self.guest_ns.is_some_and(|at| guest_ns >= at),
            Reason::InstructionLimit | Reason::ConsoleStop => true,
            // By a probe.
            Reason::Stopped => cause.is_none(),
            _ => false,
        }
    }

    /// What becomes of `verdict` when the run shall have come to the moment.
    pub fn judge(is_now: bool, verdict: Verdict) -> Verdict {
        match verdict.outcome {
            _ if is_now => Verdict {
                outcome: Outcome::Success,
                sentence: "the guest came to the moment".into(),
            },
            Outcome::Success => Verdict {
                outcome: Outcome::GuestFailure,
                sentence: format!("{} before the moment to save it", verdict.sentence),
            },
            _ => verdict,
        }
    }
}
