//! Memory that the kernel frees while a device has it.

use super::{Tracker, described};
use crate::dma_api::call::ApiCall;
use crate::dma_api::owners::Range;
use crate::dma_api::pages::PageState;
use crate::dma_api::shadow::{GuestDevice, Mapping};
use crate::dma_api::spec::{Effect, Freed, MAX_FREED_ORDER};
use crate::dma_api::stack::Made;
use crate::report::Report;
use crate::{Kind, PAGE_BITS};

impl Tracker {
    /// Does what a call means that frees memory; `false` if it is none.
    pub(super) fn call_that_frees(&mut self, call: &ApiCall<'_, '_, '_>) -> bool {
        let Effect::Release(freed) = call.function.effect else {
            return false;
        };
        for bytes in self.freed(call, freed).unwrap_or_default() {
            self.free(call, freed, bytes);
        }
        true
    }

    /// Returns which bytes of memory a call gives back; `None` if it cannot be read.
    fn freed(&mut self, call: &ApiCall<'_, '_, '_>, freed: Freed) -> Option<Vec<Range>> {
        let at = call.argument(0)?;
        let (pages, order) = match freed {
            Freed::Object(n) => {
                // A null pointer, and what stands for no bytes, lead nowhere.
                let at = call.argument(n)?;
                let first = call
                    .moment
                    .core
                    .translate(at)
                    .filter(|_| self.are_physical)?;
                return Some(vec![Range { first, last: first }]);
            }
            Freed::Pages(None) => (vec![at], 0),
            Freed::Pages(Some(n)) | Freed::OneUser(n) => (vec![at], call.argument(n)?),
            Freed::List => (self.layouts(call.moment)?.page?.list(call.moment, at), 0),
            Freed::Batch => (self.layouts(call.moment)?.page?.batch(call.moment, at), 0),
        };
        let numbers = self.numbers?;
        let count = (1 << PAGE_BITS) << order.min(MAX_FREED_ORDER);
        let bytes = pages.into_iter().filter_map(|page| {
            let first = numbers.number(page, 0)?;
            let last = first.checked_add(count - 1)?;
            Some(Range { first, last })
        });
        Some(bytes.collect())
    }

    /// Reports the mappings that have memory which a call frees.
    fn free(&mut self, call: &ApiCall<'_, '_, '_>, freed: Freed, bytes: Range) {
        // Who frees much has nothing mapped, nearly always.
        if !self.shadow.has_memory(bytes) {
            return;
        }
        let is_object = matches!(freed, Freed::Object(_));
        let is_free = || matches!(self.memory_use(Some(bytes.first), 1), PageState::Free(_));
        if !is_object && !is_free() {
            return;
        }
        let by = self.stacks.note(call.moment);
        let was_used = |mapping: &Mapping<Made>| is_object || mapping.in_use;
        for (device, mapping) in self.shadow.free(bytes, &by, was_used) {
            let iova = mapping.address_of(bytes).unwrap_or(mapping.first);
            let what = format!("memory at {iova:#x} is freed");
            self.report_freed(device, &mapping, (by.at, iova), &what, None);
        }
    }

    /// Reports a mapping of which the memory at `iova` is free; `what` says so, `ended` has taken
    /// it back.
    pub(super) fn report_freed(
        &self,
        device: GuestDevice,
        mapping: &Mapping<Made>,
        (at, iova): (u64, u64),
        what: &str,
        ended: Option<&Made>,
    ) {
        let (name, mapped) = (self.name(device), described(mapping));
        let text = format!("{name} has {mapped} mapped, of which the {what}");
        let report = Report::new(Kind::FreedPage, at, name, iova, text)
            .with_physical(self.physical(mapping, iova))
            .with_history(self.history(Some(mapping), ended));
        self.report(report);
    }
}
