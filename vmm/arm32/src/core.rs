//! The loop that runs predecoded blocks.
//!
//! Whatever the loop does is independent of where blocks happen to begin and end: the budget is
//! kept to the instruction, interrupts are looked for after every instruction that may have raised
//! or unmasked one, and an aborted instruction counts like any other. So a run is the same whether
//! the cache was warm or cold.

mod fetch;
mod guest_debug;
mod translated;

use std::collections::BTreeSet;
use std::sync::Arc;

use vmm_base::Clock;

use crate::block::{Blocks, NONE};
use crate::bus::Bus;
use crate::cpu::{CoreExit, Cpu, Flow, Passed};
use crate::debug::events::Armed;
use crate::exception::Exception;
use crate::exec::Op;
use crate::jit::Translator;
use fetch::MAX_BLOCK;
use translated::Translation;

/// Breakpoints that may be reported between two instructions: whoever moves R15 from one to the
/// next can go through as many, and then an instruction runs, so that no run stands still for ever.
const MAX_STOPS: u32 = 64;

/// A core and its predecoded code.
pub struct Core {
    /// The core.
    pub cpu: Cpu,
    blocks: Blocks,
    /// Addresses of instructions before which to stop.
    breakpoints: BTreeSet<u32>,
    /// What the guest's debug registers ask for, as predecoded code and the software TLB have it.
    armed: Armed,
    /// The block behind the breakpoint at which the core stands.
    resume: Option<u32>,
    /// Host code of blocks, if it is wanted.
    translation: Option<Translation>,
    /// Instructions in a block at most.
    longest: usize,
}

/// The predecoded code of a core, to be given to one that has the same memory.
pub struct Code {
    blocks: Blocks,
    /// The last span in which it was known to be right.
    span: u32,
    /// Host code of the blocks.
    translator: Option<Translator>,
}

impl Code {
    /// Returns the same once more, for another core. Host code is left out if there is no memory
    /// for it.
    pub(crate) fn copy(&self) -> Self {
        Self {
            blocks: self.blocks.clone(),
            span: self.span,
            translator: self.translator.as_ref().and_then(Translator::copy),
        }
    }
}

/// What there was to see to between two blocks.
enum Seen {
    /// Nothing that matters to the loop.
    Nothing,
    /// Something that moved R15.
    Elsewhere,
    /// The guest's own breakpoints: one instruction runs, of this block.
    Step(u32),
    /// Something in place of an instruction, after which there may be more to see to.
    Again,
    /// A reason to leave the loop.
    Leave(CoreExit),
}

/// Where the loop goes on.
enum Onward {
    /// Along link `slot` of the block just run.
    Link(usize),
    /// Wherever R15 points.
    LookUp,
    /// To what is behind the breakpoint just passed.
    Behind,
    /// Out of the loop.
    Leave(CoreExit),
}

impl Core {
    /// Creates a core in its reset state, core `index` of `count`.
    pub fn new(index: u8, count: u8, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        Self {
            cpu: Cpu::new(index, count, bus, clock),
            blocks: Blocks::default(),
            breakpoints: BTreeSet::new(),
            armed: Armed::default(),
            resume: None,
            translation: None,
            longest: MAX_BLOCK,
        }
    }

    /// Forgets all predecoded code.
    pub fn forget_code(&mut self) {
        self.blocks.clear();
        self.look_again();
    }

    /// Hands over the predecoded code.
    pub(crate) fn take_code(&mut self) -> Code {
        let translator = self.take_translator();
        let mut blocks = std::mem::take(&mut self.blocks);
        // Where these lie, code is not what it would be elsewhere.
        self.stops_in_code().for_each(|va| blocks.discard(va));
        self.forget_armed();
        self.look_again();
        Code {
            translator,
            blocks,
            span: self.cpu.tlb.spans().local,
        }
    }

