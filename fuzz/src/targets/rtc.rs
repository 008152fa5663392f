//! The real-time clock and its alarm under any driver, with time that passes in any steps, beside a
//! model that knows at every moment what the counter is and whether it has come to the match
//! register (PL031, DDI 0224C).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the clock wraps"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arbitrary::{Arbitrary, Unstructured};
use arm32::Clock;
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vmm::devices::alarm::Alarm;
use vmm::devices::rtc::Rtc;
use vmm_base::VirtualClock;
use vmm_base::testing::LevelLine;

use super::rest::Rest;

const SECOND: u64 = 1_000_000_000;
/// Steps of one case.
const STEPS: usize = 512;

/// A moment of the counter.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Moment {
    /// So many seconds from what it shows.
    Near(i8),
    /// So many from where it wraps.
    Wrap(i8),
    Any(u32),
}

/// A step.
#[derive(Arbitrary, Debug)]
enum Step {
    Match(Moment),
    Load(Moment),
    Mask(u32),
    Clear(u32),
    Read(u8),
    Write(u8, u32),
    /// Any access of the bus, of any width.
    Access(u16, u8, [u8; 8], bool),
    /// Nanoseconds pass.
    Pass(u32),
    /// Seconds do.
    Wait(u16),
    /// Centuries.
    Sleep(u32),
    Moved,
}

/// The clock as its manual has it.
struct Model {
    /// The counter less the seconds that have passed.
    offset: u32,
    load: u32,
    matching: u32,
    mask: bool,
    raw: bool,
    /// Seconds, since power-on, at which the alarm goes off; less than now if that was set for a
    /// moment that is here.
    alarm: Option<u64>,
}

impl Model {
    fn set_alarm(&mut self, now: u64) {
        let left = self.matching.wrapping_sub(self.counter(now));
        self.alarm = Some(now + u64::from(left));
    }

    fn counter(&self, now: u64) -> u32 {
        self.offset.wrapping_add(now as u32)
    }

    fn look(&mut self, now: u64) {
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            (self.alarm, self.raw) = (None, true);
        }
    }

    fn read(&self, register: u64, now: u64) -> u32 {
        match register {
            0x00 => self.counter(now),
            0x04 => self.matching,
            0x08 => self.load,
            0x0c => 1,
            0x10 => self.mask.into(),
            0x14 => self.raw.into(),
            0x18 => (self.raw && self.mask).into(),
            0xfe0..=0xffc => {
                [0x31, 0x10, 0x14, 0, 0xd, 0xf0, 5, 0xb1][(register - 0xfe0) as usize / 4]
            }
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u32, now: u64) {
        match register {
            0x04 => self.matching = value,
            0x08 => (self.load, self.offset) = (value, value.wrapping_sub(now as u32)),
            0x10 => self.mask = value & 1 != 0,
            0x1c => self.raw &= value & 1 == 0,
            _ => {}
        }
        if matches!(register, 0x04 | 0x08) {
            self.set_alarm(now);
        }
        self.look(now);
    }
}

struct Fixture {
    clock: Arc<VirtualClock>,
    line: Arc<LevelLine>,
    /// How often it was said that the next alarm may have changed.
    told: Arc<AtomicU64>,
    rtc: Rtc,
    model: Model,
}

fn rtc(clock: &Arc<VirtualClock>, epoch: u32) -> (Rtc, Arc<LevelLine>, Arc<AtomicU64>) {
    let (line, told) = (Arc::<LevelLine>::default(), Arc::<AtomicU64>::default());
    let count = Arc::clone(&told);
    let tell = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let rtc = Rtc::new(clock.clone(), epoch, line.clone(), Box::new(tell));
    (rtc, line, told)
}

impl Fixture {
    fn now(&self) -> u64 {
        self.clock.now_ns() / SECOND
    }

    fn moment(&self, moment: Moment) -> u32 {
        match moment {
            Moment::Near(n) => self.model.counter(self.now()).wrapping_add_signed(n.into()),
            Moment::Wrap(n) => n as u32,
            Moment::Any(n) => n,
        }
    }

