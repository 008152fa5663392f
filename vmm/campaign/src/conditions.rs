//! Functions of the guest's kernel that plans wait for under a condition: `probe = "NAME if
//! CONDITION"`, in the notation of probes.

use std::sync::{Arc, PoisonError};

use vmm_faults::spec::Plan;
use vmm_faults::{Injection, plan};
use vmm_introspect::probe::{Kernel, Probe, Sink, attach_in, parse};
use vmm_introspect::types::vmlinux::TypesFrom;
use vmm_machine::Machine;

use super::error::CampaignError;

/// Returns what the rules of `plan` wait for under a condition, each text once.
///
/// # Errors
/// A text cannot be read, or says more than when.
pub(super) fn of(plan: &Plan) -> Result<Vec<Probe>, CampaignError> {
    let mut probes: Vec<Probe> = Vec::new();
    for (number, rule) in (1..).zip(&plan.fault) {
        let Some(text) = rule.when.probe.as_deref() else {
            continue;
        };
        if plan::condition(text).1.is_none() {
            continue;
        }
        let wrong = |what: String| CampaignError::Condition { number, what };
        let probe = parse(text).map_err(|error| wrong(error.to_string()))?;
        if probe.optional || !probe.actions.is_empty() {
            return Err(wrong(format!(
                "`{text}` says more than when: leave out `?` and what is done there"
            )));
        }
        if probes.iter().all(|other| other.text != probe.text) {
            probes.push(probe);
        }
    }
    Ok(probes)
}

/// What a plan waits for under conditions, in a kernel that was found.
#[derive(Clone, Default)]
pub(super) struct Conditions {
    probes: Vec<Probe>,
    kernel: Option<Arc<Kernel>>,
}

impl Conditions {
    /// Finds them in the kernel that is in the memory of `machine`, with its types from `types`.
    ///
    /// # Errors
    /// The kernel has no symbols, or `types` are of another one.
    pub fn find(plan: &Plan, machine: &Machine, types: &TypesFrom) -> Result<Self, CampaignError> {
        let probes = of(plan)?;
        if probes.is_empty() {
            return Ok(Self::default());
        }
        let ram = machine.board().ram;
        let kernel = Kernel::find_with(&*machine.memory(), ram.base, ram.size, types)?;
        Ok(Self {
            probes,
            kernel: Some(Arc::new(kernel)),
        })
    }

    /// Has `machine`, in which that kernel is, tell `injection` when a function is called and its
    /// condition holds.
    ///
    /// # Errors
    /// One does not fit the kernel.
    pub fn watch(
        &self,
        machine: &mut Machine,
        injection: &Arc<Injection>,
    ) -> Result<(), CampaignError> {
        let Some(kernel) = &self.kernel else {
            return Ok(());
        };
        let injection = Arc::clone(injection);
        let sink: Sink = Box::new(move |probe, _| injection.reached(&probe.text));
        let outcome = attach_in(machine, self.probes.clone(), Arc::clone(kernel), sink);
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome.error.clone() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(texts: &[&str]) -> Result<Vec<String>, String> {
        let rules = texts.iter().map(|text| {
            format!(
                "[[fault]]\nwhere = \"disk\"\nwhat = \"flip\"\nwhen = {{ probe = \"{text}\" }}\n"
            )
        });
        let text = format!("title = \"x\"\n{}", rules.collect::<String>());
        let plan = plan::parse("p", &text).map_err(|error| error.to_string())?;
        let probes = of(&plan).map_err(|error| error.to_string())?;
        Ok(probes.into_iter().map(|probe| probe.text).collect())
    }

    #[test]
    fn conditions_are_told_from_names() {
        let twice = "f if dev.id == 3";
        assert_eq!(probes(&["virtblk_done", twice, twice]).unwrap(), [twice]);
        for (text, words) in [
            ("f if", "fault 1"),
            ("f if 1 { stop }", "leave out"),
            ("? f if 1", "no name"),
        ] {
            let sentence = probes(&[text]).unwrap_err();
            assert!(sentence.contains(words), "{text}: {sentence}");
        }
    }
}
