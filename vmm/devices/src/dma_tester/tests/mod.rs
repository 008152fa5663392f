mod property;

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};
use vmm_base::testing::LevelLine;
use vmm_base::{Clock, VirtualClock, Waker};

use super::script::Expect;
use super::*;
use crate::ram::GuestRam;
use crate::virtio::budget::{PAUSE_NS, TURN_BYTES};

/// Where memory is, but for a page in its middle.
const RAM: u64 = 0x10000;
const HALF: u64 = 0x8000;
const HOLE: u64 = RAM + HALF;
const UPPER: u64 = HOLE + 0x1000;

struct Fixture {
    ram: Arc<GuestRam>,
    clock: Arc<VirtualClock>,
    control: Arc<Control>,
    line: Arc<LevelLine>,
    tester: DmaTester,
}

fn tester(
    ram: &Arc<GuestRam>,
    clock: &Arc<VirtualClock>,
    script: Vec<Step>,
) -> (DmaTester, Arc<LevelLine>, Arc<Control>) {
    let control = Arc::new(Control::new(Arc::new(Waker::default())));
    let schedule = Arc::new(Schedule::new(clock.clone(), Arc::clone(&control)));
    let line = Arc::<LevelLine>::default();
    let spaces = vec![
        DmaSpace::pass_through(Arc::clone(ram)),
        DmaSpace::blocked(Arc::clone(ram)),
    ];
    let both = (schedule, Arc::clone(&control));
    let tester = DmaTester::new("dma-tester", spaces, line.clone(), both, script);
    (tester, line, control)
}

fn with_script(script: Vec<Step>) -> Fixture {
    let half = usize::try_from(HALF).unwrap();
    let ranges = [(GuestAddress(RAM), half), (GuestAddress(UPPER), half)];
    let ram = Arc::new(GuestRam::from_ranges(&ranges).unwrap());
    let clock = Arc::<VirtualClock>::default();
    let (tester, line, control) = tester(&ram, &clock, script);
    Fixture {
        ram,
        clock,
        control,
        line,
        tester,
    }
}

fn fixture() -> Fixture {
    with_script(Vec::new())
}

impl Fixture {
    fn set(&self, registers: &[(u64, u32)]) {
        for (register, value) in registers {
            self.tester.write(*register, *value);
        }
    }

    /// Lets time pass until nothing is left to do, and returns the times at which something was.
    fn finish(&self) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(next) = self.tester.next() {
            self.clock.skip_to(next);
            times.push(self.clock.now_ns());
            self.tester.run_due();
            assert!(times.len() < 10_000, "it comes to no end");
        }
        times
    }

    /// Carries out a command, and returns the status.
    fn run(&self, registers: &[(u64, u32)], command: u32) -> u32 {
        self.set(registers);
        self.tester.write(COMMAND, command);
        self.finish();
        self.tester.read(STATUS)
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}

fn at(address: u64) -> (u64, u32) {
    (ADDRESS_LO, u32::try_from(address).unwrap())
}

#[test]
fn it_says_what_it_is() {
    let fixture = fixture();
    let read = |register| fixture.tester.read(register);
    assert_eq!(read(ID).to_le_bytes(), *b"DMAT");
    assert_eq!((read(VERSION), read(REQUESTERS)), (1, 2));
    assert_eq!((read(LENGTH), read(COUNT), read(REPEAT)), (4, 1, 1));
    fixture.set(&[(ADDRESS_HI, 7), (ADDRESS_LO, 9), (ID, 1), (0x7fc, 1)]);
    assert_eq!((read(ADDRESS_HI), read(ADDRESS_LO)), (7, 9));
    assert_eq!((read(ID), read(0x7fc), read(0xffc)), (ID_VALUE, 0, 0));
    fixture.tester.mmio_write(MmioAddress(0), LENGTH, &[9]);
    assert_eq!(read(LENGTH), 4, "only words are written");
}

