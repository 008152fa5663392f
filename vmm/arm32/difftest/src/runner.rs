//! Runs batches of cases on both sides.

use std::fmt::Write;

use crate::case::{Case, Placed, Value};
use crate::compare;
use crate::error::Error;
use crate::generate::{Generator, decode};
use crate::image::Image;
use crate::layout::{self, SLOTS};
use crate::ours::Ours;
use crate::qemu::Qemu;
use crate::runtime::Runtime;

/// One difference.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Number of the case.
    pub number: u64,
    /// Everything there is to say.
    pub report: String,
}

/// The results of a batch.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Cases that ran on both sides and were compared.
    pub cases: u64,
    /// Of them, those that a signal ended, the same on both sides.
    pub signals: u64,
    /// Instructions that they consist of.
    pub instructions: u64,
    /// Cases left out because they went into a loop here.
    pub endless: u64,
    /// Cases that differ.
    pub differences: Vec<Difference>,
}

impl Summary {
    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.signals += other.signals;
        self.instructions += other.instructions;
        self.endless += other.endless;
        self.differences.extend(other.differences);
    }
}

/// How our side executes instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// One after the other.
    Interpreter,
    /// As host code.
    Translate,
}

/// Both sides, ready to run batches.
pub struct Runner {
    runtime: Runtime,
    qemu: Qemu,
    ours: Ours,
}

