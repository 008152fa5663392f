//! Several cores taking turns.
//!
//! One thread runs all cores: each for [`TURN`] instructions, or until it waits. Time advances with
//! every instruction of whichever core, so that no core ever sees it go back. When all cores wait,
//! time belongs to the machine, which may skip to the next event.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bus::Bus;
use crate::core::Core;
use crate::cpu::CoreExit;
use crate::exception::Exception;
use crate::jit::THRESHOLD;
use crate::state::CpuState;
use crate::timer;
use crate::wires::{FirmwareAction, Machine, Output, Pins};

mod observe;
mod saved;
mod stop;

pub use crate::tlb::{CachedPage, Key as TlbKey, TlbState};
use observe::Observed;
pub use observe::{CoreRegisters, CoreView, NoMemory};
pub use saved::{ClusterCode, ClusterState, MAX_RETIRED, MemberState, RestoreError};
pub use stop::Stop;
use vmm_base::Clock;

/// How many instructions a core runs before the next one has its turn.
///
/// Long enough that changing over costs nothing, short enough that a core spinning on a lock held
/// by another wastes little.
pub const TURN: u64 = 2_000;

/// In host time, how many instructions may pass before timers are looked at again.
const HOST_TIME_SLICE: u64 = 20_000;

/// What a core is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Power {
    /// Nothing: it is not switched on.
    Off,
    /// It executes instructions.
    Running,
    /// It waits for an interrupt (WFI).
    WaitingInterrupt,
    /// It waits for an event or an interrupt (WFE).
    WaitingEvent,
}

/// One core and what the cluster knows of it.
struct Member {
    core: Core,
    power: Power,
    /// Output levels as last told to the machine: physical timer, virtual timer, PMU.
    outputs: [bool; 3],
    /// How often the core waited (WFI or WFE).
    waits: u64,
    /// Timer count at which the event stream ends a WFE.
    event_at: Option<u64>,
    /// Stop after each of its instructions.
    step: bool,
    /// It gets no turn.
    held: bool,
}

impl Member {
    /// Returns whether the core may have a turn.
    fn may_run(&self) -> bool {
        self.power == Power::Running && !self.held
    }
}

/// One to four cores on one bus, run by one thread.
pub struct Cluster {
    members: Vec<Member>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    /// Whose turn it is, and how many instructions of it are left.
    turn: usize,
    left: u64,
    /// What observers want to see.
    observed: Observed,
}

impl Cluster {
    /// Creates a cluster of `cpus` cores (1 to 4) in their reset state. Core 0 is on, the others
    /// wait to be switched on.
    #[expect(clippy::cast_possible_truncation, reason = "it is clamped to 4")]
    pub fn new(cpus: usize, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        let count = cpus.clamp(1, 4) as u8;
        let members = (0..count)
            .map(|index| Member {
                core: Core::new(index, count, bus.clone(), clock.clone()),
                power: if index == 0 {
                    Power::Running
                } else {
                    Power::Off
                },
                outputs: [false; 3],
                waits: 0,
                event_at: None,
                step: false,
                held: false,
            })
            .collect();
        Self {
            members,
            bus,
            clock,
            turn: 0,
            left: TURN,
            observed: Observed::default(),
        }
    }

    /// Has all cores translate code that runs often to the host's, and run that. What they do stays
    /// the same.
    ///
    /// # Errors
    /// There is no translator for the host's processor, or the host allows no memory that can be
    /// executed ([`code_memory`](crate::code_memory)).
    pub fn translate_code(&mut self) -> io::Result<()> {
        self.translate_code_after(THRESHOLD)
    }

    /// As [`translate_code`](Self::translate_code), from the `times`th time on that a piece of code
    /// is about to run.
    ///
    /// # Errors
    /// As those of [`translate_code`](Self::translate_code).
    pub fn translate_code_after(&mut self, times: u32) -> io::Result<()> {
        let mut members = self.members.iter_mut();
        members.try_for_each(|member| member.core.translate_code_after(times))
    }

    /// Has all cores interpret all code from now on.
    pub fn interpret_code(&mut self) {
        let members = self.members.iter_mut();
        members.for_each(|member| member.core.interpret_code());
    }

    /// Has all cores translate at most `longest` instructions at once from now on, as if code ended
    /// there. What they do stays the same; where translated code is wrong, fewer instructions are
    /// to blame.
    pub fn limit_blocks(&mut self, longest: usize) {
        let members = self.members.iter_mut();
        members.for_each(|member| member.core.limit_blocks(longest));
    }

