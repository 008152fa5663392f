//! Faults of a run that begins at power-on or goes on from a snapshot, with all that they depend
//! on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_faults::plan::{self, PlanError};
use vmm_faults::spec::Plan;
use vmm_faults::{Account, Injection};

use crate::{Error, Machine};

/// A fault plan and its seed. From the beginning of the run on its fault points are counted, and
/// faults happen; the plan's scenario is none of the machine's business.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFaults {
    /// What goes wrong.
    pub plan: Plan,
    /// The seed of what the plan leaves to chance.
    pub seed: u64,
}

impl RunFaults {
    /// Checks a plan that was read from a recording as one that is read from its own file.
    ///
    /// # Errors
    /// It contradicts itself.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        plan::check("its fault plan", &self.plan)
    }

    /// Returns the machine that `make` makes with the points of these faults, if there are any, at
    /// which they happen from now on.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn machine(
        faults: Option<&Self>,
        make: impl FnOnce(Option<&Arc<Injection>>) -> Result<Machine, Error>,
    ) -> Result<Machine, Error> {
        let Some(Self { plan, seed }) = faults else {
            return make(None);
        };
        let injection = Injection::new();
        let machine = make(Some(&injection))?;
        injection.arm(&plan.fault, *seed);
        Ok(machine)
    }
}

impl Machine {
    /// Returns what a fault plan is at work through in this machine, if it was made with one.
    pub fn injection(&self) -> Option<&Arc<Injection>> {
        let faults = self.context.faults.as_ref();
        faults.map(|faults| &faults.injection)
    }

    /// Returns the account of a fault plan that is at work in this machine.
    pub fn faults(&self) -> Option<Account> {
        self.injection().map(|injection| injection.account())
    }
}
