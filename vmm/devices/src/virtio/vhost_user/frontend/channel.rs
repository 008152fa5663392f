//! The back end's own requests: misses, above all.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::vhost_user::message::BackendReq;
use viommu::{DmaSpace, StableHostMemory, Target};
use vm_memory::Permissions;

use super::FrontendError;
use super::link::Link;
use viommu_vhost_user::wire::{Connection, IotlbKind, IotlbMessage, Message};

/// How often a translation is found out anew because the guest changes its mappings meanwhile. A
/// guest that never stops has its device ask again.
const ATTEMPTS: usize = 16;

/// What a back end has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Nothing that concerns the device: a miss, which is answered, or what is refused.
    Nothing,
    /// The configuration space has changed.
    ConfigChanged,
}

/// The end of the socket by which the back end makes requests.
pub struct BackendChannel {
    link: Arc<Link>,
    connection: Connection,
}

impl BackendChannel {
    pub(super) fn new(link: Arc<Link>, stream: UnixStream) -> Result<Self, FrontendError> {
        Ok(Self {
            link,
            connection: Connection::new(stream),
        })
    }

    /// Returns the socket, to be polled.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }

    /// Serves the next request, if one has arrived, for a device that accesses memory through
    /// `space`; without a space, it stands behind no IOMMU. Returns none if none has arrived. Never
    /// waits for the back end.
    ///
    /// A miss is answered by an update, or if the access is a fault, which is reported to the guest
    /// as one of the device's, by none; who wants a reply to its request is told by that.
    ///
    /// # Errors
    /// The back end has gone, or sends nonsense.
    pub fn serve<M: StableHostMemory>(
        &mut self,
        space: Option<&DmaSpace<M>>,
    ) -> Result<Option<Notice>, FrontendError> {
        let Some(message) = self.connection.try_receive()? else {
            return Ok(None);
        };
        if message.is_reply {
            return Err(FrontendError::Unasked);
        }
        let (done, notice) = match BackendReq::try_from(message.request) {
            Ok(BackendReq::IOTLB_MSG) => (self.iotlb(&message, space)?, Notice::Nothing),
            Ok(BackendReq::CONFIG_CHANGE_MSG) => (true, Notice::ConfigChanged),
            // Those need protocol features that were not taken.
            _ => (false, Notice::Nothing),
        };
        if message.needs_reply {
            let reply = Message::acknowledgement(message.request, done);
            // Room for one reply to each request is all that a back end gets.
            self.connection.post(&reply)?;
        }
        Ok(Some(notice))
    }

    fn iotlb<M: StableHostMemory>(
        &self,
        message: &Message,
        space: Option<&DmaSpace<M>>,
    ) -> Result<bool, FrontendError> {
        let asked = IotlbMessage::from_backend(message)?;
        let Some(space) = space else {
            return Ok(false);
        };
        match asked.kind {
            IotlbKind::Miss => self.miss(asked.iova, asked.permissions, space),
            // The miss before it has told the guest.
            _ => Ok(true),
        }
    }

    /// Answers a miss. Returns false if there is no translation.
    fn miss<M: StableHostMemory>(
        &self,
        iova: u64,
        wanted: Permissions,
        space: &DmaSpace<M>,
    ) -> Result<bool, FrontendError> {
        for _ in 0..ATTEMPTS {
            // Before the translation: what takes it away later counts this up.
            let generation = self.link.generation();
            // Held until the update is posted: an invalidation that begins meanwhile comes after.
            let pin = space.pin();
            let Ok(found) = pin.translate_or_report(iova, wanted) else {
                return Ok(false);
            };
            if found.target != Target::Ram {
                return Ok(false);
            }
            let update = IotlbMessage::update(iova, found.length, found.address, found.permissions);
            if self.link.update(&update, generation)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
