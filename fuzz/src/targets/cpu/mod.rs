//! Code of every class of instruction on two cores, with page tables, devices and exceptions: no
//! panic, no hang, no access outside RAM, and the same run whichever way it is made.
//!
//! The input is a program of instructions from the decoder's own tables, with registers that point
//! to memory. It runs once in one go by the interpreter, and a second time translated to host code,
//! as soon as it runs or only what runs again, in one go or in pieces, with the cores saved and
//! restored (so that all code is decoded anew), instruction by instruction, or with breakpoints and
//! watchpoints. Cores, memory, outputs and time shall come out equal.
//!
//! Machines are kept from input to input, as they take long to make, and begin each from the same
//! saved state. Some inputs, chosen by their bytes, also run on machines that have run nothing
//! before; so do all with a difference. What an input before left behind would be one, too.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the machine's memory lies below 4 GiB"
)]

mod code;
mod image;
mod run;
mod setting;

#[path = "../../../../vmm/arm32/tests/common/mod.rs"]
mod common;

use std::cell::RefCell;

use arbitrary::{Arbitrary, Unstructured};
use arm32::CoreRegisters;
use arm32::watch::{WatchKind, Watchpoint};
use code::Program;
use common::RAM;
use image::Image;
use run::{EndState, Rig, Run, Sizes};
use setting::{CODE, DATA, Setting};

/// Instructions of one case at most.
const BUDGET: u64 = 1500;
/// As many at a time as are left.
const WHOLE: u64 = u64::MAX;
/// Instructions in a block of the interpreter at most. Programs fault at every third instruction or
/// so, after each of which there is a new block.
const INTERPRETED: usize = 8;
/// Of so many inputs, about one also runs on new machines.
const CHECKED: u32 = 64;

/// A program, where it runs, and how it runs the second time.
#[derive(Arbitrary, Debug)]
struct Case {
    setting: Setting,
    manner: Manner,
    /// Whether code is translated when it runs for the first time, or the third.
    at_once: bool,
    /// When interrupt inputs change: after so many instructions, which core, which line, which
    /// level.
    interrupts: [(u16, bool, bool, bool); 2],
    program: Program,
}

/// The way in which the program runs the second time.
#[derive(Arbitrary, Debug)]
enum Manner {
    /// In pieces of so many instructions.
    Pieces(u8),
    /// In pieces, each by a new cluster with what was saved of the one before.
    Restored(u8),
    /// Instruction by instruction, this core or both.
    Steps(bool),
    /// With breakpoints in the code.
    Breakpoints([u16; 3]),
    /// With memory watched.
    Watched(u16, u8, u8),
    /// Registers are looked at and written back between pieces.
    Looked(u8),
}

/// The machines that run a case, and what their memory begins with.
struct Rigs {
    interpreter: Rig,
    /// Code is translated when it runs for the first time.
    at_once: Rig,
    /// When it does for the third.
    later: Rig,
    image: Image,
}

impl Rigs {
    fn new() -> Self {
        Self {
            interpreter: Rig::new(None),
            at_once: Rig::new(Some(1)),
            later: Rig::new(Some(3)),
            image: Image::new(),
        }
    }

    /// Runs `case` by interpreter and translator, as much of it as `draw` says; returns the
    /// machines as they were left, and the outcomes.
    fn both(&mut self, case: &Case, draw: Draw) -> [(&Rig, EndState); 2] {
        case.setting.memory(&mut self.image);
        let instructions = case.program.place(&mut self.image, case.setting.thumb());
        let budget = draw.budget(instructions);
        let sizes = |longest| Sizes { budget, longest };
        let translator = if case.at_once {
            &mut self.at_once
        } else {
            &mut self.later
        };
        let (interpreter, image) = (&mut self.interpreter, &self.image);
        let first = Run::new(interpreter, case, image, sizes(INTERPRETED));
        let first = first.whole(case, WHOLE, &mut |_| true);
        let second = Run::new(translator, case, image, sizes(draw.longest()));
        let second = second_run(second, case);
        [(interpreter, first), (translator, second)]
    }
}

