//! Breakpoints, steps, registers and memory of cores that KVM runs, for observers.
//!
//! While the cores run, breakpoints are instructions in the guest's memory (`traps`), or registers
//! of the processor where no memory is known for them yet, and KVM brings their exceptions here
//! (`KVM_SET_GUEST_DEBUG`). While an observer looks, all cores stand still, the guest's memory is
//! its own, and a copy of the registers (`mirror`) is what it sees and changes. To go on from a
//! breakpoint, one core executes the one instruction while the others stand still and interrupts
//! are masked.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arm32::Power;
use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW, KVM_GUESTDBG_USE_SW_BP,
    KVM_MP_STATE_STOPPED, kvm_debug_exit_arch, kvm_guest_debug,
};
use kvm_ioctls::VcpuFd;

use super::super::Stop;
use super::super::accel::KvmError;
use super::super::mirror::{Masked, Mirror, RegisterValues};
use super::super::observe::Cores;
use super::super::threads::VcpuBarrier;
use super::call::failed;
use super::code;
use super::spec as numbers;
use super::traps::Traps;
use vmm_devices::ram::GuestRam;

/// How long one core may take for one instruction before the others run, too: it may wait for an
/// interrupt or an event of theirs. While they do, they miss the breakpoint that was taken away for
/// it, so this is longer than a busy host keeps a thread from running.
pub(super) const ALONE: Duration = Duration::from_secs(1);

/// The exits from KVM for a debugger.
#[derive(Debug, Default)]
pub(super) struct Exits(Mutex<VecDeque<(usize, u32)>>);

impl Exits {
    /// Records that core `core` stopped at a debug event.
    pub fn push(&self, core: usize, exit: &kvm_debug_exit_arch) {
        // The exception class, ESR_EL2.EC (Arm ARM DDI 0487, ESR_EL2).
        self.lock().push_back((core, exit.hsr >> 26));
    }

    fn pop(&self) -> Option<(usize, u32)> {
        self.lock().pop_front()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, u32)>> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A core, shared between its thread, which runs it, and whoever looks at it while it stands still.
pub(super) type Shared = Arc<Mutex<VcpuFd>>;

/// The registers of a core when its copy was made.
#[derive(Debug, Default)]
struct CopiedRegisters {
    registers: RegisterValues,
    stored: RegisterValues,
}

/// An instruction that one core executes.
#[derive(Clone, Copy, Debug)]
struct Single {
    core: usize,
    masked: Option<Masked>,
    /// An observer wants to hear of its end.
    wished: bool,
    /// Its address.
    pc: u64,
    /// The breakpoint that was taken away for it.
    at: u64,
}

/// The debugger of all cores.
pub(super) struct Debugger {
    ram: Arc<GuestRam>,
    cores: Vec<Shared>,
    pub exits: Arc<Exits>,
    mirror: Box<dyn Mirror>,
    taken: Vec<CopiedRegisters>,
    /// Whether observers look: then all memory is the guest's own.
    shown: bool,
    traps: Traps,
    /// Breakpoints in the processor's registers, as many as there can be.
    registers: BTreeSet<u64>,
    room: usize,
    /// All breakpoints that are wanted.
    wanted: BTreeSet<u64>,
    /// Where the kernel's image is, by virtual and by physical address, as long as nothing is
    /// mapped.
    image: Option<(u64, u64)>,
    /// The breakpoint of which observers were told, by core: its instruction comes next.
    told: Vec<Option<u64>>,
    single: Option<Single>,
    /// What KVM was asked for: traps, or more.
    asked: bool,
}

impl Debugger {
    /// Creates a debugger for these cores, of which `mirror` has copies; `room` is how many
    /// breakpoints the processor has registers for.
    pub fn new(
        cores: Vec<Shared>,
        ram: Arc<GuestRam>,
        mirror: Box<dyn Mirror>,
        room: usize,
    ) -> Self {
        let count = cores.len();
        Self {
            ram,
            cores,
            exits: Arc::default(),
            mirror,
            taken: (0..count).map(|_| CopiedRegisters::default()).collect(),
            shown: false,
            traps: Traps::default(),
            registers: BTreeSet::new(),
            room,
            wanted: BTreeSet::new(),
            image: None,
            told: vec![None; count],
            single: None,
            asked: false,
        }
    }

