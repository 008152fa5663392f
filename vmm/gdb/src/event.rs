//! What the session's thread hears of, from all sides.

use std::net::TcpStream;

use vmm_base::Reason;
use vmm_machine::vcpu::Stop;

/// The events that the session's thread receives.
pub(super) enum Event {
    /// Someone connected.
    Connected(TcpStream),
    /// Bytes from the connection of this number.
    Bytes(u64, Vec<u8>),
    /// That connection is gone.
    Closed(u64),
    /// The machine is halted at a stop (`None`: because it was asked to).
    Stopped {
        stop: Option<Stop>,
        /// The core whose turn it is.
        current: usize,
    },
    /// The run is over.
    Ended(Reason),
}
