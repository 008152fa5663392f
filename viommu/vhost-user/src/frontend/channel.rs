//! The connection of a front end: requests, and the replies that are due, in their order.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::mappings::Mappings;
use crate::wire::{Connection, IotlbKind, IotlbMessage, Message, WireError};

/// The most replies that may be due.
const MAX_DUE: usize = 1 << 17;

/// Between two looks at a back end that reads too slowly.
const PAUSE: Duration = Duration::from_micros(100);

/// What a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Somebody waits for it, by this number.
    Waited(u64),
    /// It acknowledges a message about the IOTLB.
    Iotlb(IotlbKind),
}

/// The state of a connection, under one lock.
#[derive(Debug)]
pub(super) struct Channel {
    connection: Connection,
    /// Counts the connections, so that who waits for a reply notices a new one.
    pub number: u64,
    /// The back end failed; nothing is sent or expected any more.
    dead: bool,
    /// Replies that are due, first the one that comes next.
    due: VecDeque<(u32, Due)>,
    /// Replies that somebody waits for, by their numbers.
    arrived: BTreeMap<u64, Message>,
    next: u64,
    /// When the back end last answered, or the first reply became due.
    progress: Instant,
    /// `VHOST_USER_PROTOCOL_F_REPLY_ACK` is agreed on.
    pub acknowledges: bool,
    /// The back end is told of mappings: `VIRTIO_F_ACCESS_PLATFORM` is agreed on, and it has
    /// memory.
    pub is_translated: bool,
    /// `VIRTIO_F_ACCESS_PLATFORM` is agreed on.
    pub has_access_platform: bool,
    /// What the device's endpoint meets.
    pub mappings: Mappings,
    timeout: Duration,
}

impl Channel {
    pub fn new(stream: UnixStream, timeout: Duration) -> Self {
        Self {
            connection: Connection::new(stream),
            number: 0,
            dead: false,
            due: VecDeque::new(),
            arrived: BTreeMap::new(),
            next: 0,
            progress: Instant::now(),
            acknowledges: false,
            is_translated: false,
            has_access_platform: false,
            mappings: Mappings::default(),
            timeout,
        }
    }

    /// Goes on over a new connection, on which nothing is agreed yet. The mappings stay.
    pub fn reconnect(&mut self, stream: UnixStream) {
        let Self {
            number,
            mappings,
            timeout,
            ..
        } = self;
        *self = Self {
            number: *number + 1,
            mappings: std::mem::take(mappings),
            ..Self::new(stream, *timeout)
        };
    }

    /// Returns the socket.
    pub const fn stream(&self) -> &UnixStream {
        self.connection.stream()
    }

    /// Gives the back end up.
    pub fn kill(&mut self) {
        self.dead = true;
        self.due.clear();
        self.is_translated = false;
        // Whoever polls the socket, here and there, learns of it.
        let _ = self.connection.stream().shutdown(std::net::Shutdown::Both);
    }

    /// Does one thing with the connection, which is dead after an error.
    fn guarded<T>(
        &mut self,
        what: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        if self.dead {
            return Err(WireError::Closed);
        }
        let answer = what(self);
        if answer.is_err() {
            self.kill();
        }
        answer
    }

    fn expect(&mut self, request: u32, due: Due) -> Result<(), WireError> {
        if self.due.len() >= MAX_DUE {
            return Err(WireError::Congested);
        }
        if self.due.is_empty() {
            self.progress = Instant::now();
        }
        self.due.push_back((request, due));
        Ok(())
    }

    /// Sends a request; returns the number of its reply, if it has one.
    pub fn request(
        &mut self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        has_reply: bool,
    ) -> Result<Option<u64>, WireError> {
        self.guarded(|this| {
            let deadline = Instant::now() + this.timeout;
            // A back end that is not read from does not read either.
            while !this.connection.is_flushed() {
                this.receive()?;
                if Instant::now() > deadline {
                    return Err(WireError::TimedOut);
                }
                if !this.connection.flush()? {
                    std::thread::sleep(PAUSE);
                }
            }
            this.connection.send(message, fds, Some(deadline))?;
            if !has_reply {
                return Ok(None);
            }
            this.next += 1;
            this.expect(message.request, Due::Waited(this.next))?;
            Ok(Some(this.next))
        })
    }

    /// Posts a message about the IOTLB, whose acknowledgement is due.
    pub fn post(&mut self, message: &IotlbMessage) -> Result<(), WireError> {
        self.guarded(|this| {
            let mut request = message.to_backend();
            request.needs_reply = true;
            this.connection.post(&request)?;
            this.expect(request.request, Due::Iotlb(message.kind))
        })
    }

    /// Takes the reply with this number, if it has arrived.
    pub fn take(&mut self, number: u64) -> Option<Message> {
        self.arrived.remove(&number)
    }

    /// Nobody waits for the reply with this number any more: the back end has not answered.
    pub fn give_up(&mut self) {
        self.arrived.clear();
        self.kill();
    }

    /// Sends and receives what can be; never waits. A back end that has not answered for too long
    /// is given up.
    pub fn pump(&mut self) -> Result<(), WireError> {
        self.guarded(|this| {
            this.connection.flush()?;
            this.receive()?;
            let is_late = this.progress.elapsed() > this.timeout;
            match this.due.is_empty() || !is_late {
                true => Ok(()),
                false => Err(WireError::TimedOut),
            }
        })
    }

    /// Returns whether no acknowledgement about the IOTLB is due.
    pub fn is_settled(&self) -> bool {
        let iotlb = |(_, due): &(u32, Due)| matches!(due, Due::Iotlb(_));
        self.dead || !self.due.iter().any(iotlb)
    }

    /// Receives the replies that are there.
    fn receive(&mut self) -> Result<(), WireError> {
        // What is due bounds how many there are.
        while !self.due.is_empty() {
            let Some(message) = self.connection.try_receive()? else {
                return Ok(());
            };
            let got = message.request;
            let Some((expected, due)) = self.due.pop_front() else {
                return Err(message.malformed());
            };
            if !message.is_reply || got != expected {
                return Err(WireError::Unexpected { expected, got });
            }
            self.progress = Instant::now();
            match due {
                Due::Waited(number) => {
                    self.arrived.insert(number, message);
                }
                Due::Iotlb(kind) => {
                    let refused = message.number()? != 0 || !message.fds.is_empty();
                    // Without a mapping it faults, and asks. With one that is gone it would go on.
                    if refused && kind == IotlbKind::Invalidate {
                        return Err(message.malformed());
                    }
                }
            }
        }
        Ok(())
    }
}
