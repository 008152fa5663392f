//! What a daemon is told against an array of pages.

use proptest::prelude::*;
use viommu::vm_memory::Permissions;

use super::*;

const PAGES: usize = 16;
/// The front end's addresses are these away from the guest's.
const USER: u64 = 0x7000_0000;

/// Two regions of one file, with a hole in guest memory between.
fn table() -> Table {
    let mut table = Table::default();
    let regions = [(0, 0), (8, 5)].map(|(page, offset)| {
        let (address, size) = (page * PAGE, 5 * PAGE);
        let body = VhostUserMemoryRegion::new(address, size, USER + address, offset * PAGE);
        (body, OwnedFd::from(tempfile::tempfile().unwrap()))
    });
    table.set_memory(regions.into()).unwrap();
    table
}

proptest! {
    #[test]
    fn a_daemon_is_told_of_what_is_mapped(
        changes in proptest::collection::vec((any::<bool>(), 0..16u64, 1..6u64, 0..14u64), 0..20),
    ) {
        let (mut table, mut pages) = (table(), [None; PAGES]);
        for (maps, first, count, to) in changes {
            let count = count.min(PAGES as u64 - first);
            let (iova, size) = (first * PAGE, count * PAGE);
            let in_memory = to + count <= 5 || (to >= 8 && to + count <= 13);
            if maps {
                let user = USER + to * PAGE;
                let about = IotlbMessage::update(iova, size, user, Permissions::ReadWrite);
                prop_assert_eq!(table.update(&about).is_ok(), in_memory);
            } else {
                table.invalidate(&IotlbMessage::invalidate(iova, size));
            }
            for (page, number) in pages.iter_mut().zip(0..) {
                let inside = (first..first + count).contains(&number);
                if inside && (in_memory || !maps) {
                    // Where in its file: the second region's begins at page 5.
                    let guest = to + (number - first);
                    *page = maps.then_some(if guest < 5 { guest } else { guest - 3 });
                }
            }
            let told = table.regions(true).unwrap();
            for (page, number) in pages.iter().zip(0..) {
                let found = told.iter().find_map(|(body, _)| {
                    let offset = (number * PAGE).checked_sub(body.guest_phys_addr)?;
                    let inside = offset < body.memory_size;
                    inside.then(|| (body.mmap_offset + offset) / PAGE)
                });
                prop_assert_eq!(&found, page);
            }
            prop_assert!(!told.is_empty() && told.len() <= PAGES);
        }
    }
}

#[test]
fn regions_that_cannot_be_are_refused() {
    let file = || OwnedFd::from(tempfile::tempfile().unwrap());
    let region = VhostUserMemoryRegion::new;
    for bodies in [
        vec![region(0, 0, 0, 0)],
        vec![region(u64::MAX, 2, 0, 0)],
        vec![region(0, 2, 0, u64::MAX)],
        vec![region(0, 2 * PAGE, 0, 0), region(PAGE, PAGE, 2 * PAGE, 0)],
    ] {
        let bodies = bodies.into_iter().map(|body| (body, file()));
        assert!(Table::default().set_memory(bodies.collect()).is_err());
    }
    // Files are mapped by pages.
    let mut table = table();
    let half = IotlbMessage::update(0x800, PAGE, USER, Permissions::Read);
    assert!(table.update(&half).is_err() && table.entries.iter().next().is_none());
}
