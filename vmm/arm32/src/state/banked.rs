//! The registers of the modes that are not current (ARM ARM DDI 0406C B1.3.2).

use serde::{Deserialize, Serialize};

use super::{CpuState, Flags, Mode, Psr};

/// Banked registers. The entries that belong to the current mode are stale: [`CpuState::r`] has the
/// live ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Banked {
    /// R8 to R12 of every mode but FIQ.
    pub usr_r8_12: [u32; 5],
    /// R8 to R12 of FIQ mode.
    pub fiq_r8_12: [u32; 5],
    /// R13 by bank (see [`bank`]).
    pub sp: [u32; 6],
    /// R14 by bank.
    pub lr: [u32; 6],
    /// SPSR by bank; the entry of bank 0 (User and System) does not exist and stays 0.
    pub spsr: [u32; 6],
}

/// Returns the bank that `mode` uses for R13, R14 and SPSR.
pub const fn bank(mode: Mode) -> usize {
    match mode {
        Mode::Usr | Mode::Sys => 0,
        Mode::Fiq => 1,
        Mode::Irq => 2,
        Mode::Svc => 3,
        Mode::Abt => 4,
        Mode::Und => 5,
    }
}

impl CpuState {
    /// Returns the whole CPSR as the architecture shows it.
    pub fn cpsr(&self) -> u32 {
        self.flags.bits() | self.psr.bits()
    }

    /// Replaces the whole CPSR, switching register banks when the mode changes. A mode that does
    /// not exist leaves the mode as it is (UNPREDICTABLE in the architecture; our choice).
    pub fn set_cpsr(&mut self, value: u32) {
        let new = Psr::from_bits(value, self.psr.mode);
        self.switch_mode(new.mode);
        self.psr = new;
        self.flags = Flags::from_bits(value);
    }

    /// Makes execution go on at `pc`, without the low bits that the instruction set has no use for.
    pub(crate) const fn set_pc(&mut self, pc: u32) {
        self.r[15] = pc & if self.psr.thumb { !1 } else { !3 };
    }

    /// Returns the SPSR of the current mode; 0 in User and System mode, which have none
    /// (UNPREDICTABLE; our choice).
    pub fn spsr(&self) -> u32 {
        self.banked.spsr[bank(self.psr.mode)]
    }

    /// Writes the SPSR of the current mode; ignored in User and System mode.
    pub fn set_spsr(&mut self, value: u32) {
        let bank = bank(self.psr.mode);
        if bank != 0 {
            self.banked.spsr[bank] = value;
        }
    }

    /// Makes `mode` current: saves the banked registers of the old mode and brings in those of the
    /// new.
    pub fn switch_mode(&mut self, mode: Mode) {
        let (old, new) = (self.psr.mode, mode);
        if old == new {
            return;
        }
        self.banked.sp[bank(old)] = self.r[13];
        self.banked.lr[bank(old)] = self.r[14];
        self.r[13] = self.banked.sp[bank(new)];
        self.r[14] = self.banked.lr[bank(new)];
        // Only FIQ mode has R8 to R12 of its own.
        if (old == Mode::Fiq) != (new == Mode::Fiq) {
            let (save, load) = if old == Mode::Fiq {
                (&mut self.banked.fiq_r8_12, &self.banked.usr_r8_12)
            } else {
                (&mut self.banked.usr_r8_12, &self.banked.fiq_r8_12)
            };
            save.copy_from_slice(&self.r[8..13]);
            self.r[8..13].copy_from_slice(load);
        }
        self.psr.mode = new;
    }

    /// Returns register `n` (0 to 14) as `mode` would see it.
    pub fn reg_of_mode(&self, n: u8, mode: Mode) -> u32 {
        match self.banked_slot(n, mode) {
            Some(slot) => *slot.get(self),
            None => self.r[usize::from(n & 15)],
        }
    }

