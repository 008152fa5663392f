//! What devices do later.

use std::collections::BTreeMap;

use vm_memory::GuestAddress;

/// The most delayed actions that can wait: a plan that sets more than that is not served any
/// better.
const MAX_DELAYED: usize = 1024;

/// Something to be done at a time of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelayedAction {
    /// A device serves a virtqueue.
    Serve {
        /// The device.
        device: String,
        /// Which queue.
        queue: usize,
    },
    /// A device's interrupt line has this level, whatever the device says.
    Line {
        /// The device.
        device: String,
        /// Its level.
        level: bool,
    },
    /// A device's interrupt line is as the device says again.
    Release {
        /// The device.
        device: String,
    },
    /// A device accesses memory.
    Dma {
        /// The device.
        device: String,
        /// What it writes where.
        writes: Vec<(GuestAddress, Vec<u8>)>,
        /// What it reads: addresses and lengths.
        reads: Vec<(GuestAddress, u32)>,
    },
    /// The IOMMU that a device stands behind shows a status.
    Status {
        /// The device.
        device: String,
        /// IMSTR.
        status: u32,
    },
}

/// Delayed actions by their time, and those of one time in the order in which they were set.
#[derive(Clone, Debug, Default)]
pub struct DelayedActions {
    waiting: BTreeMap<(u64, u64), DelayedAction>,
    set: u64,
}

impl DelayedActions {
    /// Sets `alarm` to be due at `at` nanoseconds. One that is too many is dropped.
    pub fn set(&mut self, at: u64, alarm: DelayedAction) {
        if self.waiting.len() < MAX_DELAYED {
            // Makes the key unique: actions of one time must not replace each other.
            self.set += 1;
            self.waiting.insert((at, self.set), alarm);
        }
    }

    /// Returns when the next is due.
    pub fn next(&self) -> Option<u64> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Takes out those that are due by `now`.
    pub fn due(&mut self, now: u64) -> Vec<DelayedAction> {
        // Keys count actions, too, so that those of one time keep their order.
        let later = self.waiting.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut self.waiting, later)
            .into_values()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(queue: usize) -> DelayedAction {
        DelayedAction::Serve {
            device: "d".into(),
            queue,
        }
    }

    #[test]
    fn alarms_go_off_in_order_and_once() {
        let mut delayed = DelayedActions::default();
        assert_eq!(delayed.next(), None);
        for (at, queue) in [(20, 1), (10, 2), (20, 3), (30, 4)] {
            delayed.set(at, alarm(queue));
        }
        assert_eq!(delayed.next(), Some(10));
        assert_eq!(delayed.due(9), []);
        assert_eq!(delayed.due(20), [alarm(2), alarm(1), alarm(3)]);
        assert_eq!(delayed.next(), Some(30));
        assert_eq!(delayed.due(u64::MAX), [alarm(4)]);
        assert_eq!(delayed.due(u64::MAX), []);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut delayed = DelayedActions::default();
        (0..5_000).for_each(|at| delayed.set(at, alarm(0)));
        assert_eq!(delayed.due(u64::MAX).len(), MAX_DELAYED);
    }
}
