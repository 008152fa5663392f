//! What happens to the registers of an IOMMU, told so that tools can show it without knowing the
//! model.

use std::fmt;
use std::sync::Arc;

use crate::event::Observer;

/// Sees what the guest does to the registers of an IOMMU, and what faults it records, as it
/// happens.
///
/// Called with the registers locked, on the thread of the vCPU or of the device: an observer must
/// not access the IOMMU. Single accesses and the translation cache are told by [`Observer`].
pub trait RegisterObserver: Send + Sync {
    /// Sees `event`, which has just happened.
    fn event(&self, event: &dyn RegisterEvent);
}

/// Who sees what happens at an IOMMU.
#[derive(Clone, Default)]
pub struct Observers {
    /// Of the registers.
    pub registers: Option<Arc<dyn RegisterObserver>>,
    /// Of the translation path. Endpoints are ports and domains address spaces, by the model's
    /// numbers from 0.
    pub translation: Option<Arc<dyn Observer>>,
}

// The IPMMU has observers of its own.
#[cfg(any(feature = "rockchip", feature = "smmu-v2"))]
impl Observers {
    pub(crate) fn tell(&self, event: &dyn RegisterEvent) {
        if let Some(observer) = &self.registers {
            observer.event(event);
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("registers", &self.registers.is_some())
            .field("translation", &self.translation.is_some())
            .finish()
    }
}

/// Something that happened to the registers of an IOMMU: what the guest did, or what fault it was
/// shown.
///
/// As text it is a phrase such as "uTLB 3 enabled on context 0". The methods say the rest that
/// counts, traces and timelines need.
pub trait RegisterEvent: fmt::Debug + fmt::Display {
    /// Returns what it changes for the accesses of bus masters, if it changes anything that is
    /// counted.
    fn effect(&self) -> Option<Effect>;

    /// Returns it as words of a trace.
    fn trace(&self) -> TraceWords;

    /// Returns the register that it concerns, and where a timeline shows it. None for invalidations
    /// and for faults that no register shows: timelines have them from [`Event`](crate::Event)s
    /// already.
    fn register(&self) -> Option<RegisterChange>;
}

/// What is counted of an event. Where one write attaches several ports, each of them needs an
/// event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A port was attached to a domain, or from one to another.
    Attached {
        /// Its number, from 0.
        port: usize,
    },
    /// A port was detached.
    Detached {
        /// Its number, from 0.
        port: usize,
    },
    /// The guest asked for an invalidation, and for nothing else: a reset does not count.
    Flushed,
}

/// An event as the words of a line: `attach utlb=3 context=0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceWords {
    /// The name of the event.
    pub name: &'static str,
    /// The port that it is about, from 0, if it is about one.
    pub port: Option<usize>,
    /// The values that belong to it, each by its key, in the order in which they are shown.
    pub fields: Vec<(&'static str, String)>,
}

impl TraceWords {
    /// Creates the words of an event without values.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            port: None,
            fields: Vec::new(),
        }
    }

    /// Creates the words of an event that has none of its own: its phrase, in quotes.
    pub fn other(event: &dyn fmt::Display) -> Self {
        Self::new("other").field("what", format_args!("{:?}", event.to_string()))
    }

    /// Returns them with the port that the event is about.
    #[must_use]
    pub fn port(mut self, port: usize) -> Self {
        self.port = Some(port);
        self
    }

    /// Returns them with an address or a mask, in hexadecimal digits.
    #[must_use]
    pub fn hex(self, key: &'static str, value: impl fmt::LowerHex) -> Self {
        self.field(key, format_args!("{value:#x}"))
    }

    /// Returns them with a further value.
    #[must_use]
    pub fn field(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.fields.push((key, value.to_string()));
        self
    }
}

/// What a timeline shows of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterChange {
    /// The part of the IOMMU that the register belongs to.
    pub part: Part,
    /// The register, by the name that its driver or its manual gives it.
    pub register: String,
    /// The value, where the phrase does not tell it by its meaning.
    pub value: Option<u64>,
}

impl RegisterChange {
    /// Creates one of a register whose value the phrase tells.
    pub fn new(part: Part, register: impl Into<String>) -> Self {
        Self {
            part,
            register: register.into(),
            value: None,
        }
    }

    /// Returns it with a value.
    #[must_use]
    pub fn value(mut self, value: impl Into<u64>) -> Self {
        self.value = Some(value.into());
        self
    }
}

/// A part of an IOMMU that has registers of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// None in particular.
    Whole,
    /// A port, by its number from 0.
    Port(usize),
    /// An address space, by its number from 0.
    Domain(usize),
}

/// An access that does nothing: such reads give 0. Told for the first few at an IOMMU, then ever
/// more seldom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IgnoredAccess {
    /// The offset in the window.
    pub offset: u64,
    /// What the guest did there.
    pub access: Ignored,
    /// How many such accesses there were so far.
    pub count: u64,
}

/// What a guest does to registers that do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A read of a word.
    Read,
    /// A write of this word.
    Write(u32),
    /// A write of so many bytes, which are not whole words.
    Partial(usize),
}

impl IgnoredAccess {
    /// Writes its phrase. Offsets have so many `digits`, with the prefix; `register` is what is
    /// there, and why nothing is done, if a register is.
    pub(crate) fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        digits: usize,
        register: Option<fmt::Arguments<'_>>,
    ) -> fmt::Result {
        let offset = self.offset;
        match self.access {
            Ignored::Read => f.write_str("read of ")?,
            Ignored::Write(value) => write!(f, "write of {value:#010x} to ")?,
            Ignored::Partial(size) => write!(f, "write of {size} bytes to ")?,
        }
        match (self.access, register) {
            (Ignored::Partial(_), _) => {
                write!(f, "offset {offset:#0digits$x} ignored: registers are words")?;
            }
            (_, Some(register)) => f.write_fmt(register)?,
            (_, None) => write!(
                f,
                "offset {offset:#0digits$x}, where no register is modelled"
            )?,
        }
        write!(f, " ({} so far)", self.count)
    }

    /// Returns what a timeline shows of it.
    pub(crate) fn change(&self) -> RegisterChange {
        let change = RegisterChange::new(Part::Whole, format!("offset {:#x}", self.offset));
        match self.access {
            Ignored::Write(value) => change.value(value),
            Ignored::Read | Ignored::Partial(_) => change,
        }
    }
}
