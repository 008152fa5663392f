//! What stands in a fault plan: types only. `docs/inject.md` explains the keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A fault plan.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// What it is about, in one line.
    pub title: String,
    /// What happens, and which code of the guest it exercises.
    #[serde(default)]
    pub about: String,
    /// The scenario that it happens to.
    #[serde(default)]
    pub scenario: ScenarioName,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Vec<Rule>,
}

/// What the guest is and does while faults happen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioName {
    /// A disk behind an IPMMU is copied, half of it onto the other half.
    #[default]
    Copy,
    /// The same, then its driver is taken away and given back, and it is copied again.
    Rebind,
    /// The same disk without an IOMMU.
    Plain,
    /// The same disk behind a virtio-iommu.
    Virtio,
}

impl ScenarioName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Copy, Self::Rebind, Self::Plain, Self::Virtio];

    /// The image that its guest is.
    pub const fn image(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-iommu",
            _ => "ipmmu",
        }
    }

    /// The name in a plan.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Rebind => "rebind",
            Self::Plain => "plain",
            Self::Virtio => "virtio",
        }
    }
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// At which points.
    #[serde(rename = "where")]
    pub place: FaultPoint,
    /// What happens there.
    pub what: FaultKind,
    /// Only at points of this device, such as `disk0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Only at accesses to this register, such as `IMSTR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// The guest's function that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The value that is seen, written or returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
    /// The bits that are flipped; one that the seed chooses, if none are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u64>,
    /// How often a flush is seen not to be complete, or an interrupt repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// By how much something is late, or how long it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    /// When.
    #[serde(default)]
    pub when: When,
}

/// The kinds of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultPoint {
    /// A device's address is translated by an IOMMU.
    Translation,
    /// A descriptor of a page table is read by an IOMMU.
    PageTable,
    /// The guest has an IOMMU flush its translations.
    Flush,
    /// The guest reads a register of an IOMMU or of a virtio slot.
    RegisterRead,
    /// The guest writes a register of an IOMMU or of a virtio slot.
    RegisterWrite,
    /// A device raises its interrupt.
    Interrupt,
    /// The guest notifies a device of a virtqueue.
    Queue,
    /// A device fetches the descriptors of a request.
    Chain,
    /// A disk executes a request.
    Disk,
    /// A virtio-iommu executes a request.
    Request,
    /// A virtio-iommu reports a fault.
    Report,
    /// The guest's kernel calls a function.
    Function,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Refused as if nothing were mapped.
    Translation,
    /// Refused as if the access were not allowed.
    Permission,
    /// Refused for an access flag.
    AccessFlag,
    /// Refused for a malformed descriptor.
    Format,
    /// Refused for a secure descriptor.
    Secure,
    /// Refused for memory that does not answer.
    Abort,
    /// Refused because several entries of the translation buffer match.
    MultiHit,
    /// The IOMMU shows this status out of nowhere, with its interrupt.
    Status,
    /// Bits are flipped.
    Flip,
    /// Another value.
    Value,
    /// It does not happen.
    Lost,
    /// It happens later.
    Late,
    /// It never ends.
    Stuck,
    /// It is said to have happened, and has not.
    Ignored,
    /// It happens several times.
    Repeated,
    /// It happens for no reason.
    Spurious,
    /// The device asks for a reset and stops.
    NeedsReset,
    /// The device forgets everything.
    Reset,
    /// Bits of a buffer's address are flipped.
    FlipAddress,
    /// Bits of a buffer's length are flipped.
    FlipLength,
    /// The request fails.
    IoError,
    /// The request is said not to be supported.
    Unsupported,
    /// Only half of the request is done, and it is said to have succeeded.
    Short,
    /// The request is said to be complete before its data is moved.
    LateData,
    /// The device accesses the request's buffers again after it is complete.
    Again,
    /// It returns this value instead of being executed.
    Error,
}

/// The n-th time, or one that the seed chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nth {
    /// The first that it may be, from 1.
    pub first: u64,
    /// The last that it may be.
    pub last: u64,
}

/// A time or a duration of the guest, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// When a fault happens, counted among the points that a rule is about, from when the scenario begins.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// At the n-th point. The first, if nothing else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<Nth>,
    /// At every n-th point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At each point with this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Points count only from this time on, from when the scenario begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// Points count only after the guest has come to this function, each time anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// How often at most: once, unless `every` or `probability` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// `N` or `N..M`, both included.
impl FromStr for Nth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no number of a point: use N, or N..M for one of these");
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let (first, last) = match text.split_once("..") {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first == 0 || last < first {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Nth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}

impl Serialize for Nth {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nth {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        /// A number need not stand in quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Negative(i64),
            Fraction(f64),
            Text(String),
        }
        let text = match Either::deserialize(d) {
            Ok(Either::Number(number)) => number.to_string(),
            Ok(Either::Negative(number)) => number.to_string(),
            Ok(Either::Fraction(number)) => number.to_string(),
            Ok(Either::Text(text)) => text,
            Err(_) => String::new(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The longest time that a plan may name: longer than any scenario.
const MAX_TIME_NS: u64 = 3_600_000_000_000;

/// A whole number with `ns`, `us`, `ms` or `s`.
impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let factor: Option<u64> = match unit {
            "ns" => Some(1),
            "us" => Some(1_000),
            "ms" => Some(1_000_000),
            "s" => Some(1_000_000_000),
            _ => None,
        };
        let ns = number.parse::<u64>().ok().zip(factor);
        ns.and_then(|(number, factor)| number.checked_mul(factor))
            .filter(|ns| *ns <= MAX_TIME_NS)
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "{text:?} is no time: use a number with ns, us, ms or s, of an hour at most"
                )
            })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            0 => (0, "ns"),
            ns if ns % 1_000_000_000 == 0 => (ns / 1_000_000_000, "s"),
            ns if ns % 1_000_000 == 0 => (ns / 1_000_000, "ms"),
            ns if ns % 1_000 == 0 => (ns / 1_000, "us"),
            ns => (ns, "ns"),
        };
        write!(f, "{number}{unit}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name in a plan.
        self.serialize(f)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name in a plan.
        self.serialize(f)
    }
}
