//! Two machines that must do the same: one interprets the guest's code, the other translates it.
//!
//! A [`Pair`] runs both by slices of instructions and compares them after each. The state of cores
//! and devices is compared every time, and memory, which takes longer, ever more rarely. Where they
//! are equal in all, a snapshot is kept; when they differ, machines that go on from it tell after
//! which instruction that is so first.

mod compare;
mod difference;
mod search;
// On other hosts there is nothing to pair.
#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;

use std::time::Instant;

use super::{Error, Limits, Machine, Reason, Snapshot, Tier};
use compare::Compared;
pub use difference::{Certainty, Difference, Field, Instruction};
use search::Search;
use vm_memory::{Bytes, GuestAddress};

/// Instructions between two comparisons.
const SLICE: u64 = 1_000_000;
/// The most slices between two comparisons of memory: after as many a search for the first
/// difference takes long.
const MOST_SLICES: u64 = 64;

/// Runs a machine of a pair.
type Drive = Box<dyn Fn(&mut Machine, Tier, Limits) -> Reason>;

/// Two machines that must do the same.
pub struct Pair {
    interpreting: Machine,
    translating: Machine,
    /// Both, where they were last found equal in all.
    equal: Snapshot,
    /// A slice of this number is followed by a comparison of memory.
    due: u64,
    slices: u64,
    /// Instructions after which they were last compared.
    compared: u64,
    drive: Drive,
}

/// How the run of a pair ended.
#[derive(Debug)]
pub struct PairExit {
    /// Why.
    pub reason: Reason,
    /// The first difference, if there is one; the run ended with it.
    pub difference: Option<Box<Difference>>,
    /// After so many instructions both were last compared.
    pub compared: u64,
}

/// How a slice ended.
enum Slice {
    /// Both came to its end.
    Whole,
    /// The guest ended in it, or its time did.
    Last(Reason),
    /// Somebody else ended it.
    Ended(Reason),
}

impl Pair {
    /// Pairs two machines that were made alike, in virtual time, and have not run: the first will
    /// interpret all code, the second translate it. Neither may write to a disk's file, and nobody
    /// may type at their consoles.
    ///
    /// # Errors
    /// The host cannot translate, or has no room for a snapshot.
    pub fn new(interpreting: Machine, translating: Machine) -> Result<Self, Error> {
        let drive = |machine: &mut Machine, _, limits| machine.run(limits).reason;
        Self::driven(interpreting, translating, Box::new(drive))
    }

    /// Pairs machines as [`new`](Self::new) does, and has the one that translates do something else
    /// after this many instructions: the last word of its memory changes. For tests of what becomes
    /// of a difference.
    ///
    /// # Errors
    /// As those of [`new`](Self::new).
    pub fn differing(
        interpreting: Machine,
        translating: Machine,
        after: u64,
    ) -> Result<Self, Error> {
        let drive = move |machine: &mut Machine, tier, limits| match tier {
            Tier::Interpreter => machine.run(limits).reason,
            Tier::Translator => changed(machine, limits, after, |machine| {
                let ram = machine.board().ram;
                let last = GuestAddress(ram.base + ram.size - 4);
                let memory = machine.memory();
                let word: u32 = memory.read_obj(last).unwrap_or_default();
                // It is in memory, as every machine has some.
                let _ = memory.write_obj(!word, last);
            }),
        };
        Self::driven(interpreting, translating, Box::new(drive))
    }

    fn driven(
        mut interpreting: Machine,
        mut translating: Machine,
        drive: Drive,
    ) -> Result<Self, Error> {
        // In this order: the first leaves its memory for code to the second.
        tiered(interpreting.set_tier(Tier::Interpreter))?;
        tiered(translating.set_tier(Tier::Translator))?;
        let equal = interpreting.snapshot()?;
        Ok(Self {
            compared: equal.instructions(),
            equal,
            interpreting,
            translating,
            due: 1,
            slices: 0,
            drive,
        })
    }

    /// Returns the machine that translates.
    pub fn translating(&self) -> &Machine {
        &self.translating
    }

    /// Returns the machine that translates, without the other.
    pub fn into_translating(self) -> Machine {
        self.translating
    }

