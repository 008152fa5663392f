//! An injector for tests.

use std::sync::Mutex;

use super::{
    DescriptorFault, DescriptorRead, Flush, FlushFault, Injector, RegisterAccess, Translation,
};
use crate::FaultReason;
use crate::model::Miss;

/// Does what it is told to, at every point.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) translation: Mutex<Option<FaultReason>>,
    pub(crate) descriptor: Mutex<Option<DescriptorFault>>,
    pub(crate) flush: Mutex<Option<FlushFault>>,
    /// What reads of the register of this name give.
    pub(crate) read: Mutex<Option<(&'static str, u32)>>,
    pub(crate) write: Mutex<Option<WriteFault>>,
    /// The descriptors that were read: their values, and how many bits they have.
    seen: Mutex<Vec<(Option<u64>, u32)>>,
    /// The instance and context of the last invalidation.
    flushed: Mutex<Option<(String, usize)>>,
}

/// What becomes of writes of a register.
#[derive(Clone, Copy)]
pub(crate) struct WriteFault {
    pub(crate) register: &'static str,
    /// Which writes: of any value, if none is given.
    pub(crate) value: Option<u32>,
    /// What is written instead; without it, nothing.
    pub(crate) instead: Option<u32>,
}

impl Script {
    /// Has writes of a register be lost: of this value, or of any.
    pub(crate) fn lose(&self, register: &'static str, value: Option<u32>) {
        *self.write.lock().unwrap() = Some(WriteFault {
            register,
            value,
            instead: None,
        });
    }

    /// Returns the descriptors that were read since the last call.
    pub(crate) fn take_seen(&self) -> Vec<(Option<u64>, u32)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Returns the instance and the context of the last invalidation.
    pub(crate) fn flushed(&self) -> Option<(String, usize)> {
        self.flushed.lock().unwrap().clone()
    }
}

impl Injector for Script {
    fn translation(&self, _at: &Translation) -> Option<Miss> {
        let reason = *self.translation.lock().unwrap();
        reason.map(|reason| Miss {
            reason,
            level: Some(3),
        })
    }

    fn descriptor(&self, at: &DescriptorRead) -> Option<DescriptorFault> {
        self.seen.lock().unwrap().push((at.value, at.bits));
        *self.descriptor.lock().unwrap()
    }

    fn flush(&self, at: &Flush<'_>) -> Option<FlushFault> {
        *self.flushed.lock().unwrap() = Some((at.instance.to_owned(), at.context));
        *self.flush.lock().unwrap()
    }

    fn register_read(&self, at: &RegisterAccess<'_>) -> Option<u32> {
        let (register, value) = (*self.read.lock().unwrap())?;
        (at.register == register).then_some(value)
    }

    fn register_write(&self, at: &RegisterAccess<'_>) -> Option<Option<u32>> {
        let fault = (*self.write.lock().unwrap())?;
        let meant = fault.value.is_none_or(|value| value == at.value);
        (at.register == fault.register && meant).then_some(fault.instead)
    }
}