    fn fd(&self, core: usize) -> MutexGuard<'_, VcpuFd> {
        self.cores[core]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the registers of `core`, which stands still.
    fn load(&mut self, core: usize) -> Result<(), KvmError> {
        let mut registers = RegisterValues::new();
        let fd = self.fd(core);
        for id in self.mirror.wanted() {
            let mut bytes = [0; 16];
            fd.get_one_reg(id, &mut bytes)
                .map_err(failed("read a register"))?;
            registers.insert(id, u128::from_le_bytes(bytes));
        }
        let state = fd.get_mp_state().map_err(failed("tell a core's state"))?;
        drop(fd);
        let power = match state.mp_state {
            KVM_MP_STATE_STOPPED => Power::Off,
            // KVM does not tell a core that waits for an interrupt from one that executes.
            _ => Power::Running,
        };
        self.mirror.load(core, &registers, power);
        self.taken[core] = CopiedRegisters {
            registers,
            stored: self.mirror.store(core),
        };
        Ok(())
    }

    /// Writes back what was changed in the copy of `core`.
    fn store(&mut self, core: usize) -> Result<(), KvmError> {
        let now = self.mirror.store(core);
        let mut taken = std::mem::take(&mut self.taken[core]);
        let CopiedRegisters { registers, stored } = &mut taken;
        let fd = self.fd(core);
        for (id, value) in &now {
            let before = stored.get(id).copied().unwrap_or_default();
            if before != *value {
                // KVM keeps more than the copy does in some registers.
                // Only the bits that differ between both copies are flipped.
                let all = registers.get(id).copied().unwrap_or_default() ^ before ^ *value;
                fd.set_one_reg(*id, &all.to_le_bytes())
                    .map_err(failed("set a register"))?;
                // The copy may be changed and stored once more.
                registers.insert(*id, all);
            }
        }
        drop(fd);
        *stored = now;
        self.taken[core] = taken;
        Ok(())
    }

    /// Shows observers the cores, which stand still.
    ///
    /// # Errors
    /// KVM does not tell a core's state.
    pub fn show(&mut self) -> Result<Cores<'_>, KvmError> {
        if !self.shown {
            self.traps.lift_all(&self.ram);
            for core in 0..self.cores.len() {
                self.load(core)?;
            }
            self.shown = true;
        }
        Ok(self.mirror.shown())
    }

    /// Applies what observers changed: registers, breakpoints. `image` is where the kernel's image
    /// lies, if one found out.
    ///
    /// # Errors
    /// KVM does not take a core's state or its breakpoints.
    pub fn hide(&mut self, image: Option<(u64, u64)>) -> Result<(), KvmError> {
        if !self.shown {
            return Ok(());
        }
        self.image = image.or(self.image);
        for core in 0..self.cores.len() {
            self.store(core)?;
        }
        self.wanted = self.mirror.breakpoints().into_iter().collect();
        self.traps.retain(&self.wanted);
        self.registers.clear();
        // One core may be about to execute the instruction at a breakpoint.
        let lifted = self.single.map(|single| single.at);
        for va in self.wanted.clone() {
            if Some(va) != lifted {
                self.plant(va);
            }
        }
        self.shown = false;
        self.ask_all()
    }

    /// Sets the breakpoint at `va`: in memory, if it is known where, and it is not about to be
    /// written only.
    ///
    /// A kernel frees the memory of its initial code and of modules. What it keeps there later
    /// would be damaged: where there is something else than at first, and once addresses are mapped
    /// but not this one, the processor compares addresses, as long as it has registers for that.
    fn plant(&mut self, va: u64) {
        let cores = 0..self.cores.len();
        let mapped = cores.clone().any(|core| self.mirror.maps(core));
        // The first core that maps it will do, as a kernel is mapped alike on all of them.
        let place = cores
            .filter_map(|core| Some((core, self.mirror.locate(core, va)?)))
            .next();
        let image = self.image.filter(|_| !mapped).and_then(|(first, at)| {
            // No core maps it yet: the state of the first one tells which instruction to write.
            let offset = va.checked_sub(first)?;
            Some((0, at.checked_add(offset)?))
        });
        let place = place.or(image);
        let place = place.map(|(core, pa)| (pa, self.mirror.trap(core, va)));
        let has_room = self.registers.len() < self.room;
        // What the guest patched, such as the first instruction of a function that it traces, is
        // code all the same.
        let usual = place.filter(|(pa, bytes)| {
            let same = self.traps.is_as_first(&self.ram, va, *pa, bytes.len());
            same || !has_room
        });
        if usual.is_some_and(|(pa, bytes)| self.traps.plant(&self.ram, va, pa, bytes)) {
            return;
        }
        if has_room {
            self.registers.insert(va);
        } else {
            tracing::warn!("no core stops at {va:#x}: nothing is mapped there");
        }
    }

