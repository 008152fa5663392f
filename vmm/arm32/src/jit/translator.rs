//! The translations of one core's blocks, and the links between them.

use super::calls::enter;
use super::emit::{Places, Routines, Site, Target, emit};
use super::host::{self, Asm};
use super::memory::SIZE;
use super::pool::{self, Area};
use crate::block::Block;
use crate::cpu::Cpu;
use crate::host_code::CodeExit;
use crate::sparse::SparseTable;

/// The most bytes that the code of a block may have: blocks have 64 instructions, each of at most
/// some hundred bytes.
const MAX_CODE: usize = 1 << 16;
/// Where what is out of the way of other code begins, if it may be anywhere: it is a little more.
const FAR: usize = SIZE / 8 * 3;
/// Where other code ends.
const NEAR_END: usize = if Asm::REACHES_ALL { FAR } else { SIZE };

/// An exit of translated code.
#[derive(Clone, Copy, Debug)]
struct Exit {
    /// Where the four bytes are that say where its branch leads.
    jump: usize,
    /// Where it leads unless it is linked.
    stub: usize,
    /// Where the tag of the page is that it leads to, if that is another page.
    guard: Option<usize>,
    /// The block that it leads to.
    linked: Option<u32>,
}

/// Where a computed jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct JumpEntry {
    /// The target, with bit 0 for T32.
    target: u32,
    /// Where the code is, from the start of the code area.
    code: u32,
    /// The tag of its page.
    tag: u64,
}

/// An entry that leads nowhere: no page has its tag.
const NOWHERE: JumpEntry = JumpEntry {
    target: 0,
    code: 0,
    tag: u64::MAX,
};

/// Entries of the jump table.
pub const JUMPS: usize = 16384;
const _: () = assert!(size_of::<JumpEntry>() == 16);

/// The translation of one block.
#[derive(Clone, Debug, Default)]
struct Translated {
    /// Where the code is; 0 if there is none.
    at: usize,
    /// How often it was looked for.
    wanted: u32,
    exits: [Option<Exit>; 2],
    /// The exits of others that lead here: block and slot.
    incoming: Vec<(u32, usize)>,
}

/// Translates blocks of one core and runs them.
#[derive(Debug)]
pub struct Translator {
    memory: Area,
    used: usize,
    /// Where the next code goes that is out of the way of other code.
    far: usize,
    /// Where the first block is.
    first: usize,
    routines: Routines,
    asm: Asm,
    blocks: Vec<Translated>,
    jumps: SparseTable<JumpEntry>,
}

impl Translator {
    /// Creates a translator that keeps its code in `memory`.
    pub fn new(mut memory: Area) -> Self {
        let mut asm = Asm::default();
        let routines = host::routines(&mut asm);
        memory.write(0, asm.bytes());
        let first = asm.here().next_multiple_of(64);
        Self {
            memory,
            used: first,
            far: FAR,
            first,
            routines,
            asm,
            blocks: Vec::new(),
            jumps: SparseTable::new(JUMPS, NOWHERE),
        }
    }

    /// Returns a copy with memory of its own, if there is any left.
    pub fn copy(&self) -> Option<Self> {
        let mut memory = pool::take().ok()?;
        // Within it code is known by distances, and outside by addresses that are the same.
        memory.copy(&self.memory, 0..self.used);
        memory.copy(&self.memory, FAR..self.far);
        Some(Self {
            memory,
            used: self.used,
            far: self.far,
            first: self.first,
            routines: self.routines,
            asm: Asm::default(),
            blocks: self.blocks.clone(),
            jumps: self.jumps.clone(),
        })
    }

    /// Forgets all code.
    pub fn clear(&mut self) {
        (self.used, self.far) = (self.first, FAR);
        self.blocks.clear();
        self.jumps.clear();
    }

    /// Returns where the code of block `id` is, if it is translated.
    #[inline]
    pub fn code(&self, id: u32) -> Option<usize> {
        let at = self.blocks.get(id as usize)?.at;
        (at != 0).then_some(at)
    }

    /// Counts that block `id` is about to run; returns whether that is the `threshold`th time, or a
    /// later one.
    pub fn is_worth_it(&mut self, id: u32, threshold: u32) -> bool {
        let index = id as usize;
        if self.blocks.len() <= index {
            self.blocks.resize_with(index + 1, Translated::default);
        }
        let wanted = &mut self.blocks[index].wanted;
        *wanted = wanted.saturating_add(1);
        *wanted >= threshold
    }

