//! Snapshots: a machine at one moment, from which any number of machines go on.
//!
//! A machine that goes on from a snapshot does in virtual time, to the instruction and to the
//! nanosecond, what the one it was taken of does after it. Its memory is the snapshot's until it
//! writes to it, and what it writes is its own; so are its disks. Making one copies nothing of the
//! guest's memory, loads no kernel and opens no file.

mod bench;
mod disk;
pub mod file;
mod memory;
#[cfg(test)]
mod tests;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arm32::Cluster;
use bench::{Bench, Remains};
use disk::DiskImage;
use memory::Memory;
pub(super) use memory::{PAGE, touched};
use vmm_base::VirtualClock;
use vmm_devices::uart::ConsoleSink;
use vmm_faults::Injection;
use vmm_files::atomic_file::reason;

use super::Machine;
use super::assemble::{self, Resources};
use super::board::Board;
use super::config::{Accel, Config};
use super::error::Error;
use super::iommu::IommuSink;
use super::saved::{MachineState, Processor, TimeState, WrongMachine};
use crate::vcpu::kvm::Vm;
use crate::vcpu::{Acceleration, Timing, Waker};
use crate::wiring::HostConnections;
use vmm_devices::ram::GuestRam;

/// A machine at one moment. Clones are cheap and are the same snapshot; it may be used by any
/// number of threads.
#[derive(Clone)]
pub struct Snapshot(Arc<Inner>);

/// Values of any types, at most one of each.
#[derive(Default)]
struct Findings(Mutex<HashMap<TypeId, Option<Arc<dyn Any + Send + Sync>>>>);

impl Findings {
    /// Returns the one of type `T`: what `find` returned when it was first asked for.
    fn get<T: Send + Sync + 'static>(&self, find: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        // Others wait rather than look for the same.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all
            .entry(TypeId::of::<T>())
            .or_insert_with(|| find().map(|found| Arc::new(found) as Arc<dyn Any + Send + Sync>));
        // A search that found nothing is remembered, too. The key is the
        // type, so the cast does not fail.
        found.clone()?.downcast().ok()
    }
}

struct Inner {
    config: Config,
    board: Board,
    state: MachineState,
    memory: Memory,
    disks: Vec<DiskImage>,
    /// The findings about the guest, by their type.
    findings: Findings,
    /// The remains of machines that are gone.
    bench: Bench,
}

/// The parts of its own of a machine that goes on from a snapshot.
pub struct Fork {
    /// The sink of the guest's console from here on.
    pub console: Box<dyn ConsoleSink>,
    /// The sink that is told of all that happens at the IOMMUs, the attachments that are there at
    /// first included.
    pub iommu_sink: Option<Arc<dyn IommuSink>>,
    /// Another seed: from here on the entropy device's noise is that of this one. What the guest
    /// has taken for random before does not change.
    pub seed: Option<u64>,
}

impl Fork {
    /// Creates options by which a machine differs from the saved one only in where its console
    /// goes.
    pub fn new(console: Box<dyn ConsoleSink>) -> Self {
        Self {
            console,
            iommu_sink: None,
            seed: None,
        }
    }
}

