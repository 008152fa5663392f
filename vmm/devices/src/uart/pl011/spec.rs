//! Registers of a PL011 (Arm DDI 0183G, chapter 3).

/// Offsets of registers.
pub mod offset {
    /// Data.
    pub const DR: u64 = 0x000;
    /// Errors of what was received (read), error clear (write).
    pub const RSR_ECR: u64 = 0x004;
    /// Flags, read-only.
    pub const FR: u64 = 0x018;
    /// Divisor of the low-power clock.
    pub const ILPR: u64 = 0x020;
    /// Integer part of the baud-rate divisor.
    pub const IBRD: u64 = 0x024;
    /// Fractional part of the baud-rate divisor.
    pub const FBRD: u64 = 0x028;
    /// Line control.
    pub const LCR_H: u64 = 0x02c;
    /// Control.
    pub const CR: u64 = 0x030;
    /// Trigger levels of the FIFOs.
    pub const IFLS: u64 = 0x034;
    /// Interrupt mask: a bit that is set lets an interrupt through.
    pub const IMSC: u64 = 0x038;
    /// Interrupts before the mask, read-only.
    pub const RIS: u64 = 0x03c;
    /// Interrupts behind the mask, read-only.
    pub const MIS: u64 = 0x040;
    /// Interrupt clear, write-only.
    pub const ICR: u64 = 0x044;
    /// DMA control.
    pub const DMACR: u64 = 0x048;
    /// First of the eight words that say what the part is.
    pub const ID: u64 = 0xfe0;
}

/// In [`offset::DR`]: a byte was lost before this one. Above the eight bits of data.
pub const DR_OVERRUN: u32 = 1 << 11;
/// In [`offset::RSR_ECR`]: a byte was lost.
pub const RSR_OVERRUN: u32 = 1 << 3;

/// Flags.
pub mod fr {
    /// Clear to send.
    pub const CTS: u32 = 1 << 0;
    /// Data set ready.
    pub const DSR: u32 = 1 << 1;
    /// Carrier detect.
    pub const DCD: u32 = 1 << 2;
    /// The receiver holds nothing.
    pub const RXFE: u32 = 1 << 4;
    /// The receiver is full.
    pub const RXFF: u32 = 1 << 6;
    /// The transmitter holds nothing.
    pub const TXFE: u32 = 1 << 7;
    /// Ring indicator.
    pub const RI: u32 = 1 << 8;
}

/// Line control.
pub mod lcr_h {
    /// FIFOs enabled.
    pub const FEN: u32 = 1 << 4;
    /// Bits that exist.
    pub const MASK: u32 = 0xff;
}

/// Control.
pub mod cr {
    /// The UART is enabled.
    pub const UARTEN: u32 = 1 << 0;
    /// Loop-back.
    pub const LBE: u32 = 1 << 7;
    /// The transmitter is enabled.
    pub const TXE: u32 = 1 << 8;
    /// The receiver is enabled.
    pub const RXE: u32 = 1 << 9;
    /// Data terminal ready; in loop-back it drives data set ready.
    pub const DTR: u32 = 1 << 10;
    /// Request to send; in loop-back it drives clear to send.
    pub const RTS: u32 = 1 << 11;
    /// Output 1; in loop-back it drives carrier detect.
    pub const OUT1: u32 = 1 << 12;
    /// Output 2; in loop-back it drives the ring indicator.
    pub const OUT2: u32 = 1 << 13;
    /// Bits that exist.
    pub const MASK: u32 = 0xff87;
}

/// Interrupts, the same in IMSC, RIS, MIS and ICR.
pub mod interrupt {
    /// Ring indicator changed.
    pub const RI: u32 = 1 << 0;
    /// Clear to send changed.
    pub const CTS: u32 = 1 << 1;
    /// Carrier detect changed.
    pub const DCD: u32 = 1 << 2;
    /// Data set ready changed.
    pub const DSR: u32 = 1 << 3;
    /// The receiver has come to its trigger level.
    pub const RX: u32 = 1 << 4;
    /// The transmitter has come down to its trigger level.
    pub const TX: u32 = 1 << 5;
    /// The receiver holds something, and nothing more comes.
    pub const RT: u32 = 1 << 6;
    /// A byte was lost.
    pub const OE: u32 = 1 << 10;
    /// Bits that exist: with the errors of frames, parity and breaks, which this line has not.
    pub const MASK: u32 = 0x7ff;
    /// Those that can be raised here.
    pub const POSSIBLE: u32 = RI | CTS | DCD | DSR | RX | TX | RT | OE;
}

/// Bits of ILPR that exist.
pub const ILPR_MASK: u32 = 0xff;
/// Bits of IBRD that exist.
pub const IBRD_MASK: u32 = 0xffff;
/// Bits of FBRD that exist.
pub const FBRD_MASK: u32 = 0x3f;
/// Bits of IFLS that exist.
pub const IFLS_MASK: u32 = 0x3f;
/// Position of the receiver's trigger level in IFLS, of three bits.
pub const IFLS_RX_SHIFT: u32 = 3;
/// IFLS at reset: half of either FIFO.
pub const IFLS_AT_RESET: u32 = 0x12;
/// Bits of DMACR that exist.
pub const DMACR_MASK: u32 = 0x7;

/// Trigger levels of the receiver, in bytes of [`FIFO`], by their number in IFLS: an eighth, a
/// quarter, a half, three quarters, seven eighths. Others are reserved, and taken for the last.
pub const TRIGGERS: [usize; 8] = [2, 4, 8, 12, 14, 14, 14, 14];
/// Bytes that the receiver's FIFO holds, up to revision r1p4.
pub const FIFO: usize = 16;
/// The lines that the far end, a terminal that is always ready, drives.
pub const FAR_END: u32 = fr::CTS | fr::DSR | fr::DCD;
/// UARTPeriphID0 to 3 of revision r1p4 (a FIFO of 16 bytes), and UARTPCellID0 to 3.
pub const IDS: [u8; 8] = [0x11, 0x10, 0x24, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
