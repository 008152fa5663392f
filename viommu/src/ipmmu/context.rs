//! What the registers of a context mean: a translation regime, and a fault status.

use strum::VariantArray as _;

use super::features::Features;
use super::spec::{ContextRegister, ErrorCode, IMTTUBR_MASK, Imbuscr, Imctr, Imstr, Imttbcr, Sl0};
use super::state::ContextState;
use crate::fault::{Fault, FaultReason};
use crate::model::Miss;
use crate::walk::{Level, Regime, Region, Security};

/// Bits of an IOVA (6.1, `ipmmu_domain_init_context`, `cfg.ias`).
pub(super) const INPUT_BITS: u8 = 32;
/// Bits of a physical address (6.1, `cfg.oas`).
const OUTPUT_BITS: u8 = 40;

impl ContextState {
    pub(super) fn imctr(&self) -> Imctr {
        Imctr::from_bits(self.imctr)
    }

    pub(super) fn imstr(&self) -> Imstr {
        Imstr::from_bits(self.imstr)
    }

    /// Returns the address of the table of region 0.
    pub(super) fn table(&self) -> u64 {
        u64::from(self.imttubr0) << 32 | u64::from(self.imttlbr0)
    }

    /// Returns the word of a register.
    pub(super) fn get(&self, register: ContextRegister) -> u32 {
        match register {
            ContextRegister::Imctr => self.imctr,
            ContextRegister::Imcaar => self.imcaar,
            ContextRegister::Imttbcr => self.imttbcr,
            ContextRegister::Imbuscr => self.imbuscr,
            ContextRegister::Imttlbr0 => self.imttlbr0,
            ContextRegister::Imttubr0 => self.imttubr0,
            ContextRegister::Imttlbr1 => self.imttlbr1,
            ContextRegister::Imttubr1 => self.imttubr1,
            ContextRegister::Imstr => self.imstr,
            ContextRegister::Immair0 => self.immair0,
            ContextRegister::Immair1 => self.immair1,
            ContextRegister::Imelar => self.imelar,
            ContextRegister::Imeuar => self.imeuar,
        }
    }

    /// Stores a word, as far as the register has bits for it. What else a write does is not done
    /// here.
    pub(super) fn set(&mut self, features: &Features, register: ContextRegister, value: u32) {
        match register {
            ContextRegister::Imctr => self.imctr = value & imctr_mask(),
            ContextRegister::Imcaar => self.imcaar = value,
            ContextRegister::Imttbcr => self.imttbcr = value & imttbcr_mask(features.sl0),
            ContextRegister::Imbuscr => self.imbuscr = value & imbuscr_mask(),
            ContextRegister::Imttlbr0 => self.imttlbr0 = value,
            ContextRegister::Imttubr0 => self.imttubr0 = value & IMTTUBR_MASK,
            ContextRegister::Imttlbr1 => self.imttlbr1 = value,
            ContextRegister::Imttubr1 => self.imttubr1 = value & IMTTUBR_MASK,
            ContextRegister::Imstr => self.clear_status(value),
            ContextRegister::Immair0 => self.immair0 = value,
            ContextRegister::Immair1 => self.immair1 = value,
            // Error addresses are the hardware's to write.
            ContextRegister::Imelar | ContextRegister::Imeuar => {}
        }
    }

    /// Clears the status bits that `keep` has clear. With the last flag go the code, the level and
    /// the address.
    fn clear_status(&mut self, keep: u32) {
        // The guest writes 0 to clear a flag (6.1, `ipmmu_domain_irq`).
        self.imstr &= keep;
        if !self.has_fault() {
            self.imstr = 0;
            self.imelar = 0;
            self.imeuar = 0;
        }
    }

    /// Returns whether a fault is recorded.
    pub(super) fn has_fault(&self) -> bool {
        let status = self.imstr();
        status.tf() || status.pf() || status.abort() || status.mhit()
    }

    /// Returns whether the context asks for the interrupt.
    pub(super) fn interrupts(&self) -> bool {
        self.imctr().inten() && self.has_fault()
    }

    /// Returns what the registers can hold of a saved state.
    pub(super) fn sane(self, features: &Features) -> Self {
        let mut sane = Self {
            imstr: self.imstr & imstr_mask(),
            imelar: self.imelar,
            imeuar: if features.imeuar { self.imeuar } else { 0 },
            ..Self::default()
        };
        // Status and error address are copied above: no write of the guest can set them.
        for &register in ContextRegister::VARIANTS {
            match register {
                // Clears nothing, but an error address without an error.
                ContextRegister::Imstr => sane.clear_status(u32::MAX),
                ContextRegister::Imbuscr if !features.imbuscr => {}
                _ => sane.set(features, register, self.get(register)),
            }
        }
        sane
    }

