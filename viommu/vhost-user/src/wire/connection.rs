//! One end of a connection: whole messages, in both directions.

use std::io::{IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::{HEADER_SIZE, Header, MAX_FDS, Message, WireError};

/// The most bytes that wait to be sent: some 90 000 messages about the IOTLB.
const MAX_OUTBOX: usize = 4 << 20;

/// One end of a connection.
///
/// No method blocks for longer than it is told. A message that is received in parts, or sent in
/// parts, is finished by a later call.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// Bytes of a message that has not arrived in full.
    inbox: Vec<u8>,
    /// File descriptors of that message.
    fds: Vec<OwnedFd>,
    /// Bytes that were posted, and are not sent yet from `sent` on.
    outbox: Vec<u8>,
    sent: usize,
}

impl Connection {
    /// Creates one end of a connection on a connected socket.
    pub const fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            inbox: Vec::new(),
            fds: Vec::new(),
            outbox: Vec::new(),
            sent: 0,
        }
    }

    /// Returns the socket, to be polled or shut down.
    pub const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Returns whether everything that was posted is sent.
    pub const fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Sends a message, after all that was posted; with `fds`, in place of those in the message.
    ///
    /// # Errors
    /// If it is not sent by the deadline, or cannot be.
    pub fn send(
        &mut self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), WireError> {
        if fds.len() > MAX_FDS {
            return Err(WireError::TooManyFds);
        }
        let bytes = message.to_bytes()?;
        while !self.flush()? {
            self.wait(PollFlags::OUT, deadline)?;
        }
        let mut sent = 0;
        while sent < bytes.len() {
            // File descriptors go with the first byte.
            let fds = if sent == 0 { fds } else { &[] };
            match send_some(&self.stream, &bytes[sent..], fds)? {
                Some(count) => sent += count,
                None => self.wait(PollFlags::OUT, deadline)?,
            }
        }
        Ok(())
    }

    /// Posts a message without file descriptors: sends what the socket takes at once, of this and
    /// of what was posted before, and keeps the rest for [`flush`](Self::flush). Never waits.
    ///
    /// # Errors
    /// If the peer leaves too much unread, or the message cannot be sent.
    pub fn post(&mut self, message: &Message) -> Result<(), WireError> {
        let bytes = message.to_bytes()?;
        if self.outbox.len() - self.sent + bytes.len() > MAX_OUTBOX {
            return Err(WireError::Congested);
        }
        // What is sent already is dropped in time that the sending has paid for.
        if self.sent > self.outbox.len() / 2 {
            self.outbox.drain(..mem::take(&mut self.sent));
        }
        self.outbox.extend_from_slice(&bytes);
        self.flush()?;
        Ok(())
    }

    /// Sends of what was posted as much as the socket takes; returns whether that is all. Never
    /// waits.
    ///
    /// # Errors
    /// If the socket fails or the peer has gone.
    pub fn flush(&mut self) -> Result<bool, WireError> {
        while self.sent < self.outbox.len() {
            match send_some(&self.stream, &self.outbox[self.sent..], &[])? {
                Some(count) => self.sent += count,
                None => return Ok(false),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Returns the next message, if it has arrived in full. Never waits.
    ///
    /// # Errors
    /// If the peer has gone, or what it sent is no message.
    pub fn try_receive(&mut self) -> Result<Option<Message>, WireError> {
        loop {
            let header = self.inbox.first_chunk().copied().map(Header::parse);
            let header = header.transpose()?;
            let whole = HEADER_SIZE + header.map_or(0, |header| header.size);
            if let Some(header) = header
                && self.inbox.len() == whole
            {
                let payload = mem::take(&mut self.inbox).split_off(HEADER_SIZE);
                return Ok(Some(header.message(payload, mem::take(&mut self.fds))));
            }
            if !self.receive_some(whole)? {
                return Ok(None);
            }
        }
    }

    /// Returns the next message; waits for it until `deadline`, or without an end.
    ///
    /// # Errors
    /// If it does not come by then, the peer has gone, or what it sent is no message.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Message, WireError> {
        loop {
            if let Some(message) = self.try_receive()? {
                return Ok(message);
            }
            self.wait(PollFlags::IN, deadline)?;
        }
    }

    /// Receives some of the bytes up to `whole`; returns whether there were any.
    fn receive_some(&mut self, whole: usize) -> Result<bool, WireError> {
        let begun = self.inbox.len();
        self.inbox.resize(whole, 0);
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let answer = recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(&mut self.inbox[begun..])],
            &mut control,
            RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
        );
        let count = answer.as_ref().map_or(0, |answer| answer.bytes);
        self.inbox.truncate(begun + count);
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let answer = match answer {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            answer => answer?,
        };
        // The buffer has room for alignment, into which one more may fit.
        let too_many = answer.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS;
        if too_many || (begun > 0 && !fds.is_empty()) {
            return Err(WireError::TooManyFds);
        }
        if count == 0 {
            return Err(match begun {
                0 => WireError::Closed,
                _ => WireError::Truncated,
            });
        }
        if begun == 0 {
            self.fds = fds;
        }
        Ok(true)
    }

    /// Waits until the socket is ready, or the peer has gone.
    fn wait(&self, events: PollFlags, deadline: Option<Instant>) -> Result<(), WireError> {
        wait_for(self.stream.as_fd(), events, deadline)
    }
}

/// Waits until `fd` is ready for one of `events`, or its peer has gone.
fn wait_for(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    deadline: Option<Instant>,
) -> Result<(), WireError> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // A wait too long to be named is one without an end.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(&mut [PollFd::from_borrowed_fd(fd, events)], left.as_ref()) {
        Ok(0) => Err(WireError::TimedOut),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends some bytes, with `fds`; returns how many, or nothing if the socket takes none now.
fn send_some(
    stream: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<Option<usize>, WireError> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(WireError::TooManyFds);
    }
    // No SIGPIPE: a peer that has gone is an error like others.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags) {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
