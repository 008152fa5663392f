//! Machines, and how a case runs on one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arm32::cluster::{Cluster, ClusterState, Power, Stop};
use arm32::state::CpuState;
use arm32::watch::Watchpoint;
use arm32::wires::{Conduit, FirmwareAction, Machine, Output};

use super::Case;
use super::common::{FlatBus, TestClock};
use super::image::{Image, SIZE};

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

/// A cluster with what is around it, for one case after the other.
pub struct Rig {
    cluster: Cluster,
    /// One on the same bus, which goes on where that one stands when it is asked to.
    spare: Cluster,
    bus: Arc<FlatBus>,
    clock: Arc<TestClock>,
    firmware: Firmware,
    /// What the cores were when they were made.
    initial: ClusterState,
    /// What is watched.
    watchpoint: Option<Watchpoint>,
}

impl Rig {
    /// Creates one whose cores interpret code, or translate what is about to run for the `after`th
    /// time.
    pub fn new(after: Option<u32>) -> Self {
        let (bus, clock) = (FlatBus::with_size(SIZE), Arc::new(TestClock::default()));
        let [cluster, spare] = [(); 2].map(|()| {
            let mut cluster = Cluster::new(2, bus.clone(), clock.clone());
            if let Some(times) = after {
                // On hosts that cannot, all runs are by the interpreter.
                let _ = cluster.translate_code_after(times);
            }
            cluster
        });
        Self {
            initial: cluster.save(),
            cluster,
            spare,
            bus,
            clock,
            firmware: Firmware::default(),
            watchpoint: None,
        }
    }

    /// Brings all back to how it was when it was made, but for memory, which becomes `image`.
    fn reset(&mut self, image: &Image, longest: usize) {
        self.bus.load(image.bytes());
        self.clock.0.store(0, Ordering::Relaxed);
        self.firmware.0.clear();
        let watchpoint = self.watchpoint.take();
        self.cluster.limit_blocks(longest);
        self.spare.limit_blocks(longest);
        for cluster in [&mut self.cluster, &mut self.spare] {
            let breakpoints: Vec<u32> = cluster.breakpoints().collect();
            for va in breakpoints {
                while cluster.remove_breakpoint(va) {}
            }
            if let Some(watchpoint) = watchpoint {
                cluster.remove_watchpoint(watchpoint);
            }
            for core in 0..2 {
                cluster.set_step(core, false);
                cluster.pins(core).set_irq(false);
                cluster.pins(core).set_fiq(false);
            }
        }
        self.cluster
            .restore(&self.initial)
            .expect("it is of such a cluster");
    }

    /// Returns whether memory is what it is in `other`.
    pub fn has_memory_of(&self, other: &Self) -> bool {
        self.bus.has_contents_of(&other.bus)
    }
}

/// How much runs at a time.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Instructions of the case.
    pub budget: u64,
    /// Instructions in a block of code at most.
    pub longest: usize,
}

/// A case that runs.
pub struct Run<'a> {
    rig: &'a mut Rig,
    /// Instructions that it runs.
    budget: u64,
}

impl<'a> Run<'a> {
    /// Begins `case` with the contents of memory that it is to find.
    pub fn new(rig: &'a mut Rig, case: &Case, image: &Image, sizes: Sizes) -> Self {
        rig.reset(image, sizes.longest);
        let cluster = &mut rig.cluster;
        for core in 0..2 {
            case.setting.core(cluster.state_mut(core), core);
        }
        if case.setting.both() {
            cluster.set_power(1, Power::Running);
        }
        select(cluster);
        Self {
            rig,
            budget: sizes.budget,
        }
    }

    /// Returns the cores.
    pub fn cluster(&mut self) -> &mut Cluster {
        &mut self.rig.cluster
    }

    /// Has an observer watch memory.
    pub fn watch(&mut self, watchpoint: Watchpoint) {
        self.rig.cluster.insert_watchpoint(watchpoint);
        self.rig.watchpoint = Some(watchpoint);
    }