    /// Takes over predecoded code, if the core's bus has the memory that it was made of. All cores
    /// that the code is given to must begin with the same contents of memory: what memory does not
    /// hold then, in the first of them, is compared with it before it runs.
    pub(crate) fn give_code(&mut self, code: Code) {
        let Code {
            mut blocks,
            span,
            translator,
        } = code;
        if self.breakpoints.is_empty() && blocks.settle(&*self.cpu.bus) {
            self.forget_armed();
            blocks.begin();
            self.blocks = blocks;
            self.give_translator(translator);
            self.cover_start();
            self.cpu.tlb.begin_after(span);
            self.look_again();
        }
    }

    /// Makes the next run look at the instruction at R15 anew: something that decoding depends on
    /// was changed.
    pub(crate) fn look_again(&mut self) {
        self.resume = None;
    }

    /// Sets (`on`) or removes a breakpoint at the virtual address `va`. The blocks that hold the
    /// instruction are made anew; where no breakpoint lies, code runs as if there were none.
    pub(crate) fn set_breakpoint(&mut self, va: u32, on: bool) {
        let changed = if on {
            self.breakpoints.insert(va)
        } else {
            self.breakpoints.remove(&va)
        };
        if changed {
            self.blocks.discard(va);
            self.look_again();
        }
    }

    /// Runs at most `budget` instructions.
    pub fn run(&mut self, budget: u64) -> CoreExit {
        let exit = self.run_blocks(budget);
        self.cpu.sync_clock(0);
        exit
    }

    fn run_blocks(&mut self, budget: u64) -> CoreExit {
        self.cpu.begin_time(budget);
        let end = self.cpu.s.retired.saturating_add(budget);
        let mut next = match self.resume.take() {
            Some(behind) if self.cpu.stops.passes(&self.cpu.s) => behind,
            _ => NONE,
        };
        let mut from = None;
        loop {
            let mut until = end;
            if self.cpu.pins.any() {
                match self.see_to_pins(next, end) {
                    Seen::Nothing => {}
                    Seen::Elsewhere => (next, from) = (NONE, None),
                    Seen::Step(id) => (next, from, until) = (id, None, self.cpu.s.retired + 1),
                    Seen::Again => {
                        (next, from) = (NONE, None);
                        continue;
                    }
                    Seen::Leave(exit) => return exit,
                }
            }
            let left = until - self.cpu.s.retired;
            if left == 0 {
                return CoreExit::Budget;
            }
            let code = match (next, from) {
                (NONE, None) => self.code_ahead(left),
                _ => None,
            };
            if code.is_none() && (next == NONE || !self.holds(next)) {
                match self.look_up(from) {
                    Ok(id) => next = id,
                    Err(fault) => {
                        self.cpu.s.retired += 1;
                        self.cpu.enter(Exception::PrefetchAbort(fault));
                        (next, from) = (NONE, None);
                        continue;
                    }
                }
            }
            let onward = match code.or_else(|| self.code_for(next, left, from)) {
                Some(code) => {
                    let (onward, block) = self.run_code(code, left);
                    next = block;
                    onward
                }
                None => self.run_block(next, left),
            };
            match onward {
                Onward::Link(slot) => {
                    let link = self.blocks.get(next).links[slot];
                    from = Some((next, slot));
                    let valid = link.spans.is_none_or(|spans| spans == self.cpu.tlb.spans());
                    next = if valid { link.block } else { NONE };
                }
                Onward::LookUp => (next, from) = (NONE, None),
                Onward::Behind => (next, from) = (self.blocks.behind(next), None),
                Onward::Leave(exit) => match self.leave(next, exit) {
                    Some(exit) => return exit,
                    None => (next, from) = (self.blocks.behind(next), None),
                },
            }
        }
    }

    /// Sees to what [`Pins::any`](crate::wires::Pins::any) tells of before block `next`, outside of
    /// the fast loop.
    #[cold]
    #[inline(never)]
    fn see_to_pins(&mut self, mut next: u32, end: u64) -> Seen {
        if self.cpu.pins.take_stop() {
            return Seen::Leave(CoreExit::Requested);
        }
        if self.cpu.pins.take_code() {
            self.hear_of_code();
        }
        if self.cpu.pins.attention()
            && let Some(exit) = self.attend()
        {
            return Seen::Leave(exit);
        }
        let mut seen = Seen::Nothing;
        if let Some(e) = self.cpu.interrupt() {
            self.cpu.enter(e);
            (next, seen) = (NONE, Seen::Elsewhere);
        }
        if self.armed.everywhere && self.cpu.s.retired < end {
            match self.step(next) {
                Ok(id) => return Seen::Step(id),
                Err(e) => {
                    self.cpu.s.retired += 1;
                    self.cpu.enter(e);
                    return Seen::Again;
                }
            }
        }
        seen
    }

