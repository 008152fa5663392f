//! Devices that know of no IOMMU, unmodified: a relay between a front end and the device's daemon.
//!
//! A daemon built on `vhost-user-backend`, of any version, or in another language, takes the
//! memory that it is told of for the guest's. The relay is told of mappings by the front end, as
//! [`backend`](crate::backend) is, and tells the daemon of memory that lies at IOVAs: a region for
//! each range that is mapped (`VHOST_USER_SET_MEM_TABLE`). So the device's process has mapped what
//! the IOMMU maps, and nothing else.
//!
//! # What it guarantees, and what not
//! - Memory that is not mapped is not in the device's process, which cannot get it.
//! - An invalidation is acknowledged when the daemon has gone on after its new memory. By then a
//!   daemon of `vhost-user-backend` has called its device's `update_memory`. A device behind a
//!   `Mutex` or an `RwLock` (a `VhostUserBackendMut`) that accesses memory in `handle_event` only
//!   has ended its accesses by then, as that call needs the lock. A device that accesses memory in
//!   threads of its own may still be at it; that is not found out.
//! - Regions have no permissions: what is mapped for reading only may be written.
//! - There are at most [`MAX_REGIONS`] ranges, neighbours counted as one. An update beyond is
//!   refused, and the device fails when it accesses the range.
//! - There are no misses: models whose mappings are tables in guest memory, which do not tell of
//!   them, need [`backend`](crate::backend).

mod table;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{
    FrontendReq, VhostUserMemory, VhostUserProtocolFeatures as Protocol, VhostUserU64,
};
use virtio_bindings::virtio_config::VIRTIO_F_ACCESS_PLATFORM;

use crate::regions::take_table;
use crate::wire::{Connection, IotlbKind, IotlbMessage, Message, WireError};
use table::Table;

pub use table::MAX_REGIONS;

/// Between two looks at whether the daemon is still there.
const LOOK: Duration = Duration::from_millis(200);

const ACCESS_PLATFORM: u64 = 1 << VIRTIO_F_ACCESS_PLATFORM;

/// Features of the protocol that the relay has itself.
const OWN: Protocol = Protocol::REPLY_ACK.union(Protocol::BACKEND_REQ);

