//! Context banks: what page 1 says about each, and the page that each has.

use bitfield_struct::bitfield;
use strum::{FromRepr, IntoStaticStr, VariantArray};

use crate::fault::Access;

/// A word of the page of a context bank, at its offset.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromRepr, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "UPPERCASE")]
#[repr(u16)]
pub enum BankRegister {
    /// SCTLR: control (6.1): [`Sctlr`].
    Sctlr = 0x000,
    /// RESUME: ends or makes again an access that is stalled (6.1). Nothing is stalled here.
    Resume = 0x008,
    /// TCR2: what TCR has no bits for (6.1). Stored here, and without effect.
    Tcr2 = 0x010,
    /// TTBR0, low half: the table of the lower region (6.1).
    #[strum(serialize = "TTBR0")]
    Ttbr0Low = 0x020,
    /// TTBR0, high half.
    #[strum(serialize = "TTBR0_HIGH")]
    Ttbr0High = 0x024,
    /// TTBR1, low half: the table of the upper region (6.1).
    #[strum(serialize = "TTBR1")]
    Ttbr1Low = 0x028,
    /// TTBR1, high half.
    #[strum(serialize = "TTBR1_HIGH")]
    Ttbr1High = 0x02c,
    /// TCR: how tables are walked (6.1): [`Tcr`].
    Tcr = 0x030,
    /// CONTEXTIDR: the ASID of the short-descriptor format in the low byte (6.1).
    Contextidr = 0x034,
    /// MAIR0: memory attributes 0 to 3 (6.1). Stored here, and shown by PAR.
    Mair0 = 0x038,
    /// MAIR1: memory attributes 4 to 7 (6.1).
    Mair1 = 0x03c,
    /// PAR, low half: what an address translation operation found (6.1). That it is read-only is a
    /// choice.
    #[strum(serialize = "PAR")]
    ParLow = 0x050,
    /// PAR, high half.
    #[strum(serialize = "PAR_HIGH")]
    ParHigh = 0x054,
    /// FSR: faults, which a write of ones clears (6.1): [`Fsr`].
    Fsr = 0x058,
    /// FAR, low half: the address of the first fault (6.1). That it is read-only is a choice.
    #[strum(serialize = "FAR")]
    FarLow = 0x060,
    /// FAR, high half.
    #[strum(serialize = "FAR_HIGH")]
    FarHigh = 0x064,
    /// FSYNR0: what the first fault's access was (6.1): [`Fsynr0`]. That it is read-only is a
    /// choice.
    Fsynr0 = 0x068,
    /// FSYNR1: what is the implementation's (6.1); 0 here.
    Fsynr1 = 0x06c,
    /// TLBIVA: invalidates the translation of an address, for an ASID (6.1).
    TlbiVa = 0x600,
    /// TLBIVAA: invalidates the translation of an address, for all ASIDs (IHI0062).
    TlbiVaa = 0x608,
    /// TLBIASID: invalidates the translations of an ASID (6.1).
    TlbiAsid = 0x610,
    /// TLBIALL: invalidates all translations of the bank's VMID (IHI0062).
    TlbiAll = 0x618,
    /// TLBIVAL: as TLBIVA, of last levels only (6.1).
    TlbiVal = 0x620,
    /// TLBIVAAL: as TLBIVAA, of last levels only (IHI0062).
    TlbiVaal = 0x628,
    /// TLBSYNC: a write asks for invalidations to be complete (6.1).
    TlbSync = 0x7f0,
    /// TLBSTATUS: bit 0 is set until they are (6.1). Read-only.
    TlbStatus = 0x7f4,
    /// ATS1PR: translates an address for a privileged read (6.1).
    Ats1Pr = 0x800,
    /// ATS1PW: for a privileged write (IHI0062).
    Ats1Pw = 0x808,
    /// ATS1UR: for an unprivileged read (IHI0062).
    Ats1Ur = 0x810,
    /// ATS1UW: for an unprivileged write (IHI0062).
    Ats1Uw = 0x818,
    /// ATSR: bit 0 is set while an address is translated (6.1), which takes no time here.
    /// Read-only.
    Atsr = 0x8f0,
}

impl BankRegister {
    /// Returns its name, as the driver's without what all of them begin with; the architecture's
    /// where it has none.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Offsets in page 1 of registers of which each context bank has one.
pub mod bank_offset {
    /// CBAR of the first (6.1, `ARM_SMMU_GR1_CBAR`).
    pub const CBAR: u64 = 0x000;
    /// CBFRSYNRA of the first (6.1, `ARM_SMMU_GR1_CBFRSYNRA`).
    pub const CBFRSYNRA: u64 = 0x400;
    /// CBA2R of the first (6.1, `ARM_SMMU_GR1_CBA2R`).
    pub const CBA2R: u64 = 0x800;
}

/// An address translation operation: the access that it translates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Read or write.
    pub access: Access,
    /// With privilege.
    pub privileged: bool,
}

/// CBAR, in page 1: what a context bank is (6.1). The fields that say nothing here are stored.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cbar {
    /// VMID.
    pub vmid: u8,
    __: u8,
    /// TYPE.
    #[bits(2)]
    pub kind: CbarKind,
    #[bits(14)]
    __: u16,
}

