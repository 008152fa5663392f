//! Blocks run as host code.

use std::io;

use super::fetch::MAX_BLOCK;
use super::{Core, Onward};
use crate::block::Block;
use crate::exec::{self, Handler};
use crate::host_code::CodeExit;
use crate::jit::pool as code_memory;
use crate::jit::{self, Translator};

/// Of the state that decoding depends on: big-endian data, which is left to the interpreter.
const BIG_ENDIAN: u32 = 2;
/// As many instructions run at most before the core looks at its pins again: other threads drive
/// these in host time, and ask the core to stop.
const SLICE: u64 = 1 << 14;

/// The host code of a core's blocks.
pub(super) struct Translation {
    /// A block is translated when it was looked for so often.
    threshold: u32,
    /// What was made; `None` before any was, and once it was handed over.
    translator: Option<Translator>,
    /// [`Blocks::cleared`](crate::block::Blocks::cleared) of the blocks that it was made of.
    of: u64,
}

/// Returns the address of `block` as generated code has it: with bit 0 set for T32.
fn target(block: &Block) -> u32 {
    block.key.va | block.key.state & 1
}

/// Returns whether `block` can be translated.
fn is_translatable(block: &Block) -> bool {
    // What stops before an instruction is for the loop to see to.
    let stops: [Handler; 2] = [exec::breakpoint, exec::guest_breakpoint];
    let stop = stops
        .iter()
        .any(|stop| std::ptr::fn_addr_eq(block.ops[0].f, *stop));
    !stop && !block.crosses() && block.key.state & BIG_ENDIAN == 0
}

impl Core {
    /// Translates blocks to host code from now on that are looked for `threshold` times.
    ///
    /// # Errors
    /// The host allows no memory that can be executed, or there is no translator for its processor.
    pub fn translate_code_after(&mut self, threshold: u32) -> io::Result<()> {
        code_memory::check()?;
        self.blocks.list_dropped();
        self.translation = Some(Translation {
            threshold,
            translator: None,
            of: self.blocks.cleared(),
        });
        Ok(())
    }

    /// Returns whether there is a translator, which begins with the first block that runs.
    pub fn translates_code(&self) -> bool {
        let translation = self.translation.as_ref();
        translation.is_some_and(|translation| translation.translator.is_some())
    }

    /// Interprets all code from now on.
    pub fn interpret_code(&mut self) {
        self.translation = None;
        // Nobody would ask for the list any more, and it would grow.
        self.blocks.list_no_dropped();
        self.forget_code();
    }

    /// Has blocks, and so what is translated at once, be of at most `longest` instructions from now
    /// on.
    pub fn limit_blocks(&mut self, longest: usize) {
        self.longest = longest.clamp(1, MAX_BLOCK);
        self.forget_code();
    }

    /// Hands over the host code.
    pub(super) fn take_translator(&mut self) -> Option<Translator> {
        let translation = self.translation.as_mut()?;
        let current = translation.of == self.blocks.cleared();
        translation.translator.take().filter(|_| current)
    }

    /// Takes over the host code of the blocks that were just taken over.
    pub(super) fn give_translator(&mut self, translator: Option<Translator>) {
        let Some(translation) = &mut self.translation else {
            return;
        };
        self.blocks.list_dropped();
        translation.of = self.blocks.cleared();
        match translator {
            Some(mut translator) => {
                for id in self.blocks.later() {
                    translator.isolate(*id, target(self.blocks.get(*id)));
                }
                translation.translator = Some(translator);
            }
            None => {
                let own = translation.translator.as_mut();
                own.into_iter().for_each(Translator::clear);
            }
        }
    }

