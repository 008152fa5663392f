//! The timers, as Linux's driver uses them, and beside a model that counts.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use vmm_base::VirtualClock;
use vmm_base::testing::LevelLine;

use super::spec::{control, offset};
use super::*;

/// A tick has ten nanoseconds.
const HZ: u32 = 100_000_000;

struct Fixture {
    clock: Arc<VirtualClock>,
    line: Arc<LevelLine>,
    set: Arc<AtomicU32>,
    timers: DualTimer,
}

fn at(clock: Arc<VirtualClock>) -> Fixture {
    let (line, set) = (Arc::<LevelLine>::default(), Arc::<AtomicU32>::default());
    let counter = Arc::clone(&set);
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let timers = DualTimer::new(clock.clone(), HZ, line.clone(), Box::new(count));
    Fixture {
        clock,
        line,
        set,
        timers,
    }
}

fn timers() -> Fixture {
    at(Arc::default())
}

const RUNS: u32 = control::SIZE_32 | control::ENABLE;

#[test]
fn linux_takes_the_second_for_a_clock() {
    let Fixture {
        clock,
        timers,
        line,
        ..
    } = timers();
    // drivers/clocksource/timer-sp804.c, `sp804_clocksource_and_sched_clock_init`.
    timers.write(STRIDE + offset::CONTROL, 0);
    timers.write(STRIDE + offset::LOAD, u32::MAX);
    timers.write(STRIDE + offset::CONTROL, RUNS | control::PERIODIC);
    assert_eq!(timers.read(STRIDE + offset::VALUE), u32::MAX);
    clock.skip_to(1005);
    assert_eq!(timers.read(STRIDE + offset::VALUE), u32::MAX - 100);
    // Once around: 2^32 steps.
    clock.skip_to((1 << 32) * 10 + 50);
    assert_eq!(timers.read(STRIDE + offset::VALUE), u32::MAX - 5);
    assert_eq!(timers.next_alarm(), None);
    assert!(!line.is_high());
}

#[test]
fn linux_is_interrupted_by_the_first() {
    let Fixture {
        clock,
        timers,
        line,
        set,
    } = timers();
    // `sp804_set_next_event`.
    let one_shot = RUNS | control::INTERRUPT | control::ONE_SHOT;
    timers.write(offset::CONTROL, 0);
    timers.write(offset::LOAD, 7);
    timers.write(offset::CONTROL, one_shot);
    assert!(set.load(Ordering::Relaxed) > 0);
    assert_eq!(timers.next_alarm(), Some(70));
    clock.skip_to(69);
    timers.tick();
    assert!(!line.is_high());
    clock.skip_to(70);
    timers.tick();
    assert!(line.is_high());
    assert_eq!((timers.read(offset::VALUE), timers.next_alarm()), (0, None));
    timers.write(offset::INT_CLR, 1);
    assert!(!line.is_high());
    clock.skip_to(1000);
    assert_eq!((timers.read(offset::RIS), timers.next_alarm()), (0, None));
}

#[test]
fn a_period_has_one_step_more_than_its_value() {
    let Fixture {
        clock,
        timers,
        line,
        ..
    } = timers();
    timers.write(offset::LOAD, 9);
    timers.write(
        offset::CONTROL,
        RUNS | control::INTERRUPT | control::PERIODIC,
    );
    for period in 0..5 {
        let zero = period * 100 + 90;
        assert_eq!(timers.next_alarm(), Some(zero));
        clock.skip_to(zero);
        timers.tick();
        assert!(line.is_high());
        timers.write(offset::INT_CLR, 0);
        assert!(!line.is_high(), "it is at zero once a period");
        assert_eq!(timers.read(offset::VALUE), 0);
    }
    // Long after.
    clock.skip_to(1_000_000_000_025);
    assert_eq!(timers.read(offset::VALUE), 7);
    assert_eq!(timers.read(offset::MIS), 1);
}

