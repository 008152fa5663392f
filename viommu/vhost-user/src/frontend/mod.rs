//! The half of a VMM: what it needs for a device that is another process.
//!
//! [`Frontend`] is the protocol half, with one connection. It owns neither a virtio transport nor
//! threads: the VMM's device calls it, and some thread of the VMM calls
//! [`Frontend::receive`] when the socket is readable, and [`BackendChannel::serve`] for the other
//! socket.
//!
//! ```text
//! IOMMU model --DmaListener--> Listener --UPDATE, INVALIDATE--> back end
//!             <---DmaSpace---- BackendChannel <------MISS------/
//! ```
//!
//! # Translation
//! A device behind an IOMMU (VIRTIO_F_ACCESS_PLATFORM) is told what IOVAs lead to. [`Listener`]
//! follows an endpoint of any model of `viommu` and tells the device what is mapped, where a model
//! tells that, and what is not mapped any more; [`BackendChannel`] answers its misses from the
//! endpoint's [`DmaSpace`](viommu::DmaSpace). An invalidation is over when the device has
//! acknowledged it: until then the listener holds a pin of the endpoint's space, so that no grace
//! period of the IOMMU ends that began meanwhile, and
//! [`is_settled`](viommu::DmaListener::is_settled) says no. Nobody waits for that under a lock of
//! the model's.
//!
//! # A back end that comes back
//! After a connection has ended the VMM makes another `Frontend`, and gives it to the listener
//! ([`CurrentBackend::set`]), which tells it the mappings that there are.
//!
//! # What it does not trust
//! The back end may send anything, in any order, or nothing. Replies are checked; each wait has an
//! end ([`Patience`]), and takes no lock that a listener or a miss needs. After the first error the
//! connection is shut down, and all that waited for it is over. What it cannot do: a back end that
//! has the guest's memory can go on accessing all of it, until its process ends. A VMM that is to
//! be safe from that starts the process itself, and kills it then.

mod channel;
mod link;
mod listener;
mod mappings;
mod memory;
mod rings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

pub use vhost::vhost_user::message::VhostUserProtocolFeatures as ProtocolFeatures;
use vhost::vhost_user::message::{
    FrontendReq, VHOST_USER_CONFIG_SIZE, VhostUserConfig, VhostUserConfigFlags,
    VhostUserVirtioFeatures,
};

use crate::wire::{Message, WireError};
pub use channel::{BackendChannel, Notice};
use link::Link;
pub use listener::{CurrentBackend, Listener};
pub use memory::MemoryRegion;
pub use rings::Ring;

/// The protocol features that are taken of those that a back end offers.
pub const PROTOCOL_FEATURES: ProtocolFeatures = ProtocolFeatures::MQ
    .union(ProtocolFeatures::REPLY_ACK)
    .union(ProtocolFeatures::BACKEND_REQ)
    .union(ProtocolFeatures::CONFIG)
    .union(ProtocolFeatures::RESET_DEVICE)
    .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS);