    /// Returns where code is that may run from R15 on: where a computed jump of generated code
    /// would go. That takes fewer looks at memory than to find the block.
    #[inline(always)]
    pub(super) fn code_ahead(&self, left: u64) -> Option<usize> {
        let translation = self.translation.as_ref()?;
        let translator = translation.translator.as_ref()?;
        let (psr, va) = (&self.cpu.s.psr, self.cpu.s.r[15]);
        // Whatever was dropped is forgotten first; and no block has more instructions than are
        // left, or it would come back at once.
        let current = translation.of == self.blocks.cleared() && !self.blocks.any_dropped();
        if !current || psr.it != 0 || psr.big_endian || left < MAX_BLOCK as u64 {
            return None;
        }
        let (code, tag) = translator.jump(va | u32::from(psr.thumb))?;
        self.cpu.tlb.has_fetch_tag(va, tag).then_some(code)
    }

    /// Returns where the code of block `id` is, if it has some and `left` instructions are enough
    /// for it. `from` is the exit that led here.
    #[inline(always)]
    pub(super) fn code_for(
        &mut self,
        id: u32,
        left: u64,
        from: Option<(u32, usize)>,
    ) -> Option<usize> {
        self.translation.as_ref()?;
        self.translated(id, left, from)
    }

    fn translated(&mut self, id: u32, left: u64, mut from: Option<(u32, usize)>) -> Option<usize> {
        let translation = self.translation.as_mut()?;
        if translation.translator.is_none() {
            // Only when code is about to run: most machines of a snapshot are given that of another
            // before.
            let Ok(memory) = code_memory::take() else {
                // All there is, others have.
                self.translation = None;
                self.blocks.list_no_dropped();
                return None;
            };
            translation.translator = Some(Translator::new(memory));
        }
        let translator = translation.translator.as_mut()?;
        if translation.of != self.blocks.cleared() {
            translation.of = self.blocks.cleared();
            translator.clear();
            // Its block is gone.
            from = None;
        }
        if self.blocks.any_dropped() {
            for id in self.blocks.take_dropped() {
                translator.forget(id, target(self.blocks.get(id)));
            }
        }
        let block = self.blocks.get(id);
        if block.ops.len() as u64 > left {
            return None;
        }
        let at = match translator.code(id) {
            Some(at) => at,
            None if !translator.is_worth_it(id, translation.threshold) => return None,
            None if !is_translatable(block) => return None,
            None => translator.translate(id, block)?,
        };
        match from {
            Some((from, slot)) => {
                let link = self.blocks.get(from).links[slot];
                let spans = self.cpu.tlb.spans();
                if link.block == id && link.spans.is_none_or(|of| of == spans) {
                    let tag = link.spans.map(|_| block.tag());
                    if tag.is_some() {
                        // Another page's may have taken its place.
                        self.cpu.tlb.note_fetch_tag(block.key.va, block.page());
                    }
                    translator.link(from, slot, id, tag);
                }
            }
            // Not within an IT block, where nothing jumps to, nor past a stop.
            None if block.key.state >> 8 == 0 && !self.stops_at(block.key.va) => {
                let translator = self.translation.as_mut()?.translator.as_mut()?;
                translator.note_jump(target(block), block.tag(), id);
            }
            None => {}
        }
        Some(at)
    }

    /// Runs the code at `at` with at most `left` instructions; returns how to go on, and from which
    /// block.
    pub(super) fn run_code(&mut self, at: usize, left: u64) -> (Onward, u32) {
        let translator = self
            .translation
            .as_ref()
            .and_then(|t| t.translator.as_ref());
        let Some(translator) = translator else {
            return (Onward::LookUp, 0);
        };
        let cpu = &mut self.cpu;
        match translator.run(cpu, at, left.min(SLICE)) {
            CodeExit::Link => (Onward::Link(cpu.jit.exit_slot as usize), cpu.jit.exit_block),
            CodeExit::LookUp | CodeExit::Budget => (Onward::LookUp, 0),
            CodeExit::Flow => {
                let flow = jit::flow(cpu.jit.exit_flow);
                let op = jit::take_op(cpu);
                cpu.s.retired += u64::from(op.idx) + 1;
                match Self::after(cpu, &op, flow) {
                    // Which block it is of, nobody knows.
                    Onward::Link(_) => (Onward::LookUp, 0),
                    onward => (onward, 0),
                }
            }
        }
    }
}
