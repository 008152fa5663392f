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
        let words = |_: &Strike| format!(" (queue {queue})");
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
        let words = |strike: &Strike| match changed(buffers, strike) {
            Some((index, old, new)) if old.addr == new.addr => {
                format!(" (buffer {index}, {:#x} to {:#x} bytes)", old.len, new.len)
            }
            Some((index, old, new)) => {
                format!(" (buffer {index}, {:#x} to {:#x})", old.addr.0, new.addr.0)
            }
            None => String::new(),
        };
        let strike = self
            .injection
            .at(Where::Chain, &self.device, 32, |_| true, words);
        if let Some((index, _, new)) = strike.and_then(|strike| changed(buffers, &strike))
            && let Some(segment) = segments(buffers).nth(index)
        {
            *segment = new;
        }
    }

    /// The driver reads a register that shows `value`; what it sees.
    pub fn read_register(&self, name: &str, value: u32) -> u32 {
        self.injection
            .register_read(&self.device, name, value)
            .unwrap_or(value)
    }

    /// The driver writes `value` to a register; what it takes, if the write is not lost.
    pub fn write_register(&self, name: &str, value: u32) -> Option<u32> {
        self.injection
            .register_write(&self.device, name, value)
            .unwrap_or(Some(value))
    }

    /// A disk executes a request of this type.
    pub fn disk(&self, kind: u32, sector: u64) -> Option<Strike> {
        let words = |_: &Strike| format!(" (type {kind}, sector {sector})");
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

/// The parts of a request, those first that the device reads.
fn segments(buffers: &mut Buffers) -> impl Iterator<Item = &mut Segment> {
    buffers.readable.iter_mut().chain(&mut buffers.writable)
}

/// Which part of a request a fault changes, what it is and what it becomes.
fn changed(buffers: &Buffers, strike: &Strike) -> Option<(usize, Segment, Segment)> {
    let Buffers { readable, writable } = buffers;
    let count = (readable.len() + writable.len()) as u64;
    let index = strike.chosen.checked_rem(count)? as usize;
    let old = *readable.iter().chain(writable).nth(index)?;
    let Segment { addr, len } = old;
    let new = match strike.what {
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
    let last = u64::from(new.len).checked_sub(1)?;
    new.addr.0.checked_add(last)?;
    Some((index, old, new))
}
