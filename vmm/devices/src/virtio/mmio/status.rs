//! The life of a device as its status register tells it (2.1, 3.1.1).

use virtio_bindings::virtio_config::*;
use virtio_queue::QueueT;
use vmm_base::warn_guest;

use super::{Registers, VirtioMmio, bit};

impl VirtioMmio {
    /// Writes a word of the features that the driver accepts, which it may do between setting
    /// DRIVER and FEATURES_OK (3.1.1).
    pub(super) fn set_driver_features(&mut self, value: u32) {
        let regs = &mut self.regs;
        let open = VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
        if regs.status & open != VIRTIO_CONFIG_S_DRIVER {
            warn_guest!(
                "virtio-mmio: features accepted at status {:#x}: ignored",
                regs.status
            );
            return;
        }
        let value = u64::from(value);
        match regs.driver_features_sel {
            0 => regs.driver_features = regs.driver_features & !0xffff_ffff | value,
            1 => regs.driver_features = regs.driver_features & 0xffff_ffff | value << 32,
            // Bits that nobody has defined: accepting none of them is fine.
            _ if value == 0 => {}
            select => {
                warn_guest!("virtio-mmio: features {value:#x} accepted in word {select}: ignored")
            }
        }
    }

    /// Writes the status. Zero resets; otherwise bits are only ever added, in their order.
    pub(super) fn set_status(&mut self, value: u32) {
        if value == 0 {
            self.reset();
            return;
        }
        let status = self.regs.status;
        // The driver writes back what it read, so the device's own bit may come with it but not be
        // set by it.
        let added = value & !status & !VIRTIO_CONFIG_S_NEEDS_RESET;
        let known = VIRTIO_CONFIG_S_ACKNOWLEDGE
            | VIRTIO_CONFIG_S_DRIVER
            | VIRTIO_CONFIG_S_DRIVER_OK
            | VIRTIO_CONFIG_S_FEATURES_OK
            | VIRTIO_CONFIG_S_FAILED;
        let cleared = status & !value & !VIRTIO_CONFIG_S_NEEDS_RESET;
        if cleared != 0 || added & !known != 0 || !in_order(status | added) {
            warn_guest!("virtio-mmio: status {status:#x} changed to {value:#x}: ignored");
            return;
        }
        // Those two have conditions or effects, and follow one after the other.
        self.regs.status |= added & !(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
        if added & VIRTIO_CONFIG_S_FEATURES_OK != 0 {
            // The driver reads the status back and gives up if the bit is not set (3.1.1).
            if !self.acceptable() {
                let features = self.regs.driver_features;
                warn_guest!(
                    "virtio-mmio: driver accepts features {features:#x} of {:#x}: refused",
                    self.offered()
                );
                return;
            }
            self.regs.status |= VIRTIO_CONFIG_S_FEATURES_OK;
        }
        if added & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.regs.status |= VIRTIO_CONFIG_S_DRIVER_OK;
            // After the bit: the device is live when it is activated.
            self.device.start(self.regs.driver_features, &self.queues);
        }
    }

    /// Returns whether the driver's features are among those offered, and include those that are
    /// required.
    fn acceptable(&self) -> bool {
        let accepted = self.regs.driver_features;
        let offered = self.offered();
        // Without ACCESS_PLATFORM a driver would hand out physical addresses, which an IOMMU does
        // not know.
        let required = (bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_F_ACCESS_PLATFORM)) & offered;
        accepted & !offered == 0 && accepted & required == required
    }

    /// Resets the transport and the device to the state of power-on.
    pub(super) fn reset(&mut self) {
        self.regs = Registers {
            // Kept, so that a value seen before the reset does not come again for other contents.
            config_generation: self.regs.config_generation,
            ..Registers::default()
        };
        self.device.reset();
        self.queues.iter_mut().for_each(QueueT::reset);
        self.set_deferred(None);
        self.alarm = None;
        // A kick on its way would find no live queue.
        self.take_kicks_back();
        self.interrupt.set(false);
    }
}

/// Returns whether every bit of `status` has those that come before it.
const fn in_order(status: u32) -> bool {
    let needs = [
        (VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_ACKNOWLEDGE),
        (VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER),
        (VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK),
    ];
    // By index, since iterators cannot be used in a const function.
    let mut i = 0;
    while i < needs.len() {
        if status & needs[i].0 != 0 && status & needs[i].1 == 0 {
            return false;
        }
        i += 1;
    }
    true
}
