//! The machine: the board, what it is made of, where everything lies, how it is put together and
//! run.

#![deny(missing_docs)]

// Guests that tests and an example share name the crate as the example does.
#[cfg(test)]
extern crate self as vmm_machine;

pub mod accel;
mod assemble;
pub mod board;
mod boards;
mod builder;
pub mod bus;
mod config;
mod controller;
mod disks;
mod entry;
mod error;
mod exit;
pub mod fdt;
mod guest_kernel;
mod history;
#[cfg(test)]
mod hostile_tests;
mod iommu;
pub mod layout;
pub mod loader;
pub mod lockstep;
mod parts;
pub mod psci;
mod recording;
mod saved;
pub mod sections;
mod seeds;
pub mod snapshot;
mod sources;
mod targets;
#[cfg(test)]
mod tests;
mod tier;
mod validate;
pub mod vcpu;
mod wires;
mod wiring;

pub use arm32::code_memory;
pub use builder::MachineBuilder;
pub use config::{
    Accel, BoardFacts, BoardMismatch, BoardModel, Config, ConfigError, ConsoleConfig, DiskConfig,
    DmaTesterConfig, IommuConfig, IommuModel, KernelFormat, MAX_CLOCK_NAME, MAX_CLOCKS,
    MAX_CMDLINE, MAX_CPUS, MAX_DISK_QUEUES, MAX_IOMMU_NAME, MAX_IOMMUS, MAX_VHOST_QUEUES,
    MIN_MEMORY, MacAddress, NetConfig, NetKind, Port, PortConfig, ReservedMemory, TimeMode,
    VHOST_QUEUE_SIZES, VIRTIO_IOMMU_ENDPOINTS, VhostUserConfig, VhostUserFacts, VhostUserKind,
    VirtioIommuFeature, VirtioIommuOptions, host_date,
};
pub use error::Error;
pub use exit::{DeviceAccesses, Exits, StepSummary, Summary};
pub use guest_kernel::{GuestKernel, KernelChoice, KernelError};
pub use history::{HISTORY_LIMIT, NoHistory};
pub use iommu::{
    BothSinks, IommuEvent, IommuInfo, IommuSink, IommuSummary, RequestCounts, UtlbSummary,
    VirtioEvent, VirtioIommuSummary,
};
pub use recording::{Recorder, Recording, RecordingHeader, RunFaults, SnapshotStart};
pub use saved::{MachineState, Processor, TimeState, WrongMachine};
pub use seeds::noise_seed;
pub use snapshot::{Fork, Snapshot};
pub use sources::{Moved, Role, Source};
pub use tier::Tier;
pub use vcpu::{Acceleration, Arrival, Backward, Halted, Resume, StopHandler, Until};
pub use vmm_base::{ByteSize, Exit, Limits, Reason, TextError};
pub use vmm_devices::disk::DiskSummary;
pub use vmm_devices::ram::{CodeMarks, GuestRam};
pub use vmm_devices::uart::{ConsoleInput, ConsoleSink, Discard, Flow, InputRecord};
pub use vmm_devices::virtio::net::NetSummary;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use assemble::Pieces;
pub use assemble::{check, check_tree, kernel_width};
use board::Board;
use bus::SystemBus;
use controller::Controller;
use history::History;
use iommu::Iommus;
use virtio_bindings::virtio_mmio::VIRTIO_MMIO_QUEUE_NOTIFY;
use vmm_devices::disk::Counters;
use vmm_devices::ram::DmaSpace;
use vmm_devices::uart::InputGate;
use vmm_devices::virtio::vhost_user::VhostUserThread;
use vmm_devices::virtio::worker::Worker;
use wires::Wires;
use wiring::Devices;

use crate::vcpu::{
    Control, Cores, Divergence, Pace, Passage, RunContext, RunCounters, Timing, Waker, WallTimer,
};

