//! Scripts: what the host has the DMA tester do, without a driver of the guest's.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use vmm_base::TextError;
use vmm_faults::spec::Time;

use super::operation::{Met, Operation, OperationKind, Pattern};
use super::spec::{REASON_IOMMU, REASON_NONE};

/// The most steps of a script.
pub const MAX_STEPS: usize = 256;
/// The most addresses that are remembered, to be found unmapped.
pub const MAX_FILLED: usize = 64;
/// The longest time of a script, in nanoseconds: that of [`Time`].
pub const MAX_TIME_NS: u64 = 3_600_000_000_000;

/// What happens at an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The translation cache learns a mapping, for another bus master.
    Fill,
    /// Translations are invalidated.
    Flush,
    /// The driver of a virtio-iommu maps a range.
    Map,
    /// A range is unmapped. Where only an IOMMU's page tables tell: an invalidation after which the
    /// requester's tables no longer map the address of the step before or, if the step takes the
    /// address of the event, one of those that were filled while it waited.
    Unmap,
    /// An access of another bus master is refused.
    Fault,
}

/// Something that has happened at an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened<'a> {
    /// What.
    pub what: Trigger,
    /// The bus master that it is about, if it is about one.
    pub device: Option<&'a str>,
    /// The first address that it is about, if that is known.
    pub address: Option<u64>,
}

/// The address of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StepAddress {
    /// This one, as the requester uses it.
    At(u64),
    /// One that is only known while the machine runs.
    Known(Known),
}

/// An address that is known while the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// The first address that the event is about.
    Event,
    /// The address of the step before.
    Previous,
}

impl<'de> Deserialize<'de> for StepAddress {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        /// TOML has no numbers of 64 bits without a sign: those stand in quotes.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        let wrong = || {
            let sentence =
                "an address is a number, 0x and digits in quotes, \"event\" or \"previous\"";
            D::Error::custom(sentence)
        };
        match Either::deserialize(d).map_err(|_| wrong())? {
            Either::Number(number) => Ok(Self::At(number)),
            Either::Text(text) => match (text.as_str(), text.strip_prefix("0x")) {
                ("event", _) => Ok(Self::Known(Known::Event)),
                ("previous", _) => Ok(Self::Known(Known::Previous)),
                (_, Some(digits)) if !digits.starts_with('+') => u64::from_str_radix(digits, 16)
                    .map(Self::At)
                    .map_err(|_| wrong()),
                _ => Err(wrong()),
            },
        }
    }
}

/// What is expected of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Every access is done.
    #[default]
    Ok,
    /// Every access is done, and what is compared is the same.
    Data,
    /// The IOMMU refuses an access.
    Fault,
    /// An access leads to where no memory is.
    BusError,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// When it begins, by the machine's clock since power-on; at once if that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// The event that it begins after, counted from the end of the step before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Trigger>,
    /// Which of these events it is, counted from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub nth: u32,
    /// The bus master that the event must be about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// How much later than that it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Time>,
    /// What is done.
    pub op: OperationKind,
    /// Where.
    pub address: StepAddress,
    /// Bytes of one access.
    #[serde(default = "four")]
    pub length: u32,
    /// Accesses of a burst.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// From one access to the next, in bytes; the length of an access by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<i32>,
    /// How often the burst is done.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub repeat: u32,
    /// Time between two bursts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Time>,
    /// What is filled or compared with. A script has no buffer of its own.
    #[serde(default)]
    pub pattern: Pattern,
    /// The pattern's word or seed.
    #[serde(default)]
    pub data: u32,
    /// The requester, counted from 0.
    #[serde(default)]
    pub requester: u32,
    /// Whether accesses go on after one that is refused.
    #[serde(default)]
    pub go_on: bool,
    /// What is expected.
    #[serde(default)]
    pub expect: Expect,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_one(value: &u32) -> bool {
    *value == 1
}

const fn four() -> u32 {
    4
}

