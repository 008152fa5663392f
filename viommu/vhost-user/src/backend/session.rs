//! One front end, from its first message to its last.
//!
//! Two threads serve it. This one reads, never waits for the device, and sends replies in the order
//! of their requests; it does all that concerns memory. What concerns queues and the device, and
//! may have to wait for an access that waits for a translation, is left to the other.

mod commands;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{
    FrontendReq, VhostUserProtocolFeatures as Protocol, VhostUserSingleMemoryRegion, VhostUserU64,
    VhostUserVirtioFeatures, VhostUserVringAddr,
};
use viommu::vm_memory::GuestMemoryMmap;
use viommu::{Attachment, CacheConfig, EndpointId, Mapping, TranslationUnit, UnitConfig};
use virtio_bindings::virtio_config::VIRTIO_F_ACCESS_PLATFORM;

use super::iotlb::{DOMAIN, Iotlb};
use super::memory::{MAX_REGIONS, Regions};
use super::replies::{Replies, Until};
use super::{DaemonConfig, DaemonError, VhostUserBackend};
use crate::regions::take_table;
use crate::wire::{Connection, IotlbKind, IotlbMessage, Message, WireError};
use commands::{Command, Commands};

/// The device's endpoint.
const ENDPOINT: EndpointId = EndpointId(0);

/// Between two looks at replies that are due.
const PAUSE: Duration = Duration::from_micros(100);

/// Features of the protocol that the daemon has.
const OFFERED: Protocol = Protocol::MQ
    .union(Protocol::REPLY_ACK)
    .union(Protocol::BACKEND_REQ)
    .union(Protocol::CONFIGURE_MEM_SLOTS)
    .union(Protocol::RESET_DEVICE);

/// What a request comes to.
enum Outcome {
    /// Done, when that is over.
    Done(Until),
    /// Answered with a number.
    Number(u64),
    /// Left to the other thread; whether it has a reply of its own.
    Left(Command, bool),
}

struct Session {
    connection: Connection,
    config: DaemonConfig,
    regions: Regions,
    iotlb: Arc<Iotlb>,
    unit: Arc<TranslationUnit>,
    replies: Replies,
    commands: SyncSender<Command>,
    /// What is offered.
    features: u64,
    protocol: Protocol,
    queues: u64,
    /// What is agreed on.
    agreed: Protocol,
    translated: bool,
}

/// Serves a front end until the connection ends.
pub(super) fn serve<T: VhostUserBackend + 'static>(
    backend: &Arc<T>,
    config: DaemonConfig,
    stream: UnixStream,
) -> Result<(), DaemonError> {
    let iotlb = Arc::new(Iotlb::new(config.miss_timeout));
    let unit = TranslationUnit::with_cache(
        Arc::new(GuestMemoryMmap::new()),
        Arc::clone(&iotlb) as _,
        &UnitConfig::new(1, 1).with_initial(Attachment::Bypass),
        &CacheConfig::default(),
        None,
    );
    let another = stream.try_clone()?;
    let (commands, thread) = Commands::start(backend, &unit.space(ENDPOINT), another)?;
    let protocol = backend.protocol_features() & Protocol::CONFIG;
    let mut session = Session {
        connection: Connection::new(stream),
        config,
        regions: Regions::default(),
        iotlb,
        unit,
        replies: Replies::default(),
        commands,
        features: backend.features()
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
            | 1 << VIRTIO_F_ACCESS_PLATFORM,
        protocol: protocol | OFFERED,
        queues: backend.num_queues() as u64,
        agreed: Protocol::empty(),
        translated: false,
    };
    let ended = session.run();
    session.end();
    // With the queue of its commands, which ends the thread.
    drop(session);
    match thread.join() {
        Ok(Some(refused)) => Err(DaemonError::Refused(refused)),
        Ok(None) => ended,
        Err(_) => Err(std::io::Error::other("the device panicked").into()),
    }
}

