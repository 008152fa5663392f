//! A space behind a cache answers exactly as its model does without one, whatever is mapped,
//! unmapped, invalidated and attached, as long as every unmapping is followed by an invalidation
//! that covers it.

use std::sync::Arc;

use super::common::{PlainModel, Recorder, unit};
use proptest::prelude::*;
use viommu::{Access, Attachment, DomainId, EndpointId, Event, FaultReason, Mapping};
use vm_memory::{
    GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion, GuestRegionMmap, Permissions,
};

const ENDPOINTS: u32 = 3;
const DOMAINS: u32 = 3;
/// Where mappings of a page go: low pages, and the last ones of the address space.
const LOW_PAGES: u64 = 48;

/// Returns the regions that memory is made of.
fn regions() -> Vec<Arc<GuestRegionMmap<()>>> {
    let ranges = [
        (GuestAddress(0x1_0000), 0x8000),
        (GuestAddress(0x1_8000), 0x8000),
        // Ends in the middle of a page.
        (GuestAddress(0x3_0000), 0x2800),
        (GuestAddress(0x4000_0000), 0x1_0000_0000),
    ];
    let region = |(start, len)| GuestRegionMmap::from_range(start, len, None).unwrap();
    ranges.map(region).map(Arc::new).into()
}

/// Returns memory of those of `regions` whose bit is set in `plugged`.
fn memory(regions: &[Arc<GuestRegionMmap<()>>], plugged: u8) -> Arc<GuestMemoryMmap<()>> {
    let there = (0..).zip(regions).filter(|(n, _)| plugged & 1 << n != 0);
    let regions = there.map(|(_, region)| Arc::clone(region)).collect();
    Arc::new(GuestMemoryMmap::from_arc_regions(regions).unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Forget {
    Range,
    WiderRange,
    Domain,
    All,
}

#[derive(Clone, Debug)]
enum Action {
    Map {
        domain: u32,
        iova: u64,
        bits: u32,
        address: u64,
        allow: Permissions,
    },
    Unmap {
        domain: u32,
        iova: u64,
        forget: Forget,
    },
    Attach {
        endpoint: u32,
        to: Attachment,
    },
    Flush {
        domain: u32,
        forget: Forget,
    },
    /// Memory becomes that of these regions.
    Plug(u8),
    Access {
        endpoint: u32,
        iova: u64,
        count: usize,
        wanted: Permissions,
        borrowed: bool,
    },
}

fn permissions() -> impl Strategy<Value = Permissions> {
    prop_oneof![
        1 => Just(Permissions::Read),
        1 => Just(Permissions::Write),
        3 => Just(Permissions::ReadWrite),
    ]
}

fn forget() -> impl Strategy<Value = Forget> {
    prop_oneof![
        4 => Just(Forget::Range),
        1 => Just(Forget::WiderRange),
        2 => Just(Forget::Domain),
        1 => Just(Forget::All),
    ]
}

fn page() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..LOW_PAGES,
        1 => Just(u64::MAX >> 12),
        1 => Just((u64::MAX >> 12) - 1),
    ]
    .prop_map(|page| page << 12)
}

/// Returns an IOVA and size of a mapping: mostly pages, and blocks at places of their own.
fn place() -> impl Strategy<Value = (u64, u32)> {
    prop_oneof![
        6 => page().prop_map(|iova| (iova, 12)),
        1 => (1u64..4).prop_map(|n| (n << 16, 16)),
        1 => (1u64..4).prop_map(|n| (n << 21, 21)),
        1 => (1u64..3).prop_map(|n| (n << 30, 30)),
        1 => (0..LOW_PAGES * 16, 5u32..14).prop_map(|(n, bits)| (n << 8 & !((1 << bits) - 1), bits)),
    ]
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => (0xfu64..0x21).prop_map(|page| page << 12),
        2 => (0x30u64..0x34).prop_map(|page| page << 12),
        2 => (0u64..8).prop_map(|n| 0x4000_0000 + (n << 21)),
        2 => Just(0x4000_0000),
        1 => (0u64..0x40).prop_map(|n| 0x4000_0000 - (n << 12)),
        1 => Just(0x1_0800),
        1 => Just(u64::MAX - 0xfff),
        1 => Just(u64::MAX - 0x7ff),
    ]
}

