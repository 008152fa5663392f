//! What a run, or several compared with each other, showed.

use serde::{Deserialize, Serialize};

use super::spec::{Address, EventId, Timeline};

/// The version of a report's JSON. It changes when something that was there changes its meaning or goes.
const FORMAT: u32 = 1;

/// What was found, in one run or in several side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of this structure, 1.
    pub format: u32,
    /// What it is about.
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
    pub outcome: Outcome,
    /// Why, in one sentence.
    pub sentence: String,
}

/// Whether what was seen is what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is.
    Expected,
    /// It is not.
    Unexpected,
    /// It could not be told.
    Undecided,
}

/// One run and what it showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// A short name, to head a column.
    pub name: String,
    /// How the guest's kernel behaves in it, in one sentence.
    pub behaviour: String,
    /// Whether the guest fared well in it: [`Mark::Ok`] or [`Mark::Bad`].
    pub health: Mark,
    /// Whether that was expected.
    pub verdict: Verdict,
    /// What ran.
    pub machine: Machine,
    /// Everything that was changed in the guest.
    pub changes: Vec<GuestChange>,
    /// What was found, row by row. Rows of the same name are compared across runs.
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
    /// What the kernel says it is, if it was found out.
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
    /// What it is.
    pub description: String,
    /// The IOMMU instance and the micro-TLB that it sits behind, if behind one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utlb: Option<(String, u32)>,
}

/// Something that was changed in the guest by a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestChange {
    /// When, in nanoseconds of virtual time since reset.
    pub at: u64,
    /// The event in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// The named behaviour that asked for it.
    pub behaviour: String,
    /// What was changed.
    pub place: Place,
    /// The same in the guest's terms, for example `dev->archdata.dma_ops_setup of e6510000.dma`.
    pub meaning: String,
    /// What was there.
    pub old: Address,
    /// What was written.
    pub new: Address,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum Place {
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
    /// What the hypervisor saw.
    pub hypervisor: Observation,
    /// What the guest said.
    pub guest: Observation,
}

/// One side's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// How it is.
    pub mark: Mark,
    /// The answer.
    pub text: String,
}

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// It is.
    Ok,
    /// It is not.
    Bad,
    /// Worth knowing, and neither good nor bad.
    Note,
    /// That side saw nothing, or has no say.
    None,
}

/// An event that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisive {
    /// Which one.
    pub event: EventId,
    /// Whether it is as it should be.
    pub mark: Mark,
    /// What it means, in one sentence.
    pub meaning: String,
}

impl Report {
    /// A report of the present format, still without runs.
    pub fn new(title: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            format: FORMAT,
            title: title.into(),
            verdict,
            runs: Vec::new(),
        }
    }

    /// The subjects of the findings of all runs, each once, in the order of their first appearance.
    pub fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> = Vec::new();
        for finding in self.runs.iter().flat_map(|run| &run.findings) {
            if !subjects.contains(&finding.subject.as_str()) {
                subjects.push(&finding.subject);
            }
        }
        subjects
    }
}

impl Run {
    /// What was found about `subject`.
    pub fn finding(&self, subject: &str) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.subject == subject)
    }
}

impl Device {
    /// Its role and what it is.
    pub fn summary(&self) -> String {
        match &self.role {
            Some(role) => format!("{role}, {}", self.description),
            None => self.description.clone(),
        }
    }
}

impl Observation {
    /// An answer with a mark.
    pub fn new(mark: Mark, text: impl Into<String>) -> Self {
        Self {
            mark,
            text: text.into(),
        }
    }
}

impl Verdict {
    /// A judgement with its reason.
    pub fn new(outcome: Outcome, sentence: impl Into<String>) -> Self {
        Self {
            outcome,
            sentence: sentence.into(),
        }
    }
}