impl Step {
    /// Checks what a step alone tells; it is the `index`th, counted from 0, of a device with so
    /// many `requesters`.
    ///
    /// # Errors
    /// What is wrong, and what to do, as a sentence.
    pub fn check(&self, index: usize, requesters: usize) -> Result<(), TextError> {
        let say = |why: String| Err(format!("step {} {why}", index + 1).into());
        let previous = self.address == StepAddress::Known(Known::Previous);
        let event = self.address == StepAddress::Known(Known::Event);
        let numbers = [
            ("length", self.length),
            ("count", self.count),
            ("repeat", self.repeat),
            ("nth", self.nth),
        ];
        if let Some((key, _)) = numbers.into_iter().find(|(_, number)| *number == 0) {
            return say(format!("has a {key} of 0: use 1 or more"));
        }
        if self.at.is_some() && self.on.is_some() {
            return say("has both at and on: say one of them".into());
        }
        if self.on.is_none() && (self.nth != 1 || self.device.is_some()) {
            return say(
                "has nth or device, which are about an event: say which one with on".into(),
            );
        }
        let of_device = Some(Trigger::Fill) == self.on
            || Some(Trigger::Fault) == self.on
            || (Some(Trigger::Unmap) == self.on && event);
        if self.device.is_some() && !of_device {
            return say("names a device, and only fill, fault and unmap with address = \"event\" are about one".into());
        }
        if self.on == Some(Trigger::Unmap) && self.nth != 1 {
            return say("has nth, which unmap does not: leave it out".into());
        }
        if event && matches!(self.on, None | Some(Trigger::Flush)) {
            return say(
                "takes the address of its event, which only fill, map, unmap and fault have: say one \
                 of them with on, or a number"
                    .into(),
            );
        }
        if previous && index == 0 {
            return say(
                "takes the address of the step before, and is the first: say a number".into(),
            );
        }
        if self.expect == Expect::Data && self.op != OperationKind::Compare {
            return say("expects data, which only op = \"compare\" looks at".into());
        }
        if self.op == OperationKind::Write || self.pattern == Pattern::Buffer {
            return say(
                "uses the device's buffer, which is the guest's: use op = \"fill\" and a pattern of \
                 word or sequence"
                    .into(),
            );
        }
        if usize::try_from(self.requester).is_ok_and(|number| number >= requesters) {
            return say(format!(
                "uses requester {}, and the device has {requesters}, counted from 0",
                self.requester
            ));
        }
        Ok(())
    }

    /// Returns the operation, at `address`.
    pub(super) fn operation(&self, address: u64) -> Operation {
        let length = i32::try_from(self.length).unwrap_or(i32::MAX);
        Operation {
            kind: self.op,
            requester: self.requester,
            address,
            length: self.length,
            count: self.count,
            stride: self.stride.unwrap_or(length),
            repeat: self.repeat,
            interval_ns: self.interval.map_or(0, |time| time.0),
            pattern: self.pattern,
            data: self.data,
            go_on: self.go_on,
        }
    }

    /// Returns whether the event is one that it waits for.
    pub(super) fn waits_for(&self, happened: &Happened<'_>) -> bool {
        match (self.on, happened.what) {
            // Only then it can be found out whether an invalidation was for an unmapping.
            (Some(Trigger::Unmap), Trigger::Flush) => !matches!(self.address, StepAddress::At(_)),
            // The driver's request does not say whose mapping it was.
            (Some(Trigger::Unmap), Trigger::Unmap) => self.device.is_none(),
            (on, what) => on == Some(what) && self.concerns(happened),
        }
    }

    /// Returns whether it remembers the address of the event, which may be unmapped later.
    pub(super) fn remembers(&self, happened: &Happened<'_>) -> bool {
        self.on == Some(Trigger::Unmap)
            && self.address == StepAddress::Known(Known::Event)
            && happened.what == Trigger::Fill
            && self.concerns(happened)
    }

    fn concerns(&self, happened: &Happened<'_>) -> bool {
        let device = self.device.as_deref();
        device.is_none_or(|device| happened.device == Some(device))
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepResult {
    /// When it began, in nanoseconds of the machine's clock.
    pub begun_ns: u64,
    /// Its first address; `None` if it was to be the event's, and that has none.
    pub address: Option<u64>,
    /// What it met.
    pub met: Met,
}

impl StepResult {
    /// Returns what happened, in the words of [`Expect`]: of a comparison that found a difference
    /// "differs", and without an address "no-address".
    pub fn outcome(&self, op: OperationKind) -> &'static str {
        match self.met {
            _ if self.address.is_none() => "no-address",
            Met { reason, .. } if reason >= REASON_IOMMU => "fault",
            Met { reason, .. } if reason != REASON_NONE => "bus-error",
            Met {
                mismatches: 1.., ..
            } => "differs",
            _ if op == OperationKind::Compare => "data",
            _ => "ok",
        }
    }

    /// Returns whether that is what `step` expects.
    pub fn holds(&self, step: &Step) -> bool {
        let outcome = self.outcome(step.op);
        match step.expect {
            Expect::Ok => matches!(outcome, "ok" | "data" | "differs"),
            Expect::Data => outcome == "data",
            Expect::Fault => outcome == "fault",
            Expect::BusError => outcome == "bus-error",
        }
    }
}

/// How far a script is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptState {
    /// What became of the steps that are over.
    pub results: Vec<StepResult>,
    /// The step that is under way, if one is; what it has met so far is the device's.
    pub under_way: Option<StepResult>,
    /// Events that the next step still waits for, if it waits for any.
    pub waits: u32,
    /// What has happened, if it has not begun since.
    pub fired: Option<Fired>,
    /// Addresses that were filled while it waits for one of them to be unmapped, the last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filled: Vec<u64>,
}

/// An event that a step begins after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fired {
    /// When it happened, in nanoseconds of the machine's clock.
    pub at_ns: u64,
    /// The first address that it is about, if that is known.
    pub address: Option<u64>,
}
