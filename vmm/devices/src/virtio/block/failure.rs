//! Why a request fails.

use std::io;

use virtio_bindings::virtio_blk::*;
use vm_memory::GuestMemoryError;
use vmm_base::{Limiter, warn_guest};

use super::super::BufferError;

/// The reason for which a request fails; the guest sees only the status.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The request makes no sense.
    #[error("{0}")]
    Bad(&'static str),
    /// The device does not do that.
    #[error("requests of type {0:#x} are not supported")]
    Unsupported(u32),
    /// Guest memory is out of reach.
    #[error("{0}")]
    Memory(#[from] GuestMemoryError),
    /// The host's file.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The chain is too short.
    #[error("{0}")]
    Chain(#[from] BufferError),
}

impl Failure {
    /// Logs the failure: as an error of the host, which its user has to know of, or as the guest's
    /// own mistake.
    pub fn tell(&self) {
        static LIMITER: Limiter = Limiter::new();
        match self {
            Self::File(error) | Self::Memory(GuestMemoryError::IOError(error)) => {
                // A disk that fails may fail every request, and would fill the log.
                if let Some(times) = LIMITER.admit() {
                    tracing::error!(
                        times,
                        "the file of a disk: {error}; the guest gets an I/O error"
                    );
                }
            }
            _ => warn_guest!("virtio-blk: {self}"),
        }
    }

    /// The status byte that the guest sees.
    #[expect(clippy::cast_possible_truncation, reason = "the constants are bytes")]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Unsupported(_) => VIRTIO_BLK_S_UNSUPP as u8,
            // Also for a request that makes no sense: the specification has no better status.
            _ => VIRTIO_BLK_S_IOERR as u8,
        }
    }
}
