//! The generated device tree reads back as it was meant.

use fdt::Fdt;

use super::*;
use crate::ByteSize;
use crate::boards::virt::layout;
use crate::fdt::{GIC_PPI, GIC_SPI, LEVEL_HIGH, SEED_BYTES};
use crate::layout::Range;

fn blob(config: &Config, initrd: Option<Range>) -> Vec<u8> {
    let chosen = Chosen {
        cmdline: "console=ttyS0 quiet",
        initrd,
        rng_seed: &[7; SEED_BYTES],
    };
    Board::new(config).device_tree(&chosen, None).unwrap()
}

#[test]
fn it_reads_back_as_it_was_meant() {
    let disks = vec![DiskConfig::new("a"), DiskConfig::new("b")];
    let memory = ByteSize(512 << 20);
    let config = Config {
        cpus: 4,
        disks,
        memory,
        memory_base: Some(ByteSize(0x8000_0000)),
        ..Config::default()
    };
    let bytes = blob(&config, Some(Range::new(0x8801_0000, 1234)));
    let tree = Fdt::new(&bytes).unwrap();
    assert_eq!(tree.root().compatible().first(), "linux,dummy-virt");
    assert_eq!(tree.cpus().count(), 4);
    let ram = tree.memory().regions().next().unwrap();
    assert_eq!(
        (ram.starting_address as u64, ram.size),
        (0x8000_0000, Some(512 << 20))
    );
    assert_eq!(tree.chosen().bootargs(), Some("console=ttyS0 quiet"));
    let chosen = tree.find_node("/chosen").unwrap();
    let end = chosen.property("linux,initrd-end").unwrap();
    assert_eq!(end.value, (0x8801_0000_u64 + 1234).to_be_bytes());
    assert_eq!(chosen.property("rng-seed").unwrap().value, [7; SEED_BYTES]);
    let uart = tree.find_node("/serial@9000000").unwrap();
    assert_eq!(uart.compatible().unwrap().first(), "ns16550a");
    // Two disks and the entropy device.
    assert_eq!(tree.find_all_nodes("/virtio_mmio").count(), 3);
    let second = tree.find_node("/virtio_mmio@a001000").unwrap();
    let interrupts = second.property("interrupts").unwrap().value;
    let cells = [GIC_SPI, layout::VIRTIO_SPI + 1, LEVEL_HIGH]
        .map(u32::to_be_bytes)
        .concat();
    assert_eq!(interrupts, cells);
    let timer = tree
        .find_node("/timer")
        .unwrap()
        .property("interrupts")
        .unwrap()
        .value;
    // Four interrupts of three cells each. The third is the virtual timer: PPI 11, with a mask of
    // four cores above its flags.
    assert_eq!(timer.len(), 48);
    assert_eq!(
        timer[24..36],
        [GIC_PPI, 11, 0xf04].map(u32::to_be_bytes).concat()
    );
}

/// Returns the cells of a property.
fn cells(tree: &Fdt<'_>, node: &str, property: &str) -> Option<Vec<u32>> {
    let value = tree.find_node(node)?.property(property)?.value;
    let cell = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    Some(value.chunks(4).map(cell).collect())
}

