//! What QEMU's tests of its virtio-iommu ask of a device (`tests/qtest/virtio-iommu-test.c`, 44
//! assertions in three tests), asked of this one. Numbers are theirs but for these:
//!
//! - the endpoint is 8, as 0 does not exist here;
//! - in the examples of the specification (5.13.6.6) a unit is a page. QEMU takes them for bytes,
//!   and maps ten of them; a range that is not aligned to the page granularity should be rejected
//!   with RANGE (5.13.6.5.2), and is here.

use super::*;

/// The first and last byte of some pages.
const fn pages(first: u64, last: u64) -> (u64, u64) {
    (first << 12, (last << 12) + 0xfff)
}

/// Maps pages to be read.
fn map_pages((first, last): (u64, u64), address: u64) -> Vec<u8> {
    map(1, first, last, address, map_flag::READ)
}

fn unmap_pages((first, last): (u64, u64)) -> Vec<u8> {
    unmap(1, first, last)
}

#[test]
fn config() {
    // In QEMU a property of the device, too.
    let machine = Machine::active_with(|config| config.bypass_config = Some(true));
    let space = machine.iommu.config_space();
    let number = |at: usize, size: usize| {
        let bytes = space[at..at + size].iter().rev();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    assert_eq!(number(config::INPUT_RANGE, 8), 0);
    assert!(number(config::INPUT_RANGE + 8, 8) >= u64::from(u32::MAX));
    assert_eq!(number(config::DOMAIN_RANGE, 4), 0);
    assert_eq!(number(config::DOMAIN_RANGE + 4, 4), u64::from(u32::MAX));
    assert_eq!(number(config::BYPASS, 1), 1);
}

#[test]
fn attach_detach() {
    let mut machine = Machine::usual();
    machine.ok(attach(0, EP));
    machine.refused(attach(0, 444), Status::NoEnt);
    machine.refused(detach(0, 1), Status::NoEnt);
    machine.ok(attach(1, EP));
    machine.refused(detach(0, EP), Status::Inval);
    machine.ok(detach(1, EP));

    machine.ok(attach(1, EP));
    machine.ok(map_pages(pages(0, 0), 0xa1000));
    machine.ok(map_pages(pages(2, 2), 0xb1000));
    machine.ok(detach(1, EP));
}

#[test]
fn map_unmap() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    machine.refused(map(0, 0, 0xfff, 0xa1000, map_flag::READ), Status::NoEnt);
    machine.ok(map_pages(pages(0, 0), 0xa1000));
    // Overlaps it.
    machine.refused(map_pages(pages(0, 15), 0xb1000), Status::Inval);
    machine.refused(unmap(4, 0x10, 0xfff), Status::NoEnt);
    machine.refused(unmap(1, 0x10, 0xfff), Status::Range);
    machine.ok(unmap(1, 0, 0x1000));

    // 1: there is nothing.
    machine.ok(unmap_pages(pages(0, 4)));
    // 2
    machine.ok(map_pages(pages(0, 9), 0xa1000));
    machine.ok(unmap_pages(pages(0, 9)));
    // 3: two at once.
    machine.ok(map_pages(pages(0, 4), 0xb1000));
    machine.ok(map_pages(pages(5, 9), 0xb2000));
    machine.ok(unmap_pages(pages(0, 9)));
    // 4: none is cut in two.
    machine.ok(map_pages(pages(0, 9), 0xc1000));
    machine.refused(unmap_pages(pages(0, 4)), Status::Range);
    machine.ok(unmap_pages(pages(0, 10)));
    // 5: only the first goes.
    machine.ok(map_pages(pages(0, 4), 0xd1000));
    machine.ok(map_pages(pages(5, 9), 0xd2000));
    machine.ok(unmap_pages(pages(0, 4)));
    machine.ok(unmap_pages(pages(5, 9)));
    // 6: a range that is longer.
    machine.ok(map_pages(pages(0, 4), 0xe2000));
    machine.ok(unmap_pages(pages(0, 9)));
    // 7: a hole between two.
    machine.ok(map_pages(pages(0, 4), 0xf2000));
    machine.ok(map_pages(pages(10, 14), 0xf3000));
    machine.ok(unmap_pages(pages(0, 14)));

    machine.ok(map_pages(pages(10, 14), 0xf3000));
    machine.ok(map_pages(pages(0, 4), 0xf2000));
    machine.ok(unmap_pages(pages(0, 4)));
    // It is still there.
    machine.refused(map_pages(pages(10, 14), 0xf3000), Status::Inval);
}

/// The difference: QEMU answers these with OK.
#[test]
fn what_is_smaller_than_a_page_is_rejected() {
    let mut machine = Machine::usual();
    machine.ok(attach(1, EP));
    for (first, last) in [(0, 9), (0, 4), (5, 9), (10, 14)] {
        let request = map(1, first, last, 0xa1000, map_flag::READ);
        machine.refused(request, Status::Range);
    }
}
