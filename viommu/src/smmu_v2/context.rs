//! What the registers of a context bank mean: a translation regime, and a fault status.

use super::config::Shape;
use super::spec::{
    BankRegister, Cbar, CbarKind, FSR_FAULTS, Fsr, Fsynr0, INPUT_BITS, OUTPUT_BITS, PAR_ADDRESS,
    PAR_FAULT, Sctlr, TTBR_ADDRESS, Tcr, ttbr_mask,
};
use super::state::BankState;
use crate::fault::{Access, Fault, FaultReason};
use crate::model::{Mapping, Miss};
use crate::walk::{
    Level, Regime, Region, Security, ShortRegime, TableReader, count, count_short, walk, walk_short,
};

/// The regime of a context bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BankRegime {
    /// With long descriptors.
    Long(Regime),
    /// With short ones.
    Short(ShortRegime),
}

/// Where an IOVA leads by the tables of a context bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The page or block.
    pub(super) mapping: Mapping,
    /// Log2 of its bytes.
    pub(super) size_log2: u8,
    /// Which of eight kinds of memory it is.
    pub(super) attr_index: u8,
}

impl BankRegime {
    /// Walks the tables.
    ///
    /// # Errors
    /// Why there is no translation.
    pub(super) fn walk(
        &self,
        tables: &impl TableReader,
        iova: u64,
        access: Access,
    ) -> Result<Found, Miss> {
        let (mapping, size_log2, attr_index) = match self {
            Self::Long(regime) => {
                let walked = walk(tables, regime, iova, access)?;
                (walked.mapping(iova), walked.size_log2, walked.attr_index)
            }
            Self::Short(regime) => {
                let walked = walk_short(tables, regime, iova, access)?;
                (walked.mapping(iova), walked.size_log2, walked.attr_index)
            }
        };
        Ok(Found {
            mapping,
            size_log2,
            attr_index,
        })
    }

    /// Counts the pages and blocks that the tables map.
    pub(super) fn count(&self, tables: &impl TableReader) -> u64 {
        match self {
            Self::Long(regime) => count(tables, regime),
            Self::Short(regime) => count_short(tables, regime),
        }
    }
}

impl BankState {
    pub(super) const fn cbar(&self) -> Cbar {
        Cbar::from_bits(self.cbar)
    }

    pub(super) const fn sctlr(&self) -> Sctlr {
        Sctlr::from_bits(self.sctlr)
    }

    const fn tcr(&self) -> Tcr {
        Tcr::from_bits(self.tcr)
    }

    /// Returns whether it translates, if a stream leads to it.
    pub(super) fn is_enabled(&self) -> bool {
        self.cbar().kind() == CbarKind::Stage1 && self.sctlr().m()
    }

    /// Returns the ASID of its accesses.
    #[expect(clippy::cast_possible_truncation, reason = "it is the low byte")]
    pub(super) const fn asid(&self) -> u8 {
        match (self.tcr().eae(), self.tcr().a1()) {
            (false, _) => self.contextidr as u8,
            (true, false) => (self.ttbr0 >> 48) as u8,
            (true, true) => (self.ttbr1 >> 48) as u8,
        }
    }

    /// Returns the word of a register that stores one; 0 for the others.
    #[expect(clippy::cast_possible_truncation, reason = "these are low halves")]
    pub(super) const fn get(&self, register: BankRegister) -> u32 {
        match register {
            BankRegister::Sctlr => self.sctlr,
            BankRegister::Tcr2 => self.tcr2,
            BankRegister::Ttbr0Low => self.ttbr0 as u32,
            BankRegister::Ttbr0High => (self.ttbr0 >> 32) as u32,
            BankRegister::Ttbr1Low => self.ttbr1 as u32,
            BankRegister::Ttbr1High => (self.ttbr1 >> 32) as u32,
            BankRegister::Tcr => self.tcr,
            BankRegister::Contextidr => self.contextidr,
            BankRegister::Mair0 => self.mair0,
            BankRegister::Mair1 => self.mair1,
            BankRegister::ParLow => self.par as u32,
            BankRegister::ParHigh => (self.par >> 32) as u32,
            BankRegister::Fsr => self.fsr,
            BankRegister::FarLow => self.far as u32,
            BankRegister::FarHigh => (self.far >> 32) as u32,
            BankRegister::Fsynr0 => self.fsynr0,
            _ => 0,
        }
    }

