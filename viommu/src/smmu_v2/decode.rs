//! Which register stands at an offset.

use super::config::Shape;
use super::spec::{BankRegister, GlobalRegister, PAGE, bank_offset, group_offset, half_pages};

/// A register that is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Register {
    /// One of the whole SMMU.
    Global(GlobalRegister),
    /// SMR of a stream mapping group.
    Smr(usize),
    /// S2CR of a stream mapping group.
    S2cr(usize),
    /// CBAR of a context bank.
    Cbar(usize),
    /// CBFRSYNRA of a context bank: the stream ID of the first fault (6.1). Read-only here, as a
    /// choice.
    Cbfrsynra(usize),
    /// CBA2R of a context bank (6.1). Always 0, as there are neither AArch64 formats nor long
    /// VMIDs.
    Cba2r(usize),
    /// Of the page of a context bank.
    Bank(usize, BankRegister),
}

impl Register {
    /// Returns its name in the driver, without its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global(register) => register.name(),
            Self::Smr(_) => "SMR",
            Self::S2cr(_) => "S2CR",
            Self::Cbar(_) => "CBAR",
            Self::Cbfrsynra(_) => "CBFRSYNRA",
            Self::Cba2r(_) => "CBA2R",
            Self::Bank(_, register) => register.name(),
        }
    }

    /// Returns the register whose word stands at `offset`, a multiple of 4.
    pub(super) fn at(shape: Shape, offset: u64) -> Option<Self> {
        let (page, within) = (offset / PAGE, offset % PAGE);
        let word = u16::try_from(within).ok()?;
        let first_bank = u64::from(half_pages(shape.banks));
        let groups = |base| number(within, base, shape.groups);
        let banks = |base| number(within, base, shape.banks);
        match page {
            0 => GlobalRegister::from_repr(word)
                .map(Self::Global)
                .or_else(|| groups(group_offset::SMR).map(Self::Smr))
                .or_else(|| groups(group_offset::S2CR).map(Self::S2cr)),
            1 => banks(bank_offset::CBAR)
                .map(Self::Cbar)
                .or_else(|| banks(bank_offset::CBFRSYNRA).map(Self::Cbfrsynra))
                .or_else(|| banks(bank_offset::CBA2R).map(Self::Cba2r)),
            _ => {
                let bank = page.checked_sub(first_bank)?;
                let bank = usize::try_from(bank).ok()?;
                let register = BankRegister::from_repr(word)?;
                (bank < shape.banks as usize).then_some(Self::Bank(bank, register))
            }
        }
    }
}

/// Returns the number of the word at `offset` among `count` of them from `base` on.
fn number(offset: u64, base: u64, count: u32) -> Option<usize> {
    let number = offset.checked_sub(base)? / 4;
    (number < u64::from(count)).then_some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Shape = Shape {
        streams: 32,
        groups: 16,
        banks: 8,
        short_descriptors: true,
    };

    /// The offsets of the driver's own macros.
    #[test]
    fn registers_are_where_the_driver_has_them() {
        for (offset, register) in [
            (0x0, Register::Global(GlobalRegister::Cr0)),
            (0x48, Register::Global(GlobalRegister::Gfsr)),
            (0x74, Register::Global(GlobalRegister::TlbGstatus)),
            (0x83c, Register::Smr(15)),
            (0xc00, Register::S2cr(0)),
            (0x1004, Register::Cbar(1)),
            (0x141c, Register::Cbfrsynra(7)),
            (0x1800, Register::Cba2r(0)),
            (0x8000, Register::Bank(0, BankRegister::Sctlr)),
            (0x97f4, Register::Bank(1, BankRegister::TlbStatus)),
            (0xf8f0, Register::Bank(7, BankRegister::Atsr)),
        ] {
            assert_eq!(Register::at(SMALL, offset), Some(register), "{offset:#x}");
        }
        let large = Shape {
            banks: 64,
            groups: 128,
            ..SMALL
        };
        let last = Register::Bank(63, BankRegister::Atsr);
        assert_eq!(Register::at(large, 0x7_f8f0), Some(last));
        assert_eq!(Register::at(large, 0x9fc), Some(Register::Smr(127)));
    }

    #[test]
    fn each_register_is_at_one_offset_only() {
        let banks = |banks| Shape { banks, ..SMALL };
        for (shape, window) in [
            (SMALL, 0x1_0000),
            (banks(9), 0x2_0000),
            (banks(64), 0x8_0000),
        ] {
            assert_eq!(super::super::spec::window(shape.banks), window);
            let found = (0..2 * window)
                .step_by(4)
                .filter(|&at| Register::at(shape, at).is_some());
            assert_eq!(found.count(), 15 + 2 * 16 + shape.banks as usize * (3 + 31));
        }
        assert_eq!(Register::at(SMALL, u64::MAX - 3), None);
    }
}
