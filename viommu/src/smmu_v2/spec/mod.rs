//! The registers as data: offsets, bit layouts, numbers. Types only.
//!
//! Every fact has its source: "6.1" marks what the Linux driver of that version,
//! drivers/iommu/arm/arm-smmu/arm-smmu.c and arm-smmu.h, uses or names; "IHI0062" marks what the
//! architecture, Arm IHI 0062 (SMMU architecture version 2), has besides. What is left to
//! implementations, or to nobody, is a choice of this model and marked so.

mod bank;
mod global;

pub use bank::{
    BankRegister, Cbar, CbarKind, FSR_FAULTS, Fsr, Fsynr0, Operation, PAR_ADDRESS, PAR_FAULT,
    Sctlr, TTBR_ADDRESS, Tcr, bank_offset, ttbr_mask,
};
pub use global::{
    Cr0, GFSR_FAULTS, Gfsr, Gfsynr0, GlobalRegister, Id0, Id1, Id2, S2cr, S2crKind, Smr,
    group_offset,
};

/// Bytes of a page of registers: ID1.PAGESIZE is 0 (6.1, `arm_smmu_device_cfg_probe`). Page 0 has
/// the global registers (6.1, `ARM_SMMU_GR0`), page 1 those that say what banks are (6.1,
/// `ARM_SMMU_GR1`), and each page of the upper half of the window a context bank (6.1,
/// `ARM_SMMU_CB`).
pub const PAGE: u64 = 0x1000;

/// Log2 of the bytes of the smallest thing that can be invalidated: a page of the tables, in which
/// TLBIVA names addresses (6.1, `arm_smmu_tlb_inv_range_s1`).
pub const PAGE_BITS: u8 = 12;

/// The stream mapping groups that there may be. The driver takes what ID0.NUMSMRG says; more than
/// 128 have no place at their offsets (IHI0062, SMMU_SMRn). The lower limit is a choice.
pub const GROUPS: std::ops::RangeInclusive<u32> = 16..=128;

/// The context banks that there may be: one of these numbers or between them. The architecture has
/// up to 128 (IHI0062, SMMU_IDR1.NUMCB); these limits are a choice.
pub const BANKS: std::ops::RangeInclusive<u32> = 8..=64;

/// Bits of a stream ID: ID0.NUMSIDB (6.1). That there are as many as can be is a choice.
pub const STREAM_ID_BITS: u8 = 15;

/// Bits of an IOVA: what the long-descriptor format of AArch32 has (6.1,
/// `arm_smmu_init_domain_context`).
pub const INPUT_BITS: u8 = 32;

/// Bits of a physical address: those of the long-descriptor format, which ID2 says as 2 (6.1,
/// `arm_smmu_id_size_to_bits`).
pub const OUTPUT_BITS: u8 = 40;

/// ID2.IAS and ID2.OAS for 40 bits (6.1, `arm_smmu_id_size_to_bits`).
pub const SIZE_40: u8 = 2;

/// Returns the pages of each half of the window of an SMMU with so many context banks: a power of
/// two (6.1, `arm_smmu_device_cfg_probe`, from ID1.NUMPAGENDXB), at least as many as there are
/// banks.
pub const fn half_pages(banks: u32) -> u32 {
    banks.next_power_of_two()
}

/// Returns the bytes of the window of an SMMU with so many context banks.
pub const fn window(banks: u32) -> u64 {
    2 * half_pages(banks) as u64 * PAGE
}
