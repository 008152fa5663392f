//! One core: its state, its software TLB and its wiring.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_base::Clock;
use vmm_base::code_pages::CodeNews;

use crate::bus::Bus;
use crate::cp15::{Effects, Env, TlbFlush, sctlr};
use crate::exception::{self, Exception};
use crate::host_code::Context;
use crate::state::CpuState;
use crate::state::psr::advance_it;
use crate::timer;
use crate::tlb::Tlb;
use crate::watch::{RamHit, WatchHit};
use crate::wires::{Conduit, Pins};

/// What an instruction asks the run loop to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flow {
    /// Go on with the next instruction.
    Next,
    /// A direct branch was taken: R15 holds the target, which is the same each time.
    Taken,
    /// R15 holds a computed target.
    Jump,
    /// An exception return: R15 and the whole CPSR, IT included, are as they shall be.
    Return,
    /// Done, but something may have changed that the block assumed: look again at the next
    /// instruction.
    End,
    /// Done; leave the run loop for the reason in [`Cpu::exit`].
    Leave,
    /// Nothing was done: go on with the block behind this one, which has the instruction.
    Pass,
    /// Not done: take the exception in [`Cpu::pending`], or if there is none leave the run loop
    /// with R15 at the instruction, for the reason in [`Cpu::exit`].
    Exception,
}

/// Why a core leaves its run loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreExit {
    /// The budget is used up.
    Budget,
    /// WFI: until an interrupt.
    WaitInterrupt,
    /// WFE: until an event or an interrupt.
    WaitEvent,
    /// YIELD, or a WFE that found an event: another core may have its turn.
    Yield,
    /// SEV.
    SendEvent,
    /// HVC or SMC; R15 and IT are at it until [`Cpu::accept_call`].
    Firmware(Conduit),
    /// A breakpoint lies at R15; the instruction was not executed.
    Breakpoint {
        /// Its address, which R15 holds.
        pc: u32,
    },
    /// The instruction at R15 would make a watched access; it was not executed.
    Watchpoint(WatchHit),
    /// The instruction at R15 would access watched RAM; it was not executed.
    WatchedRam(RamHit),
    /// A timer or PMU register was written, or counters that interrupt count otherwise from here
    /// on.
    TimerChanged,
    /// TLB maintenance that concerns all cores; this one has done it.
    Broadcast(TlbFlush),
    /// [`Pins::request_stop`].
    Requested,
}

/// The breakpoint that was reported last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// Where it lies.
    pub pc: u32,
    /// Instructions retired when it was reported.
    pub retired: u64,
    /// Breakpoints reported since the last instruction.
    pub count: u32,
}

/// What was reported to an observer, and so is passed when the core goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stops {
    /// The breakpoint.
    pub passed: Option<Passed>,
    /// The watched access, by the number of instructions retired before it.
    pub watched: Option<u64>,
    /// The last instruction that touched a device, by the number retired before it.
    pub touched: Option<u64>,
}

impl Stops {
    /// Returns whether the core in state `s` still stands at the breakpoint that was reported.
    pub fn passes(&self, s: &CpuState) -> bool {
        self.passed
            .is_some_and(|last| last.pc == s.r[15] && last.retired == s.retired)
    }
}

/// What follows from the state, and must be worked out again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stale {
    /// What makes debug events ([`crate::debug::events::armed`]).
    pub debug: bool,
    /// When a performance counter overflows next.
    pub overflow: bool,
}

/// One core.
pub struct Cpu {
    /// Architectural state.
    pub s: CpuState,
    /// The software TLB.
    pub tlb: Tlb,
    /// What became of predecoded code and its pages.
    pub(crate) code: Arc<CodeNews>,
    /// Why [`Flow::Leave`] was returned.
    pub exit: Option<CoreExit>,
    /// The exception of [`Flow::Exception`].
    pub pending: Option<Exception>,
    /// Physical memory and devices.
    pub bus: Arc<dyn Bus>,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Input pins.
    pub pins: Arc<Pins>,
    /// What observers know.
    pub(crate) stops: Stops,
    /// What it has to see to between two instructions, when [`Pins::attention`] says so.
    pub(crate) stale: Stale,
    /// What it shares with generated code.
    pub(crate) jit: Context,
    /// Number of cores of the cluster.
    count: u8,
    /// `state.retired` up to which the clock has been told.
    pub(crate) clocked: u64,
    /// What the clock shows in this run less `state.retired`, if it follows instructions.
    pub(crate) time: Option<u64>,
}

