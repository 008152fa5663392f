//! Fault status registers in both formats (ARM ARM DDI 0406C B3.13.3, B4.1.52 and B4.1.96).

use super::{Access, Fault, FaultKind};
use crate::debug::DebugEvent;

/// FSR.LPAE: the status is in the long-descriptor format.
const LPAE: u32 = 1 << 9;
/// DFSR.WnR: the access was a write.
const WNR: u32 = 1 << 11;

/// Returns FS, bits 4 to 0, of the short-descriptor format (B3-23).
pub fn short_status(fault: &Fault) -> u32 {
    let second = fault.level >= 2;
    let by_level = |first, later| if second { later } else { first };
    match fault.kind {
        FaultKind::Alignment => 0b00001,
        FaultKind::Debug(_) => 0b00010,
        FaultKind::AccessFlag => by_level(0b00011, 0b00110),
        FaultKind::Translation => by_level(0b00101, 0b00111),
        FaultKind::External => 0b01000,
        FaultKind::Domain => by_level(0b01001, 0b01011),
        FaultKind::ExternalOnWalk => by_level(0b01100, 0b01110),
        FaultKind::Permission => by_level(0b01101, 0b01111),
    }
}

/// Returns STATUS, bits 5 to 0, of the long-descriptor format (B3-24). A domain fault does not
/// exist there and reads as a permission fault.
pub fn long_status(fault: &Fault) -> u32 {
    let level = u32::from(fault.level & 3);
    match fault.kind {
        FaultKind::Translation => 0b00_0100 | level,
        FaultKind::AccessFlag => 0b00_1000 | level,
        FaultKind::Permission | FaultKind::Domain => 0b00_1100 | level,
        FaultKind::External => 0b01_0000,
        FaultKind::ExternalOnWalk => 0b01_0100 | level,
        FaultKind::Alignment => 0b10_0001,
        FaultKind::Debug(_) => 0b10_0010,
    }
}

/// Returns the value of IFSR for `fault`, in the long-descriptor format if `long`.
pub fn instruction(fault: &Fault, long: bool) -> u32 {
    if long {
        LPAE | long_status(fault)
    } else {
        split(short_status(fault))
    }
}

/// Returns the value of DFSR for `fault`, in the long-descriptor format if `long`.
pub fn data(fault: &Fault, long: bool) -> u32 {
    let wnr = if fault.access == Access::Write {
        WNR
    } else {
        0
    };
    let status = if long {
        LPAE | long_status(fault)
    } else {
        split(short_status(fault)) | u32::from(fault.domain & 15) << 4
    };
    wnr | status
}

/// Returns whether the fault address register is written: of debug events only for watchpoints,
/// with v7.1 Debug (B3.13.2).
pub fn has_address(fault: &Fault) -> bool {
    !matches!(fault.kind, FaultKind::Debug(event) if event != DebugEvent::Watchpoint)
}

/// Returns FS at its places in the register: bit 4 is bit 10, bits 3 to 0 are bits 3:0.
const fn split(status: u32) -> u32 {
    (status & 15) | (status >> 4) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, level: u8) -> Fault {
        Fault {
            kind,
            level,
            domain: 0,
            va: 0,
            access: Access::Read,
        }
    }

    #[test]
    fn codes_of_every_cause() {
        use FaultKind::*;
        // Cause, level, short FSR, long FSR.
        for (kind, level, short, long) in [
            (Alignment, 0, 0x001, 0x221),
            (Debug(DebugEvent::Bkpt), 0, 0x002, 0x222),
            (Debug(DebugEvent::Watchpoint), 0, 0x002, 0x222),
            (Translation, 1, 0x005, 0x205),
            (Translation, 2, 0x007, 0x206),
            (Translation, 3, 0x007, 0x207),
            (AccessFlag, 1, 0x003, 0x209),
            (AccessFlag, 2, 0x006, 0x20a),
            (AccessFlag, 3, 0x006, 0x20b),
            (Domain, 1, 0x009, 0x20d),
            (Domain, 2, 0x00b, 0x20e),
            (Permission, 1, 0x00d, 0x20d),
            (Permission, 2, 0x00f, 0x20e),
            (Permission, 3, 0x00f, 0x20f),
            (External, 0, 0x008, 0x210),
            (ExternalOnWalk, 1, 0x00c, 0x215),
            (ExternalOnWalk, 2, 0x00e, 0x216),
            (ExternalOnWalk, 3, 0x00e, 0x217),
        ] {
            let f = fault(kind, level);
            assert_eq!(data(&f, false), short, "{kind:?} {level}");
            assert_eq!(data(&f, true), long, "{kind:?} {level}");
            assert_eq!(instruction(&f, false), short, "{kind:?} {level}");
            assert_eq!(instruction(&f, true), long, "{kind:?} {level}");
        }
    }

    #[test]
    fn writes_and_domains_show_in_the_data_register_only() {
        let f = Fault {
            domain: 9,
            access: Access::Write,
            ..fault(FaultKind::Domain, 2)
        };
        assert_eq!(data(&f, false), 0x89b);
        assert_eq!(data(&f, true), 0xa0e);
        assert_eq!(instruction(&f, false), 0x00b);
    }
}