    /// Runs both until the guest ends, a limit is reached or someone stops the machine that
    /// translates; or until they differ.
    ///
    /// # Errors
    /// The host has no room for a snapshot.
    pub fn run(&mut self, limits: Limits) -> Result<PairExit, Error> {
        let deadline = limits
            .wall
            .and_then(|wall| Instant::now().checked_add(wall));
        let passed = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        loop {
            let whole = self.translating.summary().instructions + SLICE;
            let end = limits.instructions.map_or(whole, |limit| limit.min(whole));
            let slice = self.slice(Limits {
                instructions: Some(end),
                // Looked at here: it would come at different instructions of the two.
                wall: None,
                ..limits
            });
            let reached = limits.instructions.is_some_and(|limit| end >= limit);
            let reason = match slice {
                Slice::Ended(reason) => return Ok(self.exit(reason, None)),
                Slice::Last(reason) => Some(reason),
                Slice::Whole if reached => Some(Reason::InstructionLimit),
                Slice::Whole => passed().then_some(Reason::WallTimeout),
            };
            self.slices += 1;
            let everything = reason.is_some() || self.slices >= self.due;
            let compared =
                compare::machines(&mut self.interpreting, &mut self.translating, everything)?;
            if !compared.are_equal() {
                let difference = self.search(compared, limits, &passed)?;
                let reason = reason.unwrap_or(Reason::InstructionLimit);
                return Ok(self.exit(reason, Some(difference)));
            }
            self.compared = self.translating.summary().instructions;
            if let Some(reason) = reason {
                // A limit of wall time is looked at here only, so that the machines do not know.
                for machine in [&mut self.interpreting, &mut self.translating] {
                    machine.last = Some(reason);
                }
                return Ok(self.exit(reason, None));
            }
            if everything {
                self.due = self.slices + self.slices.min(MOST_SLICES);
                self.equal = self.interpreting.snapshot()?;
            }
        }
    }

    fn exit(&self, reason: Reason, difference: Option<Difference>) -> PairExit {
        PairExit {
            reason,
            difference: difference.map(Box::new),
            compared: self.compared,
        }
    }

    /// Runs both, one after the other, to the same limits.
    fn slice(&mut self, limits: Limits) -> Slice {
        let translated = (self.drive)(&mut self.translating, Tier::Translator, limits);
        // Somebody ended it somewhere in the slice, and nothing is to be compared.
        if matches!(translated, Reason::Stopped | Reason::HostFailure) {
            return Slice::Ended(translated);
        }
        match (self.drive)(&mut self.interpreting, Tier::Interpreter, limits) {
            Reason::InstructionLimit if translated == Reason::InstructionLimit => Slice::Whole,
            // Where they differ in this, that is found when they are compared.
            Reason::InstructionLimit => Slice::Last(translated),
            interpreted => Slice::Last(interpreted),
        }
    }

    /// Returns the first difference, after the two were found to differ as `found` has it.
    fn search(
        &self,
        found: Compared,
        limits: Limits,
        passed: &dyn Fn() -> bool,
    ) -> Result<Difference, Error> {
        let control = &self.translating.context.control;
        let gives_up = || control.pending() || passed();
        let retired = |machine: &Machine| machine.summary().instructions;
        Search {
            equal: &self.equal,
            until: retired(&self.interpreting).max(retired(&self.translating)),
            guest_ns: limits.guest_ns,
            drive: &self.drive,
            gives_up: &gives_up,
        }
        .first(found)
    }
}

/// Runs a machine, and has `change` change it after `at` instructions.
fn changed(machine: &mut Machine, limits: Limits, at: u64, change: fn(&mut Machine)) -> Reason {
    let until = limits.instructions.unwrap_or(u64::MAX);
    if (machine.summary().instructions + 1..=until).contains(&at) {
        let instructions = Some(at);
        let reason = machine
            .run(Limits {
                instructions,
                ..limits
            })
            .reason;
        if reason != Reason::InstructionLimit {
            return reason;
        }
        change(machine);
    }
    machine.run(limits).reason
}

fn tiered(set: std::io::Result<()>) -> Result<(), Error> {
    set.map_err(|error| host("translate the guest's code", error))
}

fn host(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Host {
        what,
        source: source.into(),
    }
}
