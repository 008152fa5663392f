//! What can go wrong at each kind of point, with the numbers that it takes.
//!
//! Kinds without numbers have braces, so that keys that they have no use for are refused.

use serde::{Deserialize, Serialize};
use strum::{Display, VariantNames};

use super::values::{Count, Mask, RequestStatus, Time};

/// A fault, by the kind of its point.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "where", rename_all = "kebab-case")]
pub enum Fault {
    /// A device's address is translated by an IOMMU.
    Translation(TranslationFault),
    /// A descriptor of a page table is read by an IOMMU.
    PageTable(DescriptorFault),
    /// The guest has an IOMMU flush its translations.
    Flush(FlushFault),
    /// The guest reads a register of an IOMMU or of a virtio slot.
    RegisterRead(RegisterFault<ReadFault>),
    /// The guest writes a register of an IOMMU or of a virtio slot.
    RegisterWrite(RegisterFault<WriteFault>),
    /// A device raises its interrupt.
    Interrupt(InterruptFault),
    /// The guest notifies a device of a virtqueue.
    Queue(QueueFault),
    /// A device fetches the descriptors of a request.
    Chain(ChainFault),
    /// A disk executes a request.
    Disk(DiskFault),
    /// A virtio-iommu executes a request.
    Request(RequestFault),
    /// A virtio-iommu reports a fault.
    Report(ReportFault),
    /// The guest's kernel calls a function.
    Function(FunctionFault),
}

/// The kinds of points, by which they are counted.
#[derive(
    Clone, Copy, Debug, Display, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
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

/// A fault of a translation.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum TranslationFault {
    /// Refused as if nothing were mapped.
    Translation {},
    /// Refused as if the access were not allowed.
    Permission {},
    /// Refused for an access flag.
    AccessFlag {},
    /// Refused for a malformed descriptor.
    Format {},
    /// Refused for a secure descriptor.
    Secure {},
    /// Refused for memory that does not answer.
    Abort {},
    /// Refused because several entries of the translation buffer match.
    MultiHit {},
    /// The IOMMU shows this status out of nowhere, with its interrupt.
    Status {
        /// IMSTR.
        value: u32,
    },
}

/// A fault of a page-table descriptor that is read.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum DescriptorFault {
    /// Its memory does not answer.
    Abort {},
    /// Bits of it are flipped.
    Flip {
        /// Which; one that the seed chooses, if none are named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
}

/// A fault of a flush.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum FlushFault {
    /// It takes longer.
    Late {
        /// How often the guest sees that it is not complete.
        count: Count,
    },
    /// It never ends.
    Stuck {},
    /// It is said to be complete, and nothing was flushed.
    Ignored {},
}

/// A fault of an access to a register.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RegisterFault<F> {
    /// Only at accesses to this register, such as `IMSTR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// What happens.
    #[serde(flatten)]
    pub fault: F,
}

impl<F: std::fmt::Display> std::fmt::Display for RegisterFault<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fault.fmt(f)
    }
}

/// A fault of a read.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum ReadFault {
    /// It shows another value.
    Value {
        /// Which.
        value: u32,
    },
    /// Bits of what it shows are flipped.
    Flip {
        /// Which; one that the seed chooses, if none are named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
}

/// A fault of a write.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum WriteFault {
    /// It does not happen.
    Lost {},
    /// Another value is written.
    Value {
        /// Which.
        value: u32,
    },
    /// Bits of what is written are flipped.
    Flip {
        /// Which; one that the seed chooses, if none are named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
}

/// A fault of an interrupt.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum InterruptFault {
    /// It is not seen.
    Lost {},
    /// It is seen later.
    Late {
        /// By how much.
        delay: Time,
    },
    /// It is seen more than once.
    Repeated {
        /// How often again.
        count: Count,
        /// How long each lasts, and how long after the one before it comes.
        delay: Time,
    },
    /// Another one follows for no reason.
    Spurious {
        /// How long it lasts, and how long after the first it comes.
        delay: Time,
    },
}

/// A fault of a notification.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum QueueFault {
    /// The device does not hear of it.
    Lost {},
    /// The device hears of it later.
    Late {
        /// By how much.
        delay: Time,
    },
    /// The device asks for a reset and stops.
    NeedsReset {},
    /// The device forgets everything.
    Reset {},
}

/// A fault of a request's buffers.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum ChainFault {
    /// Bits of a buffer's address are flipped.
    FlipAddress {
        /// Which; one that the seed chooses, if none are named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
    /// Bits of a buffer's length are flipped.
    FlipLength {
        /// Which; one that the seed chooses, if none are named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
}

/// A fault of a disk's request.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum DiskFault {
    /// It fails.
    IoError {},
    /// It is said not to be supported.
    Unsupported {},
    /// Only half of it is done, and it is said to have succeeded.
    Short {},
    /// Bits of one byte of its data are flipped.
    Flip {
        /// Which; one that the seed chooses, if none are named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mask: Option<Mask>,
    },
    /// It is said to be complete before its data is moved.
    LateData {
        /// By how much.
        delay: Time,
    },
    /// The device accesses its buffers again after it is complete.
    Again {
        /// How long after.
        delay: Time,
    },
}

/// A fault of a request to a virtio-iommu.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum RequestFault {
    /// It is answered with a status instead of being executed.
    Value {
        /// Which.
        value: RequestStatus,
    },
}

/// A fault of a report.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum ReportFault {
    /// It does not happen.
    Lost {},
}

/// A fault of a call in the guest's kernel.
#[derive(Clone, Debug, Display, PartialEq, Eq, Deserialize, Serialize, VariantNames)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum FunctionFault {
    /// It returns a value instead of being executed.
    Error {
        /// Which function.
        function: String,
        /// What it returns.
        value: i32,
    },
}