impl Machine {
    /// Takes a snapshot of the machine, between two runs. It goes on as if nothing had happened. A
    /// disk that the guest writes to directly is copied into memory, up to a limit of 1 GiB of
    /// contents.
    ///
    /// Observers and probes are not part of it, and neither are the handles for typing on the
    /// console.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        self.capture(true)
    }

    /// Returns the machine as it is now, in its place: no disk needs to be copied.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn into_snapshot(mut self) -> Result<Snapshot, Error> {
        self.capture(false)
    }

    fn capture(&mut self, goes_on: bool) -> Result<Snapshot, Error> {
        if !self.config.vhost_user.is_empty() {
            return Err(Error::VhostUserState("saved"));
        }
        // Requests in flight end, or are left over in their devices, before anything is looked at.
        if let Some(worker) = &self.worker {
            worker.settle();
        }
        let captured = self.capture_settled(goes_on);
        // After a failure, too: the machine may go on.
        if let Some(worker) = &self.worker {
            worker.resume();
        }
        captured
    }

    fn capture_settled(&mut self, goes_on: bool) -> Result<Snapshot, Error> {
        // First: with KVM it makes the cores stand still.
        let state = self.state().map_err(|source| Error::Host {
            what: "save the machine",
            source: Box::new(source),
        })?;
        let mut disks = Vec::new();
        self.each_disk(|index, disk| {
            let fail = |source| Error::DiskSave {
                path: self.config.disks[index].path.clone(),
                source,
            };
            disks.push(DiskImage::capture(disk, goes_on).map_err(fail));
        });
        let disks = disks.into_iter().collect::<Result<Vec<_>, Error>>()?;
        // After the state: saving KVM's cores takes breakpoints out of the guest's memory.
        let memory =
            Memory::capture(&self.bus.memory()).map_err(host("save the guest's memory"))?;
        Ok(Snapshot(Arc::new(Inner {
            config: self.config.clone(),
            board: self.board.clone(),
            state,
            memory,
            disks,
            findings: Findings::default(),
            bench: Bench::default(),
        })))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Only memory that is mapped from a snapshot is of use to others.
        if let Some(Snapshot(origin)) = self.origin.take()
            && let Some(cluster) = self.context.vcpus.cluster()
        {
            origin.bench.keep(Remains {
                memory: self.bus.memory(),
                code: cluster.take_code(),
            });
        }
    }
}

/// Returns the machine of KVM for a state that is of one.
fn open(config: &Config, state: &MachineState) -> Result<Option<Vm>, Error> {
    match (&state.processor, config.accel) {
        (Processor::Emulated { .. }, Accel::Kvm) => Err(Error::Restore(WrongMachine::Accel)),
        (Processor::Emulated { .. }, _) => Ok(None),
        // Not by `accel`, which may be `auto`: nothing but KVM can go on from such a state.
        (Processor::Kvm(saved), _) => Ok(Some(Vm::open(saved.width)?)),
    }
}

fn host(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Host {
        what,
        source: Box::new(io::Error::other(reason(&source))),
    }
}

