//! What observers see of an IPMMU, by meaning.

use std::fmt;

use crate::register_event::{
    Effect, IgnoredAccess, Part, RegisterChange, RegisterEvent, TraceWords,
};

/// Sees what the guest does to an [`Ipmmu`](super::Ipmmu), and what faults it records, as it
/// happens.
///
/// Called with the registers locked, on the thread of the vCPU or of the device: an observer must
/// not access the IPMMU. Single accesses and the translation cache are told by
/// [`Observer`](crate::Observer).
pub trait IpmmuObserver: Send + Sync {
    /// Sees `event`, which has just happened to the instance of this name.
    fn event(&self, instance: &str, event: &IpmmuEvent);
}

/// Something that happened to an instance.
///
/// As text it is a phrase such as "uTLB 3 enabled on context 0".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpmmuEvent {
    /// A uTLB was set to translate by a context, or from one context to another.
    UtlbEnabled {
        /// Which.
        utlb: usize,
        /// The context.
        context: usize,
    },
    /// A uTLB was set to translate by something that is not modelled; its accesses are refused.
    UtlbBlocked {
        /// Which.
        utlb: usize,
        /// IMUCTR.TTSEL.
        ttsel: u8,
    },
    /// A uTLB was disabled: its accesses are not translated from now on.
    UtlbDisabled {
        /// Which.
        utlb: usize,
    },
    /// A flush of a uTLB that stays as it is began.
    UtlbFlush {
        /// Which.
        utlb: usize,
    },
    /// The table of region 0 of a context was set.
    Table {
        /// Which.
        context: usize,
        /// Its physical address.
        address: u64,
    },
    /// A context began to translate.
    ContextEnabled {
        /// Which.
        context: usize,
    },
    /// A context ceased to translate: accesses of uTLBs on it are not translated from now on.
    ContextDisabled {
        /// Which.
        context: usize,
    },
    /// A flush of a context began.
    ContextFlush {
        /// Which.
        context: usize,
    },
    /// The guest saw that a flush of a context is complete, which it was not when it looked before.
    FlushComplete {
        /// Which.
        context: usize,
    },
    /// A fault was recorded in the registers of a context.
    FaultRecorded {
        /// Which.
        context: usize,
        /// IMSTR.
        status: u32,
        /// The IOVA.
        iova: u64,
    },
    /// A fault could not be recorded, for the one before had not been cleared, or because no
    /// context was involved.
    FaultLost {
        /// The context, if one was involved.
        context: Option<usize>,
        /// The IOVA.
        iova: u64,
    },
    /// The guest cleared the recorded fault of a context.
    FaultCleared {
        /// Which.
        context: usize,
    },
    /// The guest accessed what is not modelled.
    Ignored(IgnoredAccess),
}

/// Digits of an offset in the window, with the prefix.
const OFFSET_DIGITS: usize = 5;

impl fmt::Display for IpmmuEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UtlbEnabled { utlb, context } => {
                write!(f, "uTLB {utlb} enabled on context {context}")
            }
            Self::UtlbBlocked { utlb, ttsel } => {
                write!(
                    f,
                    "uTLB {utlb} enabled on TTSEL {ttsel}, which is not modelled: blocked"
                )
            }
            Self::UtlbDisabled { utlb } => write!(f, "uTLB {utlb} disabled"),
            Self::UtlbFlush { utlb } => write!(f, "uTLB {utlb} flush"),
            Self::Table { context, address } => write!(f, "context {context} table {address:#x}"),
            Self::ContextEnabled { context } => write!(f, "context {context} enabled"),
            Self::ContextDisabled { context } => write!(f, "context {context} disabled"),
            Self::ContextFlush { context } => write!(f, "context {context} flush"),
            Self::FlushComplete { context } => write!(f, "context {context} flush complete"),
            Self::FaultRecorded {
                context,
                status,
                iova,
            } => write!(
                f,
                "context {context} fault: status {status:#010x} iova {iova:#x}"
            ),
            Self::FaultLost {
                context: Some(context),
                iova,
            } => write!(f, "context {context} fault not recorded: iova {iova:#x}"),
            Self::FaultLost {
                context: None,
                iova,
            } => write!(f, "fault without a context: iova {iova:#x}"),
            Self::FaultCleared { context } => write!(f, "context {context} fault cleared"),
            Self::Ignored(access) => access.write(f, OFFSET_DIGITS, None),
        }
    }
}

impl RegisterEvent for IpmmuEvent {
    fn effect(&self) -> Option<Effect> {
        match *self {
            Self::UtlbEnabled { utlb, .. } => Some(Effect::Attached { port: utlb }),
            Self::UtlbDisabled { utlb } => Some(Effect::Detached { port: utlb }),
            Self::ContextFlush { .. } => Some(Effect::Flushed),
            _ => None,
        }
    }

    fn trace(&self) -> TraceWords {
        let of = |name, context: usize| TraceWords::new(name).field("context", context);
        match *self {
            Self::UtlbEnabled { utlb, context } => of("attach", context).port(utlb),
            Self::UtlbBlocked { utlb, ttsel } => {
                TraceWords::new("block").port(utlb).field("ttsel", ttsel)
            }
            Self::UtlbDisabled { utlb } => TraceWords::new("detach").port(utlb),
            Self::UtlbFlush { utlb } => TraceWords::new("flush").port(utlb),
            Self::Table { context, address } => of("table", context).hex("address", address),
            Self::ContextEnabled { context } => of("enable", context),
            Self::ContextDisabled { context } => of("disable", context),
            Self::ContextFlush { context } => of("flush", context),
            Self::FlushComplete { context } => of("flush-complete", context),
            Self::FaultRecorded {
                context,
                status,
                iova,
            } => {
                let words = of("report", context).hex("iova", iova);
                words.field("status", format_args!("{status:#010x}"))
            }
            Self::FaultLost {
                context: Some(context),
                iova,
            } => of("report-lost", context).hex("iova", iova),
            Self::FaultLost {
                context: None,
                iova,
            } => TraceWords::new("report-lost").hex("iova", iova),
            Self::FaultCleared { context } => of("clear", context),
            Self::Ignored(_) => TraceWords::other(self),
        }
    }

    /// Registers are named as drivers/iommu/ipmmu-vmsa.c names them.
    fn register(&self) -> Option<RegisterChange> {
        let of_context = |name: &str, context: usize| {
            RegisterChange::new(Part::Domain(context), format!("{name}({context})"))
        };
        Some(match *self {
            // The event tells what was written by its meaning.
            Self::UtlbEnabled { utlb, .. }
            | Self::UtlbBlocked { utlb, .. }
            | Self::UtlbDisabled { utlb }
            | Self::UtlbFlush { utlb } => {
                RegisterChange::new(Part::Port(utlb), format!("IMUCTR({utlb})"))
            }
            Self::Table { context, address } => of_context("IMTTLBR0", context).value(address),
            Self::ContextEnabled { context } | Self::ContextDisabled { context } => {
                of_context("IMCTR", context)
            }
            Self::FaultRecorded {
                context, status, ..
            } => of_context("IMSTR", context).value(status),
            Self::FaultCleared { context } => of_context("IMSTR", context),
            Self::Ignored(access) => access.change(),
            Self::ContextFlush { .. } | Self::FlushComplete { .. } | Self::FaultLost { .. } => {
                return None;
            }
        })
    }
}
