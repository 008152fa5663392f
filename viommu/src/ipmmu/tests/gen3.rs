//! R-Car Gen3: a root that translates, and leaves that devices are on.

use super::harness::{FLUSH, IMCTR, IMELAR, IMSTR, IMTTBCR, MMUEN, Machine, RAM, imuctr, page_at};
use super::linux::{Domain, Handled};
use crate::ipmmu::IpmmuConfig;
use crate::test_support::RegisterMachine as _;

const PAGE: u64 = RAM + 0x20_0000;
const OTHER_PAGE: u64 = RAM + 0x30_0000;
const IOVA: u64 = 0x4000_0000;

fn machine() -> Machine {
    let machine = Machine::new(&IpmmuConfig::gen3("mm", ["ds0", "ds1"]));
    machine.mark_pages();
    // The driver resets the root only.
    for context in 0..8 {
        machine.write(context * 0x40 + IMCTR, 0);
    }
    machine
}

fn tables(nth: u64) -> u64 {
    RAM + nth * 0x8_0000
}

#[test]
fn the_linux_drivers_sequence_uses_the_roots_contexts_and_the_leafs_utlbs() {
    let machine = machine();
    let leaf = machine.instance(1);
    let dma = leaf.space(40).unwrap();
    // Context 0 is left alone.
    let mut domain = Domain::new(&machine, 1, 1, tables(1));
    domain.map(IOVA, PAGE, true);
    domain.attach(40);
    assert_eq!(
        machine.log.take(),
        [
            "mm: context 1 table 0xc0080000",
            "ds0: context 1 enabled",
            "ds0: context 1 flush",
            "mm: context 1 enabled",
            "mm: context 1 flush",
            "ds0: uTLB 40 enabled on context 1",
        ]
    );
    assert_eq!(domain.read(IMTTBCR), 0x8000_0080);
    assert_eq!(machine.read_of(1, imuctr(40)), 0x11);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE));
    domain.unmap(IOVA);
    assert_eq!(page_at(&dma, IOVA), None);
    let expected = Handled {
        status: 0x3001,
        iova: 0x4000_0008,
    };
    assert_eq!(domain.handle_interrupt(), Some(expected));
    domain.detach(40);
    domain.destroy();
    assert_eq!(page_at(&dma, RAM), Some(RAM));
}

#[test]
fn a_second_domain_is_a_second_context() {
    let machine = machine();
    let mut first = Domain::new(&machine, 1, 1, tables(1));
    let mut second = Domain::new(&machine, 2, 2, tables(2));
    first.attach(0);
    second.attach(0);
    first.map(IOVA, PAGE, true);
    second.map(IOVA, OTHER_PAGE, true);
    let dma = |leaf| machine.instance(leaf).space(0).unwrap();
    assert_eq!(page_at(&dma(1), IOVA), Some(PAGE));
    assert_eq!(page_at(&dma(2), IOVA), Some(OTHER_PAGE));
    // The end of one is not the other's.
    second.detach(0);
    second.destroy();
    assert_eq!(page_at(&dma(2), IOVA), None);
    assert_eq!(page_at(&dma(1), IOVA), Some(PAGE));
}

#[test]
fn two_domains_may_be_on_one_leaf() {
    let machine = machine();
    let mut first = Domain::new(&machine, 1, 1, tables(1));
    let mut second = Domain::new(&machine, 1, 2, tables(2));
    first.map(IOVA, PAGE, true);
    second.map(IOVA, OTHER_PAGE, true);
    first.attach(3);
    second.attach(33);
    let dma = |utlb| machine.instance(1).space(utlb).unwrap();
    assert_eq!(page_at(&dma(3), IOVA), Some(PAGE));
    assert_eq!(page_at(&dma(33), IOVA), Some(OTHER_PAGE));
}

#[test]
fn faults_are_the_roots_with_all_bits_of_the_address() {
    let machine = machine();
    let domain = Domain::new(&machine, 2, 7, tables(1));
    domain.attach(5);
    machine.log.take();
    let dma = machine.instance(2).space(5).unwrap();
    // IOVAs of 40 bits are not modelled: this one is in no region.
    assert_eq!(page_at(&dma, 0x12_4000_0000), None);
    assert_eq!(
        machine.log.take(),
        [
            "mm: context 7 fault: status 0x00001001 iova 0x1240000008",
            "interrupt high",
        ]
    );
    assert_eq!(domain.read(IMELAR), 0x4000_0008);
    assert_eq!(domain.read(0x34), 0x12);
    assert_eq!(machine.read_of(2, 7 * 0x40 + IMSTR), 0, "not the leaf's");
    domain.write(IMSTR, 0);
    assert_eq!((domain.read(IMELAR), domain.read(0x34)), (0, 0));
    assert_eq!(
        machine.log.take(),
        ["mm: context 7 fault cleared", "interrupt low"]
    );
}

#[test]
fn a_context_translates_if_it_is_enabled_on_root_and_leaf() {
    let machine = machine();
    let mut domain = Domain::new(&machine, 1, 1, tables(1));
    domain.map(IOVA, PAGE, true);
    domain.attach(0);
    let dma = machine.instance(1).space(0).unwrap();
    let control = 0x40 + IMCTR;
    for (root, leaf) in [(0, MMUEN), (MMUEN, 0), (0, 0)] {
        machine.write_of(0, control, root);
        machine.write_of(1, control, leaf);
        assert_eq!(page_at(&dma, IOVA), None);
        assert_eq!(page_at(&dma, RAM), Some(RAM), "untranslated");
    }
    machine.write_of(0, control, MMUEN);
    machine.write_of(1, control, MMUEN);
    assert_eq!(page_at(&dma, IOVA), Some(PAGE));
}

#[test]
fn a_flush_of_the_root_waits_for_devices_on_leaves() {
    let machine = machine();
    let mut domain = Domain::new(&machine, 1, 1, tables(1));
    domain.map(IOVA, PAGE, true);
    domain.attach(0);
    let dma = machine.instance(1).space(0).unwrap();
    assert_eq!(page_at(&dma, IOVA), Some(PAGE));
    let pin = dma.pin();
    let entry = domain.entry(IOVA);
    machine.poke(entry, 0);
    domain.write(IMCTR, MMUEN | FLUSH);
    assert!(!domain.sync());
    drop(pin);
    assert!(domain.sync());
    assert_eq!(page_at(&dma, IOVA), None);
}

#[test]
fn a_refused_access_is_told_of_the_leaf_it_came_through() {
    let machine = machine();
    // TTSEL 15 is no context, so the uTLB is blocked.
    machine.write_of(2, imuctr(0), 0xf1);
    machine.log.take();
    let dma = machine.instance(2).space(0).unwrap();
    assert_eq!(page_at(&dma, IOVA), None);
    assert_eq!(
        machine.log.take(),
        ["ds1: fault without a context: iova 0x40000008"]
    );
}

#[test]
fn each_instance_has_its_own_utlbs() {
    let machine = machine();
    assert!(machine.instance(0).space(0).is_none(), "the root has none");
    assert!(machine.instance(1).space(48).is_none());
    assert!(machine.ipmmu.instance(3).is_none());
    assert_eq!(machine.ipmmu.instances().count(), 3);
    // FLUSH is among the bits, and is over at once, as nobody is pinned.
    machine.write_of(1, imuctr(47), 0x73);
    assert_eq!(machine.read_of(2, imuctr(47)), 0);
    assert_eq!(machine.read_of(1, imuctr(47)), 0x71);
    assert_eq!(machine.read_of(0, imuctr(0)), 0);
}
