//! The search for the first instruction after which two machines differ.

use super::compare::{self, Compared};
use super::difference::{self, Certainty, Difference, Instruction};
use super::{Drive, host, tiered};
use crate::{Discard, Error, Fork, Limits, Machine, Snapshot, Tier};

/// How the machines of a search translate.
#[derive(Clone, Copy)]
struct Way {
    /// From which time on that code is about to run; `None` for what is usual.
    after: Option<u32>,
    /// At most so many instructions at once; `None` for what is usual.
    longest: Option<usize>,
    /// What is known where machines that translate so differ.
    certainty: Certainty,
}

/// The ways, the first first. A machine that goes on has none of what was translated before, so
/// that it translates sooner than usual, or the code to blame may not be translated at all.
const WAYS: [Way; 3] = [
    // Instructions end a run where they are to only if they are translated alone: a longer piece
    // that is to end within is interpreted.
    Way {
        after: Some(1),
        longest: Some(1),
        certainty: Certainty::Instruction,
    },
    Way {
        after: Some(1),
        longest: None,
        certainty: Certainty::Block,
    },
    Way {
        after: None,
        longest: None,
        certainty: Certainty::Block,
    },
];

/// A search.
pub(super) struct Search<'a> {
    /// The machine where both were equal.
    pub equal: &'a Snapshot,
    /// They differ after so many instructions.
    pub until: u64,
    /// Where guest time ends.
    pub guest_ns: Option<u64>,
    /// Runs machines.
    pub drive: &'a Drive,
    /// Whether to end without a result.
    pub gives_up: &'a dyn Fn() -> bool,
}

impl Search<'_> {
    /// Returns the first difference; without a better result the one that was `found`.
    pub fn first(&self, found: Compared) -> Result<Difference, Error> {
        let start = self.equal.instructions();
        for way in WAYS {
            if (self.gives_up)() {
                return Ok(self.unfinished(start, self.until, &found));
            }
            let compared = self.after(self.until, way)?;
            if !compared.are_equal() {
                return self.narrow(way, compared);
            }
        }
        let unfinished = self.unfinished(start, self.until, &found);
        Ok(Difference {
            certainty: Certainty::Unrepeated,
            ..unfinished
        })
    }

    /// Finds the first difference of machines that translate in this way, and in the end differ as
    /// `found` has it.
    fn narrow(&self, way: Way, mut found: Compared) -> Result<Difference, Error> {
        let (mut equal, mut differ) = (self.equal.instructions(), self.until);
        while differ - equal > 1 {
            if (self.gives_up)() {
                return Ok(self.unfinished(equal, differ, &found));
            }
            let middle = equal + (differ - equal) / 2;
            let compared = self.after(middle, way)?;
            if compared.are_equal() {
                equal = middle;
            } else {
                (differ, found) = (middle, compared);
            }
        }
        Ok(Difference {
            certainty: way.certainty,
            instruction: Some(self.instruction(equal)?),
            ..self.unfinished(equal, differ, &found)
        })
    }

    fn unfinished(&self, equal: u64, differ: u64, found: &Compared) -> Difference {
        let (fields, more) = difference::fields(found);
        Difference {
            equal,
            differ,
            certainty: Certainty::Unfinished,
            instruction: None,
            fields,
            more,
        }
    }

    /// Compares two machines that have come to this many instructions.
    fn after(&self, instructions: u64, way: Way) -> Result<Compared, Error> {
        let mut interpreting = self.machine(Tier::Interpreter, way)?;
        let mut translating = self.machine(Tier::Translator, way)?;
        self.run(&mut interpreting, Tier::Interpreter, instructions);
        self.run(&mut translating, Tier::Translator, instructions);
        compare::machines(&mut interpreting, &mut translating, true)
    }

    /// Makes a machine that goes on from where both were equal.
    fn machine(&self, tier: Tier, way: Way) -> Result<Machine, Error> {
        let mut machine = self.equal.machine(Fork::new(Box::new(Discard)))?;
        tiered(machine.set_tier(tier))?;
        if let (Tier::Translator, Some(cluster)) = (tier, machine.cluster()) {
            if let Some(after) = way.after {
                tiered(cluster.translate_code_after(after))?;
            }
            // In any case: this also drops what other machines have left of code.
            cluster.limit_blocks(way.longest.unwrap_or(usize::MAX));
        }
        Ok(machine)
    }

    fn run(&self, machine: &mut Machine, tier: Tier, instructions: u64) {
        let limits = Limits {
            instructions: Some(instructions),
            guest_ns: self.guest_ns,
            ..Limits::default()
        };
        (self.drive)(machine, tier, limits);
    }

    /// Returns the instruction that follows after this many.
    fn instruction(&self, before: u64) -> Result<Instruction, Error> {
        let mut machine = self.machine(Tier::Interpreter, WAYS[0])?;
        if before > self.equal.instructions() {
            self.run(&mut machine, Tier::Interpreter, before);
        }
        let missing = || host("look at the cores", "they are not emulated");
        let cluster = machine.cluster().ok_or_else(missing)?;
        let stood: Vec<_> = (0..cluster.len())
            .map(|n| cluster.state(n).clone())
            .collect();
        // The code too, before the instruction overwrites it.
        let code = |n: usize| {
            let mut bytes = [0; 4];
            let (pc, thumb) = (stood[n].r[15], stood[n].psr.thumb);
            let core = cluster.core(n)?;
            // A 16-bit instruction may be the last of what there is.
            core.read(pc, &mut bytes)
                .or_else(|_| core.read(pc, &mut bytes[..2]))
                .ok()?;
            Some(arm32::disassemble(bytes, thumb, pc))
        };
        let codes: Vec<_> = (0..stood.len()).map(code).collect();
        self.run(&mut machine, Tier::Interpreter, before + 1);
        let cluster = machine.cluster().ok_or_else(missing)?;
        let ran = |n: &usize| cluster.state(*n).retired != stood[*n].retired;
        let core = (0..stood.len()).find(ran).unwrap_or(cluster.current());
        Ok(Instruction {
            core,
            pc: stood[core].r[15],
            code: codes[core].clone(),
        })
    }
}
