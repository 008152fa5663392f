//! Performance monitors, version 2 (ARM ARM DDI 0406C chapter C12): a cycle counter and six event
//! counters.
//!
//! One instruction is one cycle, so that counts are exact and repeatable. Counters are brought up
//! to date when they are looked at, and where a filter tells the privilege levels apart also before
//! the level changes (`Pmu::filters`).

use serde::{Deserialize, Serialize};

/// Event counters, as many as the Cortex-A15 has.
pub const COUNTERS: usize = 6;

/// Bit of the cycle counter in the enable, overflow and interrupt registers.
const CYCLE: u32 = 1 << 31;
/// Bits of the counters that exist.
const EXISTING: u32 = CYCLE | ((1 << COUNTERS) - 1);

/// PMCR.E: counters count.
const E: u32 = 1;
/// PMCR.P: reset the event counters.
const P: u32 = 1 << 1;
/// PMCR.C: reset the cycle counter.
const C: u32 = 1 << 2;
/// PMCR.D: the cycle counter counts every 64th cycle.
const D: u32 = 1 << 3;
/// PMCR bits that keep what is written: E, D, X and DP.
const PMCR_WRITABLE: u32 = 0x39;
/// PMCR: implementer Arm, Cortex-A15, six counters.
#[expect(clippy::cast_possible_truncation, reason = "there are six")]
const PMCR_FIXED: u32 = 0x41 << 24 | 0x0f << 16 | (COUNTERS as u32) << 11;

/// Software increment.
const SW_INCR: u32 = 0x00;
/// Instruction architecturally executed.
const INST_RETIRED: u32 = 0x08;
/// Cycle.
const CPU_CYCLES: u32 = 0x11;
/// PMCEID0: the events above.
const PMCEID0: u32 = 1 << SW_INCR | 1 << INST_RETIRED | 1 << CPU_CYCLES;

/// PMSELR value that selects the cycle counter's filter.
const SELECT_CYCLE: u32 = 31;
/// PMXEVTYPER.P: PL1 does not count; bit 29 (NSK) turns that round in the Non-secure world, in
/// which this core is.
const FILTER_PL1: u32 = 1 << 31;
/// PMXEVTYPER.U: PL0 does not count; bit 28 (NSU) turns that round.
const FILTER_PL0: u32 = 1 << 30;
/// From a filter's bit to the one that turns it round.
const NON_SECURE: u32 = 2;
/// PMXEVTYPER of the cycle counter: filters. NSH does not exist where there is no Hyp mode.
const FILTER_WRITABLE: u32 = 0xf000_0000;
/// PMXEVTYPER: filters and event number.
const TYPE_WRITABLE: u32 = FILTER_WRITABLE | 0xff;

/// Performance monitor registers of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pmu {
    /// PMUSERENR.EN: PL0 may use the counters.
    pub user_enable: bool,
    /// PMCR, its writable bits.
    control: u32,
    /// PMCNTENSET.
    enabled: u32,
    /// PMOVSR.
    overflow: u32,
    /// PMINTENSET.
    interrupts: u32,
    /// PMSELR.
    select: u32,
    /// PMXEVTYPER of each event counter.
    types: [u32; COUNTERS],
    /// PMXEVTYPER of the cycle counter.
    cycle_filter: u32,
    /// PMXEVCNTR of each event counter, as of `last`.
    counts: [u32; COUNTERS],
    /// PMCCNTR, as of `last`.
    cycles: u32,
    /// Cycles since PMCCNTR last moved, with PMCR.D.
    prescale: u64,
    /// Instructions retired when the counters were last brought up to date.
    last: u64,
}

impl Pmu {
    /// Returns the overflow interrupt output, with `now` instructions retired, those since the last
    /// update at PL1 (`privileged`) or PL0.
    pub fn line(&mut self, now: u64, privileged: bool) -> bool {
        self.update(now, privileged);
        self.control & E != 0 && self.overflow & self.interrupts != 0
    }

    /// Returns the number of retired instructions at which a counter that may interrupt overflows
    /// next, provided that no register is written before, and that the core stays at PL1
    /// (`privileged`) or PL0; `None` when none will.
    pub fn next_overflow(&self, privileged: bool) -> Option<u64> {
        if self.control & E == 0 {
            return None;
        }
        // A counter whose overflow is pending raises nothing anew.
        let armed = self.enabled & self.interrupts & !self.overflow;
        let rest = |count: u32| (1 << 32) - u64::from(count);
        let cycle = (armed & CYCLE != 0 && counts_at(self.cycle_filter, privileged)).then(|| {
            let scale = if self.control & D != 0 { 64 } else { 1 };
            // Less what the prescaler has counted already.
            rest(self.cycles) * scale - self.prescale.min(scale - 1)
        });
        let events = (0..COUNTERS)
            .filter(|&i| armed & (1 << i) != 0 && counts_instructions(self.types[i], privileged))
            .map(|i| rest(self.counts[i]));
        let soonest = events.chain(cycle).min()?;
        self.last.checked_add(soonest)
    }