/// Why a back end is of no use, or of no more.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// The connection, or what came over it.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It answered a request with a failure.
    #[error("the back end refuses the request {0:?}")]
    Refused(FrontendReq),
    /// It lacks something that the VMM needs.
    #[error("the back end does not offer {0}")]
    Lacks(&'static str),
    /// The VMM asks for what cannot be. Nothing was sent, and the connection goes on.
    #[error("{0}")]
    Invalid(&'static str),
    /// A reply says what cannot be.
    #[error("the back end's reply to {0:?} cannot be")]
    Nonsense(FrontendReq),
    /// Something came that nobody asked for.
    #[error("the back end sends a reply that nobody asked for")]
    Unasked,
    /// There is no answer, and the wait was ended.
    #[error("the back end does not answer")]
    GaveUp,
    /// The connection ended before.
    #[error("the connection to the back end has ended")]
    Ended,
}

/// How long to wait for a back end.
#[derive(Clone)]
pub struct Patience {
    /// The longest wait for one reply.
    pub limit: Duration,
    /// Asked every few milliseconds: whether to wait no longer.
    pub give_up: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Patience {
    /// Creates a wait of `limit` that nothing ends before.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            give_up: Arc::new(|| false),
        }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What a back end offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Virtio features, without the bit that is the protocol's own.
    pub features: u64,
    /// Protocol features that both sides have.
    pub protocol: ProtocolFeatures,
    /// How many queues it has at most, if it says so.
    pub queues: Option<u64>,
    /// Whether rings are enabled one by one: there are protocol features at all.
    enables: bool,
}

/// One connection to a back end. Clones are handles to the same.
#[derive(Clone)]
pub struct Frontend {
    link: Arc<Link>,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend")
            .field("socket", &self.socket())
            .field("has_ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}

impl Frontend {
    /// Creates the front end of a connection, which waits as `patience` says.
    ///
    /// # Errors
    /// The host has no file descriptors left.
    pub fn new(stream: UnixStream, patience: Patience) -> Result<Self, FrontendError> {
        Ok(Self {
            link: Arc::new(Link::new(stream, patience)?),
        })
    }

    /// Returns the socket, to be polled: when it is readable or hung up, [`receive`](Self::receive)
    /// has something to do.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.link.stream().as_fd()
    }

    /// Looks whether the back end is still there, and not late; returns false if the connection has
    /// ended. Never waits.
    pub fn is_alive(&self) -> bool {
        self.link.is_alive()
    }

    /// Returns whether the connection has ended, as far as is known without a look at it.
    pub fn has_ended(&self) -> bool {
        self.link.has_ended()
    }

    /// Ends the connection; whoever waits for it goes on.
    pub fn end(&self) {
        self.link.end();
    }

    /// Takes in what has arrived: acknowledgements of invalidations, and replies for those who wait
    /// for them. Never waits.
    ///
    /// # Errors
    /// The connection has ended, by this error or before.
    pub fn receive(&self) -> Result<(), FrontendError> {
        self.link.receive()
    }

    /// Ends the connection if the back end is too late with an acknowledgement. To be called now
    /// and then, with an endpoint that is followed.
    pub fn end_if_late(&self) {
        self.link.end_if_late();
    }

    /// Returns whether everything that was posted is sent; if not, [`receive`](Self::receive) sends
    /// more when the socket takes it.
    pub fn is_flushed(&self) -> bool {
        self.link.is_flushed()
    }

    /// Returns how many invalidations are not acknowledged yet.
    pub fn unacknowledged(&self) -> usize {
        self.link.unacknowledged()
    }

    /// Returns how many replies are due, among them acknowledgements of updates, for which nobody
    /// waits.
    pub fn replies_due(&self) -> usize {
        self.link.replies_due()
    }

    /// Begins: takes the back end, and finds out what it offers.
    ///
    /// # Errors
    /// It does not follow the protocol, or not in time.
    pub fn begin(&self) -> Result<Offer, FrontendError> {
        let protocol_bit = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        self.tell(&Message::request(FrontendReq::SET_OWNER), &[])?;
        let features = self.number(FrontendReq::GET_FEATURES)?;
        let enables = features & protocol_bit != 0;
        let mut protocol = ProtocolFeatures::empty();
        if enables {
            let offered = self.number(FrontendReq::GET_PROTOCOL_FEATURES)?;
            protocol = ProtocolFeatures::from_bits_truncate(offered) & PROTOCOL_FEATURES;
            let message = Message::request(FrontendReq::SET_PROTOCOL_FEATURES);
            self.tell(&message.with(&protocol.bits()), &[])?;
            self.link
                .set_replies(protocol.contains(ProtocolFeatures::REPLY_ACK));
        }
        let queues = match protocol.contains(ProtocolFeatures::MQ) {
            true => Some(self.number(FrontendReq::GET_QUEUE_NUM)?),
            false => None,
        };
        Ok(Offer {
            features: features & !protocol_bit,
            protocol,
            queues,
            enables,
        })
    }

    /// Fills `data` from the device's configuration space, beginning at byte `offset`.
    ///
    /// # Errors
    /// The back end has no such bytes of it, or there cannot be any.
    pub fn read_config(&self, offset: u32, data: &mut [u8]) -> Result<(), FrontendError> {
        let request = FrontendReq::GET_CONFIG;
        let head = config_range(offset, data.len(), VhostUserConfigFlags::empty())?;
        let mut message = Message::request(request).with(&head);
        // The request is as long as its reply.
        message
            .payload
            .resize(message.payload.len() + data.len(), 0);
        let reply = self.ask(&message)?;
        // Without a payload it is a refusal ("Configuration space payload").
        if reply.payload.is_empty() {
            return Err(FrontendError::Refused(request));
        }
        let found = reply.split_body::<VhostUserConfig>();
        let (found, bytes) = found.map_err(|error| self.broken(error.into()))?;
        let is_whole = { found.size } == head.size && bytes.len() == data.len();
        if { found.offset } != offset || !is_whole {
            return Err(self.broken(FrontendError::Nonsense(request)));
        }
        data.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes to the device's configuration space. Without REPLY_ACK nobody says whether that was
    /// possible.
    ///
    /// # Errors
    /// The connection has ended, the back end refuses, or there cannot be such bytes.
    pub fn write_config(&self, offset: u32, data: &[u8]) -> Result<(), FrontendError> {
        let head = config_range(offset, data.len(), VhostUserConfigFlags::WRITABLE)?;
        let mut message = Message::request(FrontendReq::SET_CONFIG).with(&head);
        message.payload.extend_from_slice(data);
        self.set(message, &[])
    }

    /// Has the device reset, its rings disabled. It is told of no more mappings until the next
    /// [`set_up`](Self::set_up).
    ///
    /// # Errors
    /// The back end has no RESET_DEVICE, refuses, or does not answer.
    pub fn reset_device(&self, offer: &Offer) -> Result<(), FrontendError> {
        if !offer.protocol.contains(ProtocolFeatures::RESET_DEVICE) {
            return Err(FrontendError::Lacks("RESET_DEVICE"));
        }
        self.set(Message::request(FrontendReq::RESET_DEVICE), &[])?;
        // Not before: until then it may use what is invalidated.
        self.link.set_translated(false);
        Ok(())
    }

    /// Gives the back end a socket for requests of its own, and returns the other end.
    ///
    /// # Errors
    /// The host has no file descriptors left, or the back end refuses.
    pub fn open_channel(&self) -> Result<BackendChannel, FrontendError> {
        let (own, theirs) = UnixStream::pair().map_err(WireError::Io)?;
        let theirs = OwnedFd::from(theirs);
        let message = Message::request(FrontendReq::SET_BACKEND_REQ_FD);
        self.set(message, &[theirs.as_fd()])?;
        Ok(BackendChannel::new(Arc::clone(&self.link), own))
    }

    /// Sends a request and returns its reply, which is a number.
    fn number(&self, request: FrontendReq) -> Result<u64, FrontendError> {
        let reply = self.ask(&Message::request(request))?;
        reply.number().map_err(|error| self.broken(error.into()))
    }

    /// Sends a request that has a reply, and returns that.
    fn ask(&self, message: &Message) -> Result<Message, FrontendError> {
        self.link.ask(message)
    }

    /// Sends a request without a reply.
    fn tell(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        self.link.tell(message, fds)
    }

    /// Sends a request that changes something, and waits until it has, if the back end says so.
    fn set(&self, message: Message, fds: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        self.link.set(message, fds)
    }

    /// Ends the connection because of an error, which is returned.
    fn broken(&self, error: FrontendError) -> FrontendError {
        self.link.end();
        error
    }
}

/// Returns the head of a message about a part of the configuration space.
fn config_range(
    offset: u32,
    length: usize,
    flags: VhostUserConfigFlags,
) -> Result<VhostUserConfig, FrontendError> {
    let size = u32::try_from(length).ok().filter(|size| *size > 0);
    let end = size.and_then(|size| offset.checked_add(size));
    // So that it fits into a message, with its head.
    let most = VHOST_USER_CONFIG_SIZE - 0x100;
    match (size, end) {
        (Some(size), Some(end)) if end <= most => Ok(VhostUserConfig::new(offset, size, flags)),
        _ => Err(FrontendError::Invalid(
            "there are no such bytes in a configuration space",
        )),
    }
}