impl Cpu {
    /// Creates a core in its reset state.
    pub fn new(index: u8, count: u8, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        let pins = Arc::default();
        let jit = Context {
            ram: bus.ram_offset().unwrap_or(0),
            ..Context::default()
        };
        let mut cpu = Self {
            s: CpuState::reset(index),
            tlb: Tlb::default(),
            code: bus.code_pages().add_core(Arc::clone(&pins)),
            exit: None,
            pending: None,
            bus,
            clock,
            pins,
            stops: Stops::default(),
            stale: Stale::default(),
            jit,
            count,
            clocked: 0,
            time: None,
        };
        cpu.select_tlb();
        cpu
    }

    /// Tells the clock of the instructions retired up to and not including the one at `idx` of the
    /// running block.
    pub fn sync_clock(&mut self, idx: u8) {
        let now = self.s.retired + u64::from(idx);
        // Only what the clock has not been told yet: a block may ask more than once.
        let fresh = now - self.clocked;
        if fresh > 0 {
            self.clock.retire(fresh);
            self.clocked = now;
        }
    }

    /// Works out when an instruction is executed in the run of at most `budget` instructions that
    /// begins: a clock that follows them moves by a nanosecond for each, and nothing else moves it
    /// meanwhile.
    pub(crate) fn begin_time(&mut self, budget: u64) {
        let (clock, untold) = (&self.clock, self.s.retired - self.clocked);
        self.time = clock
            .instructions_until(u64::MAX)
            // Time stands still where it ends.
            .filter(|left| *left >= budget.saturating_add(untold))
            .map(|_| clock.now_ns().wrapping_sub(self.clocked));
    }

    /// Returns the physical address of what [`Cpu::cached`] found at `host`.
    pub(crate) fn physical(&self, host: usize) -> Option<u64> {
        match self.jit.ram {
            0 => self.bus.physical(host),
            offset => Some((host as u64).wrapping_add(offset)),
        }
    }

    /// Returns the physical count of the generic timer.
    pub fn timer_count(&self) -> u64 {
        timer::count_from_ns(self.clock.now_ns())
    }

