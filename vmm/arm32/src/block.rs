//! The cache of predecoded blocks.
//!
//! A block is straight-line code of one page, keyed by everything its operations were made from:
//! virtual and physical address and the part of the processor state that decoding depends on. When
//! memory that it was made from is written, it is dropped ([`Blocks::drop_page`]). Blocks that
//! another machine made are compared with memory when this one begins, and again before they run if
//! memory was something else then ([`Blocks::begin`]).

#![expect(
    unsafe_code,
    reason = "decoded code holds a pointer to its page, and moves between threads with its core"
)]

mod handover;
mod sources;

use std::ops::Range;
use std::sync::Arc;

use vmm_base::code_pages::Words;

use crate::bus::RamPage;
use crate::exec::{Handler, Op};
use crate::hash::AddressMap;
use crate::mem;
use crate::sparse::SparseTable;
use crate::tlb::{Spans, fetch_tag};
use handover::PageBlocks;

/// Blocks held at most; when they are used up all are dropped, and so is what was translated. A
/// compiler has more than 65 536, of five instructions each. Bounds host memory at about 200 MiB a
/// core.
const MAX_BLOCKS: usize = 1 << 18;
/// Operations held at most, for the same reason.
const MAX_OPS: usize = 1 << 21;
/// Entries of the jump cache.
const JUMPS: usize = 8192;
/// No block.
pub const NONE: u32 = u32::MAX;
/// The epoch of blocks that memory holds when any of the machines begins that they are handed to,
/// and that nobody has overwritten in the present one.
const START: u32 = 0;
/// The epoch of blocks that were dropped.
const VOID: u32 = u32::MAX;

/// What a block was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Virtual address of the first instruction.
    pub va: u32,
    /// Its physical address.
    pub pa: u64,
    /// See [`crate::core`]'s `decode_state`.
    pub state: u32,
}

/// How to get from the end of one block to the next without looking it up.
#[derive(Clone, Copy)]
pub struct Link {
    /// The next block, or [`NONE`].
    pub block: u32,
    /// Valid while the spans are these; `None` when source and target share a page, and so stand
    /// and fall together.
    pub spans: Option<Spans>,
}

const UNLINKED: Link = Link {
    block: NONE,
    spans: None,
};

/// One block.
///
/// A look-up takes what comes first: it is one line of the host's caches, and there are megabytes
/// of blocks.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Block {
    /// What it was made from.
    pub key: Key,
    /// Its operations, one an instruction; never empty. Copies of a block, whose host code has
    /// their addresses, share them.
    pub ops: Arc<[Op]>,
    /// The page it lies in.
    page: RamPage,
    /// [`Blocks::epoch`] for which it is known to match memory, [`START`], or [`VOID`].
    epoch: u32,
    /// Address after its last instruction.
    pub end: u32,
    /// IT state after its last instruction.
    pub end_it: u8,
    /// Where it goes on: [0] when it ends without a taken branch, [1] when its direct branch is
    /// taken.
    pub links: [Link; 2],
    /// The page that its one instruction ends in, if that is another one.
    second: Option<RamPage>,
    /// The instructions as they stood in memory; empty once they were overwritten.
    bytes: Box<[u8]>,
}

const _: () = assert!(std::mem::offset_of!(Block, links) <= 64);

// SAFETY: a block holds `RamPage`, whose pointer the Bus keeps valid on every thread while a core
// holds the bus, and `Core` owns both; nothing else in it is tied to a thread.
unsafe impl Send for Block {}

impl Block {
    /// Creates a block of `ops`, made from `bytes` of `page`.
    pub fn new(
        key: Key,
        ops: Vec<Op>,
        end: u32,
        end_it: u8,
        page: RamPage,
        bytes: Vec<u8>,
    ) -> Self {
        Self {
            key,
            ops: ops.into(),
            end,
            end_it,
            epoch: 0,
            page,
            second: None,
            links: [UNLINKED; 2],
            bytes: bytes.into(),
        }
    }

    /// Has its one instruction end in page `second`.
    pub fn crossing(self, second: RamPage) -> Self {
        Self {
            second: Some(second),
            ..self
        }
    }

