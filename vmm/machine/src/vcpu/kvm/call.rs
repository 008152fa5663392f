//! Calls to KVM: their errors, and those that set an attribute of a device.

use std::io;

use kvm_bindings::kvm_device_attr;
use kvm_ioctls::DeviceFd;
use vmm_sys_util::errno;

use super::super::accel::KvmError;

/// An error of a call to KVM.
pub(super) fn failed(what: &'static str) -> impl Fn(errno::Error) -> KvmError {
    move |error| KvmError::Call {
        what,
        source: io::Error::from_raw_os_error(error.errno()),
    }
}

/// Sets an attribute whose value KVM reads from memory.
pub(super) fn set<T>(
    gic: &DeviceFd,
    group: u32,
    attr: impl Into<u64>,
    value: &T,
) -> Result<(), KvmError> {
    let attr = kvm_device_attr {
        flags: 0,
        group,
        attr: attr.into(),
        // KVM reads it before the call returns, so that the borrow lasts long enough.
        addr: std::ptr::from_ref(value) as u64,
    };
    gic.set_device_attr(&attr)
        .map_err(failed("set up its interrupt controller"))
}
