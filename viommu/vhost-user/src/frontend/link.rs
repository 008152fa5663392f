//! The connection: requests that wait for their replies, and invalidations that do not.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vhost::vhost_user::message::FrontendReq;

use super::{FrontendError, MemoryRegion, Patience};
use crate::sync::lock;
use crate::wire::{Connection, IotlbKind, IotlbMessage, Message, WireError};

/// How long a wait sleeps before it looks again: another thread may have taken in its reply.
const LOOK: Duration = Duration::from_millis(2);

/// The most replies that may be due: of messages about the IOTLB, for which nobody waits.
const MAX_DUE: usize = 1 << 17;

/// A pin that acknowledgements end, when the last one has dropped it.
pub(super) type SharedPin = Arc<dyn Any + Send + Sync>;

/// What the back end has yet to send, in the order of the requests.
enum DueReply {
    /// The acknowledgement of an invalidation, which was posted then.
    Invalidation(Option<SharedPin>, Instant),
    /// The acknowledgement of an update, which was posted then.
    Update(Instant),
    /// The reply to the request that somebody waits for.
    Request(u32),
}

struct State {
    connection: Connection,
    due: VecDeque<DueReply>,
    /// Invalidations among those.
    invalidations: usize,
    /// The reply that came for who waits.
    reply: Option<Message>,
    /// Counts what has made older translations worthless.
    generation: u64,
    /// The memory that the back end has.
    memory: Vec<MemoryRegion>,
    /// Whether the device uses IOVAs, and is told what they lead to.
    translated: bool,
    ended: bool,
}

/// A connection to a back end.
pub(super) struct Link {
    /// Held by who waits for a reply: one request at a time. Nobody else waits for it.
    turn: Mutex<()>,
    /// Held for moments only.
    state: Mutex<State>,
    /// The same socket as the connection's, to be polled without a lock.
    stream: UnixStream,
    patience: Patience,
    /// Whether requests without a reply of their own get one (REPLY_ACK).
    replies: AtomicBool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub fn new(stream: UnixStream, patience: Patience) -> Result<Self, FrontendError> {
        let other = stream.try_clone().map_err(WireError::Io)?;
        Ok(Self {
            turn: Mutex::default(),
            state: Mutex::new(State {
                connection: Connection::new(stream),
                due: VecDeque::new(),
                invalidations: 0,
                reply: None,
                generation: 0,
                memory: Vec::new(),
                translated: false,
                ended: false,
            }),
            stream: other,
            patience,
            replies: AtomicBool::new(false),
        })
    }

    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sets whether every request may be answered.
    pub fn set_replies(&self, replies: bool) {
        self.replies.store(replies, Ordering::Relaxed);
    }