    /// Stores the word of a register that walks depend on, or that has no effect, as far as it has
    /// bits for it.
    pub(super) const fn set(&mut self, register: BankRegister, value: u32) {
        match register {
            BankRegister::Sctlr => self.sctlr = value & sctlr_mask(),
            BankRegister::Tcr2 => self.tcr2 = value,
            BankRegister::Ttbr0Low => self.ttbr0 = low(self.ttbr0, value),
            BankRegister::Ttbr0High => self.ttbr0 = high(self.ttbr0, value),
            BankRegister::Ttbr1Low => self.ttbr1 = low(self.ttbr1, value),
            BankRegister::Ttbr1High => self.ttbr1 = high(self.ttbr1, value),
            BankRegister::Tcr => self.tcr = value & tcr_mask(value),
            BankRegister::Contextidr => self.contextidr = value,
            BankRegister::Mair0 => self.mair0 = value,
            BankRegister::Mair1 => self.mair1 = value,
            _ => {}
        }
    }

    /// Clears the faults whose bits are set in `cleared`. The format goes with the last of them;
    /// address and syndrome stay until the next fault.
    pub(super) const fn clear(&mut self, cleared: u32) {
        self.fsr &= !(cleared & FSR_FAULTS);
        if !self.has_fault() {
            self.fsr = 0;
        }
    }

    /// Returns whether a fault is recorded.
    pub(super) const fn has_fault(&self) -> bool {
        self.fsr & FSR_FAULTS != 0
    }

    /// Returns whether the bank asks for its interrupt.
    pub(super) const fn interrupts(&self) -> bool {
        self.sctlr().cfie() && self.has_fault()
    }

    /// Returns what the registers can hold of a saved state.
    pub(super) fn sane(&self) -> Self {
        let Self {
            cbar,
            cbfrsynra,
            sctlr,
            tcr,
            tcr2,
            ttbr0,
            ttbr1,
            contextidr,
            mair0,
            mair1,
            par,
            fsr,
            far,
            fsynr0,
            syncing,
            largest,
        } = *self;
        let mut sane = Self {
            cbar,
            cbfrsynra: cbfrsynra & 0xffff,
            sctlr: sctlr & sctlr_mask(),
            tcr: tcr & tcr_mask(tcr),
            tcr2,
            ttbr0: ttbr0 & ttbr_mask(),
            ttbr1: ttbr1 & ttbr_mask(),
            contextidr,
            mair0,
            mair1,
            par,
            fsr: fsr & (FSR_FAULTS | Fsr::new().with_format(3).into_bits()),
            far,
            fsynr0: fsynr0 & fsynr0_mask(),
            syncing,
            // There is nothing larger than all IOVAs.
            largest: largest.min(INPUT_BITS),
        };
        // Clears nothing, but a format without a fault.
        sane.clear(0);
        sane
    }

    /// Records a fault of a stream's access; returns whether it is the first, of which all is
    /// shown.
    pub(super) fn record(&mut self, fault: &Fault) -> bool {
        if self.has_fault() {
            self.fsr |= Fsr::new().with_multi(true).into_bits();
            return false;
        }
        let format = if self.tcr().eae() { 1 } else { 0 };
        self.fsr = status_of(fault.reason).with_format(format).into_bits();
        self.far = fault.iova;
        self.fsynr0 = Fsynr0::new()
            // Masked, as an injector may name a level that does not fit the two bits.
            .with_plvl(fault.level.unwrap_or(0) & 3)
            .with_wnr(fault.access == Access::Write)
            .with_ptwf(fault.reason == FaultReason::WalkAbort)
            .into_bits();
        // The stream ID (6.1, `arm_smmu_context_fault`).
        self.cbfrsynra = fault.endpoint.0 & 0xffff;
        true
    }

    /// Returns the regime by which accesses are translated.
    ///
    /// # Errors
    /// A format fault where the registers ask for short descriptors and there are none.
    pub(super) fn regime(&self, shape: Shape, privileged: bool) -> Result<BankRegime, Miss> {
        if self.tcr().eae() {
            Ok(BankRegime::Long(self.long(privileged)))
        } else if shape.short_descriptors {
            Ok(BankRegime::Short(self.short(privileged)))
        } else {
            Err(Miss::new(FaultReason::Format))
        }
    }

