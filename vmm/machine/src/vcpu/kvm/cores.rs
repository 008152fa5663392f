//! The cores of a machine, each on a thread of its own.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arm32::wires::Machine;
use arm32::{Bus, BusFault, Cluster, Size};
use kvm_bindings::{
    KVM_EXIT_ARM_NISV, KVM_SYSTEM_EVENT_CRASH, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN,
    kvm_vcpu_events,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_base::{HostClock, Reason, Waker, Width, warn_guest};

use super::super::aarch64::Aarch64Cores;
use super::super::accel::KvmError;
use super::super::idle_detector::{IdleDetector, Sleeper};
use super::super::mirror::Mirror;
use super::super::mirror::aarch32::Aarch32;
use super::super::observe::Cores as Shown;
use super::super::saved::KvmState;
use super::super::threads::{Alive, End, VcpuBarrier, prepare_signal};
use super::super::{BootState, Stop, Vcpus};
use super::call::failed;
use super::debug::{self, Debugger, Exits, Shared};
use super::vm::Vm;
use super::{spec, state};

/// How long the cores run before the machine's loop looks at limits, if nothing wakes it earlier.
const SLICE: Duration = Duration::from_millis(20);

/// How long the cores must sleep before anyone asks whether their guest is dead.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where the host tells of the virtual timer only, which Linux uses: longer than who uses
/// the other one sleeps.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// A timer of the core may yet interrupt it.
const ARMED: u8 = 1;
/// That is not known of one of its timers (before Linux 6.4 KVM tells of the virtual one only).
const UNKNOWN: u8 = 2;

/// Returns the machine's cores.
pub fn vcpus(vm: &Arc<Vm>, bus: Arc<dyn Bus>, waker: Arc<Waker>) -> Box<dyn Vcpus> {
    prepare_signal();
    let cores = vm.take_cores();
    let cores: Vec<Shared> = cores.into_iter().map(Mutex::new).map(Arc::new).collect();
    let debugger = vm.ram().map(|ram| {
        let mirror: Box<dyn Mirror> = match vm.platform().width {
            Width::Bits32 => {
                // These cores are copies to look at, and never run.
                let clock = Arc::new(HostClock::starting_at(0));
                let cluster = Cluster::new(cores.len(), Arc::clone(&bus), clock);
                Box::new(Aarch32 { cluster })
            }
            Width::Bits64 => Box::new(Aarch64Cores::new(cores.len(), Arc::clone(&ram))),
        };
        Debugger::new(cores.clone(), ram, mirror, debug::room(vm.breakpoints()))
    });
    Box::new(Cores {
        vm: Arc::clone(vm),
        bus,
        waker,
        seen: 0,
        shared: cores,
        debugger,
        stage: Stage::Ready,
    })
}

/// All cores.
struct Cores {
    vm: Arc<Vm>,
    bus: Arc<dyn Bus>,
    waker: Arc<Waker>,
    /// Wake-ups that the machine's loop has been woken for.
    seen: u64,
    /// The cores themselves.
    shared: Vec<Shared>,
    debugger: Option<Debugger>,
    stage: Stage,
}

enum Stage {
    /// Nothing has run yet.
    Ready,
    Started(Started),
}

/// Threads that run.
struct Started {
    gate: Arc<VcpuBarrier>,
    threads: Vec<JoinHandle<()>>,
    watched: Arc<Watched>,
    idle_detector: IdleDetector,
}

/// The facts of the cores that other threads can see.
#[derive(Default)]
struct Watched {
    sleepers: Mutex<Vec<Sleeper>>,
    /// [`ARMED`] and [`UNKNOWN`] of each core that stands still.
    timers: Vec<AtomicU8>,
}

impl Started {
    /// Returns whether all cores sleep and no timer will ever wake one. What other devices may do
    /// is not known here.
    fn is_dead(&mut self) -> bool {
        let sleepers = &self.watched.sleepers;
        let sleepers = sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = sleepers.len() == self.threads.len();
        if !all || !self.idle_detector.all_slept(&sleepers) {
            return false;
        }
        // A thread that has only begun takes this lock before it stands still.
        drop(sleepers);
        // A core can be asked for its registers only while it does not run.
        self.gate.stand(&self.threads);
        let timers = self.watched.timers.iter();
        let timers = timers.fold(0, |all, timers| all | timers.load(Ordering::Acquire));
        // No core is held: this is not asked while the guest is debugged.
        self.gate.start(0);
        match timers {
            0 => true,
            UNKNOWN if self.idle_detector.patience == LONG_PATIENCE => true,
            UNKNOWN => {
                self.idle_detector.patience = LONG_PATIENCE;
                false
            }
            _ => false,
        }
    }
}

impl Cores {
    fn start(&mut self) -> Result<&mut Started, Reason> {
        if let Stage::Ready = &self.stage {
            let cores = self.shared.iter().cloned();
            let gate = Arc::new(VcpuBarrier::new());
            let mut threads = Vec::new();
            let watched = Arc::new(Watched {
                timers: cores.clone().map(|_| AtomicU8::new(ARMED)).collect(),
                ..Watched::default()
            });
            for (index, fd) in cores.enumerate() {
                let core = Core {
                    index,
                    fd,
                    gate: Arc::clone(&gate),
                    exits: match &self.debugger {
                        Some(debugger) => Arc::clone(&debugger.exits),
                        None => Arc::default(),
                    },
                    bus: Arc::clone(&self.bus),
                    waker: Arc::clone(&self.waker),
                    watched: Arc::clone(&watched),
                };
                // Counted before it runs, so that `stand` waits for this one, too.
                gate.expect();
                match vmm_base::thread::spawn("core", move || core.serve()) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        gate.miss();
                        gate.end(End::Failed(error.to_string()));
                        break;
                    }
                }
            }
            self.stage = Stage::Started(Started {
                gate,
                threads,
                watched,
                idle_detector: IdleDetector::new(PATIENCE),
            });
        }
        match &mut self.stage {
            Stage::Started(started) => Ok(started),
            Stage::Ready => Err(Reason::HostFailure),
        }
    }
}

