//! Functions of the guest's kernel at which plans wait or have something fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use arm32::Cluster;
use vmm_faults::spec::{Fault, FunctionFault, Plan};
use vmm_faults::{Injection, plan};
use vmm_introspect::probe::Kernel;
use vmm_machine::Machine;
use vmm_machine::vcpu::{Halted, Resume, Stop, StopHandler};

use super::error::CampaignError;

/// Where the functions that a plan names begin: virtual addresses, of which several may have one
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Functions(BTreeMap<u32, String>);

impl Functions {
    /// Finds the functions that `plan` names in the kernel that is in the memory of `machine`.
    ///
    /// # Errors
    /// One is not there, or the kernel has no symbols.
    pub fn find(plan: &Plan, machine: &Machine) -> Result<Self, CampaignError> {
        let names: std::collections::BTreeSet<&str> = names(plan).collect();
        let mut places = BTreeMap::new();
        if names.is_empty() {
            return Ok(Self(places));
        }
        let kernel = Kernel::of(machine)?;
        for name in names {
            let before = places.len();
            for symbol in kernel.symbols.named(name) {
                // Plans are for the emulated processor, whose addresses have 32 bits.
                let va = u32::try_from(symbol.address).map_err(|_| CampaignError::Wide)?;
                // Bit 0 of a function's address says that it is T32 code (AAPCS32, interworking).
                places.insert(va & !1, name.to_owned());
            }
            if places.len() == before {
                return Err(CampaignError::Function(name.into()));
            }
        }
        Ok(Self(places))
    }

    /// Makes `machine` stop at them, and ask `injection`.
    pub fn watch(&self, machine: &mut Machine, injection: &Arc<Injection>) {
        if self.0.is_empty() {
            return;
        }
        if let Some(cluster) = machine.cluster() {
            self.set(cluster);
        }
        machine.observe(Box::new(Watch {
            functions: self.clone(),
            injection: Arc::clone(injection),
        }));
    }

    fn set(&self, cluster: &mut Cluster) {
        self.0.keys().for_each(|va| cluster.insert_breakpoint(*va));
    }
}

/// Returns the functions that `plan` names without a condition.
pub(super) fn names(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.fault.iter().flat_map(|rule| {
        let probe = rule.when.probe.as_deref();
        let probe = probe.filter(|probe| plan::condition(probe).1.is_none());
        let function = match &rule.fault {
            Fault::Function(FunctionFault::Error { function, .. }) => Some(&**function),
            _ => None,
        };
        function.into_iter().chain(probe)
    })
}

struct Watch {
    functions: Functions,
    injection: Arc<Injection>,
}

impl StopHandler for Watch {
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume {
        let Stop::Breakpoint { core, pc } = stop else {
            return Resume::Continue;
        };
        let name = u32::try_from(pc)
            .ok()
            .and_then(|pc| self.functions.0.get(&pc));
        let Some(name) = name else {
            return Resume::Continue;
        };
        // First, as a rule may wait for the very call that it has fail.
        self.injection.reached(name);
        // Functions belong to no device: a rule that names one is not about them.
        let action = self.injection.at_part(
            ("", name),
            1,
            |FunctionFault::Error { function, .. }| function == name,
            |_| format!(" ({name})"),
        );
        if let Some(action) = action
            && let Some(mut view) = halted.core(core)
        {
            let FunctionFault::Error { value, .. } = action.fault;
            view.return_at_once(Some(i64::from(value).cast_unsigned()));
        }
        Resume::Continue
    }
}
