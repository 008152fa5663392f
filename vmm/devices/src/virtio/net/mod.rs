//! The network interface (5.1): frames between two queues of the guest's and a peer.
//!
//! A frame is asked of the peer when there is room for it, so a guest that makes none holds up the
//! peer and fills nobody's memory.

mod receive;
mod spec;
#[cfg(test)]
mod tests;
mod transmit;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use vmm_base::Clock;
use vmm_faults::DeviceFaults;
use vmm_net::spec::{ETHERNET_HEADER, MAX_FRAME};
use vmm_net::{Peer, PeerState};

use super::waits::Waiting;
use super::{DeviceState, Due, Progress, QueueService, ServeError, VirtioDevice, WrongState};
use spec::{CONFIG_BYTES, FEATURES, QUEUE_SIZE, RECEIVE, TRANSMIT};

/// The activity of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSummary {
    /// Frames that the guest sent.
    pub sent: u64,
    /// Octets of these.
    pub sent_bytes: u64,
    /// Frames that the guest got.
    pub received: u64,
    /// Octets of these.
    pub received_bytes: u64,
    /// Frames of either way that were lost: they made no sense, or memory was out of reach.
    pub lost: u64,
}

/// The state of an interface and of what its cable leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetState {
    features: u64,
    /// The frame that the guest gets next.
    held: Option<Vec<u8>>,
    starved: bool,
    summary: NetSummary,
    peer: PeerState,
}

/// A network interface.
pub struct Net {
    peer: Box<dyn Peer>,
    clock: Arc<dyn Clock>,
    config: [u8; CONFIG_BYTES],
    faults: Option<DeviceFaults>,
    /// Those that the driver has accepted.
    features: u64,
    /// The frame that the guest gets next.
    held: Option<Vec<u8>>,
    /// Whether that frame waits for the guest to make room and say so.
    starved: bool,
    summary: NetSummary,
}

impl Net {
    /// Creates the interface of address `mac` with a cable to `peer`, which sees the time of
    /// `clock`.
    pub fn new(mac: [u8; 6], peer: Box<dyn Peer>, clock: Arc<dyn Clock>) -> Self {
        Self {
            peer,
            clock,
            config: spec::config(mac),
            faults: None,
            features: 0,
            held: None,
            starved: false,
            summary: NetSummary::default(),
        }
    }

    /// Has faults put in where it has fetched a chain.
    pub fn set_faults(&mut self, faults: DeviceFaults) {
        self.faults = Some(faults);
    }

    /// Asks the peer for a frame unless there is one.
    fn hold(&mut self) {
        if self.held.is_none() {
            self.held = self.peer.give(self.clock.now_ns());
        }
    }

    const fn is_mergeable(&self) -> bool {
        self.features & 1 << VIRTIO_NET_F_MRG_RXBUF != 0
    }
}

impl VirtioDevice for Net {
    fn id(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE; 2]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, features: u64) {
        self.features = features;
    }

    fn reset(&mut self) {
        self.features = 0;
        // The frame is lost, as on a cable that nobody listens at. The peer is a machine of its own
        // and goes on.
        self.held = None;
        self.starved = false;
    }

    fn reset_queue(&mut self, index: usize) {
        if index == RECEIVE {
            self.starved = false;
        }
    }

    fn process(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        match turn.index {
            RECEIVE => self.receive(turn),
            TRANSMIT => self.transmit(turn),
            _ => Ok(Progress::default()),
        }
    }

    fn set_waiting(&mut self, waiting: Waiting) {
        self.peer
            .set_notify(Box::new(move || waiting.notify(RECEIVE)));
    }

    fn due(&self) -> Option<Due> {
        // The guest's next notification goes on with this.
        if self.starved {
            return None;
        }
        let after_ns = match self.held {
            Some(_) => None,
            None => Some(self.peer.next_ns()?.saturating_sub(self.clock.now_ns())),
        };
        let queues = 1 << RECEIVE;
        Some(Due { after_ns, queues })
    }

    fn net_summary(&self) -> Option<NetSummary> {
        Some(self.summary)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Net(Box::new(NetState {
            features: self.features,
            held: self.held.clone(),
            starved: self.starved,
            summary: self.summary,
            peer: self.peer.save(),
        }))
    }

    fn restore(&mut self, saved: &DeviceState) -> Result<(), WrongState> {
        let DeviceState::Net(saved) = saved else {
            return Err(WrongState::Kind);
        };
        let NetState {
            features,
            held,
            starved,
            summary,
            peer,
        } = &**saved;
        let fits = |frame: &Vec<u8>| (ETHERNET_HEADER..=MAX_FRAME).contains(&frame.len());
        if !held.as_ref().is_none_or(fits) {
            return Err(WrongState::Frame);
        }
        // The last step that can fail.
        self.peer.restore(peer)?;
        self.features = *features;
        self.held.clone_from(held);
        self.starved = *starved;
        self.summary = *summary;
        Ok(())
    }
}
