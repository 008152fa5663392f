//! The DMA tester under any driver and any script, with time that passes in any steps and events
//! that come at any moment: work stays within a turn, the line is what the registers say, and a
//! saved state is taken over as it is.

#![expect(
    clippy::cast_possible_truncation,
    reason = "registers are made of larger numbers"
)]

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use vm_device::DeviceMmio;
use vm_device::bus::MmioAddress;
use vm_memory::GuestAddress;
use vmm::devices::dma_tester::script::{Happened, Known, Step, StepAddress, Trigger};
use vmm::devices::dma_tester::spec::{
    COMMAND, INTERRUPT_ENABLE, INTERRUPT_STATUS, STATUS, STATUS_BUSY,
};
use vmm::devices::dma_tester::{DmaTester, DmaTesterState, OperationKind, Pattern};
use vmm::devices::ram::{DmaSpace, GuestRam};
use vmm::devices::virtio::budget::TURN_BYTES;
use vmm::devices::virtio::schedule::Schedule;
use vmm_base::testing::LevelLine;
use vmm_base::{Clock, Control, VirtualClock, Waker};

use super::rest::Rest;

const RAM: u64 = 0x1_0000;
const SIZE: usize = 0x8000;
/// Actions of one case.
const ACTIONS: usize = 256;
/// The most work of one case, in turns: a command of the largest burst takes longer than anybody
/// waits.
const TURNS: usize = 6;

/// An address.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Ram(u16),
    Any(u64),
    Event,
    Previous,
}

impl Place {
    fn number(self) -> u64 {
        match self {
            Self::Ram(offset) => RAM + u64::from(offset),
            Self::Any(address) => address,
            Self::Event | Self::Previous => 0,
        }
    }
}

/// A step of the script: what it begins after, what it does, where, and numbers.
#[derive(Arbitrary, Debug)]
struct Scripted(u8, u8, Place, u16, u8, i16, u8);

impl Scripted {
    fn step(&self) -> Step {
        let text = r#"{"op":"read","address":0}"#;
        let mut step: Step = serde_json::from_str(text).expect("it is one");
        step.on = match self.0 % 8 {
            0 => Some(Trigger::Fill),
            1 => Some(Trigger::Flush),
            2 => Some(Trigger::Map),
            3 => Some(Trigger::Unmap),
            4 => Some(Trigger::Fault),
            _ => None,
        };
        step.op = [
            OperationKind::Read,
            OperationKind::Compare,
            OperationKind::Fill,
        ][usize::from(self.1 % 3)];
        step.pattern = [Pattern::Word, Pattern::Sequence][usize::from(self.1 / 3 % 2)];
        step.address = match self.2 {
            Place::Event => StepAddress::Known(Known::Event),
            Place::Previous => StepAddress::Known(Known::Previous),
            place => StepAddress::At(place.number()),
        };
        step.length = self.3.into();
        step.count = self.4.into();
        step.stride = Some(self.5.into());
        step.requester = u32::from(self.6 % 3);
        step.nth = u32::from(self.6 / 64) + 1;
        step.go_on = self.6 & 4 != 0;
        step
    }
}

/// An action.
#[derive(Arbitrary, Debug)]
enum Action {
    /// A register is written.
    Write(u8, u32),
    Address(Place),
    Command(u8),
    /// Any access of the bus, of any width.
    Access(u16, u8, [u8; 8], bool),
    Pass(u32),
    Happens(u8, Option<bool>, Option<u16>),
    Moved,
    /// A state that may not be one of this device is taken over.
    Taken(u64, u32, u32, u8),
}

struct Fixture {
    ram: Arc<GuestRam>,
    clock: Arc<VirtualClock>,
    schedule: Arc<Schedule>,
    line: Arc<LevelLine>,
    script: Vec<Step>,
    tester: DmaTester,
    turns: usize,
}

fn tester(
    ram: &Arc<GuestRam>,
    clock: &Arc<VirtualClock>,
    script: &[Step],
) -> (DmaTester, Arc<Schedule>, Arc<LevelLine>) {
    let control = Arc::new(Control::new(Arc::new(Waker::default())));
    let schedule = Arc::new(Schedule::new(clock.clone(), Arc::clone(&control)));
    let line = Arc::<LevelLine>::default();
    let spaces = vec![
        DmaSpace::pass_through(Arc::clone(ram)),
        DmaSpace::blocked(Arc::clone(ram)),
    ];
    let both = (Arc::clone(&schedule), control);
    let tester = DmaTester::new("dma-tester", spaces, line.clone(), both, script.to_vec());
    (tester, schedule, line)
}

