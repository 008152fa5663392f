//! Saving and restoring.

use super::harness::{FLUSH, IMCTR, IMSTR, Machine, RAM, imuctr, page_at};
use super::linux::Domain;
use crate::CacheState;
use crate::ipmmu::{IpmmuConfig, RestoreError, UtlbState};
use crate::test_support::through_json;
use crate::test_support::{RAM_SIZE, RegisterMachine as _};

const TABLES: u64 = RAM + 0x10_0000;
const PAGE: u64 = RAM + 0x20_0000;
const IOVA: u64 = 0x4000_0000;

/// Returns a machine in the middle of its life: a page is mapped and cached, and a fault has not
/// been handled.
fn busy() -> Machine {
    let machine = Machine::gen2();
    machine.mark_pages();
    let mut domain = Domain::new(&machine, 0, 0, TABLES);
    domain.attach(3);
    domain.map(IOVA, PAGE, true);
    assert_eq!(page_at(&machine.dma(3), IOVA), Some(PAGE));
    assert_eq!(page_at(&machine.dma(3), IOVA + 0x1000), None);
    machine.read(0x200);
    machine.log.take();
    machine
}

/// Returns another machine with the registers of `machine`, which went through JSON.
fn copy_of(machine: &Machine) -> Machine {
    let copy = Machine::gen2();
    let saved = through_json(&machine.ipmmu.save());
    copy.ipmmu.restore(&saved).unwrap();
    copy
}

#[test]
fn a_saved_state_goes_through_json_and_back() {
    let machine = busy();
    let fresh = copy_of(&machine);
    let saved = machine.ipmmu.save();
    assert_eq!(fresh.ipmmu.save(), saved);
    assert_eq!(fresh.log.take(), ["interrupt high"]);
    assert_eq!(fresh.read(IMSTR), 0x3001);
    assert_eq!(fresh.read(imuctr(3)), 1);
    assert_eq!(saved.instances[0].unimplemented, 1);
    // The same translations, once the same RAM is there: here it is not.
    assert_eq!(page_at(&fresh.dma(3), IOVA), None);
    assert_eq!(page_at(&fresh.dma(4), RAM), Some(0));
}

#[test]
fn restoring_forgets_what_was_cached_and_attached() {
    let machine = busy();
    let before = Machine::gen2().ipmmu.save();
    let after = machine.ipmmu.save();
    machine.ipmmu.restore(&before).unwrap();
    assert_eq!(
        page_at(&machine.dma(3), RAM),
        Some(RAM),
        "untranslated again"
    );
    assert_eq!(machine.log.take(), ["interrupt low"]);
    // The table is changed without a flush.
    machine.poke(TABLES + 8, 0);
    machine.ipmmu.restore(&after).unwrap();
    assert_eq!(page_at(&machine.dma(3), IOVA), None);
}

#[test]
fn a_flush_that_was_under_way_is_begun_again() {
    let machine = busy();
    let dma = machine.dma(3);
    let pin = dma.pin();
    machine.write(IMCTR, 7);
    machine.write(imuctr(3), 3);
    let saved = machine.ipmmu.save();
    assert_eq!(saved.instances[0].contexts[0].imctr, 7);
    machine.ipmmu.restore(&saved).unwrap();
    assert_eq!((machine.read(IMCTR), machine.read(imuctr(3))), (7, 3));
    drop(pin);
    assert_eq!((machine.read(IMCTR), machine.read(imuctr(3))), (5, 1));
    // Elsewhere nobody is pinned.
    let fresh = Machine::gen2();
    fresh.ipmmu.restore(&saved).unwrap();
    assert_eq!((fresh.read(IMCTR), fresh.read(imuctr(3))), (5, 1));
}

