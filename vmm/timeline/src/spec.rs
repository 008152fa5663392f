//! The types of a timeline, and nothing else.

use serde::{Deserialize, Serialize};

/// A 64-bit address or identifying number, written `0x...` in JSON, whose numbers are exact only up
/// to 53 bits in a browser.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address(pub u64);

/// The index of a lane in [`Timeline::lanes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u16);

/// The index of an event in [`Timeline::events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub u32);

/// The lane that an event belongs to. The order of the variants is the order of the lanes in a
/// timeline: causes above effects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "lane", rename_all = "kebab-case")]
pub enum Lane {
    /// The verdicts of the judge of the run.
    Verdict,
    /// Functions of the guest's kernel.
    Probes,
    /// An IOMMU instance as a whole.
    Unit {
        /// Its name in the device tree.
        unit: String,
    },
    /// A micro-TLB of an IOMMU instance: the port of one or several bus masters.
    Utlb {
        /// The instance.
        unit: String,
        /// The number of the micro-TLB.
        utlb: u32,
        /// Whether it is an endpoint of a virtio-iommu.
        #[serde(default, skip_serializing_if = "is_false")]
        virtio: bool,
    },
    /// A bus master.
    Device {
        /// Its name in the device tree.
        name: String,
    },
    /// A translation context of an IOMMU instance.
    Context {
        /// The instance.
        unit: String,
        /// The number of the context.
        context: u32,
        /// Whether it is a domain of a virtio-iommu.
        #[serde(default, skip_serializing_if = "is_false")]
        virtio: bool,
    },
    /// Interrupt lines.
    Interrupts,
    /// The guest's console.
    Console,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// The way that an access of a bus master took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "route", rename_all = "kebab-case")]
pub enum Route {
    /// Untranslated, through a port that has never translated: a device without an IOMMU.
    Untranslated,
    /// Untranslated, through a port that had been translating before: the address was most likely
    /// meant for the IOMMU that no longer looks at it.
    Stray,
    /// Translated.
    Context {
        /// The number of the context.
        context: u32,
    },
    /// Nowhere: the port lets nothing through.
    Blocked,
}

/// The direction of an access of a bus master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// It reads memory.
    Read,
    /// It writes memory.
    Write,
}

/// Several like accesses that followed each other closely, kept as one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Burst {
    /// The time of the last one, in nanoseconds; the first one was at [`Event::at`].
    pub until: u64,
    /// Their number.
    pub count: u64,
    /// Bytes in all.
    pub bytes: u64,
    /// The address of the first one, as the bus master used it.
    pub first: Address,
    /// The lowest address.
    pub lowest: Address,
    /// The highest address, inclusive.
    pub highest: Address,
}

/// The value of an argument or field that a probe printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "kebab-case")]
pub enum Value {
    /// A number.
    Number(i64),
    /// A guest virtual address and the symbol that it is, if it is one.
    Pointer(Address, Option<String>),
    /// A string of the guest's, made visible.
    Text(String),
    /// A value that could not be read, and the reason.
    Unreadable(String),
}

/// Something a probe printed, by the name under which it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// The name, for example `dev->kobj.name`.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// The position of a probe in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Its first instruction.
    Entry,
    /// The instruction that it returns to.
    Return,
    /// An instruction in it, by its distance from the first in bytes.
    Offset(u32),
}

