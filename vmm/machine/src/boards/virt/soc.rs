//! What makes Linux's platform code for an SoC run on this board: a few nodes, by which it takes
//! the machine for one.
//!
//! Both set the DMA operations of devices from a notifier of the platform bus, before any driver is
//! bound: until Linux 5.19 by `set_dma_ops`, since 6.0 as a flag of the device.

use super::layout;
use crate::parts::{self, Placed};

/// A family of SoCs, by the name of its directory in arch/arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soc {
    /// Marvell's Armada 370 to 39x. The kernel looks for the node of a coherency fabric on any
    /// machine of more than one core by its design, and makes every platform device coherent
    /// (arch/arm/mach-mvebu/coherency.c, `coherency_late_init`).
    Mvebu,
    /// Calxeda's ECX-1000 and ECX-2000. The kernel looks at the name of the machine, and makes
    /// devices coherent that are of four kinds and whose nodes say `dma-coherent`
    /// (arch/arm/mach-highbank/highbank.c, `highbank_init` and `highbank_platform_notifier`).
    Highbank,
}

impl Soc {
    /// Returns the device by which the kernel knows the SoC.
    pub fn device(self) -> Placed {
        match self {
            Self::Mvebu => parts::soc::coherency_fabric(layout::COHERENCY_FABRIC),
            Self::Highbank => parts::soc::system_registers(layout::SREGS),
        }
    }

    /// Returns what the machine is called, if it is not the board's own name.
    pub const fn machine(self) -> Option<&'static str> {
        match self {
            // The platform code's own machine descriptions would look for an interrupt controller
            // of Marvell's.
            Self::Mvebu => None,
            // Of the two the one with Cortex-A15 and GICv2, as here.
            Self::Highbank => Some("calxeda,ecx-2000"),
        }
    }

    /// Returns what the nodes of disks are compatible with besides.
    pub const fn disks_are(self) -> Option<&'static str> {
        match self {
            Self::Mvebu => None,
            // The eMMC controller, one of the four kinds. No driver of it is bound: the first word
            // of `compatible` that has a driver wins.
            Self::Highbank => Some("calxeda,hb-sdhci"),
        }
    }
}