    /// Returns the number of cores.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether there is no core; never so.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the input pins of core `cpu`.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn pins(&self, cpu: usize) -> Arc<Pins> {
        self.members[cpu].core.cpu.pins.clone()
    }

    /// Returns the state of core `cpu`, to look at.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn state(&self, cpu: usize) -> &CpuState {
        &self.members[cpu].core.cpu.s
    }

    /// Returns the state of core `cpu`, to set up a boot. What was cached of the old state is
    /// dropped.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn state_mut(&mut self, cpu: usize) -> &mut CpuState {
        let core = &mut self.members[cpu].core;
        core.cpu.tlb.flush_all();
        core.cpu.debug_changed();
        core.look_again();
        &mut core.cpu.s
    }

    /// Returns how many instructions all cores have retired since reset.
    pub fn retired(&self) -> u64 {
        self.members.iter().map(|m| m.core.cpu.s.retired).sum()
    }

    /// Returns how often core `cpu` went to sleep (WFI or WFE).
    ///
    /// # Panics
    /// When there is no such core.
    pub fn waits(&self, cpu: usize) -> u64 {
        self.members[cpu].waits
    }

    /// Runs the cores in turns until one of the reasons of [`Stop`] arises, at most `budget`
    /// instructions.
    ///
    /// Timer outputs are re-evaluated on entry and whenever a deadline passes or a timer register
    /// is written.
    pub fn run(&mut self, machine: &mut dyn Machine, budget: u64) -> Stop {
        let end = self.retired().saturating_add(budget);
        self.bus.turn(self.turn);
        loop {
            // Outputs first: what a timer raises now wakes the core that waits for it.
            let wake_ns = self.update_outputs(machine);
            self.wake();
            if !self.choose() {
                return Stop::Idle { wake_ns };
            }
            let left = end - self.retired();
            if left == 0 {
                return Stop::Budget;
            }
            let core = &self.members[self.turn].core;
            // An overflow shows when it happens, wherever slices end.
            let s = &core.cpu.s;
            let overflow = s
                .pmu
                .next_overflow(s.psr.mode.privileged())
                // At least one, so that the run gets on where an overflow is due.
                .map_or(u64::MAX, |at| at.saturating_sub(s.retired).max(1));
            // One core alone has no turns.
            let turn = if self.members.len() > 1 {
                self.left
            } else {
                u64::MAX
            };
            let slice = left.min(turn).min(self.until(wake_ns)).min(overflow);
            let member = &mut self.members[self.turn];
            let step = member.step;
            let core = &mut member.core;
            // Observers may have changed its mode or DACR since it last ran.
            core.cpu.select_tlb();
            let before = core.cpu.s.retired;
            let exit = core.run(if step { slice.min(1) } else { slice });
            let ran = core.cpu.s.retired - before;
            if self.members.len() > 1 {
                self.left = self.left.saturating_sub(ran);
            }
            let stepped = (step && ran > 0).then_some(Stop::Step { core: self.turn });
            if let Some(stop) = self.handle(machine, exit).or(stepped) {
                return stop;
            }
        }
    }

    /// Returns how many instructions may run before a timer fires.
    fn until(&self, wake_ns: Option<u64>) -> u64 {
        match wake_ns {
            None => u64::MAX,
            Some(ns) => self
                .clock
                .instructions_until(ns)
                .map_or(HOST_TIME_SLICE, |n| n.max(1)),
        }
    }

    /// Makes it the turn of a core that can run: the present one while its turn lasts, else the
    /// next.
    fn choose(&mut self) -> bool {
        if self.left > 0 && self.members[self.turn].may_run() {
            return true;
        }
        let count = self.members.len();
        let next = (1..=count)
            .map(|step| (self.turn + step) % count)
            .find(|i| self.members[*i].may_run());
        if let Some(next) = next {
            if next != self.turn {
                // Others may now store: even a store of the same value must break an exclusive
                // sequence.
                self.members[self.turn].core.cpu.s.monitor.open = false;
            }
            self.turn = next;
            self.left = TURN;
            self.bus.turn(next);
        }
        next.is_some()
    }

    /// Tells the machine of outputs that changed; returns the time at which the next one will.
    fn update_outputs(&mut self, machine: &mut dyn Machine) -> Option<u64> {
        let count = timer::count_from_ns(self.clock.now_ns());
        let mut wake = None;
        for (index, member) in self
            .members
            .iter_mut()
            .enumerate()
            .filter(|(_, m)| m.power != Power::Off)
        {
            let s = &mut member.core.cpu.s;
            let lines = s.timer.lines(count);
            let levels = [
                lines.phys,
                lines.virt,
                s.pmu.line(s.retired, s.psr.mode.privileged()),
            ];
            let names = [Output::PhysicalTimer, Output::VirtualTimer, Output::Pmu];
            for (i, name) in names.into_iter().enumerate() {
                if levels[i] != member.outputs[i] {
                    member.outputs[i] = levels[i];
                    machine.output(index, name, levels[i]);
                }
            }
            if member.event_at.is_some_and(|at| at <= count) {
                member.event_at = None;
                member.power = Power::Running;
            }
            let deadline = s
                .timer
                .next_deadline(count)
                .into_iter()
                .chain(member.event_at)
                .min();
            wake = wake
                .into_iter()
                .chain(deadline.map(timer::ns_from_count))
                .min();
        }
        wake
    }

    /// Lets cores go on whose reason to wait is over: any interrupt input wakes, masked or not.
    fn wake(&mut self) {
        for member in &mut self.members {
            let waits = matches!(member.power, Power::WaitingInterrupt | Power::WaitingEvent);
            if waits && member.core.cpu.pins.interrupts() {
                member.power = Power::Running;
                member.event_at = None;
            }
        }
    }

    /// Acts on the reason why the core whose turn it is left its loop.
    fn handle(&mut self, machine: &mut dyn Machine, exit: CoreExit) -> Option<Stop> {
        match exit {
            CoreExit::Budget | CoreExit::TimerChanged => {}
            CoreExit::Requested => return Some(Stop::Requested),
            CoreExit::Breakpoint { pc } => {
                let core = self.turn;
                return Some(Stop::Breakpoint { core, pc });
            }
            CoreExit::Watchpoint(hit) => {
                let core = self.turn;
                return Some(Stop::Watchpoint { core, hit });
            }
            CoreExit::WatchedRam(hit) => {
                let core = self.turn;
                return Some(Stop::WatchedRam { core, hit });
            }
            CoreExit::Yield => self.left = 0,
            CoreExit::WaitInterrupt => self.wait(Power::WaitingInterrupt),
            CoreExit::WaitEvent => self.wait(Power::WaitingEvent),
            CoreExit::SendEvent => self.send_event(),
            CoreExit::Broadcast(flush) => {
                // The core itself has done it already.
                let turn = self.turn;
                let others = self
                    .members
                    .iter_mut()
                    .enumerate()
                    .filter(|(i, _)| *i != turn);
                others.for_each(|(_, m)| m.core.cpu.flush(flush));
            }
            CoreExit::Firmware(conduit) => return self.firmware(machine, conduit),
        }
        None
    }

    fn wait(&mut self, how: Power) {
        let member = &mut self.members[self.turn];
        member.power = how;
        member.waits += 1;
        if how == Power::WaitingEvent {
            member.event_at = member
                .core
                .cpu
                .s
                .timer
                .next_event(timer::count_from_ns(self.clock.now_ns()));
        }
    }

    fn send_event(&mut self) {
        for member in &mut self.members {
            if member.power == Power::WaitingEvent {
                member.power = Power::Running;
                member.event_at = None;
            // A core that does not wait keeps the event for its next WFE.
            } else {
                member.core.cpu.s.event = true;
            }
        }
    }

    fn firmware(
        &mut self,
        machine: &mut dyn Machine,
        conduit: crate::wires::Conduit,
    ) -> Option<Stop> {
        let powered: Vec<bool> = self.members.iter().map(|m| m.power != Power::Off).collect();
        let member = &mut self.members[self.turn];
        let cpu = &mut member.core.cpu;
        let action = machine.firmware(self.turn, conduit, &mut cpu.s, &powered);
        if action == FirmwareAction::Undefined {
            // R15 is still at the call, where the exception wants it.
            cpu.enter(Exception::Undefined);
            return None;
        }
        cpu.accept_call();
        match action {
            FirmwareAction::Return | FirmwareAction::Undefined => {}
            FirmwareAction::CpuOff => member.power = Power::Off,
            FirmwareAction::Suspend => self.wait(Power::WaitingInterrupt),
            FirmwareAction::CpuOn {
                cpu,
                entry,
                context,
            } => self.switch_on(cpu, entry, context),
            FirmwareAction::SystemOff => return Some(Stop::SystemOff),
            FirmwareAction::SystemReset => return Some(Stop::SystemReset),
        }
        None
    }

    /// Switches core `cpu` on: in the reset state, but with its count of instructions going on.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is the index of a member, of which there are at most 4"
    )]
    fn switch_on(&mut self, cpu: usize, entry: u32, context: u32) {
        let Some(member) = self.members.get_mut(cpu).filter(|m| m.power == Power::Off) else {
            return;
        };
        let core = &mut member.core.cpu;
        // The clock is told of differences only: the count must not go back.
        let retired = core.s.retired;
        core.s = CpuState::reset(cpu as u8);
        core.s.retired = retired;
        core.s.r[0] = context;
        core.s.psr.thumb = entry & 1 != 0;
        core.s.set_pc(entry);
        core.tlb.flush_all();
        core.select_tlb();
        core.debug_changed();
        member.power = Power::Running;
    }
}