/// A machine, assembled and ready to run.
pub struct Machine {
    config: Config,
    board: Board,
    // The device threads end first, before what they work on.
    others: Vec<VhostUserThread>,
    worker: Option<Worker>,
    acceleration: Acceleration,
    bus: Arc<SystemBus>,
    controller: Controller,
    disks: Vec<Arc<Counters>>,
    devices: Devices,
    iommus: Iommus,
    dma: Vec<(String, DmaSpace)>,
    context: RunContext,
    wall: Duration,
    /// Instructions that were retired before this machine was made.
    before: u64,
    last: Option<Reason>,
    /// What it goes on from.
    origin: Option<Snapshot>,
    /// What it takes to go back.
    history: Option<Box<History>>,
}

/// Ends or interrupts a machine's run from another thread, also one that has not begun.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Control>);

impl StopHandle {
    /// Asks the machine to end its run with [`Reason::Stopped`].
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Tells a machine on its way to [`Until::asked`] that it is there. Otherwise this ends the run
    /// as its console can, with [`Reason::ConsoleStop`].
    pub fn arrive(&self) {
        self.0.console_stop();
    }

    /// Calls the machine's observers ([`StopHandler::interrupted`]) as soon as possible, after
    /// which the run goes on.
    pub fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl Machine {
    /// Returns a builder of the machine that `config` describes. What the guest writes to its
    /// console goes to `console`.
    pub fn builder(config: &Config, console: Box<dyn ConsoleSink>) -> MachineBuilder<'_> {
        MachineBuilder::new(config, console)
    }

    /// Creates a machine of these pieces, without a thread for its devices.
    fn from_pieces(config: Config, pieces: Pieces, waker: Arc<Waker>) -> Self {
        let Pieces {
            board,
            acceleration,
            vcpus,
            wired,
        } = pieces;
        // With KVM the kernel brings the interrupts of timers to the cores itself.
        let wires = Wires::new(wired.controller.emulated().cloned(), board.firmware);
        let context = RunContext {
            vcpus,
            wires,
            timing: wired.timing,
            gate: InputGate::new(Arc::clone(&waker)),
            uart: wired.console,
            alarms: wired.devices.alarms(),
            dma_tester: wired.devices.dma_tester.clone(),
            faults: wired.faults,
            control: wired.control,
            waker,
            deferred_work: wired.deferred_work,
            schedule: wired.schedule,
            observers: Vec::new(),
            counters: RunCounters::default(),
            pace: Pace::Free,
            passage: Passage::default(),
        };
        Self {
            config,
            board,
            others: Vec::new(),
            worker: None,
            acceleration,
            bus: wired.bus,
            controller: wired.controller,
            disks: wired.disks,
            devices: wired.devices,
            iommus: wired.iommus,
            dma: wired.dma,
            context,
            wall: Duration::ZERO,
            before: 0,
            last: None,
            origin: None,
            history: None,
        }
    }

    /// Starts the thread of their own on which devices work in host time.
    fn start_worker(&mut self) -> Result<(), Error> {
        // In virtual time devices work between two instructions, so that what they do repeats.
        if self.config.time == TimeMode::Host {
            // KVM tells by an event when the guest has ended an interrupt: this thread looks
            // whether the line must rise again.
            let lines = self.controller.vm().map(|vm| vm.subscribers());
            let lines = lines.unwrap_or_default();
            let worker = Worker::start(&self.devices.virtio, &self.context.deferred_work, lines);
            let worker = worker.map_err(|source| Error::Host {
                what: "start the device thread",
                source: Box::new(source),
            })?;
            self.worker = Some(worker);
            for slot in &self.devices.virtio {
                let thread = VhostUserThread::start(slot, &self.context.deferred_work);
                self.others.extend(thread.map_err(|source| Error::Host {
                    what: "start the thread of a vhost-user device",
                    source: Box::new(source),
                })?);
            }
            // Only now: starting the thread has made the events that notifications are sent to.
            self.notify_from_kernel()?;
        }
        Ok(())
    }