thread_local! {
    static RIGS: RefCell<Rigs> = RefCell::new(Rigs::new());
}

fn second_run(mut run: Run<'_>, case: &Case) -> EndState {
    let cluster = run.cluster();
    match case.manner {
        Manner::Pieces(piece) => run.whole(case, piece.into(), &mut |_| true),
        Manner::Restored(piece) => run.whole(case, 16 + u64::from(piece), &mut |run| {
            run.restore_elsewhere();
            true
        }),
        Manner::Steps(both) => {
            cluster.set_step(0, true);
            cluster.set_step(1, both);
            run.whole(case, WHOLE, &mut |_| true)
        }
        Manner::Breakpoints(places) => {
            for place in places {
                cluster.insert_breakpoint((RAM + CODE) as u32 + u32::from(place & 0x1ffe));
            }
            run.whole(case, WHOLE, &mut |_| true)
        }
        Manner::Watched(place, length, kind) => {
            let kind =
                [WatchKind::Read, WatchKind::Write, WatchKind::Access][usize::from(kind % 3)];
            let start = (RAM + DATA) as u32 + u32::from(place);
            run.watch(Watchpoint::new(start, length.into(), kind));
            run.whole(case, WHOLE, &mut |_| true)
        }
        Manner::Looked(piece) => run.whole(case, 16 + u64::from(piece), &mut |run| {
            for core in 0..2 {
                let view = run.cluster().core(core).expect("it is there");
                let CoreRegisters { r, .. } = view.registers();
                let _ = (view.translate(r[0]), view.read_u32(r[13]));
            }
            true
        }),
    }
}

/// What is drawn for an input. It depends on nothing but its bytes, so that a finding is repeated
/// by its input.
#[derive(Clone, Copy)]
struct Draw(u32);

impl Draw {
    fn of(data: &[u8]) -> Self {
        Self(crc32fast::hash(data))
    }

    /// Returns whether it also runs on new machines.
    fn is_checked(self) -> bool {
        self.0.is_multiple_of(CHECKED)
    }

    /// Returns how many instructions run of a program that has so many: all that there may be, or
    /// as many as go through it some times, exceptions included.
    fn budget(self, instructions: u64) -> u64 {
        if self.0 >> 8 & 7 == 0 {
            BUDGET
        } else {
            BUDGET.min(64 + 6 * instructions)
        }
    }

    /// Returns how many instructions are translated at once at most.
    fn longest(self) -> usize {
        [4, 16, 16, 64][self.0 as usize >> 16 & 3]
    }
}

fn is_same(first: &(&Rig, EndState), second: &(&Rig, EndState)) -> bool {
    first.1 == second.1 && first.0.has_memory_of(second.0)
}

/// Panics unless both came out the same.
fn expect_same(first: &(&Rig, EndState), second: &(&Rig, EndState), what: &str) {
    if is_same(first, second) {
        return;
    }
    let ((_, first), (_, second)) = (first, second);
    assert_eq!(first.outputs, second.outputs, "outputs, {what}");
    assert_eq!(first.now, second.now, "time, {what}");
    assert_eq!(first.cores, second.cores, "cores, {what}");
    panic!("memory differs, {what}");
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    RIGS.with_borrow_mut(|rigs| {
        let draw = Draw::of(data);
        let [first, second] = rigs.both(&case, draw);
        if draw.is_checked() || !is_same(&first, &second) {
            let mut new = Rigs::new();
            let [new_first, new_second] = new.both(&case, draw);
            expect_same(&first, &new_first, "the interpreter, used and new");
            expect_same(&second, &new_second, "the translator, used and new");
        }
        expect_same(&first, &second, &format!("{:?}", case.manner));
    });
}
