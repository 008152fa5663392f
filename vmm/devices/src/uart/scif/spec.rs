//! Registers of the SCIF of R-Car Gen2, with the baud-rate generator for an external clock.
//!
//! Offsets and bits are those that Linux uses (drivers/tty/serial/sh-sci.h and sh-sci.c,
//! `SCIx_SH4_SCIF_BRG_REGTYPE`), as there is no public manual; what happens to them is as in the
//! manuals of SH-4's SCIF, which it descends from (SH7750 hardware manual, section 16).

/// Offsets of registers. [`BRR`](offset::BRR), [`FTDR`](offset::FTDR) and
/// [`FRDR`](offset::FRDR) have 8 bits, the others 16.
pub mod offset {
    /// Mode.
    pub const SMR: u64 = 0x00;
    /// Bit rate.
    pub const BRR: u64 = 0x04;
    /// Control.
    pub const SCR: u64 = 0x08;
    /// Transmit FIFO, write-only.
    pub const FTDR: u64 = 0x0c;
    /// Status.
    pub const FSR: u64 = 0x10;
    /// Receive FIFO, read-only.
    pub const FRDR: u64 = 0x14;
    /// FIFO control.
    pub const FCR: u64 = 0x18;
    /// Bytes in both FIFOs, read-only.
    pub const FDR: u64 = 0x1c;
    /// Levels of the pins.
    pub const SPTR: u64 = 0x20;
    /// Line status.
    pub const LSR: u64 = 0x24;
    /// Divisor of the external clock.
    pub const DL: u64 = 0x30;
    /// Which clock is used.
    pub const CKS: u64 = 0x34;
}

/// Control.
pub mod scr {
    /// Interrupt on an empty transmit FIFO.
    pub const TIE: u16 = 1 << 7;
    /// Interrupt on received data, and on errors.
    pub const RIE: u16 = 1 << 6;
    /// The transmitter is on.
    pub const TE: u16 = 1 << 5;
    /// The receiver is on.
    pub const RE: u16 = 1 << 4;
    /// Interrupt on errors.
    pub const REIE: u16 = 1 << 3;
    /// Bits that exist.
    pub const MASK: u16 = 0xff;
}

/// Status.
pub mod fsr {
    /// Everything is sent.
    pub const TEND: u16 = 1 << 6;
    /// The transmit FIFO holds no more than its trigger level.
    pub const TDFE: u16 = 1 << 5;
    /// The receive FIFO holds its trigger level or more.
    pub const RDF: u16 = 1 << 1;
    /// The receive FIFO holds less than its trigger level, and nothing more came.
    pub const DR: u16 = 1 << 0;
}

/// FIFO control.
pub mod fcr {
    /// The position of the trigger level of the receive FIFO.
    pub const RTRG_SHIFT: u32 = 6;
    /// Keeps the receive FIFO empty.
    pub const RFRST: u16 = 1 << 1;
    /// What is transmitted is received.
    pub const LOOP: u16 = 1 << 0;
    /// Bits that exist.
    pub const MASK: u16 = 0x7ff;
}

/// Line status.
pub mod lsr {
    /// A byte was lost; writing zero clears it.
    pub const ORER: u16 = 1 << 0;
}

/// Trigger levels of the receive FIFO, in bytes.
pub const TRIGGERS: [usize; 4] = [1, 4, 8, 14];
/// Bytes that a FIFO holds.
pub const FIFO: usize = 16;
