//! Messages over a Unix socket, as the vhost-user specification frames them
//! (<https://qemu-project.gitlab.io/qemu/interop/vhost-user.html>).
//!
//! Whoever sends them is not trusted: payloads are at most [`MAX_PAYLOAD`] bytes long, with at most
//! [`MAX_FDS`] file descriptors, and a wait for a peer has an end if it is given one.

mod connection;
mod iotlb;

use std::io;
use std::os::fd::OwnedFd;

use vhost::vhost_user::message::{MAX_ATTACHED_FD_ENTRIES, MAX_MSG_SIZE, VhostUserU64};
use vm_memory::ByteValued;

pub use connection::Connection;
pub use iotlb::{IotlbKind, IotlbMessage};

/// The most bytes of payload in one message: what the `vhost` crate allows.
pub const MAX_PAYLOAD: usize = MAX_MSG_SIZE;

/// The most file descriptors with one message: what the `vhost` crate allows.
pub const MAX_FDS: usize = MAX_ATTACHED_FD_ENTRIES;

/// Bytes of a header: request, flags and size of the payload, 32 bits each, in the byte order of
/// the host.
pub const HEADER_SIZE: usize = 12;

/// Bits of a header's flags ("Header", `flags`).
mod flags {
    /// Bits 0 and 1: the version of the protocol.
    pub const VERSION_MASK: u32 = 0x3;
    /// The only version there is.
    pub const VERSION: u32 = 0x1;
    /// The message is a reply.
    pub const REPLY: u32 = 1 << 2;
    /// The sender wants a reply though the request has none of its own.
    pub const NEED_REPLY: u32 = 1 << 3;
}

/// What can go wrong with a peer. After any of these the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer has closed its end between two messages.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer has closed its end within a message.
    #[error("the peer closed the connection within a message")]
    Truncated,
    /// The peer did not send, or did not read, in time.
    #[error("the peer does not answer in time")]
    TimedOut,
    /// The header is of another version of the protocol.
    #[error("flags {0:#x} of a header name no version that is known")]
    Version(u32),
    /// The payload is too long.
    #[error("a payload of {0} bytes is longer than any message has")]
    TooLong(u32),
    /// There are more file descriptors than a message may have, or they are not at its beginning.
    #[error("a message has too many file descriptors, or has them in its middle")]
    TooManyFds,
    /// The message does not fit its request: wrong size, wrong number of file descriptors, or
    /// values that cannot be.
    #[error("the contents of message {request} do not fit it")]
    Malformed {
        /// The request's number.
        request: u32,
    },
    /// A reply to another request, or no reply where there should be one.
    #[error("message {got} came instead of a reply to {expected}")]
    Unexpected {
        /// The request that was to be answered.
        expected: u32,
        /// The request that the message names.
        got: u32,
    },
    /// More is waiting to be sent than the peer may leave unread.
    #[error("the peer leaves too many messages unread")]
    Congested,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for WireError {
    fn from(errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match errno {
            // A peer that has gone while we were sending.
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            errno => Self::Io(errno.into()),
        }
    }
}

/// One message.
#[derive(Debug, Default)]
pub struct Message {
    /// The number of the request: of `FrontendReq` or `BackendReq` of the `vhost` crate, by
    /// direction. It may be one that is not known.
    pub request: u32,
    /// Whether it is a reply.
    pub is_reply: bool,
    /// Whether the sender wants a reply in any case.
    pub needs_reply: bool,
    /// What follows the header.
    pub payload: Vec<u8>,
    /// The file descriptors that came with it; those to be sent are given to
    /// [`Connection::send`].
    pub fds: Vec<OwnedFd>,
}

impl Message {
    /// Creates a request without a payload.
    pub fn request(request: impl Into<u32>) -> Self {
        Self {
            request: request.into(),
            ..Self::default()
        }
    }

    /// Creates a reply to a request, without a payload.
    pub fn reply(request: impl Into<u32>) -> Self {
        Self {
            is_reply: true,
            ..Self::request(request)
        }
    }