    /// Returns the parts of pages that it was made from: their numbers, and the bytes in them.
    pub fn parts(&self) -> impl Iterator<Item = (u32, Range<usize>)> {
        let (start, len) = ((self.key.pa & 0xfff) as usize, self.bytes.len());
        // The one instruction that crosses has a halfword on each side.
        let end = (start + len).min(0x1000);
        let second = self.second.map(|page| (page.number, 0..start + len - end));
        std::iter::once((self.page.number, start..end)).chain(second)
    }

    /// Returns what generated code knows the page by that it lies in, at its address.
    pub fn tag(&self) -> u64 {
        fetch_tag(self.key.va, self.page.number)
    }

    /// Returns the number of that page.
    pub const fn page(&self) -> u32 {
        self.page.number
    }

    /// Creates a block at the same place whose only operation is `stop`.
    fn front(&self, stop: Handler) -> Self {
        let op = Op {
            f: stop,
            inner: stop,
            ..self.ops[0]
        };
        Self {
            key: self.key,
            ops: Arc::new([op]),
            end: self.end,
            end_it: self.end_it,
            epoch: self.epoch,
            page: self.page,
            second: self.second,
            links: [UNLINKED; 2],
            bytes: self.bytes.clone(),
        }
    }

    /// Returns whether the block is one instruction that ends in the next page, and so depends on
    /// two translations.
    pub fn crosses(&self) -> bool {
        self.second.is_some()
    }

    /// Makes it fail every comparison with memory, like a block whose instructions were
    /// overwritten.
    // No bytes are left, and the epoch is not the present one: the block is compared before it
    // runs, and fails.
    fn void(&mut self) {
        self.bytes = Box::default();
        self.epoch = VOID;
    }

    /// Returns whether memory still holds the instructions it was made from.
    #[expect(clippy::cast_possible_truncation, reason = "a block lies in a page")]
    fn matches_memory(&self) -> bool {
        let at = (self.key.pa & 0xfff) as u32;
        // By words where they are aligned, which A32 code always is.
        let (words, rest) = if at.is_multiple_of(4) {
            self.bytes.as_chunks::<4>()
        } else {
            (&[][..], &*self.bytes)
        };
        let (places, rest_at) = ((at..).step_by(4), at + 4 * words.len() as u32);
        let byte = |at| match self.second {
            Some(second) if at >= 0x1000 => mem::read_page_byte(second, at - 0x1000),
            _ => mem::read_page_byte(self.page, at),
        };
        !self.bytes.is_empty()
            && places
                .zip(words)
                .all(|(at, word)| mem::read_page_word(self.page, at) == u32::from_le_bytes(*word))
            && (rest_at..).zip(rest).all(|(at, found)| byte(at) == *found)
    }
}

/// Where a computed jump led last time.
#[derive(Clone, Copy, PartialEq)]
struct Jump {
    va: u32,
    state: u32,
    block: u32,
}

const NOWHERE: Jump = Jump {
    va: 0,
    state: 0,
    block: NONE,
};

/// All blocks of one core.
#[derive(Clone)]
pub struct Blocks {
    /// Counts the machines that the blocks have been handed to, from 1 on.
    epoch: u32,
    arena: Vec<Block>,
    /// So many of these are of machines before, and are either in `later`, void or of the epoch
    /// [`START`].
    sorted: usize,
    /// Those that memory does not hold when a machine begins: it has other contents then.
    later: Vec<u32>,
    /// The words of the pages of RAM that those of [`START`] were made from.
    start: AddressMap<u32, Words>,
    ops: usize,
    by_key: AddressMap<(u64, u64), u32>,
    jumps: SparseTable<Jump>,
    /// Counts how often everything was dropped.
    cleared: u64,
    /// Blocks that were dropped since somebody asked, if anybody does.
    dropped: Option<Vec<u32>>,
    /// Blocks by the pages of RAM that they were made from.
    in_page: AddressMap<u32, PageBlocks>,
    /// Blocks by the virtual page they begin in; kept from the first [`Blocks::discard`] on.
    by_page: Option<AddressMap<u32, Vec<u32>>>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            epoch: START + 1,
            arena: Vec::new(),
            sorted: 0,
            later: Vec::new(),
            start: AddressMap::default(),
            ops: 0,
            by_key: AddressMap::default(),
            jumps: SparseTable::new(0, NOWHERE),
            cleared: 0,
            dropped: None,
            in_page: AddressMap::default(),
            by_page: None,
        }
    }
}