    /// Returns whether a counter that counts tells PL0 and PL1 apart: then it must be brought up to
    /// date before the level changes.
    #[inline]
    pub(crate) fn filters(&self) -> bool {
        self.control & E != 0 && self.enabled != 0 && self.any_filter()
    }

    #[cold]
    fn any_filter(&self) -> bool {
        let differs = |kind| counts_at(kind, true) != counts_at(kind, false);
        let events = (0..COUNTERS).any(|i| self.enabled & 1 << i != 0 && differs(self.types[i]));
        events || self.enabled & CYCLE != 0 && differs(self.cycle_filter)
    }

    /// Returns whether every register holds only what can have got there with `now` instructions
    /// retired.
    pub(crate) fn is_possible(&self, now: u64) -> bool {
        let Self {
            user_enable: _,
            control,
            enabled,
            overflow,
            interrupts,
            select,
            types,
            cycle_filter,
            counts: _,
            cycles: _,
            prescale,
            last,
        } = self;
        control & !PMCR_WRITABLE == 0
            && (enabled | overflow | interrupts) & !EXISTING == 0
            && *select < 32
            && types.iter().all(|kind| kind & !TYPE_WRITABLE == 0)
            && cycle_filter & !FILTER_WRITABLE == 0
            && *prescale < 64
            && *last <= now
    }

    /// Brings the counters up to date with `now` instructions retired, those since the last time at
    /// PL1 (`privileged`) or PL0.
    pub(crate) fn update(&mut self, now: u64, privileged: bool) {
        let passed = now.saturating_sub(self.last);
        // Even if nothing counts: what passes meanwhile must not be counted later.
        self.last = now;
        if self.control & E == 0 {
            return;
        }
        if self.enabled & CYCLE != 0 && counts_at(self.cycle_filter, privileged) {
            let mut ticks = passed;
            if self.control & D != 0 {
                let total = self.prescale.saturating_add(passed);
                ticks = total / 64;
                self.prescale = total % 64;
            }
            self.overflow |= advance(&mut self.cycles, ticks, CYCLE);
        }
        for i in 0..COUNTERS {
            if self.enabled & (1 << i) != 0 && counts_instructions(self.types[i], privileged) {
                self.overflow |= advance(&mut self.counts[i], passed, 1 << i);
            }
        }
    }

    fn set_control(&mut self, value: u32) {
        self.control = value & PMCR_WRITABLE;
        if value & P != 0 {
            self.counts = [0; COUNTERS];
        }
        if value & C != 0 {
            self.cycles = 0;
            self.prescale = 0;
        }
    }

    fn software_increment(&mut self, value: u32, privileged: bool) {
        for i in 0..COUNTERS {
            let counts = self.control & E != 0 && self.enabled & value & (1 << i) != 0;
            let kind = self.types[i];
            if counts && kind & 0xff == SW_INCR && counts_at(kind, privileged) {
                self.overflow |= advance(&mut self.counts[i], 1, 1 << i);
            }
        }
    }

    /// Returns the selected event counter, if it exists.
    fn selected(&self) -> Option<usize> {
        usize::try_from(self.select).ok().filter(|&i| i < COUNTERS)
    }
}

const fn counts_instructions(kind: u32, privileged: bool) -> bool {
    matches!(kind & 0xff, INST_RETIRED | CPU_CYCLES) && counts_at(kind, privileged)
}

/// Returns whether the filter of `kind` lets PL1 (`privileged`) or PL0 count (C12.8.4).
const fn counts_at(kind: u32, privileged: bool) -> bool {
    let filter = if privileged { FILTER_PL1 } else { FILTER_PL0 };
    let excluded = kind & filter != 0;
    let reversed = kind & filter >> NON_SECURE != 0;
    excluded == reversed
}

/// Adds to a counter; returns `bit` if it overflowed.
#[expect(clippy::cast_possible_truncation, reason = "the counter wraps")]
fn advance(counter: &mut u32, by: u64, bit: u32) -> u32 {
    let sum = u64::from(*counter).saturating_add(by);
    *counter = sum as u32;
    if sum >> 32 != 0 { bit } else { 0 }
}

