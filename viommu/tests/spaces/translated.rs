//! What a bus master behind a translation unit meets.

use std::sync::Arc;

use super::common::{DOMAIN, ENDPOINT, PAGE, PlainModel, RAM, Recorder, ram, unit};
use viommu::{
    Access, Attachment, DmaSpace, DomainId, EndpointId, Event, Fault, FaultReason, Mapping, Miss,
    Model, Requester, Scope, SourceId, TranslationUnit, UnitConfig,
};
use vm_memory::Permissions::{Read, ReadWrite, Write};
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryBackend, GuestMemoryError,
    GuestMemoryMmap, GuestMemoryRegion, Permissions,
};

/// Lengths of the slices of an access, and whether it ended with an error.
fn lengths(
    space: &impl GuestMemory,
    iova: u64,
    count: usize,
    wanted: Permissions,
) -> (Vec<usize>, bool) {
    let mut lengths = Vec::new();
    let mut slices = space.get_slices(GuestAddress(iova), count, wanted).unwrap();
    for slice in slices.by_ref() {
        match slice {
            Ok(slice) => lengths.push(slice.len()),
            Err(_) => {
                assert!(slices.next().is_none(), "an error is the end");
                return (lengths, true);
            }
        }
    }
    assert!(slices.next().is_none());
    (lengths, false)
}

#[test]
fn pages_contiguous_in_the_host_are_one_slice() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    for page in 0..32 {
        model.map_page(0x10_0000 + page * PAGE, RAM + page * PAGE, ReadWrite);
    }
    for _ in 0..2 {
        assert_eq!(
            lengths(&space.pin(), 0x10_0000, 0x2_0000, Write),
            (vec![0x2_0000], false)
        );
        assert_eq!(lengths(&space.pin(), 0x10_0ffc, 8, Read), (vec![8], false));
    }
    assert_eq!(model.asked(), 32);
    // Another frame in between, and the border of two regions, which no slice may cross.
    model.map_page(0x20_0000, RAM + 0xff000, ReadWrite);
    model.map_page(0x20_1000, RAM + 0x10_0000, ReadWrite);
    model.map_page(0x20_2000, RAM, ReadWrite);
    let split = vec![PAGE as usize, PAGE as usize, PAGE as usize];
    assert_eq!(
        lengths(&space.pin(), 0x20_0000, 3 * PAGE as usize, Read),
        (split, false)
    );
}

#[test]
fn a_mapping_across_regions_and_holes_is_split_where_they_are() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    model.map(DOMAIN, 0, 0x3f_ffff, RAM, ReadWrite);
    let all = (vec![0x10_0000, 0x10_0000], true);
    assert_eq!(lengths(&space.pin(), 0, 0x20_1800, Read), all);
    assert_eq!(
        lengths(&space.pin(), 0x20_1800, 0x800, Read),
        (vec![0x800], false)
    );
    assert_eq!(
        lengths(&space.pin(), 0x20_1800, 0x801, Read),
        (vec![0x800], true)
    );
    assert!(model.take_faults().is_empty(), "no memory is no fault");
}

#[test]
fn faults_name_the_first_address_out_of_reach_and_come_when_met() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    model.map_page(0x1000, RAM, ReadWrite);
    model.map_page(0x2000, RAM + PAGE, Read);
    let addr = GuestAddress(0x1800);
    assert!(space.pin().check_range(addr, 0x1800, Read));
    assert!(!space.pin().check_range(addr, 0x1800, Write));
    assert!(!space.pin().check_range(addr, 0x1800, ReadWrite));
    assert!(!space.pin().check_range(addr, 0x1801, Read));
    assert!(model.take_faults().is_empty(), "a question is no access");
    assert_eq!(
        lengths(&space.pin(), 0x1800, 0x1800, ReadWrite),
        (vec![0x800], true)
    );
    assert_eq!(
        lengths(&space.pin(), 0x1800, 0x1801, Read),
        (vec![0x1800], true)
    );
    assert_eq!(
        model.take_faults(),
        [
            (0x2000, Access::Write, FaultReason::Permission),
            (0x3000, Access::Read, FaultReason::Translation)
        ]
    );
    let pin = space.pin();
    let mut slices = pin.get_slices(addr, 0x1801, Read).unwrap();
    assert!(slices.next().unwrap().is_ok());
    drop(slices);
    assert!(model.take_faults().is_empty(), "nobody came that far");
    let mut data = [0; 4];
    let error = space
        .read_slice(&mut data, GuestAddress(0x3004))
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, GuestMemoryError::IommuError(_)));
    assert!(
        text.contains("0x3004") && text.contains("translation fault"),
        "{text}"
    );
    let error = space.write_slice(&data, GuestAddress(0x2ffe)).unwrap_err();
    assert!(error.to_string().contains("permission fault"), "{error}");
}