/// Both sides' results.
struct Results {
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl Runner {
    /// Creates a runner with its own core, whose code is interpreted, or translated to the host's
    /// when it first runs.
    ///
    /// # Errors
    /// This host cannot translate.
    pub fn new(qemu: Qemu, tier: Tier) -> Result<Self, Error> {
        let runtime = Runtime::new();
        let mut ours = Ours::new(&Image::new(&runtime), &runtime);
        if tier == Tier::Translate {
            ours.translate().map_err(Error::Translate)?;
        }
        Ok(Self {
            runtime,
            qemu,
            ours,
        })
    }

    /// Runs `count` cases (at most [`SLOTS`]) from number `first` on and compares. At most `detail`
    /// differences are made small and shown in full.
    ///
    /// # Errors
    /// When the oracle cannot be run.
    pub fn batch(
        &mut self,
        generator: &Generator,
        first: u64,
        count: u32,
        detail: usize,
    ) -> Result<Summary, Error> {
        let count = count.min(SLOTS);
        let mut cases: Vec<Case> = (0..count)
            .map(|slot| generator.case(first + u64::from(slot), slot))
            .collect();
        let mut summary = Summary::default();
        // The oracle does not know the numbers of the cases; the error names the first one.
        let (results, placed) =
            self.run(&mut cases, &mut summary)
                .map_err(|error| match error {
                    Error::Hang { seconds, .. } => Error::Hang { first, seconds },
                    other => other,
                })?;
        summary.cases = u64::from(count) - summary.endless;
        for slot in 0..count {
            summary.instructions += placed[slot as usize].listing.len() as u64;
            let signal = layout::output(slot) - layout::OUTPUT + layout::Output::SIGNAL;
            summary.signals += u64::from(crate::ours::word(&results.ours, signal) != 0);
            if !compare::same(&results.ours, &results.theirs, slot) {
                let number = first + u64::from(slot);
                // Making a case small takes a run of both sides for each unit, so only a few are.
                let report = if summary.differences.len() < detail {
                    self.explain(&cases, number, slot)?
                } else {
                    String::new()
                };
                summary.differences.push(Difference { number, report });
            }
        }
        Ok(summary)
    }

    /// Runs cases on both sides. Those that do not end here are replaced by empty ones first.
    fn run(
        &mut self,
        cases: &mut [Case],
        summary: &mut Summary,
    ) -> Result<(Results, Vec<Placed>), Error> {
        loop {
            let mut image = Image::new(&self.runtime);
            let nothing = Case::empty();
            // All slots, since the program under QEMU goes through all of them.
            let placed = (0..SLOTS)
                .map(|slot| {
                    cases.get(slot as usize).unwrap_or(&nothing).store(
                        slot,
                        &self.runtime,
                        &mut image,
                    )
                })
                .collect();
            // Ours first: a case in a loop uses up a budget here, but the whole time limit in QEMU.
            let (ours, endless) = self.ours.run(&image);
            if endless.is_empty() {
                let theirs = self.qemu.run(&image)?;
                return Ok((Results { ours, theirs }, placed));
            }
            summary.endless += endless.len() as u64;
            // All others run again: what such a case stored may have changed their results.
            for slot in endless {
                if let Some(case) = cases.get_mut(slot as usize) {
                    *case = Case::empty();
                }
            }
        }
    }

    /// Returns whether `cases` differ in `slot`.
    fn differs(&mut self, cases: &[Case], slot: u32) -> Result<bool, Error> {
        let mut summary = Summary::default();
        let (results, _) = self.run(&mut cases.to_vec(), &mut summary)?;
        // A case that goes astray without a unit does not show the difference that is looked for.
        Ok(summary.endless == 0 && !compare::same(&results.ours, &results.theirs, slot))
    }

    /// Takes units out of a case that differs, as long as it still does.
    fn shrink(&mut self, cases: &mut [Case], slot: u32) -> Result<(), Error> {
        let mut alone: Vec<Case> = cases.iter().map(|_| Case::empty()).collect();
        alone[slot as usize] = cases[slot as usize].clone();
        // Most often the case differs alone; if not, what others leave in memory matters.
        if self.differs(&alone, slot)? {
            cases.clone_from_slice(&alone);
        }
        // From the last to the first: the numbers of those still to be tried stay.
        let mut n = cases[slot as usize].units.len();
        while n > 0 {
            n -= 1;
            let case = cases[slot as usize].clone();
            if case.units[n].pinned {
                continue;
            }
            cases[slot as usize] = case.without(n);
            if !self.differs(cases, slot)? {
                cases[slot as usize] = case;
            }
        }
        Ok(())
    }

    /// Makes a difference small and describes it.
    fn explain(&mut self, cases: &[Case], number: u64, slot: u32) -> Result<String, Error> {
        let mut cases = cases.to_vec();
        self.shrink(&mut cases, slot)?;
        let (results, placed) = self.run(&mut cases, &mut Summary::default())?;
        let mut text = format!("case {number} differs:\n");
        text += &listing(&cases[slot as usize], &placed[slot as usize]);
        text += &compare::describe(&results.ours, &results.theirs, slot);
        Ok(text)
    }
}

/// Returns the instructions of a case and its inputs.
fn listing(case: &Case, placed: &Placed) -> String {
    let mut text = String::new();
    let mut it = 0;
    for (address, word) in &placed.listing {
        let decoded = decode(*word, it > 0);
        // In an IT block, the text of 16-bit instructions has no `s`.
        it = match decoded.insn {
            arm32_isa::Insn::It { mask, .. } => 4 - mask.trailing_zeros(),
            _ => it.saturating_sub(1),
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "  {address:08x}  {word:x?}  {}",
            decoded.asm(*address)
        );
    }
    let registers: Vec<String> = (0..)
        .zip(case.r)
        .map(|(i, r): (u32, u32)| format!("r{i}={r:x}"))
        .collect();
    let _ = writeln!(
        text,
        "  in: {} cpsr={:x} fpscr={:x}",
        registers.join(" "),
        case.cpsr,
        case.fpscr
    );
    let doubles: Vec<String> = (0..)
        .zip(case.d)
        .map(|(i, d): (u32, u64)| format!("d{i}={d:x}"))
        .collect();
    // The 32 doublewords are noise if no instruction reads them.
    let vector = placed.listing.iter().any(|(_, w)| {
        let d = decode(*w, false).encoding.0;
        d != 0
            && arm32_isa::ENCODINGS[usize::from(d) - 1]
                .class
                .intersects(arm32_isa::Class::FP | arm32_isa::Class::SIMD)
    });
    if vector {
        let _ = writeln!(text, "  in: {}", doubles.join(" "));
    }
    let patched = case.units.iter().flat_map(|u| &u.patches).count();
    let targets = case
        .units
        .iter()
        .flat_map(|u| &u.presets)
        .filter(|(_, v)| matches!(v, Value::Target { .. }))
        .count();
    let _ = writeln!(
        text,
        "  ({} units, {patched} words of scratch memory and {targets} registers lead into the code)",
        case.units.len()
    );
    text
}
