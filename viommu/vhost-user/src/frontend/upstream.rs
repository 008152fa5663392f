//! What a back end asks of a VMM.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use vhost::vhost_user::message::BackendReq;
use viommu::vm_memory::Permissions;

use super::{Frontend, Translations};
use crate::wire::{Connection, IotlbKind, IotlbMessage, Message, WireError};

/// How often a miss is translated anew because mappings change meanwhile.
const ATTEMPTS: usize = 16;

/// What a back end had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendEvent {
    /// It was told a translation that it missed.
    Answered {
        /// Where.
        iova: u64,
    },
    /// It wanted to access where nothing is mapped, or not for this: a fault, which the VMM is to
    /// report to the guest. With [`Translations::Asked`] the function may have.
    Fault {
        /// Where.
        iova: u64,
        /// What it wanted.
        wanted: Permissions,
    },
    /// It says that an access failed, for a reason of its own.
    AccessFailed {
        /// Where.
        iova: u64,
        /// What it wanted.
        wanted: Permissions,
    },
    /// The device's configuration space has changed: the VMM is to raise that interrupt.
    ConfigChanged,
    /// It asked for something that this VMM has not; it was refused.
    Unsupported(u32),
}

/// The channel by which a back end asks: from [`Frontend::open_backend_channel`].
///
/// To be [served](Self::serve) when it can be read. It is of no use any more after an error.
#[derive(Debug)]
pub struct BackendChannel {
    connection: Connection,
    frontend: Frontend,
    /// Which of the front end's connections it belongs to.
    number: u64,
}

impl AsFd for BackendChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.stream().as_fd()
    }
}

impl BackendChannel {
    pub(super) const fn new(stream: UnixStream, frontend: Frontend, number: u64) -> Self {
        Self {
            connection: Connection::new(stream),
            frontend,
            number,
        }
    }

    /// Answers one request, if one has arrived; returns what it was. Does not wait for the back
    /// end; how many requests are served in one go is up to the caller.
    ///
    /// # Errors
    /// If the back end has gone, or breaks the protocol: then it is dead.
    pub fn serve(&mut self) -> Result<Option<BackendEvent>, WireError> {
        let answer = self.answer_one();
        if answer.is_err() {
            let mut channel = self.frontend.channel();
            if channel.number == self.number {
                channel.kill();
            }
        }
        answer
    }

    fn answer_one(&mut self) -> Result<Option<BackendEvent>, WireError> {
        // Before more is read: a back end that leaves answers unread is not served.
        if !self.connection.flush()? {
            return Ok(None);
        }
        let Some(message) = self.connection.try_receive()? else {
            return Ok(None);
        };
        if message.is_reply {
            return Err(message.malformed());
        }
        let (event, succeeded) = match BackendReq::try_from(message.request) {
            Ok(BackendReq::IOTLB_MSG) => self.about_iotlb(&message)?,
            Ok(BackendReq::CONFIG_CHANGE_MSG) => (BackendEvent::ConfigChanged, true),
            _ => (BackendEvent::Unsupported(message.request), false),
        };
        if message.needs_reply {
            let reply = Message::acknowledgement(message.request, succeeded);
            self.connection.post(&reply)?;
        }
        Ok(Some(event))
    }

    fn about_iotlb(&self, message: &Message) -> Result<(BackendEvent, bool), WireError> {
        let request = IotlbMessage::from_backend(message)?;
        let (iova, wanted) = (request.iova, request.permissions);
        if request.kind == IotlbKind::AccessFail {
            return Ok((BackendEvent::AccessFailed { iova, wanted }, true));
        }
        let answered = self.frontend.answer_miss(self.number, iova, wanted)?;
        Ok(match answered {
            true => (BackendEvent::Answered { iova }, true),
            false => (BackendEvent::Fault { iova, wanted }, false),
        })
    }
}

impl Frontend {
    /// Tells the translation that a back end missed; returns whether there is one.
    fn answer_miss(&self, number: u64, iova: u64, wanted: Permissions) -> Result<bool, WireError> {
        for _ in 0..ATTEMPTS {
            let mut channel = self.channel();
            if channel.number != number {
                // Of a back end that was replaced.
                return Err(WireError::Closed);
            }
            let changes = channel.mappings.changes;
            // What is told under the lock comes before any invalidation that follows.
            let is_told = matches!(channel.mappings.to, viommu::Attachment::Bypass);
            let update = match &self.shared.translations {
                Translations::Asked(translate) if !is_told => {
                    drop(channel);
                    let answer = super::mappings::answer(iova, wanted, translate);
                    channel = self.channel();
                    if (channel.number, channel.mappings.changes) != (number, changes) {
                        // It may be of the past.
                        continue;
                    }
                    answer
                }
                _ => channel.mappings.find(iova, wanted),
            };
            return match update.filter(|_| channel.is_translated) {
                Some(update) => channel.post(&update).map(|()| true),
                None => Ok(false),
            };
        }
        Ok(false)
    }
}
