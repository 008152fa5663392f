//! The interrupt controller of a machine, and the lines to it.

use std::sync::Arc;

use vmm_base::Interrupt;
use vmm_devices::irq::{Gic, IrqLine};

use super::entry::Irq;
use super::error::Error;
use crate::vcpu::kvm;

/// The controller that brings interrupts to the cores.
#[derive(Clone, Debug)]
pub(super) enum Controller {
    /// The emulated GICv2.
    Emulated(Arc<Gic>),
    /// The host's kernel, which has the controller of a machine of KVM.
    Kvm(Arc<kvm::Vm>),
}

impl Controller {
    /// Returns the line of a shared peripheral interrupt.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn line(&self, irq: Irq) -> Result<Arc<dyn Interrupt>, Error> {
        match self {
            Self::Emulated(gic) => Ok(Arc::new(IrqLine::new(Arc::clone(gic), irq.id()))),
            Self::Kvm(vm) => Ok(vm.line(irq)?),
        }
    }

    /// Returns the emulated controller, if it is one.
    pub const fn emulated(&self) -> Option<&Arc<Gic>> {
        match self {
            Self::Emulated(gic) => Some(gic),
            Self::Kvm(_) => None,
        }
    }

    /// Returns the machine of KVM that has the controller, if one does.
    pub const fn vm(&self) -> Option<&Arc<kvm::Vm>> {
        match self {
            Self::Emulated(_) => None,
            Self::Kvm(vm) => Some(vm),
        }
    }
}
