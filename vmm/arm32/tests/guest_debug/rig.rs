//! A core whose debug registers are set from outside, and what can be told of it.

use std::sync::Arc;

use arm32::cluster::{Cluster, Stop};
use arm32::cp15::{self, CpReg, Env};
use arm32::state::{CpuState, Mode};

use crate::common::{Firmware, FlatBus, RAM, TestClock};

pub use crate::common::BASE;
pub const DATA: u32 = BASE + 0x8000;
pub const VECTORS: u32 = BASE + 0x4000;

/// DBGDSCRext, DBGOSLAR, DBGVCR, DBGDSCRint and DBGWFAR by CRn, CRm and opc2.
pub const DSCR_EXT: [u8; 3] = [0, 2, 2];
pub const OSLAR: [u8; 3] = [1, 0, 4];
pub const VCR: [u8; 3] = [0, 7, 0];
pub const DSCR_INT: [u8; 3] = [0, 1, 0];
pub const WFAR: [u8; 3] = [0, 6, 0];
pub const MDBGEN: u32 = 1 << 15;

pub const BREAKPOINT: u32 = 1;
pub const VECTOR_CATCH: u32 = 5;
pub const WATCHPOINT: u32 = 10;

/// Enabled, in every mode.
pub const ANY_MODE: u32 = 7;
/// All bytes of a breakpoint's word.
pub const WORD: u32 = 0xf << 5;
/// All bytes of a watchpoint's doubleword, loads and stores.
pub const BYTES: u32 = 0xff << 5;
pub const LOADS: u32 = 1 << 3;
pub const STORES: u32 = 2 << 3;
pub const LINKED: u32 = 1 << 20;
pub const CONTEXT: u32 = 2 << 20;
pub const MISMATCH: u32 = 4 << 20;

pub fn bvr(n: u8) -> [u8; 3] {
    [0, n, 4]
}
pub fn bcr(n: u8) -> [u8; 3] {
    [0, n, 5]
}
pub fn wvr(n: u8) -> [u8; 3] {
    [0, n, 6]
}
pub fn wcr(n: u8) -> [u8; 3] {
    [0, n, 7]
}
pub fn link(n: u32) -> u32 {
    LINKED | n << 16
}

pub struct Rig {
    pub cluster: Cluster,
    pub bus: Arc<FlatBus>,
}

/// Returns a core about to run `words` in Supervisor mode, with the locks open, Monitor debug-mode
/// on and R0 at [`DATA`]. A Prefetch Abort or a Data Abort returns to the instruction behind.
pub fn rig(words: &[u32]) -> Rig {
    let bus = FlatBus::new();
    bus.write_words(RAM, words);
    for n in 0..8 {
        bus.write_words(u64::from(VECTORS) + 4 * n, &[0xeaff_fffe]); // b .
    }
    bus.write_words(u64::from(VECTORS) + 0xc, &[0xe1b0_f00e, 0xe25e_f004]); // movs pc, lr; subs pc, lr, #4
    let cluster = Cluster::new(1, bus.clone(), Arc::new(TestClock::default()));
    let mut rig = Rig { cluster, bus };
    let s = rig.cluster.state_mut(0);
    s.r[0] = DATA;
    s.r[13] = DATA + 0x800;
    s.r[15] = BASE;
    s.cp15.vbar = VECTORS;
    rig.set(&[(OSLAR, 0), (DSCR_EXT, MDBGEN)]);
    rig
}

impl Rig {
    pub fn set(&mut self, registers: &[([u8; 3], u32)]) {
        let s = self.cluster.state_mut(0);
        let mode = s.psr.mode;
        s.switch_mode(Mode::Svc);
        for (at, value) in registers {
            cp15::write(s, &Env::at_reset(&*self.bus), CpReg::p14(*at), *value).unwrap();
        }
        s.switch_mode(mode);
    }

    pub fn get(&mut self, at: [u8; 3]) -> u32 {
        let mut s = self.state().clone();
        s.switch_mode(Mode::Svc);
        cp15::read(&mut s, &Env::at_reset(&*self.bus), CpReg::p14(at)).unwrap()
    }

    pub fn method_of_entry(&mut self) -> u32 {
        self.get(DSCR_INT) >> 2 & 15
    }

    pub fn state(&self) -> &CpuState {
        self.cluster.state(0)
    }

    pub fn run(&mut self, budget: u64) -> Stop {
        self.cluster.run(&mut Firmware::default(), budget)
    }

    /// Runs `most` instructions at most, one at a time, until one ends in Abort mode; the value of
    /// R15 before it.
    pub fn until_abort(&mut self, most: u64) -> Option<u32> {
        for _ in 0..most {
            let pc = self.state().r[15];
            self.run(1);
            if self.state().psr.mode == Mode::Abt {
                return Some(pc);
            }
        }
        None
    }

    pub fn in_user_mode(&mut self) {
        let s = self.cluster.state_mut(0);
        let (r0, sp) = (s.r[0], s.r[13]);
        s.switch_mode(Mode::Usr);
        (s.r[0], s.r[13]) = (r0, sp);
    }
}

pub const NOPS: [u32; 6] = [
    0xe281_1001, // add r1, r1, #1
    0xe282_2001, // add r2, r2, #1
    0xe283_3001, // add r3, r3, #1
    0xe284_4001, // add r4, r4, #1
    0xe285_5001, // add r5, r5, #1
    0xeaff_fffe, // b .
];
