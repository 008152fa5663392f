//! What a GICv2 *is*, and the rules by which interrupts become pending, active and signalled.

use serde::{Deserialize, Serialize};

use super::spec::*;

/// The most cores of a GIC: target fields have a bit for each of eight.
pub const MAX_CPUS: usize = 8;
/// Version of [`GicState`].
pub const STATE_VERSION: u32 = 1;

/// Thirty-two interrupts: one bit each in every word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// In group 1.
    pub group: u32,
    /// Forwarded to the cores.
    pub enabled: u32,
    /// Made pending by an edge or by software.
    pub latched: u32,
    /// Being handled by a core.
    pub active: u32,
    /// Level of the input.
    pub line: u32,
    /// Edge-triggered.
    pub edge: u32,
}

impl Word {
    /// Returns the interrupts that are pending: latched, or level-sensitive with their line high.
    pub const fn pending(&self) -> u32 {
        self.latched | (self.line & !self.edge)
    }

    fn set_line(&mut self, bit: u32, level: bool) {
        if level {
            // An edge counts once, when the line rises; a line that stays high latches nothing
            // again.
            self.latched |= bit & self.edge & !self.line;
            self.line |= bit;
        } else {
            self.line &= !bit;
        }
    }
}

/// The interrupts that every core has for itself: identifiers 0 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    /// Their bits.
    pub word: Word,
    /// Their priorities.
    pub priority: [u8; 32],
    /// The cores that sent each pending SGI, one bit each.
    pub sgi_sources: [u8; 16],
}

/// One CPU interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// GICC_CTLR.
    pub ctlr: u32,
    /// GICC_PMR.
    pub mask: u8,
    /// GICC_BPR.
    pub bpr: u8,
    /// GICC_ABPR.
    pub abpr: u8,
    /// Group priorities being handled, bit `priority >> 3` each.
    pub active: u32,
}

impl Interface {
    /// Returns the group priority part of `priority` (IHI 0048B.b 3.3.3).
    #[expect(clippy::cast_possible_truncation, reason = "a priority has 8 bits")]
    pub fn group_priority(&self, priority: u8, group1: bool) -> u8 {
        // ABPR counts from one bit further up than BPR does: its least value of 3 stands for the
        // same split as 2 there.
        let point = if group1 && self.ctlr & CTLR_CBPR == 0 {
            self.abpr - 1
        } else {
            self.bpr
        };
        // In 16 bits: with a binary point of 7 no bit is left, and the shift does not fit a byte.
        priority & !((2_u16 << point) - 1) as u8
    }

    /// Returns the priority of what the core handles now.
    #[expect(clippy::cast_possible_truncation, reason = "a word has 32 bits")]
    pub const fn running(&self) -> u8 {
        match self.active {
            0 => IDLE_PRIORITY,
            // The lowest bit is the highest priority.
            bits => (bits.trailing_zeros() as u8) << 3,
        }
    }
}

/// The state of a whole GICv2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GicState {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// GICD_CTLR.
    pub ctlr: u32,
    /// One entry a core.
    pub private: Vec<Private>,
    /// Identifiers from 32 on, 32 a word.
    pub shared: Vec<Word>,
    /// Priorities of identifiers from 32 on.
    pub priority: Vec<u8>,
    /// Targets of identifiers from 32 on, one bit a core.
    pub targets: Vec<u8>,
    /// One entry a core.
    pub interfaces: Vec<Interface>,
}

/// A pending interrupt that could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its identifier.
    pub irq: u32,
    /// Its priority.
    pub priority: u8,
    /// Its group.
    pub group1: bool,
}

impl GicState {
    /// Creates a GIC at reset for `cpus` cores with `irqs` identifiers (a multiple of 32).
    ///
    /// # Panics
    /// There are no cores or more than [`MAX_CPUS`], or `irqs` is no multiple of 32 from 32 to
    /// 1020.
    pub fn new(cpus: usize, irqs: u32) -> Self {
        assert!(
            (1..=MAX_CPUS).contains(&cpus)
                && irqs.is_multiple_of(32)
                && (32..=1020).contains(&irqs)
        );
        // SGIs are edge-triggered and always enabled.
        let word = Word {
            enabled: 0xffff,
            edge: 0xffff,
            ..Word::default()
        };
        let shared = irqs as usize - 32;
        Self {
            version: STATE_VERSION,
            ctlr: 0,
            private: vec![
                Private {
                    word,
                    ..Private::default()
                };
                cpus
            ],
            shared: vec![Word::default(); shared / 32],
            priority: vec![0; shared],
            // With one core the targets are not implemented (4.3.12), and everything goes to that
            // core.
            targets: vec![u8::from(cpus == 1); shared],
            interfaces: vec![
                Interface {
                    ctlr: 0,
                    mask: 0,
                    bpr: BPR_MIN,
                    abpr: ABPR_MIN,
                    active: 0
                };
                cpus
            ],
        }
    }

