//! What observers see of an SMMU, by meaning.

use std::fmt;

use super::decode::Register;
use super::spec::{Cr0, S2cr, S2crKind, Smr, TTBR_ADDRESS};
use crate::register_event::{
    Effect, IgnoredAccess, Part, RegisterChange, RegisterEvent, TraceWords,
};

/// Something that happened to an SMMU.
///
/// As text it is a phrase such as "stream 3 attached to bank 0".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SmmuV2Event {
    /// sCR0 was changed.
    Control {
        /// What was written.
        value: u32,
        /// Whether accesses do not bypass the SMMU.
        enabled: bool,
    },
    /// SMR of a stream mapping group was changed.
    StreamMatch {
        /// The group.
        group: usize,
        /// Its value.
        value: u32,
    },
    /// S2CR of a stream mapping group was changed.
    StreamContext {
        /// The group.
        group: usize,
        /// Its value.
        value: u32,
    },
    /// A stream is translated through a context bank from now on.
    Attached {
        /// The stream.
        stream: u32,
        /// The bank.
        bank: usize,
    },
    /// A stream is not translated any more.
    Detached {
        /// The stream.
        stream: u32,
        /// The bank that translated it.
        bank: usize,
        /// Whether its accesses fault now, rather than to bypass the SMMU.
        blocked: bool,
    },
    /// A context bank translates from now on.
    BankEnabled {
        /// The bank.
        bank: usize,
    },
    /// A context bank does not translate from now on.
    BankDisabled {
        /// The bank.
        bank: usize,
    },
    /// A table base register of a context bank was changed.
    Table {
        /// The bank.
        bank: usize,
        /// Which: 0 or 1.
        region: usize,
        /// Its value.
        value: u64,
    },
    /// All translations of a context bank, or of an ASID, were invalidated.
    Flush {
        /// The bank.
        bank: usize,
    },
    /// The translation of an address was invalidated.
    FlushAddress {
        /// The bank.
        bank: usize,
        /// The address.
        iova: u32,
    },
    /// The translations of all context banks were invalidated.
    FlushAll {
        /// Of those with this VMID only.
        vmid: Option<u8>,
    },
    /// The first fault of a context bank was recorded.
    ContextFault {
        /// The bank.
        bank: usize,
        /// FSR.
        status: u32,
        /// The IOVA.
        iova: u64,
    },
    /// The first global fault was recorded.
    GlobalFault {
        /// sGFSR.
        status: u32,
        /// The stream.
        stream: u32,
        /// The address.
        iova: u64,
    },
    /// A fault is shown only as one more, for an earlier one is recorded; or not at all, for there
    /// is no cause of it any more.
    FaultLost {
        /// The bank; none for a global fault.
        bank: Option<usize>,
        /// The IOVA.
        iova: u64,
    },
    /// The guest cleared the last fault of a context bank.
    FaultCleared {
        /// The bank.
        bank: usize,
    },
    /// The guest cleared global faults.
    GlobalFaultCleared {
        /// Which, as in sGFSR.
        status: u32,
    },
    /// A context bank showed faults without a cause: an injected fault.
    StatusShown {
        /// The bank.
        bank: usize,
        /// FSR.
        status: u32,
    },
    /// The guest accessed what is not modelled, or wrote a register that is read-only.
    Ignored {
        /// The register there, if one is modelled.
        register: Option<Register>,
        /// What was done.
        access: IgnoredAccess,
    },
}

/// Digits of an offset in the window, with the prefix.
const OFFSET_DIGITS: usize = 6;

