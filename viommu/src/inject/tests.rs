//! Each kind of fault, at its point.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::script::{Script, WriteFault};
use super::*;
use crate::event::{Event, Observer};
use crate::ipmmu::spec::ContextRegister;
use crate::ipmmu::{Ipmmu, IpmmuConfig, NoInterrupt, Observers};
use crate::{FaultReason, HitCheck};

const RAM: u64 = 0x4000_0000;
/// Tables of each level, the first one first.
const TABLES: [u64; 3] = [RAM + 0x1000, RAM + 0x2000, RAM + 0x3000];
const PAGE: u64 = RAM + 0x8000;
/// As the driver writes them (6.1): a table, and a page that may be written.
const TABLE: u64 = 0x8080_0000_0000_0003;
const LEAF: u64 = 0xe63;

const IMCTR: u64 = 0x800;
const IMSTR: u64 = 0x820;
const FLUSH: u32 = 2;

struct World {
    ram: Arc<GuestMemoryMmap>,
    ipmmu: Ipmmu,
    script: Arc<Script>,
}

impl World {
    /// Creates a world in which IOVA 0 to 0xfff leads to `PAGE`, through uTLB 0 and context 0.
    fn new() -> Self {
        Self::with(HitCheck::Off, None)
    }

    fn with(check: HitCheck, observer: Option<Arc<dyn Observer>>) -> Self {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(RAM), 0x1_0000)]).unwrap();
        let ram = Arc::new(ram);
        let script = Arc::new(Script::default());
        let mut config = IpmmuConfig::gen2("mmu");
        config.faults = Faults::by(script.clone());
        config.cache.check = check;
        let observers = Observers {
            translation: observer,
            ..Observers::default()
        };
        let ipmmu = Ipmmu::new(ram.clone(), &config, Box::new(NoInterrupt), observers);
        let world = Self {
            ram,
            ipmmu: ipmmu.unwrap(),
            script,
        };
        world.put(TABLES[0], TABLES[1] | TABLE);
        world.put(TABLES[1], TABLES[2] | TABLE);
        world.put(TABLES[2], PAGE | LEAF);
        // Context 0: its table, long descriptors, then enabled; last uTLB 0, on that context.
        for (register, value) in [
            (0x810, TABLES[0] as u32),
            (0x808, 0x8000_3510),
            (IMCTR, 7),
            (0xb00, 3),
        ] {
            world.write(register, value);
        }
        world
    }

    fn put(&self, address: u64, descriptor: u64) {
        self.ram
            .write_obj(descriptor, GuestAddress(address))
            .unwrap();
    }

    fn write(&self, register: u64, value: u32) {
        let instance = self.ipmmu.instance(0).unwrap();
        instance.write(register, &value.to_le_bytes());
    }

    fn read(&self, register: u64) -> u32 {
        let mut word = [0; 4];
        self.ipmmu.instance(0).unwrap().read(register, &mut word);
        u32::from_le_bytes(word)
    }

    /// Returns what a bus master reads at IOVA 0, if it gets through.
    fn access(&self) -> Option<u32> {
        let space = self.ipmmu.instance(0).unwrap().space(0).unwrap();
        space.read_obj(GuestAddress(0)).ok()
    }

    fn flush(&self) {
        self.write(IMCTR, 7);
    }
}

#[test]
fn without_a_fault_the_buffer_is_a_cache() {
    let world = World::new();
    world.ram.write_obj(7_u32, GuestAddress(PAGE)).unwrap();
    assert_eq!(world.access(), Some(7));
    world.put(TABLES[2], 0);
    assert_eq!(world.access(), Some(7), "nothing was flushed");
    world.flush();
    assert_eq!(world.access(), None);
    world.put(TABLES[2], PAGE | LEAF);
    assert_eq!(world.access(), Some(7), "a refusal is never kept");
}

/// Counts what is told of stale hits: those that there were, and those that ended.
#[derive(Default)]
struct Stale(std::sync::Mutex<(u32, u32)>);

