//! Everything that a walk depends on but the tables: what TCR_EL1 and the TTBRs say, checked once.

use super::spec::{AddressSize, Granule, LAST_LEVEL, TcrEl1};
use crate::walk::Shareability;

/// One table base register and the fields of TCR_EL1 that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Half {
    /// TTBRn_EL1. The ASID and CnP are ignored.
    pub ttbr: u64,
    /// TnSZ: the half has 64 - TnSZ address bits.
    pub size_offset: u8,
    /// TGn.
    pub granule: Granule,
    /// TBIn: the top byte of addresses is ignored.
    pub top_byte_ignored: bool,
    /// HPDn: APTable, UXNTable and PXNTable are ignored.
    pub hierarchical_disabled: bool,
    /// SHn: the shareability where descriptors have no field for it.
    pub shareability: Shareability,
}

impl Half {
    /// Creates a half with hierarchical permissions in which the whole address counts.
    pub const fn new(ttbr: u64, size_offset: u8, granule: Granule) -> Self {
        Self {
            ttbr,
            size_offset,
            granule,
            top_byte_ignored: false,
            hierarchical_disabled: false,
            shareability: Shareability::Non,
        }
    }

    /// Ignores the top byte of addresses, or does not.
    #[must_use]
    pub const fn with_top_byte_ignored(self, ignored: bool) -> Self {
        Self {
            top_byte_ignored: ignored,
            ..self
        }
    }

    /// Ignores hierarchical permissions, or does not.
    #[must_use]
    pub const fn with_hierarchical_disabled(self, disabled: bool) -> Self {
        Self {
            hierarchical_disabled: disabled,
            ..self
        }
    }

    /// Sets the shareability where descriptors have no field for it.
    #[must_use]
    pub const fn with_shareability(self, shareability: Shareability) -> Self {
        Self {
            shareability,
            ..self
        }
    }
}

/// A [`Vmsa64Regime`] in the making.
///
/// At first it is Non-secure, has no half, addresses of 48 bits, access flag faults, two privilege
/// levels, and neither FEAT_LPA2's DS, nor FEAT_LVA, FEAT_TTST, WXN or PAN.
#[derive(Clone, Debug)]
pub struct Vmsa64Builder {
    lower: Option<Half>,
    upper: Option<Half>,
    output: AddressSize,
    physical: AddressSize,
    ds: bool,
    large_va: bool,
    small_tables: bool,
    access_flag_faults: bool,
    one_privilege_level: bool,
    wxn: bool,
    pan: bool,
    secure: bool,
}

impl Vmsa64Builder {
    /// Sets halves, DS and the size of output addresses as the registers have them.
    #[must_use]
    pub fn registers(self, tcr: TcrEl1, ttbr0: u64, ttbr1: u64) -> Self {
        let half = |ttbr, size, granule, tbi, hpd, sh| {
            Half::new(ttbr, size, granule)
                .with_top_byte_ignored(tbi)
                .with_hierarchical_disabled(hpd)
                .with_shareability(Shareability::from_bits(sh))
        };
        let (tg0, tg1) = (Granule::from_tg0(tcr.tg0()), Granule::from_tg1(tcr.tg1()));
        let lower = half(ttbr0, tcr.t0sz(), tg0, tcr.tbi0(), tcr.hpd0(), tcr.sh0());
        let upper = half(ttbr1, tcr.t1sz(), tg1, tcr.tbi1(), tcr.hpd1(), tcr.sh1());
        Self {
            lower: (!tcr.epd0()).then_some(lower),
            upper: (!tcr.epd1()).then_some(upper),
            output: AddressSize::from_bits(tcr.ips()),
            ds: tcr.ds(),
            ..self
        }
    }

    /// Sets TTBR0's half, where the top bits of addresses are zero; without it, addresses there
    /// fault as with EPD0.
    #[must_use]
    pub const fn lower(self, half: Half) -> Self {
        Self {
            lower: Some(half),
            ..self
        }
    }

