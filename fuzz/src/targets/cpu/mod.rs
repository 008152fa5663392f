//! Code of every class of instruction on two cores, with page tables, devices and exceptions: no
//! panic, no hang, no access outside RAM, and the same run whichever way it is made.
//!
//! The input is a program of instructions from the decoder's own tables, with registers that point
//! to memory. It runs once in one go by the interpreter, and a second time translated to host code,
//! as soon as it runs or only what runs again, in one go or in pieces, with the cores saved and
//! restored (so that all code is decoded anew), instruction by instruction, or with breakpoints and
//! watchpoints. Cores, memory, outputs and time shall come out equal.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the machine's memory lies below 4 GiB"
)]

mod code;
mod setting;

#[path = "../../../../vmm/arm32/tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arbitrary::{Arbitrary, Unstructured};
use arm32::CoreRegisters;
use arm32::cluster::{Cluster, ClusterState, Power, Stop};
use arm32::state::CpuState;
use arm32::watch::{WatchKind, Watchpoint};
use arm32::wires::{Conduit, FirmwareAction, Machine, Output};
use code::Program;
use common::{FlatBus, RAM, TestClock};
use setting::{CODE, DATA, PAGES, Setting};

/// Instructions of one case.
const BUDGET: u64 = 1500;

/// A program, where it runs, and how it runs the second time.
#[derive(Arbitrary, Debug)]
struct Case {
    setting: Setting,
    manner: Manner,
    /// Whether code is translated when it runs for the first time, or the third.
    at_once: bool,
    /// When interrupt inputs change: after so many instructions, which core, which line, which
    /// level.
    interrupts: [(u16, bool, bool, bool); 2],
    program: Program,
}

/// The way in which the program runs the second time.
#[derive(Arbitrary, Debug)]
enum Manner {
    /// In pieces of so many instructions.
    Pieces(u8),
    /// In pieces, each by a new cluster with what was saved of the one before.
    Restored(u8),
    /// Instruction by instruction, this core or both.
    Steps(bool),
    /// With breakpoints in the code.
    Breakpoints([u16; 3]),
    /// With memory watched.
    Watched(u16, u8, u8),
    /// Registers are looked at and written back between pieces.
    Looked(u8),
}

/// Firmware calls of the program, and what the cores put out.
#[derive(Default)]
struct Firmware(Vec<(usize, Output, bool)>);

impl Machine for Firmware {
    fn output(&mut self, cpu: usize, output: Output, level: bool) {
        self.0.push((cpu, output, level));
    }

    fn firmware(
        &mut self,
        _cpu: usize,
        conduit: Conduit,
        s: &mut CpuState,
        _powered: &[bool],
    ) -> FirmwareAction {
        match conduit {
            Conduit::Hvc(0) => FirmwareAction::CpuOn {
                cpu: 1,
                entry: s.r[0],
                context: s.r[1],
            },
            Conduit::Hvc(1) => FirmwareAction::Suspend,
            Conduit::Hvc(2) => FirmwareAction::CpuOff,
            Conduit::Smc(_) => FirmwareAction::Undefined,
            Conduit::Hvc(_) => FirmwareAction::Return,
        }
    }
}

/// A cluster with what is around it.
struct Run {
    cluster: Cluster,
    /// One that goes on where that one stands, when it is asked to.
    spare: Option<Cluster>,
    bus: Arc<FlatBus>,
    clock: Arc<TestClock>,
    firmware: Firmware,
}

impl Run {
    fn new(case: &Case) -> Self {
        let (bus, clock) = (FlatBus::new(), Arc::new(TestClock::default()));
        let mut cluster = Cluster::new(2, bus.clone(), clock.clone());
        case.setting.memory(&bus);
        case.program.place(&bus, case.setting.thumb());
        for core in 0..2 {
            case.setting.core(cluster.state_mut(core), core);
        }
        if case.setting.both() {
            cluster.set_power(1, Power::Running);
        }
        select(&mut cluster);
        Self {
            cluster,
            spare: None,
            bus,
            clock,
            firmware: Firmware::default(),
        }
    }

    /// Runs until `end` instructions are retired, `piece` at a time with `between` after each;
    /// `false` when it is over, which `between` may say too.
    fn until(&mut self, end: u64, piece: u64, between: &mut dyn FnMut(&mut Self) -> bool) -> bool {
        // Cores that only wait, for timers that fire at once, retire nothing.
        let mut turns = 0;
        while self.cluster.retired() < end && turns < 4 * BUDGET {
            turns += 1;
            let left = end - self.cluster.retired();
            match self.cluster.run(&mut self.firmware, left.min(piece.max(1))) {
                Stop::Idle { wake_ns: Some(ns) } => self.clock.0.store(ns, Ordering::Relaxed),
                Stop::Idle { wake_ns: None } | Stop::SystemOff | Stop::SystemReset => return false,
                Stop::Requested => unreachable!("nobody asked"),
                Stop::Budget
                | Stop::Breakpoint { .. }
                | Stop::Watchpoint { .. }
                | Stop::Step { .. } => {}
            }
            if !between(self) {
                return false;
            }
        }
        turns < 4 * BUDGET
    }

