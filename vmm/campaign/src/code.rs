//! Which code of the guest's kernel runs reach: the basic blocks of some functions.
//!
//! Each block that is looked for has a breakpoint at its beginning, which is removed when it is
//! hit, so that a run stops once for each block. Blocks that the scenario reaches without faults
//! are known from then on, and are looked for no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vmm_introspect::probe::Kernel;
use vmm_machine::Machine;
use vmm_machine::vcpu::{Halted, Resume, Stop, StopHandler};

use super::blocks;
use super::error::CampaignError;
use super::run::Record;

/// Most blocks that are looked for.
const MAX_BLOCKS: usize = 1 << 14;

/// Functions of the kernel, with their blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeMap {
    /// The functions, by address.
    pub functions: Vec<CodeFunction>,
    /// The numbers of the blocks that the scenario reaches without faults. Blocks are numbered
    /// through all functions.
    pub usual: BTreeSet<usize>,
}

/// A function, with its blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeFunction {
    /// Its name.
    pub name: String,
    /// Where its blocks begin: virtual addresses.
    pub blocks: Vec<u32>,
}

/// Returns whether `name` is what `pattern` means, in which `*` is any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        // The part before is followed by another, and may be anywhere.
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + str::len(middle)..],
                None => return false,
            }
        }
    }
    match last {
        Some(last) => rest.ends_with(last),
        None => rest.is_empty(),
    }
}

impl CodeMap {
    /// Finds the functions that `patterns` name in the kernel that is in the memory of `machine`,
    /// and their blocks.
    ///
    /// # Errors
    /// A pattern names none, or all together too many blocks; or the kernel has no symbols.
    pub(super) fn find(patterns: &[String], machine: &mut Machine) -> Result<Self, CampaignError> {
        let kernel = Kernel::of(machine)?;
        // By address, of which several names count as one.
        let mut named = BTreeMap::new();
        for pattern in patterns {
            let mut any = false;
            for symbol in kernel.symbols.iter() {
                if matches!(symbol.kind, 't' | 'T' | 'w' | 'W') && fits(pattern, symbol.name) {
                    let start = u32::try_from(symbol.address).map_err(|_| CampaignError::Wide)?;
                    let end = kernel.symbols.next_after(symbol.address);
                    let end = end.and_then(|end| u32::try_from(end).ok()).unwrap_or(start);
                    named.entry(start).or_insert((symbol.name.to_owned(), end));
                    any = true;
                }
            }
            if !any {
                return Err(CampaignError::Function(pattern.clone()));
            }
        }
        let mut map = Self::default();
        let mut blocks = 0;
        for (start, (name, end)) in named {
            let words = words(machine, start, end);
            let found: Vec<u32> = blocks::find(start, &words).into_iter().collect();
            blocks += found.len();
            if blocks > MAX_BLOCKS {
                return Err(CampaignError::Blocks(MAX_BLOCKS));
            }
            // What cannot be read, such as code that is discarded after the boot, has no blocks.
            if !found.is_empty() {
                map.functions.push(CodeFunction {
                    name,
                    blocks: found,
                });
            }
        }
        Ok(map)
    }

    /// Returns how many blocks there are.
    pub fn blocks(&self) -> usize {
        self.functions
            .iter()
            .map(|function| function.blocks.len())
            .sum()
    }

    /// Has `machine` note which blocks it reaches of those that it does not usually.
    pub(super) fn watch(&self, machine: &mut Machine) -> Reached {
        let all = self.functions.iter().flat_map(|function| &function.blocks);
        let all = all
            .enumerate()
            .filter(|(number, _)| !self.usual.contains(number));
        let left: BTreeMap<u32, usize> = all.map(|(number, va)| (*va, number)).collect();
        if let Some(cluster) = machine.cluster() {
            left.keys().for_each(|va| cluster.insert_breakpoint(*va));
        }
        let reached = Reached::default();
        machine.observe(Box::new(Watch {
            left,
            reached: reached.clone(),
        }));
        reached
    }
}

/// Returns the code between two addresses, as far as it is in memory.
fn words(machine: &mut Machine, start: u32, end: u32) -> Vec<u32> {
    let count = (end.saturating_sub(start) / 4) as usize;
    let mut bytes = vec![0; 4 * count.min(blocks::MAX_WORDS)];
    let read = machine.with_cores(|cores| {
        let core = cores.core(0)?;
        core.read(start.into(), &mut bytes).ok()
    });
    if read.flatten().is_none() {
        return Vec::new();
    }
    let words = bytes.chunks_exact(4);
    words
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect()
}

/// The blocks that a run reached.
#[derive(Clone, Default)]
pub(super) struct Reached(Arc<Mutex<BTreeSet<usize>>>);

