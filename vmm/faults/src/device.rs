//! A device's points, brought to the plan.

use std::sync::Arc;

use vm_memory::GuestAddress;

use super::delayed_action::DelayedAction;
use super::engine::{FaultAction, Injection};
use super::spec::{ChainFault, DiskFault, QueueFault};

/// Most bytes of one request that a device accesses later.
pub const MAX_LATER: usize = 1 << 20;

/// The points of one device.
#[derive(Clone)]
pub struct DeviceFaults {
    injection: Arc<Injection>,
    device: String,
}

impl DeviceFaults {
    /// Creates the faults of `device`.
    pub fn new(injection: &Arc<Injection>, device: &str) -> Self {
        Self {
            injection: Arc::clone(injection),
            device: device.into(),
        }
    }

    /// Returns what strikes as the guest notifies the device of a queue. A late notification is set
    /// here.
    pub fn queue(&self, queue: usize) -> Option<QueueFault> {
        let words = |_: &FaultAction<QueueFault>| format!(" (queue {queue})");
        let action = self.injection.at(&self.device, 1, words)?;
        if let QueueFault::Late { delay } = action.fault {
            let alarm = DelayedAction::Serve {
                device: self.device.clone(),
                queue,
            };
            self.injection.later(delay.0, alarm);
        }
        Some(action.fault)
    }

    /// Returns which descriptor of a request that the device has fetched is to be another, if one
    /// is. `segments` are their addresses (IOVA) and lengths, those first that the device reads.
    pub fn chain(&self, segments: &[(GuestAddress, u32)]) -> Option<ChangedSegment> {
        let words = |action: &FaultAction<ChainFault>| match changed(segments, action) {
            Some(new) => {
                let (addr, len) = segments[new.index];
                match addr == new.addr {
                    true => format!(" (buffer {}, {len:#x} to {:#x} bytes)", new.index, new.len),
                    false => format!(
                        " (buffer {}, {:#x} to {:#x})",
                        new.index, addr.0, new.addr.0
                    ),
                }
            }
            None => String::new(),
        };
        let action = self.injection.at(&self.device, 32, words)?;
        // Once more than for the words: it depends on the action alone, so that both agree.
        changed(segments, &action)
    }

    /// Returns what the driver sees as it reads a register that shows `value`.
    pub fn read_register(&self, name: &str, value: u32) -> u32 {
        self.injection
            .register_read(&self.device, name, value)
            .unwrap_or(value)
    }

    /// Returns what a register takes as the driver writes `value` to it, if the write is not lost.
    pub fn write_register(&self, name: &str, value: u32) -> Option<u32> {
        self.injection
            .register_write(&self.device, name, value)
            .unwrap_or(Some(value))
    }

    /// Returns what strikes as a disk executes a request of this type.
    pub fn disk(&self, kind: u32, sector: u64) -> Option<FaultAction<DiskFault>> {
        let words = |_: &FaultAction<DiskFault>| format!(" (type {kind}, sector {sector})");
        self.injection.at(&self.device, 8, words)
    }

    /// Makes the device write this, and read that, later.
    pub fn access_later(
        &self,
        delay_ns: u64,
        writes: Vec<(GuestAddress, Vec<u8>)>,
        reads: Vec<(GuestAddress, u32)>,
    ) {
        let alarm = DelayedAction::Dma {
            device: self.device.clone(),
            writes,
            reads,
        };
        self.injection.later(delay_ns, alarm);
    }
}

/// Part of a request that a fault changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedSegment {
    /// Which.
    pub index: usize,
    /// Where it begins now (IOVA).
    pub addr: GuestAddress,
    /// Its length now, in bytes: at least 1, and it does not wrap around the address space.
    pub len: u32,
}

/// Returns which part of a request a fault changes, and what it becomes.
fn changed(
    segments: &[(GuestAddress, u32)],
    action: &FaultAction<ChainFault>,
) -> Option<ChangedSegment> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is below a number of segments"
    )]
    let index = action.chosen.checked_rem(segments.len() as u64)? as usize;
    let (addr, len) = *segments.get(index)?;
    let (addr, len) = match action.fault {
        ChainFault::FlipAddress { mask } => (GuestAddress(addr.0 ^ action.bits(mask)), len),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a length has 32 bits, of which the mask flips some"
        )]
        ChainFault::FlipLength { mask } => (addr, len ^ action.bits(mask) as u32),
    };
    // A device would refuse what wraps or is empty, as it does for a chain that the guest wrote so.
    let last = u64::from(len).checked_sub(1)?;
    addr.0.checked_add(last)?;
    Some(ChangedSegment { index, addr, len })
}
