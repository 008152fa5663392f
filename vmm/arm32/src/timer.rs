//! The generic timer (ARM ARM DDI 0406C chapter B8): a counter shared by all cores and two timers a
//! core.
//!
//! All times here are *counts*, ticks of the system counter since power-on. The virtual offset is 0
//! (there is no Hyp mode to set another), so that the virtual count is the physical one.

use serde::{Deserialize, Serialize};

/// Frequency of the system counter, as CNTFRQ shows it. One tick is 16 ns exactly.
pub const FREQUENCY_HZ: u32 = 62_500_000;

const NS_PER_S: u64 = 1_000_000_000;
/// The logarithm of the nanoseconds of a tick.
pub const TICK_SHIFT: u8 = 4;
const _: () = assert!((FREQUENCY_HZ as u64) << TICK_SHIFT == NS_PER_S);

/// Returns the count `ns` nanoseconds after power-on (rounded down).
pub const fn count_from_ns(ns: u64) -> u64 {
    ns >> TICK_SHIFT
}

/// Returns the first nanosecond at which the count is at least `count`; [`u64::MAX`] when that is
/// beyond 64 bits.
pub const fn ns_from_count(count: u64) -> u64 {
    if count > u64::MAX >> TICK_SHIFT {
        u64::MAX
    } else {
        count << TICK_SHIFT
    }
}

/// The interrupt outputs of the two timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerLines {
    /// The physical timer asks for an interrupt.
    pub phys: bool,
    /// The virtual timer asks for an interrupt.
    pub virt: bool,
}

/// One timer: a control register and a compare value (B8.1.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// ENABLE.
    pub enable: bool,
    /// IMASK: the interrupt output is off.
    pub masked: bool,
    /// CVAL: the count from which the condition holds.
    pub compare: u64,
}

impl Timer {
    /// Returns the control register at `count`. ISTATUS reads 0 while the timer is disabled
    /// (UNKNOWN in the architecture; our choice).
    pub const fn control(&self, count: u64) -> u32 {
        (self.enable as u32)
            | (self.masked as u32) << 1
            | ((self.enable && count >= self.compare) as u32) << 2
    }

    /// Writes the control register; ISTATUS is read-only.
    pub const fn set_control(&mut self, value: u32) {
        self.enable = value & 1 != 0;
        self.masked = value & 2 != 0;
    }

    /// Returns the downcounter (TVAL) at `count`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "TVAL is the low word of the difference"
    )]
    pub const fn value(&self, count: u64) -> u32 {
        // Wraps: the downcounter goes on below zero once the condition holds.
        self.compare.wrapping_sub(count) as u32
    }

    /// Writes the downcounter: the condition holds `value` (signed) ticks after `count`.
    pub const fn set_value(&mut self, count: u64, value: u32) {
        self.compare = count.wrapping_add_signed(value.cast_signed() as i64);
    }

    /// Returns the interrupt output at `count`.
    pub const fn line(&self, count: u64) -> bool {
        self.enable && !self.masked && count >= self.compare
    }

    /// Returns the count at which the output will rise, if it is low at `count` and time alone will
    /// raise it.
    pub const fn deadline(&self, count: u64) -> Option<u64> {
        if self.enable && !self.masked && count < self.compare {
            Some(self.compare)
        } else {
            None
        }
    }
}

/// The generic timer registers of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GenericTimer {
    /// CNTKCTL: what PL0 may read, and the event stream.
    pub kernel_control: u32,
    /// CNTP_CTL and CNTP_CVAL.
    pub phys: Timer,
    /// CNTV_CTL and CNTV_CVAL.
    pub virt: Timer,
}

impl GenericTimer {
    /// Returns the interrupt outputs at `count`.
    pub const fn lines(&self, count: u64) -> TimerLines {
        TimerLines {
            phys: self.phys.line(count),
            virt: self.virt.line(count),
        }
    }

    /// Returns the next count at which an output rises, if time alone will raise one.
    pub fn next_deadline(&self, count: u64) -> Option<u64> {
        self.phys
            .deadline(count)
            .into_iter()
            .chain(self.virt.deadline(count))
            .min()
    }