impl Reached {
    /// Takes the numbers of the blocks.
    pub fn take(&self) -> BTreeSet<usize> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Watch {
    /// Blocks that were not reached yet, by address.
    left: BTreeMap<u32, usize>,
    reached: Reached,
}

impl StopHandler for Watch {
    fn stopped(&mut self, stop: Stop, halted: &mut Halted<'_>) -> Resume {
        let Stop::Breakpoint { pc, .. } = stop else {
            return Resume::Continue;
        };
        let number = u32::try_from(pc).ok().and_then(|pc| self.left.remove(&pc));
        if let Some(number) = number {
            halted.cores.remove_breakpoint(pc);
            let mut reached = self
                .reached
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            reached.insert(number);
        }
        Resume::Continue
    }
}

/// Which code a campaign has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeCoverage {
    /// Each function.
    pub functions: Vec<CodeLine>,
}

/// What of a function was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CodeLine {
    /// Its name.
    pub name: String,
    /// How many blocks it has.
    pub blocks: usize,
    /// How many of these the scenario reaches without faults.
    pub usual: usize,
    /// How many more were reached with faults.
    pub more: usize,
    /// The first run that reached any of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<u64>,
    /// The offsets of the blocks that were never reached, from the function's beginning.
    pub never: Vec<u32>,
}

/// Sums up which code runs have reached.
pub(super) struct Covered<'m> {
    map: &'m CodeMap,
    /// The first run that reached a block.
    first: BTreeMap<usize, u64>,
}

impl<'m> Covered<'m> {
    pub const fn new(map: &'m CodeMap) -> Self {
        Self {
            map,
            first: BTreeMap::new(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, record: &Record) {
        for block in &record.blocks {
            let first = self.first.entry(*block).or_insert(record.run);
            *first = record.run.min(*first);
        }
    }

    pub fn end(&self) -> CodeCoverage {
        let mut number = 0;
        let functions = self.map.functions.iter().map(|function| {
            let numbers = number..number + function.blocks.len();
            number = numbers.end;
            let first = |number: &usize| self.first.get(number).copied();
            let start = function.blocks.first().copied().unwrap_or_default();
            let never = numbers.clone().zip(&function.blocks);
            let never = never.filter(|(number, _)| {
                !self.map.usual.contains(number) && !self.first.contains_key(number)
            });
            CodeLine {
                name: function.name.clone(),
                blocks: function.blocks.len(),
                usual: numbers
                    .clone()
                    .filter(|n| self.map.usual.contains(n))
                    .count(),
                // A journal may say of a block both that it is usual and that it is not.
                more: numbers
                    .clone()
                    .filter(|n| !self.map.usual.contains(n) && first(n).is_some())
                    .count(),
                example: numbers.filter_map(|number| first(&number)).min(),
                never: never.map(|(_, va)| va.wrapping_sub(start)).collect(),
            }
        });
        CodeCoverage {
            functions: functions.collect(),
        }
    }
}

impl CodeLine {
    /// Returns whether any of it was reached, with faults or without.
    const fn is_reached(&self) -> bool {
        self.usual + self.more > 0
    }
}

impl CodeCoverage {
    /// Returns the sentence above the table.
    pub fn sentence(&self) -> String {
        let sum = |of: fn(&CodeLine) -> usize| self.functions.iter().map(of).sum::<usize>();
        let count = |of: fn(&&CodeLine) -> bool| self.functions.iter().filter(of).count();
        let (usual, more) = (sum(|line| line.usual), sum(|line| line.more));
        format!(
            "{} of {} functions reached, {} of them without faults; {} of {} blocks, {usual} of them without faults",
            count(|line| line.is_reached()),
            self.functions.len(),
            count(|line| line.usual > 0),
            usual + more,
            sum(|line| line.blocks),
        )
    }

    /// Returns it as a table for a person.
    pub(super) fn table(&self) -> String {
        let mut text = format!("\nCode: {}\n", self.sentence());
        let _ = writeln!(text, "  blocks  usual   more  function");
        for line in &self.functions {
            let CodeLine {
                name,
                blocks,
                usual,
                more,
                example,
                ..
            } = line;
            let example = example.map_or_else(String::new, |run| format!(", first in run {run}"));
            let _ = writeln!(text, "  {blocks:>6} {usual:>6} {more:>6}  {name}{example}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name, wanted) in [
            ("ipmmu_*", "ipmmu_probe", true),
            ("ipmmu_*", "ipmmu_", true),
            ("ipmmu_*", "xipmmu_probe", false),
            ("*_probe", "ipmmu_probe", true),
            ("*_probe", "ipmmu_probe_all", false),
            ("i*u*e", "ipmmu_probe", true),
            ("i*u*u*", "ipmmu_probe", false),
            ("ab*ba", "aba", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
