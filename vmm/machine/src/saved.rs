//! What a machine *is*, as plain data: everything but its memory and what its disks hold.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arm32::cluster::{MAX_RETIRED, RestoreError as WrongCores};
use arm32::{Cluster, ClusterState};
use serde::{Deserialize, Serialize};
use vmm_base::Reason;
use vmm_devices::ahci::AhciState;
use vmm_devices::clkgen;
use vmm_devices::dma_tester::DmaTesterState;
use vmm_devices::irq::gicv2::{SavedGic, WrongGic};
use vmm_devices::renesas::blocks::BlockState;
use vmm_devices::renesas::dmac::{DmacState, WrongDmac};
use vmm_devices::rtc::RtcState;
use vmm_devices::sp804::DualTimerState;
use vmm_devices::sregs::SystemRegistersState;
use vmm_devices::uart::{GateState, UartState, WrongUart};
use vmm_devices::virtio::budget::Allowance;
use vmm_devices::virtio::rng::Rng;
use vmm_devices::virtio::{VirtioDevice, VirtioState, WrongState};

use super::Machine;
use super::bus::BusState;
use super::iommu::{UnitState, WrongIommu};
use crate::seeds::noise_seed;
use crate::vcpu::{KvmError, KvmState, RunCounters, Timing};
use crate::wiring::Devices;

/// The state of a machine that stands still between two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineState {
    /// The cores and who brings them interrupts.
    pub processor: Processor,
    /// The console.
    pub uart: UartState,
    /// Console input that waits, and what has passed.
    pub input: GateState,
    /// The real-time clock, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtc: Option<RtcState>,
    /// The timers that all cores share, if there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<DualTimerState>,
    /// The system registers, if there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sregs: Option<SystemRegistersState>,
    /// The SATA controller, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahci: Option<AhciState>,
    /// The blocks that an R-Car SoC is controlled by, in the order of the board.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockState>,
    /// Its DMA controllers, in the order of the board.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dmacs: Vec<DmacState>,
    /// The DMA tester, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dma_tester: Option<DmaTesterState>,
    /// The clock generators, in the order of the board.
    pub clocks: Vec<clkgen::State>,
    /// The virtio slots, in the order of the board.
    pub virtio: Vec<VirtioState>,
    /// The IOMMUs, in the order of the board.
    pub iommus: Vec<UnitState>,
    /// The guest's clock.
    pub time: TimeState,
    /// The counts of the bus.
    pub bus: BusState,
    /// The counts of the run loop.
    pub run: RunCounters,
    /// Whether a device has work that its driver did not ask for.
    #[serde(rename = "chores")]
    pub deferred_work: bool,
    /// What devices may do at once.
    pub allowance: Allowance,
    /// Firmware calls.
    pub calls: u64,
    /// Why the last run ended.
    pub last: Option<Reason>,
}

/// Cores and interrupt controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processor {
    /// Emulated ones.
    Emulated {
        /// The cores, with what they have cached of page tables.
        cores: ClusterState,
        /// The interrupt controller, with the levels of its inputs.
        gic: SavedGic,
    },
    /// Those that KVM has.
    Kvm(KvmState),
}

/// The guest's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeState {
    /// Nanoseconds since power-on.
    pub now_ns: u64,
    /// Nanoseconds of those that were skipped, in virtual time.
    pub skipped_ns: u64,
}