#[test]
fn it_says_what_it_is_and_any_access_is_answered() {
    let Fixture { timers, .. } = timers();
    let id: Vec<u32> = (ID..0x1000).step_by(4).map(|at| timers.read(at)).collect();
    assert_eq!(id, [0x04, 0x18, 0x14, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    for at in (0..0x1000).chain([u64::MAX]) {
        for size in [1, 2, 4, 8] {
            let mut data = vec![0xff; size];
            timers.mmio_write(MmioAddress(0), at, &data);
            timers.mmio_read(MmioAddress(0), at, &mut data);
        }
    }
}

#[test]
fn impossible_saved_states_are_refused() {
    let Fixture { timers, .. } = timers();
    let good = timers.save();
    let mut bad = good.clone();
    bad.timers[1].control = 0x100;
    assert!(!timers.restore(&bad));
    bad = good.clone();
    bad.timers[0].since = 1000;
    assert!(!timers.restore(&bad));
    assert_eq!(timers.save(), good);
}

/// What happens to the timers.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, u32),
    /// So many ticks pass.
    Pass(u16),
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    let small = 0..20_u32;
    prop_oneof![
        2 => small.clone().prop_map(|v| Step::Write(offset::LOAD, v)),
        1 => any::<u32>().prop_map(|v| Step::Write(offset::LOAD, v)),
        1 => small.prop_map(|v| Step::Write(offset::BG_LOAD, v)),
        3 => any::<u8>().prop_map(|v| Step::Write(offset::CONTROL, u32::from(v) | 0x80)),
        1 => any::<u32>().prop_map(|v| Step::Write(offset::CONTROL, v)),
        2 => Just(Step::Write(offset::INT_CLR, 0)),
        4 => (0..60_u16).prop_map(Step::Pass),
        1 => (0..3000_u16).prop_map(Step::Pass),
        1 => Just(Step::Move),
    ]
}

/// A timer that counts, tick by tick.
#[derive(Default)]
struct Model {
    load: u32,
    control: u32,
    count: u32,
    /// Ticks of the step under way that have passed.
    part: u64,
    stopped: bool,
    raw: bool,
}

impl Model {
    fn mask(&self) -> u32 {
        if self.control & 2 != 0 {
            u32::MAX
        } else {
            0xffff
        }
    }

    fn runs(&self) -> bool {
        self.control & 0x80 != 0 && !self.stopped
    }

    /// Is at zero, if it is.
    fn look(&mut self) {
        if self.runs() && self.count & self.mask() == 0 {
            self.raw = true;
            self.count = 0;
            self.stopped = self.control & 1 != 0;
        }
    }

    fn tick(&mut self) {
        if !self.runs() {
            return;
        }
        self.part += 1;
        if self.part < [1, 16, 256, 256][(self.control >> 2 & 3) as usize] {
            return;
        }
        self.part = 0;
        self.count &= self.mask();
        self.count = match self.count.checked_sub(1) {
            Some(less) => less,
            None if self.control & 0x40 != 0 => self.load & self.mask(),
            None => self.mask(),
        };
        self.look();
    }

    fn write(&mut self, at: u64, value: u32) {
        match at {
            offset::LOAD => {
                (self.load, self.count, self.part, self.stopped) = (value, value, 0, false);
            }
            offset::BG_LOAD => self.load = value,
            offset::CONTROL => {
                self.stopped &= value & 1 != 0;
                (self.control, self.part) = (value & 0xef, 0);
            }
            _ => self.raw = false,
        }
        if at == offset::LOAD || at == offset::CONTROL {
            self.look();
        }
    }
}

proptest! {
    #[test]
    fn it_shows_what_a_counter_would(steps in vec(step(), 1..60), timer in 0..2_u64) {
        let mut place = timers();
        let mut model = Model { control: 0x20, count: u32::MAX, ..Model::default() };
        for step in steps {
            match step {
                Step::Write(at, value) => {
                    place.timers.write(timer * STRIDE + at, value);
                    model.write(at, value);
                }
                Step::Pass(ticks) => {
                    let now = place.clock.now_ns() + u64::from(ticks) * 10;
                    place.clock.skip_to(now);
                    (0..ticks).for_each(|_| model.tick());
                    place.timers.tick();
                }
                Step::Move => {
                    let saved = place.timers.save();
                    let next = at(Arc::clone(&place.clock));
                    prop_assert!(next.timers.restore(&saved));
                    place = next;
                }
            }
            let shown = place.timers.read(timer * STRIDE + offset::VALUE);
            prop_assert_eq!(shown, model.count & model.mask(), "{:?}", step);
            prop_assert_eq!(place.timers.read(timer * STRIDE + offset::RIS) == 1, model.raw);
            prop_assert_eq!(place.line.is_high(), model.raw && model.control & 0x20 != 0);
            if let Some(next) = place.timers.next_alarm() {
                prop_assert!(next > place.clock.now_ns(), "what is due has happened");
            }
        }
    }
}