impl fmt::Display for SmmuV2Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Control { .. }
            | Self::StreamMatch { .. }
            | Self::StreamContext { .. }
            | Self::Attached { .. }
            | Self::Detached { .. } => self.fmt_streams(f),
            Self::BankEnabled { bank } => write!(f, "bank {bank} enabled"),
            Self::BankDisabled { bank } => write!(f, "bank {bank} disabled"),
            Self::Table {
                bank,
                region,
                value,
            } => {
                let (table, asid) = (value & TTBR_ADDRESS, value >> 48);
                write!(
                    f,
                    "table {region} of bank {bank} at {table:#x}, ASID {asid}"
                )
            }
            Self::Flush { bank } => write!(f, "translations of bank {bank} invalidated"),
            Self::FlushAddress { bank, iova } => {
                write!(f, "translation of {iova:#x} by bank {bank} invalidated")
            }
            Self::FlushAll { vmid: None } => f.write_str("all translations invalidated"),
            Self::FlushAll { vmid: Some(vmid) } => {
                write!(f, "translations of VMID {vmid} invalidated")
            }
            Self::ContextFault { .. }
            | Self::GlobalFault { .. }
            | Self::FaultLost { .. }
            | Self::FaultCleared { .. }
            | Self::GlobalFaultCleared { .. }
            | Self::StatusShown { .. } => self.fmt_faults(f),
            Self::Ignored { register, access } => match register {
                Some(register) => {
                    let name = register.name();
                    // In one expression, which the arguments live for.
                    access.write(
                        f,
                        OFFSET_DIGITS,
                        Some(format_args!("{name}, which has no such value")),
                    )
                }
                None => access.write(f, OFFSET_DIGITS, None),
            },
        }
    }
}

// Parts of the above, which would not fit a screen; each writes nothing for the others' events.
impl SmmuV2Event {
    fn fmt_streams(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Control { value, enabled } => {
                let what = if enabled { "enabled" } else { "disabled" };
                let faults = Cr0::from_bits(value).usfcfg();
                let other = if faults { "fault" } else { "bypass" };
                write!(f, "{what}, unidentified streams {other}")
            }
            Self::StreamMatch { group, value } => {
                let smr = Smr::from_bits(value);
                match (smr.valid(), smr.id(), smr.mask()) {
                    (false, ..) => write!(f, "group {group} is of no stream"),
                    (true, id, 0) => write!(f, "group {group} is of stream {id}"),
                    (true, id, mask) => {
                        write!(f, "group {group} is of stream {id}, mask {mask:#x}")
                    }
                }
            }
            Self::StreamContext { group, value } => {
                let s2cr = S2cr::from_bits(value);
                match s2cr.kind() {
                    S2crKind::Translate => {
                        write!(f, "group {group} goes to bank {}", s2cr.cbndx())
                    }
                    S2crKind::Bypass => write!(f, "group {group} is bypassed"),
                    S2crKind::Fault => write!(f, "group {group} faults"),
                }
            }
            Self::Attached { stream, bank } => write!(f, "stream {stream} attached to bank {bank}"),
            Self::Detached {
                stream,
                bank,
                blocked,
            } => {
                let now = if blocked { "blocked" } else { "bypassed" };
                write!(f, "stream {stream} detached from bank {bank} and {now}")
            }
            _ => Ok(()),
        }
    }

    fn fmt_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ContextFault { bank, status, iova } => {
                write!(
                    f,
                    "fault of bank {bank}: status {status:#x}, iova {iova:#x}"
                )
            }
            Self::GlobalFault {
                status,
                stream,
                iova,
            } => write!(
                f,
                "global fault of stream {stream}: status {status:#x}, address {iova:#x}"
            ),
            Self::FaultLost { bank, iova } => match bank {
                Some(bank) => write!(f, "further fault of bank {bank}: iova {iova:#x}"),
                None => write!(f, "further global fault: address {iova:#x}"),
            },
            Self::FaultCleared { bank } => write!(f, "fault of bank {bank} cleared"),
            Self::GlobalFaultCleared { status } => write!(f, "global faults {status:#x} cleared"),
            Self::StatusShown { bank, status } => {
                write!(f, "status {status:#x} of bank {bank} shown without a cause")
            }
            _ => Ok(()),
        }
    }
}

