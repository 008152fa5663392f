//! KVM on hosts that cannot have it: no value of [`Vm`] exists there.

use std::sync::Arc;

use arm32::Bus;
use vmm_base::{Interrupt, Waker, Width};
use vmm_devices::virtio::worker::Subscriber;
use vmm_sys_util::eventfd::EventFd;

use super::Vcpus;
use super::accel::{GicMap, KvmError, Platform};
use crate::entry::Irq;
use vmm_devices::ram::GuestRam;

/// A virtual machine of KVM.
#[derive(Debug)]
pub enum Vm {}

impl Vm {
    /// Returns an error, always: this host is no arm64 machine.
    ///
    /// # Errors
    /// [`KvmError::OtherHost`].
    pub fn open(_width: Width) -> Result<Self, KvmError> {
        Err(KvmError::OtherHost)
    }

    /// Returns what the machine is.
    pub fn platform(&self) -> Platform {
        match *self {}
    }

    /// Gives it memory, cores and an interrupt controller.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn populate(
        &mut self,
        _cpus: u8,
        _gic: &GicMap,
        _ram: Arc<GuestRam>,
        _waker: &Arc<Waker>,
    ) -> Result<(), KvmError> {
        match *self {}
    }

    /// Returns the line of an interrupt.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn line(&self, _irq: Irq) -> Result<Arc<dyn Interrupt>, KvmError> {
        match *self {}
    }

    /// Returns the lines, whose events the device thread must serve.
    pub fn subscribers(&self) -> Vec<Subscriber> {
        match *self {}
    }

    /// Makes a write of `value` to `addr` signal `event` instead of ending the core's run.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn signal_on_write(
        &self,
        _addr: u64,
        _value: u32,
        _event: &EventFd,
    ) -> Result<(), KvmError> {
        match *self {}
    }
}

/// Returns the machine's cores.
pub fn vcpus(vm: &Arc<Vm>, _bus: Arc<dyn Bus>, _waker: Arc<Waker>) -> Box<dyn Vcpus> {
    match **vm {}
}
