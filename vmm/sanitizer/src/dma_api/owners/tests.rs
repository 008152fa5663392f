//! Owners alone, and held against a model that has one entry for each byte.

use proptest::prelude::*;

use super::*;
use crate::dma_api::shadow::MappingKind;

const DEVICE: GuestDevice = GuestDevice(1);
const PAGE: u64 = 1 << PAGE_BITS;

const fn range(first: u64, last: u64) -> Range {
    Range { first, last }
}

fn take(owners: &mut Owners<u32>, direction: Direction, all: &[Range], owned: bool) -> OwnedId {
    let id = owners.number();
    let mapping = Mapping {
        first: 0,
        bytes: 1,
        direction,
        kind: MappingKind::Streaming,
        buffer: None,
        in_use: false,
        owned: Some(id),
        freed: None,
        made: 0,
    };
    owners.take(DEVICE, mapping, all.to_vec(), owned);
    id
}

fn conflict(owners: &Owners<u32>, first: u64, last: u64, write: bool) -> Option<Conflict> {
    let (conflict, _) = owners.conflict(range(first, last), write)?;
    Some(conflict)
}

#[test]
fn what_a_device_reads_may_be_read() {
    let mut owners = Owners::new(true);
    take(
        &mut owners,
        Direction::ToDevice,
        &[range(0x1010, 0x101f)],
        true,
    );
    assert_eq!(conflict(&owners, 0x1010, 0x1013, false), None);
    assert_eq!(
        conflict(&owners, 0x100d, 0x1010, true),
        Some(Conflict::Unsynchronised)
    );
    // The device writes nothing that could be lost in this line.
    assert_eq!(conflict(&owners, 0x1020, 0x1023, true), None);
}

#[test]
fn what_a_device_writes_is_its_own_with_the_lines_that_it_is_in() {
    for (lines, expected) in [(true, Some(Conflict::Line)), (false, None)] {
        let mut owners = Owners::new(lines);
        take(
            &mut owners,
            Direction::FromDevice,
            &[range(0x1010, 0x101f)],
            true,
        );
        for write in [false, true] {
            assert_eq!(
                conflict(&owners, 0x101f, 0x101f, write),
                Some(Conflict::Bytes)
            );
        }
        assert_eq!(conflict(&owners, 0x1020, 0x1020, false), None);
        assert_eq!(conflict(&owners, 0x103f, 0x103f, true), expected);
        assert_eq!(conflict(&owners, 0x1040, 0x1040, true), None);
        let watched = usize::from(lines) + 1;
        let [(0x1000, watches)] = &owners.changes()[..] else {
            panic!("one page");
        };
        assert_eq!(watches.len(), watched);
    }
}

#[test]
fn parts_are_handed_over() {
    let mut owners = Owners::new(true);
    let id = take(
        &mut owners,
        Direction::Both,
        &[range(0x1000, 0x2fff)],
        false,
    );
    let is_owned = |owners: &Owners<u32>, at| conflict(owners, at, at, false).is_some();
    assert!(!is_owned(&owners, 0x1000));
    owners.give(id, None, To::Device);
    assert!(is_owned(&owners, 0x1000) && is_owned(&owners, 0x2fff));
    owners.changes();
    owners.give(id, Some(range(0x1800, 0x1fff)), To::Cpu);
    assert_eq!(owners.changes().len(), 1);
    assert!(is_owned(&owners, 0x17ff) && is_owned(&owners, 0x2000));
    assert!(!is_owned(&owners, 0x1800) && !is_owned(&owners, 0x1fff));
    // No more than is mapped.
    owners.give(id, Some(range(0x1900, u64::MAX)), To::Device);
    assert!(is_owned(&owners, 0x1900) && !is_owned(&owners, 0x3000));
    owners.release(id);
    assert!(!is_owned(&owners, 0x1000));
    assert_eq!(owners.changes(), [(0x1000, vec![]), (0x2000, vec![])]);
    owners.release(id);
    owners.give(id, None, To::Device);
    assert_eq!(owners.changes(), []);
}

#[test]
fn what_is_written_first_and_synchronised_then_is_let_be() {
    let mut owners = Owners::new(true);
    let mut taken = || {
        take(
            &mut owners,
            Direction::ToDevice,
            &[range(0x1000, 0x1fff)],
            true,
        )
    };
    let ids = [taken(), taken(), taken()];
    let written = range(0x1100, 0x1103);
    for id in ids {
        for _ in 0..2 * MAX_WRITES {
            owners.wrote(id, written, 5);
        }
    }
    // The first is synchronised, of the second other bytes, and the third for the CPU.
    owners.give(ids[0], None, To::Device);
    owners.give(ids[1], Some(range(0x1200, 0x12ff)), To::Device);
    owners.give(ids[2], None, To::Cpu);
    assert!(owners.release(ids[0]).is_none());
    for id in &ids[1..] {
        let owned = owners.release(*id).unwrap();
        assert_eq!(owned.written, vec![(written, 5); MAX_WRITES]);
    }
    owners.wrote(ids[0], written, 5);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut owners = Owners::new(true);
    let direction = Direction::FromDevice;
    let pages = MAX_PAGES as u64;
    let all = take(&mut owners, direction, &[range(0, pages * PAGE - 1)], true);
    assert_eq!(owners.beyond(), 0);
    // One more page, however much is wanted.
    for last in [pages * PAGE, u64::MAX] {
        take(&mut owners, direction, &[range(pages * PAGE, last)], true);
    }
    assert_eq!(owners.beyond(), 2);
    assert_eq!(conflict(&owners, pages * PAGE, pages * PAGE, true), None);
    // In pages that are watched already there is room, but not for everyone.
    for _ in 1..MAX_OWNERS {
        take(&mut owners, direction, &[range(0, 0)], true);
    }
    assert_eq!(owners.beyond(), 2);
    take(&mut owners, direction, &[range(0, 0)], true);
    assert_eq!(owners.beyond(), 3);
    owners.release(all);
    owners.release_all(DEVICE);
    assert!(owners.pages.is_empty() && owners.owned.is_empty());
}

