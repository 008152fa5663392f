//! A plan at work in one machine that is no run of a campaign.

use vmm_faults::spec::Plan;
use vmm_introspect::types::vmlinux::TypesFrom;
use vmm_machine::Machine;
use vmm_machine::board::Board;

use super::conditions::{self, Conditions};
use super::error::CampaignError;
use super::functions::{self, Functions};

/// Checks that the machine with this board has the devices that `plan` names.
///
/// # Errors
/// It names one that is not there.
pub fn check_devices(plan: &Plan, board: &Board) -> Result<(), CampaignError> {
    let known = |name: &str| board.devices.iter().any(|entry| entry.name == name);
    for (number, rule) in (1..).zip(&plan.fault) {
        if let Some(name) = rule.device.as_deref().filter(|name| !known(name)) {
            let names = board.devices.iter().map(|entry| &*entry.name);
            return Err(CampaignError::Device {
                number,
                name: name.to_owned(),
                known: names.collect::<Vec<_>>().join(", "),
            });
        }
    }
    Ok(())
}

/// Checks that `plan` can be at work from power-on, when the guest's kernel has not run yet.
///
/// # Errors
/// It names functions of the kernel, or has a condition that cannot be read.
pub fn check_power_on(plan: &Plan) -> Result<(), CampaignError> {
    let waits = !conditions::of(plan)?.is_empty() || functions::names(plan).next().is_some();
    match waits {
        true => Err(CampaignError::TooEarly),
        false => Ok(()),
    }
}

/// Has `machine`, in whose memory the kernel is, ask its injection at each function that `plan`
/// names. A machine that was made without an injection is left alone.
///
/// # Errors
/// The plan does not fit the kernel.
pub fn watch_functions(
    plan: &Plan,
    types: &TypesFrom,
    machine: &mut Machine,
) -> Result<(), CampaignError> {
    let Some(injection) = machine.injection().cloned() else {
        return Ok(());
    };
    let functions = Functions::find(plan, machine)?;
    // First, as a rule may wait for the very call that it has fail.
    Conditions::find(plan, machine, types)?.watch(machine, &injection)?;
    functions.watch(machine, &injection);
    Ok(())
}
