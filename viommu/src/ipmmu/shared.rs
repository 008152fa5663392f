//! What registers and bus masters share: the model, as the translation path sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::{GuestMemoryBackend, Permissions};

use super::config::{InterruptLine, Observers};
use super::event::IpmmuEvent;
use super::features::Features;
use super::registers::Registers;
use crate::fault::{Access, DomainId, EndpointId, Fault, FaultReason, Requester};
use crate::inject::{self, Injected, TableModel};
use crate::model::{Mapping, Miss, Model};
use crate::walk::{TableReader, walk};
use crate::window;

/// What registers and bus masters share.
pub(super) struct Shared<M> {
    pub(super) memory: Arc<M>,
    pub(super) features: Features,
    pub(super) names: Vec<String>,
    /// The number of the endpoint that is the first uTLB of each instance.
    pub(super) first_endpoints: Vec<u32>,
    pub(super) registers: Mutex<Registers>,
    pub(super) interrupt: Box<dyn InterruptLine>,
    pub(super) observers: Observers,
    /// The injector and its buffer, if faults can be injected.
    pub(super) injected: Option<Injected>,
}

impl<M> Shared<M> {
    pub(super) fn registers(&self) -> MutexGuard<'_, Registers> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide it.
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, instance: usize, event: IpmmuEvent) {
        if let Some(observer) = &self.observers.registers {
            observer.event(&self.names[instance], &event);
        }
    }

    /// Brings the interrupt line to the level that the registers ask for.
    pub(super) fn update_interrupt(&self, registers: &mut Registers) {
        let level = registers
            .root()
            .iter()
            .any(|context| context.state.interrupts());
        // Set under the lock, so that levels come in the order in which they changed.
        if registers.level != level {
            registers.level = level;
            self.interrupt.set_level(level);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is one of a few micro-TLBs"
    )]
    pub(super) fn endpoint(&self, instance: usize, utlb: usize) -> EndpointId {
        EndpointId(self.first_endpoints[instance] + utlb as u32)
    }

    /// Returns the instance that an endpoint is a uTLB of.
    fn instance_of(&self, EndpointId(endpoint): EndpointId) -> usize {
        let after = self
            .first_endpoints
            .partition_point(|&first| first <= endpoint);
        // Of instances with the same first endpoint only the last has uTLBs: a root may have none.
        after.saturating_sub(1)
    }

    /// Counts an access to what is not modelled, and tells of it: `event` makes one of the count.
    pub(super) fn unimplemented(&self, instance: usize, event: impl FnOnce(u64) -> IpmmuEvent) {
        let mut registers = self.registers();
        let count = &mut registers.instances[instance].unimplemented;
        *count = count.saturating_add(1);
        let count = *count;
        if window::is_told(count) {
            self.tell(instance, event(count));
        }
    }
}

impl<M> TableModel for Shared<M> {
    fn walk(
        &self,
        tables: &impl TableReader,
        DomainId(context): DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        // Copied, so that the walk, which reads guest memory, holds no lock.
        let state = {
            let registers = self.registers();
            registers.root().get(context as usize).map(|c| c.state)
        };
        let state = state.ok_or(Miss::new(FaultReason::Blocked))?;
        let regime = state.regime(&self.features)?;
        Ok(walk(tables, &regime, iova, Access::of(wanted))?.mapping(iova))
    }
}

impl<M: GuestMemoryBackend + Send + Sync> Model for Shared<M> {
    fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let injected = self.injected.as_ref();
        let at = (domain, iova, wanted);
        inject::translate(self, &*self.memory, injected, requester, at)
    }

    fn fault(&self, fault: &Fault) {
        let iova = fault.iova;
        let mut registers = self.registers();
        // Status and interrupt are the root's, whichever leaf the access came through.
        let contexts = &mut registers.instances[0].contexts;
        // The unit can be attached to domains that are no contexts, though not by the guest.
        let found = fault.domain.and_then(|DomainId(number)| {
            let context = number as usize;
            Some((context, &mut contexts.get_mut(context)?.state))
        });
        let Some((context, state)) = found else {
            let lost = IpmmuEvent::FaultLost {
                context: None,
                iova,
            };
            self.tell(self.instance_of(fault.endpoint), lost);
            return;
        };
        let event = if state.record(&self.features, fault) {
            IpmmuEvent::FaultRecorded {
                context,
                status: state.imstr,
                iova,
            }
        } else {
            IpmmuEvent::FaultLost {
                context: Some(context),
                iova,
            }
        };
        self.tell(0, event);
        self.update_interrupt(&mut registers);
    }
}