    /// Returns whether this is a state that a GIC of the shape of `other` can be in.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let Self {
            version,
            ctlr: _,
            private,
            shared,
            priority,
            targets,
            interfaces,
        } = self;
        // `group_priority` shifts by these and subtracts one: other values would overflow.
        let points = |i: &Interface| {
            (BPR_MIN..=BPR_MAX).contains(&i.bpr) && (ABPR_MIN..=BPR_MAX).contains(&i.abpr)
        };
        // The lengths are used as indices by cores and lines of this GIC, without another check.
        *version == STATE_VERSION
            && private.len() == other.private.len()
            && shared.len() == other.shared.len()
            && priority.len() == other.priority.len()
            && targets.len() == other.targets.len()
            && interfaces.len() == other.interfaces.len()
            && interfaces.iter().all(points)
    }

    /// Returns the number of cores.
    pub fn cpus(&self) -> usize {
        self.interfaces.len()
    }

    /// Returns the number of interrupt identifiers.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are at most 1020 interrupts"
    )]
    pub fn irqs(&self) -> u32 {
        32 + 32 * self.shared.len() as u32
    }

    /// Returns word `index` as core `cpu` sees it.
    pub fn word(&self, cpu: usize, index: usize) -> Option<&Word> {
        match index {
            0 => Some(&self.private[cpu].word),
            _ => self.shared.get(index - 1),
        }
    }

    /// Returns word `index` as core `cpu` sees it, to be changed.
    pub fn word_mut(&mut self, cpu: usize, index: usize) -> Option<&mut Word> {
        match index {
            0 => Some(&mut self.private[cpu].word),
            _ => self.shared.get_mut(index - 1),
        }
    }

    /// Returns the priority of `irq` as core `cpu` sees it; an unimplemented one reads as zero.
    pub fn priority(&self, cpu: usize, irq: u32) -> u8 {
        match irq {
            0..32 => self.private[cpu].priority[irq as usize],
            _ => self.priority.get(irq as usize - 32).copied().unwrap_or(0),
        }
    }

    /// Drives the line of shared interrupt `irq`.
    pub fn set_shared(&mut self, irq: u32, level: bool) {
        if let Some(word) = (irq as usize / 32)
            .checked_sub(1)
            .and_then(|index| self.shared.get_mut(index))
        {
            word.set_line(1 << (irq % 32), level);
        }
    }

    /// Drives the line of private peripheral interrupt `irq` (16 to 31) of core `cpu`.
    pub fn set_private(&mut self, cpu: usize, irq: u32, level: bool) {
        if (16..32).contains(&irq)
            && let Some(private) = self.private.get_mut(cpu)
        {
            private.word.set_line(1 << irq, level);
        }
    }

    /// Returns the pending interrupt of highest priority for core `cpu`, of those the distributor
    /// forwards.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are at most 1020 interrupts"
    )]
    pub fn highest(&self, cpu: usize) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        for index in 0..=self.shared.len() {
            // Never `None`: the loop ends at the last word that there is.
            let word = self.word(cpu, index)?;
            // What is active is not signalled again, even while its line stays high, until it is
            // deactivated.
            let mut bits = word.pending() & word.enabled & !word.active;
            // Bits 0 and 1 of GICD_CTLR enable group 0 and group 1.
            if self.ctlr & 1 == 0 {
                bits &= word.group;
            }
            if self.ctlr & 2 == 0 {
                bits &= !word.group;
            }
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let irq = index as u32 * 32 + bit;
                // Private interrupts reach their own core only, so they have no targets to look at.
                if irq >= 32 && self.targets[irq as usize - 32] & (1 << cpu) == 0 {
                    continue;
                }
                let priority = self.priority(cpu, irq);
                // Of equal priorities the lowest identifier wins, which comes first here.
                if best.is_none_or(|best| priority < best.priority) {
                    best = Some(Candidate {
                        irq,
                        priority,
                        group1: word.group >> bit & 1 != 0,
                    });
                }
            }
        }
        best
    }

    /// Returns the interrupt that core `cpu` is signalled, if any: forwarded, not masked,
    /// preempting, of an enabled group.
    pub fn signalled(&self, cpu: usize) -> Option<Candidate> {
        let interface = &self.interfaces[cpu];
        let candidate = self.highest(cpu)?;
        let group = if candidate.group1 {
            CTLR_GROUP1
        } else {
            CTLR_GROUP0
        };
        // Lower values are higher priorities, and an equal one neither passes the mask nor
        // preempts.
        (interface.ctlr & group != 0
            && candidate.priority < interface.mask
            && interface.group_priority(candidate.priority, candidate.group1) < interface.running())
        .then_some(candidate)
    }

    /// Returns the levels of the IRQ and FIQ inputs of core `cpu`.
    pub fn outputs(&self, cpu: usize) -> (bool, bool) {
        match self.signalled(cpu) {
            // Only group 0 can be signalled as FIQ; group 1 is always an IRQ.
            Some(c) if !c.group1 && self.interfaces[cpu].ctlr & CTLR_FIQ != 0 => (false, true),
            Some(_) => (true, false),
            None => (false, false),
        }
    }
}
