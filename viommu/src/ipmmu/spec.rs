//! The registers as data: offsets and bit layouts. Types only.
//!
//! There is no public manual. Every fact is from the Linux driver, drivers/iommu/ipmmu-vmsa.c:
//! "6.1" marks what the version in Debian's `linux-source-6.1` uses or names, "3.15" what the first
//! version in Linux 3.15 named besides. What neither tells, such as which bits hold what is written
//! to them, is a choice of this model and marked so.

use bitfield_struct::bitfield;
use strum::{FromRepr, IntoStaticStr, VariantArray};

/// Gen2: where the non-secure bank stands in the window (6.1, `IM_NS_ALIAS_OFFSET`).
pub const NON_SECURE_ALIAS: u64 = 0x800;

/// From one context's registers to the next one's (6.1, `ctx_offset_stride`).
pub const CONTEXT_STRIDE: u64 = 0x40;

/// From one uTLB's registers to the next one's (6.1, `IMUCTR0`).
pub const UTLB_STRIDE: u64 = 0x10;

/// Registers of uTLBs 0 to 31 (6.1, `IMUCTR0`).
pub const UTLB_BASE: u64 = 0x300;

/// Registers of uTLBs 32 and up, Gen3 (6.1, `IMUCTR32`).
pub const UTLB_HIGH_BASE: u64 = 0x600;

/// How many uTLBs have their registers from [`UTLB_BASE`] on (6.1, `IMUCTR`).
pub const UTLBS_LOW: usize = 32;

/// A register of one context, at its offset from the context's first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromRepr, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "UPPERCASE")]
#[repr(u8)]
pub enum ContextRegister {
    /// Control (6.1): [`Imctr`].
    Imctr = 0x00,
    /// Cache attributes for accesses of the walk (3.15).
    Imcaar = 0x04,
    /// Translation table base control (6.1): [`Imttbcr`].
    Imttbcr = 0x08,
    /// Bus control, Gen2 (6.1): [`Imbuscr`].
    Imbuscr = 0x0c,
    /// Translation table base 0, low word (6.1).
    Imttlbr0 = 0x10,
    /// Translation table base 0, high word (6.1).
    Imttubr0 = 0x14,
    /// Translation table base 1, low word (3.15).
    Imttlbr1 = 0x18,
    /// Translation table base 1, high word (3.15).
    Imttubr1 = 0x1c,
    /// Status (6.1): [`Imstr`].
    Imstr = 0x20,
    /// Memory attributes 0 to 3 (6.1).
    Immair0 = 0x28,
    /// Memory attributes 4 to 7 (3.15).
    Immair1 = 0x2c,
    /// Error address (6.1); `IMEAR` on Gen2, the low word on Gen3.
    Imelar = 0x30,
    /// Error address, high word, Gen3 (6.1).
    Imeuar = 0x34,
}

impl ContextRegister {
    /// Returns its name in the driver.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A register of one uTLB, at its offset from the uTLB's first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromRepr, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "UPPERCASE")]
#[repr(u8)]
pub enum UtlbRegister {
    /// Control (6.1): [`Imuctr`].
    Imuctr = 0x00,
    /// Address space identifiers (6.1).
    Imuasid = 0x08,
}

impl UtlbRegister {
    /// Returns its name in the driver.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Bits of IMTTUBR0 and IMTTUBR1: an address has 40 (6.1, `ipmmu_domain_init_context`, `cfg.oas`).
/// That the others read as zero is a choice.
pub const IMTTUBR_MASK: u32 = 0xff;

/// Bits of IMUASID: two identifiers of 8 bits (3.15, `IMUASID_ASID0_MASK`, `IMUASID_ASID8_MASK`).
pub const IMUASID_MASK: u32 = 0xffff;

/// IMCTR: control of a context.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Imctr {
    /// MMUEN: accesses on this context are translated (6.1).
    pub mmuen: bool,
    /// FLUSH: writing 1 flushes the TLB; reads as 1 until that is done (6.1, `ipmmu_tlb_sync`).
    pub flush: bool,
    /// INTEN: a fault raises the interrupt (6.1).
    pub inten: bool,
    /// TREN (3.15).
    pub tren: bool,
    /// RTSEL (3.15).
    #[bits(2)]
    pub rtsel: u8,
    #[bits(10)]
    __: u16,
    /// AFE: a clear access flag faults (3.15; 6.1, the comment in `ipmmu_domain_setup_context`).
    pub afe: bool,
    /// TRE: TEX remap, for short descriptors (3.15).
    pub tre: bool,
    #[bits(14)]
    __: u16,
}

/// IMTTBCR: translation table base control of a context.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Imttbcr {
    /// TSZ0: how many address bits region 0 is smaller than 32 (3.15).
    #[bits(3)]
    pub tsz0: u8,
    #[bits(1)]
    __: u8,
    /// SL0 on Gen2: the level of the first table of region 0 (6.1, `IMTTBCR_SL0_LVL_1`):
    /// [`Sl0::OneBit`].
    #[bits(2)]
    pub sl0: u8,
    /// SL0 on Gen3 (6.1, `IMTTBCR_SL0_TWOBIT_LVL_1`): [`Sl0::TwoBit`].
    #[bits(2)]
    pub sl0_twobit: u8,
    /// IRGN0: inner cacheability of walks (6.1).
    #[bits(2)]
    pub irgn0: u8,
    /// ORGN0: outer cacheability of walks (6.1).
    #[bits(2)]
    pub orgn0: u8,
    /// SH0: shareability of walks (6.1).
    #[bits(2)]
    pub sh0: u8,
    #[bits(2)]
    __: u8,
    /// TSZ1: as TSZ0, of region 1 (3.15).
    #[bits(3)]
    pub tsz1: u8,
    #[bits(5)]
    __: u8,
    /// IRGN1 (3.15).
    #[bits(2)]
    pub irgn1: u8,
    /// ORGN1 (3.15).
    #[bits(2)]
    pub orgn1: u8,
    /// SH1 (3.15).
    #[bits(2)]
    pub sh1: u8,
    /// PMB (3.15).
    pub pmb: bool,
    /// EAE: long descriptors (6.1). Short ones are not modelled.
    pub eae: bool,
}

