//! The whole life of an IOMMU under the Linux driver.

use vm_memory::{Bytes, GuestAddress};

use super::harness::{Machine, PAGE_FAULT_HANDLED, RAM, RESTING, STATUS, page_at};
use super::linux::{Domain, Handled};
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const BUFFERS: u64 = RAM + 0x20_0000;
/// An IOVA where no RAM is.
const IOVA: u64 = 0x4000_0000;

#[test]
fn the_linux_drivers_whole_sequence() {
    let machine = Machine::v1();
    machine.mark_pages();
    let dma = machine.dma();
    assert_eq!(page_at(&dma, BUFFERS), Some(BUFFERS), "untranslated");

    // The first attach: no stall, as paging is off.
    let mut domain = Domain::new(&machine, TABLES);
    domain.enable().unwrap();
    let enabled = [
        "directory table 0xcafeb000",
        "reset",
        "directory table 0xc0100000",
        "all translations zapped",
        "paging enabled",
    ];
    assert_eq!(machine.log.take(), enabled);
    assert_eq!(machine.read(STATUS), RESTING | 1);

    // Map and DMA.
    domain.map(IOVA, BUFFERS + 0x3000, true);
    domain.map(IOVA + 0x1000, BUFFERS + 0x1000, false);
    assert_eq!(
        machine.log.take(),
        [
            "translation of 0x40000000 zapped",
            "translation of 0x40001000 zapped",
        ]
    );
    assert_eq!(page_at(&dma, IOVA), Some(BUFFERS + 0x3000));
    let mut both = [0; 0x10];
    dma.read_slice(&mut both, GuestAddress(IOVA + 0xffc))
        .unwrap();
    assert_eq!(both[12..], (BUFFERS as u32 + 0x1000).to_le_bytes());
    assert_eq!(machine.log.take(), [""; 0]);

    // Unmap and zap: the translation is gone, though it was in the cache.
    domain.unmap(IOVA);
    assert_eq!(machine.log.take(), ["translation of 0x40000000 zapped"]);
    assert_eq!(page_at(&dma, IOVA), None);
    assert_eq!(
        machine.log.take(),
        ["page fault: read of iova 0x40000008", "interrupt high"]
    );
    let handled = Handled {
        interrupts: 1,
        iova: IOVA as u32 + 8,
        is_write: false,
    };
    assert_eq!(domain.handle_interrupt(), Some(handled));
    assert_eq!(machine.log.take(), PAGE_FAULT_HANDLED);

    // Recovery: a refusal is not remembered.
    domain.map(IOVA, BUFFERS + 0x9000, true);
    assert_eq!(page_at(&dma, IOVA), Some(BUFFERS + 0x9000));
    machine.log.take();

    // Detach: IOVAs reach the bus as they are.
    domain.disable();
    assert_eq!(
        machine.log.take(),
        [
            "stall requested",
            "stalled",
            "paging disabled",
            "directory table 0x0",
            "stall ended",
        ]
    );
    assert_eq!(machine.read(STATUS), RESTING);
    assert_eq!(page_at(&dma, IOVA), None);
    assert_eq!(machine.log.take(), ["no memory at 0x40000008"]);
    assert_eq!(page_at(&dma, BUFFERS), Some(BUFFERS));

    // Attached anew, and then once more while it is enabled: with a stall, which the reset ends.
    domain.enable().unwrap();
    assert_eq!(machine.log.take(), enabled);
    assert_eq!(page_at(&dma, IOVA), Some(BUFFERS + 0x9000));
    domain.enable().unwrap();
    let mut again = vec!["stall requested", "stalled"];
    again.extend(enabled);
    again.insert(3, "paging disabled");
    assert_eq!(machine.log.take(), again);
    assert_eq!(page_at(&dma, IOVA), Some(BUFFERS + 0x9000));
}