#[test]
fn memory_is_filled_compared_read_and_written() {
    let fixture = fixture();
    let pattern = [(PATTERN, PATTERN_SEQUENCE), (DATA, 5), (LENGTH, 0x1800)];
    let status = fixture.run(&[&[at(RAM + 1)], &pattern[..]].concat(), COMMAND_FILL);
    assert_eq!(status, STATUS_DONE);
    let word = |n: u32| (5 + n).wrapping_mul(SEQUENCE_FACTOR).to_le_bytes();
    assert_eq!(fixture.bytes(RAM, 9)[1..], [word(0), word(1)].concat());
    assert_eq!(fixture.tester.read(MOVED_LO), 0x1800);
    assert_eq!(fixture.run(&[], COMMAND_COMPARE), STATUS_DONE);
    fixture
        .ram
        .write_obj(0u8, GuestAddress(RAM + 0x1001))
        .unwrap();
    let status = fixture.run(&[], COMMAND_COMPARE);
    assert_eq!(status, STATUS_DONE | STATUS_MISMATCH);
    assert_eq!(fixture.tester.read(MISMATCHES), 1);
    assert_eq!(u64::from(fixture.tester.read(MISMATCH_LO)), RAM + 0x1001);

    // Read, and written elsewhere from the buffer.
    assert_eq!(fixture.run(&[(LENGTH, 1024)], COMMAND_READ), STATUS_DONE);
    let read = fixture.bytes(RAM + 1, 1024);
    assert_eq!(fixture.tester.read(CHECKSUM), crc32fast::hash(&read));
    let first = u32::from_le_bytes(read[..4].try_into().unwrap());
    assert_eq!(fixture.tester.read(BUFFER), first);
    fixture.tester.write(BUFFER + 0x3fc, 0x0102_0304);
    fixture.run(&[at(UPPER), (LENGTH, 1028)], COMMAND_WRITE);
    let written = fixture.bytes(UPPER, 1028);
    assert_eq!(written[..1020], read[..1020]);
    assert_eq!(written[1020..1024], [4, 3, 2, 1]);
    assert_eq!(written[1024..], read[..4], "it goes round");
}

#[test]
fn a_burst_has_a_stride_and_is_repeated_at_its_times() {
    let fixture = fixture();
    fixture.clock.skip_to(100);
    let stride = (-16_i32).cast_unsigned();
    let burst = [
        at(RAM + 0x100),
        (COUNT, 3),
        (STRIDE, stride),
        (DATA, 0xffff_ffff),
    ];
    let times = [(DELAY, 50), (REPEAT, 3), (INTERVAL, 1000)];
    fixture.set(&[&burst[..], &times].concat());
    fixture.tester.write(COMMAND, COMMAND_FILL);
    assert!(fixture.control.take_recheck(), "the run loop looks at once");
    assert_eq!(fixture.tester.read(STATUS), STATUS_BUSY);
    assert!(!fixture.tester.run_due());
    assert_eq!(fixture.bytes(RAM + 0x100, 4), [0; 4], "not before its time");
    assert_eq!(fixture.finish(), [150, 1150, 2150]);
    assert_eq!(fixture.tester.read(ACCESSES), 9);
    for address in [RAM + 0xe0, RAM + 0xf0, RAM + 0x100] {
        assert_eq!(fixture.bytes(address, 8), [255, 255, 255, 255, 0, 0, 0, 0]);
    }
    assert_eq!(fixture.bytes(RAM + 0xd0, 4), [0; 4]);
}

