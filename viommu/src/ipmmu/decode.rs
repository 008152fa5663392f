//! Which register stands at an offset.

use super::features::Features;
use super::spec::{
    CONTEXT_STRIDE, ContextRegister, UTLB_BASE, UTLB_HIGH_BASE, UTLB_STRIDE, UTLBS_LOW,
    UtlbRegister,
};

/// A register that is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Register {
    /// Of a context, by number.
    Context(usize, ContextRegister),
    /// Of a uTLB, by number.
    Utlb(usize, UtlbRegister),
}

impl Register {
    /// Returns its name in the driver, without its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::Context(_, register) => register.name(),
            Self::Utlb(_, register) => register.name(),
        }
    }
}

/// Returns the register whose word stands at `offset` (a multiple of 4) in the window of an
/// instance with `utlbs` uTLBs.
pub(super) fn decode(features: &Features, utlbs: usize, offset: u64) -> Option<Register> {
    // On Gen2 the secure bank comes first in the window, and is not modelled.
    let offset = offset.checked_sub(features.bank)?;
    let context = (offset / CONTEXT_STRIDE) as usize;
    // Contexts come first in the bank; what is beyond the last of them can only be a uTLB's.
    if context < features.contexts {
        let register = ContextRegister::from_repr((offset % CONTEXT_STRIDE) as u8)?;
        let there = match register {
            ContextRegister::Imbuscr => features.imbuscr,
            ContextRegister::Imeuar => features.imeuar,
            _ => true,
        };
        return there.then_some(Register::Context(context, register));
    }
    // uTLBs from 32 on have a block of their own (6.1, `IMUCTR32`).
    let high = offset >= UTLB_HIGH_BASE;
    let (base, first) = if high {
        (UTLB_HIGH_BASE, UTLBS_LOW)
    } else {
        (UTLB_BASE, 0)
    };
    let nth = (offset.checked_sub(base)? / UTLB_STRIDE) as usize;
    let utlb = first + nth;
    // The low block ends with uTLB 31, even if the instance has more.
    if utlb >= utlbs || (!high && nth >= UTLBS_LOW) {
        return None;
    }
    let register = match offset % UTLB_STRIDE {
        0x0 => UtlbRegister::Imuctr,
        0x8 => UtlbRegister::Imuasid,
        _ => return None,
    };
    Some(Register::Utlb(utlb, register))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipmmu::{GEN2, GEN3};

    /// The offsets of the driver's own macros, for both generations.
    #[test]
    fn registers_are_where_the_driver_has_them() {
        for (features, offset, register) in [
            (&GEN2, 0x800, Register::Context(0, ContextRegister::Imctr)),
            (&GEN2, 0x80c, Register::Context(0, ContextRegister::Imbuscr)),
            (&GEN2, 0x870, Register::Context(1, ContextRegister::Imelar)),
            (&GEN2, 0xb00, Register::Utlb(0, UtlbRegister::Imuctr)),
            (&GEN2, 0xcf8, Register::Utlb(31, UtlbRegister::Imuasid)),
            (&GEN3, 0x1f4, Register::Context(7, ContextRegister::Imeuar)),
            (&GEN3, 0x308, Register::Utlb(0, UtlbRegister::Imuasid)),
            (&GEN3, 0x600, Register::Utlb(32, UtlbRegister::Imuctr)),
            (&GEN3, 0x6f8, Register::Utlb(47, UtlbRegister::Imuasid)),
        ] {
            assert_eq!(decode(features, features.utlbs, offset), Some(register));
        }
    }

    #[test]
    fn nothing_else_is_a_register() {
        let gen2 = [
            0, 0x20, 0x7fc, 0x824, 0x834, 0x838, 0x900, 0xa00, 0xb04, 0xb0c, 0xd00, 0xe00,
        ];
        for offset in gen2 {
            assert_eq!(decode(&GEN2, 32, offset), None, "{offset:#x}");
        }
        for offset in [
            0x00c,
            0x200,
            0x500,
            0x5f8,
            0x700,
            0x708,
            0x800,
            u64::MAX - 3,
        ] {
            assert_eq!(decode(&GEN3, 48, offset), None, "{offset:#x}");
        }
        assert_eq!(decode(&GEN2, 4, 0xb40), None, "a uTLB that is not wired");
        assert!(decode(&GEN2, 4, 0xb30).is_some());
    }

    #[test]
    fn each_register_is_at_one_offset_only() {
        for (features, count) in [(&GEN2, 4 * 12 + 32 * 2), (&GEN3, 8 * 12 + 48 * 2)] {
            let offsets = (0..features.window).step_by(4);
            let found =
                offsets.filter(|&offset| decode(features, features.utlbs, offset).is_some());
            assert_eq!(found.count(), count, "{}", features.name);
        }
    }
}
