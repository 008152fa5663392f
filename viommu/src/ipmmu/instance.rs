//! The window of registers of one instance, and its uTLBs.

use std::fmt;

use vm_memory::GuestMemoryMmap;

use super::decode::{Register, decode};
use super::device::Ipmmu;
use super::event::IpmmuEvent;
use super::registers::{Context, Registers, Route, imuctr_mask};
use super::spec::{ContextRegister, IMUASID_MASK, Imuctr, UtlbRegister};
use crate::dma::DmaSpace;
use crate::fault::{DomainId, EndpointId};
use crate::inject::{Flush, FlushFault, Injected};
use crate::register_event::Ignored;
use crate::window::{self, RegisterFile};

/// How often one read of IMCTR looks, giving the processor away in between, whether a flush has
/// become complete. The guest polls it at most a hundred times (6.1, `TLB_LOOP_TIMEOUT`), which in
/// its own time may be over before the host has let a device's thread finish the piece of work that
/// the flush waits for.
const FLUSH_PATIENCE: u32 = 256;

/// One instance of an [`Ipmmu`]: a window of registers, and uTLBs.
pub struct Instance<M = GuestMemoryMmap<()>> {
    ipmmu: Ipmmu<M>,
    number: usize,
}

impl<M> Ipmmu<M> {
    /// Returns the instance of this number, in the order of the configuration.
    pub fn instance(&self, number: usize) -> Option<Instance<M>> {
        (number < self.shared.config.names.len()).then(|| Instance {
            ipmmu: self.clone(),
            number,
        })
    }

    /// Returns all instances, in the order of the configuration.
    pub fn instances(&self) -> impl Iterator<Item = Instance<M>> {
        (0..self.shared.config.names.len()).filter_map(|number| self.instance(number))
    }
}

impl<M> Clone for Instance<M> {
    fn clone(&self) -> Self {
        Self {
            ipmmu: self.ipmmu.clone(),
            number: self.number,
        }
    }
}

impl<M> fmt::Debug for Instance<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.name()).finish()
    }
}

impl<M> RegisterFile for Instance<M> {
    fn instance(&self) -> &str {
        self.name()
    }

    fn injected(&self) -> Option<&Injected> {
        self.ipmmu.shared.injected.as_ref()
    }

    fn register_name(&self, offset: u64) -> Option<&'static str> {
        Some(self.decode(&self.ipmmu.shared.registers(), offset)?.name())
    }

    fn read_word(&self, offset: u64) -> u32 {
        self.read_register(offset)
    }

    fn write_word(&self, offset: u64, value: u32) {
        self.write_register(offset, value);
    }

    fn ignore(&self, offset: u64, access: Ignored) {
        self.ipmmu.shared.ignore(self.number, offset, access);
    }
}

