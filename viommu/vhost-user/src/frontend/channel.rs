//! The back end's own requests: misses, above all.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use vhost::vhost_user::message::BackendReq;
use viommu::vm_memory::Permissions;
use viommu::{DmaSpace, Mapping, StableHostMemory, Target};

use super::FrontendError;
use super::link::Link;
use super::mappings::updates;
use crate::wire::{Connection, IotlbKind, IotlbMessage, Message};

/// How often a translation is found out anew because the guest changes its mappings meanwhile. A
/// guest that never stops has its device ask again.
const ATTEMPTS: usize = 16;

/// What a back end had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// It missed a translation, and was told it.
    Answered {
        /// Where.
        iova: u64,
    },
    /// It missed a translation that there is not. If that is a fault of the IOMMU, it has been
    /// reported to the guest as one of the device's.
    Fault {
        /// Where.
        iova: u64,
        /// What it wanted.
        wanted: Permissions,
    },
    /// It says that an access failed. The guest has been told with the miss before.
    AccessFailed {
        /// Where.
        iova: u64,
        /// What it wanted.
        wanted: Permissions,
    },
    /// The configuration space has changed: the VMM is to raise that interrupt.
    ConfigChanged,
    /// It asked for what this VMM has not, by the number of the request; it was refused.
    Unsupported(u32),
}

/// The end of the socket by which the back end makes requests, from
/// [`Frontend::open_channel`](super::Frontend::open_channel).
#[derive(Debug)]
pub struct BackendChannel {
    link: Arc<Link>,
    connection: Connection,
}

impl BackendChannel {
    pub(super) const fn new(link: Arc<Link>, stream: UnixStream) -> Self {
        Self {
            link,
            connection: Connection::new(stream),
        }
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
    /// The back end has gone, or sends nonsense: its connection has ended then, too.
    pub fn serve<M: StableHostMemory>(
        &mut self,
        space: Option<&DmaSpace<M>>,
    ) -> Result<Option<Notice>, FrontendError> {
        let served = self.serve_one(space);
        served.inspect_err(|_| self.link.end())
    }

    fn serve_one<M: StableHostMemory>(
        &mut self,
        space: Option<&DmaSpace<M>>,
    ) -> Result<Option<Notice>, FrontendError> {
        let Some(message) = self.connection.try_receive()? else {
            return Ok(None);
        };
        if message.is_reply {
            return Err(FrontendError::Unasked);
        }
        let request = message.request;
        let notice = match (BackendReq::try_from(request), space) {
            (Ok(BackendReq::IOTLB_MSG), Some(space)) => self.iotlb(&message, space)?,
            (Ok(BackendReq::CONFIG_CHANGE_MSG), _) => Notice::ConfigChanged,
            // Those need protocol features that were not taken, or an IOMMU.
            _ => Notice::Unsupported(request),
        };
        if message.needs_reply {
            let is_done = !matches!(notice, Notice::Fault { .. } | Notice::Unsupported(_));
            // What a back end may leave unread is bounded.
            let reply = Message::acknowledgement(request, is_done);
            self.connection.post(&reply)?;
        }
        Ok(Some(notice))
    }

    fn iotlb<M: StableHostMemory>(
        &self,
        message: &Message,
        space: &DmaSpace<M>,
    ) -> Result<Notice, FrontendError> {
        let asked = IotlbMessage::from_backend(message)?;
        let (iova, wanted) = (asked.iova, asked.permissions);
        if asked.kind == IotlbKind::AccessFail {
            return Ok(Notice::AccessFailed { iova, wanted });
        }
        Ok(match self.answer(iova, wanted, space)? {
            true => Notice::Answered { iova },
            false => Notice::Fault { iova, wanted },
        })
    }

    /// Answers a miss. Returns false if there is no translation.
    fn answer<M: StableHostMemory>(
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
            let length = found.length.checked_sub(1);
            let last = length.and_then(|length| iova.checked_add(length));
            let Some(last) = last.filter(|_| found.target == Target::Ram) else {
                return Ok(false);
            };
            let mapping = Mapping {
                first: iova,
                last,
                address: found.address,
                permissions: found.permissions,
            };
            // Of what the back end has: it would refuse an update that leads elsewhere.
            let memory = self.link.memory();
            let Some(update) = updates(&mapping, &memory).find(|update| update.iova == iova) else {
                return Ok(false);
            };
            if self.link.update(update, generation)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
