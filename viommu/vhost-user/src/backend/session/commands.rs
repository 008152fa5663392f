//! What concerns queues and the device, in a thread that may wait for the device.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use vhost::vhost_user::VhostUserVirtioFeatures;
use vhost::vhost_user::message::{
    FrontendReq, VHOST_USER_CONFIG_SIZE, VhostUserConfig, VhostUserVringAddr, VhostUserVringState,
};
use viommu::DmaSpace;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;

use super::super::VhostUserBackend;
use super::super::replies::{Promise, Until};
use super::super::rings::Rings;
use crate::wire::{Message, WireError};

/// Requests that wait for the device before their front end does.
const QUEUED: usize = 64;

/// The bit that says that no file descriptor comes with the index of a queue.
const NO_FD: u64 = 1 << 8;

/// A request.
pub(super) struct Command {
    message: Message,
    /// Where its reply goes, if it has one.
    pub reply: Option<Promise>,
    /// What has to be over before that.
    pub until: Until,
}

impl Command {
    pub fn new(message: Message) -> Self {
        Self {
            message,
            reply: None,
            until: Until::Now,
        }
    }
}

/// Why a request is refused.
enum Refusal {
    Why(&'static str),
    /// It is no such request.
    Malformed(WireError),
}

impl From<&'static str> for Refusal {
    fn from(why: &'static str) -> Self {
        Self::Why(why)
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Malformed(error)
    }
}

/// The thread.
pub(super) struct Commands<T: VhostUserBackend> {
    backend: Arc<T>,
    rings: Rings<T>,
}