impl<M> Instance<M> {
    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.ipmmu.shared.config.names[self.number]
    }

    /// Returns whether it is the root, or the only instance: the one whose contexts translate.
    pub fn is_root(&self) -> bool {
        self.number == 0
    }

    /// Returns the number of its uTLBs.
    pub fn utlbs(&self) -> usize {
        self.ipmmu.shared.registers().instances[self.number]
            .utlbs
            .len()
    }

    /// Returns the memory that bus masters on a uTLB see; `None` if there is no such uTLB.
    pub fn space(&self, utlb: usize) -> Option<DmaSpace<M>> {
        self.endpoint(utlb)
            .map(|endpoint| self.ipmmu.unit.space(endpoint))
    }

    /// Returns the endpoint that observers of the translation path see for a uTLB; `None` if there
    /// is no such uTLB.
    pub fn endpoint(&self, utlb: usize) -> Option<EndpointId> {
        (utlb < self.utlbs()).then(|| self.ipmmu.shared.endpoint(self.number, utlb))
    }

    /// Reads `data` at `offset` in the window. Registers are words; any part of them may be read,
    /// and several.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        window::read(self, offset, data);
    }

    /// Writes `data` at `offset` in the window. Only whole words are written; anything else is
    /// ignored, as the write of something that is not modelled.
    pub fn write(&self, offset: u64, data: &[u8]) {
        window::write(self, offset, data);
    }

    /// Returns the register at `offset` in the window, if one is modelled there.
    fn decode(&self, registers: &Registers, offset: u64) -> Option<Register> {
        let utlbs = registers.instances[self.number].utlbs.len();
        decode(&self.ipmmu.shared.config.features, utlbs, offset)
    }

    fn read_register(&self, offset: u64) -> u32 {
        let shared = &self.ipmmu.shared;
        let registers = shared.registers();
        let register = self.decode(&registers, offset);
        let instance = &registers.instances[self.number];
        match register {
            Some(Register::Context(context, ContextRegister::Imctr)) => {
                // It locks the registers itself, anew for each look.
                drop(registers);
                self.read_imctr(context)
            }
            Some(Register::Context(context, register)) => {
                instance.contexts[context].state.get(register)
            }
            Some(Register::Utlb(utlb, UtlbRegister::Imuasid)) => instance.utlbs[utlb].state.imuasid,
            Some(Register::Utlb(utlb, UtlbRegister::Imuctr)) => {
                let mut registers = registers;
                let utlb = &mut registers.instances[self.number].utlbs[utlb];
                // One look is enough: the driver does not wait for a uTLB's flush.
                utlb.poll_flush();
                utlb.state.imuctr
            }
            None => {
                // `ignore` locks them itself.
                drop(registers);
                self.ignore(offset, Ignored::Read);
                0
            }
        }
    }

    /// Reads IMCTR; if a flush is under way, with some patience for its end. The registers are not
    /// locked meanwhile: devices need them in order to go on.
    fn read_imctr(&self, number: usize) -> u32 {
        let shared = &self.ipmmu.shared;
        let mut patience = FLUSH_PATIENCE;
        loop {
            let mut registers = shared.registers();
            let context = &mut registers.instances[self.number].contexts[number];
            // An injected fault holds the flush back. There is no waiting for it, as each read of
            // the guest counts.
            if context.held.is_some() && context.is_held() {
                return context.state.imctr;
            }
            let completed = context.poll_flush();
            let (value, flushing) = (context.state.imctr, context.flush.is_some());
            // Told under the lock, so that observers see events in the order of the register's
            // changes.
            if completed {
                shared.tell(self.number, IpmmuEvent::FlushComplete { context: number });
            }
            if !flushing || patience == 0 {
                return value;
            }
            drop(registers);
            // In this time the device's thread can finish the access that the flush waits for.
            patience -= 1;
            std::thread::yield_now();
        }
    }

    fn write_register(&self, offset: u64, value: u32) {
        let shared = &self.ipmmu.shared;
        let mut registers = shared.registers();
        match self.decode(&registers, offset) {
            Some(Register::Context(context, ContextRegister::Imctr)) => {
                self.write_imctr(&mut registers, context, value);
            }
            Some(Register::Context(context, register)) => {
                self.write_context(&mut registers, context, register, value);
            }
            Some(Register::Utlb(utlb, UtlbRegister::Imuctr)) => {
                self.write_imuctr(&mut registers, utlb, value);
            }
            Some(Register::Utlb(utlb, UtlbRegister::Imuasid)) => {
                registers.instances[self.number].utlbs[utlb].state.imuasid = value & IMUASID_MASK;
            }
            None => {
                drop(registers);
                self.ignore(offset, Ignored::Write(value));
            }
        }
    }

    /// Writes a register of a context other than IMCTR. Walks from now on see it; what is cached
    /// stays until a flush.
    fn write_context(
        &self,
        registers: &mut Registers,
        context: usize,
        register: ContextRegister,
        value: u32,
    ) {
        let shared = &self.ipmmu.shared;
        let state = &mut registers.instances[self.number].contexts[context].state;
        let old = *state;
        state.set(&shared.config.features, register, value);
        if state.table() != old.table() {
            let address = state.table();
            shared.tell(self.number, IpmmuEvent::Table { context, address });
        }
        if old.has_fault() && !state.has_fault() {
            shared.tell(self.number, IpmmuEvent::FaultCleared { context });
        }
        // The line falls when the last recorded fault is cleared.
        shared.update_interrupt(registers);
    }

    fn write_imctr(&self, registers: &mut Registers, number: usize, value: u32) {
        let (shared, unit) = (&self.ipmmu.shared, &self.ipmmu.unit);
        let Context { state, flush, .. } = &mut registers.instances[self.number].contexts[number];
        let old = state.imctr();
        state.set(&shared.config.features, ContextRegister::Imctr, value);
        let new = state.imctr();
        // A flush that is under way goes on.
        state.imctr = new.with_flush(new.flush() || flush.is_some()).into_bits();
        let context = number;
        if new.mmuen() != old.mmuen() {
            let event = if new.mmuen() {
                IpmmuEvent::ContextEnabled { context }
            } else {
                IpmmuEvent::ContextDisabled { context }
            };
            shared.tell(self.number, event);
            // Attachments have changed before the grace period begins, which so covers accesses by
            // the old ones too.
            self.ipmmu.attach_users(registers, self.number, number);
        }
        if new.flush() {
            shared.tell(self.number, IpmmuEvent::ContextFlush { context });
            let fault = self.injected().and_then(|injected| {
                injected.injector.flush(&Flush {
                    instance: self.name(),
                    context,
                })
            });
            // An ignored flush has no effect; the guest is told that it is complete.
            if fault != Some(FlushFault::Ignored) {
                // Before the grace period begins, which covers only what was forgotten by then.
                self.invalidate(number);
            }
            let context = &mut registers.instances[self.number].contexts[number];
            // A late or stuck flush has done its work: only its end is not shown.
            context.held = fault.filter(|fault| *fault != FlushFault::Ignored);
            // It ends no earlier than one that it takes the place of.
            context.flush = Some(unit.begin_grace_period());
            // Often nobody is pinned: then the guest sees the flush complete at its first look.
            context.poll_flush();
        }
        // A fault that is recorded already raises the line when INTEN is set.
        shared.update_interrupt(registers);
    }

    fn write_imuctr(&self, registers: &mut Registers, number: usize, value: u32) {
        let (shared, unit) = (&self.ipmmu.shared, &self.ipmmu.unit);
        let new = Imuctr::from_bits(value & imuctr_mask());
        let utlb = &mut registers.instances[self.number].utlbs[number];
        let old_route = utlb.route(&shared.config.features);
        // A flush that is under way goes on.
        let flushing = new.flush() || utlb.flush.is_some();
        utlb.state.imuctr = new.with_flush(flushing).into_bits();
        let route = utlb.route(&shared.config.features);
        self.tell_route(number, old_route, route, new.flush());
        // As for IMCTR: the attachment changes before the grace period begins.
        self.ipmmu.attach(registers, self.number, number);
        if new.flush() {
            // The cache is one for all uTLBs on a context: more is forgotten than was asked for,
            // which is allowed. The old context too, by which this uTLB was translated until now.
            for route in [Some(route), Some(old_route).filter(|&old| old != route)] {
                if let Some(Route::Context(context)) = route {
                    self.invalidate(context);
                }
            }
            let utlb = &mut registers.instances[self.number].utlbs[number];
            utlb.flush = Some(unit.begin_grace_period());
            utlb.poll_flush();
        }
    }

    /// Forgets what was translated through a context.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is one of a few contexts"
    )]
    fn invalidate(&self, context: usize) {
        let domain = DomainId(context as u32);
        // Where faults can be injected, this buffer stands in for the cache.
        if let Some(injected) = self.injected() {
            injected.forget(domain, 0, u64::MAX);
        }
        // What the model answers from now on counts as new, so that its buffer comes first.
        self.ipmmu.unit.invalidate_domain(domain);
    }

    /// Makes a context show a status without a cause: IMSTR and the error address become these,
    /// whatever they were, and the interrupt follows if the status has a flag that raises it. A
    /// context that does not exist is ignored.
    ///
    /// For injected faults: broken hardware does this.
    #[expect(clippy::cast_possible_truncation, reason = "IMELAR is the low half")]
    pub fn record_status(&self, context: usize, status: u32, iova: u64) {
        let shared = &self.ipmmu.shared;
        let mut registers = shared.registers();
        let contexts = &mut registers.instances[self.number].contexts;
        let Some(found) = contexts.get_mut(context) else {
            return;
        };
        // Not masked: broken hardware may show bits that are not specified.
        found.state.imstr = status;
        found.state.imelar = iova as u32;
        if shared.config.features.imeuar {
            found.state.imeuar = (iova >> 32) as u32;
        }
        shared.tell(
            self.number,
            IpmmuEvent::FaultRecorded {
                context,
                status,
                iova,
            },
        );
        shared.update_interrupt(&mut registers);
    }

    fn tell_route(&self, utlb: usize, old: Route, new: Route, flush: bool) {
        let event = match new {
            _ if new == old && flush => IpmmuEvent::UtlbFlush { utlb },
            _ if new == old => return,
            Route::Disabled => IpmmuEvent::UtlbDisabled { utlb },
            Route::Context(context) => IpmmuEvent::UtlbEnabled { utlb, context },
            Route::Unmodelled(ttsel) => IpmmuEvent::UtlbBlocked { utlb, ttsel },
        };
        self.ipmmu.shared.tell(self.number, event);
    }
}