    /// Writes register `n` (0 to 14) of `mode`.
    pub fn set_reg_of_mode(&mut self, n: u8, mode: Mode, value: u32) {
        match self.banked_slot(n, mode) {
            Some(slot) => *slot.get_mut(self) = value,
            None => self.r[usize::from(n & 15)] = value,
        }
    }

    /// Returns where register `n` of `mode` rests while it is not current; `None` when it is live
    /// in `r`.
    fn banked_slot(&self, n: u8, mode: Mode) -> Option<Slot> {
        let current = self.psr.mode;
        let index = usize::from(n);
        match n {
            8..=12 if (mode == Mode::Fiq) == (current == Mode::Fiq) => None,
            8..=12 if mode == Mode::Fiq => Some(Slot::Fiq(index - 8)),
            8..=12 => Some(Slot::Usr(index - 8)),
            13 | 14 if bank(mode) == bank(current) => None,
            13 => Some(Slot::Sp(bank(mode))),
            14 => Some(Slot::Lr(bank(mode))),
            _ => None,
        }
    }
}

/// The place of one resting register.
enum Slot {
    Usr(usize),
    Fiq(usize),
    Sp(usize),
    Lr(usize),
}

impl Slot {
    fn get(self, state: &CpuState) -> &u32 {
        match self {
            Self::Usr(i) => &state.banked.usr_r8_12[i],
            Self::Fiq(i) => &state.banked.fiq_r8_12[i],
            Self::Sp(i) => &state.banked.sp[i],
            Self::Lr(i) => &state.banked.lr[i],
        }
    }

    fn get_mut(self, state: &mut CpuState) -> &mut u32 {
        match self {
            Self::Usr(i) => &mut state.banked.usr_r8_12[i],
            Self::Fiq(i) => &mut state.banked.fiq_r8_12[i],
            Self::Sp(i) => &mut state.banked.sp[i],
            Self::Lr(i) => &mut state.banked.lr[i],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_keep_their_own_registers() {
        let mut s = CpuState::reset(0);
        let modes = [
            Mode::Usr,
            Mode::Fiq,
            Mode::Irq,
            Mode::Svc,
            Mode::Abt,
            Mode::Und,
        ];
        for (i, mode) in (0u32..).zip(modes) {
            s.switch_mode(mode);
            s.r[13] = 0x100 + i;
            s.r[14] = 0x200 + i;
            s.set_spsr(0x300 + i);
        }
        for (i, mode) in (0u32..).zip(modes) {
            assert_eq!(s.reg_of_mode(13, mode), 0x100 + i);
            s.switch_mode(mode);
            assert_eq!((s.r[13], s.r[14]), (0x100 + i, 0x200 + i));
            assert_eq!(s.spsr(), if mode == Mode::Usr { 0 } else { 0x300 + i });
        }
    }

    #[test]
    fn fiq_has_its_own_r8_to_r12() {
        let mut s = CpuState::reset(0);
        s.r[8] = 1;
        s.switch_mode(Mode::Fiq);
        s.r[8] = 2;
        assert_eq!(s.reg_of_mode(8, Mode::Usr), 1);
        s.set_reg_of_mode(9, Mode::Usr, 7);
        s.switch_mode(Mode::Svc);
        assert_eq!((s.r[8], s.r[9]), (1, 7));
        assert_eq!(s.reg_of_mode(8, Mode::Fiq), 2);
    }

    #[test]
    fn psr_round_trips() {
        for bits in [
            0x1d3u32,
            0xf80f_ffff & !0x0100_0000 & !(1 << 20) | 0x13,
            0x6000_0010,
        ] {
            let bits = (bits & !0x1f) | 0x13;
            let psr = Psr::from_bits(bits, Mode::Svc);
            let back = psr.bits() | Flags::from_bits(bits).bits();
            assert_eq!(back, bits & 0xfe0f_ffff & !0x0100_0000, "{bits:#x}");
        }
    }
}