#[test]
fn a_state_of_another_version_or_shape_changes_nothing() {
    let machine = busy();
    let mine = machine.ipmmu.save();
    let mut other = Machine::gen2().ipmmu.save();
    other.version = 2;
    let refusals = [
        other,
        Machine::new(&IpmmuConfig::gen3("mm", ["ds0"])).ipmmu.save(),
        {
            let mut many = Machine::gen2().ipmmu.save();
            many.instances[0].utlbs.push(UtlbState::default());
            many
        },
        {
            let mut few = Machine::gen2().ipmmu.save();
            few.instances[0].contexts.clear();
            few
        },
    ];
    let messages = refusals.map(|state| {
        let error: RestoreError = machine.ipmmu.restore(&state).unwrap_err();
        error.to_string()
    });
    assert_eq!(
        messages,
        [
            "the saved IPMMU state has version 2, but this build reads version 1",
            "the saved IPMMU state is of 2 instances, but this IPMMU has 1",
            "the saved IPMMU state is of 33 uTLBs, but this IPMMU has 32",
            "the saved IPMMU state is of 0 contexts, but this IPMMU has 4",
        ]
    );
    assert_eq!(machine.ipmmu.save(), mine);
}

#[test]
fn bits_that_registers_do_not_have_are_dropped() {
    let machine = Machine::gen2();
    let mut state = machine.ipmmu.save();
    for context in &mut state.instances[0].contexts {
        // All but FLUSH, which would begin a flush.
        context.imctr = !2;
        context.imttbcr = !0;
        context.imbuscr = !0;
        context.imttubr0 = !0;
        context.imttubr1 = !0;
        // A code, a level and an address, but none of the flags they belong to.
        context.imstr = !0x17;
        context.imelar = 7;
        context.imeuar = 7;
    }
    for utlb in &mut state.instances[0].utlbs {
        utlb.imuctr = !2;
        utlb.imuasid = !0;
    }
    machine.ipmmu.restore(&state).unwrap();
    let saved = machine.ipmmu.save();
    let context = saved.instances[0].contexts[3];
    assert_eq!(context.imctr, 0x3_003d);
    assert_eq!(context.imttbcr, 0xff07_3f37);
    assert_eq!(context.imbuscr, 7);
    assert_eq!((context.imttubr0, context.imttubr1), (0xff, 0xff));
    assert_eq!((context.imstr, context.imelar, context.imeuar), (0, 0, 0));
    let utlb = saved.instances[0].utlbs[31];
    assert_eq!((utlb.imuctr, utlb.imuasid), (0xf1, 0xffff));
}

#[test]
fn what_was_cached_goes_on_being_seen_where_the_cache_is_restored_too() {
    let machine = busy();
    let (saved, cache) = (machine.ipmmu.save(), machine.ipmmu.unit().save_cache());
    let json = serde_json::to_string(&cache).unwrap();
    // The table is changed without a flush: the saved machine goes on seeing the old page, and one
    // that forgot would not.
    machine.poke(TABLES + 8, 0);
    assert_eq!(page_at(&machine.dma(3), IOVA), Some(PAGE));
    let after = machine.ipmmu.unit().counters();
    let other = Machine::gen2();
    other.mark_pages();
    other.ipmmu.restore(&saved).unwrap();
    let cache: CacheState = serde_json::from_str(&json).unwrap();
    other.ipmmu.unit().restore_cache(&cache).unwrap();
    assert_eq!(other.ipmmu.unit().save_cache(), cache);
    assert_eq!(page_at(&other.dma(3), IOVA), Some(PAGE));
    assert_eq!(other.ipmmu.unit().counters(), after);
    // A flush is a flush.
    other.write(IMCTR, other.read(IMCTR) | FLUSH);
    assert_eq!(page_at(&other.dma(3), IOVA), None);
    // And one that held something else forgets it.
    machine
        .ipmmu
        .unit()
        .restore_cache(&Machine::gen2().ipmmu.unit().save_cache())
        .unwrap();
    assert_eq!(page_at(&machine.dma(3), IOVA), None);
}

/// As of a machine whose configuration got devices and a leaf since.
#[test]
fn utlbs_and_leaves_that_were_not_saved_are_as_after_a_reset() {
    let mut config = IpmmuConfig::gen3("mm", ["ds"]);
    config.instances[1].utlbs = 4;
    let machine = Machine::new(&config);
    machine.write_of(1, 0x300 + 16 * 3, 1);
    let saved = machine.ipmmu.save();
    config.instances[1].utlbs = 5;
    config.instances.push(config.instances[1].clone());
    let other = Machine::new(&config);
    // What it had itself is gone.
    other.write_of(1, 0x300 + 16 * 4, 1);
    other.write_of(2, 0x300, 1);
    let fresh = Machine::new(&config).ipmmu.save();
    other.ipmmu.restore(&saved).unwrap();
    let restored = other.ipmmu.save();
    assert_eq!(restored.instances[0], saved.instances[0]);
    assert_eq!(restored.instances[1].utlbs[..4], saved.instances[1].utlbs);
    assert_eq!(restored.instances[1].utlbs[3].imuctr, 1);
    assert_eq!(restored.instances[1].utlbs[4], fresh.instances[1].utlbs[4]);
    assert_eq!(restored.instances[2], fresh.instances[2]);
    // The other way round something would be lost.
    let lost = machine.ipmmu.restore(&restored);
    assert!(matches!(lost, Err(RestoreError::Shape { .. })));
}

