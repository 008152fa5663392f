//! The tags of watched pages.

use super::{Entry, INVALID, Tlb, WATCHED};
use crate::mmu::Access;
use crate::watch::{RamWatch, Watches, Watchpoint};

impl Entry {
    /// Tags the page, which has this number in RAM, as watched where it is, and as not where it is
    /// not.
    pub(super) fn mark(&mut self, number: u32, watches: &Watches) {
        for (tag, access) in [
            (&mut self.read, Access::Read),
            (&mut self.write, Access::Write),
        ] {
            if *tag != INVALID {
                let watched = watches.page(*tag & 0xffff_f000, number, access);
                *tag = *tag & !WATCHED | if watched { WATCHED } else { 0 };
            }
        }
    }
}

impl Tlb {
    /// Makes observers watch exactly these ranges.
    pub fn watch(&mut self, watchpoints: &[Watchpoint]) {
        self.watches.set(watchpoints);
        self.mark();
    }

    /// Makes the guest watch exactly these ranges.
    pub fn watch_for_guest(&mut self, watchpoints: &[Watchpoint]) {
        if self.watches.set_guest(watchpoints) {
            self.mark();
        }
    }

    /// Makes observers watch exactly these ranges of the page with this number in RAM.
    pub fn watch_ram(&mut self, number: u32, ranges: &[RamWatch]) {
        self.watches.set_ram(number, ranges);
        for (entry, &of) in self.entries.iter_mut().zip(&self.numbers) {
            if of.in_ram() == number {
                entry.mark(number, &self.watches);
            }
        }
    }

    pub(super) fn mark(&mut self) {
        for (entry, &number) in self.entries.iter_mut().zip(&self.numbers) {
            entry.mark(number.in_ram(), &self.watches);
        }
    }

    /// Returns what is watched.
    #[inline(always)]
    pub(crate) const fn watches(&self) -> &Watches {
        &self.watches
    }
}
