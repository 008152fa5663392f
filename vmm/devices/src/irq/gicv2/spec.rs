//! Registers of the GIC architecture, version 2 (Arm IHI 0048B.b, chapter 4). Offsets in bytes.

/// Distributor control (4.3.1).
pub const GICD_CTLR: u64 = 0x000;
/// Interrupt controller type (4.3.2).
pub const GICD_TYPER: u64 = 0x004;
/// Distributor implementer (4.3.3).
pub const GICD_IIDR: u64 = 0x008;
/// Interrupt groups, one bit each (4.3.4).
pub const GICD_IGROUPR: u64 = 0x080;
/// Set-enable (4.3.5).
pub const GICD_ISENABLER: u64 = 0x100;
/// Clear-enable (4.3.6).
pub const GICD_ICENABLER: u64 = 0x180;
/// Set-pending (4.3.7).
pub const GICD_ISPENDR: u64 = 0x200;
/// Clear-pending (4.3.8).
pub const GICD_ICPENDR: u64 = 0x280;
/// Set-active (4.3.9).
pub const GICD_ISACTIVER: u64 = 0x300;
/// Clear-active (4.3.10).
pub const GICD_ICACTIVER: u64 = 0x380;
/// Priorities, one byte each (4.3.11).
pub const GICD_IPRIORITYR: u64 = 0x400;
/// Processor targets, one byte each (4.3.12).
pub const GICD_ITARGETSR: u64 = 0x800;
/// Configuration, two bits each; the upper one tells edge (4.3.13).
pub const GICD_ICFGR: u64 = 0xc00;
/// Software generated interrupts (4.3.15).
pub const GICD_SGIR: u64 = 0xf00;
/// Clear-pending of SGIs, one byte of sources each (4.3.16).
pub const GICD_CPENDSGIR: u64 = 0xf10;
/// Set-pending of SGIs (4.3.17).
pub const GICD_SPENDSGIR: u64 = 0xf20;
/// Identification registers (4.3.18).
pub const GICD_ID: u64 = 0xfd0;

/// The values of the identification registers, one byte a word: a GIC-400 (DDI 0471B 3.2).
pub const GICD_ID_VALUES: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];
/// Implementer of the distributor: Arm, GIC-400 r0p1.
pub const GICD_IIDR_VALUE: u32 = 0x0200_143b;

/// CPU interface control (4.4.1).
pub const GICC_CTLR: u64 = 0x00;
/// Priority mask (4.4.2).
pub const GICC_PMR: u64 = 0x04;
/// Binary point (4.4.3).
pub const GICC_BPR: u64 = 0x08;
/// Interrupt acknowledge (4.4.4).
pub const GICC_IAR: u64 = 0x0c;
/// End of interrupt (4.4.5).
pub const GICC_EOIR: u64 = 0x10;
/// Running priority (4.4.6).
pub const GICC_RPR: u64 = 0x14;
/// Highest priority pending interrupt (4.4.7).
pub const GICC_HPPIR: u64 = 0x18;
/// Binary point of group 1 (4.4.8).
pub const GICC_ABPR: u64 = 0x1c;
/// Acknowledge of group 1 (4.4.9).
pub const GICC_AIAR: u64 = 0x20;
/// End of interrupt of group 1 (4.4.10).
pub const GICC_AEOIR: u64 = 0x24;
/// Highest priority pending interrupt of group 1 (4.4.11).
pub const GICC_AHPPIR: u64 = 0x28;
/// Active priorities (4.4.12).
pub const GICC_APR0: u64 = 0xd0;
/// CPU interface identification (4.4.14).
pub const GICC_IIDR: u64 = 0xfc;
/// Deactivate interrupt (4.4.15).
pub const GICC_DIR: u64 = 0x1000;

/// Implementer of the CPU interface: Arm, GIC-400, architecture version 2.
pub const GICC_IIDR_VALUE: u32 = 0x0202_143b;

/// GICC_CTLR: group 0 is signalled.
pub const CTLR_GROUP0: u32 = 1 << 0;
/// GICC_CTLR: group 1 is signalled.
pub const CTLR_GROUP1: u32 = 1 << 1;
/// GICC_CTLR: IAR acknowledges group 1 too.
pub const CTLR_ACK: u32 = 1 << 2;
/// GICC_CTLR: group 0 is signalled as FIQ.
pub const CTLR_FIQ: u32 = 1 << 3;
/// GICC_CTLR: BPR serves both groups.
pub const CTLR_CBPR: u32 = 1 << 4;
/// GICC_CTLR: EOIR drops the priority only, DIR deactivates.
pub const CTLR_EOIMODE: u32 = 1 << 9;
/// GICC_CTLR: everything that can be written; 5 to 8 are the bypass controls, which have nothing to
/// bypass.
pub const CTLR_WRITABLE: u32 = 0x1ff | CTLR_EOIMODE;

/// No interrupt is pending with sufficient priority.
pub const SPURIOUS: u32 = 1023;
/// The highest priority pending interrupt is of group 1 and cannot be acknowledged here.
pub const SPURIOUS_GROUP1: u32 = 1022;
/// Identifiers from here on are no interrupts.
pub const FIRST_SPECIAL: u32 = 1020;

/// Implemented bits of a priority: 32 levels, as GIC-400 has.
pub const PRIORITY_MASK: u8 = 0xf8;
/// The priority of an idle core: lower than any interrupt's.
pub const IDLE_PRIORITY: u8 = 0xff;
/// Least binary point of group 0 with 32 levels.
pub const BPR_MIN: u8 = 2;
/// Least binary point of group 1.
pub const ABPR_MIN: u8 = 3;
/// The greatest value of GICC_BPR and GICC_ABPR: three bits.
pub const BPR_MAX: u8 = 7;
