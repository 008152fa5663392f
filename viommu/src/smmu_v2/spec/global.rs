//! Page 0: the whole SMMU, and its streams.

use bitfield_struct::bitfield;
use strum::{FromRepr, IntoStaticStr, VariantArray};

/// A register of page 0 of which there is one, at its offset.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromRepr, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "UPPERCASE")]
#[repr(u16)]
pub enum GlobalRegister {
    /// sCR0: control (6.1): [`Cr0`].
    #[strum(serialize = "sCR0")]
    Cr0 = 0x00,
    /// ID0: what is implemented (6.1): [`Id0`]. Read-only.
    Id0 = 0x20,
    /// ID1: pages and context banks (6.1): [`Id1`]. Read-only.
    Id1 = 0x24,
    /// ID2: sizes of addresses (6.1): [`Id2`]. Read-only.
    Id2 = 0x28,
    /// sGFAR, low half: the address of the first global fault (IHI0062). That it is read-only is a
    /// choice.
    #[strum(serialize = "sGFAR")]
    GfarLow = 0x40,
    /// sGFAR, high half.
    #[strum(serialize = "sGFAR_HIGH")]
    GfarHigh = 0x44,
    /// sGFSR: global faults, which a write of ones clears (6.1): [`Gfsr`].
    #[strum(serialize = "sGFSR")]
    Gfsr = 0x48,
    /// sGFSYNR0: what the first fault's access was (6.1): [`Gfsynr0`]. Read-only here, as a choice.
    #[strum(serialize = "sGFSYNR0")]
    Gfsynr0 = 0x50,
    /// sGFSYNR1: its stream ID, in bits 15:0 (6.1, `arm_smmu_global_fault`). Read-only here, as a
    /// choice.
    #[strum(serialize = "sGFSYNR1")]
    Gfsynr1 = 0x54,
    /// sGFSYNR2: what is the implementation's (6.1); 0 here.
    #[strum(serialize = "sGFSYNR2")]
    Gfsynr2 = 0x58,
    /// TLBIVMID: invalidates what has a VMID (6.1).
    TlbiVmid = 0x64,
    /// TLBIALLNSNH: invalidates everything that is neither Secure nor of Hyp (6.1).
    TlbiAllNsnh = 0x68,
    /// TLBIALLH: invalidates everything of Hyp (6.1), which nothing is here.
    TlbiAllH = 0x6c,
    /// sTLBGSYNC: a write asks for invalidations to be complete (6.1).
    #[strum(serialize = "sTLBGSYNC")]
    TlbGsync = 0x70,
    /// sTLBGSTATUS: bit 0 is set until they are (6.1). Read-only.
    #[strum(serialize = "sTLBGSTATUS")]
    TlbGstatus = 0x74,
}

impl GlobalRegister {
    /// Returns its name, as the driver's without what all of them begin with; the architecture's
    /// where it has none.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Offsets in page 0 of registers of which each stream mapping group has one.
pub mod group_offset {
    /// SMR of the first (6.1, `ARM_SMMU_GR0_SMR`).
    pub const SMR: u64 = 0x800;
    /// S2CR of the first (6.1, `ARM_SMMU_GR0_S2CR`).
    pub const S2CR: u64 = 0xc00;
}

/// sCR0. The fields that say nothing here are stored.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cr0 {
    /// CLIENTPD: accesses bypass the SMMU (6.1). Set out of reset (IHI0062).
    pub clientpd: bool,
    /// GFRE: other global faults abort the access (6.1). They always do here.
    pub gfre: bool,
    /// GFIE: other global faults interrupt (6.1). There are none here.
    pub gfie: bool,
    /// EXIDENABLE: stream IDs are extended (6.1). Always 0, as ID0.EXIDS is.
    pub exidenable: bool,
    /// GCFGFRE: global configuration faults abort the access (6.1). They always do here.
    pub gcfgfre: bool,
    /// GCFGFIE: global configuration faults interrupt (6.1).
    pub gcfgfie: bool,
    #[bits(4)]
    __: u8,
    /// USFCFG: streams that match no group fault, rather than to bypass the SMMU (6.1).
    pub usfcfg: bool,
    /// VMIDPNE: broadcast invalidations of CPUs do not reach private VMIDs (6.1). There is no
    /// broadcast here.
    pub vmidpne: bool,
    /// PTM: broadcast invalidations of CPUs do not reach the SMMU (6.1).
    pub ptm: bool,
    #[bits(8)]
    __: u8,
    /// SMCFCFG: streams that match several groups fault, rather than to bypass the SMMU (IHI0062).
    pub smcfcfg: bool,
    #[bits(9)]
    __: u16,
    /// VMID16EN: VMIDs have 16 bits (6.1). Always 0, as ID2.VMID16 is.
    pub vmid16en: bool,
}

