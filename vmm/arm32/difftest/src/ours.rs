//! Runs cases on our core.

#![expect(
    clippy::cast_possible_truncation,
    reason = "there are few registers, and each is cut into words"
)]

use std::sync::Arc;

use arm32::Clock;
use arm32::core::Core;
use arm32::cp15::sctlr;
use arm32::cpu::CoreExit;
use arm32::state::{CpuState, Mode};
use arm32_isa::{Insn, decode_a32, decode_t32};

use crate::image::Image;
use crate::layout::{self, Input, Output, RESULTS_END, SLOTS};
use crate::memory::{Memory, TABLES, VECTORS};
use crate::runtime::{Runtime, signal};

/// Instructions a case may take. Cases branch forward only, so those that take more have gone
/// astray, into a loop.
const BUDGET: u64 = 2000;
/// FPEXC.EN.
const FPEXC_EN: u32 = 1 << 30;
/// Every flag that a program sees in the CPSR, T, IT and E, and the mode.
const CPSR_SEEN: u32 = 0xfe0f_fe3f;

/// `SVC #0`.
const SVC_A32: u32 = 0xef00_0000;
/// `SVC #0; NOP`.
const SVC_T32: u32 = 0xbf00_df00;

/// Time stands still: programs in User mode cannot see it.
struct Stopped;

impl Clock for Stopped {
    fn now_ns(&self) -> u64 {
        0
    }

    fn retire(&self, _instructions: u64) {}

    fn instructions_until(&self, _deadline_ns: u64) -> Option<u64> {
        None
    }
}

/// A core with the memory of the test program.
pub struct Ours {
    core: Core,
    memory: Arc<Memory>,
    fresh: CpuState,
    save: [u32; 2],
}

/// The case cannot be compared: it did not come to an end within the budget, or it touched memory
/// that exists under QEMU only, or it faulted where QEMU need not or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Astray;

/// Memory that exists under QEMU only: the page of signal returns and the stack; the kernel
/// helpers, which QEMU emulates on any jump to the last 64 KiB.
const THEIRS: [std::ops::RangeInclusive<u32>; 2] =
    [0x3fff_0000..=0x400f_ffff, 0xffff_0000..=0xffff_ffff];

/// Returns whether `address` exists under QEMU only.
fn is_theirs(address: u32) -> bool {
    THEIRS.iter().any(|range| range.contains(&address))
}

impl Ours {
    /// Creates a core for programs shaped like `image`.
    pub fn new(image: &Image, runtime: &Runtime) -> Self {
        let memory = Arc::new(Memory::new(image));
        let core = Core::new(0, 1, memory.clone(), Arc::new(Stopped));
        let mut fresh = CpuState::reset(0);
        // SW, because QEMU executes SWP and SWPB; the others are as under a kernel.
        fresh.cp15.sctlr |= sctlr::M | sctlr::C | sctlr::I | sctlr::Z | sctlr::SW;
        fresh.cp15.ttbr0 = TABLES.into();
        // A client of domain 0, which has all pages: permissions are checked.
        fresh.cp15.dacr = 1;
        fresh.cp15.vbar = VECTORS;
        // VFP and Advanced SIMD (coprocessors 10 and 11) in User mode, too.
        fresh.cp15.cpacr = 0xf << 20;
        fresh.fpexc = FPEXC_EN;
        Self {
            core,
            memory,
            fresh,
            save: [runtime.save_a32, runtime.save_t32],
        }
    }

    /// Translates all code to the host's from now on, when it first runs.
    ///
    /// # Errors
    /// This host cannot.
    pub fn translate(&mut self) -> std::io::Result<()> {
        self.core.translate_code_after(1)
    }

    /// Runs all slots of `image`, in order, in one memory. Slots that go astray are named.
    pub fn run(&mut self, image: &Image) -> (Vec<u8>, Vec<u32>) {
        self.memory.fill(image);
        // Cases end by a call to the supervisor here.
        self.memory.put(self.save[0], SVC_A32);
        self.memory.put(self.save[1], SVC_T32);
        // Every batch begins without decoded code, as a process of QEMU does.
        self.core.forget_code();
        self.core.cpu.tlb.flush_all();
        let astray = (0..SLOTS)
            .filter(|slot| self.run_slot(*slot).is_err())
            .collect();
        (
            self.memory
                .copy_out(layout::OUTPUT, (RESULTS_END - layout::OUTPUT) as usize),
            astray,
        )
    }

    fn run_slot(&mut self, slot: u32) -> Result<(), Astray> {
        self.load(slot);
        let end = self.core.cpu.s.retired + BUDGET;
        loop {
            match self.core.run(end - self.core.cpu.s.retired) {
                CoreExit::Firmware(_) => {
                    self.core.cpu.accept_call();
                    break;
                }
                // Hints, after which a program goes on in QEMU, too.
                CoreExit::Yield | CoreExit::SendEvent | CoreExit::WaitEvent => {}
                _ => return Err(Astray),
            }
        }
        self.save(slot);
        let s = &self.core.cpu.s;
        // R15 is behind the HVC of a vector: 0x0c is a prefetch abort, 0x10 a data abort.
        let astray = match s.r[15].wrapping_sub(VECTORS + 4) {
            0x0c => is_theirs(s.r[14].wrapping_sub(4)),
            0x10 => {
                is_theirs(s.cp15.dfar)
                    || self.may_not_fault(s.r[14].wrapping_sub(8), s.spsr() & 1 << 5 != 0)
            }
            _ => false,
        };
        if astray { Err(Astray) } else { Ok(()) }
    }