/// The reason for which a saved state does not fit a machine.
#[derive(Debug, thiserror::Error)]
pub enum WrongMachine {
    /// Its cores.
    #[error(transparent)]
    Cores(#[from] WrongCores),
    /// Its cores and its interrupt controller, where KVM has them.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Its interrupt controller.
    #[error(transparent)]
    Gic(#[from] WrongGic),
    /// Its console.
    #[error(transparent)]
    Uart(#[from] WrongUart),
    /// It is of an emulated machine, and says it is of KVM's.
    #[error(
        "the saved state is of emulated cores, and the machine is to be run by KVM: neither can go on for the other"
    )]
    Accel,
    /// One of its virtio devices.
    #[error(transparent)]
    Virtio(#[from] WrongState),
    /// One of its IOMMUs.
    #[error(transparent)]
    Iommu(#[from] WrongIommu),
    /// It has more or fewer of some device.
    #[error("the saved state has {found} {what}, but the machine has {expected}")]
    Number {
        /// Of what.
        what: &'static str,
        /// How many the state has.
        found: usize,
        /// How many there are.
        expected: usize,
    },
    /// A clock generator of another shape.
    #[error("the saved state is of another kind of clock generator")]
    Clock,
    /// Timers that no dual timer can have.
    #[error("the timers of the saved state have values that they cannot have")]
    Timer,
    /// A SATA controller that none of this machine's disk can be.
    #[error("the SATA controller of the saved state has values that it cannot have with this disk")]
    Ahci,
    /// System registers of another shape.
    #[error("the saved state is of another kind of system registers")]
    SystemRegisters,
    /// A block of an R-Car SoC of another shape.
    #[error("the saved state is of another kind of SoC")]
    Block,
    /// Its DMA controllers.
    #[error(transparent)]
    Dmac(#[from] WrongDmac),
    /// A state that a DMA tester with this script does not come to.
    #[error("the saved state is of another kind of DMA tester, or of another script")]
    DmaTester,
    /// A time that is too far away to be waited for.
    #[error("the saved time lies more than a century after power-on")]
    Time,
}

/// The machine's cores are the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only a machine whose cores are emulated can be recorded")]
pub struct NotEmulated;

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    // Poisoned only by a panic that its own thread has reported; another one here would hide it.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(what: &'static str, found: usize, expected: usize) -> Result<(), WrongMachine> {
    let wrong = WrongMachine::Number {
        what,
        found,
        expected,
    };
    if found == expected {
        Ok(())
    } else {
        Err(wrong)
    }
}

impl Machine {
    /// Returns the state, to be saved.
    ///
    /// # Errors
    /// When KVM does not tell.
    pub(super) fn state(&mut self) -> Result<MachineState, KvmError> {
        // First: KVM's cores are made to stand still for it, before anything else is read.
        let processor = match (self.context.vcpus.cluster(), self.controller.emulated()) {
            (Some(cluster), Some(gic)) => Processor::Emulated {
                cores: cluster.save(),
                gic: gic.save(),
            },
            _ => Processor::Kvm(self.context.vcpus.save_kvm()?),
        };
        Ok(MachineState {
            processor,
            uart: self.context.uart.state(),
            input: self.context.gate.save(),
            rtc: self.devices.rtc.as_ref().map(|rtc| rtc.save()),
            timer: self.devices.timer.as_ref().map(|timer| timer.save()),
            sregs: self.devices.sregs.as_ref().map(|sregs| sregs.save()),
            ahci: self.devices.ahci.as_ref().map(|ahci| lock(ahci).save()),
            blocks: self.devices.blocks.iter().map(|b| b.save()).collect(),
            dmacs: self.devices.dmacs.iter().map(|d| d.save()).collect(),
            dma_tester: self.devices.dma_tester.as_ref().map(|t| t.save()),
            clocks: self.devices.clocks.iter().map(|c| c.save()).collect(),
            virtio: self.devices.virtio.iter().map(|s| lock(s).save()).collect(),
            iommus: self.iommus.save(),
            time: TimeState {
                now_ns: self.context.timing.clock().now_ns(),
                skipped_ns: match &self.context.timing {
                    Timing::Virtual(clock) => clock.skipped_ns(),
                    Timing::Host(_) => 0,
                },
            },
            bus: self.bus.save(),
            run: self.context.counters,
            deferred_work: self.context.deferred_work.are_due(),
            allowance: self.context.schedule.save(),
            calls: self.context.wires.calls,
            last: self.last,
        })
    }

    /// Takes over a saved state, of which `restore_cores` has the emulated cores take over theirs.
    /// The machine stands still, and its clock already shows the saved time.
    ///
    /// # Errors
    /// If the state does not fit.
    pub(super) fn restore(
        &mut self,
        saved: &MachineState,
        restore_cores: fn(&mut Cluster, &ClusterState) -> Result<(), WrongCores>,
    ) -> Result<(), WrongMachine> {
        let MachineState {
            processor,
            uart,
            input,
            rtc,
            timer,
            sregs,
            ahci,
            blocks,
            dmacs,
            dma_tester,
            clocks,
            virtio,
            iommus,
            // The clock was made to show it.
            time: _,
            bus,
            run,
            deferred_work,
            allowance,
            calls,
            last,
        } = saved;
        let devices = &self.devices;
        // What can be counted is checked before anything is changed.
        check_numbers(devices, saved)?;
        // A state and a machine of two kinds are refused below, with the interrupt controller.
        if let (Processor::Emulated { cores, .. }, Some(cluster)) =
            (processor, self.context.vcpus.cluster())
        {
            restore_cores(cluster, cores)?;
        }
        self.context.uart.take_over(uart)?;
        self.context.gate.restore(input);
        if let (Some(device), Some(rtc)) = (&devices.rtc, rtc) {
            device.restore(rtc);
        }
        if let (Some(device), Some(timer)) = (&devices.timer, timer)
            && !device.restore(timer)
        {
            return Err(WrongMachine::Timer);
        }
        if let (Some(device), Some(sregs)) = (&devices.sregs, sregs)
            && !device.restore(sregs)
        {
            return Err(WrongMachine::SystemRegisters);
        }
        if let (Some(device), Some(ahci)) = (&devices.ahci, ahci)
            && !lock(device).restore(ahci)
        {
            return Err(WrongMachine::Ahci);
        }
        restore_soc(devices, blocks, dmacs)?;
        if let (Some(device), Some(saved)) = (&devices.dma_tester, dma_tester)
            && !device.restore(saved)
        {
            return Err(WrongMachine::DmaTester);
        }
        for (clock, saved) in devices.clocks.iter().zip(clocks) {
            clock
                .restore(saved)
                .then_some(())
                .ok_or(WrongMachine::Clock)?;
        }
        // Before the IOMMUs: mappings and attachments of a virtio-iommu are part of its slot, and
        // restoring the slot empties its cache.
        for (slot, saved) in devices.virtio.iter().zip(virtio) {
            lock(slot).restore(saved)?;
        }
        self.iommus.restore(iommus)?;
        // After all who drive its inputs: what they did on the way is undone, and what they had
        // done is in the state.
        match (processor, self.controller.emulated()) {
            (Processor::Emulated { gic, .. }, Some(controller)) => controller.restore(gic)?,
            (Processor::Emulated { .. }, None) => return Err(WrongMachine::Accel),
            (Processor::Kvm(kvm), _) => self.context.vcpus.restore_kvm(kvm)?,
        }
        self.bus.restore(bus);
        self.context.counters = *run;
        // Only ever set: what a device has announced while it was restored stays due.
        if *deferred_work {
            self.context.deferred_work.announce();
        }
        self.context.schedule.restore(*allowance);
        self.context.wires.calls = *calls;
        self.last = *last;
        // The summary's rate is of what this machine executes itself.
        self.before = self.context.vcpus.retired();
        Ok(())
    }
}

/// Checks that `saved` has as many of each device as there are.
fn check_numbers(devices: &Devices, saved: &MachineState) -> Result<(), WrongMachine> {
    let one = |there: bool| usize::from(there);
    for (what, found, expected) in [
        ("clock generators", saved.clocks.len(), devices.clocks.len()),
        (
            "real-time clocks",
            one(saved.rtc.is_some()),
            one(devices.rtc.is_some()),
        ),
        (
            "dual timers",
            one(saved.timer.is_some()),
            one(devices.timer.is_some()),
        ),
        (
            "blocks of system registers",
            one(saved.sregs.is_some()),
            one(devices.sregs.is_some()),
        ),
        (
            "SATA controllers",
            one(saved.ahci.is_some()),
            one(devices.ahci.is_some()),
        ),
        (
            "blocks of its SoC",
            saved.blocks.len(),
            devices.blocks.len(),
        ),
        ("DMA controllers", saved.dmacs.len(), devices.dmacs.len()),
        (
            "DMA testers",
            one(saved.dma_tester.is_some()),
            one(devices.dma_tester.is_some()),
        ),
        ("virtio devices", saved.virtio.len(), devices.virtio.len()),
    ] {
        number(what, found, expected)?;
    }
    Ok(())
}

/// Has what an R-Car SoC consists of take over its state.
fn restore_soc(
    devices: &Devices,
    blocks: &[BlockState],
    dmacs: &[DmacState],
) -> Result<(), WrongMachine> {
    for (block, saved) in devices.blocks.iter().zip(blocks) {
        let taken = block.restore(saved).then_some(());
        taken.ok_or(WrongMachine::Block)?;
    }
    for (dmac, saved) in devices.dmacs.iter().zip(dmacs) {
        dmac.restore(saved)?;
    }
    Ok(())
}

impl Machine {
    /// Makes the entropy device begin anew with the seed of the configuration.
    pub(super) fn reseed(&mut self) {
        let fresh = Rng::new(noise_seed(&self.config)).save();
        for slot in &self.devices.virtio {
            // Only the entropy device takes it.
            let _ = lock(slot).device_mut().restore(&fresh);
        }
    }
}

impl MachineState {
    /// Returns the time that a real-time clock showed at power-on, in seconds since 1970-01-01
    /// 00:00 UTC.
    pub(super) fn epoch(&self) -> u32 {
        self.rtc.as_ref().map_or(0, |rtc| rtc.epoch)
    }
}

impl TimeState {
    /// Checks that a machine can go on from then.
    ///
    /// # Errors
    /// If sums of times would overflow.
    pub(super) fn check(self) -> Result<(), WrongMachine> {
        let Self { now_ns, skipped_ns } = self;
        // The cores' limit: in virtual time each instruction takes a nanosecond.
        if now_ns.max(skipped_ns) > MAX_RETIRED {
            return Err(WrongMachine::Time);
        }
        Ok(())
    }
}