    fn long(&self, privileged: bool) -> Regime {
        let tcr = self.tcr();
        let region = |ttbr: u64, size: u8, disabled: bool| Region {
            disabled,
            ..Region::new(ttbr & TTBR_ADDRESS, size, first_level(size))
        };
        Regime {
            input_bits: INPUT_BITS,
            output_bits: OUTPUT_BITS,
            ttbr0: region(self.ttbr0, tcr.t0sz(), tcr.epd0()),
            // With both sizes 0 the lower region is everything.
            ttbr1: (tcr.t0sz() != 0 || tcr.t1sz() != 0)
                .then(|| region(self.ttbr1, tcr.t1sz(), tcr.epd1())),
            // With EAE the access flag is always checked (ARM ARM DDI 0406C B4.1.130).
            access_flag_faults: true,
            security: Security::NonSecure,
            privileged,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "these are low halves")]
    const fn short(&self, privileged: bool) -> ShortRegime {
        let tcr = self.tcr();
        ShortRegime {
            ttbr0: self.ttbr0 as u32,
            ttbr1: self.ttbr1 as u32,
            n: tcr.t0sz(),
            lower_disabled: tcr.pd0(),
            upper_disabled: tcr.pd1(),
            access_flag: self.sctlr().afe(),
            privileged,
        }
    }

    /// Stores what an address translation operation found: a page and the index of its attributes,
    /// or a fault.
    pub(super) fn set_par(&mut self, found: Result<(u64, u8), Miss>) {
        self.par = match found {
            // Which bits of PAR are the attributes of short descriptors differs; that none are
            // shown is a choice.
            Ok((page, _)) if !self.tcr().eae() => page & PAR_ADDRESS,
            Ok((page, attributes)) => {
                let mair = u64::from(self.mair1) << 32 | u64::from(self.mair0);
                let attributes = mair >> (8 * u32::from(attributes & 7)) & 0xff;
                attributes << 56 | page & PAR_ADDRESS
            }
            // The bits of FSR, and the level at bit 32 (IHI0062, SMMU_CBn_PAR).
            Err(miss) => {
                let level = u64::from(miss.level.unwrap_or(0) & 3);
                level << 32 | u64::from(status_of(miss.reason).into_bits()) | PAR_FAULT
            }
        };
    }
}

/// Returns the level of the first table of a region (ARM ARM DDI 0406C B3.6.6).
const fn first_level(size_offset: u8) -> Level {
    if size_offset < 2 {
        Level::First
    } else {
        Level::Second
    }
}

/// Returns the fault that FSR shows.
const fn status_of(reason: FaultReason) -> Fsr {
    let status = Fsr::new();
    match reason {
        // A reserved descriptor is a translation fault (ARM ARM DDI 0406C B3.6.1). That address
        // sizes are too, and what is not modelled, is a choice.
        FaultReason::Translation
        | FaultReason::Format
        | FaultReason::AddressSize
        | FaultReason::Blocked => status.with_tf(true),
        FaultReason::AccessFlag => status.with_aff(true),
        FaultReason::Permission | FaultReason::Secure => status.with_pf(true),
        FaultReason::WalkAbort => status.with_ef(true),
        FaultReason::MultipleHits => status.with_tlbmcf(true),
    }
}

const fn low(register: u64, value: u32) -> u64 {
    (register >> 32 << 32 | value as u64) & ttbr_mask()
}

const fn high(register: u64, value: u32) -> u64 {
    (register & 0xffff_ffff | (value as u64) << 32) & ttbr_mask()
}

const fn sctlr_mask() -> u32 {
    !Sctlr::new().with_cfcfg(true).into_bits()
}

/// Returns the bits that TCR has, of a value: those of the format that this value chooses. That the
/// others read as zero is a choice.
const fn tcr_mask(value: u32) -> u32 {
    let long = Tcr::new()
        .with_t0sz(7)
        .with_epd0(true)
        .with_cache0(0x3f)
        .with_t1sz(7)
        .with_a1(true)
        .with_epd1(true)
        .with_cache1(0x3f)
        .with_eae(true);
    let short = Tcr::new().with_t0sz(7).with_pd0(true).with_pd1(true);
    if Tcr::from_bits(value).eae() {
        long.into_bits()
    } else {
        short.into_bits()
    }
}

const fn fsynr0_mask() -> u32 {
    Fsynr0::new()
        .with_plvl(3)
        .with_wnr(true)
        .with_ptwf(true)
        .into_bits()
}