    /// Returns whether QEMU may not see the data abort of the instruction at `at`: a
    /// store-exclusive, or an address that is not aligned to the 32 bytes that an Advanced SIMD
    /// access asks for, but to 16, the most that QEMU 7.2 checks.
    fn may_not_fault(&self, at: u32, thumb: bool) -> bool {
        let bytes = self.memory.copy_out(at, 4);
        let half = |i: usize| u16::from_le_bytes([bytes[i], bytes[i + 1]]);
        let decoded = if thumb {
            decode_t32(half(0), half(2), false)
        } else {
            decode_a32(word(&bytes, 0))
        };
        let half_aligned = self.core.cpu.s.cp15.dfar & 31 == 16;
        matches!(decoded.insn, Insn::Strex { .. })
            || half_aligned && matches!(decoded.insn, Insn::NeonMulti { align: 32, .. })
    }

    fn load(&mut self, slot: u32) {
        let block = self
            .memory
            .copy_out(layout::input(slot), Input::STRIDE as usize);
        let word = |at: u32| word(&block, at);
        let cpu = &mut self.core.cpu;
        // The clock was told of the instructions retired so far: they keep counting.
        let retired = cpu.s.retired;
        cpu.s.clone_from(&self.fresh);
        cpu.s.retired = retired;
        for (i, r) in cpu.s.r.iter_mut().take(15).enumerate() {
            *r = word(Input::R + 4 * i as u32);
        }
        for (i, d) in cpu.s.fp.d.iter_mut().enumerate() {
            let at = Input::D + 8 * i as u32;
            *d = u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        }
        cpu.s.fp.write_fpscr(word(Input::FPSCR));
        let entry = word(Input::ENTRY);
        // The registers of the block are those of User mode: the mode is set without a switch of
        // banks.
        cpu.s.psr.mode = Mode::Usr;
        // Flags, Q and GE, as MSR sets them under QEMU; T comes from the entry.
        cpu.s
            .set_cpsr(word(Input::CPSR) & 0xf80f_0000 | (entry & 1) << 5 | Mode::Usr as u32);
        cpu.s.r[15] = entry & !1;
        cpu.select_tlb();
    }

    /// Writes the output block as the run-time and its signal handler do.
    fn save(&mut self, slot: u32) {
        let s = &self.core.cpu.s;
        let cpsr = s.spsr();
        let thumb = cpsr & 1 << 5 != 0;
        let mut block = vec![0; Output::STRIDE as usize];
        let mut put = |at: u32, value: u32| {
            block[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes())
        };
        for n in 0..15 {
            put(Output::R + 4 * u32::from(n), s.reg_of_mode(n, Mode::Usr));
        }
        // As MRS reads it in the save routine, which has left T, IT and E behind.
        put(Output::CPSR, cpsr & 0xf80f_0000 | Mode::Usr as u32);
        put(Output::FPSCR, s.fp.fpscr);
        for (i, d) in (0..).zip(s.fp.d) {
            put(Output::D + 8 * i, d as u32);
            put(Output::D + 8 * i + 4, (d >> 32) as u32);
        }
        let short = if thumb { 2 } else { 4 };
        // LR is past the instruction by as much as the exception defines.
        let ended = match s.r[15].wrapping_sub(VECTORS + 4) {
            0x04 => Some((signal::ILL, s.r[14].wrapping_sub(short), None)),
            0x0c => Some((prefetch_signal(s), s.r[14].wrapping_sub(4), None)),
            0x10 => Some((data_signal(s), s.r[14].wrapping_sub(8), Some(s.cp15.dfar))),
            // SVC: HVC in place of the save routine's first instruction would be UNDEFINED in User
            // mode.
            _ if self.save.contains(&s.r[14].wrapping_sub(short)) => None,
            // Anything else has no signal of Linux, and shall show as a difference.
            _ => Some((u32::MAX, s.r[14].wrapping_sub(short), None)),
        };
        if let Some((signal, pc, fault)) = ended {
            put(Output::SIGNAL, signal);
            put(Output::PC, pc);
            // Without a data address, `si_addr` is the instruction.
            put(Output::FAULT, fault.unwrap_or(pc));
            put(Output::SIGNAL_CPSR, cpsr & CPSR_SEEN);
        }
        self.memory.copy_in(layout::output(slot), &block);
    }
}

/// Returns the word at `at`.
pub fn word(bytes: &[u8], at: u32) -> u32 {
    let at = at as usize;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Returns the signal that Linux sends for the data abort that was just taken.
fn data_signal(s: &CpuState) -> u32 {
    // FS = 00001 is an alignment fault (DDI 0406C B3.13.3).
    if s.cp15.dfsr & 0x40f == 1 {
        signal::BUS
    } else {
        signal::SEGV
    }
}

/// Returns the signal that Linux sends for the prefetch abort that was just taken.
fn prefetch_signal(s: &CpuState) -> u32 {
    // FS = 00010 is a debug event.
    if s.cp15.ifsr & 0x40f == 2 {
        signal::TRAP
    } else {
        signal::SEGV
    }
}
