//! What the front end is asked: the back end's own channel.

use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Instant;

use viommu::vm_memory::Permissions;

use crate::sync::lock;
use crate::wire::{Connection, IotlbKind, IotlbMessage, WireError};

/// What a front end says to a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An update is on its way, if the front end says such things; or it may be.
    Expected,
    /// There is no translation, or nobody to ask.
    Refused,
}

/// The back end's own channel to the front end.
#[derive(Debug, Default)]
pub(super) struct Misses {
    channel: Mutex<Option<Channel>>,
    /// The same socket, to be shut down while somebody waits for an answer.
    stream: Mutex<Option<UnixStream>>,
}

#[derive(Debug)]
struct Channel {
    connection: Connection,
    /// Requests are acknowledged.
    acknowledged: bool,
}

impl Misses {
    /// Asks through `stream` from now on. Whoever waits for an answer through the last one is told
    /// that there is none.
    pub fn open(&self, stream: UnixStream, acknowledged: bool) -> std::io::Result<()> {
        let another = stream.try_clone()?;
        self.close();
        *lock(&self.stream) = Some(another);
        *lock(&self.channel) = Some(Channel {
            connection: Connection::new(stream),
            acknowledged,
        });
        Ok(())
    }

    /// Asks nobody from now on.
    pub fn close(&self) {
        if let Some(stream) = lock(&self.stream).take() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Whoever has the lock waits on that socket, or for nothing.
        *lock(&self.channel) = None;
    }

    /// Says that a translation is missing, and waits for the acknowledgement.
    pub fn ask(&self, iova: u64, wanted: Permissions, deadline: Instant) -> Answer {
        let mut channel = lock(&self.channel);
        let Some(open) = &mut *channel else {
            return Answer::Refused;
        };
        let miss = IotlbMessage::about_access(IotlbKind::Miss, iova, wanted);
        match open.request(&miss, deadline) {
            Ok(answer) => answer,
            Err(error) => {
                // What comes later would be taken for the answer to another.
                tracing::warn!("translations cannot be asked for any more: {error}");
                *channel = None;
                Answer::Refused
            }
        }
    }

    /// Says that an access failed though it was asked for.
    pub fn failed(&self, iova: u64, wanted: Permissions) {
        let message = IotlbMessage::about_access(IotlbKind::AccessFail, iova, wanted);
        let mut channel = lock(&self.channel);
        if let Some(open) = &mut *channel {
            // Nobody depends on it.
            let _ = open.connection.post(&message.to_frontend());
        }
    }
}

impl Channel {
    fn request(&mut self, miss: &IotlbMessage, deadline: Instant) -> Result<Answer, WireError> {
        let mut message = miss.to_frontend();
        message.needs_reply = self.acknowledged;
        self.connection.send(&message, &[], Some(deadline))?;
        if !self.acknowledged {
            return Ok(Answer::Expected);
        }
        let reply = self.connection.receive(Some(deadline))?;
        if !reply.is_reply || reply.request != message.request {
            let (expected, got) = (message.request, reply.request);
            return Err(WireError::Unexpected { expected, got });
        }
        Ok(match reply.number()? {
            0 => Answer::Expected,
            _ => Answer::Refused,
        })
    }
}
