#![expect(clippy::cast_possible_truncation, reason = "the counter wraps")]

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use vmm_base::VirtualClock;
use vmm_base::testing::LevelLine;

use super::*;

struct Fixture {
    clock: Arc<VirtualClock>,
    line: Arc<LevelLine>,
    set: Arc<AtomicU32>,
    rtc: Rtc,
}

fn place(epoch: u32) -> Fixture {
    at(epoch, Arc::default())
}

fn at(epoch: u32, clock: Arc<VirtualClock>) -> Fixture {
    let (line, set) = (Arc::<LevelLine>::default(), Arc::<AtomicU32>::default());
    let counter = Arc::clone(&set);
    let count = move || {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    let rtc = Rtc::new(clock.clone(), epoch, line.clone(), Box::new(count));
    Fixture {
        clock,
        line,
        set,
        rtc,
    }
}

#[test]
fn it_follows_the_machine_not_the_host() {
    let Fixture { clock, rtc, .. } = place(1_577_836_800);
    assert_eq!(rtc.read(RTCDR), 1_577_836_800);
    clock.skip_to(10 * NS + NS / 2);
    assert_eq!(rtc.read(RTCDR), 1_577_836_810);
    rtc.write(RTCLR, 1000);
    assert_eq!((rtc.read(RTCDR), rtc.read(RTCLR)), (1000, 1000));
    clock.skip_to(15 * NS);
    assert_eq!(rtc.read(RTCDR), 1005);
    rtc.write(RTCDR, 7);
    assert_eq!(rtc.read(RTCDR), 1005);
}

#[test]
fn it_identifies_as_a_pl031() {
    let rtc = place(0).rtc;
    let id: Vec<u32> = (ID..0x1000).step_by(4).map(|at| rtc.read(at)).collect();
    assert_eq!(id, [0x31, 0x10, 0x14, 0, 0x0d, 0xf0, 0x05, 0xb1]);
    assert_eq!(rtc.read(RTCCR), 1);
    rtc.write(RTCCR, 0);
    assert_eq!(rtc.read(RTCCR), 1, "a clock that runs is not stopped");
}

#[test]
fn odd_accesses_are_harmless() {
    let rtc = place(0x1234_5678).rtc;
    let mut byte = [0];
    rtc.mmio_read(MmioAddress(0), 1, &mut byte);
    assert_eq!(byte, [0x56]);
    let mut wide = [0xff; 8];
    rtc.mmio_read(MmioAddress(0), 0, &mut wide);
    assert_eq!(wide, [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
    rtc.mmio_write(MmioAddress(0), 8, &[1]);
    assert_eq!(rtc.read(RTCDR), 0x1234_5678);
    assert_eq!((rtc.read(u64::MAX), rtc.read(0x20)), (0, 0));
    rtc.write(u64::MAX, 1);
}

#[test]
fn an_alarm_raises_the_line_until_it_is_cleared() {
    let Fixture {
        clock,
        line,
        set,
        rtc,
    } = place(100);
    rtc.write(RTCMR, 105);
    assert_eq!((rtc.next_alarm(), set.load(Ordering::Relaxed)), (None, 0));
    rtc.write(RTCIMSC, 1);
    assert_eq!(
        (rtc.next_alarm(), set.load(Ordering::Relaxed)),
        (Some(5 * NS), 1)
    );
    clock.skip_to(5 * NS - 1);
    rtc.tick();
    assert!(!line.is_high());
    clock.skip_to(5 * NS);
    rtc.tick();
    assert!(line.is_high());
    assert_eq!((rtc.read(RTCRIS), rtc.read(RTCMIS)), (1, 1));
    assert_eq!(rtc.next_alarm(), None);
    rtc.write(RTCIMSC, 0);
    assert!(!line.is_high());
    assert_eq!((rtc.read(RTCRIS), rtc.read(RTCMIS)), (1, 0));
    rtc.write(RTCIMSC, 1);
    assert!(line.is_high());
    rtc.write(RTCICR, 0);
    assert!(line.is_high());
    rtc.write(RTCICR, 1);
    assert_eq!((line.is_high(), rtc.read(RTCRIS)), (false, 0));
    clock.skip_to(9 * NS);
    rtc.tick();
    assert!(!line.is_high(), "once");
}

#[test]
fn an_alarm_for_now_goes_off_at_once_and_one_of_the_past_in_a_century() {
    let Fixture {
        clock, line, rtc, ..
    } = place(100);
    clock.skip_to(NS / 2);
    rtc.write(RTCIMSC, 1);
    rtc.write(RTCMR, 100);
    assert!(line.is_high());
    rtc.write(RTCICR, 1);
    rtc.write(RTCMR, 99);
    assert!(!line.is_high());
    assert_eq!(rtc.next_alarm(), Some(u64::from(u32::MAX) * NS));
    // A clock that is put back comes to it again.
    rtc.write(RTCLR, 97);
    assert_eq!(rtc.next_alarm(), Some(2 * NS));
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u32),
    Read(u64),
    /// Milliseconds.
    Pass(u64),
    /// Goes on in another one, from a saved state.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    // Few seconds, so that counter and match register meet, on both sides of a wrap.
    let seconds = prop_oneof![0_u32..6, (u32::MAX - 5)..=u32::MAX];
    let register = (0_u64..9).prop_map(|n| n * 4);
    prop_oneof![
        3 => (register.clone(), seconds).prop_map(|(register, value)| Step::Write(register, value)),
        3 => register.prop_map(Step::Read),
        2 => (0_u64..4000).prop_map(Step::Pass),
        1 => Just(Step::Move),
    ]
}

/// The same clock, told by its history: it looks at every second that passes.
struct Model {
    now_ms: u64,
    /// The counter, and when it was set.
    set: (u32, u64),
    load: u32,
    matching: u32,
    mask: u32,
    raw: u32,
    waits: bool,
}

impl Model {
    fn counter(&self) -> u32 {
        self.set
            .0
            .wrapping_add((self.now_ms / 1000 - self.set.1 / 1000) as u32)
    }

    fn look(&mut self) {
        if self.waits && self.counter() == self.matching {
            (self.waits, self.raw) = (false, 1);
        }
    }

    fn read(&self, register: u64) -> u32 {
        match register {
            RTCDR => self.counter(),
            RTCMR => self.matching,
            RTCLR => self.load,
            RTCCR => 1,
            RTCIMSC => self.mask,
            RTCRIS => self.raw,
            RTCMIS => self.raw & self.mask,
            _ => 0,
        }
    }

    fn write(&mut self, register: u64, value: u32) {
        match register {
            RTCMR => self.matching = value,
            RTCLR => (self.load, self.set) = (value, (value, self.now_ms)),
            RTCIMSC => self.mask = value & 1,
            RTCICR => self.raw &= !value,
            _ => {}
        }
        self.waits |= matches!(register, RTCMR | RTCLR);
        self.look();
    }
}

proptest! {
    #[test]
    fn it_does_what_its_manual_says(epoch in prop_oneof![Just(3), Just(u32::MAX - 2)], steps in vec(step(), 1..100)) {
        let mut place = place(epoch);
        let mut model = Model {
            now_ms: 0, set: (epoch, 0), load: 0, matching: 0, mask: 0, raw: 0, waits: false,
        };
        for step in steps {
            match step {
                Step::Write(register, value) => {
                    place.rtc.write(register, value);
                    model.write(register, value);
                }
                Step::Read(register) => prop_assert_eq!(place.rtc.read(register), model.read(register)),
                Step::Pass(ms) => {
                    for _ in 0..ms {
                        model.now_ms += 1;
                        model.look();
                    }
                    let end = model.now_ms * 1_000_000;
                    // As the run loop goes on: to the alarm, and then to the end.
                    if let Some(alarm) = place.rtc.next_alarm().filter(|alarm| *alarm < end) {
                        place.clock.skip_to(alarm);
                        place.rtc.tick();
                        prop_assert!(place.line.is_high());
                    }
                    place.clock.skip_to(end);
                    place.rtc.tick();
                }
                Step::Move => {
                    let state = place.rtc.save();
                    place = at(0, Arc::clone(&place.clock));
                    place.rtc.restore(&state);
                    prop_assert_eq!(place.rtc.save(), state);
                }
            }
            prop_assert_eq!(place.line.is_high(), model.raw & model.mask == 1);
        }
    }
}
