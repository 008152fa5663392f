//! Micro-operations do what the handlers do, for every encoding of the tables.

#![expect(unsafe_code, reason = "a bus of tests with memory of its own")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]

use std::cell::UnsafeCell;
use std::collections::BTreeSet;
use std::ptr::NonNull;
use std::sync::Arc;

use arm32_isa::{ENCODINGS, Encoding, Insn, Set};
use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use vmm_base::{CodePages, VirtualClock};

use super::{Mop, drop_dead_flags, eval, lower};
use crate::bus::{Bus, BusFault, RamPage, Size};
use crate::cpu::{CoreExit, Cpu, Flow};
use crate::exception::Exception;
use crate::exec::Op;
use crate::lower::{self as decode, InsnContext};
use crate::state::CpuState;

const RAM: u32 = 0x4000_0000;
const PAGES: usize = 4;
const PC: u32 = RAM + 0x100;

#[repr(align(4096))]
struct Page(UnsafeCell<[u8; 4096]>);

/// A few pages of RAM.
struct Ram(Box<[Page]>, CodePages);

// SAFETY: the pages are plain bytes, reached by one test's thread.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

// SAFETY: pages are aligned by their type, boxed, and live as long as the bus; nobody keeps a
// reference into them.
unsafe impl Bus for Ram {
    fn read(&self, _pa: u64, _size: Size) -> Result<u64, BusFault> {
        Err(BusFault)
    }

    fn write(&self, _pa: u64, _size: Size, _value: u64) -> Result<(), BusFault> {
        Err(BusFault)
    }

    fn ram(&self, pa: u64) -> Option<RamPage> {
        let number = usize::try_from(pa.checked_sub(RAM.into())? / 4096).ok()?;
        Some(RamPage {
            host: NonNull::new(self.0.get(number)?.0.get().cast())?,
            writable: true,
            number: number as u32,
        })
    }

    fn code_pages(&self) -> &CodePages {
        &self.1
    }

    fn ram_offset(&self) -> Option<u64> {
        Some(u64::from(RAM).wrapping_sub(self.0.as_ptr().addr() as u64))
    }

    fn physical(&self, host: usize) -> Option<u64> {
        let offset = host.checked_sub(self.0.as_ptr().addr())?;
        (offset < PAGES * 4096).then_some(u64::from(RAM) + offset as u64)
    }
}

impl Ram {
    fn get(&self) -> Vec<[u8; 4096]> {
        // SAFETY: the core stands still.
        self.0.iter().map(|page| unsafe { *page.0.get() }).collect()
    }

    fn set(&self, bytes: &[[u8; 4096]]) {
        for (page, bytes) in self.0.iter().zip(bytes) {
            // SAFETY: as above.
            unsafe { *page.0.get() = *bytes };
        }
    }
}

/// A core, its memory, and what both are before each attempt.
struct Bench {
    cpu: Cpu,
    ram: Arc<Ram>,
    state: CpuState,
    bytes: Vec<[u8; 4096]>,
}

/// All that an instruction can change.
#[derive(Debug, PartialEq)]
struct Outcome {
    flow: Flow,
    state: CpuState,
    bytes: Vec<[u8; 4096]>,
    pending: Option<Exception>,
    exit: Option<CoreExit>,
}

impl Bench {
    fn new(random: &mut impl RngCore) -> Self {
        let pages = (0..PAGES).map(|_| Page(UnsafeCell::new([0; 4096])));
        let ram = Arc::new(Ram(pages.collect(), CodePages::new(PAGES * 4096)));
        let mut bytes = vec![[0; 4096]; PAGES];
        bytes.iter_mut().for_each(|page| random.fill_bytes(page));
        let mut cpu = Cpu::new(0, 1, ram.clone(), Arc::<VirtualClock>::default());
        for page in 0..PAGES as u32 {
            let loaded = cpu.load_general(RAM + page * 0x1000, 4, true, false, 0);
            assert!(loaded.is_ok());
        }
        let state = cpu.s.clone();
        Self {
            cpu,
            ram,
            state,
            bytes,
        }
    }

