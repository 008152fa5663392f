//! Messages about a device's IOTLB: `struct vhost_iotlb_msg` of `linux/vhost_types.h`, in both
//! directions ("Memory mappings with IOMMU" in the specification).

use vhost::vhost_user::message::{BackendReq, FrontendReq};
use viommu::vm_memory::Permissions;

use super::{Message, WireError};

/// Bytes of the fields; the structure has six more, for its alignment.
const FIELDS: usize = 26;
/// Bytes of the structure.
const SIZE: usize = 32;

/// What a message about the IOTLB says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IotlbKind {
    /// From the back end: it needs a translation.
    Miss = 1,
    /// From the front end: a range is mapped.
    Update = 2,
    /// From the front end: a range is not mapped any more. What it was is out of use when the
    /// message is acknowledged.
    Invalidate = 3,
    /// From the back end: an access failed.
    AccessFail = 4,
}

/// A message about the IOTLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IotlbMessage {
    /// What it says.
    pub kind: IotlbKind,
    /// The first IOVA.
    pub iova: u64,
    /// Bytes, of an [update](IotlbKind::Update) or an [invalidation](IotlbKind::Invalidate).
    /// Peers leave it 0 in a miss.
    pub size: u64,
    /// The front end's own address of what the range leads to, in an update.
    pub user_address: u64,
    /// What is allowed, in an update; what is wanted, in a miss.
    pub permissions: Permissions,
}

impl IotlbMessage {
    /// Creates a miss or a failed access.
    pub const fn about_access(kind: IotlbKind, iova: u64, wanted: Permissions) -> Self {
        Self {
            kind,
            iova,
            size: 0,
            user_address: 0,
            permissions: wanted,
        }
    }

    /// Creates an update.
    pub const fn update(iova: u64, size: u64, address: u64, permissions: Permissions) -> Self {
        Self {
            kind: IotlbKind::Update,
            iova,
            size,
            user_address: address,
            permissions,
        }
    }

    /// Creates an invalidation.
    pub const fn invalidate(iova: u64, size: u64) -> Self {
        Self {
            kind: IotlbKind::Invalidate,
            iova,
            size,
            user_address: 0,
            permissions: Permissions::No,
        }
    }

    /// Returns the last IOVA, if there are any and none is beyond the address space.
    pub const fn last(&self) -> Option<u64> {
        match self.size {
            0 => None,
            size => self.iova.checked_add(size - 1),
        }
    }

    /// Returns it as a request of the front end.
    pub fn to_backend(&self) -> Message {
        self.message(FrontendReq::IOTLB_MSG.into())
    }

    /// Returns it as a request of the back end.
    pub fn to_frontend(&self) -> Message {
        self.message(BackendReq::IOTLB_MSG.into())
    }

    fn message(&self, request: u32) -> Message {
        let mut payload = Vec::with_capacity(SIZE);
        for word in [self.iova, self.size, self.user_address] {
            payload.extend_from_slice(&word.to_ne_bytes());
        }
        // VHOST_ACCESS_RO, _WO and _RW of the same header.
        let permissions = match self.permissions {
            Permissions::No => 0,
            Permissions::Read => 1,
            Permissions::Write => 2,
            Permissions::ReadWrite => 3,
        };
        payload.extend([permissions, self.kind as u8]);
        payload.resize(SIZE, 0);
        Message {
            request,
            payload,
            ..Message::default()
        }
    }

    /// Reads one of the front end: an update or an invalidation.
    ///
    /// # Errors
    /// If it is of another kind, names no range or one that goes on beyond the address space, or
    /// comes with file descriptors.
    pub fn from_frontend(message: &Message) -> Result<Self, WireError> {
        let this = Self::parse(message)?;
        let ends = this.user_address.checked_add(this.size);
        match this.kind {
            IotlbKind::Update if this.last().is_some() && ends.is_some() => Ok(this),
            IotlbKind::Invalidate if this.last().is_some() => Ok(this),
            _ => Err(message.malformed()),
        }
    }

    /// Reads one of the back end: a miss or a failed access.
    ///
    /// # Errors
    /// If it is of another kind, or comes with file descriptors.
    pub fn from_backend(message: &Message) -> Result<Self, WireError> {
        let this = Self::parse(message)?;
        match this.kind {
            IotlbKind::Miss | IotlbKind::AccessFail => Ok(this),
            IotlbKind::Update | IotlbKind::Invalidate => Err(message.malformed()),
        }
    }

    fn parse(message: &Message) -> Result<Self, WireError> {
        let malformed = message.malformed();
        let payload = &message.payload;
        // Those who pack the structure leave its end out.
        if !(FIELDS..=SIZE).contains(&payload.len()) || !message.fds.is_empty() {
            return Err(malformed);
        }
        let (words, rest) = payload.as_chunks::<8>();
        let last = words.get(3).map_or(rest, |last| last.as_slice());
        let ([iova, size, user_address], [permissions, kind]) =
            match (words.first_chunk::<3>(), last.first_chunk::<2>()) {
                (Some(words), Some(bytes)) => (words.map(u64::from_ne_bytes), *bytes),
                _ => return Err(malformed),
            };
        Ok(Self {
            kind: match kind {
                1 => IotlbKind::Miss,
                2 => IotlbKind::Update,
                3 => IotlbKind::Invalidate,
                4 => IotlbKind::AccessFail,
                _ => return Err(malformed),
            },
            iova,
            size,
            user_address,
            permissions: match permissions {
                0 => Permissions::No,
                1 => Permissions::Read,
                2 => Permissions::Write,
                3 => Permissions::ReadWrite,
                _ => return Err(malformed),
            },
        })
    }
}