#[test]
fn a_failure_is_never_cached_and_more_permissions_are_learnt() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    let addr = GuestAddress(0x5000);
    assert!(space.read_obj::<u32>(addr).is_err());
    model.map_page(0x5000, RAM, Read);
    assert!(space.read_obj::<u32>(addr).is_ok());
    assert!(space.write_obj(1u32, addr).is_err());
    model.map_page(0x5000, RAM, ReadWrite);
    assert!(space.write_obj(1u32, addr).is_ok());
    let asked = model.asked();
    assert!(space.read_obj::<u32>(addr).is_ok());
    assert_eq!(model.asked(), asked);
}

#[test]
fn the_edges_of_the_address_space() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    let top = u64::MAX - (PAGE - 1);
    model.map(DOMAIN, top, u64::MAX, RAM, ReadWrite);
    model.map_page(0, RAM + PAGE, ReadWrite);
    for _ in 0..2 {
        assert_eq!(
            lengths(&space.pin(), top, PAGE as usize, Read),
            (vec![PAGE as usize], false)
        );
        assert_eq!(lengths(&space.pin(), u64::MAX, 1, Write), (vec![1], false));
        assert_eq!(lengths(&space.pin(), u64::MAX, 2, Write), (vec![1], true));
        assert_eq!(
            lengths(&space.pin(), u64::MAX - 1, usize::MAX, Write),
            (vec![2], true)
        );
        assert!(!space.pin().check_range(GuestAddress(u64::MAX), 2, Read));
        assert!(space.pin().check_range(GuestAddress(u64::MAX), 1, Read));
    }
    assert!(model.take_faults().is_empty());
    for iova in [0, 0x7777_7777, top, u64::MAX] {
        assert_eq!(lengths(&space.pin(), iova, 0, ReadWrite), (vec![], false));
        assert!(space.pin().check_range(GuestAddress(iova), 0, ReadWrite));
    }
    // Invalidating the top by range must not wrap either.
    model.unmap(DOMAIN, top);
    unit.invalidate_range(DOMAIN, top, u64::MAX);
    assert_eq!(lengths(&space.pin(), u64::MAX, 1, Write), (vec![], true));
    assert_eq!(lengths(&space.pin(), 0, 1, Write), (vec![1], false));
}

