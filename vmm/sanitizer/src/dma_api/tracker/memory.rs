//! The memory behind mappings: its physical addresses, and what the kernel records of its pages.

use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::Tracker;
use crate::PAGE_BITS;
use crate::dma_api::call::ApiCall;
use crate::dma_api::owners::Range;
use crate::dma_api::pages::{Numbers, PageState};
use crate::dma_api::shadow::{GuestDevice, Mapping};
use crate::dma_api::spec::{Effect, Memory};
use crate::dma_api::stack::Made;

impl Tracker {
    /// Returns a number for the first byte of what a call maps.
    pub(super) fn buffer(&mut self, call: &ApiCall<'_, '_, '_>, memory: Memory) -> Option<u64> {
        self.anchor(call);
        match memory {
            Memory::Registers => None,
            Memory::Physical(n) => {
                let address = call.argument(n)?;
                self.are_physical = true;
                // Device registers may be mapped as well, and have no page.
                let in_ram = self.ram.address_in_range(GuestAddress(address));
                in_ram.then_some(address)
            }
            Memory::Page(page, offset) => {
                let (page, offset) = (call.argument(page)?, call.argument(offset)?);
                if self.numbers.is_none() {
                    let layout = self.layouts(call.moment)?.page?;
                    let physical = call.moment.core.translate(page)?;
                    let number = Numbers::any_number(layout, page);
                    self.numbers = Some(Numbers::new(layout, (page, number), physical));
                }
                self.numbers?.number(page, offset)
            }
        }
    }

    /// Learns where the table of pages is, and by which number it begins, from the kernel's own
    /// description of its memory.
    pub(super) fn anchor(&mut self, call: &ApiCall<'_, '_, '_>) {
        // Looked for once: it may take a search.
        if !std::mem::replace(&mut self.anchored, true)
            && let Some(layout) = self.layouts(call.moment).and_then(|known| known.page)
            && let Some(numbers) = Numbers::of_kernel(layout, call.moment)
        {
            self.numbers = Some(numbers);
            self.are_physical = true;
        }
    }

    /// Learns where the table of pages is from a function that was given a page and has had its
    /// physical address mapped.
    pub(super) fn learn_pages(&mut self, call: &ApiCall<'_, '_, '_>) -> Option<()> {
        let Effect::Map {
            memory: Memory::Page(page, offset),
            ..
        } = call.function.effect
        else {
            return None;
        };
        if self.numbers.is_some() {
            return None;
        }
        let layout = self.layouts(call.moment)?.page?;
        let (page, offset) = (call.argument(page)?, call.argument(offset)?);
        let device = GuestDevice(call.argument(0)?);
        let mapping = self.shadow.at(device, call.returned_address()?)?;
        let number = mapping.buffer?.checked_sub(offset)? >> PAGE_BITS;
        let physical = call.moment.core.translate(page)?;
        self.numbers = Some(Numbers::new(layout, (page, number), physical));
        Some(())
    }

    /// Returns whether the pages of memory are in use, by the kernel's records.
    pub fn memory_use(&self, buffer: Option<u64>, bytes: u64) -> PageState {
        match (&self.numbers, buffer) {
            (Some(numbers), Some(first)) => numbers.unused(&self.ram, first, bytes),
            _ => PageState::Unknown,
        }
    }

    /// Returns the physical address of `address`, which is in a page that `mapping` has, if that is
    /// known.
    pub fn physical(&self, mapping: &Mapping<Made>, address: u64) -> Option<u64> {
        let buffer = mapping.buffer.filter(|_| self.are_physical)?;
        match address.checked_sub(mapping.first) {
            Some(behind) => buffer.checked_add(behind),
            None => buffer.checked_sub(mapping.first - address),
        }
    }

    /// Reports a mapping of which a page is free.
    pub(super) fn check_pages(
        &self,
        device: GuestDevice,
        mapping: &Mapping<Made>,
        at: u64,
        ended: Option<&Made>,
    ) {
        // What was seen to be freed is reported already.
        if !mapping.in_use || mapping.freed.is_some() {
            return;
        }
        let PageState::Free(number) = self.memory_use(mapping.buffer, mapping.bytes) else {
            return;
        };
        let page = Range {
            first: number,
            last: number | ((1 << PAGE_BITS) - 1),
        };
        let iova = mapping.address_of(page).unwrap_or(mapping.first);
        let what = format!("page at {iova:#x} was freed meanwhile");
        self.report_freed(device, mapping, (at, iova), &what, ended);
    }

    /// Reports what is still mapped at the end of the run and free.
    pub fn end(&self, at: u64) {
        for (device, mapping) in self.shadow.iter() {
            self.check_pages(device, mapping, at, None);
        }
    }
}