    fn write(&mut self, register: u64, value: u32) {
        let (before, told) = (self.rtc.next_alarm(), self.told.load(Ordering::Relaxed));
        self.rtc.write(register, value);
        self.model.write(register, value, self.now());
        self.check();
        let after = self.rtc.next_alarm();
        let sooner = after.is_some_and(|after| before.is_none_or(|before| after < before));
        assert!(
            !sooner || self.told.load(Ordering::Relaxed) > told,
            "who waits has to hear of an earlier alarm"
        );
    }

    /// Asserts that the line and the next alarm are the model's.
    fn check(&self) {
        let level = self.model.raw && self.model.mask;
        assert_eq!(self.line.is_high(), level, "the line");
        let next = self.model.alarm.filter(|_| self.model.mask);
        let next = next.map(|seconds| seconds.saturating_mul(SECOND));
        assert_eq!(self.rtc.next_alarm(), next, "the next alarm");
    }

    /// Lets time pass as the run loop does: it stops at the alarm.
    fn pass(&mut self, ns: u64) {
        // Enough for any machine; beyond, the clock itself would wrap.
        let end = self.clock.now_ns().saturating_add(ns).min(1 << 63);
        if let Some(alarm) = self.rtc.next_alarm().filter(|alarm| *alarm <= end) {
            self.clock.skip_to(alarm);
            self.rtc.tick();
            assert!(self.line.is_high(), "it went off in time");
        }
        self.clock.skip_to(end);
        self.rtc.tick();
        self.model.look(end / SECOND);
        self.check();
    }

    fn access(&mut self, offset: u16, size: u8, bytes: [u8; 8], write: bool) {
        let (offset, size) = (u64::from(offset & 0xfff), 1 << (size & 3));
        let mut data = bytes[..size].to_vec();
        if write {
            self.rtc.mmio_write(MmioAddress(0), offset, &data);
            if let Ok(word) = data.try_into().map(u32::from_le_bytes) {
                self.model.write(offset, word, self.now());
            }
        } else {
            self.rtc.mmio_read(MmioAddress(0), offset, &mut data);
            let word = self.model.read(offset & !3, self.now()).to_le_bytes();
            let mut bytes = word.iter().skip(offset as usize & 3).copied();
            assert!(data.iter().all(|byte| *byte == bytes.next().unwrap_or(0)));
        }
        self.check();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Match(moment) => self.write(0x04, self.moment(moment)),
            Step::Load(moment) => self.write(0x08, self.moment(moment)),
            Step::Mask(value) => self.write(0x10, value),
            Step::Clear(value) => self.write(0x1c, value),
            Step::Read(register) => {
                let registers = (0..8).chain(0x3f8..0x400);
                let mut registers = registers.map(|n: u64| n * 4).cycle();
                let register = registers.nth(register.into()).expect("it has no end");
                let value = self.rtc.read(register);
                assert_eq!(
                    value,
                    self.model.read(register, self.now()),
                    "{register:#x}"
                );
                self.check();
            }
            Step::Write(register, value) => self.write(u64::from(register % 12) * 4, value),
            Step::Access(offset, size, bytes, write) => self.access(offset, size, bytes, write),
            Step::Pass(ns) => self.pass(ns.into()),
            Step::Wait(seconds) => self.pass(u64::from(seconds) * SECOND),
            Step::Sleep(seconds) => self.pass(u64::from(seconds) * SECOND),
            Step::Moved => {
                let saved = self.rtc.save();
                (self.rtc, self.line, self.told) = rtc(&self.clock, 7);
                self.rtc.restore(&saved);
                assert_eq!(self.rtc.save(), saved);
                self.check();
            }
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(epoch) = u.arbitrary::<u32>() else {
        return;
    };
    let Ok(steps) = Rest::<Step>::arbitrary_take_rest(u) else {
        return;
    };
    let clock = Arc::<VirtualClock>::default();
    let (rtc, line, told) = rtc(&clock, epoch);
    let model = Model {
        offset: epoch,
        load: 0,
        matching: 0,
        mask: false,
        raw: false,
        alarm: None,
    };
    let mut place = Fixture {
        clock,
        line,
        told,
        rtc,
        model,
    };
    for step in steps.0.iter().take(STEPS) {
        place.step(step);
    }
}
