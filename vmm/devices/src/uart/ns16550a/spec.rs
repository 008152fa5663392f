//! Registers of a 16550A (National Semiconductor PC16550D data sheet, June 1995; TI TL16C550C
//! agrees where no other table is named).

/// Offsets of registers.
pub mod offset {
    /// Receiver buffer (read), transmitter holding (write); divisor latch, low byte, while
    /// [`DLAB`](super::lcr::DLAB) is set.
    pub const DATA: u8 = 0;
    /// Interrupt enable; divisor latch, high byte, while [`DLAB`](super::lcr::DLAB) is set.
    pub const IER: u8 = 1;
    /// Interrupt identification (read), FIFO control (write).
    pub const IIR_FCR: u8 = 2;
    /// Line control.
    pub const LCR: u8 = 3;
    /// Modem control.
    pub const MCR: u8 = 4;
    /// Line status, read-only.
    pub const LSR: u8 = 5;
    /// Modem status, read-only.
    pub const MSR: u8 = 6;
    /// Scratch.
    pub const SCR: u8 = 7;
}

/// Interrupt enable.
pub mod ier {
    /// Interrupt on received data, and on a character time-out in FIFO mode.
    pub const RECEIVED: u8 = 1 << 0;
    /// Interrupt on an empty transmitter holding register.
    pub const EMPTY: u8 = 1 << 1;
    /// Interrupt on an error of the line.
    pub const LINE: u8 = 1 << 2;
    /// Interrupt on a change of modem status.
    pub const MODEM: u8 = 1 << 3;
    /// Bits of IER that exist.
    pub const MASK: u8 = 0xf;
}

/// Interrupt identification.
pub mod iir {
    /// Causes in order of priority (table IV).
    pub const LINE: u8 = 0x6;
    /// Received data at or above the trigger level.
    pub const RECEIVED: u8 = 0x4;
    /// Received data below the trigger level and nothing more on its way: character time-out.
    pub const TIMEOUT: u8 = 0xc;
    /// Transmitter holding register empty.
    pub const EMPTY: u8 = 0x2;
    /// Modem status changed.
    pub const MODEM: u8 = 0x0;
    /// No interrupt pending.
    pub const NONE: u8 = 0x1;
    /// Set while the FIFOs are enabled.
    pub const FIFO: u8 = 0xc0;
}

/// FIFO control.
pub mod fcr {
    /// FIFOs enabled; the other bits count only when this is written as 1.
    pub const ENABLE: u8 = 1 << 0;
    /// Empties the receiver's FIFO, clears itself.
    pub const RESET_RECEIVER: u8 = 1 << 1;
    /// Bits of FCR that are kept: enable, DMA mode (which has no effect without its pins) and the
    /// trigger level.
    pub const KEPT: u8 = 0xc9;
    /// The position of the trigger level.
    pub const TRIGGER_SHIFT: u32 = 6;
}

/// Line control.
pub mod lcr {
    /// Registers 0 and 1 are the divisor latch.
    pub const DLAB: u8 = 1 << 7;
}

/// Modem control.
pub mod mcr {
    /// Data terminal ready; in loop-back it drives data set ready.
    pub const DTR: u8 = 1 << 0;
    /// Request to send; in loop-back it drives clear to send.
    pub const RTS: u8 = 1 << 1;
    /// Output 1; in loop-back it drives the ring indicator.
    pub const OUT1: u8 = 1 << 2;
    /// Output 2; in loop-back it drives carrier detect.
    pub const OUT2: u8 = 1 << 3;
    /// Loop-back.
    pub const LOOP: u8 = 1 << 4;
    /// Bits of MCR that exist.
    pub const MASK: u8 = 0x1f;
}

/// Line status.
pub mod lsr {
    /// There is received data.
    pub const DATA: u8 = 1 << 0;
    /// A byte was lost; cleared by a read of LSR.
    pub const OVERRUN: u8 = 1 << 1;
    /// Transmitter holding register and shift register are empty, which they always are: what is
    /// written is sent at once.
    pub const IDLE: u8 = 0x60;
}

/// Modem status.
pub mod msr {
    /// The four lines, each above the bit that says that it changed since MSR was read.
    pub const CTS: u8 = 1 << 4;
    /// Data set ready.
    pub const DSR: u8 = 1 << 5;
    /// Ring indicator; its change bit is set by its trailing edge only.
    pub const RI: u8 = 1 << 6;
    /// Carrier detect.
    pub const DCD: u8 = 1 << 7;
    /// Distance between a line and its change bit.
    pub const CHANGE_SHIFT: u32 = 4;
    /// Bits of MSR that say what changed.
    pub const CHANGES: u8 = 0xf;
}

/// Trigger levels of the receiver's FIFO, in bytes (table II).
pub const TRIGGERS: [usize; 4] = [1, 4, 8, 14];
/// Bytes that the receiver's FIFO holds.
pub const FIFO: usize = 16;
/// The lines that the far end, a terminal that is always ready, drives.
pub const FAR_END: u8 = msr::CTS | msr::DSR | msr::DCD;
