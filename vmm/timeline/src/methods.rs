//! What can be asked of the types of a timeline.

use std::fmt;

use super::spec::{
    Address, Burst, Category, Direction, Event, EventId, Kind, Lane, LaneId, Timeline,
};

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| format!("'{text}' is not an address: those are written as 0x1234"))
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict => f.write_str("verdict"),
            Self::Probes => f.write_str("guest functions"),
            Self::Unit { unit } => f.write_str(unit),
            Self::Utlb { unit, utlb, virtio } => {
                // Each model in the words of its own specification.
                let word = if *virtio { "endpoint" } else { "uTLB" };
                write!(f, "{unit} {word} {utlb}")
            }
            Self::Device { name } => f.write_str(name),
            Self::Context {
                unit,
                context,
                virtio,
            } => {
                let word = if *virtio { "domain" } else { "context" };
                write!(f, "{unit} {word} {context}")
            }
            Self::Interrupts => f.write_str("interrupts"),
            Self::Console => f.write_str("console"),
        }
    }
}

impl Category {
    /// All categories, in the order in which to show them.
    pub const ALL: [Self; 12] = [
        Self::Verdict,
        Self::Mistake,
        Self::Probe,
        Self::Register,
        Self::Attachment,
        Self::Binding,
        Self::Dma,
        Self::BusError,
        Self::Fault,
        Self::Translation,
        Self::Interrupt,
        Self::Console,
    ];

    /// Returns whether events of this kind come in floods.
    pub fn is_bulk(self) -> bool {
        matches!(
            self,
            Self::Dma
                | Self::BusError
                | Self::Fault
                | Self::Translation
                | Self::Interrupt
                | Self::Console
        )
    }

    /// Returns its name in the plural, for a heading or a filter.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Verdict => "verdicts",
            Self::Mistake => "mistakes with DMA",
            Self::Probe => "guest functions",
            Self::Register => "register writes",
            Self::Attachment => "attachments",
            Self::Binding => "driver bindings",
            Self::Dma => "DMA",
            Self::BusError => "bus errors",
            Self::Fault => "faults",
            Self::Translation => "translations",
            Self::Interrupt => "interrupts",
            Self::Console => "console lines",
        }
    }
}

/// The burst of a kind, borrowed as the kind is.
macro_rules! burst_of {
    ($kind:expr) => {
        match $kind {
            Kind::Invalidated { burst, .. }
            | Kind::Filled { burst, .. }
            | Kind::Mapped { burst, .. }
            | Kind::Unmapped { burst }
            | Kind::Fault { burst, .. }
            | Kind::BusError { burst, .. }
            | Kind::Dma { burst, .. } => Some(burst),
            _ => None,
        }
    };
}

impl Kind {
    /// Returns the category of this kind.
    pub fn category(&self) -> Category {
        match self {
            Self::Probe { .. } => Category::Probe,
            Self::Register { .. } => Category::Register,
            Self::Attachment { .. } => Category::Attachment,
            Self::Binding { .. } => Category::Binding,
            Self::Invalidated { .. }
            | Self::Filled { .. }
            | Self::Mapped { .. }
            | Self::Unmapped { .. } => Category::Translation,
            Self::Fault { .. } => Category::Fault,
            Self::BusError { .. } => Category::BusError,
            Self::Dma { .. } => Category::Dma,
            Self::Interrupt { .. } => Category::Interrupt,
            Self::Console { .. } => Category::Console,
            Self::Mistake { .. } => Category::Mistake,
            Self::Verdict { .. } => Category::Verdict,
        }
    }

    /// Returns the burst, if the event is one.
    pub fn burst(&self) -> Option<&Burst> {
        burst_of!(self)
    }

    /// Returns the burst, if the event is one, to be extended.
    pub(super) fn burst_mut(&mut self) -> Option<&mut Burst> {
        burst_of!(self)
    }
}

impl Event {
    /// Returns when the event ended, in nanoseconds: at once for most kinds, at `end` for an
    /// interrupt that stays active.
    pub fn until(&self, end: u64) -> u64 {
        match &self.kind {
            Kind::Interrupt { until, .. } => until.unwrap_or(end),
            kind => kind.burst().map_or(self.at, |burst| burst.until),
        }
        // Never before its beginning, whatever a late report says.
        .max(self.at)
    }
}

impl Timeline {
    /// Returns the event that `id` names, if there is one.
    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.events.get(id.0 as usize)
    }

    /// Returns the lane that `id` names, if there is one.
    pub fn lane(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(usize::from(id.0))
    }

    /// Returns the first event after `from` (or at it) that `wanted` accepts.
    pub fn find(&self, from: u64, wanted: impl Fn(&Lane, &Kind) -> bool) -> Option<EventId> {
        let index = self.events.iter().position(|event| {
            event.at >= from
                && self
                    .lane(event.lane)
                    .is_some_and(|lane| wanted(lane, &event.kind))
        })?;
        u32::try_from(index).ok().map(EventId)
    }
}
