//! Interrupt lines by `irqfd` (Linux, Documentation/virt/kvm/api.rst, 4.75 KVM_IRQFD): whoever
//! raises one writes to an `EventFd`, and the host's kernel brings the interrupt to a core.
//!
//! A line that stays high while its cause lasts is *resampled*: KVM lowers it when the guest ends
//! the interrupt and writes to a second `EventFd`; the device thread, which is told, raises it
//! again if its cause is still there. When the cause goes away meanwhile, the line is lowered at
//! once, as a wire would be. So the device tree is the emulated machine's.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use event_manager::{EventOps, EventSet, EventSubscriber, Events};
use kvm_bindings::{
    KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_IRQ_ROUTING_IRQCHIP, KvmIrqRouting,
    kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_irqchip,
};
use kvm_ioctls::VmFd;
use vmm_base::{Interrupt, Waker, warn_guest};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::accel::KvmError;
use super::call::failed;
use crate::entry::Irq;
use crate::layout;

/// Makes the "global interrupt" of each number the shared peripheral interrupt of that number, of
/// `irqs` with the private ones.
///
/// # Errors
/// When KVM refuses.
pub(super) fn route(vm: &VmFd, irqs: u32) -> Result<(), KvmError> {
    // On Arm a pin counts shared interrupts from 0 (Linux, arch/arm64/kvm/vgic/vgic-irqfd.c).
    let entry = |spi| kvm_irq_routing_entry {
        gsi: spi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: kvm_irq_routing_entry__bindgen_ty_1 {
            irqchip: kvm_irq_routing_irqchip {
                irqchip: 0,
                pin: spi,
            },
        },
        ..kvm_irq_routing_entry::default()
    };
    let entries: Vec<_> = (0..irqs - layout::SPI_BASE).map(entry).collect();
    let routing = KvmIrqRouting::from_entries(&entries).map_err(|error| KvmError::Call {
        what: "list its interrupts",
        source: io::Error::other(format!("{error:?}")),
    })?;
    vm.set_gsi_routing(&routing)
        .map_err(failed("route its interrupts"))
}

/// A shared peripheral interrupt.
#[derive(Debug)]
pub(super) struct Line {
    vm: Arc<VmFd>,
    irq: Irq,
    /// Told of interrupts, so that a guest is not taken for dead that is about to be interrupted.
    waker: Arc<Waker>,
    raise: EventFd,
    /// KVM writes to it when the guest has ended the interrupt.
    ended: EventFd,
    high: Mutex<bool>,
}

impl Line {
    /// Creates a line that is low, to a controller that is set up.
    ///
    /// # Errors
    /// When KVM refuses, or the host has no file descriptors left.
    pub fn new(vm: &Arc<VmFd>, irq: Irq, waker: Arc<Waker>) -> Result<Self, KvmError> {
        // Nobody may wait: cores write to one of them, and the device thread reads
        // the other when it may be empty.
        let event = || {
            EventFd::new(EFD_NONBLOCK).map_err(|source| KvmError::Call {
                what: "make an event",
                source,
            })
        };
        let (raise, ended) = (event()?, event()?);
        vm.register_irqfd_with_resample(&raise, &ended, irq.spi)
            .map_err(failed("connect an interrupt"))?;
        Ok(Self {
            vm: Arc::clone(vm),
            irq,
            waker,
            raise,
            ended,
            high: Mutex::new(false),
        })
    }

    /// Returns the identifier of its interrupt.
    pub fn id(&self) -> u32 {
        self.irq.id()
    }

    /// Returns whether its cause is there.
    pub fn is_high(&self) -> bool {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        *self.high.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self) {
        // A counter that overflows means that the interrupt is already on its way.
        let _ = self.raise.write(1);
        // The run loop has nothing to do for it, but must not take the guest for dead.
        self.waker.note();
    }

    fn lower(&self) {
        // A write to an irqfd only raises. This call counts identifiers, private ones included.
        let irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | self.irq.id();
        if let Err(error) = self.vm.set_irq_line(irq, false) {
            warn_guest!("KVM does not take interrupt {}: {error}", self.irq.id());
        }
    }
}

impl Interrupt for Line {
    fn set(&self, level: bool) {
        // Held until KVM was told, so that changes by two threads reach it in their order.
        let mut high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        match (*high, level) {
            (false, true) => self.raise(),
            // KVM's thread may raise it after this: then the guest is interrupted for nothing, and
            // its end lowers it.
            (true, false) => self.lower(),
            _ => {}
        }
        *high = level;
    }
}

impl EventSubscriber for Line {
    fn process(&self, _events: Events, _ops: &mut EventOps) {
        // Before the look at the level: who raises it later than that does so itself.
        let _ = self.ended.read();
        let high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        if *high {
            self.raise();
        }
    }

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.ended, EventSet::IN)) {
            tracing::error!("the end of an interrupt cannot be waited for: {error}");
        }
    }
}
