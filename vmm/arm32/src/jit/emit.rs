//! Blocks to code: what is the same for every host. What is not is its [`Target`]'s.

mod spec;

pub use spec::{Emitted, Places, Routines, Site};

use crate::block::Block;
use crate::exec::Op;
use crate::host_code::CodeExit;
use crate::ir::{AluOp, Dest, FlagSet, Mop, Value, drop_dead_flags, drop_known_needs, lower};

/// What is out of the way: an operation left to its handler.
struct Slow<F> {
    misaligned: Vec<Misaligned<F>>,
    from: Vec<F>,
    op: *const Op,
    back: usize,
}

/// What is out of the way: an access at an address that is misaligned, or in a page that the fast
/// path does not know.
struct Misaligned<F> {
    from: F,
    /// Which of [`Routines::misaligned`] is asked.
    routine: usize,
    /// Where it goes on if the access may be made.
    back: usize,
}

/// What is out of the way: an exit that leads nowhere yet.
struct Stub<F> {
    slot: usize,
    va: u32,
    it: u8,
    jump: F,
    /// What names the tag that is compared, and the branch that is taken if it is another.
    guard: Option<(F, F)>,
}

/// A block on its way to code.
pub struct Emitter<'a, A: Target> {
    /// The code.
    pub asm: &'a mut A,
    /// The routines that it may branch to.
    pub routines: &'a Routines,
    /// The block.
    pub block: &'a Block,
    /// Its number.
    pub id: u32,
    /// What the host's flags say of the guest's, if anything.
    pub host: Option<A::Known>,
    /// Accesses of the instruction that may be misaligned.
    misaligned: Vec<Misaligned<A::Fixup>>,
    slow: Vec<Slow<A::Fixup>>,
    stubs: Vec<Stub<A::Fixup>>,
    code: Emitted,
}

/// A host's encoder, and how it says what blocks are made of.
pub trait Target: Sized {
    /// An instruction that says how far away something is, to be filled in.
    type Fixup: Copy;
    /// What the host's flags may say of the guest's.
    type Known: Copy;
    /// Whether what is out of the way may be anywhere in the code area. It is not in the way of
    /// what usually runs then, in the host's caches either.
    const REACHES_ALL: bool;

    /// Returns the position of what is written next.
    fn here(&self) -> usize;
    /// Writes a branch.
    fn jump(&mut self) -> Self::Fixup;
    /// Writes eight bytes of zeros, aligned; returns their position.
    fn quad(&mut self) -> usize;
    /// Returns the position of the four bytes that say how far away something is.
    fn place(fixup: Self::Fixup) -> usize;
    /// Has what `fixup` names be at `to`; both it and the code, which will be at `start`, count
    /// from one place.
    fn bind_from(&mut self, start: usize, fixup: Self::Fixup, to: usize);