    /// Creates the reply to a request that wanted one (`NEED_REPLY`): zero if all went well.
    pub fn acknowledgement(request: impl Into<u32>, succeeded: bool) -> Self {
        Self::reply(request).with(&VhostUserU64::new(u64::from(!succeeded)))
    }

    /// Adds a value to the payload.
    #[must_use]
    pub fn with<T: ByteValued>(mut self, value: &T) -> Self {
        self.payload.extend_from_slice(value.as_slice());
        self
    }

    /// Has the peer reply in any case.
    #[must_use]
    pub fn with_reply_wanted(mut self) -> Self {
        self.needs_reply = true;
        self
    }

    /// Returns the error that says that the contents do not fit the request.
    pub const fn malformed(&self) -> WireError {
        WireError::Malformed {
            request: self.request,
        }
    }

    /// Returns the payload as one value.
    ///
    /// # Errors
    /// If it is shorter or longer.
    pub fn body<T: ByteValued + Default>(&self) -> Result<T, WireError> {
        let (value, rest) = self.split_body()?;
        match rest {
            [] => Ok(value),
            _ => Err(self.malformed()),
        }
    }

    /// Returns the first value of the payload, and what follows it.
    ///
    /// # Errors
    /// If the payload is shorter.
    pub fn split_body<T: ByteValued + Default>(&self) -> Result<(T, &[u8]), WireError> {
        let mut value = T::default();
        let bytes = value.as_mut_slice();
        let (body, rest) = self
            .payload
            .split_at_checked(bytes.len())
            .ok_or_else(|| self.malformed())?;
        bytes.copy_from_slice(body);
        Ok((value, rest))
    }

    /// Returns the payload as a number of 64 bits.
    ///
    /// # Errors
    /// If it has another size.
    pub fn number(&self) -> Result<u64, WireError> {
        self.body::<VhostUserU64>().map(|body| body.value)
    }

    /// Takes the only file descriptor.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn take_fd(&mut self) -> Result<OwnedFd, WireError> {
        match self.fds.len() {
            1 => Ok(self.fds.remove(0)),
            _ => Err(self.malformed()),
        }
    }

    /// Returns header and payload as bytes.
    ///
    /// # Errors
    /// If the payload is longer than [`MAX_PAYLOAD`].
    fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        let size = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        if self.payload.len() > MAX_PAYLOAD {
            return Err(WireError::TooLong(size));
        }
        let mut bits = flags::VERSION;
        if self.is_reply {
            bits |= flags::REPLY;
        }
        if self.needs_reply {
            bits |= flags::NEED_REPLY;
        }
        let mut bytes = Vec::with_capacity(HEADER_SIZE + self.payload.len());
        for word in [self.request, bits, size] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.payload);
        Ok(bytes)
    }
}

/// A header that was received.
#[derive(Clone, Copy, Debug)]
struct Header {
    request: u32,
    flags: u32,
    size: usize,
}

impl Header {
    /// Reads a header from its bytes.
    fn parse(bytes: [u8; HEADER_SIZE]) -> Result<Self, WireError> {
        let [request, flags, size] = [0, 4, 8]
            .map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        if flags & flags::VERSION_MASK != flags::VERSION {
            return Err(WireError::Version(flags));
        }
        match usize::try_from(size) {
            Ok(length) if length <= MAX_PAYLOAD => Ok(Self {
                request,
                flags,
                size: length,
            }),
            _ => Err(WireError::TooLong(size)),
        }
    }

    /// Returns the message that it begins.
    fn message(self, payload: Vec<u8>, fds: Vec<OwnedFd>) -> Message {
        Message {
            request: self.request,
            is_reply: self.flags & flags::REPLY != 0,
            needs_reply: self.flags & flags::NEED_REPLY != 0,
            payload,
            fds,
        }
    }
}

#[cfg(test)]
mod tests;