    /// Returns why the loop is left from block `id`; `None` to go on behind the breakpoint there,
    /// which was reported.
    #[cold]
    fn leave(&mut self, id: u32, exit: CoreExit) -> Option<CoreExit> {
        if let CoreExit::Breakpoint { pc } = exit {
            let stops = &mut self.cpu.stops;
            if stops.passes(&self.cpu.s) {
                return None;
            }
            let retired = self.cpu.s.retired;
            let count = match stops.passed {
                Some(last) if last.retired == retired => last.count.saturating_add(1),
                _ => 1,
            };
            stops.passed = Some(Passed { pc, retired, count });
            if count > MAX_STOPS {
                return None;
            }
            self.resume = Some(self.blocks.behind(id));
        }
        Some(exit)
    }

    /// Runs block `id`, or its first `left` instructions.
    #[inline(always)]
    fn run_block(&mut self, id: u32, left: u64) -> Onward {
        let cpu = &mut self.cpu;
        let block = self.blocks.get(id);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let ops = &block.ops[..left.min(block.ops.len())];
        for op in ops {
            let flow = (op.f)(cpu, op);
            if flow != Flow::Next {
                cpu.s.retired += u64::from(op.idx) + 1;
                return Self::after(cpu, op, flow);
            }
        }
        cpu.s.retired += ops.len() as u64;
        if let Some(op) = block.ops.get(ops.len()) {
            (cpu.s.r[15], cpu.s.psr.it) = (op.pc, op.it);
            return Onward::LookUp;
        }
        (cpu.s.r[15], cpu.s.psr.it) = (block.end, block.end_it);
        Onward::Link(0)
    }

    /// Returns what follows an instruction that did not simply go on.
    #[inline(always)]
    fn after(cpu: &mut Cpu, op: &Op, flow: Flow) -> Onward {
        match flow {
            Flow::Taken => {
                cpu.s.psr.it = 0;
                Onward::Link(1)
            }
            Flow::Jump => {
                cpu.s.psr.it = 0;
                Onward::LookUp
            }
            Flow::Return => Onward::LookUp,
            Flow::Pass => {
                // A stop in front of an instruction is no instruction.
                cpu.s.retired -= 1;
                Onward::Behind
            }
            Flow::Next | Flow::End | Flow::Leave => {
                (cpu.s.r[15], cpu.s.psr.it) = (op.next(), op.next_it());
                match cpu.exit.take() {
                    Some(exit) => Onward::Leave(exit),
                    None => Onward::LookUp,
                }
            }
            Flow::Exception => Self::not_done(cpu, op),
        }
    }

    /// Takes the exception of an instruction that was not done, or leaves the loop with R15 and IT
    /// at it.
    #[cold]
    fn not_done(cpu: &mut Cpu, op: &Op) -> Onward {
        (cpu.s.r[15], cpu.s.psr.it) = (op.pc, op.it);
        let e = match (cpu.pending.take(), cpu.exit) {
            (None, Some(exit)) => {
                cpu.exit = None;
                // One that will be tried again counts when it is done.
                cpu.s.retired -= u64::from(!matches!(exit, CoreExit::Firmware(_)));
                return Onward::Leave(exit);
            }
            (e, _) => e.unwrap_or(Exception::Undefined),
        };
        if e == Exception::Svc {
            (cpu.s.r[15], cpu.s.psr.it) = (op.next(), op.next_it());
        }
        cpu.enter(e);
        // An observer was to be told of an access that the instruction made before.
        match cpu.exit.take() {
            Some(exit) => Onward::Leave(exit),
            None => Onward::LookUp,
        }
    }
}