/// CBAR.TYPE (6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CbarKind {
    /// Stage 2 translates.
    Stage2 = 0,
    /// Stage 1 translates, stage 2 is bypassed: the only one that is modelled, as ID0 says.
    Stage1 = 1,
    /// Stage 1 translates, stage 2 faults.
    Stage1Fault = 2,
    /// Both stages translate.
    Nested = 3,
}

impl CbarKind {
    /// Returns the type for the field's two bits.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Stage2,
            1 => Self::Stage1,
            2 => Self::Stage1Fault,
            _ => Self::Nested,
        }
    }

    /// Returns the field's two bits.
    pub const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// SCTLR. The fields that say nothing here are stored, but for CFCFG.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Sctlr {
    /// M: the bank translates (6.1). Where it does not, accesses go through as they are (IHI0062).
    pub m: bool,
    /// TRE: memory attributes are remapped (6.1).
    pub tre: bool,
    /// AFE: access flags (6.1). Long descriptors always have them (IHI0062).
    pub afe: bool,
    #[bits(2)]
    __: u8,
    /// CFRE: context faults abort the access (6.1). They always do here.
    pub cfre: bool,
    /// CFIE: context faults interrupt (6.1).
    pub cfie: bool,
    /// CFCFG: context faults stall the access (6.1). Always 0: that there is no stall is a choice.
    pub cfcfg: bool,
    #[bits(24)]
    __: u32,
}

/// TCR (6.1, `arm_smmu_lpae_tcr`; IHI0062, SMMU_CBn_TTBCR; ARM ARM DDI 0406C B4.1.153).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Tcr {
    /// T0SZ: how many address bits the lower region is smaller than the input. The driver writes
    /// 32, of which the AArch32 format has the low three bits. N with short descriptors.
    #[bits(3)]
    pub t0sz: u8,
    __: bool,
    /// PD0: accesses to the lower region fault, with short descriptors.
    pub pd0: bool,
    /// PD1: accesses to the upper region fault, with short descriptors.
    pub pd1: bool,
    __: bool,
    /// EPD0: accesses to the lower region fault.
    pub epd0: bool,
    /// IRGN0, ORGN0 and SH0: caches that walks use.
    #[bits(6)]
    pub cache0: u8,
    #[bits(2)]
    __: u8,
    /// T1SZ: how many address bits the upper region is smaller.
    #[bits(3)]
    pub t1sz: u8,
    #[bits(3)]
    __: u8,
    /// A1: TTBR1 has the ASID, rather than TTBR0.
    pub a1: bool,
    /// EPD1: accesses to the upper region fault.
    pub epd1: bool,
    /// IRGN1, ORGN1 and SH1: caches that walks use.
    #[bits(6)]
    pub cache1: u8,
    __: bool,
    /// EAE: long descriptors, rather than short ones.
    pub eae: bool,
}

/// The bits of TTBR0 and TTBR1 that are the address of a table (ARM ARM DDI 0406C B4.1.154).
pub const TTBR_ADDRESS: u64 = 0xff_ffff_ffff;

/// Returns the bits that TTBR0 and TTBR1 have: an address, and an ASID of eight bits at bit 48
/// (6.1, `ARM_SMMU_TTBRn_ASID`; ARM ARM DDI 0406C B4.1.154). That the others read as zero is a
/// choice.
pub const fn ttbr_mask() -> u64 {
    TTBR_ADDRESS | 0xff << 48
}

/// FSR (6.1; FORMAT is of IHI0062).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fsr {
    __: bool,
    /// TF: nothing is mapped.
    pub tf: bool,
    /// AFF: the access flag is clear.
    pub aff: bool,
    /// PF: the access is not allowed.
    pub pf: bool,
    /// EF: no memory answered.
    pub ef: bool,
    /// TLBMCF: several entries of the TLB matched.
    pub tlbmcf: bool,
    #[bits(3)]
    __: u8,
    /// FORMAT: of the tables; 1 for long descriptors of AArch32.
    #[bits(2)]
    pub format: u8,
    #[bits(20)]
    __: u32,
    /// MULTI: a further fault came when one was recorded already.
    pub multi: bool,
}

/// The bits of FSR that say that there is a fault, of those that it has here (6.1,
/// `ARM_SMMU_FSR_FAULT`).
pub const FSR_FAULTS: u32 = 0x8000_003e;

/// FSYNR0 (6.1 for WNR; IHI0062).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Fsynr0 {
    /// PLVL: the level of the table at which the walk ended.
    #[bits(2)]
    pub plvl: u8,
    #[bits(2)]
    __: u8,
    /// WNR: the access was a write.
    pub wnr: bool,
    #[bits(5)]
    __: u8,
    /// PTWF: the walk itself failed.
    pub ptwf: bool,
    #[bits(21)]
    __: u32,
}

/// PAR.F: there is no translation (6.1).
pub const PAR_FAULT: u64 = 1;

/// The bits of PAR that are the address of the page (6.1, `arm_smmu_iova_to_phys_hard`).
pub const PAR_ADDRESS: u64 = 0xff_ffff_f000;