#[test]
fn what_is_refused_is_told_and_moves_nothing() {
    let fixture = fixture();
    fixture.tester.write(INTERRUPT_ENABLE, INTERRUPT_FAULT);
    let burst = [
        at(HOLE - 8),
        (LENGTH, 16),
        (COUNT, 4),
        (STRIDE, 0x1000),
        (DATA, 1),
    ];
    let status = fixture.run(&burst, COMMAND_FILL);
    assert_eq!(status, STATUS_DONE | STATUS_FAULT);
    let read = |register| fixture.tester.read(register);
    assert_eq!(read(FAULT_REASON), REASON_NO_MEMORY);
    assert_eq!((u64::from(read(FAULT_LO)), read(FAULT_HI)), (HOLE, 0));
    assert_eq!((read(FAULTS), read(ACCESSES), read(MOVED_LO)), (1, 1, 8));
    assert!(fixture.line.is_high());
    fixture.tester.write(INTERRUPT_STATUS, INTERRUPT_FAULT);
    assert!(!fixture.line.is_high());

    // The other accesses follow if they are wanted: the second begins in the hole.
    fixture.run(&[(CONTROL, CONTROL_GO_ON)], COMMAND_FILL);
    assert_eq!((read(FAULTS), read(ACCESSES), read(MOVED_LO)), (2, 4, 40));

    // The requester that is blocked.
    let status = fixture.run(&[(REQUESTER, 1), at(RAM)], COMMAND_READ);
    assert_eq!(status, STATUS_DONE | STATUS_FAULT);
    assert_eq!((read(FAULT_REASON), read(MOVED_LO)), (24, 0));
    let end = [
        (REQUESTER, 0),
        (ADDRESS_HI, u32::MAX),
        (ADDRESS_LO, u32::MAX),
    ];
    fixture.run(&end, COMMAND_READ);
    assert!(read(FAULT_REASON) != REASON_NONE);
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let fixture = fixture();
    let wrong = [
        (LENGTH, 0),
        (COUNT, 0),
        (REPEAT, 0),
        (REQUESTER, 2),
        (PATTERN, 3),
    ];
    for (register, value) in wrong {
        let before = fixture.tester.read(register);
        let status = fixture.run(&[at(RAM), (register, value)], COMMAND_READ);
        assert_eq!(status & STATUS_REFUSED, STATUS_REFUSED, "{register:#x}");
        fixture.tester.write(register, before);
    }
    assert_eq!(fixture.run(&[], 5) & STATUS_REFUSED, STATUS_REFUSED);
    assert_eq!(fixture.run(&[], COMMAND_READ), STATUS_DONE);
    // While one is busy there is no other.
    fixture.set(&[
        (DELAY, 1000),
        (COMMAND, COMMAND_READ),
        (COMMAND, COMMAND_FILL),
    ]);
    assert_eq!(fixture.tester.read(STATUS), STATUS_BUSY | STATUS_REFUSED);
    fixture.tester.write(COMMAND, COMMAND_ABORT);
    assert_eq!(fixture.tester.next(), None);
    assert_eq!(fixture.tester.read(STATUS), STATUS_ABORTED | STATUS_REFUSED);
    assert_eq!(fixture.bytes(RAM, 4), [0; 4]);
}

#[test]
fn the_largest_operation_is_done_in_turns() {
    let fixture = fixture();
    let burst = [
        at(RAM),
        (LENGTH, u32::MAX),
        (COUNT, u32::MAX),
        (CONTROL, CONTROL_GO_ON),
    ];
    fixture.set(&[&burst[..], &[(REPEAT, u32::MAX), (COMMAND, COMMAND_READ)]].concat());
    for turn in 1..4 {
        assert!(fixture.tester.run_due());
        assert!(
            !fixture.tester.run_due(),
            "a turn is over until its pause is"
        );
        let next = fixture.tester.next().unwrap();
        assert_eq!(next, turn * PAUSE_NS);
        // Every access is refused at the hole, after 9 pieces.
        let pieces = TURN_BYTES / u64::from(PIECE);
        let accesses = u64::from(fixture.tester.read(ACCESSES));
        assert!(accesses <= turn * pieces / 8, "{accesses}");
        fixture.clock.skip_to(next);
    }
    fixture.tester.write(COMMAND, COMMAND_ABORT);
    assert_eq!(fixture.tester.next(), None);
}

/// Returns a step that reads a word.
fn step(address: StepAddress) -> Step {
    let text = serde_json::json!({ "op": "read", "address": address });
    serde_json::from_value(text).unwrap()
}

