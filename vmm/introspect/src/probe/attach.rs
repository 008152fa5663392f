//! Probes in a machine.

use std::sync::{Arc, Mutex};

use vmm_machine::board::Board;
use vmm_machine::{Machine, Snapshot};

use super::ast::Probe;
use super::engine::{Engine, Sink};
use super::kernel::Kernel;
use super::outcome::ProbeResults;
use super::watch::Watcher;
use crate::symbols::SymbolsError;
use crate::types::vmlinux::TypesFrom;
use vmm_machine::GuestRam;

/// Sets probes in the kernel of `machine`, as soon as it is in memory, which in a machine that goes
/// on from a snapshot may be now; `sink` is told of each hit. Returns what becomes of them. To be
/// called before the first run.
pub fn attach(machine: &mut Machine, probes: Vec<Probe>, sink: Sink) -> Arc<Mutex<ProbeResults>> {
    attach_with(machine, probes, TypesFrom::Kernel, sink)
}

/// Does as [`attach`], with the kernel's types from elsewhere. The outcome says if they are of
/// another kernel.
pub fn attach_with(
    machine: &mut Machine,
    probes: Vec<Probe>,
    types: TypesFrom,
    sink: Sink,
) -> Arc<Mutex<ProbeResults>> {
    let kernel = kernel_at_start(machine, &types);
    set(machine, probes, types, kernel, Told::Sink(sink))
}

/// Does as [`attach_with`], with `watcher` looking at hits itself. Conditions and actions of the
/// probes are left out.
pub fn attach_watcher(
    machine: &mut Machine,
    probes: Vec<Probe>,
    types: TypesFrom,
    watcher: Box<dyn Watcher>,
) -> Arc<Mutex<ProbeResults>> {
    let kernel = kernel_at_start(machine, &types);
    set(machine, probes, types, kernel, Told::Watcher(watcher))
}

/// Who is told of hits.
enum Told {
    Sink(Sink),
    Watcher(Box<dyn Watcher>),
}

/// Returns the kernel that is in the memory of a machine that goes on from a snapshot.
fn kernel_at_start(machine: &Machine, types: &TypesFrom) -> Option<Arc<Kernel>> {
    let ram = machine.board().ram;
    // Without a snapshot there is no kernel in memory yet: its first instruction is waited for.
    machine.origin().and_then(|snapshot| match types {
        TypesFrom::Kernel => kernel_of(snapshot),
        // What a snapshot remembers is its kernel as it is without help.
        from => {
            let memory = machine.memory();
            let found = Kernel::find_with(&*memory, ram.base, ram.size, from);
            found.ok().map(Arc::new)
        }
    })
}

/// Does as [`attach`] in a machine that has `kernel` in memory already, which was looked for once
/// for all machines that go on from there. The outcome says at once if a probe does not fit it.
pub fn attach_in(
    machine: &mut Machine,
    probes: Vec<Probe>,
    kernel: Arc<Kernel>,
    sink: Sink,
) -> Arc<Mutex<ProbeResults>> {
    // A kernel that was found has its types.
    let told = Told::Sink(sink);
    set(machine, probes, TypesFrom::Kernel, Some(kernel), told)
}

/// Sets probes in `kernel`, or in the one that is yet to come.
fn set(
    machine: &mut Machine,
    probes: Vec<Probe>,
    types: TypesFrom,
    kernel: Option<Arc<Kernel>>,
    told: Told,
) -> Arc<Mutex<ProbeResults>> {
    let ram = machine.board().ram;
    let (sink, watcher): (Sink, _) = match told {
        Told::Sink(sink) => (sink, None),
        Told::Watcher(watcher) => (Box::new(|_, _| ()), Some(watcher)),
    };
    let mut engine = Engine::new(probes, machine.memory(), (ram.base, ram.size), sink);
    engine.use_types(types);
    if let Some(watcher) = watcher {
        engine.watch(watcher);
    }
    // Now, as observing hands the engine over to the machine.
    machine.with_cores(|cores| match kernel {
        Some(kernel) => engine.prepare_in(kernel, cores),
        None => engine.prepare(cores),
    });
    let outcome = engine.outcome();
    machine.observe(Box::new(engine));
    outcome
}

/// Returns the kernel in a snapshot's memory, if there is one; looked for once for all machines
/// that go on from there.
fn kernel_of(snapshot: &Snapshot) -> Option<Arc<Kernel>> {
    let find = |memory: &GuestRam, board: &Board| {
        Kernel::find(memory, board.ram.base, board.ram.size).ok()
    };
    snapshot.finding(find)
}

impl Kernel {
    /// Finds the kernel that is in the memory of `machine` now: its symbols and types.
    ///
    /// # Errors
    /// There is none, or it has no symbols.
    pub fn of(machine: &Machine) -> Result<Self, SymbolsError> {
        let ram = machine.board().ram;
        Self::find(&*machine.memory(), ram.base, ram.size)
    }
}