impl Blocks {
    /// Returns block `id`.
    #[inline(always)]
    pub fn get(&self, id: u32) -> &Block {
        &self.arena[id as usize]
    }

    /// Returns the block that a jump to `va` in `state` reached last, wherever its page was then.
    #[inline]
    pub fn jump(&self, va: u32, state: u32) -> Option<u32> {
        let jump = self.jumps.get(jump_slot(va))?;
        (jump.va == va && jump.state == state && jump.block != NONE).then_some(jump.block)
    }

    /// Remembers where a jump led.
    pub fn note_jump(&mut self, va: u32, state: u32, block: u32) {
        // Which depends on two pages is looked up each time.
        if !self.get(block).crosses() {
            if self.jumps.has_no_entries() {
                // Most machines of a snapshot are given those of another before.
                self.jumps = SparseTable::new(JUMPS, NOWHERE);
            }
            self.jumps.set(jump_slot(va), Jump { va, state, block });
        }
    }

    /// Returns the block for `key`.
    pub fn find(&self, key: Key) -> Option<u32> {
        self.by_key.get(&pack(key)).copied()
    }

    /// Adds a block. Ids handed out before are void when this returns `true` in second place: the
    /// cache was full and was emptied first.
    pub fn insert(&mut self, block: Block) -> (u32, bool) {
        let full = self.make_room(1);
        let (key, crosses) = (block.key, block.crosses());
        let id = self.push(block);
        if !crosses {
            self.by_key.insert(pack(key), id);
        }
        (id, full)
    }

    /// Adds a block behind breakpoints, in their order: each is a block that ends at its first
    /// operation, which stops or passes. What follows goes to [`Blocks::behind`]. Returns as
    /// [`Blocks::insert`] does.
    pub fn insert_behind(&mut self, stops: &[Handler], block: Block) -> (u32, bool) {
        let full = self.make_room(1 + stops.len());
        let mut next = block;
        // From the last to the first: each must know what is behind it.
        for stop in stops.iter().rev() {
            let mut front = next.front(*stop);
            front.links[0].block = self.push(next);
            next = front;
        }
        (self.insert(next).0, full)
    }

    /// Returns what is behind the stop that begins block `id`: another stop, or the block of real
    /// operations.
    pub fn behind(&self, id: u32) -> u32 {
        self.arena[id as usize].links[0].block
    }

    /// Empties the cache if it cannot take `blocks` more.
    fn make_room(&mut self, blocks: usize) -> bool {
        let full = self.arena.len() + blocks > MAX_BLOCKS || self.ops >= MAX_OPS;
        if full {
            self.clear();
        }
        full
    }

    #[expect(clippy::cast_possible_truncation, reason = "the arena is bounded")]
    fn push(&mut self, mut block: Block) -> u32 {
        let id = self.arena.len() as u32;
        block.epoch = self.epoch;
        self.ops += block.ops.len();
        for (number, _) in block.parts() {
            let blocks = self.in_page.entry(number).or_default();
            blocks.add(id, number, &block);
        }
        if let Some(pages) = &mut self.by_page {
            pages.entry(block.key.va >> 12).or_default().push(id);
        }
        self.arena.push(block);
        id
    }