/// How IMTTBCR names the level of the first table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sl0 {
    /// [`Imttbcr::sl0`]: 0 is level 2 (3.15), 1 is level 1 (6.1).
    OneBit,
    /// [`Imttbcr::sl0_twobit`]: 2 is level 1 (6.1); that 1 is level 2 and 0 is level 3 is a choice,
    /// and follows from it.
    TwoBit,
}

/// IMBUSCR: bus control of a context, Gen2.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Imbuscr {
    /// BUSSEL (6.1).
    #[bits(2)]
    pub bussel: u8,
    /// DVM: distributed virtual memory messages (6.1).
    pub dvm: bool,
    #[bits(29)]
    __: u32,
}

/// IMSTR: fault status of a context. Bits that are written as 0 are cleared (6.1,
/// `ipmmu_domain_irq`: "this status register seems to require 0").
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Imstr {
    /// TF: translation fault (6.1).
    pub tf: bool,
    /// PF: page fault; ERRCODE tells which (6.1).
    pub pf: bool,
    /// ABORT: a walk was aborted (6.1).
    pub abort: bool,
    #[bits(1)]
    __: u8,
    /// MHIT: several TLB entries hit (6.1).
    pub mhit: bool,
    #[bits(3)]
    __: u8,
    /// ERRCODE (3.15): [`ErrorCode`].
    #[bits(3)]
    pub errcode: u8,
    #[bits(1)]
    __: u8,
    /// ERRLVL: the level of the descriptor at fault (3.15).
    #[bits(2)]
    pub errlvl: u8,
    #[bits(18)]
    __: u32,
}

/// IMSTR.ERRCODE (3.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// None is told.
    None = 0,
    /// `IMSTR_ERRCODE_TLB_FORMAT`.
    TlbFormat = 1,
    /// `IMSTR_ERRCODE_ACCESS_PERM`.
    AccessPermission = 4,
    /// `IMSTR_ERRCODE_SECURE_ACCESS`.
    SecureAccess = 5,
}

/// IMUCTR: control of a uTLB.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Imuctr {
    /// MMUEN: accesses through this uTLB are translated (6.1).
    pub mmuen: bool,
    /// FLUSH: writing 1 flushes the uTLB (6.1). That it reads as 1 until that is done is a choice.
    pub flush: bool,
    #[bits(2)]
    __: u8,
    /// TTSEL: the context (6.1, `IMUCTR_TTSEL_MMU`), or [`TTSEL_PMB`].
    #[bits(4)]
    pub ttsel: u8,
    #[bits(8)]
    __: u8,
    /// FIXADD (3.15); reads as 0 here.
    pub fixadd: u8,
    #[bits(7)]
    __: u8,
    /// FIXADDEN (3.15); reads as 0 here.
    pub fixadden: bool,
}

/// IMUCTR.TTSEL on Gen2: translation by the PMB, which is not modelled (3.15, `IMUCTR_TTSEL_PMB`).
pub const TTSEL_PMB: u8 = 8;