    /// Runs `f` with the state and what the system registers need of the world.
    pub fn with_env<R>(&mut self, idx: u8, f: impl FnOnce(&mut CpuState, &Env<'_>) -> R) -> R {
        self.sync_clock(idx);
        let env = Env {
            bus: &*self.bus,
            count: self.timer_count(),
            cycles: self.s.retired + u64::from(idx),
            cpu_count: self.count,
            irq: self.pins.irq(),
            fiq: self.pins.fiq(),
        };
        f(&mut self.s, &env)
    }

    /// Returns whether no address of a word or halfword may be misaligned.
    pub(crate) const fn is_strict(&self) -> bool {
        self.s.cp15.sctlr & sctlr::A != 0
    }

    /// Tells generated code of the current TLB set.
    pub(crate) fn tell_set(&mut self) {
        self.jit.tlb = self.tlb.set_address();
        self.jit.tags = self.tlb.tags_address();
        self.jit.numbers = self.tlb.numbers_address();
    }

    /// Returns whether it is the only core.
    pub(crate) const fn is_alone(&self) -> bool {
        self.count == 1
    }

    /// Selects the TLB set for the current privilege level and DACR.
    #[inline]
    pub fn select_tlb(&mut self) {
        self.tlb
            .select(self.s.psr.mode.privileged(), self.s.cp15.dacr);
    }

    /// Raises `e`.
    #[cold]
    pub fn raise(&mut self, e: Exception) -> Flow {
        self.pending = Some(e);
        Flow::Exception
    }

    /// Raises the Undefined Instruction exception.
    #[cold]
    pub fn undefined(&mut self) -> Flow {
        self.raise(Exception::Undefined)
    }

    /// Hands a call to firmware: R15 and IT stay at it.
    #[cold]
    pub fn call_firmware(&mut self, conduit: Conduit) -> Flow {
        self.exit = Some(CoreExit::Firmware(conduit));
        Flow::Exception
    }

    /// Moves on past a call that firmware accepts (HVC and SMC have four bytes in both instruction
    /// sets).
    pub fn accept_call(&mut self) {
        self.s.r[15] = self.s.r[15].wrapping_add(4);
        self.s.psr.it = advance_it(self.s.psr.it);
    }

    /// Leaves the run loop after this instruction.
    #[cold]
    pub fn leave(&mut self, exit: CoreExit) -> Flow {
        self.exit = Some(exit);
        Flow::Leave
    }

    /// Counts the `retired` instructions at the present privilege level, which is about to change.
    #[inline]
    pub(crate) fn leave_privilege_level(&mut self, retired: u64) {
        if self.s.pmu.filters() {
            self.s.pmu.update(retired, self.s.psr.mode.privileged());
            // When a counter overflows was foretold for this level.
            self.stale.overflow = true;
            self.pins.set_attention(true);
        }
    }

    /// Enters `e`; R15 is as [`exception::enter`] wants it.
    pub fn enter(&mut self, e: Exception) {
        self.leave_privilege_level(self.s.retired);
        exception::enter(&mut self.s, e);
        self.select_tlb();
    }

    /// Does what a write of a system register, by the instruction at `pc`, asks for.
    pub fn apply(&mut self, pc: u32, effects: Effects) -> Flow {
        let spans = self.tlb.spans();
        self.flush(effects.tlb);
        // A change of the regime concerns every page, one of the ASID or the tables those of one
        // address space.
        if effects.regime {
            self.tlb.flush_all();
        } else if effects.asid || effects.tables {
            self.tlb.flush_local();
        }
        if effects.execution && self.is_strict() {
            self.tlb.make_strict();
        }
        // DACR, which may have changed, is part of the key of a TLB set.
        self.select_tlb();
        if effects.fetch {
            // What it drops, the pins tell of, by which this block ends.
            self.bus.code_pages().fetch_anew();
        }
        // The vectors that are caught move with VBAR and SCTLR.V.
        if effects.debug || self.s.debug.catches_vectors() {
            self.debug_changed();
        }
        // Left at once: the other cores must have done the same before any of them runs on.
        if let Some(flush) = effects.broadcast.filter(|_| self.count > 1) {
            return self.leave(CoreExit::Broadcast(flush));
        }
        if effects.timer || effects.pmu {
            return self.leave(CoreExit::TimerChanged);
        }
        let same = Effects {
            tlb: TlbFlush::None,
            broadcast: None,
            dacr: false,
            fetch: false,
            ..effects
        } == Effects::default();
        // The next instruction is still the one that the block has if it is fetched from where it
        // was.
        if same && self.tlb.is_fetched_alike(pc, spans) && !self.pins.any() {
            // Host code goes on with the set of the DACR.
            self.tell_set();
            Flow::Next
        } else {
            Flow::End
        }
    }

    /// Makes the core work out anew, before its next instruction, what makes debug events.
    pub(crate) fn debug_changed(&mut self) {
        self.stale.debug = true;
        self.pins.set_attention(true);
    }

    /// Drops translations.
    pub(crate) fn flush(&mut self, what: TlbFlush) {
        match what {
            TlbFlush::None => {}
            TlbFlush::Va(va) => self.tlb.flush_page(va),
            TlbFlush::NonGlobal => self.tlb.flush_local(),
            TlbFlush::All => self.tlb.flush_all(),
        }
    }

    /// Returns whether an input pin would interrupt the core now.
    pub fn interrupt(&self) -> Option<Exception> {
        if self.pins.fiq() && !self.s.psr.fiq_masked {
            return Some(Exception::Fiq);
        }
        (self.pins.irq() && !self.s.psr.irq_masked).then_some(Exception::Irq)
    }
}
