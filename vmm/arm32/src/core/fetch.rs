//! Fetching: the block at R15, decoded if need be, and what became of decoded code.

use vmm_base::code_pages::News;

use super::Core;
use crate::block::{Block, Key};
use crate::bus::RamPage;
use crate::cpu::Cpu;
use crate::lower::{self, InsnContext};
use crate::mem;
use crate::mmu::{self, Access, Fault};

/// Instructions in a block at most.
pub(super) const MAX_BLOCK: usize = 64;

impl Core {
    /// Returns whether block `id` is what memory holds.
    #[inline(always)]
    pub(super) fn holds(&mut self, id: u32) -> bool {
        self.blocks.is_trusted(id) || self.revalidate(id)
    }

    /// Compares a block that another core made with memory.
    #[cold]
    fn revalidate(&mut self, id: u32) -> bool {
        let holds = self.blocks.revalidate(id);
        if holds {
            self.cover(id);
        }
        holds
    }

    /// Sees to it that writes to the instructions of block `id` are not missed.
    fn cover(&mut self, id: u32) {
        let Self { cpu, blocks, .. } = self;
        for (number, start, code) in blocks.get(id).sources() {
            if cpu.bus.code_pages().cover(number, start, code, &cpu.code) {
                cpu.tlb.tag_code(number);
            }
        }
        // A device may have written between the decoding and this: then nobody says so.
        blocks.revalidate(id);
    }

    /// Sees to it that writes to code are not missed which runs from the start on.
    pub(super) fn cover_start(&mut self) {
        let Self { cpu, blocks, .. } = self;
        let pages = blocks.start();
        let mut covered: Vec<u32> = pages
            .filter(|(number, words)| {
                let code = cpu.bus.code_pages();
                code.cover_words(*number, words, &cpu.code)
            })
            .map(|(number, _)| number)
            .collect();
        covered.sort_unstable();
        cpu.tlb.tag_all_code(&covered);
    }

    /// Drops code that was overwritten, and has stores to new code take the slow path.
    #[cold]
    pub(super) fn hear_of_code(&mut self) {
        let News { written, code } = self.cpu.code.take();
        for number in written {
            self.blocks.drop_page(number);
        }
        for number in code {
            self.cpu.tlb.tag_code(number);
        }
    }

    /// Returns the block at R15, made if need be; links it from `from`, the exit that led here.
    // Part of the loop, which computed jumps go round often; the other caller is cold.
    #[inline(always)]
    pub(super) fn look_up(&mut self, from: Option<(u32, usize)>) -> Result<u32, Fault> {
        let va = self.cpu.s.r[15];
        let spans = self.cpu.tlb.spans();
        let state = decode_state(&self.cpu);
        // Its page is where it was if generated code, too, may go there.
        if let Some(id) = self.blocks.jump(va, state)
            && self.cpu.tlb.has_fetch_tag(va, self.blocks.get(id).tag())
            && self.holds(id)
        {
            self.link(from, id);
            return Ok(id);
        }
        let (pa, page) = self.fetch_page(va)?;
        let key = Key { va, pa, state };
        let found = self.blocks.find(key).filter(|id| self.holds(*id));
        let id = match found {
            Some(id) => id,
            None => {
                let block = self.build(key, page)?;
                let (id, emptied) = self.insert(va, block);
                self.cover(id);
                if emptied {
                    return Ok(id);
                }
                id
            }
        };
        // Unless pages that were fetched from had to go for this one: then it is looked up again.
        if self.cpu.tlb.spans() == spans {
            self.blocks.note_jump(va, state, id);
            self.link(from, id);
            self.note_tag(id);
        }
        Ok(id)
    }

    /// Has generated code go to the page of block `id`, which was just fetched from.
    fn note_tag(&mut self, id: u32) {
        let block = self.blocks.get(id);
        self.cpu.tlb.note_fetch_tag(block.key.va, block.page());
    }

    fn link(&mut self, from: Option<(u32, usize)>, to: u32) {
        if let Some((from, slot)) = from {
            self.blocks.link(from, slot, to, self.cpu.tlb.spans());
        }
    }