    /// Sets TTBR1's half, where the top bits of addresses are one; without it, addresses there
    /// fault as with EPD1.
    #[must_use]
    pub const fn upper(self, half: Half) -> Self {
        Self {
            upper: Some(half),
            ..self
        }
    }

    /// Sets IPS: addresses in registers and descriptors that are larger fault. 52 bits mean 48
    /// where the granule is 4 or 16 KiB and DS is clear.
    #[must_use]
    pub const fn output(self, output: AddressSize) -> Self {
        Self { output, ..self }
    }

    /// Sets how large physical addresses are in the implementation (`AArch64.PAMax`), whatever IPS
    /// says. With 52 bits (FEAT_LPA) the descriptors of 64 KiB granules have such addresses, and
    /// level 1 has blocks.
    #[must_use]
    pub const fn physical(self, physical: AddressSize) -> Self {
        Self { physical, ..self }
    }

    /// Sets DS (FEAT_LPA2): input and output addresses of 52 bits, level -1, and larger blocks with
    /// granules of 4 and 16 KiB. It changes nothing for 64 KiB.
    #[must_use]
    pub const fn ds(self, ds: bool) -> Self {
        Self { ds, ..self }
    }

    /// Sets whether the implementation has 52-bit input addresses with 64 KiB granules (FEAT_LVA).
    #[must_use]
    pub const fn large_va(self, large_va: bool) -> Self {
        Self { large_va, ..self }
    }

    /// Sets whether TnSZ may be as large as 48, or 47 with 64 KiB granules (FEAT_TTST), instead of
    /// 39.
    #[must_use]
    pub const fn small_tables(self, small_tables: bool) -> Self {
        Self {
            small_tables,
            ..self
        }
    }

    /// Sets whether a clear access flag faults. It does not with SMMUv3's CD.AFFD; where hardware
    /// sets the flag (TCR_EL1.HA), the caller has to do that.
    #[must_use]
    pub const fn access_flag_faults(self, faults: bool) -> Self {
        Self {
            access_flag_faults: faults,
            ..self
        }
    }

    /// Makes it a regime with one privilege level, such as EL2's without VHE: AP\[1\], APTable\[0\]
    /// and PXN mean nothing, UXN is XN, and there is no upper half.
    #[must_use]
    pub const fn one_privilege_level(self) -> Self {
        Self {
            one_privilege_level: true,
            ..self
        }
    }

    /// Sets WXN: what may be written may not be executed.
    #[must_use]
    pub const fn wxn(self, wxn: bool) -> Self {
        Self { wxn, ..self }
    }

    /// Sets PAN: privileged reads and writes of what unprivileged ones may access fault.
    #[must_use]
    pub const fn pan(self, pan: bool) -> Self {
        Self { pan, ..self }
    }

    /// Makes it a Secure regime, in which NS and NSTable tell which memory is meant.
    #[must_use]
    pub const fn secure(self) -> Self {
        Self {
            secure: true,
            ..self
        }
    }

    /// Checks the sizes and creates the regime.
    ///
    /// # Errors
    /// [`RegimeError`]. What a processor does then is IMPLEMENTATION DEFINED or CONSTRAINED
    /// UNPREDICTABLE (`AArch64.S1TxSZFaults`): it faults or takes the nearest size. SMMUv3 has the
    /// event C_BAD_CD.
    pub fn build(&self) -> Result<Vmsa64Regime, RegimeError> {
        if self.one_privilege_level && self.upper.is_some() {
            return Err(RegimeError::UpperHalf);
        }
        let side = |half: Option<Half>| half.map(|half| self.side(half)).transpose();
        Ok(Vmsa64Regime {
            lower: side(self.lower)?,
            upper: side(self.upper)?,
            access_flag_faults: self.access_flag_faults,
            one_privilege_level: self.one_privilege_level,
            wxn: self.wxn,
            pan: self.pan,
            secure: self.secure,
        })
    }