impl Observer for Stale {
    fn event(&self, event: &Event) {
        let mut counts = self.0.lock().unwrap();
        match event {
            Event::StaleHit(_) => counts.0 += 1,
            Event::StaleEnded { .. } => counts.1 += 1,
            _ => {}
        }
    }
}

#[test]
fn what_the_buffer_has_is_compared_with_the_tables_if_that_is_asked_for() {
    for (check, told) in [
        (HitCheck::Off, [(0, 0), (0, 0), (0, 0)]),
        (HitCheck::On, [(1, 0), (1, 1), (2, 1)]),
        (HitCheck::KeepAll, [(1, 0), (1, 1), (2, 1)]),
    ] {
        let stale = Arc::new(Stale::default());
        let counts = || *stale.0.lock().unwrap();
        let world = World::with(check, Some(stale.clone()));
        world.ram.write_obj(7_u32, GuestAddress(PAGE)).unwrap();
        assert_eq!(world.access(), Some(7));
        assert_eq!(counts(), (0, 0));
        world.put(TABLES[2], 0);
        assert_eq!(world.access(), Some(7), "nothing was flushed");
        assert_eq!(counts(), told[0], "{check:?}");
        world.flush();
        assert_eq!(world.access(), None);
        assert_eq!(counts(), told[1], "{check:?}");
        // A fault that is injected still comes first.
        world.put(TABLES[2], PAGE | LEAF);
        *world.script.translation.lock().unwrap() = Some(FaultReason::Permission);
        assert_eq!(world.access(), None);
        *world.script.translation.lock().unwrap() = None;
        assert_eq!(world.access(), Some(7));
        assert_eq!(counts(), told[1], "{check:?}");
        world.put(TABLES[2], (PAGE + 0x1000) | LEAF);
        assert_eq!(world.access(), Some(7));
        assert_eq!(counts(), told[2], "{check:?}");
    }
}

#[test]
fn a_translation_is_refused_as_asked_and_the_guest_told() {
    for (reason, status) in [
        (FaultReason::Translation, 0x3001),
        (FaultReason::Permission, 0x3402),
        (FaultReason::WalkAbort, 0x3004),
        (FaultReason::MultipleHits, 0x3010),
    ] {
        let world = World::new();
        *world.script.translation.lock().unwrap() = Some(reason);
        assert_eq!(world.access(), None);
        assert_eq!(world.read(IMSTR), status, "{reason}");
        *world.script.translation.lock().unwrap() = None;
        assert!(world.access().is_some(), "the page itself is as it was");
    }
}

#[test]
fn a_walk_reads_something_else() {
    let world = World::new();
    *world.script.descriptor.lock().unwrap() = Some(DescriptorFault::Abort);
    assert_eq!(world.access(), None);
    assert_eq!(world.read(IMSTR) & 0xf, 4, "an abort");
    // The first table's entry with its valid bit flipped.
    let world = World::new();
    *world.script.descriptor.lock().unwrap() =
        Some(DescriptorFault::Value((TABLES[1] | TABLE) ^ 1));
    assert_eq!(world.access(), None);
    assert_eq!(world.read(IMSTR) & 0xf, 1, "a translation fault");
}

#[test]
fn a_flush_is_late_or_sticks() {
    let world = World::new();
    *world.script.flush.lock().unwrap() = Some(FlushFault::Late(3));
    world.flush();
    let seen: Vec<bool> = (0..5).map(|_| world.read(IMCTR) & FLUSH != 0).collect();
    assert_eq!(seen, [true, true, true, false, false]);
    *world.script.flush.lock().unwrap() = Some(FlushFault::Stuck);
    world.flush();
    assert!((0..1000).all(|_| world.read(IMCTR) & FLUSH != 0));
    *world.script.flush.lock().unwrap() = None;
    world.flush();
    assert_eq!(world.read(IMCTR) & FLUSH, 0, "the next one works");
}