    /// Chooses other registers and flags: small numbers, anything, and addresses in and round the
    /// RAM.
    fn shake(&mut self, random: &mut impl RngCore) {
        for r in &mut self.state.r[..15] {
            let bits = random.next_u32();
            *r = match bits % 4 {
                0 => random.next_u32(),
                1 => bits >> 24,
                2 => RAM + (bits >> 4) % 0x4000,
                _ => (RAM + (bits >> 4) % 0x4000) & !3,
            };
        }
        shake_bank(&mut self.state, random);
        let cpsr = self.state.cpsr();
        self.state
            .set_cpsr(cpsr & 0x07f0_fe3f | random.next_u32() & 0xf80f_01c0);
    }

    fn attempt(&mut self, thumb: bool, run: impl FnOnce(&mut Cpu) -> Flow) -> Outcome {
        self.cpu.s = self.state.clone();
        // The clock goes back with the state, or it would be told of less than nothing.
        self.cpu.clocked = self.state.retired;
        self.cpu.clock = Arc::<VirtualClock>::default();
        self.cpu.s.psr.thumb = thumb;
        self.ram.set(&self.bytes);
        let flow = run(&mut self.cpu);
        let mut state = self.cpu.s.clone();
        if !matches!(flow, Flow::Taken | Flow::Jump | Flow::Return) {
            // Not kept up to date inside of blocks.
            state.r[15] = 0;
        }
        Outcome {
            flow,
            state,
            bytes: self.ram.get(),
            pending: self.cpu.pending.take(),
            exit: self.cpu.exit.take(),
        }
    }
}

/// Chooses other registers of VFP and Advanced SIMD, which are enabled for most instructions.
fn shake_bank(s: &mut CpuState, random: &mut impl RngCore) {
    s.fp.d.fill_with(|| random.next_u64());
    s.fp.write_fpscr(random.next_u32());
    let bits = random.next_u32();
    s.fpexc = if bits.is_multiple_of(16) { 0 } else { 1 << 30 };
    s.cp15.cpacr = match bits >> 4 & 15 {
        0 => bits & 0x80f0_0000,
        1 => 0x8050_0000,
        _ => 0x00f0_0000,
    };
}

fn op(encoding: &Encoding, random: &mut impl RngCore, pc: u32, idx: u8) -> Option<Op> {
    let mut word = encoding.random(random)?;
    if encoding.set == Set::T16 {
        word <<= 16;
    }
    let thumb = encoding.set != Set::A32;
    // The last of an IT block, under any condition, or outside of one.
    let it = match random.next_u32() % 30 {
        cond @ 0..=13 if thumb => (cond << 4 | 8) as u8,
        _ => 0,
    };
    let context = InsnContext {
        pc,
        idx,
        it,
        thumb,
        big_endian: false,
    };
    Some(decode::lower(word, context).op)
}

/// Returns whether the handlers of such instructions touch more than a core and its RAM.
fn is_out_of_reach(insn: &Insn) -> bool {
    matches!(insn, Insn::Hvc { .. } | Insn::Smc { .. })
}

#[test]
fn every_encoding_does_what_its_handler_does() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut bench = Bench::new(&mut random);
    let mut inlined = BTreeSet::new();
    for encoding in &ENCODINGS {
        for _ in 0..100 {
            let Some(op) = op(encoding, &mut random, PC, 0) else {
                continue;
            };
            let mut mops = Vec::new();
            lower(&op, &mut mops);
            if mops == [Mop::Call] || is_out_of_reach(&op.insn) {
                continue;
            }
            inlined.insert(encoding.name);
            bench.shake(&mut random);
            let wanted = bench.attempt(op.thumb, |cpu| (op.f)(cpu, &op));
            let found = bench.attempt(op.thumb, |cpu| eval::run(cpu, &op, &mops));
            assert!(
                found == wanted,
                "{} {:?} {:?}\n{mops:?}\nfrom {:x?}\nfound {:x?} {:?} {:?}\nwanted {:x?} {:?} {:?}",
                encoding.name,
                op.insn,
                op.cond,
                bench.state.r,
                found.state.r,
                found.state.flags,
                found.flow,
                wanted.state.r,
                wanted.state.flags,
                wanted.flow,
            );
        }
    }
    assert!(inlined.len() > 100, "{inlined:?}");
}

