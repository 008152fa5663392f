//! The interface between a network device and what its cable leads to.

use serde::{Deserialize, Serialize};

use crate::responder::ResponderState;

/// The other end of a cable. Frames are without their check sequence.
pub trait Peer: Send {
    /// Takes a frame that the guest sent at `now_ns`, in nanoseconds since power-on.
    fn take(&mut self, now_ns: u64, frame: &[u8]);

    /// Returns the next frame for the guest, of at most [`MAX_FRAME`](crate::spec::MAX_FRAME)
    /// octets, if there is one by `now_ns`.
    fn give(&mut self, now_ns: u64) -> Option<Vec<u8>>;

    /// Returns the time at which there may be a frame though the guest sends none, in nanoseconds
    /// since power-on.
    fn next_ns(&self) -> Option<u64>;

    /// Sets what the peer calls, on any thread, when it has a frame that it had not before and
    /// nobody has asked for.
    fn set_notify(&mut self, notify: Notify) {
        let _ = notify;
    }

    /// Returns its state, to be saved.
    fn save(&self) -> PeerState;

    /// Takes over what another peer of the kind was.
    ///
    /// # Errors
    /// It is of another kind, or cannot be this one's; then nothing changes.
    fn restore(&mut self, saved: &PeerState) -> Result<(), WrongPeer>;
}

/// Tells a network device that its peer has something for it.
pub type Notify = Box<dyn Fn() + Send + Sync>;

/// The state of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// The built-in one's.
    Responder(Box<ResponderState>),
    /// A user-mode network, whose connections are the host's and cannot be saved.
    User,
}

/// A saved state that does not fit a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongPeer {
    /// It is of another kind.
    #[error("the saved state of the network is of another kind of peer")]
    Kind,
    /// It has something that the peer cannot have.
    #[error("the saved state of the network peer has {0} that it cannot have")]
    Impossible(&'static str),
}
