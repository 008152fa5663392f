//! Setting the breakpoints of probes, and taking them away again.

use vmm_machine::vcpu::Cores;

use super::Engine;
use crate::probe::kernel::Kernel;
use crate::probe::outcome::ProbeError;
use crate::probe::scope::{Scope, ScopeError};

impl Engine {
    /// Takes probes off the modules that were loaded: these may be gone, and other modules at their
    /// addresses.
    pub(super) fn withdraw_from_modules(&mut self, cores: &mut Cores<'_>) {
        let gone = self.set.iter().filter(|(_, in_module)| **in_module);
        let gone: Vec<(u64, usize)> = gone.map(|(&key, _)| key).collect();
        for (va, index) in gone {
            self.set.remove(&(va, index));
            cores.remove_breakpoint(va);
            if let Some(place) = self.places.get_mut(&va) {
                place.here.retain(|other| *other != index);
                place.calls.retain(|other| *other != index);
                if place.is_empty() {
                    self.places.remove(&va);
                }
            }
        }
    }

    /// Sets all probes that are not set yet, as far as what they are in is in memory.
    pub(super) fn place_all(
        &mut self,
        kernel: &Kernel,
        cores: &mut Cores<'_>,
    ) -> Result<(), ProbeError> {
        for index in 0..self.probes.len() {
            let before = index.checked_sub(1);
            let is_left_out =
                |before| self.with_outcome(|outcome| outcome.left_out.contains_key(&before));
            if self.probes[index].instead && before.is_some_and(|before| !is_left_out(before)) {
                continue;
            }
            match self.place(kernel, index, cores) {
                Ok(()) => {
                    self.waiting.remove(&index);
                    // Now that a module is there it may fit.
                    self.with_outcome(|outcome| drop(outcome.left_out.remove(&index)));
                }
                Err(why) if self.probes[index].optional => {
                    self.with_outcome(|outcome| drop(outcome.left_out.insert(index, why)));
                }
                // In a kernel that can load modules it may come yet; and one that was there may
                // have gone.
                Err(ScopeError::NoSymbol(_)) if self.module_ready.is_some() => {
                    if !self.placed.contains(&index) {
                        self.waiting.insert(index);
                    }
                }
                Err(source) => {
                    let text = self.probes[index].text.clone();
                    return Err(ProbeError::Scope { text, source });
                }
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        kernel: &Kernel,
        index: usize,
        cores: &mut Cores<'_>,
    ) -> Result<(), ScopeError> {
        let probe = &self.probes[index];
        let site = &probe.site;
        // All is found out before anything is set: a probe that does not fit has no breakpoints.
        let scope = Scope { kernel, site };
        let places = scope.places(site)?;
        scope.check(probe)?;
        self.placed.insert(index);
        for va in places {
            let location = kernel.symbols.at(va);
            let in_module = location.is_some_and(|location| location.symbol.module.is_some());
            // Set before, by an earlier look at the modules: one breakpoint for each probe and
            // address.
            if self.set.insert((va, index), in_module).is_some() {
                continue;
            }
            cores.insert_breakpoint(va);
            let place = self.places.entry(va).or_default();
            if site.at_return {
                place.calls.push(index);
            } else {
                place.here.push(index);
            }
        }
        Ok(())
    }
}
