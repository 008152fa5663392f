//! Registers that are read and written wrongly, as a fault plan has it.

use virtio_bindings::virtio_mmio::*;

use super::{VIRTIO_MMIO_QUEUE_RESET, VirtioMmio};

impl VirtioMmio {
    /// Returns what the driver reads of a register that is `value`.
    pub(super) fn shown(&self, offset: u32, value: u32) -> u32 {
        match (&self.faults, name(offset)) {
            (Some(faults), Some(name)) => faults.read_register(name, value),
            _ => value,
        }
    }

    /// Returns what a register takes of `value`; nothing if the write is lost.
    pub(super) fn taken(&self, offset: u32, value: u32) -> Option<u32> {
        match (&self.faults, name(offset)) {
            (Some(faults), Some(name)) => faults.write_register(name, value),
            _ => Some(value),
        }
    }
}

/// Returns the name of a register (4.2.2), as plans have it.
fn name(offset: u32) -> Option<&'static str> {
    Some(match offset {
        VIRTIO_MMIO_MAGIC_VALUE => "MagicValue",
        VIRTIO_MMIO_VERSION => "Version",
        VIRTIO_MMIO_DEVICE_ID => "DeviceID",
        VIRTIO_MMIO_VENDOR_ID => "VendorID",
        VIRTIO_MMIO_DEVICE_FEATURES => "DeviceFeatures",
        VIRTIO_MMIO_DEVICE_FEATURES_SEL => "DeviceFeaturesSel",
        VIRTIO_MMIO_DRIVER_FEATURES => "DriverFeatures",
        VIRTIO_MMIO_DRIVER_FEATURES_SEL => "DriverFeaturesSel",
        VIRTIO_MMIO_QUEUE_SEL => "QueueSel",
        VIRTIO_MMIO_QUEUE_NUM_MAX => "QueueNumMax",
        VIRTIO_MMIO_QUEUE_NUM => "QueueNum",
        VIRTIO_MMIO_QUEUE_READY => "QueueReady",
        VIRTIO_MMIO_QUEUE_NOTIFY => "QueueNotify",
        VIRTIO_MMIO_INTERRUPT_STATUS => "InterruptStatus",
        VIRTIO_MMIO_INTERRUPT_ACK => "InterruptACK",
        VIRTIO_MMIO_STATUS => "Status",
        VIRTIO_MMIO_QUEUE_DESC_LOW => "QueueDescLow",
        VIRTIO_MMIO_QUEUE_DESC_HIGH => "QueueDescHigh",
        VIRTIO_MMIO_QUEUE_AVAIL_LOW => "QueueDriverLow",
        VIRTIO_MMIO_QUEUE_AVAIL_HIGH => "QueueDriverHigh",
        VIRTIO_MMIO_QUEUE_USED_LOW => "QueueDeviceLow",
        VIRTIO_MMIO_QUEUE_USED_HIGH => "QueueDeviceHigh",
        VIRTIO_MMIO_CONFIG_GENERATION => "ConfigGeneration",
        VIRTIO_MMIO_QUEUE_RESET => "QueueReset",
        // A register that does not exist is no fault point.
        _ => return None,
    })
}