/// Features of the protocol of a daemon that go through the relay.
const PASSED: Protocol = Protocol::MQ
    .union(Protocol::CONFIG)
    .union(Protocol::RESET_DEVICE);

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The front end broke the protocol, or its connection failed.
    #[error("the front end failed: {0}")]
    FrontEnd(#[source] WireError),
    /// The daemon broke the protocol, did not answer in time, or ended.
    #[error("the device's daemon failed: {0}")]
    Daemon(#[source] WireError),
    /// The front end asked for what cannot be, and for no acknowledgement by which it could be
    /// told.
    #[error("the front end asks for what cannot be: {0}")]
    Refused(&'static str),
}

/// Relays one connection of a front end to a device's daemon, until the front end closes it.
///
/// # Errors
/// If it ended otherwise.
pub fn relay(
    front_end: UnixStream,
    daemon: UnixStream,
    timeout: Duration,
) -> Result<(), RelayError> {
    let mut relay = Relay {
        front_end: Connection::new(front_end),
        daemon: Connection::new(daemon),
        timeout,
        table: Table::default(),
        features: 0,
        agreed: Protocol::empty(),
        translated: false,
        upstream: None,
    };
    loop {
        match relay.front_end.receive(Some(Instant::now() + LOOK)) {
            Ok(message) => relay.handle(message)?,
            Err(WireError::TimedOut) => relay.look()?,
            Err(WireError::Closed) => return Ok(()),
            Err(error) => return Err(RelayError::FrontEnd(error)),
        }
    }
}

struct Relay {
    front_end: Connection,
    daemon: Connection,
    timeout: Duration,
    table: Table,
    /// What the device offers.
    features: u64,
    agreed: Protocol,
    translated: bool,
    /// The channel for misses, of which there are none; kept open.
    upstream: Option<UnixStream>,
}

/// What comes of a request.
enum Outcome {
    /// Nothing that has a reply of its own.
    Done,
    /// A reply of its own.
    Reply(Message),
}

impl Relay {
    /// Finds out whether the daemon has ended.
    fn look(&mut self) -> Result<(), RelayError> {
        match self.daemon.try_receive().map_err(RelayError::Daemon)? {
            None => Ok(()),
            Some(message) => Err(RelayError::Daemon(message.malformed())),
        }
    }

    fn handle(&mut self, mut message: Message) -> Result<(), RelayError> {
        let request = message.request;
        if message.is_reply {
            return Err(RelayError::FrontEnd(message.malformed()));
        }
        let acknowledged = message.needs_reply && self.agreed.contains(Protocol::REPLY_ACK);
        message.needs_reply = false;
        let reply = match self.request(&mut message) {
            Ok(Outcome::Reply(reply)) => Some(reply),
            Ok(Outcome::Done) => {
                // Done is what the daemon has done.
                if acknowledged {
                    self.barrier()?;
                }
                acknowledged.then(|| Message::acknowledgement(request, true))
            }
            Err(RelayError::Refused(why)) if acknowledged => {
                tracing::warn!("refused: {why}");
                Some(Message::acknowledgement(request, false))
            }
            Err(error) => return Err(error),
        };
        let deadline = Some(Instant::now() + self.timeout);
        reply.map_or(Ok(()), |reply| {
            let sent = self.front_end.send(&reply, &[], deadline);
            sent.map_err(RelayError::FrontEnd)
        })
    }

    fn request(&mut self, message: &mut Message) -> Result<Outcome, RelayError> {
        let request = FrontendReq::try_from(message.request);
        let request = request.map_err(|_| RelayError::Refused("an unknown request"))?;
        let number =
            |number: u64| Outcome::Reply(Message::reply(request).with(&VhostUserU64::new(number)));
        Ok(match request {
            FrontendReq::GET_FEATURES => {
                self.features = self.number(request)? | ACCESS_PLATFORM;
                number(self.features)
            }
            FrontendReq::SET_FEATURES => {
                let features = message.number().map_err(RelayError::FrontEnd)?;
                self.translated = features & ACCESS_PLATFORM != 0;
                self.send_number(request, features & !ACCESS_PLATFORM)?;
                self.tell_memory()?
            }
            FrontendReq::GET_PROTOCOL_FEATURES => {
                let offered = Protocol::from_bits_truncate(self.number(request)?);
                number((offered & PASSED | OWN).bits())
            }
            FrontendReq::SET_PROTOCOL_FEATURES => {
                let agreed = message.number().map_err(RelayError::FrontEnd)?;
                let agreed =
                    Protocol::from_bits(agreed).filter(|all| (PASSED | OWN).contains(*all));
                self.agreed = agreed.ok_or(RelayError::Refused("unknown protocol features"))?;
                self.send_number(request, (self.agreed & PASSED).bits())?
            }
            FrontendReq::SET_MEM_TABLE => self.set_memory(message)?,
            FrontendReq::IOTLB_MSG => {
                let about = IotlbMessage::from_frontend(message).map_err(RelayError::FrontEnd)?;
                self.about_iotlb(&about)?
            }
            FrontendReq::SET_BACKEND_REQ_FD => {
                let fd = message.take_fd().map_err(RelayError::FrontEnd)?;
                self.upstream = Some(UnixStream::from(fd));
                Outcome::Done
            }
            FrontendReq::GET_QUEUE_NUM | FrontendReq::GET_VRING_BASE | FrontendReq::GET_CONFIG => {
                Outcome::Reply(self.ask(message)?)
            }
            FrontendReq::SET_OWNER
            | FrontendReq::RESET_OWNER
            | FrontendReq::RESET_DEVICE
            | FrontendReq::SET_VRING_NUM
            | FrontendReq::SET_VRING_ADDR
            | FrontendReq::SET_VRING_BASE
            | FrontendReq::SET_VRING_KICK
            | FrontendReq::SET_VRING_CALL
            | FrontendReq::SET_VRING_ERR
            | FrontendReq::SET_VRING_ENABLE
            | FrontendReq::SET_CONFIG => self.pass(message)?,
            _ => return Err(RelayError::Refused("a request that the relay has not")),
        })
    }

    /// Sends a message to the daemon.
    fn send(&mut self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), RelayError> {
        let deadline = Some(Instant::now() + self.timeout);
        let sent = self.daemon.send(message, fds, deadline);
        sent.map_err(RelayError::Daemon)
    }

    /// Has the daemon do what the front end asks.
    fn pass(&mut self, message: &Message) -> Result<Outcome, RelayError> {
        let fds: Vec<_> = message.fds.iter().map(AsFd::as_fd).collect();
        self.send(message, &fds)?;
        Ok(Outcome::Done)
    }

    fn send_number(&mut self, request: FrontendReq, number: u64) -> Result<Outcome, RelayError> {
        let message = Message::request(request).with(&VhostUserU64::new(number));
        self.pass(&message)
    }

    /// Returns the daemon's answer.
    fn ask(&mut self, message: &Message) -> Result<Message, RelayError> {
        self.send(message, &[])?;
        let deadline = Some(Instant::now() + self.timeout);
        let reply = self.daemon.receive(deadline).map_err(RelayError::Daemon)?;
        let (expected, got) = (message.request, reply.request);
        if !reply.is_reply || got != expected || !reply.fds.is_empty() {
            return Err(RelayError::Daemon(WireError::Unexpected { expected, got }));
        }
        Ok(reply)
    }

    fn number(&mut self, request: FrontendReq) -> Result<u64, RelayError> {
        let reply = self.ask(&Message::request(request))?;
        reply.number().map_err(RelayError::Daemon)
    }

    /// Waits until the daemon has done what it was told. Few acknowledge anything; all answer this,
    /// and after what was before it.
    fn barrier(&mut self) -> Result<(), RelayError> {
        self.number(FrontendReq::GET_FEATURES).map(|_| ())
    }

    fn set_memory(&mut self, message: &mut Message) -> Result<Outcome, RelayError> {
        let regions = take_table(message).map_err(RelayError::FrontEnd)?;
        let set = self.table.set_memory(regions);
        set.map_err(RelayError::Refused)?;
        self.tell_memory()
    }

    fn about_iotlb(&mut self, about: &IotlbMessage) -> Result<Outcome, RelayError> {
        let changed = match about.kind {
            IotlbKind::Update => self.table.update(about).map_err(RelayError::Refused)?,
            _ => self.table.invalidate(about),
        };
        match changed {
            true => self.tell_memory(),
            false => Ok(Outcome::Done),
        }
    }

    /// Tells the daemon what memory there is.
    fn tell_memory(&mut self) -> Result<Outcome, RelayError> {
        if !self.table.has_memory() {
            return Ok(Outcome::Done);
        }
        let regions = self.table.regions(self.translated);
        let regions = regions.map_err(RelayError::Refused)?;
        let count = u32::try_from(regions.len()).unwrap_or(u32::MAX);
        let mut message =
            Message::request(FrontendReq::SET_MEM_TABLE).with(&VhostUserMemory::new(count));
        let mut fds = Vec::new();
        for (body, fd) in &regions {
            message = message.with(body);
            fds.push(fd.as_fd());
        }
        self.send(&message, &fds)?;
        // Waited for in any case: invalidations depend on it.
        self.barrier()?;
        Ok(Outcome::Done)
    }
}