#[test]
fn a_script_runs_at_its_times_and_after_its_events() {
    let fill = Step {
        on: Some(Trigger::Fill),
        nth: 2,
        device: Some("disk0".into()),
        delay: Some(vmm_faults::spec::Time(30)),
        ..step(StepAddress::Known(Known::Event))
    };
    let first = Step {
        at: Some(vmm_faults::spec::Time(500)),
        ..step(StepAddress::At(RAM))
    };
    let blocked = Step {
        requester: 1,
        expect: Expect::Fault,
        ..step(StepAddress::Known(Known::Previous))
    };
    let flush = Step {
        on: Some(Trigger::Flush),
        ..step(StepAddress::At(HOLE))
    };
    let fixture = with_script(vec![first, fill, blocked, flush]);
    let happens = |what, device, address| {
        let happened = Happened {
            what,
            device,
            address,
        };
        fixture.tester.tell(&happened);
    };
    happens(Trigger::Fill, Some("disk0"), Some(RAM));
    assert_eq!(fixture.finish(), [500], "what was before does not count");
    happens(Trigger::Fill, Some("rng"), Some(RAM));
    happens(Trigger::Fill, Some("dma-tester"), Some(RAM));
    happens(Trigger::Fill, Some("disk0"), Some(RAM));
    happens(Trigger::Flush, None, None);
    assert_eq!(fixture.tester.next(), None);
    happens(Trigger::Fill, Some("disk0"), Some(UPPER));
    // Two steps, one at once after the other.
    assert_eq!(fixture.finish(), [530, 530]);
    assert_eq!(fixture.tester.next(), None);
    happens(Trigger::Flush, None, None);
    fixture.finish();
    let results = fixture.tester.results();
    let of = |index: usize| {
        let (step, result) = (&fixture.tester.script()[index], &results[index]);
        (result.address, result.outcome(step.op), result.holds(step))
    };
    assert_eq!(of(0), (Some(RAM), "ok", true));
    assert_eq!(of(1), (Some(UPPER), "ok", true));
    assert_eq!(of(2), (Some(UPPER), "fault", true));
    assert_eq!(of(3), (Some(HOLE), "bus-error", false));
}

#[test]
fn states_that_no_device_comes_to_are_refused() {
    let fixture = fixture();
    fixture.set(&[at(RAM), (DELAY, 10), (COMMAND, COMMAND_READ)]);
    let saved = fixture.tester.save();
    assert!(fixture.tester.restore(&saved));
    let active = saved.active.unwrap();
    let changed = |change: &dyn Fn(&mut DmaTesterState)| {
        let mut state = saved.clone();
        change(&mut state);
        fixture.tester.restore(&state)
    };
    let with = |change: &dyn Fn(&mut Active)| {
        let mut active = active;
        change(&mut active);
        changed(&|state| state.active = Some(active))
    };
    assert!(!with(&|active| active.operation.requester = 2));
    assert!(!with(&|active| active.operation.length = 0));
    assert!(!with(&|active| active.progress.offset = 4));
    assert!(!with(&|active| active.progress.accesses = 1));
    assert!(!with(&|active| active.progress.bursts = 1));
    assert!(!with(&|active| active.progress.due_ns = u64::MAX));
    assert!(!with(&|active| active.operation.interval_ns = u64::MAX));
    assert!(!changed(&|state| state.buffer.push(0)));
    assert!(!changed(&|state| state.status = STATUS_BUSY));
    assert!(!changed(&|state| state.interrupts = 8));
    assert!(!changed(&|state| state.script.waits = 1));
    let result = StepResult {
        begun_ns: 0,
        address: None,
        met: Met::default(),
    };
    assert!(!changed(
        &|state| state.script.results = vec![result.clone()]
    ));
    assert!(!changed(
        &|state| state.script.under_way = Some(result.clone())
    ));
    assert_eq!(fixture.tester.save(), saved, "nothing was taken over");
}