    /// Returns whether there is code for `mop`. What there is none for is rare.
    fn is_emitted(mop: &Mop) -> bool;
    /// Takes `count` instructions from the budget; returns the branch that is taken if there were
    /// fewer.
    fn take(e: &mut Emitter<'_, Self>, count: u32) -> Self::Fixup;
    /// Gives `count` instructions back.
    fn give_back(e: &mut Emitter<'_, Self>, count: u32);
    /// Returns the branches that are taken unless `cond`, 0 to 13, holds.
    fn unless(e: &mut Emitter<'_, Self>, cond: u8) -> Vec<Self::Fixup>;
    /// Writes a branch that is taken if `cond`, 0 to 13, holds, and returns it; `None` if it takes
    /// more than one, or cannot lead wherever an exit may.
    fn exit_if(e: &mut Emitter<'_, Self>, cond: u8) -> Option<Self::Fixup>;
    /// Moves `y` to guest register `d` if `cond`, 0 to 13, holds, without a branch; returns whether
    /// that can be done, which takes one condition of the host.
    fn select(e: &mut Emitter<'_, Self>, cond: u8, d: u8, y: Value) -> bool;
    /// Returns the branch that is taken unless `x` is 0 (`zero`), or is not.
    fn unless_zero(e: &mut Emitter<'_, Self>, x: Value, zero: bool) -> Self::Fixup;
    /// Writes any other operation but a call of a handler. `host`: what [`Emitter::host`] was
    /// before it. Branches that are taken where the handler must do the instruction are added to
    /// `slow`.
    fn mop(
        e: &mut Emitter<'_, Self>,
        mop: Mop,
        host: Option<Self::Known>,
        slow: &mut Vec<Self::Fixup>,
    );
    /// Calls a routine of [`Routines::misaligned`]; returns the branch that is taken if it said
    /// yes.
    fn ask_misaligned(e: &mut Emitter<'_, Self>, routine: usize) -> Self::Fixup;
    /// Runs the handler of `op`, of a block of `count` instructions.
    fn call(e: &mut Emitter<'_, Self>, op: *const Op, count: u32);
    /// Puts the target of a branch where [`Routines`] expect it.
    fn load_target(e: &mut Emitter<'_, Self>, to: Value);
    /// Compares the tag of the page of `va` with eight bytes; returns what names these, and the
    /// branch that is taken if they differ.
    fn guard(e: &mut Emitter<'_, Self>, va: u32) -> (Self::Fixup, Self::Fixup);
    /// Tells the core that the block ends by exit `slot`.
    fn note_exit(e: &mut Emitter<'_, Self>, slot: usize);
    /// Goes back to the core with R15 at `va` and IT state `it`.
    fn leave_at(e: &mut Emitter<'_, Self>, va: u32, it: u8, why: CodeExit);
}

/// Writes the code of block `id`, which will be at `places` of the code area.
pub fn emit<A: Target>(
    asm: &mut A,
    places: Places,
    routines: &Routines,
    id: u32,
    block: &Block,
) -> Emitted {
    let mut emitter = Emitter {
        asm,
        routines,
        block,
        id,
        host: None,
        misaligned: Vec::new(),
        slow: Vec::new(),
        stubs: Vec::new(),
        code: Emitted {
            sites: [None; 2],
            split: usize::MAX,
            places,
        },
    };
    emitter.block();
    emitter.code
}

/// Returns the operations of a block, and how many of them each instruction has.
fn lowered<A: Target>(block: &Block) -> (Vec<Mop>, Vec<usize>) {
    let (mut all, mut counts) = (Vec::new(), Vec::new());
    for op in block.ops.iter() {
        let start = all.len();
        lower(op, &mut all);
        if !all[start..].iter().all(A::is_emitted) {
            all.truncate(start);
            all.push(Mop::Call);
        }
        counts.push(all.len() - start);
    }
    drop_dead_flags(&mut all);
    drop_known_needs(&mut all);
    (all, counts)
}

impl<A: Target> Emitter<'_, A> {
    fn block(&mut self) {
        let count = self.count();
        let budget = A::take(self, count);
        let (mops, counts) = lowered::<A>(self.block);
        let mut rest = &mops[..];
        let mut ended = false;
        for (op, count) in self.block.ops.iter().zip(counts) {
            let (these, others) = rest.split_at(count);
            rest = others;
            ended = self.op(op, these);
        }
        if !ended {
            self.leave_by(0, self.block.end, self.block.end_it);
        }
        self.begin_far();
        self.handlers();
        self.exits();
        self.bind_here(budget);
        A::give_back(self, count);
        let key = self.block.key;
        A::leave_at(self, key.va, key.state.to_le_bytes()[1], CodeExit::Budget);
    }

    /// Returns the number of its instructions.
    pub fn count(&self) -> u32 {
        u32::try_from(self.block.ops.len()).unwrap_or(u32::MAX)
    }

    /// Branches to the routine at `to` of the code area.
    pub fn leave_to(&mut self, to: usize) {
        let fixup = self.asm.jump();
        self.bind_to(fixup, to);
    }

    /// Has what `fixup` names be at `to` of the code area.
    pub fn bind_to(&mut self, fixup: A::Fixup, to: usize) {
        let at = A::place(fixup);
        // Both count from the start of the code area.
        self.asm.bind_from(self.code.address(at) - at, fixup, to);
    }

    /// Has what `fixup` names be at position `to` of the block's code.
    fn bind(&mut self, fixup: A::Fixup, to: usize) {
        self.bind_to(fixup, self.code.address(to));
    }

    fn bind_here(&mut self, fixup: A::Fixup) {
        self.bind(fixup, self.asm.here());
    }

    /// Notes that what follows is out of the way.
    fn begin_far(&mut self) {
        let split = self.asm.here();
        self.code.split = split;
        if let Some(far) = &mut self.code.places.far {
            // What is aligned in the code is aligned in its place.
            *far += split.wrapping_sub(*far) % 8;
        }
    }

    /// Ends the block by exit `slot`, to `va` with IT state `it`. If that is another page, the exit
    /// holds while its tag is in place.
    fn leave_by(&mut self, slot: usize, va: u32, it: u8) {
        let guard = self.is_elsewhere(va).then(|| A::guard(self, va));
        let jump = self.asm.jump();
        self.stubs.push(Stub {
            slot,
            va,
            it,
            jump,
            guard,
        });
    }

    /// Writes what exits lead to that are not linked.
    fn exits(&mut self) {
        for Stub {
            slot,
            va,
            it,
            jump,
            guard,
        } in std::mem::take(&mut self.stubs)
        {
            let stub = self.asm.here();
            self.bind(jump, stub);
            A::note_exit(self, slot);
            A::leave_at(self, va, it, CodeExit::Link);
            let guard = guard.map(|(quad, stale)| {
                self.bind(stale, stub);
                let at = self.asm.quad();
                self.bind(quad, at);
                at
            });
            self.code.sites[slot] = Some(Site {
                jump: A::place(jump),
                stub,
                guard,
            });
        }
    }

    /// Writes the operations of one instruction; returns whether they end the block whatever
    /// happens.
    fn op(&mut self, op: &Op, mops: &[Mop]) -> bool {
        let (mut slow, mut joins) = (Vec::new(), Vec::<(usize, Vec<A::Fixup>)>::new());
        let (mut skipped_to, mut selected) = (0, None);
        let mut ends = false;
        for (index, mop) in mops.iter().enumerate() {
            self.join(&mut joins, index);
            if selected == Some(index) {
                continue;
            }
            let branches = matches!(mop, Mop::Goto { .. } | Mop::Jump { .. });
            ends = branches && index >= skipped_to;
            if branches {
                // Those behind it, if it is conditional, have been counted and are not executed.
                let behind = self.behind(op);
                if behind > 0 {
                    A::give_back(self, behind);
                }
            }
            match *mop {
                Mop::SkipUnless { cond, count: 1 }
                    if self.conditional(op, cond, &mops[index + 1]) =>
                {
                    selected = Some(index + 1);
                }
                Mop::SkipUnless { cond, count } => {
                    let fixups = A::unless(self, cond);
                    skipped_to = index + 1 + usize::from(count);
                    joins.push((skipped_to, fixups));
                }
                Mop::SkipUnlessZero { x, zero, count } => {
                    self.host = None;
                    let fixup = A::unless_zero(self, x, zero);
                    skipped_to = index + 1 + usize::from(count);
                    joins.push((skipped_to, vec![fixup]));
                }
                Mop::Call => {
                    self.host = None;
                    A::call(self, op, self.count());
                }
                Mop::Goto { va } => {
                    self.host = None;
                    self.leave_by(1, va, 0);
                }
                Mop::Jump { to, exchange } => {
                    self.host = None;
                    A::load_target(self, to);
                    let Routines {
                        exchange: other,
                        branch: same,
                        ..
                    } = *self.routines;
                    self.leave_to(if exchange { other } else { same });
                }
                mop => {
                    let host = self.host.take();
                    A::mop(self, mop, host, &mut slow);
                }
            }
        }
        self.join(&mut joins, mops.len());
        let misaligned = std::mem::take(&mut self.misaligned);
        if !slow.is_empty() || !misaligned.is_empty() {
            self.host = None;
            self.slow.push(Slow {
                misaligned,
                from: slow,
                op,
                back: self.asm.here(),
            });
        }
        ends
    }

    /// Has the access of `size` bytes for which an entry was just looked up go on from here, also
    /// if its address is misaligned and may be: the last branch of `slow` is taken then.
    pub fn may_be_misaligned(&mut self, write: bool, size: u8, slow: &mut Vec<A::Fixup>) {
        // A byte is never misaligned.
        if size > 1
            && let Some(from) = slow.pop()
        {
            self.misaligned.push(Misaligned {
                from,
                routine: self.routines.misaligned[usize::from(size == 4)][usize::from(write)],
                back: self.asm.here(),
            });
        }
    }

    /// Writes an operation that is done if `cond` holds, without a branch around it; returns
    /// whether it is one that can be.
    fn conditional(&mut self, op: &Op, cond: u8, mop: &Mop) -> bool {
        let va = match *mop {
            Mop::Goto { va } => va,
            // What a condition decides that is of data is often predicted wrongly.
            Mop::Alu {
                op: AluOp::Move,
                d: Dest::Reg(d),
                y,
                set: FlagSet::NONE,
                ..
            } => return A::select(self, cond, d, y),
            _ => return false,
        };
        if self.behind(op) > 0 || self.is_elsewhere(va) {
            return false;
        }
        let Some(jump) = A::exit_if(self, cond) else {
            return false;
        };
        self.stubs.push(Stub {
            slot: 1,
            va,
            it: 0,
            jump,
            guard: None,
        });
        true
    }

    /// Returns how many instructions are behind that of `op`.
    fn behind(&self, op: &Op) -> u32 {
        self.count() - 1 - u32::from(op.idx)
    }

    /// Returns whether `va` is in another page.
    fn is_elsewhere(&self, va: u32) -> bool {
        va >> 12 != self.block.key.va >> 12
    }

    /// Binds the branches that lead here.
    fn join(&mut self, joins: &mut Vec<(usize, Vec<A::Fixup>)>, index: usize) {
        joins.retain_mut(|(to, fixups)| {
            if *to == index {
                for fixup in fixups.drain(..) {
                    self.bind_here(fixup);
                }
                self.host = None;
            }
            *to != index
        });
    }

    /// Writes calls of handlers where the fast path does not answer.
    fn handlers(&mut self) {
        for slow in std::mem::take(&mut self.slow) {
            let Slow {
                misaligned,
                mut from,
                op,
                back,
            } = slow;
            let last = misaligned.len().saturating_sub(1);
            for (index, access) in misaligned.into_iter().enumerate() {
                self.bind_here(access.from);
                let goes_on = A::ask_misaligned(self, access.routine);
                self.bind(goes_on, access.back);
                if index < last {
                    from.push(self.asm.jump());
                }
            }
            for fixup in from {
                self.bind_here(fixup);
            }
            A::call(self, op, self.count());
            let fixup = self.asm.jump();
            self.bind(fixup, back);
        }
    }
}

#[cfg(test)]
mod tests;
