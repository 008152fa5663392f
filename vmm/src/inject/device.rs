//! A device's points, brought to the plan.

use std::sync::Arc;

use vm_memory::GuestAddress;

use super::alarm::Alarm;
use super::engine::{Injection, Strike};
use super::spec::{What, Where};
use crate::devices::virtio::{Buffers, Segment};

/// Most bytes of one request that a device accesses later.
pub const MAX_LATER: usize = 1 << 20;

/// The points of one device.
#[derive(Clone)]
pub struct DeviceFaults {
    injection: Arc<Injection>,
    device: String,
}

impl DeviceFaults {
    /// Those of `device`.
    pub fn new(injection: &Arc<Injection>, device: &str) -> Self {
        Self {
            injection: Arc::clone(injection),
            device: device.into(),
        }
    }

    /// The guest has notified the device of a queue. A late one is seen to here.
    pub fn queue(&self, queue: usize) -> Option<What> {
        let words = || format!(" (queue {queue})");
        let strike = self
            .injection
            .at(Where::Queue, &self.device, 1, |_| true, words)?;
        if strike.what == What::Late {
            let alarm = Alarm::Serve {
                device: self.device.clone(),
                queue,
            };
            self.injection.later(strike.delay_ns, alarm);
        }
        Some(strike.what)
    }

    /// The device has fetched a request's descriptors, which may come to be others.
    pub fn chain(&self, buffers: &mut Buffers) {
        let strike = self
            .injection
            .at(Where::Chain, &self.device, 32, |_| true, String::new);
        let Some(strike) = strike else {
            return;
        };
        let Buffers { readable, writable } = buffers;
        let count = (readable.len() + writable.len()) as u64;
        let chosen = strike.chosen.checked_rem(count).unwrap_or(0) as usize;
        let Some(segment) = readable.iter_mut().chain(writable).nth(chosen) else {
            return;
        };
        let Segment { addr, len } = *segment;
        let flipped = match strike.what {
            What::FlipAddress => Segment {
                addr: GuestAddress(addr.0 ^ strike.mask),
                len,
            },
            _ => Segment {
                addr,
                len: len ^ strike.mask as u32,
            },
        };
        // A device would refuse what wraps or is empty, as it does for a chain that the guest wrote so.
        let last = u64::from(flipped.len).checked_sub(1);
        if last.is_some_and(|last| flipped.addr.0.checked_add(last).is_some()) {
            *segment = flipped;
        }
    }

    /// A disk executes a request of this type.
    pub fn disk(&self, kind: u32, sector: u64) -> Option<Strike> {
        let words = || format!(" (type {kind}, sector {sector})");
        self.injection
            .at(Where::Disk, &self.device, 8, |_| true, words)
    }

    /// The device writes this, and reads that, later.
    pub fn access_later(
        &self,
        delay_ns: u64,
        writes: Vec<(GuestAddress, Vec<u8>)>,
        reads: Vec<(GuestAddress, u32)>,
    ) {
        let alarm = Alarm::Dma {
            device: self.device.clone(),
            writes,
            reads,
        };
        self.injection.later(delay_ns, alarm);
    }
}