impl Session {
    fn run(&mut self) -> Result<(), DaemonError> {
        loop {
            while let Some(reply) = self.replies.next() {
                let deadline = Instant::now() + self.config.reply_timeout;
                self.connection.send(&reply, &[], Some(deadline))?;
            }
            let pause = (!self.replies.is_empty()).then(|| Instant::now() + PAUSE);
            match self.connection.receive(pause) {
                Ok(message) => self.handle(message)?,
                Err(WireError::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Nothing reaches the front end's memory from now on.
    fn end(&mut self) {
        // Nobody waits for an answer any more.
        self.iotlb.misses.close();
        self.unit.attach(ENDPOINT, Attachment::Blocked);
        self.iotlb.clear();
        self.unit.invalidate_all();
        let mut change = self.unit.set_memory(Arc::new(GuestMemoryMmap::new()));
        let deadline = Instant::now() + self.config.reply_timeout;
        if !change.wait_until(|| Instant::now() > deadline) {
            tracing::error!("the device still accesses memory of a front end that has gone");
        }
    }

    fn handle(&mut self, mut message: Message) -> Result<(), DaemonError> {
        let request = message.request;
        if message.is_reply {
            return Err(message.malformed().into());
        }
        let acknowledged = message.needs_reply && self.agreed.contains(Protocol::REPLY_ACK);
        let outcome = match FrontendReq::try_from(request) {
            Ok(known) => self.request(known, &mut message),
            Err(_) => Err(DaemonError::Refused("an unknown request")),
        };
        match outcome {
            Ok(Outcome::Done(until)) if acknowledged => {
                let promise = self.replies.push(until)?;
                promise.keep(Message::acknowledgement(request, true));
            }
            Ok(Outcome::Done(_)) => {}
            Ok(Outcome::Number(number)) => {
                let reply = Message::reply(request).with(&VhostUserU64::new(number));
                self.replies.push(Until::Now)?.keep(reply);
            }
            Ok(Outcome::Left(mut command, has_reply)) => {
                if acknowledged || has_reply {
                    command.reply = Some(self.replies.push(std::mem::take(&mut command.until))?);
                }
                // It is gone only after a refusal, which has the connection end.
                let _ = self.commands.send(command);
            }
            Err(DaemonError::Refused(why)) if acknowledged => {
                tracing::warn!("refused: {why}");
                let promise = self.replies.push(Until::Now)?;
                promise.keep(Message::acknowledgement(request, false));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn request(
        &mut self,
        request: FrontendReq,
        message: &mut Message,
    ) -> Result<Outcome, DaemonError> {
        let takes_fds = matches!(
            request,
            FrontendReq::SET_MEM_TABLE
                | FrontendReq::ADD_MEM_REG
                | FrontendReq::REM_MEM_REG
                | FrontendReq::SET_BACKEND_REQ_FD
                | FrontendReq::SET_VRING_KICK
                | FrontendReq::SET_VRING_CALL
                | FrontendReq::SET_VRING_ERR
        );
        if !takes_fds && !message.fds.is_empty() {
            return Err(message.malformed().into());
        }
        Ok(match request {
            FrontendReq::GET_FEATURES => Outcome::Number(self.features),
            FrontendReq::GET_PROTOCOL_FEATURES => Outcome::Number(self.protocol.bits()),
            FrontendReq::GET_QUEUE_NUM => Outcome::Number(self.queues),
            FrontendReq::GET_MAX_MEM_SLOTS => Outcome::Number(MAX_REGIONS as u64),
            FrontendReq::SET_PROTOCOL_FEATURES => {
                let agreed = Protocol::from_bits(message.number()?);
                let agreed = agreed.filter(|agreed| self.protocol.contains(*agreed));
                self.agreed = agreed.ok_or(DaemonError::Refused("unknown protocol features"))?;
                Outcome::Done(Until::Now)
            }
            FrontendReq::SET_FEATURES => self.set_features(message)?,
            FrontendReq::SET_MEM_TABLE => self.set_memory(message)?,
            FrontendReq::ADD_MEM_REG | FrontendReq::REM_MEM_REG => {
                self.change_memory(request, message)?
            }
            FrontendReq::IOTLB_MSG => self.about_iotlb(&IotlbMessage::from_frontend(message)?)?,
            FrontendReq::SET_BACKEND_REQ_FD => {
                let stream = UnixStream::from(message.take_fd()?);
                let acknowledged = self.agreed.contains(Protocol::REPLY_ACK);
                self.iotlb.misses.open(stream, acknowledged)?;
                Outcome::Done(Until::Now)
            }
            FrontendReq::SET_VRING_ADDR => {
                let mut body: VhostUserVringAddr = message.body()?;
                self.translate_ring(&mut body)?;
                let message = Message::request(request).with(&body);
                Outcome::Left(Command::new(message), false)
            }
            FrontendReq::GET_VRING_BASE | FrontendReq::GET_CONFIG => {
                Outcome::Left(Command::new(std::mem::take(message)), true)
            }
            FrontendReq::SET_OWNER => Outcome::Done(Until::Now),
            FrontendReq::RESET_OWNER
            | FrontendReq::RESET_DEVICE
            | FrontendReq::SET_VRING_NUM
            | FrontendReq::SET_VRING_BASE
            | FrontendReq::SET_VRING_KICK
            | FrontendReq::SET_VRING_CALL
            | FrontendReq::SET_VRING_ERR
            | FrontendReq::SET_VRING_ENABLE
            | FrontendReq::SET_CONFIG => {
                Outcome::Left(Command::new(std::mem::take(message)), false)
            }
            _ => return Err(DaemonError::Refused("a request that this back end has not")),
        })
    }

    fn set_features(&mut self, message: &mut Message) -> Result<Outcome, DaemonError> {
        let features = message.number()?;
        if features & !self.features != 0 {
            return Err(DaemonError::Refused("features that are not offered"));
        }
        self.translated = features & (1 << VIRTIO_F_ACCESS_PLATFORM) != 0;
        let to = match self.translated {
            true => Attachment::Domain(DOMAIN),
            false => Attachment::Bypass,
        };
        self.unit.attach(ENDPOINT, to);
        let mut command = Command::new(std::mem::take(message));
        command.until = Until::Grace(self.unit.begin_grace_period());
        Ok(Outcome::Left(command, false))
    }

    fn set_memory(&mut self, message: &mut Message) -> Result<Outcome, DaemonError> {
        let regions = take_table(message)?;
        let memory = self
            .regions
            .replace(regions)
            .map_err(DaemonError::Refused)?;
        Ok(Outcome::Done(self.replace(memory, true)))
    }

    fn change_memory(
        &mut self,
        request: FrontendReq,
        message: &mut Message,
    ) -> Result<Outcome, DaemonError> {
        let body: VhostUserSingleMemoryRegion = message.body()?;
        let adds = request == FrontendReq::ADD_MEM_REG;
        let memory = match adds {
            true => self.regions.add(&body, message.take_fd()?),
            false => self.regions.remove(&body),
        };
        let memory = memory.map_err(DaemonError::Refused)?;
        Ok(Outcome::Done(self.replace(memory, !adds)))
    }

    /// Replaces guest memory. If some is gone, so is the IOTLB: what is there later may be of
    /// another file.
    fn replace(&mut self, memory: Arc<GuestMemoryMmap<()>>, forgets: bool) -> Until {
        if forgets {
            self.iotlb.clear();
            self.unit.invalidate_domain(DOMAIN);
        }
        Until::Memory(self.unit.set_memory(memory))
    }

    fn about_iotlb(&mut self, message: &IotlbMessage) -> Result<Outcome, DaemonError> {
        // Checked when it was read.
        let last = message
            .last()
            .ok_or(DaemonError::Refused("an empty range"))?;
        let first = message.iova;
        let changed = match message.kind {
            IotlbKind::Update => {
                let address = self.regions.translate(message.user_address, message.size);
                let address = address.ok_or(DaemonError::Refused("a mapping to no memory"))?;
                self.iotlb.update(Mapping {
                    first,
                    last,
                    address,
                    permissions: message.permissions,
                })
            }
            _ => {
                self.iotlb.invalidate(first, last);
                true
            }
        };
        if !changed {
            return Ok(Outcome::Done(Until::Now));
        }
        self.unit.invalidate_range(DOMAIN, first, last);
        Ok(Outcome::Done(Until::Grace(self.unit.begin_grace_period())))
    }

    /// Has the addresses of a queue be those that the device uses.
    fn translate_ring(&self, body: &mut VhostUserVringAddr) -> Result<(), DaemonError> {
        if self.translated {
            return Ok(());
        }
        let translate = |user: u64| {
            let address = self.regions.translate(user, 1);
            address.ok_or(DaemonError::Refused("a queue where no memory is"))
        };
        body.descriptor = translate(body.descriptor)?;
        body.available = translate(body.available)?;
        body.used = translate(body.used)?;
        Ok(())
    }
}
