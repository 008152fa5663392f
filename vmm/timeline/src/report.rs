//! What a run, or several compared with each other, showed.

use serde::{Deserialize, Serialize};

use super::spec::{Address, EventId, Timeline};

/// The version of a report's JSON. It changes when something that was there changes its meaning or
/// goes.
const FORMAT: u32 = 1;

/// The findings of one run, or of several side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this structure, 1.
    pub format: u32,
    /// The subject of the report.
    pub title: String,
    /// The result, in one sentence.
    pub verdict: Verdict,
    /// The runs, the one that the others are compared with first.
    pub runs: Vec<Run>,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether it is what was expected.
    pub outcome: VerdictKind,
    /// The reason, in one sentence.
    pub sentence: String,
}

/// Whether what was seen is what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictKind {
    /// It is what was expected.
    Expected,
    /// It is something else.
    Unexpected,
    /// It could not be found out.
    Undecided,
}

/// One run and what it showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// A short name, to head a column.
    pub name: String,
    /// The behaviour of the guest's kernel in it, in one sentence.
    pub behaviour: String,
    /// Whether the guest fared well in it: [`Mark::Ok`] or [`Mark::Bad`].
    pub health: Mark,
    /// Whether that was expected.
    pub verdict: Verdict,
    /// The machine that ran.
    pub machine: Machine,
    /// Everything that was changed in the guest.
    pub changes: Vec<GuestChange>,
    /// The findings, row by row. Rows of the same name are compared across runs.
    pub findings: Vec<Finding>,
    /// The events that decided, in the order in which they tell the story.
    pub decisive: Vec<Decisive>,
    /// All that was observed.
    pub timeline: Timeline,
}

/// A machine and what ran on it: enough to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel image: a name or a file.
    pub kernel: String,
    /// The SHA-256 of the image as it was loaded, in hexadecimal.
    pub sha256: String,
    /// The kernel's own version, if it was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its command line.
    pub command_line: String,
    /// The seed of everything random.
    pub seed: u64,
    /// Number of cores.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// The devices that take part.
    pub devices: Vec<Device>,
}

/// A device of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Device {
    /// Its name in the device tree.
    pub name: String,
    /// The part that it plays, in a letter or a word, for example `A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// A description of it.
    pub description: String,
    /// The IOMMU instance and the micro-TLB that it is behind, if it is behind one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utlb: Option<(String, u32)>,
}

/// Something that was changed in the guest by a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestChange {
    /// The time, in nanoseconds of virtual time since reset.
    pub at: u64,
    /// The event in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// The named behaviour that asked for it.
    pub behaviour: String,
    /// The place that was changed.
    pub place: ChangedLocation,
    /// The same in the guest's terms, for example `dev->archdata.dma_ops_setup of e6510000.dma`.
    pub meaning: String,
    /// The value before.
    pub old: Address,
    /// The value that was written.
    pub new: Address,
}

/// A place that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum ChangedLocation {
    /// Memory.
    Memory {
        /// The guest virtual address.
        address: Address,
        /// Bytes.
        width: u8,
    },
    /// A register of a core.
    Register {
        /// Its name.
        name: String,
    },
}

/// One row of the comparison: the same question, answered from both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The question, for example `A's DMA`.
    pub subject: String,
    /// The hypervisor's observation.
    pub hypervisor: Observation,
    /// The guest's own account.
    pub guest: Observation,
}

/// One side's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Its mark.
    pub mark: Mark,
    /// The answer.
    pub text: String,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// It is as it should be.
    Ok,
    /// It is not as it should be.
    Bad,
    /// Worth knowing, and neither good nor bad.
    Note,
    /// Nothing was seen from that side, or nothing can be.
    None,
}

/// An event that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisive {
    /// The event.
    pub event: EventId,
    /// Whether it is as it should be.
    pub mark: Mark,
    /// Its meaning, in one sentence.
    pub meaning: String,
}

impl Report {
    /// Creates a report of the present format, still without runs.
    pub fn new(title: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            format: FORMAT,
            title: title.into(),
            verdict,
            runs: Vec::new(),
        }
    }

    /// Returns the subjects of the findings of all runs, each once, in the order of their first
    /// appearance.
    pub fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> = Vec::new();
        for finding in self.runs.iter().flat_map(|run| &run.findings) {
            // There are a dozen subjects or so: a search costs less than a set beside the list.
            if !subjects.contains(&finding.subject.as_str()) {
                subjects.push(&finding.subject);
            }
        }
        subjects
    }
}

impl Run {
    /// Returns what was found about `subject`.
    pub fn finding(&self, subject: &str) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.subject == subject)
    }
}

impl Device {
    /// Returns the device's role and what it is.
    pub fn summary(&self) -> String {
        match &self.role {
            Some(role) => format!("{role}, {}", self.description),
            None => self.description.clone(),
        }
    }
}

impl Observation {
    /// Creates an answer with a mark.
    pub fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self {
            mark,
            text: text.into(),
        }
    }
}

impl Verdict {
    /// Creates a judgement with its reason.
    pub fn new(outcome: VerdictKind, sentence: impl Into<String>) -> Self {
        Self {
            outcome,
            sentence: sentence.into(),
        }
    }
}