#[test]
fn attachments_decide_per_endpoint() {
    let (unit, model) = unit(&ram(), 1024, None);
    let (a, b) = (unit.space(EndpointId(0)), unit.space(EndpointId(1)));
    let nobody = unit.space(EndpointId(99));
    model.map(DOMAIN, 0, 0xfff, RAM, ReadWrite);
    model.map(DomainId(2), 0, 0xfff, RAM + PAGE, ReadWrite);
    unit.attach(EndpointId(1), Attachment::Domain(DomainId(2)));
    unit.attach(EndpointId(99), Attachment::Bypass);
    a.write_obj(0xau8, GuestAddress(0)).unwrap();
    b.write_obj(0xbu8, GuestAddress(0)).unwrap();
    assert_eq!(a.read_obj::<u8>(GuestAddress(0)).unwrap(), 0xa);
    assert!(nobody.read_obj::<u8>(GuestAddress(0)).is_err());
    unit.attach(EndpointId(1), Attachment::Bypass);
    assert!(b.read_obj::<u8>(GuestAddress(0)).is_err());
    assert_eq!(b.read_obj::<u8>(GuestAddress(RAM + PAGE)).unwrap(), 0xb);
    unit.attach(EndpointId(1), Attachment::Blocked);
    assert!(b.read_obj::<u8>(GuestAddress(RAM)).is_err());
    // A domain beyond those configured works, without the cache.
    unit.attach(EndpointId(1), Attachment::Domain(DomainId(1_000_000)));
    model.map(DomainId(1_000_000), 0, 0xfff, RAM + PAGE, Read);
    assert_eq!(b.read_obj::<u8>(GuestAddress(0)).unwrap(), 0xb);
    let asked = model.asked();
    assert_eq!(b.read_obj::<u8>(GuestAddress(0)).unwrap(), 0xb);
    assert_eq!(model.asked(), asked + 1);
    let reasons: Vec<_> = model.take_faults().iter().map(|fault| fault.2).collect();
    assert_eq!(reasons, [FaultReason::Blocked, FaultReason::Blocked]);
}

#[test]
fn a_blocked_space_gives_nothing() {
    let space = DmaSpace::blocked(ram());
    assert_eq!(lengths(&space.pin(), RAM, 4, Read), (vec![], true));
    assert_eq!(lengths(&space.pin(), RAM, 0, Read), (vec![], false));
    assert!(!space.pin().check_range(GuestAddress(RAM), 1, Read));
    assert!(space.pin().check_range(GuestAddress(RAM), 0, Read));
    let error = space.write_obj(1u8, GuestAddress(RAM)).unwrap_err();
    assert!(error.to_string().contains("blocked"), "{error}");
}

#[test]
fn observers_see_what_happens_in_order() {
    let recorder = Arc::new(Recorder {
        dma: true,
        ..Recorder::default()
    });
    let (unit, model) = unit(&ram(), 1024, Some(Arc::clone(&recorder)));
    let unnamed = unit.space(ENDPOINT);
    let space = unnamed.clone().with_source(SourceId(7)).clone();
    let source = Some(SourceId(7));
    model.map_page(0x1000, RAM, Read);
    model.map_page(0x2000, 0x123_0000, Read);
    unit.attach(EndpointId(2), Attachment::Blocked);
    assert!(space.read_obj::<u32>(GuestAddress(0x1000)).is_ok());
    assert!(space.read_obj::<u32>(GuestAddress(0x2004)).is_err());
    assert!(space.write_obj(0u8, GuestAddress(0x1001)).is_err());
    unit.invalidate_domain(DOMAIN);
    unit.invalidate_range(DOMAIN, 1, 2);
    unit.invalidate_all();
    let dma = |iova, length, access| Event::Dma {
        endpoint: ENDPOINT,
        source,
        iova,
        length,
        access,
    };
    assert_eq!(
        recorder.take(),
        [
            Event::Attached {
                endpoint: EndpointId(2),
                to: Attachment::Blocked
            },
            dma(0x1000, 4, Read),
            Event::Filled {
                endpoint: ENDPOINT,
                source,
                domain: DOMAIN,
                mapping: model.find(DOMAIN, 0x1000).unwrap()
            },
            dma(0x2004, 4, Read),
            Event::BusError {
                endpoint: ENDPOINT,
                source,
                iova: 0x2004,
                address: 0x123_0004,
                access: Access::Read
            },
            dma(0x1001, 1, Write),
            Event::Fault(Fault {
                endpoint: ENDPOINT,
                source,
                domain: Some(DOMAIN),
                iova: 0x1001,
                access: Access::Write,
                reason: FaultReason::Permission,
                level: None
            }),
            Event::Invalidated(Scope::Domain(DOMAIN)),
            Event::Invalidated(Scope::Range(DOMAIN, 1, 2)),
            Event::Invalidated(Scope::All),
        ]
    );
    let counters = unit.counters();
    assert_eq!((counters.faults, counters.bus_errors), (1, 1));
    assert_eq!((counters.flushes, counters.range_invalidations), (2, 1));
    assert_eq!((counters.hits, counters.misses, counters.fills), (0, 3, 1));
    assert!(unnamed.read_obj::<u8>(GuestAddress(0x2000)).is_err());
    let sources: Vec<_> = recorder.take().iter().map(Event::source).collect();
    assert_eq!(sources, [None, None], "who has no name");
}