    /// Returns the physical address of `va`, and the page to fetch it from.
    #[inline]
    fn fetch_page(&mut self, va: u32) -> Result<(u64, RamPage), Fault> {
        match self.cpu.tlb.fetched(va) {
            Some(found) => Ok(found),
            None => self.translate_fetch(va),
        }
    }

    #[cold]
    fn translate_fetch(&mut self, va: u32) -> Result<(u64, RamPage), Fault> {
        let cpu = &mut self.cpu;
        let t = mmu::translate(
            &cpu.s,
            &*cpu.bus,
            va,
            Access::Execute,
            cpu.s.psr.mode.privileged(),
        )?;
        let page = cpu
            .bus
            .ram(t.pa)
            .ok_or(Fault::external(va, Access::Execute))?;
        cpu.tlb.note_fetch(va, &t, page);
        Ok((t.pa, page))
    }

    /// Decodes the block at `key`.
    fn build(&mut self, key: Key, page: RamPage) -> Result<Block, Fault> {
        let thumb = self.cpu.s.psr.thumb;
        let mut place = InsnContext {
            pc: key.va,
            idx: 0,
            it: self.cpu.s.psr.it,
            thumb,
            big_endian: self.cpu.s.psr.big_endian,
        };
        let start = (key.pa & 0xfff) as u32;
        let mut at = start;
        let mut ops = Vec::with_capacity(16);
        let stops = self.any_stops();
        while ops.len() < self.longest && at < 0x1000 {
            if stops && !ops.is_empty() && self.stops_at(place.pc) {
                break;
            }
            let word = if thumb {
                fetch_t32(page, at)
            } else {
                Some(mem::read_page_word(page, at))
            };
            let Some(word) = word else {
                // A 32-bit T32 instruction whose second half lies in the next page.
                if ops.is_empty() {
                    return self.build_crossing(key, page, place);
                }
                break;
            };
            let lowered = lower::lower(word, place);
            let op = lowered.op;
            ops.push(op);
            at += u32::from(op.len);
            place.advance(&op, lowered.it);
            if lowered.ends {
                break;
            }
        }
        let bytes = (start..at.min(0x1000))
            .map(|at| mem::read_page_byte(page, at))
            .collect();
        Ok(Block::new(key, ops, place.pc, place.it, page, bytes))
    }

    /// Returns a block of the one T32 instruction that begins in `page` and ends in the next one.
    fn build_crossing(
        &mut self,
        key: Key,
        page: RamPage,
        mut place: InsnContext,
    ) -> Result<Block, Fault> {
        let (_, second) = self.fetch_page(key.va.wrapping_add(2))?;
        let first = u32::from(mem::read_page_half(page, (key.pa & 0xfff) as u32));
        let word = first << 16 | u32::from(mem::read_page_half(second, 0));
        let lowered = lower::lower(word, place);
        place.advance(&lowered.op, lowered.it);
        // T32 has the first halfword first, each little-endian.
        let bytes = word.rotate_left(16).to_le_bytes().to_vec();
        let block = Block::new(key, vec![lowered.op], place.pc, place.it, page, bytes);
        Ok(block.crossing(second))
    }
}

/// Returns the T32 instruction at `at`, 16-bit ones in the upper half; `None` when its second half
/// is in the next page.
fn fetch_t32(page: RamPage, at: u32) -> Option<u32> {
    let first = mem::read_page_half(page, at);
    if !arm32_isa::t32_is_32bit(first) {
        return Some(u32::from(first) << 16);
    }
    let second = || u32::from(mem::read_page_half(page, at + 2));
    (at + 2 < 0x1000).then(|| u32::from(first) << 16 | second())
}

/// Returns the processor state that decoding depends on: T, E and IT.
fn decode_state(cpu: &Cpu) -> u32 {
    let psr = &cpu.s.psr;
    u32::from(psr.thumb) | u32::from(psr.big_endian) << 1 | u32::from(psr.it) << 8
}