fn iova() -> impl Strategy<Value = u64> {
    (
        place(),
        prop_oneof![0u64..0x1000, 0xff0u64..0x1000],
        any::<u64>(),
    )
        .prop_map(|((iova, bits), offset, more)| {
            let within = if bits > 12 {
                more & ((1 << bits) - 1) & !0xfff
            } else {
                0
            };
            iova.wrapping_add(within).wrapping_add(offset)
        })
}

fn action() -> impl Strategy<Value = Action> {
    let domain = || 0..DOMAINS;
    let endpoint = || 0..ENDPOINTS;
    prop_oneof![
        8 => (domain(), place(), address(), permissions()).prop_map(
            |(domain, (iova, bits), address, allow)| Action::Map { domain, iova, bits, address, allow }
        ),
        4 => (domain(), iova(), forget()).prop_map(
            |(domain, iova, forget)| Action::Unmap { domain, iova, forget }
        ),
        1 => (domain(), forget()).prop_map(|(domain, forget)| Action::Flush { domain, forget }),
        1 => (1u8..16).prop_map(Action::Plug),
        1 => (endpoint(), prop_oneof![
            6 => domain().prop_map(|domain| Attachment::Domain(DomainId(domain))),
            1 => Just(Attachment::Bypass),
            1 => Just(Attachment::Blocked),
        ]).prop_map(|(endpoint, to)| Action::Attach { endpoint, to }),
        16 => (
            endpoint(),
            iova(),
            prop_oneof![8 => 0usize..64, 4 => 0usize..0x6000, 1 => 0usize..0x40_0000, 1 => Just(usize::MAX)],
            permissions(),
            any::<bool>(),
        ).prop_map(|(endpoint, iova, count, wanted, borrowed)| Action::Access {
            endpoint, iova, count, wanted, borrowed
        }),
    ]
}

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Fault(u64, FaultReason),
    Bus(u64, u64),
    Wrap,
}

/// Returns what an access must yield, worked out from the model page by page: host address and
/// length of each slice.
fn expected(
    memory: &GuestMemoryMmap<()>,
    model: &PlainModel,
    attached: Attachment,
    iova: u64,
    count: usize,
    wanted: Permissions,
) -> (Vec<(usize, usize)>, End) {
    let mut slices: Vec<(usize, usize)> = Vec::new();
    let mut last_region = None;
    let mut here = u128::from(iova);
    let end = here + count as u128;
    while here < end {
        let Ok(at) = u64::try_from(here) else {
            return (slices, End::Wrap);
        };
        let (address, last) = match attached {
            Attachment::Blocked => return (slices, End::Fault(at, FaultReason::Blocked)),
            Attachment::Bypass => (at, u64::MAX),
            Attachment::Domain(domain) => match model.find(domain, at) {
                None => return (slices, End::Fault(at, FaultReason::Translation)),
                Some(mapping) if !mapping.permissions.allow(wanted) => {
                    return (slices, End::Fault(at, FaultReason::Permission));
                }
                Some(Mapping {
                    first,
                    last,
                    address,
                    ..
                }) => {
                    let Some(address) = address.checked_add(at - first) else {
                        return (slices, End::Fault(at, FaultReason::AddressSize));
                    };
                    (address, last)
                }
            },
        };
        let Some(region) = memory.find_region(GuestAddress(address)) else {
            return (slices, End::Bus(at, address));
        };
        let host = memory.get_host_address(GuestAddress(address)).unwrap() as usize;
        let room = u128::from((last - at).min(region.last_addr().0 - address)) + 1;
        let len = room.min(end - here) as usize;
        match slices.last_mut() {
            Some((begin, so_far))
                if *begin + *so_far == host && last_region == Some(region.start_addr()) =>
            {
                *so_far += len;
            }
            _ => slices.push((host, len)),
        }
        last_region = Some(region.start_addr());
        here += len as u128;
    }
    (slices, End::Done)
}

/// Returns what an access yields, and how it ended as the guest and the observer were told.
fn actual(
    space: &impl GuestMemory,
    model: &PlainModel,
    recorder: &Recorder,
    iova: u64,
    count: usize,
    wanted: Permissions,
) -> (Vec<(usize, usize)>, End) {
    recorder.take();
    let mut slices = Vec::new();
    let mut failed = false;
    for slice in space.get_slices(GuestAddress(iova), count, wanted).unwrap() {
        assert!(!failed, "something came after an error");
        match slice {
            Ok(slice) => slices.push((slice.ptr_guard().as_ptr() as usize, slice.len())),
            Err(_) => failed = true,
        }
    }
    let told = model.take_faults();
    let mut ends = recorder.take().into_iter().filter_map(|event| match event {
        Event::Fault(fault) => {
            assert_eq!(fault.access, Access::of(wanted));
            Some(End::Fault(fault.iova, fault.reason))
        }
        Event::BusError { iova, address, .. } => Some(End::Bus(iova, address)),
        _ => None,
    });
    let end = match (ends.next(), failed) {
        (Some(end), true) => end,
        (None, true) => End::Wrap,
        (None, false) => End::Done,
        (Some(end), false) => panic!("{end:?} without an error"),
    };
    assert_eq!(ends.next(), None);
    let faulted = matches!(end, End::Fault(..));
    assert_eq!(told.len(), usize::from(faulted));
    (slices, end)
}