#[test]
fn cache_maintenance_by_kernels_does_nothing_and_by_programs_is_undefined() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(3);
    let mut bench = Bench::new(&mut random);
    let mut inlined = 0;
    for (crm, opc2) in (0..16).flat_map(|crm| (0..8).map(move |opc2| (crm, opc2))) {
        // MCR p15, 0, R0, c7, crm, opc2
        let context = InsnContext {
            pc: PC,
            idx: 0,
            it: 0,
            thumb: false,
            big_endian: false,
        };
        let op = decode::lower(0xee07_0f10 | opc2 << 5 | crm, context).op;
        let mut mops = Vec::new();
        lower(&op, &mut mops);
        if mops == [Mop::Call] {
            continue;
        }
        inlined += 1;
        for mode in [0x10, 0x13] {
            bench.shake(&mut random);
            bench.state.set_cpsr(bench.state.cpsr() & !0x1f | mode);
            let wanted = bench.attempt(false, |cpu| (op.f)(cpu, &op));
            let found = bench.attempt(false, |cpu| eval::run(cpu, &op, &mops));
            assert!(found == wanted, "c{crm}, {opc2}, mode {mode:#x}");
            let flow = [Flow::Exception, Flow::Next][usize::from(mode == 0x13)];
            assert_eq!(found.flow, flow, "c{crm}, {opc2}, mode {mode:#x}");
        }
    }
    assert_eq!(inlined, 10);
}

#[test]
fn flags_that_nobody_looks_at_are_not_missed() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    let mut bench = Bench::new(&mut random);
    let (mut dropped, mut blocks) = (0, 0);
    for _ in 0..20_000 {
        let set = [Set::A32, Set::T32][(random.next_u32() % 2) as usize];
        let mut ops = Vec::new();
        while ops.len() < 6 {
            let encoding = &ENCODINGS[random.next_u32() as usize % ENCODINGS.len()];
            if (encoding.set == Set::A32) != (set == Set::A32) {
                continue;
            }
            let idx = ops.len() as u8;
            let Some(op) = op(encoding, &mut random, PC + 4 * u32::from(idx), idx) else {
                continue;
            };
            let mut mops = Vec::new();
            lower(&op, &mut mops);
            // Half of the encodings are of VFP and Advanced SIMD, and set no flags.
            let bank = mops.iter().any(|mop| matches!(mop, Mop::Bank(_)));
            if mops != [Mop::Call] && (!bank || random.next_u32().is_multiple_of(64)) {
                ops.push((op, mops));
            }
        }
        let mut all: Vec<Mop> = ops.iter().flat_map(|(_, mops)| mops.clone()).collect();
        let before = all.clone();
        drop_dead_flags(&mut all);
        dropped += usize::from(all != before);
        blocks += 1;
        bench.shake(&mut random);
        let thumb = set != Set::A32;
        let wanted = bench.attempt(thumb, |cpu| {
            let mut flows = ops.iter().map(|(op, _)| (op.f)(cpu, op));
            flows.find(|flow| *flow != Flow::Next).unwrap_or(Flow::Next)
        });
        let found = bench.attempt(thumb, |cpu| {
            let mut rest = &all[..];
            for (op, mops) in &ops {
                let (these, others) = rest.split_at(mops.len());
                rest = others;
                let flow = eval::run(cpu, op, these);
                if flow != Flow::Next {
                    return flow;
                }
            }
            Flow::Next
        });
        assert!(
            found == wanted,
            "{:?}\n{all:?}\n{:x?}\n{:x?}",
            ops.iter().map(|(op, _)| op.insn).collect::<Vec<_>>(),
            found.state,
            wanted.state
        );
    }
    assert!(dropped * 20 > blocks, "{dropped} of {blocks}");
}