    /// Tells KVM what to bring here.
    fn ask_all(&mut self) -> Result<(), KvmError> {
        let needed = !self.wanted.is_empty();
        // Cores of which KVM was asked nothing are left alone.
        if needed || self.asked {
            for core in 0..self.cores.len() {
                self.ask(core)?;
            }
        }
        self.asked = needed;
        Ok(())
    }

    fn ask(&self, core: usize) -> Result<(), KvmError> {
        // Whoever looks meanwhile does not end it.
        let step = self.single.is_some_and(|single| single.core == core);
        let mut debug = kvm_guest_debug::default();
        if !self.wanted.is_empty() {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
        }
        if step {
            debug.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
        // A core that is stepped may stand at a breakpoint, where it would stop again.
        } else if !self.registers.is_empty() {
            debug.control |= KVM_GUESTDBG_USE_HW;
            for (n, va) in self.registers.iter().enumerate() {
                // Within the array, as there are no more of them than `room` allows.
                debug.arch.dbg_bvr[n] = va & !3;
                debug.arch.dbg_bcr[n] = numbers::BREAKPOINT_CONTROL;
            }
        }
        self.fd(core)
            .set_guest_debug(&debug)
            .map_err(failed("debug its guest"))
    }

    /// Returns whether anything is to be done before or after cores run.
    pub fn is_idle(&self) -> bool {
        self.exits.is_empty() && self.single.is_none() && self.told.iter().all(Option::is_none)
    }

    /// Returns whether an observer wants a core to be stepped.
    pub fn wants_step(&self) -> bool {
        (0..self.cores.len()).any(|core| self.mirror.request(core).step)
    }

    /// Returns the cores that shall not run, a bit for each: an observer does not want it, or they
    /// stand at a breakpoint and must wait for another one that has not executed its instruction
    /// yet.
    pub fn held(&self) -> u64 {
        let waits = |core: &usize| self.single.is_some() && self.told[*core].is_some();
        let cores = 0..self.cores.len();
        cores
            .filter(|core| self.mirror.request(*core).held || waits(core))
            .fold(0, |held, core| held | 1 << core)
    }

    /// Returns the next stop that observers are to be told of; the cores stand still.
    ///
    /// # Errors
    /// KVM does not tell or take a core's state.
    pub fn next_stop(&mut self) -> Result<Option<Stop>, KvmError> {
        while let Some((core, class)) = self.exits.pop() {
            let stop = if class == numbers::EC_STEP {
                self.stepped(core)?
            } else {
                self.met(core)?
            };
            if stop.is_some() {
                self.mirror.set_current(core);
                return Ok(stop);
            }
        }
        Ok(None)
    }

    /// Handles core `core`'s arrival at a breakpoint, or at an instruction of the guest's that is
    /// one.
    fn met(&mut self, core: usize) -> Result<Option<Stop>, KvmError> {
        self.load(core)?;
        let pc = self.mirror.pc(core);
        // Before the breakpoint comes back that was taken away for a single instruction.
        let code = self.code(core, pc);
        let single = self.end_single(core)?;
        // What it was to execute by itself is the guest's own, and no stop again.
        let own = single.is_some_and(|single| single.pc == pc);
        if !own && let Some(va) = self.breakpoint(core, pc) {
            // Its instruction comes next, without another stop.
            self.told[core] = Some(pc);
            return Ok(Some(Stop::Breakpoint { core, pc: va }));
        }
        // While KVM debugs it also brings the breakpoint instructions of the guest itself.
        if self.mirror.is_trap(core, code) {
            self.mirror.take_own_trap(core, code);
            self.store(core)?;
        }
        let wished = single.is_some_and(|single| single.wished);
        Ok(wished.then_some(Stop::Step { core }))
    }

