//! What is reported: plain data.

use serde::{Deserialize, Serialize};
use vmm_base::Seconds;
use vmm_timeline::recording::Recording;
use vmm_timeline::{Address, Direction};

use crate::Kind;

/// Most functions of a call stack that a report keeps, the innermost ones.
pub const MAX_FRAMES: usize = 24;
/// Longest text in a report, in bytes; the guest chooses the names of its functions.
pub const MAX_TEXT: usize = 512;

/// A call that a guest made, such as the one that mapped a buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The time, in nanoseconds of guest time since reset.
    pub at: u64,
    /// The core, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u8>,
    /// The functions that the call came through as `symbol+offset`, or as addresses where there is
    /// no symbol; the innermost first. The first [`MAX_FRAMES`] of them.
    pub stack: Vec<String>,
}

/// Who mapped, unmapped and freed what a report is about, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The call that mapped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapped: Option<Call>,
    /// The call that unmapped it, if it was unmapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmapped: Option<Call>,
    /// The call that freed the memory behind it, if that was seen while it was mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<Call>,
    /// The guest's own code that accessed it, if it is about an access of the CPU: the first of its
    /// functions has the instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accessed: Option<Call>,
}

/// A mistake that a guest made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its kind.
    pub kind: Kind,
    /// The time of the first one like it, in nanoseconds of guest time since reset.
    pub at: u64,
    /// The device, by its name on the board; empty if it is not known.
    pub device: String,
    /// The address, as the device used it or was told to.
    pub iova: Address,
    /// The guest physical address that it leads to, or led to, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical: Option<Address>,
    /// What the device did, if it is about an access of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Direction>,
    /// Who mapped and unmapped what it is about.
    #[serde(flatten)]
    pub history: History,
    /// What happened, as a sentence without a full stop that begins with the device's name.
    pub text: String,
    /// How many there were like it.
    pub count: u64,
}

impl Report {
    /// Creates the report of one mistake, about which `text` says what happened.
    pub fn new(kind: Kind, at: u64, device: &str, iova: u64, text: String) -> Self {
        Self {
            kind,
            at,
            device: device.into(),
            iova: Address(iova),
            physical: None,
            access: None,
            history: History::default(),
            text,
            count: 1,
        }
    }

    /// Sets the guest physical address.
    #[must_use]
    pub fn with_physical(mut self, address: Option<u64>) -> Self {
        self.physical = address.map(Address);
        self
    }

    /// Sets what the device did.
    #[must_use]
    pub fn with_access(mut self, access: Direction) -> Self {
        self.access = Some(access);
        self
    }

    /// Sets who mapped and unmapped it.
    #[must_use]
    pub fn with_history(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// Makes it an event of `recording`.
    pub fn record(&self, recording: &Recording) {
        recording.mistake(&self.device, self.at, self.kind.name(), &self.text);
    }

    /// Cuts what a guest could make long.
    pub(crate) fn cut(&mut self) {
        cut(&mut self.text);
        let History {
            mapped,
            unmapped,
            freed,
            accessed,
        } = &mut self.history;
        for call in [mapped, unmapped, freed, accessed].into_iter().flatten() {
            call.stack.truncate(MAX_FRAMES);
            call.stack.iter_mut().for_each(cut);
        }
    }

    /// Returns the lines that show it to a person: the first says what happened, the others who had
    /// to do with it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}: {}", self.kind, self.text)];
        // Where no IOMMU stands between, the two are one.
        let physical = self.physical.filter(|physical| *physical != self.iova);
        lines.extend(physical.map(|at| format!("{} leads to physical address {at}", self.iova)));
        let History {
            mapped,
            unmapped,
            freed,
            accessed,
        } = &self.history;
        for (word, call) in [
            ("mapped", mapped),
            ("unmapped", unmapped),
            ("freed", freed),
            ("accessed", accessed),
        ] {
            let Some(call) = call else { continue };
            let core = call.core.map(|core| format!(" on core {core}"));
            lines.push(format!(
                "{word} at {} s{} by {}",
                Seconds(call.at),
                core.unwrap_or_default(),
                call.stack.join(" < ")
            ));
        }
        lines
    }
}

/// Cuts a text to [`MAX_TEXT`].
fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
    }
}