    /// Makes KVM bring notifications of queues to the device thread without an exit of the core
    /// that makes them.
    fn notify_from_kernel(&self) -> Result<(), Error> {
        let Some(vm) = self.controller.vm() else {
            return Ok(());
        };
        // Slots were made in the order of the board, one for each virtio entry. That of a
        // virtio-iommu has no kicks: its driver spins until the core that notifies has served it.
        let entries = self.board.devices.iter().filter(|e| e.virtio);
        for (entry, slot) in entries.zip(&self.devices.virtio) {
            // Poisoned only by a panic that its own thread has reported; another one here would
            // hide it.
            let slot = slot.lock().unwrap_or_else(|e| e.into_inner());
            let notify = entry.ranges[0].base + u64::from(VIRTIO_MMIO_QUEUE_NOTIFY);
            // The driver writes the number of the queue (virtio 1.2, 4.2.2), so each value has an
            // event of its own.
            for (queue, kick) in (0..).zip(slot.kicks()) {
                vm.signal_on_write(notify, queue, kick.event())?;
            }
        }
        Ok(())
    }

    /// Runs until the guest ends, a limit is reached or someone stops the machine. May be called
    /// again after [`Reason::Timeout`], [`Reason::WallTimeout`], [`Reason::InstructionLimit`],
    /// [`Reason::Stopped`] and [`Reason::ConsoleStop`], and goes on where it was; after the other
    /// reasons it ends at once with the same.
    pub fn run(&mut self, limits: Limits) -> Exit {
        // The interpreter leaves its cores on: they would go on behind the firmware call.
        if let Some(reason @ (Reason::PowerOff | Reason::Reset)) = self.last {
            return Exit { reason };
        }
        let start = Instant::now();
        // Without a device thread no work is ever pending.
        let nothing = Arc::new(AtomicU64::new(0));
        // The run loop looks at the clock between slices only: the alarm has cores leave theirs.
        self.context.control.begin();
        let alarm = self.alarm(&limits);
        let pending = self.worker.as_ref().map_or(nothing, Worker::pending);
        let reason = self.run_through(limits, &pending);
        // It must not interrupt a later run.
        drop(alarm);
        // What was shown last may be no whole line: nothing follows that would bring it out.
        self.context.uart.flush();
        self.wall += start.elapsed();
        self.last = Some(reason);
        Exit { reason }
    }

    /// Returns what has cores leave their loops when a limit is reached, as long as it is kept.
    fn alarm(&self, limits: &Limits) -> Option<WallTimer> {
        let limit = self.first_limit(limits)?;
        Some(WallTimer::set(limit, &self.context.control))
    }

    /// Returns the time of the host in which a limit is reached at the latest.
    fn first_limit(&self, limits: &Limits) -> Option<Duration> {
        // In virtual time nobody knows how long the guest's takes.
        let own = match self.context.timing {
            Timing::Virtual(_) => None,
            Timing::Host(_) => limits.guest_ns,
        };
        let left = own.map(|end| end.saturating_sub(self.guest_ns()));
        limits
            .wall
            .into_iter()
            .chain(left.map(Duration::from_nanos))
            .min()
    }

    /// Returns where the run first differed from the recording that it goes through again.
    pub fn divergence(&self) -> Option<&Divergence> {
        match &self.context.pace {
            Pace::Replay(replay) => replay.divergence(),
            Pace::Free | Pace::Record(..) => None,
        }
    }

    /// Returns a handle to type on the console. As long as one exists a sleeping guest is waited
    /// for.
    pub fn console_input(&self) -> ConsoleInput {
        self.context.gate.input()
    }

    /// Returns the same for a person, or another program, that may take its time: in virtual time,
    /// too, time that the guest idles away then passes as the host's does. When the last such
    /// handle is gone idle time is skipped as ever, unless the guest goes on without a limit of
    /// time and shows nothing for two days of its own: then it sleeps rather than spins.
    pub fn persons_input(&self) -> ConsoleInput {
        self.context.gate.persons_input()
    }

    /// Returns the console input that the guest got so far, with its times: the first mebibyte of
    /// it. A recording ([`Recorder`]) has all.
    pub fn console_record(&self) -> Vec<InputRecord> {
        self.context.gate.record()
    }

