//! The half of a VMM: a [`Frontend`] drives a back end over its socket, a [`listener`] tells it
//! what its device's endpoint meets, and a [`BackendChannel`] answers what it asks.
//!
//! ```text
//! IOMMU model --DmaListener--> Listener --UPDATE, INVALIDATE--> back end
//!             <--translation-- BackendChannel <----MISS-------/
//! ```
//!
//! The back end is another process, and is not trusted: what it sends is checked, what it leaves
//! unread or unanswered has a bound in size and time. When it breaks the protocol, does not answer
//! in time or goes, it is *dead*: every call fails at once with [`FrontendError::Dead`], and the
//! VMM may go on without the device, or [reconnect](Frontend::reconnect).
//!
//! # What a dead back end can still do
//! Guest memory is shared with its process. Who breaks the protocol cannot be stopped from
//! accessing what it has mapped, whatever the IOMMU says, until its process ends. A VMM that is to
//! be safe from that starts the process itself, and kills it when it is dead.
//!
//! [`listener`]: Frontend::listener

mod channel;
mod listener;
mod mappings;
mod requests;
mod upstream;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use viommu::Translation;
use viommu::vm_memory::Permissions;

use crate::wire::{Message, WireError};
use channel::Channel;

pub use listener::Listener;
pub use requests::{MemoryRegion, Offer};
pub use upstream::{BackendChannel, BackendEvent};

/// How long a back end may take for an answer, unless the VMM says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a request to a back end failed.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// The back end failed before, or failed now: see [`Frontend::reconnect`].
    #[error("the vhost-user back end is gone: {0}")]
    Dead(#[from] WireError),
    /// The back end refused the request.
    #[error("the vhost-user back end refuses {0}")]
    Refused(&'static str),
    /// The back end lacks something that the VMM needs.
    #[error("the vhost-user back end has no {0}")]
    Lacks(&'static str),
    /// The VMM asked for what the protocol has not.
    #[error("{0}")]
    Invalid(&'static str),
}

/// Where translations come from, in answer to a miss.
pub enum Translations {
    /// From the mappings that the listener was told: for virtio-iommu, whose
    /// [`add_listener`](viommu::virtio::VirtioIommu::add_listener) tells all of them. The listener
    /// is polled until a change has taken effect, and never waits.
    Told,
    /// By asking, for models whose mappings are tables in guest memory. The function is called
    /// with a multiple of 4 KiB and what is wanted there, from the thread that serves the
    /// [`BackendChannel`]; it reports a fault to the guest, if it wants. Such models do not poll a
    /// listener ([`TranslationUnit::add_listener`](viommu::TranslationUnit::add_listener)), so it
    /// waits, with the timeout as its bound. A function that needs what the model has locked while
    /// it invalidates answers after that, so that an access that misses at the time may fail.
    Asked(Box<dyn Fn(u64, Permissions) -> Option<Translation> + Send + Sync>),
}

/// A connection to a back end; clones are the same.
#[derive(Clone)]
pub struct Frontend {
    shared: Arc<Shared>,
}

struct Shared {
    channel: Mutex<Channel>,
    timeout: Duration,
    translations: Translations,
}

impl std::fmt::Debug for Frontend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frontend").finish_non_exhaustive()
    }
}

impl Frontend {
    /// Creates the front end of a connected back end, which has `timeout` for each answer.
    pub fn new(stream: UnixStream, timeout: Duration, translations: Translations) -> Self {
        Self {
            shared: Arc::new(Shared {
                channel: Mutex::new(Channel::new(stream, timeout)),
                timeout,
                translations,
            }),
        }
    }

    /// Goes on over a new connection. Nothing is agreed on it: what follows is what follows
    /// [`new`](Self::new). What the listener was told is kept, and is told to the new back end when
    /// it has memory.
    pub fn reconnect(&self, stream: UnixStream) {
        let mut channel = self.channel();
        channel.kill();
        channel.reconnect(stream);
    }

    /// Returns whether the back end has not failed yet, as far as is known: it is looked at.
    pub fn is_alive(&self) -> bool {
        let mut channel = self.channel();
        let alive = channel.pump().is_ok() && !has_hung_up(channel.stream());
        if !alive {
            channel.kill();
        }
        alive
    }

    /// Gives the back end up: it is dead, and its end of the connection is told.
    pub fn shut_down(&self) {
        self.channel().kill();
    }

    /// Returns the listener to be added to the device's endpoint. It may be added before anything
    /// is agreed with the back end: that is told when it has memory.
    pub fn listener(&self) -> Box<Listener> {
        Box::new(Listener::new(self.clone()))
    }

    fn channel(&self) -> MutexGuard<'_, Channel> {
        // Poisoned only by a panic that its own thread has reported.
        let channel = &self.shared.channel;
        channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request without an answer of its own, and waits for it to be acknowledged if that
    /// is agreed on.
    fn tell(
        &self,
        name: &'static str,
        mut message: Message,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), FrontendError> {
        let acknowledges = self.channel().acknowledges;
        message.needs_reply = acknowledges;
        match self.exchange(&message, fds, acknowledges)? {
            Some(reply) if reply.number()? != 0 => Err(FrontendError::Refused(name)),
            _ => Ok(()),
        }
    }

    /// Sends a request, and returns its answer.
    fn ask(&self, message: &Message) -> Result<Message, FrontendError> {
        let reply = self.exchange(message, &[], true)?;
        reply.ok_or(FrontendError::Dead(WireError::Closed))
    }

    /// Sends a request and waits for the reply, if there is to be one, without the lock: meanwhile
    /// others tell of mappings and answer misses, which the back end may need for its reply.
    fn exchange(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        has_reply: bool,
    ) -> Result<Option<Message>, WireError> {
        let deadline = Instant::now() + self.shared.timeout;
        let mut channel = self.channel();
        let connection = channel.number;
        let Some(number) = channel.request(message, fds, has_reply)? else {
            return Ok(None);
        };
        loop {
            if channel.number != connection {
                return Err(WireError::Closed);
            }
            let pumped = channel.pump();
            if let Some(reply) = channel.take(number) {
                return Ok(Some(reply));
            }
            pumped?;
            if Instant::now() >= deadline {
                channel.give_up();
                return Err(WireError::TimedOut);
            }
            let stream = channel.stream().try_clone()?;
            drop(channel);
            // Not for longer: another thread may have taken the reply from the socket.
            wait_readable(stream.as_fd(), Duration::from_millis(2));
            channel = self.channel();
        }
    }
}

/// Waits until `fd` can be read, or for `time`.
fn wait_readable(fd: BorrowedFd<'_>, time: Duration) {
    let time = Timespec::try_from(time).ok();
    // Whatever it says, the caller looks itself.
    let _ = poll(
        &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
        time.as_ref(),
    );
}

/// Returns whether the peer has closed its end.
fn has_hung_up(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec::default();
    let answer = poll(&mut fds, Some(&now));
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    answer.is_ok() && fds[0].revents().intersects(gone)
}

#[cfg(test)]
mod tests;