impl<T: VhostUserBackend + 'static> Commands<T> {
    /// Starts the thread, which ends with its queue, or when it refuses what it cannot say it
    /// refuses: it returns why, and has the connection end.
    pub fn start(
        backend: &Arc<T>,
        memory: &DmaSpace,
        stream: UnixStream,
    ) -> io::Result<(SyncSender<Command>, JoinHandle<Option<&'static str>>)> {
        backend.update_memory(memory.clone())?;
        let this = Self {
            backend: Arc::clone(backend),
            rings: Rings::new(backend, memory)?,
        };
        let (sender, receiver) = sync_channel(QUEUED);
        let thread = thread::Builder::new().name("vhost-user requests".to_owned());
        let thread = thread.spawn(move || {
            let refused = this.run(&receiver);
            if refused.is_some() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            refused
        })?;
        Ok((sender, thread))
    }

    fn run(mut self, commands: &Receiver<Command>) -> Option<&'static str> {
        while let Ok(Command { message, reply, .. }) = commands.recv() {
            let request = message.request;
            let outcome = self.execute(message);
            match (outcome, reply) {
                (Ok(Some(answer)), Some(reply)) => reply.keep(answer),
                (Ok(None), Some(reply)) => reply.keep(Message::acknowledgement(request, true)),
                (Ok(_), None) => {}
                (Err(Refusal::Malformed(error)), _) => {
                    tracing::warn!("{error}");
                    return Some("a message whose contents do not fit it");
                }
                (Err(Refusal::Why(why)), Some(reply)) if has_acknowledgement(request) => {
                    tracing::warn!("refused: {why}");
                    reply.keep(Message::acknowledgement(request, false));
                }
                (Err(Refusal::Why(why)), _) => return Some(why),
            }
        }
        // Nobody is told whether a queue can be stopped.
        let _ = self.rings.for_each(|rings, index| {
            let _ = rings.stop(index);
            Ok(())
        });
        None
    }

    /// Executes a request; returns its reply if it has one of its own.
    fn execute(&mut self, mut message: Message) -> Result<Option<Message>, Refusal> {
        let request = FrontendReq::try_from(message.request);
        let request = request.map_err(|_| Refusal::Malformed(message.malformed()))?;
        match request {
            FrontendReq::SET_FEATURES => self.set_features(message.number()?)?,
            FrontendReq::RESET_OWNER | FrontendReq::RESET_DEVICE => {
                self.rings
                    .for_each(|rings, index| rings.enable(index, false))?;
                self.backend.reset_device();
            }
            FrontendReq::SET_VRING_NUM => {
                let state: VhostUserVringState = message.body()?;
                self.rings.set_size(state.index, state.num)?;
            }
            FrontendReq::SET_VRING_BASE => {
                let state: VhostUserVringState = message.body()?;
                self.rings.set_next(state.index, state.num)?;
            }
            FrontendReq::SET_VRING_ADDR => {
                let body: VhostUserVringAddr = message.body()?;
                self.rings.set_addresses(&body)?;
            }
            FrontendReq::SET_VRING_ENABLE => {
                let state: VhostUserVringState = message.body()?;
                self.rings.enable(state.index, state.num != 0)?;
            }
            FrontendReq::GET_VRING_BASE => {
                let state: VhostUserVringState = message.body()?;
                let next = self.rings.stop(state.index)?;
                let state = VhostUserVringState::new(state.index, next.into());
                return Ok(Some(Message::reply(request).with(&state)));
            }
            FrontendReq::GET_CONFIG => return self.get_config(&message).map(Some),
            FrontendReq::SET_CONFIG => self.set_config(&message)?,
            _ => self.set_event(request, &mut message)?,
        }
        Ok(None)
    }

    fn set_features(&mut self, features: u64) -> Result<(), Refusal> {
        let event_idx = features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0;
        self.rings.set_event_idx(event_idx);
        self.backend.acked_features(features);
        // Without this feature queues begin enabled ("Ring states").
        if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
            self.rings
                .for_each(|rings, index| rings.enable(index, true))?;
        }
        Ok(())
    }

    fn set_event(&mut self, request: FrontendReq, message: &mut Message) -> Result<(), Refusal> {
        let body = message.number()?;
        let has_fd = body & NO_FD == 0;
        let fd = has_fd.then(|| message.take_fd()).transpose()?;
        // What is left came with a message that says that there is none.
        if body > 0x1ff || !message.fds.is_empty() {
            return Err(message.malformed().into());
        }
        let index = u32::try_from(body & 0xff).unwrap_or(u32::MAX);
        match request {
            FrontendReq::SET_VRING_KICK => self.rings.set_kick(index, fd)?,
            FrontendReq::SET_VRING_CALL => self.rings.set_call(index, fd)?,
            FrontendReq::SET_VRING_ERR => self.rings.set_err(index, fd)?,
            _ => return Err(message.malformed().into()),
        }
        Ok(())
    }

    /// Returns a part of the configuration space, and what it is to hold.
    fn config(message: &Message) -> Result<(VhostUserConfig, &[u8]), Refusal> {
        let (header, contents) = message.split_body::<VhostUserConfig>()?;
        let size = header.size;
        let end = header.offset.checked_add(size);
        let fits = end.is_some_and(|end| size > 0 && end <= VHOST_USER_CONFIG_SIZE);
        if !fits || contents.len() as u64 != u64::from(size) {
            return Err(message.malformed().into());
        }
        Ok((header, contents))
    }

    fn get_config(&self, message: &Message) -> Result<Message, Refusal> {
        let (header, asked) = Self::config(message)?;
        let contents = self.backend.get_config(header.offset, header.size);
        let mut reply = Message::reply(message.request);
        // Without a payload it says that there is no such thing.
        if contents.len() == asked.len() {
            reply = reply.with(&header);
            reply.payload.extend_from_slice(&contents);
        }
        Ok(reply)
    }

    fn set_config(&self, message: &Message) -> Result<(), Refusal> {
        let (header, contents) = Self::config(message)?;
        let set = self.backend.set_config(header.offset, contents);
        Ok(set.map_err(|_| "the device takes no such configuration")?)
    }
}

/// Returns whether a request has no reply of its own, so that it can be refused.
fn has_acknowledgement(request: u32) -> bool {
    let asks = [FrontendReq::GET_VRING_BASE, FrontendReq::GET_CONFIG];
    !asks.iter().any(|one| u32::from(*one) == request)
}