    /// Returns a handle to end a run from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.context.control))
    }

    /// Installs an observer of the run.
    pub fn observe(&mut self, observer: Box<dyn StopHandler>) {
        self.context.observers.push(observer);
    }

    /// Makes the cores stand still and gives them to `look`, which may change them; `None` when
    /// they cannot be shown. Between two calls of [`run`](Self::run).
    pub fn with_cores<T>(&mut self, look: impl FnOnce(&mut Cores<'_>) -> T) -> Option<T> {
        let looked = match self.context.vcpus.show() {
            Ok(Some(mut cores)) => Some(look(&mut cores)),
            _ => None,
        };
        // What fails here fails again when the run begins, and is said then.
        let _ = self.context.vcpus.hide(None);
        looked
    }

    /// Returns the snapshot that it goes on from, if from one.
    pub fn origin(&self) -> Option<&Snapshot> {
        self.origin.as_ref()
    }

    /// Returns the interpreted cores, to set breakpoints before the first run; `None` when the
    /// cores run otherwise.
    pub fn cluster(&mut self) -> Option<&mut arm32::Cluster> {
        self.context.vcpus.cluster()
    }

    /// Returns the memory that `device`, such as `disk0` or `rng`, sees: to access it in its place,
    /// for example where it has no business. Between two calls of [`run`](Self::run) that happens
    /// at a defined instruction.
    pub fn dma_space(&self, device: &str) -> Option<DmaSpace> {
        let mut spaces = self.dma.iter();
        spaces.find_map(|(name, space)| (name == device).then(|| space.clone()))
    }

    /// Returns what the network interfaces did.
    fn nets(&self) -> Vec<NetSummary> {
        let slots = self.devices.virtio.iter();
        // Poisoned only by a panic that its own thread has reported.
        let slots = slots.map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner));
        slots
            .filter_map(|slot| slot.device().net_summary())
            .collect()
    }

    /// Returns the guest's clock.
    pub fn clock(&self) -> Arc<dyn vmm_base::Clock> {
        self.context.timing.clock()
    }

    /// Returns how its cores are run.
    pub fn acceleration(&self) -> &Acceleration {
        &self.acceleration
    }

    /// Returns the guest's RAM.
    pub fn memory(&self) -> Arc<GuestRam> {
        self.bus.memory()
    }

    /// Returns what the machine is made of.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Returns the guest time since power-on, in nanoseconds.
    pub fn guest_ns(&self) -> u64 {
        self.context.timing.now_ns()
    }

    /// Returns the instructions retired by all cores; 0 where they are not counted.
    pub fn instructions(&self) -> u64 {
        self.context.vcpus.retired()
    }

    /// Returns the number of bytes that the guest has written to its console.
    pub fn console_bytes(&self) -> u64 {
        self.context.uart.bytes_out()
    }

    /// Returns what happened so far, in numbers.
    pub fn summary(&self) -> Summary {
        let instructions = self.context.vcpus.retired();
        let seconds = self.wall.as_secs_f64();
        let gic = self.controller.emulated();
        Summary {
            exit: self.last,
            time: self.config.time,
            seed: self.config.seed,
            cpus: self.config.cpus,
            kvm: self.acceleration == Acceleration::Kvm,
            instructions,
            guest_ns: self.context.timing.clock().now_ns(),
            skipped_ns: match &self.context.timing {
                Timing::Virtual(clock) => clock.skipped_ns(),
                // The host's time cannot be skipped.
                Timing::Host(_) => 0,
            },
            wall_ns: u64::try_from(self.wall.as_nanos()).unwrap_or(u64::MAX),
            // Cannot underflow: `before` is what the count was at first, and it only grows.
            mips: if seconds > 0.0 {
                (instructions - self.before) as f64 / seconds / 1e6
            } else {
                0.0
            },
            console_bytes: self.context.uart.bytes_out(),
            // Those of KVM's controller are acknowledged in the guest, and nobody counts them.
            interrupts: gic.map_or(0, |gic| gic.acknowledged()),
            exits: Exits {
                mmio: self.bus.accesses(),
                unmapped: self.bus.unmapped(),
                firmware: self.context.wires.calls,
                idle: self.context.counters.idle,
                slices: self.context.counters.slices,
            },
            disks: self.disks.iter().map(|disk| disk.summary()).collect(),
            overlays: self.overlays(),
            nets: self.nets(),
            iommus: self.iommus.summaries(),
            dma_script: self.devices.dma_tester.as_deref().map(StepSummary::all),
        }
    }
}
