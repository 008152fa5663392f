//! Blocks that go from a machine that is gone to one that begins as that one did.

use vmm_base::code_pages::{Words, mark};

use super::{Block, Blocks, START, VOID};
use crate::bus::Bus;

/// The blocks that were made from one page of RAM.
#[derive(Clone, Default)]
pub(super) struct PageBlocks {
    /// The page's physical address, and that in the host.
    place: Option<(u64, usize)>,
    pub ids: Vec<u32>,
}

impl PageBlocks {
    /// Adds `block`, a part of which is in the page, whose number is `number`.
    pub fn add(&mut self, id: u32, number: u32, block: &Block) {
        self.ids.push(id);
        // One that only ends in it does not know its address.
        if number == block.page.number {
            self.place = Some((block.key.pa & !0xfff, block.page.host.as_ptr().addr()));
        }
    }
}

impl Blocks {
    /// Has every block know where `bus` has its page; returns whether that has all of them.
    pub fn settle(&mut self, bus: &dyn Bus) -> bool {
        let mut moved = false;
        let all = self.in_page.iter_mut().all(|(number, blocks)| {
            // All blocks of a page have it at the same place. Those that end in it do not count:
            // they cross.
            blocks.place.as_mut().is_none_or(|(pa, host)| {
                bus.ram(*pa).is_some_and(|page| {
                    let now = page.host.as_ptr().addr();
                    moved |= std::mem::replace(host, now) != now;
                    page.number == *number
                })
            })
        });
        if all && moved {
            for block in &mut self.arena {
                let page = bus.ram(block.key.pa);
                match page.filter(|page| page.number == block.page.number) {
                    Some(page) if !block.crosses() => block.page = page,
                    // Nobody compares it with memory any more.
                    _ => block.void(),
                }
            }
        }
        all
    }

    /// Makes the blocks another machine's, which begins with the same memory as all that they are
    /// handed to. Those that memory holds then need not be compared any more; what others made of
    /// memory as it was later is compared before it runs ([`Blocks::later`]).
    pub fn begin(&mut self) {
        if self.epoch == VOID - 1 {
            self.clear();
        }
        self.epoch += 1;
        let arena = &self.arena;
        self.later.retain(|id| arena[*id as usize].epoch != VOID);
        for (id, block) in (0..).zip(&mut self.arena).skip(self.sorted) {
            if block.crosses() {
                // Nobody can tell whether its second page is where it was.
                block.void();
            } else if block.matches_memory() {
                block.epoch = START;
                for (number, bytes) in block.parts() {
                    mark(self.start.entry(number).or_default(), bytes);
                }
            } else if block.epoch != VOID {
                self.later.push(id);
            }
        }
        self.sorted = self.arena.len();
    }

    /// Returns the blocks of machines before that must be compared with memory before they run.
    pub fn later(&self) -> &[u32] {
        &self.later
    }

    /// Returns the pages, and the words in them, of which blocks run without being compared from
    /// the start on.
    pub fn start(&self) -> impl Iterator<Item = (u32, &Words)> {
        self.start.iter().map(|(number, words)| (*number, words))
    }
}
