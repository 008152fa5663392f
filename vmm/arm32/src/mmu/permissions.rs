//! From permission bits to what each privilege level may do (ARM ARM DDI 0406C B3.7).

use super::Perms;
use crate::cp15::sctlr;

/// Data access of one privilege level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    None,
    ReadOnly,
    ReadWrite,
}

impl Data {
    const fn read(self) -> bool {
        !matches!(self, Self::None)
    }

    const fn write(self) -> bool {
        matches!(self, Self::ReadWrite)
    }
}

/// Data accesses and execute-never bits, as a descriptor states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub user: Data,
    pub privileged: Data,
    /// Nobody executes.
    pub xn: bool,
    /// PL1 does not execute.
    pub pxn: bool,
}

impl Rights {
    /// Creates the rights of AP bits 2 to 0 with SCTLR.AFE clear (B3.7.1). The reserved encoding
    /// 0b100 allows nothing.
    pub fn from_ap(ap: u32, xn: bool, pxn: bool) -> Self {
        use Data::{None, ReadOnly, ReadWrite};
        let (privileged, user) = match ap & 7 {
            0b001 => (ReadWrite, None),
            0b010 => (ReadWrite, ReadOnly),
            0b011 => (ReadWrite, ReadWrite),
            0b101 => (ReadOnly, None),
            0b110 | 0b111 => (ReadOnly, ReadOnly),
            _ => (None, None),
        };
        Self {
            user,
            privileged,
            xn,
            pxn,
        }
    }

    /// Creates the rights of AP bits 2 and 1, the simplified model of SCTLR.AFE and of long
    /// descriptors: bit 1 is read-only, bit 0 is PL0 access.
    pub fn from_ap21(ap21: u32, xn: bool, pxn: bool) -> Self {
        let privileged = if ap21 & 2 != 0 {
            Data::ReadOnly
        } else {
            Data::ReadWrite
        };
        let user = if ap21 & 1 != 0 {
            privileged
        } else {
            Data::None
        };
        Self {
            user,
            privileged,
            xn,
            pxn,
        }
    }

    /// Returns what PL0 and PL1 may do, SCTLR.WXN and SCTLR.UWXN applied.
    pub fn perms(self, control: u32) -> (Perms, Perms) {
        let wxn = control & sctlr::WXN != 0;
        let uwxn = control & sctlr::UWXN != 0;
        // Nothing is executed that cannot be read.
        let executes = |data: Data| data.read() && !self.xn && !(wxn && data.write());
        let user = Perms {
            read: self.user.read(),
            write: self.user.write(),
            execute: executes(self.user),
        };
        let privileged = Perms {
            read: self.privileged.read(),
            write: self.privileged.write(),
            execute: executes(self.privileged) && !self.pxn && !(uwxn && self.user.write()),
        };
        (user, privileged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns "rwx", with dashes for what is not allowed.
    fn text(p: Perms) -> String {
        [(p.read, 'r'), (p.write, 'w'), (p.execute, 'x')]
            .map(|(on, c)| if on { c } else { '-' })
            .iter()
            .collect()
    }

    /// Asserts what users and the kernel may do.
    fn assert_allow(rights: Rights, want: (&str, &str)) {
        let (user, privileged) = rights.perms(0);
        assert_eq!((text(user).as_str(), text(privileged).as_str()), want);
    }

    #[test]
    fn ap_without_access_flag() {
        let expected = [
            ("---", "---"),
            ("---", "rwx"),
            ("r-x", "rwx"),
            ("rwx", "rwx"),
            ("---", "---"),
            ("---", "r-x"),
            ("r-x", "r-x"),
            ("r-x", "r-x"),
        ];
        for (ap, want) in (0..).zip(expected) {
            assert_allow(Rights::from_ap(ap, false, false), want);
        }
    }

    #[test]
    fn ap_with_access_flag() {
        let expected = [
            ("---", "rwx"),
            ("rwx", "rwx"),
            ("---", "r-x"),
            ("r-x", "r-x"),
        ];
        for (ap, want) in (0..).zip(expected) {
            assert_allow(Rights::from_ap21(ap, false, false), want);
        }
    }

    #[test]
    fn execute_never_in_all_its_forms() {
        let both = |r: Rights, control| {
            let (u, p) = r.perms(control);
            (u.execute, p.execute)
        };
        let rw = Rights::from_ap21(1, false, false);
        assert_eq!(both(rw, 0), (true, true));
        assert_eq!(both(Rights { xn: true, ..rw }, 0), (false, false));
        assert_eq!(both(Rights { pxn: true, ..rw }, 0), (true, false));
        assert_eq!(both(rw, sctlr::WXN), (false, false));
        assert_eq!(both(rw, sctlr::UWXN), (true, false));
        let user_ro = Rights::from_ap(0b010, false, false);
        assert_eq!(both(user_ro, sctlr::WXN), (true, false));
        assert_eq!(both(user_ro, sctlr::UWXN), (true, true));
    }
}
