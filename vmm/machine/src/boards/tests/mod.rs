//! What boards are, and what kernels are told of them.

mod device_tree;

use vmm_base::Width;

use super::*;
use crate::board::{Irq, Role};
use crate::layout::{Range, SPI_BASE};
use crate::vcpu::Irqchip;
use crate::{DiskConfig, IommuConfig, IommuModel, MAX_CLOCKS, MAX_IOMMUS, NetConfig, NetKind};

/// Returns the board with all that a configuration can ask for.
fn full(board: BoardModel, platform: Platform, model: IommuModel) -> Board {
    let nets = vec![NetConfig::new(NetKind::Peer); usize::from(board.facts().tree.is_none())];
    let mut disks = vec![DiskConfig::new("d"); board.facts().max_disks() - nets.len()];
    for (index, disk) in disks.iter_mut().take(MAX_CLOCKS).enumerate() {
        disk.clocks = vec![format!("c{index}")];
    }
    // A device tree that exists has masters for IPMMUs only.
    let iommus = match (board.facts().tree, model) {
        (None, _) => MAX_IOMMUS,
        (Some(_), IommuModel::Ipmmu) => board.facts().ipmmus,
        (Some(_), _) => 0,
    };
    let config = Config {
        board,
        disks,
        nets,
        iommus: vec![IommuConfig::new(model); iommus],
        cpus: board.facts().cpus,
        dma_tester: board.facts().tree.is_none().then(Default::default),
        ..Config::default()
    };
    Board::on(platform, &config)
}

#[test]
fn every_board_is_known_as_what_it_is() {
    for listed in BoardModel::ALL {
        assert_eq!(model(listed).model(), listed);
        let board = Board::new(&Config {
            board: listed,
            ..Config::default()
        });
        let consoles = board.devices.iter();
        let consoles = consoles.filter(|entry| entry.role == Some(Role::Console));
        assert_eq!(consoles.count(), 1, "{listed:?} has one console");
    }
}

#[test]
fn nothing_overlaps() {
    let gicv3 = Platform {
        width: Width::Bits64,
        irqchip: Irqchip::GicV3,
        accelerated: true,
    };
    for board in BoardModel::ALL {
        for model in IommuModel::ALL {
            for platform in [Platform::EMULATED, gicv3] {
                does_not_overlap(&full(board, platform, model));
            }
        }
    }
}

fn does_not_overlap(board: &Board) {
    let mut ranges: Vec<Range> = board
        .devices
        .iter()
        .flat_map(|e| e.ranges.clone())
        .collect();
    ranges.push(board.ram);
    ranges.sort_by_key(|range| range.base);
    assert!(
        ranges.windows(2).all(|pair| pair[0].end() <= pair[1].base),
        "{ranges:x?}"
    );
    let mut irqs: Vec<u32> = board
        .devices
        .iter()
        .flat_map(|e| e.irqs.iter().copied())
        .map(Irq::id)
        .collect();
    assert!(
        irqs.iter()
            .all(|irq| (SPI_BASE..board.gic.irqs).contains(irq))
    );
    irqs.sort_unstable();
    assert!(irqs.windows(2).all(|pair| pair[0] < pair[1]));
    let facts = board.model.facts();
    let apart = |range: &Range| range.end() <= facts.ram_min || range.base >= facts.ram_max;
    assert!(
        ranges
            .iter()
            .all(|range| *range == board.ram || apart(range))
    );
}

#[test]
fn the_table_names_everything() {
    let table = full(BoardModel::Virt, Platform::EMULATED, IommuModel::Ipmmu).table();
    for word in [
        "gic",
        "uart",
        "rtc",
        "disk0",
        "disk13",
        "net0",
        "rng",
        "RAM",
        "0x09000000",
        "SPI 1, level",
        "ipmmu7 | SPI 47, level |  |",
        "rng | SPI 31, level | ipmmu0, uTLB 15 |",
        "dma-tester | SPI 3, level | ipmmu0, uTLB 16 |",
    ] {
        assert!(table.contains(word), "{word}");
    }
}
