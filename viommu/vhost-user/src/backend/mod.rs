//! The device's process: a daemon for devices that access memory through a
//! [`DmaSpace`](viommu::DmaSpace).
//!
//! The traits have the names and methods of `vhost-user-backend` 0.24, and queues are its
//! [`VringRwLock`](vhost_user_backend::VringRwLock) and
//! [`VringMutex`](vhost_user_backend::VringMutex). What differs is the memory: there it is
//! `GuestMemoryAtomic<GuestMemoryMmap>`, all of the guest's; here it is a space in which a device
//! reaches only what its front end has mapped, when `VIRTIO_F_ACCESS_PLATFORM` is agreed on, and
//! all of the guest's memory otherwise. A device is ported by changing that type.
//!
//! ```text
//! device --DmaSpace--> cache --> IOTLB --MISS--> front end
//!                                  ^---UPDATE, INVALIDATE---/
//! ```
//!
//! An invalidation is acknowledged when the accesses that were under way have ended: what a device
//! does under a [pin](viommu::DmaSpace#pinning) is waited for. An access to what the IOTLB does not
//! have waits, under its pin, until the front end has answered, for at most
//! [`DaemonConfig::miss_timeout`]; then it fails.
//!
//! The front end is not trusted: its regions, sizes, offsets, queues and file descriptors are
//! checked. One that truncates the memory that it shared kills the process, as for any back end.

mod device;
mod iotlb;
mod memory;
mod misses;
mod replies;
mod rings;
mod session;
mod workers;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use device::{VhostUserBackend, VhostUserBackendMut};
pub(crate) use iotlb::Entries;
pub use workers::VringEpollHandler;

use crate::wire::WireError;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The front end broke the protocol, or the connection failed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The front end asked for something that cannot be, and for no acknowledgement by which it
    /// could be told.
    #[error("the front end asks for what cannot be: {0}")]
    Refused(&'static str),
    /// The process lacks threads, file descriptors or memory.
    #[error("the back end cannot start: {0}")]
    Io(#[from] io::Error),
}

/// Bounds of a daemon.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DaemonConfig {
    /// How long an access waits for the answer to a miss.
    pub miss_timeout: Duration,
    /// How long the front end may leave a reply unread.
    pub reply_timeout: Duration,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            miss_timeout: Duration::from_secs(1),
            reply_timeout: Duration::from_secs(10),
        }
    }
}

impl DaemonConfig {
    /// Sets how long an access waits for the answer to a miss.
    #[must_use]
    pub const fn with_miss_timeout(self, miss_timeout: Duration) -> Self {
        Self {
            miss_timeout,
            ..self
        }
    }
}

/// Serves front ends, one after the other, with one device.
#[derive(Debug)]
pub struct VhostUserDaemon<T> {
    backend: Arc<T>,
    config: DaemonConfig,
}

impl<T: VhostUserBackend + 'static> VhostUserDaemon<T> {
    /// Creates the daemon of a device.
    pub fn new(backend: Arc<T>, config: DaemonConfig) -> Self {
        Self { backend, config }
    }

    /// Serves a front end that is connected, until it closes the connection. Then nothing accesses
    /// its memory any more.
    ///
    /// # Errors
    /// If the connection ended otherwise. The device can be served anew.
    pub fn serve_stream(&self, stream: UnixStream) -> Result<(), DaemonError> {
        match session::serve(&self.backend, self.config, stream) {
            Err(DaemonError::Wire(WireError::Closed)) => Ok(()),
            ended => ended,
        }
    }

    /// Listens on a socket, and serves the first front end that connects, as
    /// [`serve_stream`](Self::serve_stream) does. A socket of that name that nobody listens on is
    /// replaced.
    ///
    /// # Errors
    /// If there can be no such socket, or the connection ended otherwise than by being closed.
    pub fn serve(&self, socket: impl AsRef<Path>) -> Result<(), DaemonError> {
        let socket = socket.as_ref();
        if UnixStream::connect(socket)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(socket)?;
        }
        let listener = UnixListener::bind(socket)?;
        let (stream, _) = listener.accept()?;
        drop(listener);
        let served = self.serve_stream(stream);
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(socket);
        served
    }
}