    /// Returns where the breakpoint was set that core `core` meets at `pc`: there, or where the
    /// same memory lies by another address.
    fn breakpoint(&self, core: usize, pc: u64) -> Option<u64> {
        if self.wanted.contains(&pc) {
            return Some(pc);
        }
        self.traps.at(self.mirror.locate(core, pc)?)
    }

    /// Returns the instruction at `pc`; zeros where it cannot be read.
    fn code(&self, core: usize, pc: u64) -> [u8; 4] {
        let mut code = [0; 4];
        // While a core maps nothing its addresses are physical.
        let pa = self.mirror.locate(core, pc).or(Some(pc));
        let read = pa.and_then(|pa| code::read(&self.ram, pa, &mut code));
        // Two bytes may be all that the page has left.
        if read.is_none()
            && let Some(pa) = pa
        {
            let _ = code::read(&self.ram, pa, &mut code[..2]);
        }
        code
    }

    /// Handles the end of the one instruction that a core executed by itself.
    fn stepped(&mut self, core: usize) -> Result<Option<Stop>, KvmError> {
        self.load(core)?;
        let wished = self.end_single(core)?.is_some_and(|single| single.wished);
        Ok(wished.then_some(Stop::Step { core }))
    }

    /// Takes back what was done for the one instruction that `core`, whose registers were loaded,
    /// was to execute by itself; `None` when it was not.
    fn end_single(&mut self, core: usize) -> Result<Option<Single>, KvmError> {
        let Some(single) = self.single.take_if(|single| single.core == core) else {
            return Ok(None);
        };
        if let Some(masked) = single.masked {
            self.mirror.unmask(core, masked);
            self.store(core)?;
        }
        // A breakpoint in a register was not taken away; it was only not asked for during the step.
        if self.wanted.contains(&single.at) && !self.registers.contains(&single.at) {
            self.plant(single.at);
        }
        self.ask(core)?;
        Ok(Some(single))
    }

    /// Returns the next core that must execute one instruction by itself.
    pub fn next_single(&mut self) -> Option<usize> {
        let cores = 0..self.cores.len();
        for core in cores.filter(|_| self.single.is_none()) {
            let wish = self.mirror.request(core);
            let pc = self.mirror.pc(core);
            let over = self.told[core] == Some(pc) && self.breakpoint(core, pc).is_some();
            if !wish.held && (wish.step || over) {
                return Some(core);
            }
            if !wish.held {
                // It stands elsewhere, or the breakpoint is gone: when it comes to
                // one, observers are told again.
                self.told[core] = None;
            }
        }
        None
    }

    /// Prepares `core` to execute one instruction.
    ///
    /// # Errors
    /// KVM does not tell or take a core's state.
    pub fn begin_single(&mut self, core: usize) -> Result<(), KvmError> {
        self.told[core] = None;
        self.load(core)?;
        let pc = self.mirror.pc(core);
        let at = self.breakpoint(core, pc).unwrap_or(pc);
        // It shall execute the guest's own instruction.
        self.traps.lift(&self.ram, at);
        let code = self.code(core, pc);
        let masked = self.mirror.mask(core, code);
        self.store(core)?;
        self.single = Some(Single {
            core,
            masked,
            wished: self.mirror.request(core).step,
            pc,
            at,
        });
        self.ask(core)
    }

    /// Lets the one core run that [`Debugger::begin_single`] was called for, until it is done or
    /// takes too long.
    pub fn run_single(&self, core: usize, gate: &VcpuBarrier) {
        // All others are held; bits of cores that do not exist mean nothing.
        gate.start(!(1 << core));
        gate.wait_standing(ALONE);
    }
}

/// Returns the breakpoints for which the processor has registers.
pub(super) fn room(bits: i32) -> usize {
    // KVM's structure has 16 of each (KVM_ARM_MAX_DBG_REGS).
    usize::try_from(bits).unwrap_or(0).min(16)
}
