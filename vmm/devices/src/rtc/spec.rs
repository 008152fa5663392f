//! Registers of a PL031 (Arm DDI 0224C, table 3.1).

/// Data: the counter, in seconds. Read-only.
pub const RTCDR: u64 = 0x000;
/// Match: the alarm goes off when the counter comes to it.
pub const RTCMR: u64 = 0x004;
/// Load: sets the counter.
pub const RTCLR: u64 = 0x008;
/// Control: bit 0 says that the counter runs, which it does from power-on.
pub const RTCCR: u64 = 0x00c;
/// Interrupt mask: bit 0 lets the alarm raise the line.
pub const RTCIMSC: u64 = 0x010;
/// Raw interrupt status: whether the alarm has gone off. Read-only.
pub const RTCRIS: u64 = 0x014;
/// Masked interrupt status: the level of the line. Read-only.
pub const RTCMIS: u64 = 0x018;
/// Interrupt clear: a 1 in bit 0 clears the raw status. Write-only.
pub const RTCICR: u64 = 0x01c;
/// First identification register.
pub const ID: u64 = 0xfe0;
/// RTCPeriphID0 to 3, RTCPCellID0 to 3: part 0x031 by designer 0x41, Arm. The revision, bits 7:4 of
/// RTCPeriphID2, is 1, as for an r1 part and as QEMU and bhyve show it, with which guests are tried
/// most. The manual's own table is said to have 0x04 there, revision 0. Linux's driver does not
/// look at it (drivers/rtc/rtc-pl031.c, `pl031_ids`).
pub const IDS: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
