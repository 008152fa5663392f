//! Registers and structures of an AHCI controller (Serial ATA AHCI 1.3.1), and of the disk behind
//! it (ATA/ATAPI Command Set, ACS-3).

/// Offsets of the controller's own registers (3.1).
pub mod host {
    /// What the controller can do, read-only.
    pub const CAP: u64 = 0x00;
    /// Global control.
    pub const GHC: u64 = 0x04;
    /// Which ports have an interrupt pending.
    pub const IS: u64 = 0x08;
    /// Which ports there are, read-only.
    pub const PI: u64 = 0x0c;
    /// Version, read-only.
    pub const VS: u64 = 0x10;
}

/// Offset of the first port's registers.
pub const PORT: u64 = 0x100;
/// Bytes of a port's registers.
pub const PORT_BYTES: u64 = 0x80;

/// Offsets of a port's registers (3.3).
pub mod port {
    /// Address of the command list.
    pub const CLB: u64 = 0x00;
    /// Address of the area for received FISes.
    pub const FB: u64 = 0x08;
    /// Interrupt status.
    pub const IS: u64 = 0x10;
    /// Interrupt enable.
    pub const IE: u64 = 0x14;
    /// Command and status.
    pub const CMD: u64 = 0x18;
    /// Task file: status, and error above it; read-only.
    pub const TFD: u64 = 0x20;
    /// Signature of the device, read-only.
    pub const SIG: u64 = 0x24;
    /// State of the link, read-only.
    pub const SSTS: u64 = 0x28;
    /// Control of the link.
    pub const SCTL: u64 = 0x2c;
    /// Errors of the link.
    pub const SERR: u64 = 0x30;
    /// Queued commands that are not over.
    pub const SACT: u64 = 0x34;
    /// Commands that are issued.
    pub const CI: u64 = 0x38;
}

/// Number of command slots.
pub const SLOTS: u32 = 32;
/// CAP: AHCI only (SAM), 32 slots (NCS), queued commands (SNCQ), 6 Gbit/s (ISS), one port (NP).
/// Addresses have 32 bits.
pub const CAPABILITIES: u32 = 1 << 30 | 3 << 20 | 1 << 18 | (SLOTS - 1) << 8;
/// Version 1.3.
pub const VERSION: u32 = 0x0001_0300;

/// Global control.
pub mod ghc {
    /// Resets the controller, clears itself.
    pub const RESET: u32 = 1 << 0;
    /// Interrupts are enabled.
    pub const INTERRUPTS: u32 = 1 << 1;
    /// AHCI is enabled, which it always is.
    pub const ENABLED: u32 = 1 << 31;
}

/// Interrupts of a port, the same in its status and enable registers.
pub mod interrupt {
    /// A register FIS has come (DHRS).
    pub const REGISTERS: u32 = 1 << 0;
    /// A PIO setup FIS has come (PSS).
    pub const PIO: u32 = 1 << 1;
    /// A set device bits FIS has come (SDBS).
    pub const DEVICE_BITS: u32 = 1 << 3;
    /// A device has come (PCS): the link's error `EXCHANGED`, which clears it.
    pub const CONNECT: u32 = 1 << 6;
    /// More data has come than memory was named for (OFS).
    pub const OVERFLOW: u32 = 1 << 24;
    /// Memory is out of reach (HBFS).
    pub const BUS: u32 = 1 << 29;
    /// The device has reported an error (TFES).
    pub const TASK_FILE: u32 = 1 << 30;
    /// Bits that can be enabled.
    pub const MASK: u32 = 0xfdc0_00ff;
    /// Those that can be pending here, but for `CONNECT`.
    pub const POSSIBLE: u32 = REGISTERS | PIO | DEVICE_BITS | OVERFLOW | BUS | TASK_FILE;
}

/// Command and status of a port.
pub mod cmd {
    /// Commands are processed.
    pub const START: u32 = 1 << 0;
    /// The device is spun up and powered, which it always is.
    pub const ALWAYS: u32 = 0x6;
    /// Clears busy and request in the task file, clears itself.
    pub const OVERRIDE: u32 = 1 << 3;
    /// FISes are received.
    pub const RECEIVE: u32 = 1 << 4;
    /// FISes are being received, read-only.
    pub const RECEIVES: u32 = 1 << 14;
    /// Commands are being processed, read-only.
    pub const RUNS: u32 = 1 << 15;
    /// Bits that a driver sets and that are kept.
    pub const KEPT: u32 = START | RECEIVE;
}

/// SSTS with a disk: active, 6 Gbit/s, present.
pub const LINK_UP: u32 = 0x133;
/// Detection, in SCTL: 1 resets the link for as long as it is there.
pub const DETECTION: u32 = 0xf;
/// Bits of SCTL that exist.
pub const SCTL_MASK: u32 = 0xfff;
/// In SERR: a device was exchanged (DIAG.X).
pub const EXCHANGED: u32 = 1 << 26;
/// TFD of a port without a device, and while its link is reset.
pub const NO_DEVICE: u32 = 0x7f;
/// SIG of a disk.
pub const SIGNATURE: u32 = 0x101;
/// SIG before a device has sent its own.
pub const NO_SIGNATURE: u32 = u32::MAX;

