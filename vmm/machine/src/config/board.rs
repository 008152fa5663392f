//! Which board a machine is, and what a configuration may ask of it.

use serde::{Deserialize, Serialize};

/// A board: what devices there are, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoardModel {
    /// A board of this project's own, with what a configuration asks for.
    #[default]
    Virt,
    /// The same with the node of a coherency fabric, by which Linux's platform code for Marvell's
    /// Armada SoCs makes all platform devices coherent.
    VirtMvebu,
    /// The same with the name and the system registers of Calxeda's ECX-2000, by which Linux's
    /// platform code for it makes devices coherent, and powers the machine off.
    VirtHighbank,
}

/// The facts of a board that a configuration must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardFacts {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// What it is, for `--help`.
    pub about: &'static str,
    /// The least physical address at which RAM may begin; devices lie below.
    pub ram_min: u64,
    /// RAM ends at or below this physical address.
    pub ram_max: u64,
    /// Where RAM begins by default in a machine with an IOMMU, or as little below as its size
    /// demands.
    pub ram_with_iommu: u64,
    /// Number of virtio-mmio slots.
    pub virtio_slots: usize,
}

impl BoardModel {
    /// All boards, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Virt, Self::VirtMvebu, Self::VirtHighbank];

    /// Returns what a configuration must know of it.
    pub const fn facts(self) -> BoardFacts {
        let (name, about) = match self {
            Self::Virt => ("virt", "a board of its own with virtio-mmio slots"),
            Self::VirtMvebu => ("virt-mvebu", "virt with Marvell's coherency fabric"),
            Self::VirtHighbank => ("virt-highbank", "virt with Calxeda's system registers"),
        };
        match self {
            Self::Virt | Self::VirtMvebu | Self::VirtHighbank => BoardFacts {
                name,
                about,
                ram_min: 0x4000_0000,
                // The last 256 MiB below 4 GiB stay free, so that no size arithmetic of a 32-bit
                // kernel meets the end of its address space.
                ram_max: 0xf000_0000,
                // At the end of the 2 GiB from 1 GiB on in which Linux's IPMMU driver maps DMA on
                // ARM32 (drivers/iommu/ipmmu-vmsa.c, `ipmmu_init_arm_mapping`), so that an IOVA
                // that reaches the bus untranslated finds nothing there instead of somebody's
                // memory.
                ram_with_iommu: 0xc000_0000,
                virtio_slots: 16,
            },
        }
    }

    /// Returns whether it is the one that a configuration has which says nothing.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the names of all boards with what they are, as `--help` has them.
    pub fn described() -> String {
        let described = |board: Self| format!("{} ({})", board.facts().name, board.facts().about);
        Self::ALL.map(described).join(", ")
    }
}

impl BoardFacts {
    /// Returns the most disks, network interfaces and vhost-user devices that it takes: its
    /// virtio-mmio slots without the one of the entropy device.
    pub const fn max_disks(&self) -> usize {
        self.virtio_slots.saturating_sub(1)
    }
}