impl Snapshot {
    /// Creates a machine that goes on from here.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn machine(&self, fork: Fork) -> Result<Machine, Error> {
        self.machine_with_faults(fork, None)
    }

    /// Returns the same, with points at which `injection` says what goes wrong.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn machine_with_faults(
        &self,
        fork: Fork,
        injection: Option<&Arc<Injection>>,
    ) -> Result<Machine, Error> {
        let mut machine = self.assemble(fork, injection, |config, time| {
            assemble::timing(config, time)
        })?;
        // After the state: the thread goes on at once with what the saved machine had left over.
        machine.start_worker()?;
        Ok(machine)
    }

    /// Returns the same, whose clock moves between slices of work only, and whose devices work on
    /// the thread that runs it.
    pub(super) fn paced(
        &self,
        fork: Fork,
        injection: Option<&Arc<Injection>>,
    ) -> Result<Machine, Error> {
        // A clock of virtual time in host time as well: the recording moves it, between slices.
        let clock = |_: &Config, time: TimeState| {
            Timing::Virtual(Arc::new(VirtualClock::starting_at(
                time.now_ns,
                time.skipped_ns,
            )))
        };
        self.assemble(fork, injection, clock)
    }

    /// Returns the machine, with the clock that `timing` makes, and without a thread for its
    /// devices.
    fn assemble(
        &self,
        fork: Fork,
        injection: Option<&Arc<Injection>>,
        timing: impl Fn(&Config, TimeState) -> Timing,
    ) -> Result<Machine, Error> {
        let Fork {
            console,
            iommu_sink,
            seed,
        } = fork;
        let Inner {
            config,
            board,
            state,
            memory,
            disks,
            findings: _,
            bench,
        } = &*self.0;
        // From a file it may be any number, and times are added up later.
        state.time.check()?;
        let config = Config {
            seed: seed.unwrap_or(config.seed),
            ..config.clone()
        };
        let mut vm = open(&config, state)?;
        let (ram, code) = match bench.take(memory) {
            Some(Remains { memory, code }) => (memory, Some(code)),
            None => {
                let fresh = memory.map(board.ram.base);
                (fresh.map_err(host("map the guest's memory"))?, None)
            }
        };
        let waker = Arc::new(Waker::default());
        // Before the devices are wired: KVM connects lines only to a controller that is set up.
        if let Some(vm) = &mut vm {
            vm.populate(config.cpus, &board.gic, Arc::clone(&ram), &waker)?;
        }
        let resources = Resources {
            board: board.clone(),
            acceleration: match vm {
                Some(_) => Acceleration::Kvm,
                None => Acceleration::Emulated(None),
            },
            vm: vm.map(Arc::new),
            disks: disks.iter().map(DiskImage::open).collect(),
            ram,
            timing: timing(&config, state.time),
            // The saved clock knows what it shows.
            epoch: state.epoch(),
        };
        let connections = HostConnections {
            console,
            sink: iommu_sink.as_ref(),
            injection,
            waker: &waker,
        };
        let pieces = assemble::wire(&config, resources, connections)?;
        let mut machine = Machine::from_pieces(config, pieces, waker);
        machine.restore(state, Cluster::restore)?;
        // After the state: to restore a core drops its predecoded code.
        if let (Some(cluster), Some(code)) = (machine.cluster(), code) {
            cluster.give_code(code);
        }
        // After the state, which has the generator of the saved machine.
        if seed.is_some() {
            machine.reseed();
        }
        machine.origin = Some(self.clone());
        Ok(machine)
    }

    /// Has `machines` machines that go on from here at the same time begin with the code that one
    /// before them has made, if there was one: otherwise only one of them does, and each of the
    /// others makes its own. Nothing but time depends on it.
    pub fn prepare(&self, machines: usize) {
        let Inner {
            memory,
            board,
            bench,
            ..
        } = &*self.0;
        // Without, they are only slower; if there is no memory, they will say so.
        if let Err(why) = bench.spread(machines, || memory.map(board.ram.base)) {
            tracing::info!("no memory for prepared machines: {why}");
        }
    }

    /// Gives back what machines that are gone left for those to come: memory that they mapped, and
    /// code that they made. The next ones begin without; nothing but time depends on it.
    pub fn release(&self) {
        self.0.bench.clear();
    }

    /// Returns what the machine was made from.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Returns what `find` finds out about the guest from its memory, which is searched once:
    /// machines that go on from here have it in common.
    pub fn finding<T: Send + Sync + 'static>(
        &self,
        find: impl FnOnce(&GuestRam, &Board) -> Option<T>,
    ) -> Option<Arc<T>> {
        self.0.findings.get(|| {
            let memory = self.0.memory.map(self.0.board.ram.base).ok()?;
            find(&memory, &self.0.board)
        })
    }

    /// Returns whether its cores are emulated ones.
    pub fn is_emulated(&self) -> bool {
        matches!(self.0.state.processor, Processor::Emulated { .. })
    }

    /// Returns all of its state but its memory and its disks.
    pub fn state(&self) -> &MachineState {
        &self.0.state
    }

    /// Returns the time that the real-time clock showed at power-on, in seconds since 1970-01-01
    /// 00:00 UTC.
    pub fn epoch(&self) -> u32 {
        self.0.state.epoch()
    }

    /// Returns the guest time since power-on, in nanoseconds.
    pub fn guest_ns(&self) -> u64 {
        self.0.state.time.now_ns
    }

    /// Returns the instructions retired by all cores; 0 where they are not counted.
    pub fn instructions(&self) -> u64 {
        let Processor::Emulated { cores, .. } = &self.0.state.processor else {
            return 0;
        };
        let members = cores.members.iter();
        // Saturates: in a file the counts are not checked before a machine is made.
        members.fold(0, |sum, member| sum.saturating_add(member.cpu.retired))
    }

    /// Returns how many bytes of the guest's memory are not zeros, in whole pages.
    ///
    /// # Errors
    /// The host's.
    pub fn stored(&self) -> io::Result<u64> {
        self.0.memory.stored()
    }
}