#[test]
fn devices_name_their_iommu() {
    for (model, main) in [(IommuModel::Ipmmu, None), (IommuModel::IpmmuGen3, Some(0))] {
        let config = Config {
            disks: vec![
                "a,iommu=ipmmu1:5".parse().unwrap(),
                "b,iommu=none".parse().unwrap(),
            ],
            iommus: vec![IommuConfig::new(model); 2],
            ..Config::default()
        };
        let bytes = blob(&config, None);
        let tree = Fdt::new(&bytes).unwrap();
        let phandle = |index| cells(&tree, &format!("/iommu@980{index}000"), "phandle").unwrap()[0];
        assert_eq!(
            cells(&tree, "/virtio_mmio@a000000", "iommus"),
            Some(vec![phandle(1), 5])
        );
        assert_eq!(cells(&tree, "/virtio_mmio@a001000", "iommus"), None);
        assert_eq!(
            cells(&tree, "/virtio_mmio@a002000", "iommus"),
            Some(vec![phandle(0), 0])
        );
        assert_eq!(
            cells(&tree, "/iommu@9800000", "#iommu-cells"),
            Some(vec![1])
        );
        let root = cells(&tree, "/iommu@9700000", "phandle");
        assert_eq!(
            cells(&tree, "/iommu@9800000", "renesas,ipmmu-main"),
            main.map(|bit| vec![root.as_ref().unwrap()[0], bit])
        );
        let interrupts = cells(&tree, "/iommu@9801000", "interrupts");
        let own = [GIC_SPI, layout::IOMMUS.first_spi + 1, LEVEL_HIGH].to_vec();
        assert_eq!(interrupts, main.is_none().then_some(own));
        assert_eq!(cells(&tree, "/virtio_mmio@a000000", "dma-coherent"), None);
    }
}

#[test]
fn an_iommu_of_one_port_is_named_without_it() {
    let config = Config {
        disks: vec!["a".parse().unwrap()],
        iommus: vec![IommuConfig::new(IommuModel::Rockchip); 2],
        ..Config::default()
    };
    let bytes = blob(&config, None);
    let tree = Fdt::new(&bytes).unwrap();
    for (index, device) in ["/virtio_mmio@a000000", "/virtio_mmio@a001000"]
        .iter()
        .enumerate()
    {
        let iommu = format!("/iommu@980{index}000");
        let phandle = cells(&tree, &iommu, "phandle");
        assert_eq!(cells(&tree, device, "iommus"), phandle);
        assert_eq!(cells(&tree, &iommu, "#iommu-cells"), Some(vec![0]));
        let clock = cells(&tree, "/apb-pclk", "phandle").unwrap()[0];
        assert_eq!(cells(&tree, &iommu, "clocks"), Some(vec![clock; 2]));
    }
}

#[test]
fn an_smmu_has_a_large_window_and_names_its_interrupt_for_each_output() {
    let config = Config {
        disks: vec!["a,iommu=smmu1:5".parse().unwrap()],
        iommus: vec![IommuConfig::new(IommuModel::SmmuV2); 2],
        ..Config::default()
    };
    let bytes = blob(&config, None);
    let tree = Fdt::new(&bytes).unwrap();
    let smmu = "/iommu@9910000";
    assert_eq!(
        cells(&tree, smmu, "reg"),
        Some(vec![0, 0x0991_0000, 0, 0x1_0000])
    );
    assert_eq!(cells(&tree, smmu, "#global-interrupts"), Some(vec![1]));
    let output = [GIC_SPI, layout::IOMMUS.first_spi + 1, LEVEL_HIGH];
    // The global one, and eight of context banks.
    assert_eq!(cells(&tree, smmu, "interrupts"), Some(output.repeat(9)));
    let phandle = cells(&tree, smmu, "phandle").unwrap()[0];
    let disk = cells(&tree, "/virtio_mmio@a000000", "iommus");
    assert_eq!(disk, Some(vec![phandle, 5]));
}

#[test]
fn a_kernel_is_told_nothing_of_a_bridge() {
    let plain = Config {
        disks: vec!["a".parse().unwrap()],
        memory_base: Some(ByteSize(0x8000_0000)),
        ..Config::default()
    };
    let bridged = Config {
        iommus: vec![IommuConfig::new(IommuModel::Bridge)],
        ..plain.clone()
    };
    assert_eq!(blob(&bridged, None), blob(&plain, None));
    let table = Board::new(&bridged).table();
    assert!(table.contains("| bridge0, port 0 |"), "{table}");
}

