//! What can stand on a board: how each device is described in a device tree, made and connected.
//!
//! Which of them there are, and where, is the board's ([`boards`](crate::boards)).

pub(crate) mod ahci;
pub(crate) mod clock;
pub(crate) mod console;
pub(crate) mod dma_tester;
pub(crate) mod gic;
pub(crate) mod iommu;
pub(crate) mod renesas;
pub(crate) mod rtc;
pub(crate) mod soc;
pub(crate) mod timer;
pub(crate) mod unmodelled;
pub(crate) mod virtio;

use std::fmt::Debug;
use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;

use crate::entry::Entry;
use crate::error::Error;
use crate::wiring::Wiring;

/// A device of a board.
pub(crate) trait Part: Debug + Send + Sync {
    /// Writes what is special to it in its node of the device tree. Registers, interrupts, clocks,
    /// and where it stands behind an IOMMU, are written for it.
    ///
    /// # Errors
    /// Those of `node`.
    fn describe(&self, entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error>;

    /// Makes it, at reset, and puts it in its place. If it is a bus master its accesses have this
    /// `source`.
    ///
    /// # Errors
    /// A sentence for the user.
    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error>;
}

/// A device in its place on a board.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// Where it is.
    pub entry: Entry,
    /// What it is.
    pub part: Arc<dyn Part>,
}

impl Placed {
    /// Returns `part` at `entry`.
    pub fn new(entry: Entry, part: impl Part + 'static) -> Self {
        Self {
            entry,
            part: Arc::new(part),
        }
    }
}
