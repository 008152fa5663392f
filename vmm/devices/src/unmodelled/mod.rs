//! Devices that a board has and that are not modelled: all of their registers read as zero, and
//! ignore writes.

use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

/// A device whose registers read as zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unmodelled;

impl DeviceMmio for Unmodelled {
    fn mmio_read(&self, _base: MmioAddress, _offset: MmioAddressOffset, data: &mut [u8]) {
        data.fill(0);
    }

    fn mmio_write(&self, _base: MmioAddress, _offset: MmioAddressOffset, _data: &[u8]) {}
}