impl Fixture {
    fn check(&self) {
        let read = |register| self.tester.read(register);
        let level = read(INTERRUPT_STATUS) & read(INTERRUPT_ENABLE) != 0;
        assert_eq!(self.line.is_high(), level, "the line");
        if read(STATUS) & STATUS_BUSY != 0 {
            assert!(self.tester.next().is_some(), "what is busy goes on");
        }
        assert!(self.tester.results().len() <= self.script.len());
        // A turn, and the last piece of it.
        assert!(self.schedule.work().turn() <= TURN_BYTES + 4096);
    }

    /// Does what is due now, as the run loop would.
    fn run(&mut self) {
        for _ in 0..8 {
            if self.turns == TURNS || !self.tester.run_due() {
                break;
            }
            let worked = self.schedule.work().between_looks();
            self.schedule.looked();
            self.turns += usize::from(worked >= TURN_BYTES / 2);
            self.check();
        }
    }

    fn pass(&mut self, ns: u64) {
        let end = self.clock.now_ns().saturating_add(ns).min(1 << 62);
        for _ in 0..64 {
            let next = self.tester.next().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.clock.skip_to(next);
            self.run();
        }
        self.clock.skip_to(end);
        self.run();
    }

    fn take(&mut self, state: &DmaTesterState) -> bool {
        let (other, schedule, line) = tester(&self.ram, &self.clock, &self.script);
        let taken = other.restore(state);
        if taken {
            assert_eq!(other.save(), *state, "all of it is taken over");
            (self.tester, self.schedule, self.line) = (other, schedule, line);
        }
        taken
    }

    fn action(&mut self, action: &Action) {
        match *action {
            Action::Write(register, value) => {
                let register = u64::from(register % 0x20) * 4;
                if register != COMMAND {
                    self.tester.write(register, value);
                }
            }
            Action::Address(place) => {
                let address = place.number();
                self.tester.write(0x10, address as u32);
                self.tester.write(0x14, (address >> 32) as u32);
            }
            Action::Command(command) => self.tester.write(COMMAND, u32::from(command % 6)),
            Action::Access(offset, size, bytes, write) => {
                let (offset, size) = (u64::from(offset & 0xfff), 1 << (size & 3));
                let mut data = bytes[..size].to_vec();
                match write {
                    true => self.tester.mmio_write(MmioAddress(0), offset, &data),
                    false => self.tester.mmio_read(MmioAddress(0), offset, &mut data),
                }
            }
            Action::Pass(ns) => self.pass(ns.into()),
            Action::Happens(what, own, address) => {
                let what = [
                    Trigger::Fill,
                    Trigger::Flush,
                    Trigger::Map,
                    Trigger::Unmap,
                    Trigger::Fault,
                ][usize::from(what % 5)];
                self.tester.tell(&Happened {
                    what,
                    device: own.map(|own| if own { "dma-tester" } else { "disk0" }),
                    address: address.map(|offset| RAM + u64::from(offset)),
                });
            }
            Action::Moved => {
                let saved = self.tester.save();
                assert!(self.take(&saved), "its own state");
            }
            Action::Taken(time, number, other, which) => {
                let mut state = self.tester.save();
                if let Some(active) = &mut state.active {
                    match which % 8 {
                        0 => active.progress.due_ns = time,
                        1 => active.progress.bursts = number,
                        2 => active.progress.accesses = number,
                        3 => active.progress.offset = number,
                        4 => active.operation.requester = number,
                        5 => (active.operation.count, active.operation.repeat) = (number, other),
                        6 => active.operation.interval_ns = time,
                        _ => active.operation.address = time,
                    }
                }
                match which / 8 % 8 {
                    0 => state.status = number,
                    1 => state.interrupts = number,
                    2 => state.script.waits = number,
                    3 => state.buffer.truncate(number as usize % 2048),
                    4 => state.script.results.truncate(number as usize % 4),
                    5 => state.met.moved = time,
                    6 => state.script.under_way = None,
                    _ => state.script.fired = None,
                }
                self.take(&state);
            }
        }
        self.check();
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(scripted) = u.arbitrary::<[Option<Scripted>; 4]>() else {
        return;
    };
    let Ok(actions) = Rest::<Action>::arbitrary_take_rest(u) else {
        return;
    };
    // As a configuration takes them: those that make no sense are refused.
    let mut script = Vec::new();
    for step in scripted.iter().flatten().map(Scripted::step) {
        match step.check(script.len(), 2) {
            Ok(()) => script.push(step),
            Err(why) => assert!(!why.to_string().is_empty()),
        }
    }
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), SIZE)]).expect("there is memory");
    let (ram, clock) = (Arc::new(ram), Arc::<VirtualClock>::default());
    let (tester, schedule, line) = tester(&ram, &clock, &script);
    let mut fixture = Fixture {
        ram,
        clock,
        schedule,
        line,
        script,
        tester,
        turns: 0,
    };
    for action in actions.0.iter().take(ACTIONS) {
        fixture.action(action);
    }
}
