//! Tests of spaces that pass through, and of those that are blocked.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::Bytes;

use super::*;
use crate::attachment::Attachment;
use crate::fault::{DomainId, Fault, FaultReason, Requester};
use crate::model::{Mapping, Miss, Model};
use crate::unit::UnitConfig;

type Answer = std::result::Result<Mapping, Miss>;

const PAGE: u64 = 0x1000;
const BASE: u64 = 0x4000_0000;

/// Returns two adjacent regions of two pages each, a hole of one page, and one more page.
fn space() -> DmaSpace {
    let ranges = [
        (GuestAddress(BASE), 0x2000),
        (GuestAddress(BASE + 2 * PAGE), 0x2000),
        (GuestAddress(BASE + 5 * PAGE), 0x1000),
    ];
    DmaSpace::pass_through(Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap()))
}

fn slice_lengths(dma: &DmaSpace, addr: u64, count: usize) -> Option<Vec<usize>> {
    dma.pin()
        .get_slices(GuestAddress(addr), count, Permissions::ReadWrite)
        .unwrap()
        .map(|slice| slice.map(|s| s.len()))
        .collect::<std::result::Result<_, _>>()
        .ok()
}

#[test]
fn a_range_within_a_region_is_one_slice() {
    let dma = space();
    let across_pages = slice_lengths(&dma, BASE + PAGE - 8, 16);
    assert_eq!(across_pages, Some(vec![16]));
}

#[test]
fn a_range_across_regions_is_split_and_its_bytes_keep_their_order() {
    let dma = space();
    assert_eq!(
        slice_lengths(&dma, BASE + 2 * PAGE - 3, 8),
        Some(vec![3, 5])
    );
    let addr = GuestAddress(BASE + 2 * PAGE - 3);
    dma.write_slice(b"abcdefgh", addr).unwrap();
    let mut back = [0; 8];
    dma.read_slice(&mut back, addr).unwrap();
    assert_eq!(&back, b"abcdefgh");
    assert_eq!(
        dma.read_obj::<u8>(GuestAddress(BASE + 2 * PAGE)).unwrap(),
        b'd'
    );
}

#[test]
fn length_zero_is_fine_anywhere() {
    let dma = space();
    for addr in [BASE, BASE + 4 * PAGE, 0, u64::MAX] {
        assert_eq!(slice_lengths(&dma, addr, 0), Some(vec![]), "{addr:#x}");
        assert!(
            dma.pin()
                .check_range(GuestAddress(addr), 0, Permissions::Write)
        );
    }
}

#[test]
fn holes_and_the_end_of_memory_are_errors() {
    let dma = space();
    let end = BASE + 6 * PAGE;
    let ok = |addr, count| {
        dma.pin()
            .check_range(GuestAddress(addr), count, Permissions::Read)
    };
    assert!(ok(end - 4, 4));
    assert!(!ok(end - 4, 5));
    assert!(!ok(end, 1));
    assert!(!ok(BASE - 1, 1));
    assert!(!ok(BASE - 1, 2));
    assert!(!ok(BASE + 4 * PAGE - 1, 2));
    assert!(!ok(BASE, usize::MAX));
    let mut back = [0xaa; 2];
    let partial = dma.read_slice(&mut back, GuestAddress(end - 1));
    assert!(partial.is_err());
}

#[test]
fn ranges_that_wrap_are_errors() {
    let dma = space();
    for (addr, count) in [
        (u64::MAX, 2),
        (u64::MAX, 1),
        (u64::MAX - 1, usize::MAX),
        (BASE, usize::MAX),
    ] {
        assert!(
            !dma.pin()
                .check_range(GuestAddress(addr), count, Permissions::Write),
            "{addr:#x}+{count:#x}"
        );
        assert_eq!(slice_lengths(&dma, addr, count), None);
    }
}

#[test]
fn memory_that_ends_with_the_address_space_is_reached() {
    // One byte short of the end: vm-memory needs the end of a region to be an address too.
    let top = u64::MAX - 0xfff;
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(top), 0xfff)]).unwrap();
    let dma = DmaSpace::pass_through(Arc::new(ram));
    assert!(
        dma.pin()
            .check_range(GuestAddress(u64::MAX - 1), 1, Permissions::Read)
    );
    assert!(
        !dma.pin()
            .check_range(GuestAddress(u64::MAX - 1), 3, Permissions::Read)
    );
}

#[test]
fn clones_are_the_same_space_and_name_no_memory() {
    let dma = space();
    let clone = dma.clone();
    clone.write_obj(0x55u8, GuestAddress(BASE)).unwrap();
    assert_eq!(dma.read_obj::<u8>(GuestAddress(BASE)).unwrap(), 0x55);
    assert!(dma.pin().physical_memory().is_none());
}

#[test]
fn a_virtio_queue_runs_on_it() {
    let dma = space();
    let pin = dma.pin();
    let driver = MockSplitQueue::create(&pin, GuestAddress(BASE), 16);
    let buffer = GuestAddress(BASE + 2 * PAGE - 4);
    let descriptor = Descriptor::new(buffer.0, 8, VRING_DESC_F_WRITE as u16, 0);
    driver
        .build_desc_chain(&[RawDescriptor::from(descriptor)])
        .unwrap();
    let mut queue: Queue = driver.create_queue().unwrap();
    assert!(queue.is_valid(&pin));
    let chain = queue.pop_descriptor_chain(&pin).unwrap();
    let head = chain.head_index();
    let mut writer = chain.writer(&pin).unwrap();
    std::io::Write::write_all(&mut writer, b"virtio!!").unwrap();
    queue.add_used(&pin, head, 8).unwrap();
    let mut back = [0; 8];
    dma.read_slice(&mut back, buffer).unwrap();
    assert_eq!(&back, b"virtio!!");
    assert_eq!(u16::from_le(driver.used().idx().load()), 1);
}

#[test]
fn an_idle_endpoint_takes_at_most_200_bytes() {
    /// Never asked.
    struct Nothing;

    impl Model for Nothing {
        fn translate(&self, _: Requester, _: DomainId, _: u64, _: Permissions) -> Answer {
            Err(Miss::new(FaultReason::Translation))
        }

        fn fault(&self, _: &Fault) {}
    }

    const ENDPOINTS: u32 = 4096;
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(BASE), 0x1000)]).unwrap();
    let config = UnitConfig {
        endpoints: ENDPOINTS,
        domains: 1,
        initial: Attachment::Bypass,
    };
    let unit = TranslationUnit::new(Arc::new(ram), Arc::new(Nothing), &config, None);
    let spaces: Vec<_> = (0..ENDPOINTS).map(|n| unit.space(EndpointId(n))).collect();
    // Each was used, and then two invalidations found it idle.
    for space in &spaces {
        drop(space.pin());
    }
    for _ in 0..2 {
        assert!(unit.begin_grace_period().is_over());
    }
    let spaces = spaces.len() * size_of::<DmaSpace>();
    let attachments = ENDPOINTS as usize * size_of::<u64>();
    let each = (unit.handles.bytes() + spaces + attachments) / ENDPOINTS as usize;
    assert!(each <= 200, "{each}");
}