#[test]
fn the_largest_machine_of_every_board_fits_its_room() {
    // What a tree that exists may be like is checked where it is read.
    let generated = |board: &BoardModel| board.facts().tree.is_none();
    for board in BoardModel::ALL.into_iter().filter(generated) {
        let facts = board.facts();
        let config = Config {
            board,
            cpus: 4,
            disks: vec![DiskConfig::new("d"); facts.max_disks()],
            iommus: vec![IommuConfig::new(IommuModel::IpmmuGen3); MAX_IOMMUS],
            ..Config::default()
        };
        let bytes = blob(&config, None);
        // The longest command line and the place of an initrd are still to be added.
        assert!(bytes.len() as u64 + 2048 < crate::loader::place::DTB_ROOM);
        let tree = Fdt::new(&bytes).unwrap();
        let chosen = tree.find_node("/chosen").unwrap();
        assert!(chosen.property("linux,initrd-start").is_none());
        assert_eq!(tree.cpus().count(), 4, "{}", facts.name);
        assert!(tree.memory().regions().next().unwrap().size > Some(0));
        // Each window of a device is one of its node's, as the guest's driver finds it.
        for entry in &Board::new(&config).devices {
            let window = entry.ranges[0].base;
            let named = format!("@{window:x}");
            let mut nodes = tree.all_nodes();
            let described = nodes.any(|node| node.name.ends_with(&named));
            assert!(described, "{} describes {}", facts.name, entry.name);
        }
    }
}

/// Returns the strings of a property.
fn words<'t>(tree: &Fdt<'t>, node: &str, property: &str) -> Option<Vec<&'t str>> {
    let value = tree.find_node(node)?.property(property)?.value;
    let text = std::str::from_utf8(value).unwrap();
    Some(text.trim_end_matches('\0').split('\0').collect())
}

#[test]
fn boards_of_socs_are_virt_but_for_what_their_platform_code_looks_for() {
    let of = |board| {
        let disks = vec!["a,coherent".parse().unwrap(), DiskConfig::new("b")];
        let config = Config {
            board,
            disks,
            ..Config::default()
        };
        blob(&config, None)
    };
    let boards = [
        BoardModel::Virt,
        BoardModel::VirtMvebu,
        BoardModel::VirtHighbank,
    ];
    let [virt, mvebu, highbank] = boards.map(of);
    let [virt, mvebu, highbank] = [&virt, &mvebu, &highbank].map(|bytes| Fdt::new(bytes).unwrap());
    let fabric = "/coherency-fabric@9040000";
    let expected = vec!["marvell,armada-380-coherency-fabric"];
    assert_eq!(words(&mvebu, fabric, "compatible"), Some(expected));
    let sregs = "/sregs@9030000";
    let expected = vec!["calxeda,hb-sregs"];
    assert_eq!(words(&highbank, sregs, "compatible"), Some(expected));
    for (tree, absent) in [(&virt, fabric), (&virt, sregs), (&highbank, fabric)] {
        assert!(tree.find_node(absent).is_none());
    }
    let machines = [&virt, &mvebu, &highbank].map(|tree| tree.root().compatible().first());
    assert_eq!(
        machines,
        ["linux,dummy-virt", "linux,dummy-virt", "calxeda,ecx-2000"]
    );
    for disk in ["/virtio_mmio@a000000", "/virtio_mmio@a001000"] {
        let plain = Some(vec!["virtio,mmio"]);
        assert_eq!(words(&virt, disk, "compatible"), plain);
        assert_eq!(words(&mvebu, disk, "compatible"), plain);
        let both = Some(vec!["virtio,mmio", "calxeda,hb-sdhci"]);
        assert_eq!(words(&highbank, disk, "compatible"), both);
    }
    let rng = words(&highbank, "/virtio_mmio@a002000", "compatible");
    assert_eq!(rng, Some(vec!["virtio,mmio"]));
    // Which disks are coherent is the user's.
    let coherent = |disk| cells(&highbank, disk, "dma-coherent").is_some();
    assert!(coherent("/virtio_mmio@a000000") && !coherent("/virtio_mmio@a001000"));
}