#[test]
fn each_invalidation_forgets_what_it_should_and_flushes_keep_other_domains() {
    let (unit, model) = unit(&ram(), 1 << 14, None);
    let a = unit.space(EndpointId(0));
    let b = unit.space(EndpointId(1));
    unit.attach(EndpointId(1), Attachment::Domain(DomainId(3)));
    for page in 0..64 {
        for domain in [DOMAIN, DomainId(3)] {
            model.map(
                domain,
                page * PAGE,
                page * PAGE + 0xfff,
                RAM + page * PAGE,
                ReadWrite,
            );
        }
    }
    let touch = |space: &DmaSpace| {
        let before = model.asked();
        for page in 0..64 {
            space.read_obj::<u8>(GuestAddress(page * PAGE)).unwrap();
        }
        model.asked() - before
    };
    assert_eq!((touch(&a), touch(&b), touch(&a), touch(&b)), (64, 64, 0, 0));
    unit.invalidate_range(DOMAIN, 3 * PAGE + 5, 9 * PAGE);
    assert_eq!((touch(&a), touch(&b)), (7, 0));
    unit.invalidate_range(DOMAIN, 9, 8);
    assert_eq!((touch(&a), touch(&b)), (0, 0));
    unit.invalidate_domain(DOMAIN);
    assert_eq!((touch(&a), touch(&b)), (64, 0));
    unit.invalidate_range(DOMAIN, 0, u64::MAX);
    assert_eq!((touch(&a), touch(&b)), (64, 0));
    unit.invalidate_all();
    assert_eq!((touch(&a), touch(&b)), (64, 64));
    unit.invalidate_domain(DomainId(77));
    unit.invalidate_range(DomainId(77), 0, 5);
    assert_eq!((touch(&a), touch(&b)), (0, 0));
}

#[test]
fn large_blocks_are_one_entry_each() {
    let ram = Arc::new(
        GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0x4000_0000), 3 << 30)]).unwrap(),
    );
    for (bits, size) in [(16, 1u64 << 16), (21, 1 << 21), (30, 1 << 30)] {
        let (unit, model) = unit(&ram, 1024, None);
        let space = unit.space(ENDPOINT);
        model.map(DOMAIN, size, 2 * size - 1, 0x4000_0000, ReadWrite);
        for offset in [0, size / 2 + 7, size - 8] {
            space.read_obj::<u64>(GuestAddress(size + offset)).unwrap();
        }
        assert_eq!(model.asked(), 1, "2^{bits}");
        assert_eq!(unit.counters().hits, 2);
        // Any byte of it forgets it.
        unit.invalidate_range(DOMAIN, 2 * size - 1, 2 * size - 1);
        space.read_obj::<u64>(GuestAddress(size)).unwrap();
        assert_eq!(model.asked(), 2);
        // Only 4 KiB of it backed: cached as what is there.
        model.map(
            DOMAIN,
            4 * size,
            5 * size - 1,
            0x4000_0000 - size + PAGE,
            ReadWrite,
        );
        space
            .read_obj::<u64>(GuestAddress(5 * size - PAGE))
            .unwrap();
        space.read_obj::<u64>(GuestAddress(5 * size - 8)).unwrap();
        assert_eq!(model.asked(), 3);
    }
}