impl RegisterEvent for SmmuV2Event {
    fn effect(&self) -> Option<Effect> {
        match *self {
            Self::Attached { stream, .. } => Some(Effect::Attached {
                port: stream as usize,
            }),
            Self::Detached { stream, .. } => Some(Effect::Detached {
                port: stream as usize,
            }),
            Self::Flush { .. } | Self::FlushAddress { .. } | Self::FlushAll { .. } => {
                Some(Effect::Flushed)
            }
            _ => None,
        }
    }

    fn trace(&self) -> TraceWords {
        let of = |name, bank: usize| TraceWords::new(name).field("bank", bank);
        let group = |name, group: usize, value: u32| {
            TraceWords::new(name)
                .field("group", group)
                .hex("value", value)
        };
        match *self {
            Self::Control { value, .. } => TraceWords::new("control").hex("value", value),
            Self::StreamMatch { group: at, value } => group("match", at, value),
            Self::StreamContext { group: at, value } => group("context", at, value),
            Self::Attached { stream, bank } => of("attach", bank).port(stream as usize),
            Self::Detached {
                stream,
                bank,
                blocked,
            } => of("detach", bank)
                .port(stream as usize)
                .field("to", if blocked { "fault" } else { "bypass" }),
            Self::BankEnabled { bank } => of("enable", bank),
            Self::BankDisabled { bank } => of("disable", bank),
            Self::Table {
                bank,
                region,
                value,
            } => of("table", bank)
                .field("region", region)
                .hex("value", value),
            Self::Flush { bank } => of("flush", bank),
            Self::FlushAddress { bank, iova } => of("flush", bank).hex("iova", iova),
            Self::FlushAll { vmid } => match vmid {
                None => TraceWords::new("flush"),
                Some(vmid) => TraceWords::new("flush").field("vmid", vmid),
            },
            Self::ContextFault { bank, status, iova } => {
                of("report", bank).hex("status", status).hex("iova", iova)
            }
            Self::GlobalFault {
                status,
                stream,
                iova,
            } => {
                let words = TraceWords::new("report-global").port(stream as usize);
                words.hex("status", status).hex("iova", iova)
            }
            Self::FaultLost { iova, .. } => TraceWords::new("report-lost").hex("iova", iova),
            Self::FaultCleared { bank } => of("clear", bank),
            Self::GlobalFaultCleared { status } => {
                TraceWords::new("clear-global").hex("status", status)
            }
            Self::StatusShown { .. } | Self::Ignored { .. } => TraceWords::other(self),
        }
    }

    /// Registers are named as drivers/iommu/arm/arm-smmu/arm-smmu.h names them.
    fn register(&self) -> Option<RegisterChange> {
        let whole = |name: &str| RegisterChange::new(Part::Whole, name);
        let of = |bank, name: &str| RegisterChange::new(Part::Domain(bank), name);
        Some(match *self {
            Self::Control { value, .. } => whole("sCR0").value(value),
            Self::StreamMatch { group, value } => whole(&format!("SMR{group}")).value(value),
            Self::StreamContext { group, value } => whole(&format!("S2CR{group}")).value(value),
            // The event tells the value by its meaning.
            Self::BankEnabled { bank } | Self::BankDisabled { bank } => of(bank, "SCTLR"),
            Self::Table {
                bank,
                region,
                value,
            } => of(bank, &format!("TTBR{region}")).value(value),
            Self::ContextFault { bank, status, .. } | Self::StatusShown { bank, status } => {
                of(bank, "FSR").value(status)
            }
            Self::FaultCleared { bank } => of(bank, "FSR"),
            Self::GlobalFault { status, .. } | Self::GlobalFaultCleared { status } => {
                whole("sGFSR").value(status)
            }
            Self::Ignored { access, .. } => access.change(),
            Self::Attached { .. }
            | Self::Detached { .. }
            | Self::Flush { .. }
            | Self::FlushAddress { .. }
            | Self::FlushAll { .. }
            | Self::FaultLost { .. } => return None,
        })
    }
}
