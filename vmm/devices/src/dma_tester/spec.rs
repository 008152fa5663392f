//! The register page of the DMA tester, and what an operation is. The device is this project's own:
//! docs/dma-tester.md is its manual.
//!
//! Registers are words of 32 bits, little-endian, at multiples of 4. What is not listed reads as
//! zero and ignores writes.

/// Size of the window of registers.
pub const WINDOW: u64 = 0x1000;

/// What the device is: [`ID_VALUE`]. Read-only.
pub const ID: u64 = 0x000;
/// "DMAT", in the order of memory.
pub const ID_VALUE: u32 = 0x5441_4d44;
/// The version of this page: [`VERSION_VALUE`]. Read-only.
pub const VERSION: u64 = 0x004;
/// The only version so far.
pub const VERSION_VALUE: u32 = 1;
/// How many requesters the device has, which are numbered from 0. Read-only.
pub const REQUESTERS: u64 = 0x008;
/// Which requester the next operation accesses memory as.
pub const REQUESTER: u64 = 0x00c;
/// Lower half of the first address, as the requester uses it.
pub const ADDRESS_LO: u64 = 0x010;
/// Upper half of it.
pub const ADDRESS_HI: u64 = 0x014;
/// Bytes of one access; not 0.
pub const LENGTH: u64 = 0x018;
/// Accesses of a burst; not 0.
pub const COUNT: u64 = 0x01c;
/// From the first address of an access to that of the next one, in bytes, signed.
pub const STRIDE: u64 = 0x020;
/// How often the burst is done; not 0.
pub const REPEAT: u64 = 0x024;
/// Nanoseconds of the machine's clock from the command to its first access.
pub const DELAY: u64 = 0x028;
/// Nanoseconds from the end of a burst to the next repetition of it.
pub const INTERVAL: u64 = 0x02c;
/// What fills memory, and what it is compared with: [`PATTERN_WORD`] and so on.
pub const PATTERN: u64 = 0x030;
/// The word of the pattern, or its seed.
pub const DATA: u64 = 0x034;
/// [`CONTROL_GO_ON`]; other bits are 0.
pub const CONTROL: u64 = 0x038;
/// Starts an operation, or ends one: [`COMMAND_ABORT`] and so on. Reads as zero.
pub const COMMAND: u64 = 0x03c;
/// What became of the last operation: [`STATUS_BUSY`] and so on. Read-only.
pub const STATUS: u64 = 0x040;
/// Why the first refused access of the operation was refused: [`REASON_NONE`] and so on.
/// Read-only.
pub const FAULT_REASON: u64 = 0x044;
/// Lower half of the first address of the operation that was refused. Read-only.
pub const FAULT_LO: u64 = 0x048;
/// Upper half of it. Read-only.
pub const FAULT_HI: u64 = 0x04c;
/// Accesses of the operation that were refused, or as many as the register holds. Read-only.
pub const FAULTS: u64 = 0x050;
/// Accesses of the operation that are over, refused or not; it wraps. Read-only.
pub const ACCESSES: u64 = 0x054;
/// Lower half of the number of bytes that the operation has moved. Read-only.
pub const MOVED_LO: u64 = 0x058;
/// Upper half of it. Read-only.
pub const MOVED_HI: u64 = 0x05c;
/// CRC-32 (that of zip and Ethernet) of all bytes that the operation has read, in their order.
/// Read-only.
pub const CHECKSUM: u64 = 0x060;
/// Bytes that differed from what they were compared with, or as many as the register holds.
/// Read-only.
pub const MISMATCHES: u64 = 0x064;
/// Lower half of the address of the first byte that differed. Read-only.
pub const MISMATCH_LO: u64 = 0x068;
/// Upper half of it. Read-only.
pub const MISMATCH_HI: u64 = 0x06c;
/// Which bits of [`INTERRUPT_STATUS`] raise the interrupt line.
pub const INTERRUPT_ENABLE: u64 = 0x070;
/// What has happened: [`INTERRUPT_DONE`] and so on. A 1 that is written clears its bit.
pub const INTERRUPT_STATUS: u64 = 0x074;
/// First word of the buffer: what the last read has read, and what a write writes.
pub const BUFFER: u64 = 0x800;
/// Bytes of the buffer. An operation that is longer goes round in it.
pub const BUFFER_SIZE: usize = 0x400;