/// ID0 (6.1, `arm_smmu_device_cfg_probe`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Id0 {
    /// NUMSMRG: the number of stream mapping groups.
    pub numsmrg: u8,
    /// EXIDS: stream IDs can be extended.
    pub exids: bool,
    /// NUMSIDB: the bits of stream IDs.
    #[bits(4)]
    pub numsidb: u8,
    __: bool,
    /// CTTW: walks are coherent with caches.
    pub cttw: bool,
    __: bool,
    /// NUMIRPT: the number of context interrupts.
    pub numirpt: u8,
    /// PTFS\[0\]: no AArch32 short descriptors.
    pub no_aarch32_short: bool,
    /// PTFS\[1\]: no AArch32 formats.
    pub no_aarch32: bool,
    /// ATOSNS: no address translation operations.
    pub atosns: bool,
    /// SMS: stream matching.
    pub sms: bool,
    /// NTS: nested translation.
    pub nts: bool,
    /// S2TS: stage 2 translation.
    pub s2ts: bool,
    /// S1TS: stage 1 translation.
    pub s1ts: bool,
    /// SES: Secure state (IHI0062).
    pub ses: bool,
}

/// ID1 (6.1, `arm_smmu_device_cfg_probe`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Id1 {
    /// NUMCB: the number of context banks.
    pub numcb: u8,
    __: u8,
    /// NUMS2CB: how many of them have stage 2 only.
    pub nums2cb: u8,
    #[bits(4)]
    __: u8,
    /// NUMPAGENDXB: each half of the window has 2 to the power of this and one pages.
    #[bits(3)]
    pub numpagendxb: u8,
    /// PAGESIZE: pages have 64 KiB.
    pub pagesize: bool,
}

/// ID2 (6.1, `arm_smmu_device_cfg_probe`).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Id2 {
    /// IAS: the size of intermediate addresses.
    #[bits(4)]
    pub ias: u8,
    /// OAS: the size of physical addresses.
    #[bits(4)]
    pub oas: u8,
    /// UBS, the AArch64 formats, and VMID16: none.
    #[bits(24)]
    __: u32,
}

/// sGFSR: the bits of IHI0062, of which 6.1 names USF.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Gfsr {
    /// ICF: a stream's context is one that faults.
    pub icf: bool,
    /// USF: a stream matches no group (6.1).
    pub usf: bool,
    /// SMCF: a stream matches several groups.
    pub smcf: bool,
    /// UCBF: a stream's context bank does not exist.
    pub ucbf: bool,
    #[bits(27)]
    __: u32,
    /// MULTI: a further fault came when one was recorded already.
    pub multi: bool,
}

/// The bits that sGFSR has here.
pub const GFSR_FAULTS: u32 = 0x8000_000f;

/// sGFSYNR0 (IHI0062).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Gfsynr0 {
    __: bool,
    /// WNR: the access was a write.
    pub wnr: bool,
    #[bits(30)]
    __: u32,
}

/// SMR: which stream IDs a group is of (6.1).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Smr {
    /// ID.
    #[bits(15)]
    pub id: u16,
    __: bool,
    /// MASK: bits of the ID that do not count.
    #[bits(15)]
    pub mask: u16,
    /// VALID.
    pub valid: bool,
}

/// S2CR: what accesses of a group's streams meet (6.1). The fields that say nothing here are
/// stored.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct S2cr {
    /// CBNDX: the context bank.
    pub cbndx: u8,
    __: u8,
    /// TYPE.
    #[bits(2)]
    pub kind: S2crKind,
    #[bits(14)]
    __: u16,
}

/// S2CR.TYPE (6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum S2crKind {
    /// Translated through the context bank.
    Translate = 0,
    /// Not translated.
    Bypass = 1,
    /// Every access faults. So it does for 3, which is reserved, as a choice.
    Fault = 2,
}

impl S2crKind {
    /// Returns the type for the field's two bits.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Translate,
            1 => Self::Bypass,
            _ => Self::Fault,
        }
    }

    /// Returns the field's two bits.
    pub const fn into_bits(self) -> u8 {
        self as u8
    }
}
