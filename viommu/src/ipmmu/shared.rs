//! What registers and bus masters share: the model, as the translation path sees it.

use vm_memory::Permissions;

use super::config::Observers;
use super::context::INPUT_BITS;
use super::event::IpmmuEvent;
use super::features::Features;
use super::registers::Registers;
use crate::fault::{Access, DomainId, EndpointId, Fault, FaultReason};
use crate::inject::TableModel;
use crate::model::{Mapping, Miss};
use crate::register_event::{Ignored, IgnoredAccess};
use crate::register_model::{self, InterruptRegisters};
use crate::walk::{TableReader, hole_bits, walk};
use crate::window;

/// What never changes.
pub(super) struct Fixed {
    pub(super) features: Features,
    pub(super) names: Vec<String>,
    /// The number of the endpoint that is the first uTLB of each instance.
    pub(super) first_endpoints: Vec<u32>,
}

/// What registers and bus masters share.
pub(super) type Shared<M> = register_model::Shared<M, Registers, Fixed, Observers>;

impl InterruptRegisters for Registers {
    fn interrupts(&self) -> bool {
        self.root().iter().any(|context| context.state.interrupts())
    }

    fn level(&mut self) -> &mut bool {
        &mut self.level
    }
}

impl<M> Shared<M> {
    pub(super) fn tell(&self, instance: usize, event: IpmmuEvent) {
        if let Some(observer) = &self.observers.registers {
            observer.event(&self.config.names[instance], &event);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is one of a few micro-TLBs"
    )]
    pub(super) fn endpoint(&self, instance: usize, utlb: usize) -> EndpointId {
        EndpointId(self.config.first_endpoints[instance] + utlb as u32)
    }

    /// Returns the instance that an endpoint is a uTLB of.
    fn instance_of(&self, EndpointId(endpoint): EndpointId) -> usize {
        let after = self
            .config
            .first_endpoints
            .partition_point(|&first| first <= endpoint);
        // Of instances with the same first endpoint only the last has uTLBs: a root may have none.
        after.saturating_sub(1)
    }

    /// Takes note of an access that does nothing.
    pub(super) fn ignore(&self, instance: usize, offset: u64, access: Ignored) {
        let mut registers = self.registers();
        let count = &mut registers.instances[instance].unimplemented;
        if let Some(count) = window::count_unimplemented(count) {
            let ignored = IgnoredAccess {
                offset,
                access,
                count,
            };
            self.tell(instance, IpmmuEvent::Ignored(ignored));
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
        let regime = state.regime(&self.config.features)?;
        Ok(walk(tables, &regime, iova, Access::of(wanted))?.mapping(iova))
    }

    fn hole_bits(&self, _: DomainId, level: Option<u8>) -> u8 {
        // Without a regime there is nothing in all of the address space.
        level.map_or(INPUT_BITS, hole_bits)
    }

    fn record(&self, fault: &Fault) {
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
        let event = if state.record(&self.config.features, fault) {
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
