//! Who executes the guests of cases, and how long that may take.

use std::time::Duration;

use vmm_machine::{Accel, Error, Limits, accel};

/// Host time after which a guest hangs, on a slow host that does other things too.
const WALL_LIMIT: Duration = Duration::from_secs(300);

/// The host that executes the guests of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The emulated processor, in virtual time, or KVM, in the host's.
    pub accel: Accel,
    /// The factor by which everything may take longer in the host's time than is written: more than
    /// 1 where the host is slow, such as an emulated one.
    pub patience: u32,
}

impl Host {
    /// The emulated processor, on which every run of a case is the same.
    pub const EMULATED: Self = Self {
        accel: Accel::Emulated,
        patience: 1,
    };

    /// Checks that it can execute guests at all.
    ///
    /// # Errors
    /// It cannot: the reason, as a sentence.
    pub fn check(self) -> Result<(), Error> {
        match self.accel {
            Accel::Kvm => accel::available(),
            Accel::Emulated | Accel::Auto => Ok(()),
        }
    }

    /// Returns how long a run may take that is to last `seconds`.
    pub(super) fn limits(self, seconds: u32) -> Limits {
        // In the host's time programs that start and end take some, too, and those that wait for
        // what never comes are many.
        let more = match self.accel {
            Accel::Emulated => 1,
            Accel::Auto | Accel::Kvm => 2,
        };
        let seconds = u64::from(seconds) * u64::from(self.patience) * more;
        Limits {
            guest_ns: Some(seconds * 1_000_000_000),
            // In virtual time the guest's own limit ends a run; the host's only catches a guest
            // that does not get that far.
            wall: Some(WALL_LIMIT.max(Duration::from_secs(2 * seconds))),
            ..Limits::default()
        }
    }
}
