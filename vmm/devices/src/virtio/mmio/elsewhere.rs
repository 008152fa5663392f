//! What a device tells its driver that has its queues served elsewhere.

use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_DRIVER_OK;
use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};

use super::VirtioMmio;
use crate::virtio::VirtioDevice;

impl VirtioMmio {
    /// Tells the driver that a device which serves its queues elsewhere has used buffers.
    pub fn buffers_used(&mut self) {
        // What comes late, after a reset, is of a driver that has no queues any more.
        if self.regs.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.raise(VIRTIO_MMIO_INT_VRING);
        }
    }

    /// Has `change` change the configuration space of the device, and tells the driver.
    pub fn change_config(&mut self, change: impl FnOnce(&mut dyn VirtioDevice)) {
        let before = self.device.config().to_vec();
        change(self.device.as_mut());
        if self.device.config() == before {
            return;
        }
        self.regs.config_generation = self.regs.config_generation.wrapping_add(1);
        if self.regs.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.raise(VIRTIO_MMIO_INT_CONFIG);
        }
    }
}