    /// Records a fault, unless one is recorded already. Returns whether it did.
    #[expect(clippy::cast_possible_truncation, reason = "IMELAR is the low half")]
    pub(super) fn record(&mut self, features: &Features, fault: &Fault) -> bool {
        let status = status_of(fault);
        // The first fault stays until the guest clears it; a blocked access has no status at all.
        if self.has_fault() || status == Imstr::new() {
            return false;
        }
        self.imstr = status.into_bits();
        // The low half; Gen2 has no other.
        self.imelar = fault.iova as u32;
        if features.imeuar {
            self.imeuar = (fault.iova >> 32) as u32;
        }
        true
    }

    /// Returns the regime by which accesses on this context are translated.
    ///
    /// # Errors
    ///
    /// A format fault where the registers ask for what is reserved or not modelled.
    pub(super) fn regime(&self, features: &Features) -> Result<Regime, Miss> {
        let control = Imttbcr::from_bits(self.imttbcr);
        // Without EAE the tables are of the short format, which is not modelled.
        let start = first_level(features.sl0, control).filter(|_| control.eae());
        let start = start.ok_or(Miss {
            reason: FaultReason::Format,
            level: None,
        })?;
        let upper = u64::from(self.imttubr1) << 32 | u64::from(self.imttlbr1);
        // SL0 is of region 0 only; region 1 begins where the architecture has it (ARM ARM DDI 0406C
        // B3.6.6).
        let upper_start = if control.tsz1() < 2 {
            Level::First
        } else {
            Level::Second
        };
        Ok(Regime {
            input_bits: INPUT_BITS,
            output_bits: OUTPUT_BITS,
            ttbr0: Region::new(self.table(), control.tsz0(), start),
            // With both sizes 0 region 0 is everything.
            ttbr1: (control.tsz0() != 0 || control.tsz1() != 0)
                .then(|| Region::new(upper, control.tsz1(), upper_start)),
            access_flag_faults: self.imctr().afe(),
            security: Security::NonSecureRequired,
            // That bus masters are unprivileged is a choice.
            privileged: false,
        })
    }
}

/// Returns the level of the first table of region 0; `None` if the encoding is reserved.
fn first_level(sl0: Sl0, control: Imttbcr) -> Option<Level> {
    match sl0 {
        Sl0::OneBit => match control.sl0() {
            0 => Some(Level::Second),
            1 => Some(Level::First),
            _ => None,
        },
        Sl0::TwoBit => match control.sl0_twobit() {
            0 => Some(Level::Third),
            1 => Some(Level::Second),
            2 => Some(Level::First),
            _ => None,
        },
    }
}

/// Returns the status that reports a fault; empty if the hardware has none for it.
fn status_of(fault: &Fault) -> Imstr {
    // Masked, as an injector may name a level that does not fit the two bits.
    let status = Imstr::new().with_errlvl(fault.level.unwrap_or(0) & 3);
    let page_fault = |code: ErrorCode| status.with_pf(true).with_errcode(code as u8);
    match fault.reason {
        FaultReason::Translation => status.with_tf(true),
        // Only the names of the codes are public: which causes share one is this model's choice.
        FaultReason::Format | FaultReason::AddressSize => page_fault(ErrorCode::TlbFormat),
        FaultReason::Permission | FaultReason::AccessFlag => {
            page_fault(ErrorCode::AccessPermission)
        }
        FaultReason::Secure => page_fault(ErrorCode::SecureAccess),
        FaultReason::WalkAbort => status.with_abort(true),
        FaultReason::MultipleHits => status.with_mhit(true),
        // Such an access has no context whose registers could show it.
        FaultReason::Blocked => Imstr::new(),
    }
}

fn imctr_mask() -> u32 {
    Imctr::new()
        .with_mmuen(true)
        .with_flush(true)
        .with_inten(true)
        .with_tren(true)
        .with_rtsel(3)
        .with_afe(true)
        .with_tre(true)
        .into_bits()
}

fn imttbcr_mask(sl0: Sl0) -> u32 {
    // The generations have SL0 at different bits; the other one's stay 0.
    let common = match sl0 {
        Sl0::OneBit => Imttbcr::new().with_sl0(3),
        Sl0::TwoBit => Imttbcr::new().with_sl0_twobit(3),
    };
    common
        .with_tsz0(7)
        .with_irgn0(3)
        .with_orgn0(3)
        .with_sh0(3)
        .with_tsz1(7)
        .with_irgn1(3)
        .with_orgn1(3)
        .with_sh1(3)
        .with_pmb(true)
        .with_eae(true)
        .into_bits()
}

fn imstr_mask() -> u32 {
    Imstr::new()
        .with_tf(true)
        .with_pf(true)
        .with_abort(true)
        .with_mhit(true)
        .with_errcode(7)
        .with_errlvl(3)
        .into_bits()
}

fn imbuscr_mask() -> u32 {
    Imbuscr::new().with_bussel(3).with_dvm(true).into_bits()
}