/// A kind of event, with its details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// The guest passed a probe.
    Probe {
        /// The function.
        function: String,
        /// The position in it.
        point: Point,
        /// The values that were read there.
        arguments: Vec<Argument>,
        /// The caller, as symbol+offset.
        caller: Option<String>,
        /// The probe's actions on the guest, in words.
        actions: Vec<String>,
    },
    /// The guest wrote a register, or sent a request.
    Register {
        /// The register or request, for example `IMUCTR3` or `ATTACH`.
        register: String,
        /// The value written, if it was told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Address>,
        /// The meaning, for example `uTLB 3 disabled`.
        meaning: String,
    },
    /// A micro-TLB's accesses take another way from now on.
    Attachment {
        /// The new way.
        to: Route,
    },
    /// A driver was bound to, or unbound from, a device.
    Binding {
        /// The driver, if one is bound now.
        driver: Option<String>,
    },
    /// Translations were invalidated.
    Invalidated {
        /// Their number; they have no addresses.
        #[serde(flatten)]
        burst: Burst,
        /// First and last IOVA; everything if there is none.
        range: Option<(Address, Address)>,
    },
    /// Translations were learnt from the guest's page tables.
    Filled {
        /// Their number; `bytes` is what they cover.
        #[serde(flatten)]
        burst: Burst,
        /// The guest physical address that the first one leads to.
        physical: Address,
    },
    /// The driver of a virtio-iommu mapped memory.
    Mapped {
        /// The number of mappings, and their addresses.
        #[serde(flatten)]
        burst: Burst,
        /// The guest physical address that the first one leads to.
        physical: Address,
    },
    /// The driver of a virtio-iommu unmapped memory.
    Unmapped {
        /// Their number, and their addresses.
        #[serde(flatten)]
        burst: Burst,
    },
    /// Accesses were refused.
    Fault {
        /// Their number, and their addresses.
        #[serde(flatten)]
        burst: Burst,
        /// The kind of access.
        direction: Direction,
        /// The reason for the refusal.
        reason: String,
        /// The level of the page table at which the first walk ended.
        level: Option<u8>,
    },
    /// Accesses led to an address without memory.
    BusError {
        /// Their number, and their addresses.
        #[serde(flatten)]
        burst: Burst,
        /// The kind of access.
        direction: Direction,
        /// The guest physical address that the first one led to.
        physical: Address,
    },
    /// Accesses to memory.
    Dma {
        /// Their number, and their addresses.
        #[serde(flatten)]
        burst: Burst,
        /// The kind of access.
        direction: Direction,
        /// The way that they took.
        #[serde(flatten)]
        route: Route,
    },
    /// An interrupt line was active.
    Interrupt {
        /// The number of the interrupt.
        line: u32,
        /// The device that raised it.
        source: String,
        /// The number of times that it was raised.
        pulses: u64,
        /// The time at which it was lowered last; still active if there is none.
        until: Option<u64>,
    },
    /// A line on the guest's console.
    Console {
        /// The line, made visible.
        text: String,
    },
    /// The guest made a mistake with DMA, which a sanitizer found.
    Mistake {
        /// The kind of mistake, for example `missing-invalidation`.
        mistake: String,
        /// What happened.
        text: String,
    },
    /// The judge of the run found something.
    Verdict {
        /// Whether it is as it should be.
        ok: bool,
        /// The finding.
        text: String,
    },
}

/// The kinds of event, to count and to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// [`Kind::Verdict`].
    Verdict,
    /// [`Kind::Mistake`].
    Mistake,
    /// [`Kind::Probe`].
    Probe,
    /// [`Kind::Register`].
    Register,
    /// [`Kind::Attachment`].
    Attachment,
    /// [`Kind::Binding`].
    Binding,
    /// [`Kind::Dma`].
    Dma,
    /// [`Kind::BusError`].
    BusError,
    /// [`Kind::Fault`].
    Fault,
    /// [`Kind::Filled`], [`Kind::Invalidated`], [`Kind::Mapped`] and [`Kind::Unmapped`].
    Translation,
    /// [`Kind::Interrupt`].
    Interrupt,
    /// [`Kind::Console`].
    Console,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The time, in nanoseconds of virtual time since reset.
    pub at: u64,
    /// On which core, if a core did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<u8>,
    /// The lane that it belongs to.
    pub lane: LaneId,
    /// The kind of event.
    #[serde(flatten)]
    pub kind: Kind,
}

/// A state of a micro-TLB or device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// A micro-TLB that translates.
    Enabled {
        /// Through which context.
        context: u32,
    },
    /// A micro-TLB that lets everything through untranslated.
    Disabled {
        /// Whether it was translating before.
        lost: bool,
    },
    /// A micro-TLB that lets nothing through.
    Blocked,
    /// A device with a driver.
    Bound {
        /// The driver.
        driver: String,
    },
    /// A device whose driver was taken away.
    Unbound,
}

/// A state that lasted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The lane of the micro-TLB or device.
    pub lane: LaneId,
    /// Since when, in nanoseconds.
    pub from: u64,
    /// Until when, in nanoseconds.
    pub until: u64,
    /// The state.
    #[serde(flatten)]
    pub state: State,
}

/// Events that were only counted, because a limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Their kind.
    pub category: Category,
    /// Their number.
    pub count: u64,
}

/// The observations of one run.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// The end of the run, in nanoseconds of virtual time since reset.
    pub end: u64,
    /// The lanes, in the order in which to show them.
    pub lanes: Vec<Lane>,
    /// The events, in the order of virtual time.
    pub events: Vec<Event>,
    /// The states that follow from them, in the order of lanes and time.
    pub intervals: Vec<Interval>,
    /// The events that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Dropped>,
}
