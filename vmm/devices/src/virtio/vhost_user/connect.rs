//! Getting a connection to the process, and taking its measure.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, shutdown,
    socket_with,
};
use viommu_vhost_user::frontend::{
    BackendChannel, Frontend, Notice, Offer, Patience, ProtocolFeatures,
};
use virtio_bindings::virtio_config::VIRTIO_F_ACCESS_PLATFORM;

use super::event::Event;
use super::{ConnectError, Needs, REQUIRED, Shared};
use crate::ram::DmaSpace;

/// The longest wait for one reply: what a process may do for it, such as ending requests that were
/// begun, takes a disk's time.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection, and the thread that serves the process' requests on it.
pub(super) struct Connection {
    pub frontend: Frontend,
    pub offer: Offer,
    /// Ends with it.
    _requests: Option<Requests>,
}

/// The thread that serves the process' own requests.
struct Requests {
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whoever waits for it goes on.
        self.frontend.end();
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        // This ends the thread's wait.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Connects, and returns the connection with the configuration space.
    pub(super) fn connect(&self) -> Result<(Connection, Vec<u8>), ConnectError> {
        let description = &self.description;
        let stream = open(&description.socket).map_err(ConnectError::Absent)?;
        let stop = self.stop.clone();
        let patience = Patience {
            limit: LIMIT,
            give_up: Arc::new(move || stop.is_wanted()),
        };
        let frontend = Frontend::new(stream, patience)?;
        let offer = frontend.begin()?;
        self.check(&offer)?;
        let mut config = description.config.clone();
        let has = offer.protocol.contains(ProtocolFeatures::CONFIG);
        match description.asks {
            Some(_) if has => frontend.read_config(0, &mut config)?,
            Some(Needs::Config) => {
                return Err(ConnectError::Lacks("its configuration space (CONFIG)"));
            }
            Some(Needs::Nothing) | None => {}
        }
        self.patch(&mut config);
        let requests = match offer.protocol.contains(ProtocolFeatures::BACKEND_REQ) {
            true => Some(self.serve(frontend.open_channel()?)?),
            false => None,
        };
        let connection = Connection {
            frontend,
            offer,
            _requests: requests,
        };
        Ok((connection, config))
    }

    /// Puts in the configuration space what is this machine's to say.
    pub(super) fn patch(&self, config: &mut [u8]) {
        if let Some((at, bytes)) = self.description.patch
            && let Some(place) = config.get_mut(at..at + bytes.len())
        {
            place.copy_from_slice(&bytes);
        }
    }

    fn check(&self, offer: &Offer) -> Result<(), ConnectError> {
        if offer.features & REQUIRED != REQUIRED {
            return Err(ConnectError::Lacks("VIRTIO_F_VERSION_1"));
        }
        if self.translated {
            let has = |feature| offer.protocol.contains(feature);
            if offer.features & 1 << VIRTIO_F_ACCESS_PLATFORM == 0 {
                return Err(ConnectError::Untranslated("VIRTIO_F_ACCESS_PLATFORM"));
            }
            if !has(ProtocolFeatures::BACKEND_REQ) || !has(ProtocolFeatures::REPLY_ACK) {
                return Err(ConnectError::Untranslated("BACKEND_REQ and REPLY_ACK"));
            }
        }
        match offer.queues {
            Some(most) if most < self.description.queues.into() => Err(ConnectError::Queues(most)),
            _ => Ok(()),
        }
    }

    /// Makes a connection the one that there is.
    pub(super) fn install(&self, connection: Connection) {
        self.current.set(None);
        let before = self.connection().replace(connection);
        // Not under the lock: this waits for the old one's thread.
        drop(before);
    }

    /// Forgets the connection.
    pub(super) fn disconnect(&self) {
        self.current.set(None);
        let before = self.connection().take();
        drop(before);
    }

    /// Starts the thread that serves the process' own requests.
    fn serve(&self, channel: BackendChannel) -> io::Result<Requests> {
        let socket = channel.socket().try_clone_to_owned()?;
        let space = self.translated.then(|| self.space.clone());
        let notice = Arc::clone(&self.notice);
        let serve = move || serve(channel, space.as_ref(), &notice);
        let thread = vmm_base::thread::spawn("vhost-misses", serve)?;
        Ok(Requests {
            socket,
            thread: Some(thread),
        })
    }
}

/// Serves a process' own requests until its end of the socket is closed, or ours.
fn serve(mut channel: BackendChannel, space: Option<&DmaSpace>, notice: &Event) {
    loop {
        match channel.serve(space) {
            Ok(Some(Notice::ConfigChanged)) => notice.tell(),
            // A miss, which is answered, or what is refused.
            Ok(Some(_)) => {}
            Ok(None) => {
                let mut fds = [PollFd::from_borrowed_fd(channel.socket(), PollFlags::IN)];
                // An error of the wait shows in the next look.
                let _ = poll(&mut fds, None);
            }
            Err(why) => {
                tracing::info!("vhost-user: requests of a process are not served any more: {why}");
                return;
            }
        }
    }
}

/// Connects to the socket. Never waits: a process that takes no connection now is not there.
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