/// [`PATTERN`]: every word is [`DATA`].
pub const PATTERN_WORD: u32 = 0;
/// [`PATTERN`]: word `n` of a burst is `(DATA + n) * SEQUENCE_FACTOR`, modulo 2^32.
pub const PATTERN_SEQUENCE: u32 = 1;
/// [`PATTERN`]: the contents of the buffer.
pub const PATTERN_BUFFER: u32 = 2;
/// See [`PATTERN_SEQUENCE`]: odd, so that no two words of it are the same.
pub const SEQUENCE_FACTOR: u32 = 0x9e37_79b1;

/// [`CONTROL`]: a refused access does not end the operation; the next access follows.
pub const CONTROL_GO_ON: u32 = 1 << 0;

/// [`COMMAND`]: ends the operation where it is.
pub const COMMAND_ABORT: u32 = 0;
/// [`COMMAND`]: reads memory, into the buffer and the checksum.
pub const COMMAND_READ: u32 = 1;
/// [`COMMAND`]: writes the buffer to memory.
pub const COMMAND_WRITE: u32 = 2;
/// [`COMMAND`]: reads memory and compares it with the pattern.
pub const COMMAND_COMPARE: u32 = 3;
/// [`COMMAND`]: fills memory with the pattern.
pub const COMMAND_FILL: u32 = 4;

/// [`STATUS`]: an operation waits or is under way.
pub const STATUS_BUSY: u32 = 1 << 0;
/// [`STATUS`]: the operation came to its end, or a refused access ended it.
pub const STATUS_DONE: u32 = 1 << 1;
/// [`STATUS`]: an access was refused.
pub const STATUS_FAULT: u32 = 1 << 2;
/// [`STATUS`]: a comparison found a difference.
pub const STATUS_MISMATCH: u32 = 1 << 3;
/// [`STATUS`]: the operation was aborted.
pub const STATUS_ABORTED: u32 = 1 << 4;
/// [`STATUS`]: the last command was not carried out: there is no such command or pattern, a
/// register must not be 0, there is no such requester, or another operation is busy.
pub const STATUS_REFUSED: u32 = 1 << 5;

/// [`FAULT_REASON`]: nothing was refused.
pub const REASON_NONE: u32 = 0;
/// [`FAULT_REASON`]: the access led, translated or not, to where no memory is.
pub const REASON_NO_MEMORY: u32 = 1;
/// [`FAULT_REASON`]: the access went on beyond the end of the address space.
pub const REASON_OVERFLOW: u32 = 2;
/// [`FAULT_REASON`]: from here on the IOMMU refused it: 16 translation, 17 access flag, 18
/// permission, 19 format, 20 address size, 21 secure, 22 abort on a table walk, 23 multiple hits,
/// 24 a blocked requester.
pub const REASON_IOMMU: u32 = 16;

/// [`INTERRUPT_STATUS`]: an operation has come to its end.
pub const INTERRUPT_DONE: u32 = 1 << 0;
/// [`INTERRUPT_STATUS`]: an access was refused.
pub const INTERRUPT_FAULT: u32 = 1 << 1;
/// [`INTERRUPT_STATUS`]: a comparison found a difference.
pub const INTERRUPT_MISMATCH: u32 = 1 << 2;

/// Bytes that one piece of work moves at most: it is done under one pin, for which an invalidation
/// has to wait.
pub const PIECE: u32 = 4096;
/// The most requesters that a device has.
pub const MAX_REQUESTERS: usize = 8;
