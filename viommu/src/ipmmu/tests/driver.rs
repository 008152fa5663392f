//! The whole life of an IPMMU of R-Car Gen2 under the Linux driver, with a virtio queue behind it.

use std::io::{Read, Write};

use virtio_bindings::bindings::virtio_ring::{VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::harness::{IMCTR, IMSTR, IMTTBCR, IMTTLBR0, Machine, RAM, imuctr, page_at};
use super::linux::{Domain, Handled};
use crate::dma::DmaSpace;
use crate::test_support::RegisterMachine as _;

const TABLES: u64 = RAM + 0x10_0000;
const BUFFERS: u64 = RAM + 0x20_0000;
/// Where the driver's window of IOVAs begins.
const IOVA: u64 = 0x4000_0000;

/// Returns a request of two buffers, one to be read and one to be written, answered by a device on
/// `dma`. The rings are at [`IOVA`], which has two pages; the buffers are wherever they are.
fn virtio_request(dma: &DmaSpace, request: u64, answer: u64) -> Result<(), ()> {
    let dma = &dma.pin();
    let driver = MockSplitQueue::create(dma, GuestAddress(IOVA), 16);
    let descriptors = [
        RawDescriptor::from(Descriptor::new(request, 8, VRING_DESC_F_NEXT as u16, 1)),
        RawDescriptor::from(Descriptor::new(answer, 8, VRING_DESC_F_WRITE as u16, 0)),
    ];
    driver.add_desc_chains(&descriptors, 0).unwrap();
    let mut queue: Queue = driver.create_queue().unwrap();
    assert!(queue.is_valid(dma));
    let chain = queue.pop_descriptor_chain(dma).ok_or(())?;
    let head = chain.head_index();
    let mut data = [0; 8];
    let mut reader = chain.clone().reader(dma).map_err(drop)?;
    reader.read_exact(&mut data).map_err(drop)?;
    data.reverse();
    let mut writer = chain.writer(dma).map_err(drop)?;
    writer.write_all(&data).map_err(drop)?;
    queue.add_used(dma, head, 8).map_err(drop)
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is one sequence of accesses")]
fn the_linux_drivers_whole_sequence() {
    let machine = Machine::gen2();
    machine.mark_pages();
    let dma = machine.dma(3);

    // Reset: the driver disables the one context that it uses, and touches nothing else.
    machine.write(IMCTR, 0);
    assert_eq!(machine.log.take(), [""; 0]);
    assert_eq!(page_at(&dma, BUFFERS), Some(BUFFERS), "untranslated");

    // The first attach.
    let mut domain = Domain::new(&machine, 0, 0, TABLES);
    assert_eq!(
        machine.log.take(),
        [
            "mmu: context 0 table 0xc0100000",
            "mmu: context 0 enabled",
            "mmu: context 0 flush",
        ]
    );
    assert_eq!(machine.read(IMCTR), 5, "the flush is complete");
    assert_eq!(machine.read(IMTTBCR), 0x8000_3510);
    assert_eq!(machine.read(IMTTLBR0), TABLES as u32);
    domain.attach(3);
    assert_eq!(machine.log.take(), ["mmu: uTLB 3 enabled on context 0"]);
    assert_eq!(machine.read(imuctr(3)), 1);

    // Map and DMA: rings of two pages, a request that may only be read, an answer. None of it is
    // contiguous in RAM.
    domain.map(IOVA, BUFFERS + 0x3000, true);
    domain.map(IOVA + 0x1000, BUFFERS + 0x1000, true);
    let (request, answer) = (IOVA + 0x2ff8, IOVA + 0x7ffc);
    domain.map(IOVA + 0x2000, BUFFERS + 0x5000, false);
    domain.map(IOVA + 0x7000, BUFFERS + 0x8000, true);
    domain.map(IOVA + 0x8000, BUFFERS + 0x7000, true);
    machine
        .ram
        .write_slice(b"question", GuestAddress(BUFFERS + 0x5ff8))
        .unwrap();
    virtio_request(&dma, request, answer).unwrap();
    let mut halves = [0; 8];
    let (first, second) = halves.split_at_mut(4);
    machine
        .ram
        .read_slice(first, GuestAddress(BUFFERS + 0x8ffc))
        .unwrap();
    machine
        .ram
        .read_slice(second, GuestAddress(BUFFERS + 0x7000))
        .unwrap();
    assert_eq!(&halves, b"noitseuq");
    assert_eq!(
        machine.log.take(),
        [""; 0],
        "nothing happened that anyone must know of"
    );

    // A second device: its uTLB and nothing else.
    domain.attach(5);
    assert_eq!(machine.log.take(), ["mmu: uTLB 5 enabled on context 0"]);
    let other = machine.dma(5);
    assert_eq!(page_at(&other, IOVA + 0x7000), Some(BUFFERS + 0x8000));

    // Unmap with flush: the translation is gone for both, though it was in the cache.
    domain.unmap(IOVA + 0x7000);
    assert_eq!(machine.log.take(), ["mmu: context 0 flush"]);

    // A fault: recorded, and the interrupt raised.
    assert!(virtio_request(&dma, request, answer).is_err());
    assert_eq!(
        machine.log.take(),
        [
            "mmu: context 0 fault: status 0x00003001 iova 0x40007ffc",
            "interrupt high",
        ]
    );
    // Another before the first is handled is lost.
    assert_eq!(page_at(&other, IOVA + 0x9000), None);
    assert_eq!(
        machine.log.take(),
        ["mmu: context 0 fault not recorded: iova 0x40009008"]
    );
    let handled = domain.handle_interrupt();
    let expected = Handled {
        status: 0x3001,
        iova: 0x4000_7ffc,
    };
    assert_eq!(handled, Some(expected));
    assert_eq!(
        machine.log.take(),
        ["mmu: context 0 fault cleared", "interrupt low"]
    );
    assert_eq!(domain.handle_interrupt(), None);

    // A write to what may only be read.
    assert!(other.write_obj(0u32, GuestAddress(request)).is_err());
    let handled = domain.handle_interrupt();
    let expected = Handled {
        status: 0x3402,
        iova: request as u32,
    };
    assert_eq!(handled, Some(expected));
    machine.log.take();

    // Recovery: a refusal is not remembered, so mapping needs no flush.
    domain.map(IOVA + 0x7000, BUFFERS + 0x9000, true);
    virtio_request(&dma, request, answer).unwrap();
    assert_eq!(machine.log.take(), [""; 0]);

    // Detach of one: its IOVAs reach the bus as they are; the other goes on.
    domain.detach(3);
    assert_eq!(machine.log.take(), ["mmu: uTLB 3 disabled"]);
    assert_eq!(page_at(&dma, IOVA), None);
    assert_eq!(machine.log.take(), ["bus error at 0x40000008"]);
    assert_eq!(page_at(&dma, BUFFERS), Some(BUFFERS));
    assert_eq!(machine.read(IMSTR), 0, "a bus error is no fault");
    assert_eq!(page_at(&other, IOVA + 0x1000), Some(BUFFERS + 0x1000));

    // Detach of the other, and the end of the domain.
    domain.detach(5);
    domain.destroy();
    assert_eq!(
        machine.log.take(),
        [
            "mmu: uTLB 5 disabled",
            "mmu: context 0 disabled",
            "mmu: context 0 flush",
        ]
    );
    assert_eq!(machine.read(IMCTR), 0);
    assert_eq!(page_at(&other, BUFFERS), Some(BUFFERS));
}

/// The lifecycle bug on a shared uTLB: one device's detach takes the translation away from the
/// other.
#[test]
fn a_detach_on_a_shared_utlb_leaves_the_other_device_untranslated() {
    let machine = Machine::gen2();
    machine.mark_pages();
    let (a, b) = (machine.dma(7), machine.dma(7));
    let mut domain = Domain::new(&machine, 0, 0, TABLES);
    domain.attach(7);
    domain.attach(7);
    domain.map(IOVA, BUFFERS, true);
    assert_eq!(page_at(&a, IOVA), Some(BUFFERS));
    domain.detach(7);
    machine.log.take();
    assert_eq!(page_at(&a, IOVA), None);
    assert_eq!(page_at(&b, IOVA), None);
    assert_eq!(machine.log.take(), ["bus error at 0x40000008"; 2]);
}