/// Version 1 had no list of regions, and entries of another form: these are asked for again.
#[test]
fn a_cache_of_version_1_is_read_without_its_entries() {
    let machine = busy();
    let cache = machine.ipmmu.unit().save_cache();
    let mut old = serde_json::to_value(&cache).unwrap();
    old["version"] = 1.into();
    let regions = old.as_object_mut().unwrap().remove("regions");
    assert_eq!(regions.unwrap(), serde_json::json!([[RAM, RAM_SIZE]]));
    let old: CacheState = serde_json::from_value(old).unwrap();
    let other = Machine::gen2();
    other.ipmmu.restore(&machine.ipmmu.save()).unwrap();
    other.ipmmu.unit().restore_cache(&old).unwrap();
    let mut expected = serde_json::to_value(&cache).unwrap();
    assert_ne!(expected["sets"], serde_json::json!([]));
    expected["sets"] = serde_json::json!([]);
    let restored = other.ipmmu.unit().save_cache();
    assert_eq!(serde_json::to_value(restored).unwrap(), expected);
}

/// What makes a state one that cannot be.
type Spoil = (&'static str, fn(&mut serde_json::Value));

#[test]
fn caches_that_could_not_have_come_about_are_refused() {
    let machine = busy();
    let good = serde_json::to_value(machine.ipmmu.unit().save_cache()).unwrap();
    let spoil: [Spoil; 16] = [
        ("version", |v| v["version"] = 3.into()),
        ("no version", |v| v["version"] = 0.into()),
        ("domains", |v| {
            let domains = v["domains"].as_array_mut().unwrap();
            domains.resize(1000, serde_json::json!([0, 0]));
        }),
        ("domains that entries name", |v| {
            v["domains"].as_array_mut().unwrap().clear();
        }),
        // Words of a set: key, stamp, regions, and four of pages with permissions.
        ("a set twice", |v| {
            let sets = v["sets"].as_array_mut().unwrap();
            sets.push(sets[0].clone());
        }),
        ("a set elsewhere", |v| {
            v["sets"][0][0] = (v["sets"][0][0].as_u64().unwrap() ^ 2).into()
        }),
        ("a stamp", |v| v["sets"][0][1][1] = 0.into()),
        ("a size that its domain has not", |v| {
            v["sets"][0][1][0] = (v["sets"][0][1][0].as_u64().unwrap() ^ 3).into()
        }),
        ("nothing", |v| {
            for pages in 3..7 {
                v["sets"][0][1][pages] = 0.into();
            }
        }),
        ("a region", |v| v["sets"][0][1][2] = u64::MAX.into()),
        ("beyond a region", |v| {
            for pages in 3..7 {
                v["sets"][0][1][pages] = u64::MAX.into();
            }
        }),
        ("set", |v| v["sets"][0][0] = u32::MAX.into()),
        // Domain 1 with a stamp that belongs to domain 0.
        ("domain", |v| {
            let domains = v["domains"].as_array_mut().unwrap();
            domains.resize(2, serde_json::json!([1u64 << 20, 0]));
        }),
        ("generation", |v| {
            v["domains"][0][0] = (u64::MAX << 18).into()
        }),
        ("floor", |v| v["floor"] = u64::MAX.into()),
        // A flush would begin again at 0.
        ("next", |v| v["next"] = u64::MAX.into()),
    ];
    for (name, spoil) in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        let bad: CacheState = serde_json::from_value(bad).unwrap();
        let restored = machine.ipmmu.unit().restore_cache(&bad);
        assert!(restored.is_err(), "{name}");
        assert_eq!(
            serde_json::to_value(machine.ipmmu.unit().save_cache()).unwrap(),
            good,
            "{name}"
        );
    }
}
