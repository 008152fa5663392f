//! Makes a machine's devices and cores and connects them.

use std::sync::Arc;

use viommu::SourceId;
use vmm_devices::disk::Disk;
use vmm_devices::irq::Gic;

use crate::board::Board;
use crate::bus::SystemBus;
use crate::config::Config;
use crate::controller::Controller;
use crate::error::Error;
use crate::vcpu::{Acceleration, Control, Emulated, Timing, Vcpus, kvm};
use crate::wiring::{HostConnections, Supplies, Wired, Wiring};
use vmm_devices::ram::GuestRam;

/// The resources of a machine: there before anything is wired.
pub(crate) struct Resources {
    pub board: Board,
    /// What the cores are run by.
    pub acceleration: Acceleration,
    /// The machine of KVM that runs the cores, if one does.
    pub vm: Option<Arc<kvm::Vm>>,
    /// In the order of the configuration.
    pub disks: Vec<Disk>,
    pub ram: Arc<GuestRam>,
    pub timing: Timing,
    /// What the real-time clock shows at power-on.
    pub epoch: u32,
}

/// The pieces of a machine, wired together.
pub(crate) struct Pieces {
    pub board: Board,
    pub acceleration: Acceleration,
    pub vcpus: Box<dyn Vcpus>,
    /// The devices, and what connects them.
    pub wired: Wired,
}

/// Makes the devices and the cores of the valid `config`, all at reset, and wires them.
pub(crate) fn wire(
    config: &Config,
    resources: Resources,
    connections: HostConnections<'_>,
) -> Result<Pieces, Error> {
    let Resources {
        board,
        acceleration,
        vm,
        disks,
        ram,
        timing,
        epoch,
    } = resources;
    let waker = Arc::clone(connections.waker);
    let facts = config.board.facts();
    // A system on chip has interfaces for all of its cores, also for those that are not there here.
    let cores = facts.tree.map_or(config.cpus, |_| facts.cpus);
    // Made only when it is called: KVM has a controller of its own.
    let gic = || Arc::new(Gic::new(cores.into(), board.gic.irqs, waker.clone()));
    let supplies = Supplies {
        ram,
        controller: vm.map_or_else(|| Controller::Emulated(gic()), Controller::Kvm),
        timing,
        epoch,
        disks,
    };
    let mut wiring = Wiring::new(config, &board.devices, supplies, connections)?;
    // A bus master's number is its place on the board, by which reports find its name.
    for (source, (entry, part)) in (0..).map(SourceId).zip(board.parts()) {
        part.make(entry, source, &mut wiring)?;
    }
    let wired = wiring.finish(&board.devices)?;
    // Cores come last: they hold the bus, and nothing can be attached to that any more.
    let vcpus = match &wired.controller {
        Controller::Kvm(vm) => kvm::vcpus(vm, wired.bus.clone(), waker),
        Controller::Emulated(gic) => {
            emulated(config.cpus, &wired.bus, &wired.timing, gic, &wired.control)
        }
    };
    Ok(Pieces {
        board,
        acceleration,
        vcpus,
        wired,
    })
}

/// Creates interpreted cores, connected to the interrupt controller and to requests.
fn emulated(
    cpus: u8,
    bus: &Arc<SystemBus>,
    timing: &Timing,
    gic: &Gic,
    control: &Control,
) -> Box<dyn Vcpus> {
    let cpus = usize::from(cpus);
    let vcpus = Emulated::new(cpus, bus.clone(), timing.clock());
    let pins: Vec<_> = (0..cpus).map(|cpu| vcpus.pins(cpu)).collect();
    // By its pins a core gets both: interrupts, and requests to leave its loop.
    gic.connect(pins.clone());
    control.connect(pins);
    Box::new(vcpus)
}