    /// Translates block `id`, for which [`is_worth_it`](Self::is_worth_it) was asked; returns where
    /// its code is. When there is no room left, all code is forgotten first, and there is none.
    pub fn translate(&mut self, id: u32, block: &Block) -> Option<usize> {
        if self.used + MAX_CODE > NEAR_END || self.far + MAX_CODE > SIZE {
            self.clear();
            return None;
        }
        self.asm.clear();
        let start = self.used;
        let places = Places {
            near: start,
            far: Asm::REACHES_ALL.then_some(self.far),
        };
        let code = emit(&mut self.asm, places, &self.routines, id, block);
        let bytes = self.asm.bytes();
        if bytes.len() > MAX_CODE {
            return None;
        }
        let (near, far) = bytes.split_at(code.split);
        self.memory.write(start, near);
        self.memory.write(code.address(code.split), far);
        let end = match code.places.far {
            Some(at) => {
                self.far = at + far.len();
                start + near.len()
            }
            None => start + bytes.len(),
        };
        self.used = end.next_multiple_of(16);
        let exit = |site: Site| Exit {
            jump: code.address(site.jump),
            stub: code.address(site.stub),
            guard: site.guard.map(|at| code.address(at)),
            linked: None,
        };
        let translated = &mut self.blocks[id as usize];
        translated.at = start;
        translated.exits = code.sites.map(|site| site.map(exit));
        Some(start)
    }

    /// Links exit `slot` of block `from` to block `to`, if both are translated; as long as the tag
    /// of the page of `to` is `tag`, if it is another page.
    pub fn link(&mut self, from: u32, slot: usize, to: u32, tag: Option<u64>) {
        let Some(target) = self.code(to) else {
            return;
        };
        let Some(block) = self.blocks.get_mut(from as usize) else {
            return;
        };
        // Whether the pages are one is known by their addresses when the code is made, and for sure
        // only now.
        let Some(exit) = block.exits[slot].as_mut() else {
            return;
        };
        if exit.guard.is_some() != tag.is_some() || exit.linked == Some(to) {
            return;
        }
        let before = exit.linked.replace(to);
        let Exit { jump, guard, .. } = *exit;
        if let (Some(at), Some(tag)) = (guard, tag) {
            self.memory.write(at, &tag.to_le_bytes());
        }
        self.patch(jump, target);
        self.blocks[to as usize].incoming.push((from, slot));
        // A guest that maps now this and now that in a page must not make these lists grow.
        if let Some(old) = before.and_then(|id| self.blocks.get_mut(id as usize)) {
            old.incoming.retain(|exit| *exit != (from, slot));
        }
    }

    /// Has computed jumps to `target` (bit 0 set for T32) find block `id` while the tag of its page
    /// is `tag`.
    pub fn note_jump(&mut self, target: u32, tag: u64, id: u32) {
        if let Some(code) = self.code(id).and_then(|at| u32::try_from(at).ok()) {
            let entry = JumpEntry { target, code, tag };
            self.jumps.set(jump_slot(target), entry);
        }
    }

    /// Returns where code is that a computed jump to `target` (bit 0 set for T32) may go to, and
    /// the tag that its page must have.
    #[inline]
    pub fn jump(&self, target: u32) -> Option<(usize, u64)> {
        let entry = self.jumps.get(jump_slot(target))?;
        (entry.target == target).then_some((entry.code as usize, entry.tag))
    }

    /// Has no code lead to that of block `id` at `target` (bit 0 set for T32) but through its core,
    /// which looks at the block before it runs.
    pub fn isolate(&mut self, id: u32, target: u32) {
        if let Some(block) = self.blocks.get_mut(id as usize) {
            let incoming = std::mem::take(&mut block.incoming);
            self.cut(incoming, id, target);
        }
    }

    /// Has those of the exits that lead to block `id` lead out, and computed jumps to `target`.
    fn cut(&mut self, exits: Vec<(u32, usize)>, id: u32, target: u32) {
        for (from, slot) in exits {
            let exit = self
                .blocks
                .get_mut(from as usize)
                .and_then(|b| b.exits[slot].as_mut());
            if let Some(exit) = exit.filter(|exit| exit.linked == Some(id)) {
                exit.linked = None;
                let Exit { jump, stub, .. } = *exit;
                self.patch(jump, stub);
            }
        }
        let slot = jump_slot(target);
        if self.jumps.entries()[slot].target == target {
            self.jumps.empty(slot);
        }
    }

    /// Forgets the code of block `id`, which was at `target` (bit 0 set for T32). Nothing leads to
    /// it any more.
    pub fn forget(&mut self, id: u32, target: u32) {
        let Some(block) = self.blocks.get_mut(id as usize) else {
            return;
        };
        let gone = std::mem::take(block);
        self.cut(gone.incoming, id, target);
    }

