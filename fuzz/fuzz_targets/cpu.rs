//! Any code, in any mode, from any state, with any system registers: no panic, no hang, no access outside RAM.
//!
//! The first bytes choose the state; the rest is code and data. Two cores run it in turns, so that broadcast
//! maintenance, exclusives and events between cores are exercised too.

#![no_main]

#[path = "../../vmm/arm32/tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use arm32::bus::Size;
use arm32::cluster::{Cluster, Stop};
use arm32::mem;
use arm32::state::CpuState;
use arm32::wires::{Conduit, FirmwareAction, Machine, Output};
use common::{FlatBus, RAM, TestClock};
use libfuzzer_sys::fuzz_target;

/// Instructions of one case.
const BUDGET: u64 = 3000;
/// Words of code: the input, repeated.
const CODE_WORDS: usize = 0x800;

struct Firmware;

impl Machine for Firmware {
    fn output(&mut self, _cpu: usize, _output: Output, _level: bool) {}

    fn firmware(
        &mut self,
        _cpu: usize,
        conduit: Conduit,
        s: &mut CpuState,
        _powered: &[bool],
    ) -> FirmwareAction {
        match conduit {
            Conduit::Hvc(0) => FirmwareAction::CpuOn {
                cpu: 1,
                entry: s.r[0],
                context: s.r[1],
            },
            Conduit::Hvc(1) => FirmwareAction::Suspend,
            Conduit::Smc(_) => FirmwareAction::Undefined,
            Conduit::Hvc(_) => FirmwareAction::Return,
        }
    }
}

/// Takes bytes off the front of the input, zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn word(&mut self) -> u32 {
        let mut bytes = [0; 4];
        let n = self.0.len().min(4);
        bytes[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        u32::from_le_bytes(bytes)
    }
}

/// Sets up a core from the input: CPSR, MMU and FP controls, registers in and around RAM.
fn set_up(s: &mut CpuState, input: &mut Input<'_>) {
    let choices = input.word();
    s.set_cpsr(input.word());
    s.cp15.sctlr = input.word() & arm32::cp15::sctlr::WRITABLE;
    if choices & 1 != 0 {
        s.cp15.sctlr &= !arm32::cp15::sctlr::M;
    }
    s.cp15.ttbcr = if choices & 2 != 0 { 0x8000_0000 } else { 0 } | ((choices >> 8) & 7);
    s.cp15.ttbr0 = RAM + u64::from(choices & 0xf_c000);
    s.cp15.ttbr1 = s.cp15.ttbr0;
    s.cp15.dacr = input.word();
    s.cp15.prrr_mair0 = 0xff44_0400 ^ input.word();
    s.cp15.cpacr = 0x00f0_0000;
    s.fpexc = 1 << 30;
    s.cp15.vbar = RAM as u32 + 0x1000;
    for r in &mut s.r[..15] {
        *r = (RAM as u32).wrapping_add(input.word() as i32 as u32 >> (choices >> 27));
    }
    s.r[15] = RAM as u32 + (choices & 0xffe);
    if !s.psr.thumb {
        s.r[15] &= !3;
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let bus = FlatBus::new();
    let clock = Arc::new(TestClock::default());
    let mut cluster = Cluster::new(2, bus.clone(), clock.clone());
    set_up(cluster.state_mut(0), &mut input);
    let code: Vec<u32> = input
        .0
        .chunks(4)
        .map(|c| c.iter().rev().fold(0, |w, b| w << 8 | u32::from(*b)))
        .collect();
    for (i, word) in code
        .iter()
        .cycle()
        .take(if code.is_empty() { 0 } else { CODE_WORDS })
        .enumerate()
    {
        mem::write_phys(&*bus, RAM + 4 * i as u64, Size::Word, (*word).into()).expect("RAM");
    }
    cluster.pins(0).set_irq(data.len().is_multiple_of(3));
    cluster.pins(1).set_fiq(data.len().is_multiple_of(5));
    let mut spent = 0;
    while spent < BUDGET {
        let before = cluster.retired();
        match cluster.run(&mut Firmware, BUDGET - spent) {
            Stop::Idle { wake_ns: Some(ns) } => {
                clock.0.store(ns, std::sync::atomic::Ordering::Relaxed)
            }
            Stop::Idle { wake_ns: None }
            | Stop::SystemOff
            | Stop::SystemReset
            | Stop::Requested
            | Stop::Breakpoint { .. }
            | Stop::Watchpoint { .. }
            | Stop::Step { .. } => return,
            Stop::Budget => {}
        }
        spent += (cluster.retired() - before).max(1);
    }
});