#[test]
fn a_mapping_in_too_many_pieces_belongs_to_nobody() {
    let mut owners = Owners::new(false);
    let bytes = 4 * MAX_PIECES as u64;
    let id = take(&mut owners, Direction::Both, &[range(0, bytes - 1)], true);
    for at in (0..bytes).step_by(2) {
        owners.give(id, Some(range(at, at)), To::Cpu);
    }
    assert_eq!(conflict(&owners, 0, bytes, true), None);
    assert!(
        owners
            .changes()
            .iter()
            .all(|(_, watches)| watches.is_empty())
    );
}

#[derive(Clone, Debug)]
enum Deed {
    Take(Direction, Range, bool),
    Give(usize, Range, To),
    Release(usize),
}

fn part() -> impl Strategy<Value = Range> {
    (0u64..0x2400, 0u64..0x900).prop_map(|(first, more)| range(first, first + more))
}

fn deed() -> impl Strategy<Value = Deed> {
    let direction = prop_oneof![
        Just(Direction::Both),
        Just(Direction::ToDevice),
        Just(Direction::FromDevice)
    ];
    let to = prop_oneof![Just(To::Cpu), Just(To::Device)];
    prop_oneof![
        (direction, part(), any::<bool>()).prop_map(|(d, all, on)| Deed::Take(d, all, on)),
        (0usize..6, part(), to).prop_map(|(n, part, to)| Deed::Give(n, part, to)),
        (0usize..6).prop_map(Deed::Release),
    ]
}

/// A mapping of the model: what it has, and what of it is owned.
type Model = (Direction, Range, BTreeSet<u64>);

/// Returns whether the CPU's access to one byte is watched, by the pages' lists.
fn is_watched(pages: &BTreeMap<u64, Vec<RamWatch>>, at: u64, write: bool) -> bool {
    let offset = at & (PAGE - 1);
    let watches = pages.get(&(at & !(PAGE - 1)));
    watches.into_iter().flatten().any(|watch| {
        let covers = match watch.kind {
            WatchKind::Write => write,
            WatchKind::Read => !write,
            WatchKind::Access => true,
        };
        covers && (u64::from(watch.first)..=u64::from(watch.last)).contains(&offset)
    })
}

proptest! {
    #[test]
    fn bytes_belong_to_whom_they_were_given(
        deeds in prop::collection::vec(deed(), 1..12),
        looked in prop::collection::vec(0u64..0x3000, 200),
    ) {
        let mut owners = Owners::new(true);
        let mut models: Vec<(OwnedId, Option<Model>)> = Vec::new();
        let mut pages = BTreeMap::new();
        for deed in deeds {
            match deed {
                Deed::Take(direction, all, on) => {
                    let id = take(&mut owners, direction, &[all], on);
                    let owned = if on { (all.first..=all.last).collect() } else { BTreeSet::new() };
                    models.push((id, Some((direction, all, owned))));
                }
                Deed::Give(n, part, to) => {
                    let Some((id, model)) = models.get_mut(n) else { continue };
                    owners.give(*id, Some(part), to);
                    let Some((_, all, owned)) = model else { continue };
                    for at in part.first.max(all.first)..=part.last.min(all.last) {
                        match to {
                            To::Device => owned.insert(at),
                            To::Cpu => owned.remove(&at),
                        };
                    }
                }
                Deed::Release(n) => {
                    let Some((id, model)) = models.get_mut(n) else { continue };
                    owners.release(*id);
                    *model = None;
                }
            }
            pages.extend(owners.changes());
        }
        for at in looked {
            for write in [false, true] {
                let mut expected = None;
                for (direction, _, owned) in models.iter().filter_map(|(_, model)| model.as_ref()) {
                    let device_writes = direction.allows(true);
                    let line = at & !(LINE - 1);
                    if owned.contains(&at) && device_writes {
                        expected = Some(Conflict::Bytes);
                    } else if owned.contains(&at) && write {
                        if expected != Some(Conflict::Bytes) {
                            expected = Some(Conflict::Unsynchronised);
                        }
                    } else if write && device_writes && owned.range(line..line + LINE).next().is_some() {
                        expected = expected.or(Some(Conflict::Line));
                    }
                }
                prop_assert_eq!(conflict(&owners, at, at, write), expected, "{:#x}", at);
                prop_assert_eq!(is_watched(&pages, at, write), expected.is_some(), "{:#x}", at);
            }
        }
    }
}