    /// Runs a whole case, and returns its outcome.
    fn whole(
        mut self,
        case: &Case,
        piece: u64,
        between: &mut dyn FnMut(&mut Self) -> bool,
    ) -> EndState {
        let mut changes = case.interrupts;
        changes.sort_unstable();
        for (at, core, fiq, level) in changes {
            if !self.until(u64::from(at) % BUDGET, piece, between) {
                return self.outcome();
            }
            let pins = self.cluster.pins(core.into());
            if fiq {
                pins.set_fiq(level);
            } else {
                pins.set_irq(level);
            }
        }
        self.until(BUDGET, piece, between);
        self.outcome()
    }

    fn outcome(mut self) -> EndState {
        select(&mut self.cluster);
        let mut cores = self.cluster.save();
        for member in &mut cores.members {
            // What observers were told.
            member.stops = Default::default();
            // Counters are brought up to date when someone looks.
            let privileged = member.cpu.psr.mode.privileged();
            member.cpu.pmu.line(member.cpu.retired, privileged);
        }
        EndState {
            cores,
            outputs: std::mem::take(&mut self.firmware.0),
            now: self.clock.0.load(Ordering::Relaxed),
            memory: (0..PAGES).map(|page| self.page(page)).collect(),
        }
    }

    fn page(&self, page: u64) -> [u8; 4096] {
        self.bus.page(RAM + page * 0x1000)
    }
}

/// The outcome of a run.
#[derive(PartialEq)]
struct EndState {
    cores: ClusterState,
    outputs: Vec<(usize, Output, bool)>,
    now: u64,
    memory: Vec<[u8; 4096]>,
}

/// Has a cluster translate its code, where the host can.
fn translate(cluster: &mut Cluster, case: &Case) {
    // On hosts that cannot, both runs are by the interpreter.
    let _ = cluster.translate_code_after(if case.at_once { 1 } else { 3 });
}

fn second(case: &Case) -> EndState {
    let mut run = Run::new(case);
    translate(&mut run.cluster, case);
    match case.manner {
        Manner::Pieces(piece) => run.whole(case, piece.into(), &mut |_| true),
        Manner::Restored(piece) => run.whole(case, 16 + u64::from(piece), &mut |run| {
            anew(run, case);
            true
        }),
        Manner::Steps(both) => {
            run.cluster.set_step(0, true);
            run.cluster.set_step(1, both);
            run.whole(case, BUDGET, &mut |_| true)
        }
        Manner::Breakpoints(places) => {
            for place in places {
                run.cluster
                    .insert_breakpoint((RAM + CODE) as u32 + u32::from(place & 0x1ffe));
            }
            run.whole(case, BUDGET, &mut |_| true)
        }
        Manner::Watched(place, length, kind) => {
            let kind =
                [WatchKind::Read, WatchKind::Write, WatchKind::Access][usize::from(kind % 3)];
            let start = (RAM + DATA) as u32 + u32::from(place);
            run.cluster
                .insert_watchpoint(Watchpoint::new(start, length.into(), kind));
            run.whole(case, BUDGET, &mut |_| true)
        }
        Manner::Looked(piece) => run.whole(case, 16 + u64::from(piece), &mut |run| {
            for core in 0..2 {
                let view = run.cluster.core(core).expect("it is there");
                let CoreRegisters { r, .. } = view.registers();
                let _ = (view.translate(r[0]), view.read_u32(r[13]));
            }
            true
        }),
    }
}

/// Makes cores that did not run since their registers were changed from outside select the
/// translations that they will use.
fn select(cluster: &mut Cluster) {
    let saved = cluster.save();
    cluster.restore(&saved).expect("it was just saved");
}

/// Goes on with another cluster, which has decoded no code since it was last used.
fn anew(run: &mut Run, case: &Case) {
    let saved = run.cluster.save();
    let mut next = run.spare.take().unwrap_or_else(|| {
        let mut cluster = Cluster::new(2, run.bus.clone(), run.clock.clone());
        translate(&mut cluster, case);
        cluster
    });
    for core in 0..2 {
        let (old, new) = (run.cluster.pins(core), next.pins(core));
        new.set_irq(old.irq());
        new.set_fiq(old.fiq());
    }
    next.restore(&saved).expect("it is of such a cluster");
    // A core that has run has selected the translations that it uses.
    if saved.members.iter().all(|member| member.cpu.retired > 0) {
        assert_eq!(next.save(), saved, "what is restored is what was saved");
    }
    run.spare = Some(std::mem::replace(&mut run.cluster, next));
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let first = Run::new(&case).whole(&case, BUDGET, &mut |_| true);
    let second = second(&case);
    if first == second {
        return;
    }
    assert_eq!(first.outputs, second.outputs, "outputs, {:?}", case.manner);
    assert_eq!(first.now, second.now, "time, {:?}", case.manner);
    assert_eq!(first.cores, second.cores, "cores, {:?}", case.manner);
    panic!("memory differs, {:?}", case.manner);
}