/// Reads the register of c9 with CRm in bits 7:4 and opc2 in bits 3:0 of `which`.
pub(crate) fn read(pmu: &mut Pmu, now: u64, privileged: bool, which: u8) -> u32 {
    pmu.update(now, privileged);
    match which {
        0xc0 => PMCR_FIXED | pmu.control,
        0xc1 | 0xc2 => pmu.enabled,
        0xc3 | 0xe3 => pmu.overflow,
        0xc5 => pmu.select,
        0xc6 => PMCEID0,
        0xd0 => pmu.cycles,
        0xd1 if pmu.select == SELECT_CYCLE => pmu.cycle_filter,
        0xd1 => pmu.selected().map_or(0, |i| pmu.types[i]),
        0xd2 => pmu.selected().map_or(0, |i| pmu.counts[i]),
        0xe0 => u32::from(pmu.user_enable),
        0xe1 | 0xe2 => pmu.interrupts,
        _ => 0,
    }
}

/// Writes the register of c9 with CRm in bits 7:4 and opc2 in bits 3:0 of `which`.
pub(crate) fn write(pmu: &mut Pmu, now: u64, privileged: bool, which: u8, value: u32) {
    pmu.update(now, privileged);
    let bits = value & EXISTING;
    match which {
        0xc0 => pmu.set_control(value),
        0xc1 => pmu.enabled |= bits,
        0xc2 => pmu.enabled &= !bits,
        0xc3 => pmu.overflow &= !bits,
        0xc4 => pmu.software_increment(value, privileged),
        0xc5 => pmu.select = value & 31,
        0xd0 => pmu.cycles = value,
        0xd1 if pmu.select == SELECT_CYCLE => pmu.cycle_filter = value & FILTER_WRITABLE,
        0xd1 => {
            if let Some(i) = pmu.selected() {
                pmu.types[i] = value & TYPE_WRITABLE;
            }
        }
        0xd2 => {
            if let Some(i) = pmu.selected() {
                pmu.counts[i] = value;
            }
        }
        0xe0 => pmu.user_enable = value & 1 != 0,
        0xe1 => pmu.interrupts |= bits,
        0xe2 => pmu.interrupts &= !bits,
        0xe3 => pmu.overflow |= bits,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pmu: &mut Pmu, now: u64, which: u8) -> u32 {
        super::read(pmu, now, true, which)
    }

    fn write(pmu: &mut Pmu, now: u64, which: u8, value: u32) {
        super::write(pmu, now, true, which, value);
    }

    #[test]
    fn control_identifies_itself() {
        let mut p = Pmu::default();
        assert_eq!(read(&mut p, 0, 0xc0), 0x410f_3000);
        write(&mut p, 0, 0xc0, u32::MAX);
        assert_eq!(read(&mut p, 0, 0xc0), 0x410f_3039);
    }

    #[test]
    fn the_cycle_counter_counts_while_enabled() {
        let mut p = Pmu::default();
        write(&mut p, 100, 0xc1, CYCLE);
        assert_eq!(read(&mut p, 200, 0xd0), 0, "PMCR.E is clear");
        write(&mut p, 200, 0xc0, E);
        assert_eq!(read(&mut p, 250, 0xd0), 50);
        write(&mut p, 260, 0xc2, CYCLE);
        assert_eq!(read(&mut p, 900, 0xd0), 60);
        write(&mut p, 900, 0xc0, E | C);
        assert_eq!(read(&mut p, 900, 0xd0), 0);
    }

    #[test]
    fn the_divider_keeps_its_remainder() {
        let mut p = Pmu::default();
        write(&mut p, 0, 0xc0, E | D);
        write(&mut p, 0, 0xc1, CYCLE);
        assert_eq!(read(&mut p, 63, 0xd0), 0);
        assert_eq!(read(&mut p, 64, 0xd0), 1);
        assert_eq!(read(&mut p, 127, 0xd0), 1);
        assert_eq!(read(&mut p, 128, 0xd0), 2);
    }

    #[test]
    fn overflow_interrupts_at_the_instruction_foretold() {
        let mut p = Pmu::default();
        write(&mut p, 0, 0xc5, 2);
        write(&mut p, 0, 0xd1, INST_RETIRED);
        write(&mut p, 0, 0xd2, u32::MAX - 9);
        write(&mut p, 0, 0xc1, 1 << 2);
        write(&mut p, 0, 0xc0, E);
        assert_eq!(p.next_overflow(true), None, "no interrupt is enabled");
        write(&mut p, 0, 0xe1, 1 << 2);
        assert_eq!(p.next_overflow(true), Some(10));
        assert!(!p.line(9, true));
        assert!(p.line(10, true));
        assert_eq!(read(&mut p, 10, 0xc3), 1 << 2);
        assert_eq!(read(&mut p, 10, 0xd2), 0);
        write(&mut p, 10, 0xc3, 1 << 2);
        assert!(!p.line(10, true));
    }

    #[test]
    fn software_increments_only_its_event() {
        let mut p = Pmu::default();
        write(&mut p, 0, 0xc0, E);
        write(&mut p, 0, 0xc1, 3);
        write(&mut p, 0, 0xc5, 1);
        write(&mut p, 0, 0xd1, CPU_CYCLES);
        write(&mut p, 0, 0xc4, 3);
        assert_eq!(read(&mut p, 0, 0xd2), 0);
        write(&mut p, 0, 0xc5, 0);
        assert_eq!(read(&mut p, 0, 0xd2), 1);
    }

    #[test]
    fn counters_that_do_not_exist_read_as_zero() {
        let mut p = Pmu::default();
        write(&mut p, 0, 0xc5, 6);
        write(&mut p, 0, 0xd1, u32::MAX);
        write(&mut p, 0, 0xd2, u32::MAX);
        assert_eq!((read(&mut p, 0, 0xd1), read(&mut p, 0, 0xd2)), (0, 0));
        write(&mut p, 0, 0xc1, u32::MAX);
        assert_eq!(read(&mut p, 0, 0xc1), 0x8000_003f);
    }

    #[test]
    fn filters_tell_the_levels_apart() {
        // P, U, NSK and NSU; whether PL1 and PL0 count.
        for (filter, pl1, pl0) in [
            (0b0000u32, true, true),
            (0b1000, false, true),
            (0b0100, true, false),
            (0b1100, false, false),
            (0b1010, true, true),
            (0b0101, true, true),
            (0b0011, false, false),
        ] {
            let kind = filter << 28 | INST_RETIRED;
            assert_eq!(
                (counts_at(kind, true), counts_at(kind, false)),
                (pl1, pl0),
                "{filter:04b}"
            );
        }
    }

    #[test]
    fn software_increments_are_filtered_too() {
        let mut p = Pmu::default();
        write(&mut p, 0, 0xc0, E);
        write(&mut p, 0, 0xc1, 1);
        write(&mut p, 0, 0xd1, FILTER_PL1 | SW_INCR);
        write(&mut p, 0, 0xc4, 1);
        assert_eq!(read(&mut p, 0, 0xd2), 0);
        super::write(&mut p, 0, false, 0xc4, 1);
        assert_eq!(read(&mut p, 0, 0xd2), 1);
    }

    /// What a counter that looks at every instruction as it retires would hold.
    #[derive(Default)]
    struct OneByOne {
        count: u32,
        overflowed: bool,
    }

    proptest! {
        /// Lazily or one by one, the counts are the same, and an overflow comes when it was
        /// foretold.
        #[test]
        fn counts_are_those_of_a_counter_that_looks_at_every_instruction(
            filter in 0u32..16,
            cycle in any::<bool>(),
            start in prop_oneof![Just(0u32), 0xffff_ff00u32..],
            stretches in prop::collection::vec((1u64..200, any::<bool>()), 1..20),
        ) {
            let (mut p, kind) = (Pmu::default(), filter << 28 | if cycle { 0 } else { INST_RETIRED });
            let bit = if cycle { CYCLE } else { 1 };
            write(&mut p, 0, 0xc5, if cycle { SELECT_CYCLE } else { 0 });
            write(&mut p, 0, 0xd1, kind);
            write(&mut p, 0, if cycle { 0xd0 } else { 0xd2 }, start);
            write(&mut p, 0, 0xc1, bit);
            write(&mut p, 0, 0xe1, bit);
            write(&mut p, 0, 0xc0, E);
            let mut model = OneByOne { count: start, overflowed: false };
            let mut now = 0;
            for (n, privileged) in stretches {
                let foretold = p.next_overflow(privileged).filter(|at| *at <= now + n);
                let before = model.overflowed;
                for at in now + 1..=now + n {
                    if counts_at(kind, privileged) {
                        model.count = model.count.wrapping_add(1);
                        let wraps = model.count == 0;
                        prop_assert!(!wraps || before || foretold == Some(at));
                        model.overflowed |= wraps;
                    }
                }
                prop_assert_eq!(foretold.is_some() || before, model.overflowed);
                now += n;
                prop_assert_eq!(p.line(now, privileged), model.overflowed);
                let count = super::read(&mut p, now, privileged, if cycle { 0xd0 } else { 0xd2 });
                prop_assert_eq!(count, model.count);
            }
            prop_assert_eq!(p.filters(), counts_at(kind, true) != counts_at(kind, false));
            prop_assert!(p.is_possible(now));
        }
    }
}