    fn patch(&mut self, at: usize, to: usize) {
        self.memory.write(at, &host::branch(at, to));
    }

    /// Runs the code at `at`, and whatever it is linked with, for at most `left` instructions (far
    /// below 2^63, as code counts down below 0). `retired` says how many they were; when a handler
    /// left, how many came before its block.
    pub fn run(&self, cpu: &mut Cpu, at: usize, left: u64) -> CodeExit {
        cpu.jit.pins = std::ptr::from_ref(cpu.pins.word()).expose_provenance();
        cpu.jit.alone = cpu.is_alone().into();
        cpu.tell_set();
        cpu.jit.code = self.memory.address(0).expose_provenance();
        cpu.jit.jumps = self.jumps.entries().as_ptr().expose_provenance();
        cpu.jit.end = cpu.s.retired + left;
        cpu.jit.time = cpu.time.map_or(0, |time| time.wrapping_add(cpu.jit.end));
        let why = enter(&self.memory, &self.routines, cpu, at, left);
        // Where a handler left, it knows how many were retired before it.
        if why != CodeExit::Flow as u32 {
            cpu.s.retired = cpu.jit.end - cpu.jit.left;
        }
        match why {
            0 => CodeExit::Link,
            1 => CodeExit::LookUp,
            2 => CodeExit::Flow,
            _ => CodeExit::Budget,
        }
    }
}

fn jump_slot(target: u32) -> usize {
    // A32 code, most of a kernel's, has only multiples of four.
    (target >> 2) as usize & (JUMPS - 1)
}

#[cfg(all(
    test,
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux"
))]
mod tests {
    use std::ptr::NonNull;

    use super::super::pool;
    use super::*;
    use crate::block::Key;
    use crate::bus::RamPage;
    use crate::lower::{InsnContext, lower};

    /// A block of one instruction that does nothing, at `va`.
    fn block(va: u32) -> Block {
        let page = RamPage {
            host: NonNull::dangling(),
            writable: true,
            number: 0,
        };
        let context = InsnContext {
            pc: va,
            idx: 0,
            it: 0,
            thumb: false,
            big_endian: false,
        };
        // mov r0, r0
        let op = lower(0xe1a0_0000, context).op;
        let key = Key {
            va,
            pa: va.into(),
            state: 0,
        };
        Block::new(key, vec![op], va + 4, 0, page, Vec::new())
    }

    fn translator(blocks: u32) -> Translator {
        let mut translator = Translator::new(pool::take().unwrap());
        for id in 0..blocks {
            assert!(translator.is_worth_it(id, 1));
            translator
                .translate(id, &block(0x1ffc + 0x1000 * id))
                .unwrap();
        }
        translator
    }

    #[test]
    fn links_that_change_for_ever_take_no_more_memory() {
        let mut translator = translator(3);
        for turn in 0..1000 {
            translator.link(0, 0, 1 + turn % 2, Some(1));
        }
        let incoming = |id: usize| translator.blocks[id].incoming.as_slice();
        assert_eq!((incoming(1), incoming(2)), (&[][..], &[(0, 0)][..]));
    }

    #[test]
    fn what_leads_to_forgotten_code_leads_out() {
        let mut translator = translator(3);
        translator.link(0, 0, 1, Some(1));
        translator.note_jump(0x2ffc, 1, 1);
        let code = translator.code(1).unwrap();
        assert_eq!(translator.jump(0x2ffc), Some((code, 1)));
        translator.forget(1, 0x2ffc);
        assert_eq!((translator.code(1), translator.jump(0x2ffc)), (None, None));
        assert_eq!(translator.blocks[0].exits[0].unwrap().linked, None);
        assert!(
            translator
                .jumps
                .entries()
                .iter()
                .all(|entry| *entry == NOWHERE)
        );
    }

    #[test]
    fn a_full_area_is_begun_anew() {
        let mut translator = translator(1);
        let fill: [fn(&mut Translator); 2] = [
            |one| one.used = NEAR_END - MAX_CODE + 1,
            |one| one.far = SIZE - MAX_CODE + 1,
        ];
        for fill in fill {
            fill(&mut translator);
            assert!(translator.is_worth_it(1, 1));
            assert_eq!(translator.translate(1, &block(0)), None);
            assert_eq!(translator.code(0), None);
            assert!(translator.is_worth_it(1, 1));
            let first = Some(translator.first);
            assert_eq!(translator.translate(1, &block(0)), first);
        }
    }
}
