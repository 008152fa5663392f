//! Where an instruction stands, and the plan of what it needs there.

use rand_core::RngCore;

use super::exclusions::Exclusion;
use crate::case::{Branch, Patch, Value};
use crate::values;

/// Where the instruction stands.
#[derive(Clone, Copy, Debug)]
pub struct InsnContext {
    /// In T32 code.
    pub thumb: bool,
    /// In an IT block.
    pub in_it: bool,
    /// As the first of it, or outside.
    pub first: bool,
    /// As the last of it, or outside.
    pub last: bool,
    /// Number of its unit.
    pub unit: usize,
    /// Number of the last unit of the same instruction set.
    pub section_end: usize,
    /// Number of units of the case.
    pub end: usize,
    /// The case may have big-endian data, and then has no exclusive accesses.
    pub big_endian: bool,
    /// Address of the case's scratch memory.
    pub scratch: u32,
}

impl InsnContext {
    /// Returns a later unit of this instruction set.
    pub fn near(&self, rng: &mut impl RngCore) -> usize {
        // Few units ahead: CBZ and narrow branches do not reach far.
        let ahead = self.section_end - self.unit;
        self.unit + 1 + values::below(rng, (ahead as u32).clamp(1, 4)) as usize
    }

    /// Returns a later unit, or the end.
    pub fn any(&self, rng: &mut impl RngCore) -> usize {
        let ahead = self.end - self.unit;
        self.unit + 1 + values::below(rng, (ahead as u32).clamp(1, 5)) as usize
    }
}

/// What the instruction needs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Core registers to set.
    pub presets: Vec<(u8, Value)>,
    /// Scratch memory to set.
    pub patches: Vec<(u32, Patch)>,
    /// Where a direct branch leads.
    pub branch: Option<(Branch, usize)>,
}

/// The answer: what it needs, or why it is left out.
pub type Verdict = Result<Plan, Exclusion>;

/// Returns `Err(why)` if `bad`.
pub fn unless(bad: bool, why: Exclusion) -> Result<(), Exclusion> {
    if bad { Err(why) } else { Ok(()) }
}