impl Vcpus for Cores {
    fn boot(&mut self, boot: BootState) -> Result<(), KvmError> {
        let Some(first) = self.shared.first() else {
            return Ok(());
        };
        // Reset leaves a core as the boot protocols want it: interrupts masked, MMU off, in the
        // kernel's mode.
        let registers = match self.vm.platform().width {
            Width::Bits32 => [0, u64::from(u32::MAX), u64::from(boot.dtb)],
            Width::Bits64 => [u64::from(boot.dtb), 0, 0],
        };
        let pc = (spec::PC, u64::from(boot.entry));
        let registers = (0..).map(spec::x).zip(registers);
        for (id, value) in registers.chain([pc]) {
            let first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first
                .set_one_reg(id, &value.to_le_bytes())
                .map_err(failed("set a register"))?;
        }
        Ok(())
    }

    fn retired(&self) -> u64 {
        // KVM counts no instructions.
        0
    }

    fn run(&mut self, _machine: &mut dyn Machine, _budget: u64) -> Result<Stop, Reason> {
        if let Some(stop) = self.before()? {
            return Ok(stop);
        }
        let held = self.debugger.as_ref().map_or(0, Debugger::held);
        self.start()?.gate.start(held);
        // Whoever looks at what woke it does so after this returns, so what comes later wakes the
        // next call.
        self.waker.wait(self.seen, Some(SLICE));
        self.seen = self.waker.ticket();
        let debugged = held != 0 || self.debugger.as_ref().is_some_and(|d| !d.is_idle());
        let started = self.start()?;
        match started.gate.take_end() {
            // Cores that a debugger holds sleep, too.
            None if !debugged && started.is_dead() => Ok(Stop::Idle { wake_ns: None }),
            None => self.after(),
            Some(End::Off) => Ok(Stop::SystemOff),
            Some(End::Reset) => Ok(Stop::SystemReset),
            Some(End::Failed(why)) => {
                tracing::error!("KVM cannot run this guest any further: {why}");
                Err(Reason::HostFailure)
            }
        }
    }

    fn pause(&mut self) {
        if let Stage::Started(started) = &self.stage {
            started.gate.stand(&started.threads);
        }
    }