#[test]
fn guards_keep_a_grace_period_waiting_and_accesses_work_through_them() {
    let (unit, model) = unit(&ram(), 1024, None);
    let space = unit.space(ENDPOINT);
    model.map_page(0, RAM, ReadWrite);
    assert!(unit.begin_grace_period().is_over());

    let pinned = space.pin();
    pinned.write_obj(7u32, GuestAddress(0)).unwrap();
    let mut grace = unit.begin_grace_period();
    let another = pinned.clone();
    drop(pinned);
    assert!(grace.is_over(), "the clone is later");
    let mut grace = unit.begin_grace_period();
    assert!(!grace.is_over());
    drop(another);
    assert!(grace.is_over());

    let owned = space.memory();
    let shared = Arc::clone(&owned);
    assert_eq!(owned.read_obj::<u32>(GuestAddress(0)).unwrap(), 7);
    let mut grace = unit.begin_grace_period();
    drop(owned);
    assert!(!grace.is_over());
    drop(shared);
    assert!(grace.is_over());

    let pin = space.pin();
    let slices = pin.get_slices(GuestAddress(0), 4, Read).unwrap();
    let mut grace = unit.begin_grace_period();
    drop(slices);
    assert!(!grace.is_over(), "they may have been kept");
    drop(pin);
    assert!(grace.is_over());
    space.read_obj::<u32>(GuestAddress(0)).unwrap();
    assert!(space.pin().check_range(GuestAddress(0), 1, Read));
    assert!(unit.begin_grace_period().is_over());
}

#[test]
fn writes_through_a_unit_mark_the_dirty_bitmap() {
    let ram = GuestMemoryMmap::<AtomicBitmap>::from_ranges(&[
        (GuestAddress(0), 0x4000),
        (GuestAddress(0x1_0000), 0x4000),
    ])
    .unwrap();
    let ram = Arc::new(ram);
    let model = Arc::new(PlainModel::default());
    model.map_page(0x7000, 0x1_2000, ReadWrite);
    let config = UnitConfig::new(1, 2).with_initial(Attachment::Domain(DOMAIN));
    let unit = TranslationUnit::new(Arc::clone(&ram), model, &config, None);
    let space = unit.space(ENDPOINT);
    let dirty = |address: u64| {
        let (region, offset) = ram.to_region_addr(GuestAddress(address)).unwrap();
        region.bitmap().dirty_at(offset.0 as usize)
    };
    space.read_obj::<u8>(GuestAddress(0x7000)).unwrap();
    assert!(!dirty(0x1_2000));
    space.write_obj(1u8, GuestAddress(0x7000)).unwrap();
    assert!(dirty(0x1_2000) && !dirty(0x1_1000) && !dirty(0x2000));
}

/// A model that breaks every promise.
struct Liar(Mapping);

impl Model for Liar {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        _: u64,
        _: Permissions,
    ) -> Result<Mapping, Miss> {
        Ok(self.0)
    }

    fn fault(&self, _: &Fault) {}
}

#[test]
fn nonsense_from_a_model_is_an_error_and_no_panic() {
    let whole = Mapping {
        first: 0,
        last: u64::MAX,
        address: u64::MAX - 5,
        permissions: ReadWrite,
    };
    let mappings = [
        whole,
        Mapping {
            first: 0x2000,
            last: 0x1000,
            ..whole
        },
        Mapping {
            first: 0x9000,
            ..whole
        },
        Mapping {
            permissions: Permissions::No,
            address: RAM,
            ..whole
        },
        Mapping {
            last: 0xfff,
            address: RAM,
            ..whole
        },
    ];
    for mapping in mappings {
        let config = UnitConfig::new(1, 2).with_initial(Attachment::Domain(DOMAIN));
        let unit = TranslationUnit::new(ram(), Arc::new(Liar(mapping)), &config, None);
        let space = unit.space(ENDPOINT);
        for iova in [0x1000, 0x1800, u64::MAX - 1] {
            assert!(
                space.read_obj::<u16>(GuestAddress(iova)).is_err(),
                "{mapping:?} {iova:#x}"
            );
        }
    }
}