#[test]
fn an_ignored_flush_leaves_what_was_translated() {
    let world = World::new();
    assert!(world.access().is_some());
    *world.script.flush.lock().unwrap() = Some(FlushFault::Ignored);
    world.put(TABLES[2], 0);
    world.flush();
    assert_eq!(world.read(IMCTR) & FLUSH, 0);
    assert!(world.access().is_some(), "stale");
    *world.script.flush.lock().unwrap() = None;
    world.flush();
    assert_eq!(world.access(), None);
}

#[test]
fn registers_read_and_take_something_else() {
    let world = World::new();
    *world.script.read.lock().unwrap() = Some((ContextRegister::Imstr.name(), 0x8000_0720));
    assert_eq!(world.read(IMSTR), 0x8000_0720);
    *world.script.read.lock().unwrap() = None;
    assert_eq!(world.read(IMSTR), 0, "only the reading was wrong");
    let register = ContextRegister::Immair0.name();
    world.script.lose(register, None);
    world.write(0x828, 0x1234);
    assert_eq!(world.read(0x828), 0);
    *world.script.write.lock().unwrap() = Some(WriteFault {
        register,
        value: None,
        instead: Some(0x55),
    });
    world.write(0x828, 0x1234);
    assert_eq!(world.read(0x828), 0x55);
}

#[test]
fn a_status_out_of_nowhere_is_shown_until_cleared() {
    let world = World::new();
    let instance = world.ipmmu.instance(0).unwrap();
    instance.record_status(0, 0x717, 0x1234_5678);
    assert_eq!(world.read(IMSTR), 0x717);
    assert_eq!(world.read(0x830), 0x1234_5678);
    world.write(IMSTR, 0);
    assert_eq!((world.read(IMSTR), world.read(0x830)), (0, 0));
    instance.record_status(99, 1, 0);
    assert_eq!(world.read(IMSTR), 0);
}

#[test]
fn the_buffer_is_bounded_and_forgets_ranges() {
    let injected = Injected::new(Arc::new(Script::default()));
    let mapping = |iova: u64| crate::Mapping {
        first: iova,
        last: iova + 0xfff,
        address: RAM,
        permissions: vm_memory::Permissions::Read,
    };
    let ask = |iova: u64, known: bool| {
        let model = || {
            if known {
                Ok(mapping(iova & !0xfff))
            } else {
                Err(Miss::new(FaultReason::Translation))
            }
        };
        let wanted = vm_memory::Permissions::Read;
        injected
            .translate(
                crate::EndpointId(0).into(),
                DomainId(0),
                iova,
                wanted,
                model,
            )
            .is_ok()
    };
    for page in 0..10_000 {
        assert!(ask(page << 12, true));
    }
    assert!(ask(9_999 << 12, false), "kept");
    assert!(!ask(0, false), "given up for others");
    injected.forget(DomainId(0), 9_999 << 12 | 0x10, 9_999 << 12 | 0x20);
    assert!(!ask(9_999 << 12, false));
    assert!(ask(9_998 << 12, false));
    injected.forget(DomainId(1), 0, u64::MAX);
    assert!(ask(9_998 << 12, false), "another domain's");
    injected.forget_all();
    assert!(!ask(9_998 << 12, false));
}

/// The model answers, and all is forgotten before the answer can be kept.
#[test]
fn an_answer_from_before_a_flush_is_not_kept() {
    let injected = Injected::new(Arc::new(Script::default()));
    let wanted = vm_memory::Permissions::Read;
    let ask = |model: &dyn Fn() -> Result<crate::Mapping, Miss>| {
        let requester = crate::EndpointId(0).into();
        injected.translate(requester, DomainId(0), 0x1000, wanted, model)
    };
    let mapping = crate::Mapping {
        first: 0x1000,
        last: 0x1fff,
        address: RAM,
        permissions: wanted,
    };
    let flushed_meanwhile = || {
        injected.forget(DomainId(0), 0, u64::MAX);
        Ok(mapping)
    };
    let gone = || Err(Miss::new(FaultReason::Translation));
    assert!(ask(&flushed_meanwhile).is_ok());
    assert!(ask(&gone).is_err());
    assert!(ask(&|| Ok(mapping)).is_ok());
    assert!(ask(&gone).is_ok(), "kept");
}