    fn save_kvm(&mut self) -> Result<KvmState, KvmError> {
        self.pause();
        // Its memory is about to be read, too.
        if let Some(debugger) = &mut self.debugger {
            debugger.show()?;
        }
        state::save(&self.vm, &self.shared)
    }

    fn restore_kvm(&mut self, saved: &KvmState) -> Result<(), KvmError> {
        state::restore(&self.vm, &self.shared, saved)
    }

    fn show(&mut self) -> Result<Option<Shown<'_>>, Reason> {
        self.pause();
        let shown = self.debugger.as_mut().map(Debugger::show);
        shown.transpose().map_err(lost)
    }

    fn hide(&mut self, image: Option<(u64, u64)>) -> Result<(), Reason> {
        let hidden = self.debugger.as_mut().map(|d| d.hide(image));
        hidden.transpose().map(drop).map_err(lost)
    }
}

/// Ends a run whose cores KVM does not let be looked at.
fn lost(error: KvmError) -> Reason {
    tracing::error!("KVM cannot run this guest any further: {error}");
    Reason::HostFailure
}

impl Cores {
    /// Returns what a debugger has to do before the cores run: those that were stopped execute
    /// their instruction.
    fn before(&mut self) -> Result<Option<Stop>, Reason> {
        self.start()?;
        // Someone may have looked since the last run.
        self.hide(None)?;
        let (Some(debugger), Stage::Started(Started { gate, threads, .. })) =
            (&mut self.debugger, &self.stage)
        else {
            return Ok(None);
        };
        if debugger.is_idle() && !debugger.wants_step() {
            return Ok(None);
        }
        loop {
            gate.look(threads);
            if let Some(stop) = debugger.next_stop().map_err(lost)? {
                return Ok(Some(stop));
            }
            let Some(core) = debugger.next_single() else {
                return Ok(None);
            };
            debugger.begin_single(core).map_err(lost)?;
            debugger.run_single(core, gate);
            if debugger.exits.is_empty() {
                // It has not come to its end by itself.
                return Ok(None);
            }
        }
    }

    /// Returns what there is to tell after the cores ran.
    fn after(&mut self) -> Result<Stop, Reason> {
        let (Some(debugger), Stage::Started(Started { gate, threads, .. })) =
            (&mut self.debugger, &self.stage)
        else {
            return Ok(Stop::Budget);
        };
        if debugger.exits.is_empty() {
            return Ok(Stop::Budget);
        }
        gate.look(threads);
        let stop = debugger.next_stop().map_err(lost)?;
        Ok(stop.unwrap_or(Stop::Budget))
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        if let Stage::Started(started) = &mut self.stage {
            started.gate.dismiss(std::mem::take(&mut started.threads));
        }
    }
}

/// One core, on its thread.
struct Core {
    index: usize,
    fd: Shared,
    gate: Arc<VcpuBarrier>,
    exits: Arc<Exits>,
    bus: Arc<dyn Bus>,
    waker: Arc<Waker>,
    watched: Arc<Watched>,
}

/// The outcome of one entry into KVM.
enum Step {
    Again,
    /// Someone debugs the guest.
    Debug,
    /// The guest accessed an unmapped address.
    Abort,
    End(End),
}

impl Core {
    fn serve(self) {
        let gate = Arc::clone(&self.gate);
        let _alive = Alive(&gate);
        // Where the host does not tell about its threads, a guest's death goes unnoticed.
        if let Ok(sleeper) = Sleeper::current() {
            let sleepers = &self.watched.sleepers;
            let mut sleepers = sleepers.lock().unwrap_or_else(PoisonError::into_inner);
            sleepers.push(sleeper);
        }
        while gate.pass(self.index) {
            let mut fd = self.fd.lock().unwrap_or_else(PoisonError::into_inner);
            while gate.running() {
                let end = match self.step(&mut fd) {
                    Step::Again => continue,
                    Step::Debug => {
                        self.waker.wake();
                        continue;
                    }
                    Step::Abort => match abort(&fd) {
                        Ok(()) => continue,
                        Err(error) => End::Failed(error.to_string()),
                    },
                    Step::End(end) => end,
                };
                gate.end(end);
                self.waker.wake();
            }
            // An access that was served is completed when KVM is entered again (Linux,
            // Documentation/virt/kvm/api.rst, "The kvm_run structure"). The guest does not run:
            // this ends with EINTR.
            fd.set_kvm_immediate_exit(1);
            let _ = fd.run();
            fd.set_kvm_immediate_exit(0);
            if let Some(state) = self.watched.timers.get(self.index) {
                state.store(timers(&fd), Ordering::Release);
            }
        }
    }