fn overlapping(model: &PlainModel, domain: u32, first: u64, last: u64) -> Vec<Mapping> {
    let mappings = model.mappings.lock().unwrap();
    mappings
        .range((domain, 0)..=(domain, last))
        .map(|(_, mapping)| *mapping)
        .filter(|mapping| mapping.last >= first)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_changes_no_answer(
        entries in prop_oneof![Just(0usize), Just(1), Just(8), Just(32), Just(4096)],
        actions in prop::collection::vec(action(), 1..160),
    ) {
        let regions = regions();
        let mut memory = memory(&regions, 0b1111);
        let recorder = Arc::new(Recorder::default());
        let (unit, model) = unit(&memory, entries, Some(Arc::clone(&recorder)));
        let spaces: Vec<_> = (0..ENDPOINTS).map(|n| unit.space(EndpointId(n))).collect();
        let invalidate = |domain, first: u64, last: u64, forget| match forget {
            Forget::Range => unit.invalidate_range(DomainId(domain), first, last),
            Forget::WiderRange => unit.invalidate_range(
                DomainId(domain), first.saturating_sub(0x2345), last.saturating_add(0x12_3456)
            ),
            Forget::Domain => unit.invalidate_domain(DomainId(domain)),
            Forget::All => unit.invalidate_all(),
        };
        for action in actions {
            match action {
                Action::Map { domain, iova, bits, address, allow } => {
                    let last = iova + ((1 << bits) - 1);
                    if overlapping(&model, domain, iova, last).is_empty() {
                        model.map(DomainId(domain), iova, last, address, allow);
                    }
                }
                Action::Unmap { domain, iova, forget } => {
                    for mapping in overlapping(&model, domain, iova, iova) {
                        // All who can reach it use it just before, and must be refused just after.
                        let touch = |at, count| {
                            for (endpoint, space) in (0..).zip(&spaces) {
                                let attached = unit.attachment(EndpointId(endpoint));
                                let wanted = mapping.permissions;
                                let want = expected(&memory, &model, attached, at, count, wanted);
                                let got = actual(&space.pin(), &model, &recorder, at, count, wanted);
                                prop_assert_eq!(got, want);
                            }
                            Ok(())
                        };
                        let size = usize::try_from(mapping.last - mapping.first).unwrap() + 1;
                        touch(mapping.first, size)?;
                        touch(iova, 1)?;
                        model.unmap(DomainId(domain), mapping.first);
                        invalidate(domain, mapping.first, mapping.last, forget);
                        touch(mapping.first, 1)?;
                        touch(iova, 1)?;
                        touch(mapping.last, 1)?;
                    }
                }
                Action::Plug(plugged) => {
                    memory = super::property::memory(&regions, plugged);
                    prop_assert!(unit.set_memory(Arc::clone(&memory)).is_over());
                }
                Action::Flush { domain, forget } => invalidate(domain, 0, u64::MAX, forget),
                Action::Attach { endpoint, to } => unit.attach(EndpointId(endpoint), to),
                Action::Access { endpoint, iova, count, wanted, borrowed } => {
                    let attached = unit.attachment(EndpointId(endpoint));
                    let space = &spaces[endpoint as usize];
                    let want = expected(&memory, &model, attached, iova, count, wanted);
                    let check = space.pin().check_range(GuestAddress(iova), count, wanted);
                    prop_assert_eq!(check, want.1 == End::Done);
                    prop_assert!(model.take_faults().is_empty());
                    let got = if borrowed {
                        actual(&space.pin(), &model, &recorder, iova, count, wanted)
                    } else {
                        actual(&*space.memory(), &model, &recorder, iova, count, wanted)
                    };
                    prop_assert_eq!(got, want);
                }
            }
            prop_assert!(unit.begin_grace_period().is_over());
        }
    }
}
