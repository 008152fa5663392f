//! Registers of the SYS-DMAC of R-Car Gen2.
//!
//! Offsets and bits are those that Linux uses (drivers/dma/sh/rcar-dmac.c of Linux 6.1), as there
//! is no public manual; what its driver does not use is not here.

/// Channels of a controller (arch/arm/boot/dts/r8a7791.dtsi, `dma-channels`).
pub const CHANNELS: usize = 15;
/// Bytes of the registers that all channels share.
pub const COMMON_BYTES: u64 = 0x8000;
/// Distance in bytes from the registers of one channel to those of the next.
pub const CHANNEL_STRIDE: u64 = 0x80;

/// Registers that all channels share.
pub mod common {
    /// Which channels request an interrupt, one bit each; read-only.
    pub const ISTA: u64 = 0x20;
    /// Security of channels: kept, and means nothing here.
    pub const SEC: u64 = 0x30;
    /// Operation, of 16 bits.
    pub const OR: u64 = 0x60;
    /// Resets channels, one bit each; write-only.
    pub const CHCLR: u64 = 0x80;
    /// Security of descriptor memory: kept, and means nothing here.
    pub const DPSEC: u64 = 0xa0;
}

/// Bits of [`common::OR`].
pub mod or {
    /// All channels may transfer.
    pub const DME: u16 = 1 << 0;
    /// An address error has stopped all channels; writing zero clears it.
    pub const AE: u16 = 1 << 2;
    /// Priorities among channels: kept, and means nothing here.
    pub const PRI: u16 = 3 << 8;
}

/// Registers of a channel, from its base.
pub mod channel {
    /// Source address, bits 31 to 0.
    pub const SAR: u64 = 0x00;
    /// Destination address, bits 31 to 0.
    pub const DAR: u64 = 0x04;
    /// Units left to be read; 0 at the start is 2^24.
    pub const TCR: u64 = 0x08;
    /// Control.
    pub const CHCR: u64 = 0x0c;
    /// Source address, bits 39 to 32.
    pub const FIXSAR: u64 = 0x10;
    /// Destination address, bits 39 to 32.
    pub const FIXDAR: u64 = 0x14;
    /// Units left to be written.
    pub const TCRB: u64 = 0x18;
    /// Control of descriptors.
    pub const CHCRB: u64 = 0x1c;
    /// Which peripheral requests transfers, of 16 bits.
    pub const RS: u64 = 0x40;
    /// Buffers: kept, and means nothing here.
    pub const BUFCR: u64 = 0x48;
    /// Address of the descriptors, bits 31 to 4, and where they are.
    pub const DPBASE: u64 = 0x50;
    /// Which stage interrupts.
    pub const DPCR: u64 = 0x54;
    /// Address of the descriptors, bits 39 to 32.
    pub const FIXDPBASE: u64 = 0x60;
}

/// Bits of [`channel::CHCR`].
pub mod chcr {
    /// An address error has stopped the channel; writing zero clears it.
    pub const CAE: u32 = 1 << 31;
    /// An address error stops this channel alone, and interrupts by its line.
    pub const CAIE: u32 = 1 << 30;
    /// The position of the descriptor mode: see [`super::Mode`].
    pub const DPM_SHIFT: u32 = 28;
    /// A descriptor has a source address.
    pub const RPT_SAR: u32 = 1 << 27;
    /// A descriptor has a destination address.
    pub const RPT_DAR: u32 = 1 << 26;
    /// A descriptor has a number of units.
    pub const RPT_TCR: u32 = 1 << 25;
    /// The first descriptor is read before the first unit is transferred, which it always is here.
    #[cfg(test)]
    pub const DPB: u32 = 1 << 22;
    /// The stage has ended that was to interrupt; writing zero clears it.
    pub const DSE: u32 = 1 << 19;
    /// Interrupt on [`DSE`].
    pub const DSIE: u32 = 1 << 18;
    /// The position of the change of the destination address from unit to unit.
    pub const DM_SHIFT: u32 = 14;
    /// The position of the change of the source address from unit to unit.
    pub const SM_SHIFT: u32 = 12;
    /// The position of what requests transfers.
    pub const RS_SHIFT: u32 = 8;
    /// What requests transfers: nothing, they follow each other.
    pub const RS_AUTO: u32 = 4;
    /// Interrupt on [`TE`].
    pub const IE: u32 = 1 << 2;
    /// All units are transferred; writing zero clears it.
    pub const TE: u32 = 1 << 1;
    /// The channel may transfer.
    pub const DE: u32 = 1 << 0;
    /// Bits that the channel sets, and writing zero clears.
    pub const EVENTS: u32 = CAE | DSE | TE;
}

/// Bits of [`channel::CHCRB`].
pub mod chcrb {
    /// The position of the number of descriptors, less one.
    pub const DCNT_SHIFT: u32 = 24;
    /// The position of the number of the descriptor that is read next.
    pub const DPTR_SHIFT: u32 = 16;
    /// The field [`DPTR_SHIFT`] is the position of.
    pub const DPTR: u32 = 0xff << DPTR_SHIFT;
    /// Begins with the first descriptor again; reads as zero.
    pub const DRST: u32 = 1 << 15;
}

/// Bits of [`channel::DPBASE`].
pub mod dpbase {
    /// The address.
    pub const ADDRESS: u32 = 0xffff_fff0;
    /// Descriptors are in memory, not in the controller.
    pub const SEL: u32 = 1 << 0;
}

/// In [`channel::DPCR`]: the position of the stage that interrupts at its end.
pub const DIPT_SHIFT: u32 = 24;
/// Bits of a number of units.
pub const TCR_MASK: u32 = 0x00ff_ffff;
/// Bits of an address from 32 on.
pub const HIGH_MASK: u32 = 0xff;
/// Bytes of a descriptor: source, destination, number of units, and a word without a meaning.
pub const DESCRIPTOR_BYTES: usize = 16;

/// What descriptors are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There are none: registers say what is transferred.
    Registers,
    /// Each is done once.
    Once,
    /// After the last one comes the first again.
    Repeated,
}

/// How an address changes from unit to unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It stays.
    Fixed,
    /// It grows.
    Up,
    /// It shrinks.
    Down,
}