    /// Returns the next count at which the event stream wakes `WFE` (CNTKCTL.EVNTEN, EVNTDIR and
    /// EVNTI; B8.1.4); `None` while it is off or never again.
    pub fn next_event(&self, count: u64) -> Option<u64> {
        if self.kernel_control & (1 << 2) == 0 {
            return None;
        }
        let falling = self.kernel_control & (1 << 3) != 0;
        let bit = (self.kernel_control >> 4) & 15;
        // The bit rises in the middle of each period of 2^(bit + 1) ticks and falls at its end.
        let period = 2u64 << bit;
        let phase = if falling { 0 } else { period / 2 };
        let start = count & !(period - 1);
        let next = start.checked_add(phase)?;
        if next > count {
            Some(next)
        } else {
            next.checked_add(period)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_and_counts_agree() {
        assert_eq!(count_from_ns(0), 0);
        assert_eq!(count_from_ns(15), 0);
        assert_eq!(count_from_ns(16), 1);
        assert_eq!(count_from_ns(1_000_000_000), u64::from(FREQUENCY_HZ));
        assert_eq!(count_from_ns(u64::MAX), u64::MAX / 16);
        for count in [0, 1, 2, 3, 1_000_003, u64::MAX / 16] {
            let ns = ns_from_count(count);
            assert_eq!(count_from_ns(ns), count);
            assert!(ns == 0 || count_from_ns(ns - 1) < count);
        }
        assert_eq!(ns_from_count(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_disabled_timer_does_nothing() {
        let t = GenericTimer::default();
        assert_eq!(t.lines(u64::MAX), TimerLines::default());
        assert_eq!(t.next_deadline(0), None);
        assert_eq!(t.virt.control(u64::MAX), 0);
    }

    /// Returns a timer whose control register and compare value have been written.
    fn set(control: u32, compare: u64) -> Timer {
        let mut timer = Timer::default();
        timer.set_control(control);
        Timer { compare, ..timer }
    }

    #[test]
    fn the_line_rises_exactly_at_the_compare_value() {
        let t = GenericTimer {
            virt: set(1, 100),
            ..GenericTimer::default()
        };
        assert_eq!(t.virt.control(99), 1);
        assert_eq!(t.virt.control(100), 5);
        assert!(!t.lines(99).virt && t.lines(100).virt && !t.lines(100).phys);
        assert_eq!(
            (t.next_deadline(99), t.next_deadline(100)),
            (Some(100), None)
        );
    }

    #[test]
    fn a_mask_hides_the_line_and_not_the_status() {
        let t = GenericTimer {
            phys: set(3, 10),
            ..GenericTimer::default()
        };
        assert_eq!(t.phys.control(10), 7);
        assert!(!t.lines(10).phys);
        assert_eq!(t.next_deadline(0), None);
    }

    #[test]
    fn the_downcounter_is_signed() {
        let mut timer = Timer::default();
        timer.set_value(1000, 50);
        assert_eq!(timer.compare, 1050);
        assert_eq!(timer.value(1049), 1);
        assert_eq!(timer.value(1060), (-10i32).cast_unsigned());
        timer.set_value(1000, (-50i32).cast_unsigned());
        assert_eq!(timer.compare, 950);
        timer.enable = true;
        assert!(timer.line(1000));
    }

    #[test]
    fn the_earlier_of_two_deadlines_counts() {
        let armed = |compare| Timer {
            enable: true,
            masked: false,
            compare,
        };
        let t = GenericTimer {
            phys: armed(70),
            virt: armed(60),
            ..GenericTimer::default()
        };
        assert_eq!(t.next_deadline(0), Some(60));
        assert_eq!(t.next_deadline(60), Some(70));
        assert_eq!(t.next_deadline(70), None);
    }

    #[test]
    fn the_event_stream_follows_one_bit_of_the_count() {
        let mut t = GenericTimer::default();
        assert_eq!(t.next_event(0), None);
        t.kernel_control = (1 << 2) | (3 << 4); // bit 3 rising
        assert_eq!(t.next_event(0), Some(8));
        assert_eq!(t.next_event(7), Some(8));
        assert_eq!(t.next_event(8), Some(24));
        t.kernel_control |= 1 << 3; // falling
        assert_eq!(t.next_event(0), Some(16));
        assert_eq!(t.next_event(16), Some(32));
        assert_eq!(t.next_event(u64::MAX), None);
    }
}
