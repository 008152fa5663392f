//! Which board a machine is, and what a configuration may ask of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Accel, Config, IommuModel, MAX_CPUS};

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
    /// Calxeda's ECX-2000 server node, which a kernel is told of by its own device tree.
    Ecx2000,
    /// Renesas' board of R-Car M2-W, which a kernel is told of by its own device tree.
    Koelsch,
}

/// The facts of a board that a configuration must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardFacts {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// What it is, for `--help`.
    pub about: &'static str,
    /// The least physical address at which RAM may begin; devices lie below, or above the end.
    pub ram_min: u64,
    /// RAM ends at or below this physical address.
    pub ram_max: u64,
    /// Where RAM begins by default in a machine with an IOMMU, or as little below as its size
    /// demands.
    pub ram_with_iommu: u64,
    /// Number of virtio-mmio slots.
    pub virtio_slots: usize,
    /// Number of ports of its SATA controller, if it has one: disks that are no virtio devices.
    pub sata_ports: usize,
    /// The name of the console's device in Linux.
    pub console: &'static str,
    /// The name of the first disk's device in Linux.
    pub disk: &'static str,
    /// The name of the platform driver of its disks in Linux (drivers/virtio/virtio_mmio.c,
    /// drivers/ata/sata_highbank.c).
    pub disk_driver: &'static str,
    /// The name of the file with its device tree in a kernel's package, if a kernel is given that
    /// and not one which is generated.
    pub tree: Option<&'static str>,
    /// The name of an image whose kernel that comes with, for messages.
    pub image: &'static str,
    /// Number of IPMMUs that this device tree has masters for.
    pub ipmmus: usize,
    /// Number of cores that it has at most.
    pub cpus: u8,
}