    fn side(&self, half: Half) -> Result<Side, RegimeError> {
        let granule = half.granule;
        let is_64k = granule == Granule::Size64K;
        let ds = self.ds && !is_64k;
        // `AArch64.S1MinTxSZ` and `AArch64.MaxTxSZ`.
        let least = if ds || (is_64k && self.large_va) {
            12
        } else {
            16
        };
        let most = match (self.small_tables, granule) {
            (false, _) => 39,
            (true, Granule::Size64K) => 47,
            (true, _) => 48,
        };
        if !(least..=most).contains(&half.size_offset) {
            return Err(RegimeError::Size {
                size_offset: half.size_offset,
                least,
                most,
            });
        }
        let input_bits = 64 - half.size_offset;
        // `AArch64.S1StartLevel`: as few levels as resolve the input address, at most five.
        let levels = (input_bits - 1 - granule.bits()) / granule.stride();
        #[expect(clippy::cast_possible_wrap, reason = "there are at most five levels")]
        let start = LAST_LEVEL - levels as i8;
        let index_bits = input_bits - granule.shift(start);
        let has_lpa = self.physical >= AddressSize::Bits52;
        let layout = match (ds, is_64k && has_lpa) {
            (true, _) => AddressLayout::Lpa2,
            (false, true) => AddressLayout::Lpa,
            (false, false) => AddressLayout::Bits48,
        };
        let most_output = match layout {
            AddressLayout::Bits48 => AddressSize::Bits48,
            _ => AddressSize::Bits52,
        };
        let output = self.output.min(self.physical).min(most_output);
        // `AArch64.S1TTBaseAddress`: bits 5:2 are bits 51:48 of the address, whose low six bits are
        // then zero.
        let large = ds || (layout == AddressLayout::Lpa && self.output == AddressSize::Bits52);
        let base = if large {
            (half.ttbr >> 2 & 0xf) << 48 | half.ttbr & 0xffff_ffff_ffc0
        } else {
            half.ttbr & 0xffff_ffff_fffe
        };
        // The table is aligned to its size.
        let align = index_bits + 3;
        Ok(Side {
            half,
            input_bits,
            start,
            index_bits,
            base: base >> align << align,
            layout,
            output_bits: output.bits(),
        })
    }
}

/// Where descriptors have the address bits from 48 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressLayout {
    /// Nowhere.
    Bits48,
    /// In bits \[15:12\]: 64 KiB granules with FEAT_LPA.
    Lpa,
    /// Bits \[51:50\] in bits \[9:8\], the others in their place: FEAT_LPA2.
    Lpa2,
}

/// A half, with what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) half: Half,
    pub(super) input_bits: u8,
    /// The level of the first table.
    pub(super) start: i8,
    /// Address bits that the first table looks up.
    pub(super) index_bits: u8,
    /// Address of the first table.
    pub(super) base: u64,
    pub(super) layout: AddressLayout,
    pub(super) output_bits: u8,
}

/// A stage 1 translation regime, made by a [`Vmsa64Builder`]: all sizes in it are possible ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmsa64Regime {
    pub(super) lower: Option<Side>,
    pub(super) upper: Option<Side>,
    pub(super) access_flag_faults: bool,
    pub(super) one_privilege_level: bool,
    pub(super) wxn: bool,
    pub(super) pan: bool,
    pub(super) secure: bool,
}

impl Vmsa64Regime {
    /// Returns a builder: see there for what it begins with.
    pub const fn builder() -> Vmsa64Builder {
        Vmsa64Builder {
            lower: None,
            upper: None,
            output: AddressSize::Bits48,
            physical: AddressSize::Bits48,
            ds: false,
            large_va: false,
            small_tables: false,
            access_flag_faults: true,
            one_privilege_level: false,
            wxn: false,
            pan: false,
            secure: false,
        }
    }
}

/// Why there is no such regime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RegimeError {
    /// TnSZ is out of range for the granule and the features.
    #[error("TnSZ is {size_offset}; with this granule it can be {least} to {most}")]
    Size {
        /// TnSZ.
        size_offset: u8,
        /// The least that it could be.
        least: u8,
        /// The most that it could be.
        most: u8,
    },
    /// An upper half where there is one privilege level.
    #[error("a regime with one privilege level has no upper half")]
    UpperHalf,
}