/// Status of the device.
pub mod status {
    /// An error.
    pub const ERROR: u8 = 1 << 0;
    /// Data is wanted.
    pub const REQUEST: u8 = 1 << 3;
    /// Always one.
    pub const SEEK_COMPLETE: u8 = 1 << 4;
    /// Ready.
    pub const READY: u8 = 1 << 6;
    /// Busy.
    pub const BUSY: u8 = 1 << 7;
    /// When nothing is wrong.
    pub const GOOD: u8 = READY | SEEK_COMPLETE;
}

/// Error of the device.
pub mod error {
    /// What is asked for is not there (ABRT).
    pub const ABORTED: u8 = 1 << 2;
    /// There is no such sector (IDNF).
    pub const NO_SECTOR: u8 = 1 << 4;
    /// The sector cannot be read or written (UNC).
    pub const UNCORRECTABLE: u8 = 1 << 6;
}

/// Bytes of a command header (4.2.2).
pub const HEADER_BYTES: u64 = 32;
/// Bytes of the FIS of a command that are looked at (4.2.3.1).
pub const FIS_BYTES: usize = 20;
/// Offset of the first region of memory in a command table (4.2.3).
pub const REGIONS: u64 = 0x80;
/// Bytes of a region's descriptor.
pub const REGION_BYTES: u64 = 16;
/// Bits of the length of a region in its descriptor, of which the least is always one.
pub const REGION_LENGTH: u32 = 0x3f_ffff;

/// In the first word of a command header (4.2.2).
pub mod header {
    /// Words of the FIS.
    pub const FIS_WORDS: u32 = 0x1f;
    /// The position of the number of regions.
    pub const REGIONS_SHIFT: u32 = 16;
}

/// Types of FISes (Serial ATA 3.0, 10.3).
pub mod fis {
    /// Registers, from the host.
    pub const TO_DEVICE: u8 = 0x27;
    /// Registers, from the device.
    pub const TO_HOST: u8 = 0x34;
    /// PIO setup.
    pub const PIO: u8 = 0x5f;
    /// Set device bits.
    pub const DEVICE_BITS: u8 = 0xa1;
    /// In the second byte of one from the host: it has a command, and not control only.
    pub const COMMAND: u8 = 1 << 7;
    /// In the second byte of one from the device: an interrupt.
    pub const INTERRUPT: u8 = 1 << 6;
    /// In the second byte of a PIO setup: data to the host.
    pub const INTO_HOST: u8 = 1 << 5;
    /// In the control byte: the device is reset.
    pub const RESET: u8 = 1 << 2;
}

/// Offsets in the area for received FISes (4.2.1).
pub mod received {
    /// PIO setup.
    pub const PIO: u64 = 0x20;
    /// Registers.
    pub const REGISTERS: u64 = 0x40;
    /// Set device bits.
    pub const DEVICE_BITS: u64 = 0x58;
}

/// Commands of the disk (ACS-3, 7).
pub mod command {
    /// READ SECTOR(S), and with addresses of 48 bits.
    pub const READ: u8 = 0x20;
    /// See [`READ`].
    pub const READ_EXT: u8 = 0x24;
    /// READ DMA EXT.
    pub const READ_DMA_EXT: u8 = 0x25;
    /// READ LOG EXT.
    pub const READ_LOG: u8 = 0x2f;
    /// WRITE SECTOR(S), and with addresses of 48 bits.
    pub const WRITE: u8 = 0x30;
    /// See [`WRITE`].
    pub const WRITE_EXT: u8 = 0x34;
    /// WRITE DMA EXT.
    pub const WRITE_DMA_EXT: u8 = 0x35;
    /// WRITE DMA FUA EXT.
    pub const WRITE_FUA: u8 = 0x3d;
    /// READ VERIFY SECTOR(S), and with addresses of 48 bits.
    pub const VERIFY: u8 = 0x40;
    /// See [`VERIFY`].
    pub const VERIFY_EXT: u8 = 0x42;
    /// READ FPDMA QUEUED.
    pub const READ_QUEUED: u8 = 0x60;
    /// WRITE FPDMA QUEUED.
    pub const WRITE_QUEUED: u8 = 0x61;
    /// READ DMA.
    pub const READ_DMA: u8 = 0xc8;
    /// WRITE DMA.
    pub const WRITE_DMA: u8 = 0xca;
    /// STANDBY IMMEDIATE.
    pub const STANDBY: u8 = 0xe0;
    /// IDLE IMMEDIATE.
    pub const IDLE: u8 = 0xe1;
    /// CHECK POWER MODE.
    pub const POWER_MODE: u8 = 0xe5;
    /// FLUSH CACHE.
    pub const FLUSH: u8 = 0xe7;
    /// FLUSH CACHE EXT.
    pub const FLUSH_EXT: u8 = 0xea;
    /// IDENTIFY DEVICE.
    pub const IDENTIFY: u8 = 0xec;
    /// SET FEATURES.
    pub const SET_FEATURES: u8 = 0xef;
}

/// The log of READ LOG EXT that says which queued command has failed (ACS-3, A.15).
pub const QUEUED_ERROR_LOG: u8 = 0x10;
/// The log of READ LOG EXT that says which logs there are (ACS-3, A.2).
pub const DIRECTORY_LOG: u8 = 0x00;
