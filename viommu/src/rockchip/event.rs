//! What observers see of a Rockchip IOMMU, by meaning.

use std::fmt;

use super::spec::Register;
use crate::fault::Access;
use crate::register_event::{
    Effect, IgnoredAccess, Part, RegisterChange, RegisterEvent, TraceWords,
};

/// Something that happened to an IOMMU.
///
/// As text it is a phrase such as "paging enabled".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RockchipEvent {
    /// The directory table was set.
    Directory {
        /// Its physical address.
        address: u64,
    },
    /// Accesses are translated from now on.
    PagingEnabled,
    /// Accesses are not translated from now on.
    PagingDisabled,
    /// The guest asked for a stall.
    StallRequested,
    /// The guest was shown that the stall is there: accesses from before it have ended.
    Stalled,
    /// The guest ended a stall.
    StallEnded,
    /// All translations were invalidated.
    ZapAll,
    /// The translation of one page was invalidated.
    ZapLine {
        /// An IOVA in the page.
        iova: u32,
    },
    /// All registers were reset, and all translations invalidated.
    Reset,
    /// A page fault was recorded.
    PageFault {
        /// The IOVA.
        iova: u32,
        /// What was wanted.
        access: Access,
    },
    /// That no memory answered at an entry of a table was recorded.
    BusError {
        /// The IOVA that was translated.
        iova: u32,
    },
    /// A fault could not be recorded, for the one before had not been acknowledged.
    FaultLost {
        /// The IOVA.
        iova: u32,
    },
    /// The guest acknowledged the page fault.
    FaultDone,
    /// The guest cleared pending interrupts.
    InterruptsCleared {
        /// Which, as in MMU_INT_CLEAR.
        interrupts: u32,
    },
    /// The IOMMU showed pending interrupts without a cause: an injected fault.
    StatusShown {
        /// MMU_INT_RAWSTAT.
        interrupts: u32,
    },
    /// The guest gave a command that is not modelled, which does nothing. Told for the first few
    /// accesses to what is not modelled, then ever more seldom.
    UnknownCommand {
        /// Its number.
        number: u32,
        /// How many accesses to what is not modelled there were so far.
        count: u64,
    },
    /// The guest accessed what is not modelled, or wrote a register that is read-only.
    Ignored(IgnoredAccess),
}

/// Digits of an offset in the window, with the prefix.
const OFFSET_DIGITS: usize = 4;

impl fmt::Display for RockchipEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Directory { address } => write!(f, "directory table {address:#x}"),
            Self::PagingEnabled => f.write_str("paging enabled"),
            Self::PagingDisabled => f.write_str("paging disabled"),
            Self::StallRequested => f.write_str("stall requested"),
            Self::Stalled => f.write_str("stalled"),
            Self::StallEnded => f.write_str("stall ended"),
            Self::ZapAll => f.write_str("all translations zapped"),
            Self::ZapLine { iova } => write!(f, "translation of {iova:#x} zapped"),
            Self::Reset => f.write_str("reset"),
            Self::PageFault { iova, access } => write!(f, "page fault: {access} of iova {iova:#x}"),
            Self::BusError { iova } => write!(f, "bus error in the walk for iova {iova:#x}"),
            Self::FaultLost { iova } => write!(f, "page fault not recorded: iova {iova:#x}"),
            Self::FaultDone => f.write_str("page fault acknowledged"),
            Self::InterruptsCleared { interrupts } => {
                write!(f, "interrupts {interrupts:#x} cleared")
            }
            Self::StatusShown { interrupts } => {
                write!(f, "interrupts {interrupts:#x} shown without a cause")
            }
            Self::UnknownCommand { number, count } => write!(
                f,
                "command {number:#x}, which is not modelled ({count} so far)"
            ),
            Self::Ignored(access) => match Register::at(access.offset) {
                Some(register) => {
                    let name = register.name();
                    access.write(
                        f,
                        OFFSET_DIGITS,
                        Some(format_args!("{name}, which is read-only")),
                    )
                }
                None => access.write(f, OFFSET_DIGITS, None),
            },
        }
    }
}

impl RegisterEvent for RockchipEvent {
    /// Returns what is counted: the one port is attached while paging is enabled.
    fn effect(&self) -> Option<Effect> {
        match self {
            Self::PagingEnabled => Some(Effect::Attached { port: 0 }),
            Self::PagingDisabled => Some(Effect::Detached { port: 0 }),
            Self::ZapAll | Self::ZapLine { .. } => Some(Effect::Flushed),
            _ => None,
        }
    }

    fn trace(&self) -> TraceWords {
        let at = |name, iova: u32| TraceWords::new(name).hex("iova", iova);
        match *self {
            Self::Directory { address } => TraceWords::new("table").hex("address", address),
            Self::PagingEnabled => TraceWords::new("enable"),
            Self::PagingDisabled => TraceWords::new("disable"),
            Self::StallRequested => TraceWords::new("stall"),
            Self::Stalled => TraceWords::new("stall-complete"),
            Self::StallEnded => TraceWords::new("stall-end"),
            Self::ZapAll => TraceWords::new("flush"),
            Self::ZapLine { iova } => at("flush", iova),
            Self::Reset => TraceWords::new("reset"),
            Self::PageFault { iova, access } => at("report", iova).field("access", access),
            Self::BusError { iova } => at("report-bus-error", iova),
            Self::FaultLost { iova } => at("report-lost", iova),
            Self::FaultDone => TraceWords::new("report-done"),
            Self::InterruptsCleared { interrupts } => {
                TraceWords::new("clear").hex("interrupts", interrupts)
            }
            Self::StatusShown { .. } | Self::UnknownCommand { .. } | Self::Ignored(_) => {
                TraceWords::other(self)
            }
        }
    }

    /// Registers are named as drivers/iommu/rockchip-iommu.c names them.
    fn register(&self) -> Option<RegisterChange> {
        let of = |register: Register| RegisterChange::new(Part::Whole, register.name());
        Some(match *self {
            Self::Directory { address } => of(Register::DteAddr).value(address),
            // The event tells the command by its meaning.
            Self::PagingEnabled
            | Self::PagingDisabled
            | Self::StallRequested
            | Self::StallEnded
            | Self::Reset
            | Self::FaultDone => of(Register::Command),
            Self::UnknownCommand { number, .. } => of(Register::Command).value(number),
            Self::Stalled => of(Register::Status),
            Self::PageFault { iova, .. } => of(Register::PageFaultAddr).value(iova),
            Self::InterruptsCleared { interrupts } => of(Register::IntClear).value(interrupts),
            Self::StatusShown { interrupts } => of(Register::IntRawstat).value(interrupts),
            Self::Ignored(access) => access.change(),
            Self::ZapAll
            | Self::ZapLine { .. }
            | Self::BusError { .. }
            | Self::FaultLost { .. } => {
                return None;
            }
        })
    }
}