    /// Invalidates every block that holds the instruction at `va`, in whatever address space.
    pub fn discard(&mut self, va: u32) {
        let arena = &self.arena;
        // Built when the first breakpoint is set: runs without any do not pay for it.
        let pages = self.by_page.get_or_insert_with(|| {
            let mut pages = AddressMap::<u32, Vec<u32>>::default();
            for (id, block) in (0..).zip(arena) {
                pages.entry(block.key.va >> 12).or_default().push(id);
            }
            pages
        });
        let Some(ids) = pages.get_mut(&(va >> 12)) else {
            return;
        };
        let (arena, dropped) = (&mut self.arena, &mut self.dropped);
        let by_key = &mut self.by_key;
        ids.retain(|id| {
            let block = &mut arena[*id as usize];
            // Wraps: the end of a block at the top of the address space is 0.
            let holds = va.wrapping_sub(block.key.va) < block.end.wrapping_sub(block.key.va);
            if holds {
                void(*id, block, by_key, dropped);
            }
            !holds
        });
    }

    /// Drops every block made from RAM page `number`, which was written.
    pub fn drop_page(&mut self, number: u32) {
        self.start.remove(&number);
        for id in self.in_page.remove(&number).unwrap_or_default().ids {
            let block = &mut self.arena[id as usize];
            void(id, block, &mut self.by_key, &mut self.dropped);
        }
    }

    /// Returns how often everything was dropped.
    pub fn cleared(&self) -> u64 {
        self.cleared
    }

    /// Keeps a list of what is dropped from now on, for [`Blocks::take_dropped`].
    pub fn list_dropped(&mut self) {
        self.dropped.get_or_insert_default();
    }

    /// Keeps that list no more.
    pub fn list_no_dropped(&mut self) {
        self.dropped = None;
    }

    /// Returns the blocks that were dropped since the last time.
    pub fn take_dropped(&mut self) -> Vec<u32> {
        self.dropped.as_mut().map_or_else(Vec::new, std::mem::take)
    }

    /// Returns whether there are such.
    #[inline]
    pub fn any_dropped(&self) -> bool {
        self.dropped.as_ref().is_some_and(|all| !all.is_empty())
    }

    /// Returns whether block `id` is known to be what memory holds.
    #[inline(always)]
    pub fn is_trusted(&self, id: u32) -> bool {
        let epoch = self.arena[id as usize].epoch;
        epoch == self.epoch || epoch == START
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.cleared += 1;
        self.dropped.iter_mut().for_each(Vec::clear);
        self.arena.clear();
        self.sorted = 0;
        self.later.clear();
        self.start.clear();
        self.ops = 0;
        self.by_key.clear();
        self.in_page.clear();
        if let Some(pages) = &mut self.by_page {
            pages.clear();
        }
        self.jumps.clear();
    }

    /// Links exit `slot` of block `from` to `to`.
    pub fn link(&mut self, from: u32, slot: usize, to: u32, spans: Spans) {
        let block = &self.arena[to as usize];
        let (target, crosses) = (block.key, block.crosses());
        let source = &mut self.arena[from as usize];
        let same_page = !crosses
            && source.key.va >> 12 == target.va >> 12
            && source.key.pa >> 12 == target.pa >> 12;
        source.links[slot] = Link {
            block: to,
            spans: (!same_page).then_some(spans),
        };
    }

    /// Compares block `id` with memory; `true` when it holds, and is trusted from now on. Otherwise
    /// it is dropped.
    pub fn revalidate(&mut self, id: u32) -> bool {
        let block = &mut self.arena[id as usize];
        if block.matches_memory() {
            block.epoch = self.epoch;
            return true;
        }
        void(id, block, &mut self.by_key, &mut self.dropped);
        false
    }
}

/// Drops `block`, which is block `id`: its place in the arena stays, as links lead there, but it
/// fails every comparison with memory for ever, and its key is free.
fn void(
    id: u32,
    block: &mut Block,
    by_key: &mut AddressMap<(u64, u64), u32>,
    dropped: &mut Option<Vec<u32>>,
) {
    // The key may already lead to a newer block.
    if by_key.get(&pack(block.key)) == Some(&id) {
        by_key.remove(&pack(block.key));
    }
    block.void();
    if let Some(dropped) = dropped {
        dropped.push(id);
    }
}

fn jump_slot(va: u32) -> usize {
    ((va >> 1) ^ (va >> 13)) as usize & (JUMPS - 1)
}

fn pack(key: Key) -> (u64, u64) {
    (u64::from(key.va) << 32 | u64::from(key.state), key.pa)
}
