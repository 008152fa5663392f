//! Address translation operations: what they leave in PAR (ARM ARM DDI 0406C B3.18.6 and B4.1.112).

use super::{Cp15, Env, ttbcr};
use crate::mmu::{self, Access, Fault, MemoryType, Shareability, Translation, fsr};
use crate::state::CpuState;

/// PAR.F: the translation failed.
const F: u64 = 1;
/// PAR.SS: a supersection.
const SS: u64 = 1 << 1;
/// PAR.SH, short-descriptor format.
const SH: u64 = 1 << 7;
/// PAR.NS.
const NS: u64 = 1 << 9;
/// PAR.NOS.
const NOS: u64 = 1 << 10;
/// PAR.LPAE: the long-descriptor format.
const LPAE: u64 = 1 << 11;

/// Performs ATS1C*; returns PAR for `va`. An external abort on the walk is reported in PAR as well,
/// not taken as an exception.
pub(super) fn translate(
    state: &CpuState,
    env: &Env<'_>,
    va: u32,
    write: bool,
    privileged: bool,
) -> u64 {
    let access = if write { Access::Write } else { Access::Read };
    let long = state.cp15.ttbcr & ttbcr::EAE != 0;
    match mmu::translate(state, env.bus, va, access, privileged) {
        Ok(t) if long => success_long(&t),
        Ok(t) => success_short(&t, &state.cp15),
        Err(fault) => failure(&fault, long),
    }
}

fn success_long(t: &Translation) -> u64 {
    let sh = match t.attributes.shareability {
        Shareability::Non => 0,
        Shareability::Outer => 2,
        Shareability::Inner => 3,
    };
    u64::from(t.attributes.mair) << 56 | t.pa & 0xff_ffff_f000 | LPAE | NS | sh << 7
}

fn success_short(t: &Translation, cp15: &Cp15) -> u64 {
    let (outer, inner) = cacheability(t);
    let shareable = t.attributes.shareability != Shareability::Non;
    let inner_only = t.attributes.shareability == Shareability::Inner;
    let supersection = t.size_log2 == 24 && cp15.sctlr & super::sctlr::M != 0;
    let address = if supersection {
        // PA[39:32] are in bits 23:16.
        t.pa & 0xff00_0000 | (t.pa >> 32 & 0xff) << 16 | SS
    } else {
        t.pa & 0xffff_f000
    };
    let flag = |on, bit| if on { bit } else { 0 };
    address | NS | flag(inner_only, NOS) | flag(shareable, SH) | inner << 4 | outer << 2
}

/// Returns PAR.Outer and PAR.Inner.
fn cacheability(t: &Translation) -> (u64, u64) {
    match t.attributes.memory {
        MemoryType::StronglyOrdered => (0, 1),
        MemoryType::Device => (0, 3),
        MemoryType::Normal => {
            let outer = match t.attributes.mair >> 4 {
                0x4 => 0,
                0xf => 1,
                0xa => 2,
                _ => 3,
            };
            let inner = match t.attributes.mair & 15 {
                0x4 => 0,
                0xf => 5,
                0xa => 6,
                _ => 7,
            };
            (outer, inner)
        }
    }
}

fn failure(fault: &Fault, long: bool) -> u64 {
    if long {
        LPAE | u64::from(fsr::long_status(fault)) << 1 | F
    } else {
        u64::from(fsr::short_status(fault)) << 1 | F
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cp15::{self, CpReg, sctlr};
    use crate::mmu::testing::{TestBus, state};

    /// Returns PAR after the operation `opc2` of c7, c8.
    fn par(s: &mut CpuState, bus: &TestBus, opc2: u8, va: u32) -> u64 {
        let reg = CpReg::p15([7, 0, 8, opc2]);
        let effects = cp15::write(s, &Env::at_reset(bus), reg, va).unwrap();
        assert_eq!(effects, cp15::Effects::default());
        s.cp15.par
    }

    #[test]
    fn short_format() {
        let (mut s, bus) = (state(), TestBus::default());
        s.cp15.ttbr0 = 0x4000;
        s.cp15.dacr = 1;
        // Section at 1 MiB: PL1 only, read/write, shareable, TEX C B = 001 11.
        bus.word(
            0x4004,
            0x8050_0000 | 1 << 16 | 1 << 12 | 0b01 << 10 | 0b1110,
        );
        let va = 0x0012_3456;
        let want = 0x8052_3000 | NS | SH | 5 << 4 | 1 << 2;
        assert_eq!(par(&mut s, &bus, 0, va), want);
        assert_eq!(par(&mut s, &bus, 1, va), want);
        // PL0: permission fault, level 1.
        assert_eq!(par(&mut s, &bus, 2, va), 0b01101 << 1 | 1);
        assert_eq!(par(&mut s, &bus, 3, va), 0b01101 << 1 | 1);
        // Unmapped: translation fault, level 1.
        assert_eq!(par(&mut s, &bus, 0, 0x7000_0000), 0b00101 << 1 | 1);
    }

    #[test]
    fn short_format_supersection() {
        let (mut s, bus) = (state(), TestBus::default());
        s.cp15.ttbr0 = 0x4000;
        s.cp15.dacr = 1;
        for i in 0..16 {
            let d = 0x4500_0000 | 0x9 << 20 | 1 << 18 | 0xa << 5 | 0b11 << 10 | 0b0110;
            bus.word(0x4400 + 4 * i, d);
        }
        let got = par(&mut s, &bus, 0, 0x1012_3456);
        // Device memory, PA 0xa9_4512_3456.
        assert_eq!(got, 0x4500_0000 | 0xa9 << 16 | SS | NS | SH | 3 << 4);
    }

    #[test]
    fn mmu_off_is_strongly_ordered() {
        let (mut s, bus) = (state(), TestBus::default());
        s.cp15.sctlr &= !sctlr::M;
        let got = par(&mut s, &bus, 0, 0xdead_beef);
        assert_eq!(got, 0xdead_b000 | NS | SH | 1 << 4);
    }

    #[test]
    fn long_format() {
        let (mut s, bus) = (state(), TestBus::default());
        s.cp15.ttbcr = ttbcr::EAE;
        s.cp15.ttbr0 = 0x5000;
        s.cp15.prrr_mair0 = 0x0000_ff00;
        // 1 GiB block at 0xab_4000_0000, inner shareable, attribute 1, PL1 read-only.
        bus.double(
            0x5000,
            0xab_4000_0000 | 1 << 10 | 3 << 8 | 2 << 6 | 1 << 2 | 1,
        );
        let got = par(&mut s, &bus, 0, 0x0012_3456);
        assert_eq!(got, 0xff << 56 | 0xab_4012_3000 | LPAE | NS | 3 << 7);
        // A write: permission fault, level 1.
        assert_eq!(par(&mut s, &bus, 1, 0), LPAE | 0b00_1101 << 1 | 1);
        // The next entry is invalid: translation fault, level 1.
        assert_eq!(par(&mut s, &bus, 0, 0x4000_0000), LPAE | 0b00_0101 << 1 | 1);
    }
}