    /// Runs until `end` instructions are retired, `piece` at a time with `between` after each;
    /// `false` when it is over, which `between` may say too.
    fn until(&mut self, end: u64, piece: u64, between: &mut dyn FnMut(&mut Self) -> bool) -> bool {
        // Cores that only wait, for timers that fire at once, retire nothing.
        let mut turns = 0;
        // What an observer stopped for leaves outputs and whose turn it is to the next run, also
        // behind the last instruction.
        let mut settled = true;
        while (self.rig.cluster.retired() < end || !settled) && turns < 4 * self.budget {
            turns += 1;
            settled = true;
            let left = end - self.rig.cluster.retired();
            match self
                .rig
                .cluster
                .run(&mut self.rig.firmware, left.min(piece.max(1)))
            {
                Stop::Idle { wake_ns: Some(ns) } => self.rig.clock.0.store(ns, Ordering::Relaxed),
                Stop::Idle { wake_ns: None } | Stop::SystemOff | Stop::SystemReset => return false,
                Stop::Requested => unreachable!("nobody asked"),
                Stop::Budget => {}
                Stop::Breakpoint { .. }
                | Stop::Watchpoint { .. }
                | Stop::WatchedRam { .. }
                | Stop::Step { .. } => settled = false,
            }
            if !between(self) {
                return false;
            }
        }
        turns < 4 * self.budget
    }

    /// Runs a whole case, and returns its outcome.
    pub fn whole(
        mut self,
        case: &Case,
        piece: u64,
        between: &mut dyn FnMut(&mut Self) -> bool,
    ) -> EndState {
        let mut changes = case.interrupts;
        changes.sort_unstable();
        for (at, core, fiq, level) in changes {
            if !self.until(u64::from(at) % self.budget, piece, between) {
                return self.outcome();
            }
            let pins = self.rig.cluster.pins(core.into());
            if fiq {
                pins.set_fiq(level);
            } else {
                pins.set_irq(level);
            }
        }
        self.until(self.budget, piece, between);
        self.outcome()
    }

    fn outcome(self) -> EndState {
        let rig = self.rig;
        select(&mut rig.cluster);
        let mut cores = rig.cluster.save();
        for member in &mut cores.members {
            // What observers were told.
            member.stops = Default::default();
            // Counters are brought up to date when someone looks.
            let privileged = member.cpu.psr.mode.privileged();
            member.cpu.pmu.line(member.cpu.retired, privileged);
        }
        EndState {
            cores,
            outputs: std::mem::take(&mut rig.firmware.0),
            now: rig.clock.0.load(Ordering::Relaxed),
        }
    }

    /// Goes on with the other cluster, which has decoded no code since it was last used.
    pub fn restore_elsewhere(&mut self) {
        let rig = &mut *self.rig;
        let saved = rig.cluster.save();
        let next = &mut rig.spare;
        for core in 0..2 {
            let (old, new) = (rig.cluster.pins(core), next.pins(core));
            new.set_irq(old.irq());
            new.set_fiq(old.fiq());
        }
        next.restore(&saved).expect("it is of such a cluster");
        // A core that has run has selected the translations that it uses.
        if saved.members.iter().all(|member| member.cpu.retired > 0) {
            assert_eq!(next.save(), saved, "what is restored is what was saved");
        }
        std::mem::swap(&mut rig.cluster, &mut rig.spare);
    }
}

/// The outcome of a run, but for memory.
#[derive(PartialEq)]
pub struct EndState {
    pub cores: ClusterState,
    pub outputs: Vec<(usize, Output, bool)>,
    pub now: u64,
}

/// Makes cores that did not run since their registers were changed from outside select the
/// translations that they will use.
fn select(cluster: &mut Cluster) {
    let saved = cluster.save();
    cluster.restore(&saved).expect("it was just saved");
}