impl BoardModel {
    /// All boards, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::Virt,
        Self::VirtMvebu,
        Self::VirtHighbank,
        Self::Ecx2000,
        Self::Koelsch,
    ];

    /// Returns what a configuration must know of it.
    pub const fn facts(self) -> BoardFacts {
        let (name, about) = match self {
            Self::Virt => ("virt", "a board of its own with virtio-mmio slots"),
            Self::VirtMvebu => ("virt-mvebu", "virt with Marvell's coherency fabric"),
            Self::VirtHighbank => ("virt-highbank", "virt with Calxeda's system registers"),
            Self::Ecx2000 => ("ecx2000", "Calxeda's ECX-2000, by its own device tree"),
            Self::Koelsch => ("koelsch", "R-Car M2-W's board, by its own device tree"),
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
                sata_ports: 0,
                console: "ttyS0",
                disk: "vda",
                disk_driver: "virtio-mmio",
                tree: None,
                image: "debian-armmp",
                ipmmus: 0,
                cpus: MAX_CPUS,
            },
            Self::Ecx2000 => BoardFacts {
                name,
                about,
                ram_min: 0,
                // Devices lie above, from 0xffe00000 on.
                ram_max: 0xf000_0000,
                ram_with_iommu: 0,
                virtio_slots: 0,
                sata_ports: 1,
                console: "ttyAMA0",
                disk: "sda",
                disk_driver: "highbank-ahci",
                tree: Some("ecx-2000.dtb"),
                image: "debian-armmp",
                ipmmus: 0,
                cpus: 4,
            },
            Self::Koelsch => BoardFacts {
                name,
                about,
                ram_min: 0x4000_0000,
                // What the board has below 4 GiB. Devices lie above, from 0xe6000000 on.
                ram_max: 0x8000_0000,
                // In the range from 1 GiB on in which Linux's IPMMU driver maps DMA: an IOVA that
                // reaches the bus untranslated finds somebody's memory there.
                ram_with_iommu: 0x4000_0000,
                virtio_slots: 0,
                sata_ports: 0,
                console: "ttySC0",
                disk: "",
                disk_driver: "",
                tree: Some("r8a7791-koelsch.dtb"),
                image: "ipmmu",
                ipmmus: 1,
                cpus: 2,
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
    /// virtio-mmio slots without the one of the entropy device, and the ports of its SATA
    /// controller.
    pub const fn max_disks(&self) -> usize {
        self.virtio_slots.saturating_sub(1) + self.sata_ports
    }
}

/// A mistake in what a configuration asks of its board.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoardMismatch {
    /// It takes a device tree, and there is none.
    #[error(
        "the board {board} has a device tree of its own: say --dtb FILE with the {file} that comes with the kernel, or \
         --image with a kernel that it comes with, such as {image}"
    )]
    NoTree {
        /// The board.
        board: &'static str,
        /// The usual name of the file.
        file: &'static str,
        /// An image that has it.
        image: &'static str,
    },
    /// It generates its device tree, and there is another.
    #[error("the device tree of the board {0} is generated: leave out --dtb, or name a board that takes one: {taking}",
            taking = BoardModel::with_tree())]
    TreeNotTaken(&'static str),
    /// A device tree without a file.
    #[error("the device tree needs a file name")]
    TreeUnnamed,
    /// It has no place for something.
    #[error("the board {board} has no {what}: {advice}")]
    Without {
        /// The board.
        board: &'static str,
        /// What it has not.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },
}

impl BoardModel {
    /// Returns the names of the boards that take a device tree.
    fn with_tree() -> String {
        let boards = Self::ALL.into_iter().map(Self::facts);
        let boards = boards.filter(|facts| facts.tree.is_some());
        boards
            .map(|facts| facts.name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Config {
    /// Returns what the board's loader adds to a device tree that exists, besides filling in
    /// `/chosen` and memory: the end of a sentence, which may be empty.
    pub fn tree_additions(&self) -> &'static str {
        match (self.board, self.iommus.is_empty()) {
            (BoardModel::Koelsch, true) => ", and /psci added",
            (BoardModel::Koelsch, false) => ", /psci added, and its IPMMU enabled (docs/boards.md)",
            _ => "",
        }
    }

    /// Returns whether there are IOMMUs that `board`, which has a device tree of its own, has not.
    fn exceeds(&self, board: &BoardFacts) -> bool {
        let iommus = self.iommu_list();
        let others = iommus.iter().any(|(_, model)| *model != IommuModel::Ipmmu);
        iommus.len() > board.ipmmus || others
    }

    /// Checks that the board has what is asked of it.
    pub(crate) fn validate_board(&self) -> Result<(), BoardMismatch> {
        let board = self.board.facts();
        let Some(file) = board.tree else {
            return match self.dtb {
                Some(_) => Err(BoardMismatch::TreeNotTaken(board.name)),
                None => Ok(()),
            };
        };
        match &self.dtb {
            None => {
                return Err(BoardMismatch::NoTree {
                    board: board.name,
                    file,
                    image: board.image,
                });
            }
            Some(path) if *path == PathBuf::new() => return Err(BoardMismatch::TreeUnnamed),
            Some(_) => {}
        }
        let sata = |option: fn(&super::DiskConfig) -> bool| self.disks.iter().any(option);
        let virt = "use the board virt";
        let iommus = match board.ipmmus {
            0 => virt,
            _ => "say --iommu ipmmu once, or leave it out",
        };
        // A device tree that exists names what there is, and nothing can be added to it.
        let asked = [
            (self.exceeds(&board), "such IOMMU", iommus),
            (
                self.cpus > board.cpus,
                "place for so many cores",
                "leave out --cpus, or use the board virt",
            ),
            (
                self.rng_iommu.is_some(),
                "entropy device",
                "leave out --rng, or use the board virt",
            ),
            (
                !self.vhost_user.is_empty(),
                "place for a vhost-user device",
                virt,
            ),
            (self.dma_tester.is_some(), "DMA tester", virt),
            (!self.nets.is_empty(), "network interface", virt),
            (!self.nets.is_empty(), "network interface", virt),
            (
                self.access_platform,
                "virtio device",
                "leave out --access-platform, or use the board virt",
            ),
            (
                self.accel == Accel::Kvm,
                "processor that KVM could run",
                "leave out --accel kvm, or use the board virt",
            ),
            (
                sata(|disk| disk.queues != 1),
                "disk of several queues",
                virt,
            ),
            (sata(|disk| disk.iommu.is_some()), "IOMMU for a disk", virt),
            (
                sata(|disk| !disk.clocks.is_empty()),
                "clock for a disk to wait for",
                virt,
            ),
            (sata(|disk| disk.broken), "disk that can be broken so", virt),
            (
                sata(|disk| disk.coherent),
                "say in whether its disk is coherent",
                "its device tree says that it is; leave out ,coherent",
            ),
        ];
        match asked.into_iter().find(|(asked, ..)| *asked) {
            Some((_, what, advice)) => Err(BoardMismatch::Without {
                board: board.name,
                what,
                advice,
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config {
            kernel: "k".into(),
            board: BoardModel::Ecx2000,
            dtb: Some("d".into()),
            ..Config::default()
        };
        config.validate().unwrap();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn koelsch_has_one_ipmmu_and_two_cores() {
        let config = |iommus: &[&str], cpus| Config {
            kernel: "k".into(),
            board: BoardModel::Koelsch,
            dtb: Some("d".into()),
            iommus: iommus.iter().map(|text| text.parse().unwrap()).collect(),
            cpus,
            ..Config::default()
        };
        config(&[], 1).validate().unwrap();
        config(&["ipmmu"], 2).validate().unwrap();
        for iommus in [&["ipmmu", "ipmmu"][..], &["virtio"], &["ipmmu-gen3"]] {
            let sentence = config(iommus, 1).validate().unwrap_err().to_string();
            assert!(
                sentence.contains("no such IOMMU: say --iommu ipmmu once"),
                "{sentence}"
            );
        }
        let sentence = config(&[], 3).validate().unwrap_err().to_string();
        assert!(
            sentence.contains("no place for so many cores"),
            "{sentence}"
        );
    }

    #[test]
    fn a_board_with_a_tree_of_its_own_takes_that_and_nothing_more() {
        assert!(refused(|c| c.dtb = None).contains("--dtb FILE with the ecx-2000.dtb"));
        assert!(refused(|c| c.dtb = Some(PathBuf::new())).contains("needs a file name"));
        assert!(refused(|c| c.board = BoardModel::Virt).contains("takes one: ecx2000"));
        assert!(refused(|c| c.iommus = vec!["ipmmu".parse().unwrap()]).contains("no such IOMMU: "));
        assert!(refused(|c| c.access_platform = true).contains("no virtio device"));
        assert!(
            refused(|c| (c.accel, c.time) = (Accel::Kvm, crate::TimeMode::Host)).contains("KVM")
        );
        let disk = |text: &str| text.parse::<crate::DiskConfig>().unwrap();
        for (text, word) in [
            ("a,queues=2", "several queues"),
            ("a,iommu=none", "IOMMU for a disk"),
            ("a,clock=c", "clock"),
            ("a,broken", "broken"),
            ("a,coherent", "leave out ,coherent"),
        ] {
            let sentence = refused(|c| c.disks = vec![disk(text)]);
            assert!(sentence.contains(word), "{sentence}");
        }
        let two = refused(|c| c.disks = vec![disk("a"), disk("b")]);
        assert!(two.contains("at most 1 disk"), "{two}");
        assert!(refused(|c| c.memory.0 = 8 << 30).contains("use 3840M at most"));
    }
}
