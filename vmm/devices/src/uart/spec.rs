//! Registers of a 16550A (National Semiconductor PC16550D data sheet, June 1995; TI TL16C550C
//! agrees where no other table is named).

/// Receiver buffer (read), transmitter holding (write); divisor latch, low byte, while [`LCR_DLAB`] is set.
pub const DATA: u8 = 0;
/// Interrupt enable; divisor latch, high byte, while [`LCR_DLAB`] is set.
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

/// Interrupt on received data, and on a character time-out in FIFO mode.
pub const IER_RECEIVED: u8 = 1 << 0;
/// Interrupt on an empty transmitter holding register.
pub const IER_EMPTY: u8 = 1 << 1;
/// Interrupt on an error of the line.
pub const IER_LINE: u8 = 1 << 2;
/// Interrupt on a change of modem status.
pub const IER_MODEM: u8 = 1 << 3;
/// Bits of IER that exist.
pub const IER_MASK: u8 = 0xf;

/// Causes in order of priority (table IV).
pub const IIR_LINE: u8 = 0x6;
/// Received data at or above the trigger level.
pub const IIR_RECEIVED: u8 = 0x4;
/// Received data below the trigger level and nothing more on its way: character time-out.
pub const IIR_TIMEOUT: u8 = 0xc;
/// Transmitter holding register empty.
pub const IIR_EMPTY: u8 = 0x2;
/// Modem status changed.
pub const IIR_MODEM: u8 = 0x0;
/// No interrupt pending.
pub const IIR_NONE: u8 = 0x1;
/// Set while the FIFOs are enabled.
pub const IIR_FIFO: u8 = 0xc0;

/// FIFOs enabled; the other bits count only when this is written as 1.
pub const FCR_ENABLE: u8 = 1 << 0;
/// Empties the receiver's FIFO, clears itself.
pub const FCR_RESET_RECEIVER: u8 = 1 << 1;
/// Bits of FCR that are kept: enable, DMA mode (which has no effect without its pins) and the trigger level.
pub const FCR_KEPT: u8 = 0xc9;
/// The position of the trigger level.
pub const FCR_TRIGGER_SHIFT: u32 = 6;
/// Trigger levels of the receiver's FIFO, in bytes (table II).
pub const TRIGGERS: [usize; 4] = [1, 4, 8, 14];
/// Bytes that the receiver's FIFO holds.
pub const FIFO: usize = 16;

/// Registers 0 and 1 are the divisor latch.
pub const LCR_DLAB: u8 = 1 << 7;

/// Data terminal ready; in loop-back it drives data set ready.
pub const MCR_DTR: u8 = 1 << 0;
/// Request to send; in loop-back it drives clear to send.
pub const MCR_RTS: u8 = 1 << 1;
/// Output 1; in loop-back it drives the ring indicator.
pub const MCR_OUT1: u8 = 1 << 2;
/// Output 2; in loop-back it drives carrier detect.
pub const MCR_OUT2: u8 = 1 << 3;
/// Loop-back.
pub const MCR_LOOP: u8 = 1 << 4;
/// Bits of MCR that exist.
pub const MCR_MASK: u8 = 0x1f;

/// There is received data.
pub const LSR_DATA: u8 = 1 << 0;
/// A byte was lost; cleared by a read of LSR.
pub const LSR_OVERRUN: u8 = 1 << 1;
/// Transmitter holding register and shift register are empty, which they always are: what is written is sent at once.
pub const LSR_IDLE: u8 = 0x60;

/// The four lines, each above the bit that says that it changed since MSR was read.
pub const MSR_CTS: u8 = 1 << 4;
/// Data set ready.
pub const MSR_DSR: u8 = 1 << 5;
/// Ring indicator; its change bit is set by its trailing edge only.
pub const MSR_RI: u8 = 1 << 6;
/// Carrier detect.
pub const MSR_DCD: u8 = 1 << 7;
/// Distance between a line and its change bit.
pub const MSR_CHANGE_SHIFT: u32 = 4;
/// Bits of MSR that say what changed.
pub const MSR_CHANGES: u8 = 0xf;
/// The lines that the far end, a terminal that is always ready, drives.
pub const FAR_END: u8 = MSR_CTS | MSR_DSR | MSR_DCD;