    /// Runs the core until it needs something.
    fn step(&self, fd: &mut VcpuFd) -> Step {
        match fd.run() {
            Ok(VcpuExit::MmioRead(addr, data)) => match read(self.bus.as_ref(), addr, data) {
                Ok(()) => Step::Again,
                Err(BusFault) => Step::Abort,
            },
            Ok(VcpuExit::MmioWrite(addr, data)) => match write(self.bus.as_ref(), addr, data) {
                Ok(()) => Step::Again,
                Err(BusFault) => Step::Abort,
            },
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _)) => Step::End(End::Off),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET | KVM_SYSTEM_EVENT_CRASH, _)) => {
                Step::End(End::Reset)
            }
            Ok(VcpuExit::Intr) => Step::Again,
            Ok(VcpuExit::Debug(exit)) => {
                self.exits.push(self.index, &exit);
                self.gate.halt();
                Step::Debug
            }
            // On the emulated machine such an access may do; no driver makes one.
            Ok(VcpuExit::Unsupported(KVM_EXIT_ARM_NISV)) => {
                warn_guest!(
                    "core {} accessed a device by an instruction that KVM cannot take apart",
                    self.index
                );
                Step::Abort
            }
            Ok(other) => Step::End(End::Failed(format!(
                "core {} left it with {other:?}",
                self.index
            ))),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => Step::Again,
            // The same, where KVM cannot be asked for an exit.
            Err(error) if error.errno() == libc::ENOSYS => Step::End(End::Failed(format!(
                "core {} accessed a device by an instruction that KVM cannot take apart",
                self.index
            ))),
            Err(error) => Step::End(End::Failed(format!("core {}: {error}", self.index))),
        }
    }
}

/// Returns [`ARMED`] and [`UNKNOWN`] of a core's timers.
fn timers(fd: &VcpuFd) -> u8 {
    spec::TIMERS.into_iter().fold(0, |all, timer| {
        let mut control = [0; 8];
        all | match fd.get_one_reg(timer, &mut control) {
            Ok(_) => {
                let bits = u64::from_le_bytes(control);
                let armed = bits & (spec::TIMER_ENABLE | spec::TIMER_IMASK);
                u8::from(armed == spec::TIMER_ENABLE) * ARMED
            }
            Err(error) if error.errno() == libc::ENOENT => UNKNOWN,
            Err(_) => ARMED,
        }
    })
}

/// Makes the access of the last exit end in an external abort, as on the emulated machine's bus.
fn abort(fd: &VcpuFd) -> Result<(), KvmError> {
    let mut events = kvm_vcpu_events::default();
    events.exception.ext_dabt_pending = 1;
    let raised = fd.set_vcpu_events(&events);
    if let Err(error) = &raised
        && error.errno() == libc::EINVAL
    {
        // Before Linux 5.5 there was no such call: the access reads zeros.
        warn_guest!("this host's KVM raises no external aborts");
        return Ok(());
    }
    raised.map_err(failed("raise an external abort"))
}

fn size(len: usize) -> Result<Size, BusFault> {
    match len {
        1 => Ok(Size::Byte),
        2 => Ok(Size::Half),
        4 => Ok(Size::Word),
        8 => Ok(Size::Double),
        _ => Err(BusFault),
    }
}

fn read(bus: &dyn Bus, addr: u64, data: &mut [u8]) -> Result<(), BusFault> {
    data.fill(0);
    let value = bus.read(addr, size(data.len())?)?.to_le_bytes();
    for (to, from) in data.iter_mut().zip(value) {
        *to = from;
    }
    Ok(())
}

fn write(bus: &dyn Bus, addr: u64, data: &[u8]) -> Result<(), BusFault> {
    let size = size(data.len())?;
    let mut value = [0; 8];
    for (to, from) in value.iter_mut().zip(data) {
        *to = *from;
    }
    bus.write(addr, size, u64::from_le_bytes(value))
}