    pub fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }

    pub fn unacknowledged(&self) -> usize {
        lock(&self.state).invalidations
    }

    pub fn replies_due(&self) -> usize {
        lock(&self.state).due.len()
    }

    /// Returns the memory that the back end has.
    pub fn memory(&self) -> Vec<MemoryRegion> {
        lock(&self.state).memory.clone()
    }

    /// Sets the memory that the back end has, and whether it is told of mappings from now on.
    pub fn set_memory(&self, memory: Vec<MemoryRegion>, translated: bool) {
        let mut state = lock(&self.state);
        state.memory = memory;
        state.translated = translated;
    }

    /// Notes that the back end has a region more.
    pub fn add_region(&self, region: MemoryRegion) {
        lock(&self.state).memory.push(region);
    }

    /// Notes that the back end is to lose a region; what was found out before may lead there.
    pub fn remove_region(&self, region: MemoryRegion) {
        let mut state = lock(&self.state);
        state.memory.retain(|one| *one != region);
        state.generation = state.generation.wrapping_add(1);
    }

    /// Sets whether the back end is told of mappings.
    pub fn set_translated(&self, translated: bool) {
        lock(&self.state).translated = translated;
    }

    pub fn generation(&self) -> u64 {
        lock(&self.state).generation
    }

    /// Ends the connection: nobody waits for it any more.
    pub fn end(&self) {
        let released = lock(&self.state).end();
        // A socket that is gone already is as good.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        // Not under the lock: what is released may call others.
        drop(released);
    }

    /// Takes in what has arrived.
    pub fn receive(&self) -> Result<(), FrontendError> {
        let mut released = Vec::new();
        let result = lock(&self.state).receive(&mut released);
        drop(released);
        result.inspect_err(|_| self.end())
    }

    /// Posts messages about the IOTLB, in this order, if the back end is told of mappings. `pin` is
    /// dropped when all invalidations are acknowledged. Translations from before are worthless from
    /// now on. Returns whether all is sent.
    pub fn post(
        &self,
        messages: &[IotlbMessage],
        pin: Option<&SharedPin>,
    ) -> Result<bool, FrontendError> {
        let mut state = lock(&self.state);
        if state.ended {
            return Err(FrontendError::Ended);
        }
        state.generation = state.generation.wrapping_add(1);
        if !state.translated {
            return Ok(true);
        }
        let posted = messages
            .iter()
            .try_for_each(|message| state.post(message, pin));
        let sent = state.connection.is_flushed();
        drop(state);
        posted.inspect_err(|_| self.end())?;
        Ok(sent)
    }

    /// Takes in what has arrived, and ends the connection if the back end is late; returns whether
    /// it has not ended.
    pub fn is_alive(&self) -> bool {
        // An error is the end of the connection.
        let _ = self.receive();
        self.end_if_late();
        !self.has_ended()
    }

    /// Ends the connection if an acknowledgement is later than a reply may be.
    pub fn end_if_late(&self) {
        let first = lock(&self.state).due.front().map(|due| match due {
            DueReply::Invalidation(_, posted) | DueReply::Update(posted) => {
                posted.elapsed() > self.patience.limit
            }
            // Whoever waits for it looks at the time.
            DueReply::Request(_) => false,
        });
        if first == Some(true) {
            tracing::warn!("a vhost-user device acknowledges too late what it was told");
            self.end();
        }
    }

    /// Returns whether everything that was posted is sent.
    pub fn is_flushed(&self) -> bool {
        lock(&self.state).connection.is_flushed()
    }

    /// Posts an update that was found out at `generation`. Returns false if that is over: it has to
    /// be found out anew.
    pub fn update(&self, update: IotlbMessage, generation: u64) -> Result<bool, FrontendError> {
        let mut state = lock(&self.state);
        if state.ended {
            return Err(FrontendError::Ended);
        }
        if !state.translated || state.generation != generation {
            return Ok(false);
        }
        let posted = state.post(&update, None);
        drop(state);
        posted.inspect_err(|_| self.end())?;
        Ok(true)
    }

    /// Sends a request without a reply.
    pub fn tell(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        let _turn = lock(&self.turn);
        self.send(message, fds, None)
    }

    /// Sends a request, and waits for its reply.
    pub fn ask(&self, message: &Message) -> Result<Message, FrontendError> {
        let _turn = lock(&self.turn);
        self.send(message, &[], Some(message.request))?;
        self.wait()
    }

    /// Sends a request, and waits until it is done if the back end can say so.
    pub fn set(&self, message: Message, fds: &[BorrowedFd<'_>]) -> Result<(), FrontendError> {
        if !self.replies.load(Ordering::Relaxed) {
            return self.tell(&message, fds);
        }
        let message = message.with_reply_wanted();
        let _turn = lock(&self.turn);
        self.send(&message, fds, Some(message.request))?;
        let done = self.wait()?.number().map_err(FrontendError::from);
        match done.inspect_err(|_| self.end())? {
            0 => Ok(()),
            _ => Err(refused(message.request)),
        }
    }

    /// Sends a request. Waits for room, with moments between in which others have the connection.
    fn send(
        &self,
        message: &Message,
        fds: &[BorrowedFd<'_>],
        reply: Option<u32>,
    ) -> Result<(), FrontendError> {
        let deadline = self.deadline();
        loop {
            let mut state = lock(&self.state);
            if state.ended {
                return Err(FrontendError::Ended);
            }
            let flushed = state.connection.flush();
            match flushed {
                Ok(true) => {
                    // Requests are far shorter than a socket's buffer, which is empty or being
                    // emptied; a back end that takes a part only is given up soon.
                    let soon = Instant::now() + LOOK;
                    let sent = state.connection.send(message, fds, Some(soon));
                    if sent.is_ok() {
                        state.due.extend(reply.map(DueReply::Request));
                        state.reply = None;
                    }
                    drop(state);
                    return Ok(sent.inspect_err(|_| self.end())?);
                }
                Ok(false) => drop(state),
                Err(error) => {
                    drop(state);
                    self.end();
                    return Err(error.into());
                }
            }
            self.sleep(PollFlags::OUT, deadline)?;
        }
    }

    /// Waits for the reply to the request of this turn.
    fn wait(&self) -> Result<Message, FrontendError> {
        let deadline = self.deadline();
        loop {
            self.receive()?;
            if let Some(reply) = lock(&self.state).reply.take() {
                return Ok(reply);
            }
            self.sleep(PollFlags::IN, deadline)?;
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience.limit
    }

    /// Sleeps until the socket may be ready, for a short time; ends the connection when the wait is
    /// to end.
    fn sleep(&self, events: PollFlags, deadline: Instant) -> Result<(), FrontendError> {
        if Instant::now() >= deadline || (self.patience.give_up)() {
            self.end();
            return Err(FrontendError::GaveUp);
        }
        let look = Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        // What goes wrong with the socket is found when it is used.
        let _ = poll(
            &mut [PollFd::from_borrowed_fd(self.stream.as_fd(), events)],
            Some(&look),
        );
        Ok(())
    }
}

impl State {
    /// Returns what is to be dropped outside the lock.
    fn end(&mut self) -> Vec<DueReply> {
        self.ended = true;
        self.invalidations = 0;
        self.due.drain(..).collect()
    }

    /// Posts one message about the IOTLB.
    fn post(
        &mut self,
        message: &IotlbMessage,
        pin: Option<&SharedPin>,
    ) -> Result<(), FrontendError> {
        if self.due.len() >= MAX_DUE {
            return Err(WireError::Congested.into());
        }
        // Each is to be acknowledged: a back end may acknowledge what comes later before it is done
        // with this, and could not refuse an update otherwise.
        let request = message.to_backend().with_reply_wanted();
        self.connection.post(&request)?;
        let now = Instant::now();
        self.due.push_back(match message.kind {
            IotlbKind::Invalidate => {
                self.invalidations += 1;
                DueReply::Invalidation(pin.cloned(), now)
            }
            _ => DueReply::Update(now),
        });
        Ok(())
    }

    fn receive(&mut self, released: &mut Vec<SharedPin>) -> Result<(), FrontendError> {
        if self.ended {
            return Err(FrontendError::Ended);
        }
        self.connection.flush()?;
        while let Some(message) = self.connection.try_receive()? {
            // Replies come in the order of the requests, as the back end serves one at a time.
            let due = self.due.pop_front().ok_or(FrontendError::Unasked)?;
            let expected = match due {
                DueReply::Request(request) => request,
                _ => FrontendReq::IOTLB_MSG.into(),
            };
            if !message.is_reply || message.request != expected {
                return Err(FrontendError::Wire(WireError::Unexpected {
                    expected,
                    got: message.request,
                }));
            }
            match due {
                DueReply::Invalidation(pin, _) => {
                    self.invalidations -= 1;
                    released.extend(pin);
                    // It still uses what is not mapped any more.
                    if message.number()? != 0 {
                        return Err(FrontendError::Refused(FrontendReq::IOTLB_MSG));
                    }
                }
                // Refused or not: without a translation the device faults, and asks.
                DueReply::Update(_) => {
                    message.number()?;
                }
                DueReply::Request(_) => self.reply = Some(message),
            }
        }
        Ok(())
    }
}

/// Returns the error that a request was refused.
fn refused(request: u32) -> FrontendError {
    match FrontendReq::try_from(request) {
        Ok(request) => FrontendError::Refused(request),
        Err(_) => FrontendError::Unasked,
    }
}
