//! Front end and back end together, over a socket: what a device reaches, and when that ends.

mod common;
mod death;
mod driver;
mod processes;
mod relay;
mod stress;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{HANG, Machine, PAGE, PLAIN, RAM, SIZE, TRANSLATED, page, wait_until};
use viommu::{
    Attachment, CacheConfig, DmaListener, DomainId, EndpointId, Fault, FaultReason, Mapping, Miss,
    Model, Requester, TranslationUnit, UnitConfig,
};
use viommu_vhost_user::frontend::{BackendEvent, Translations};
use vm_memory::{Bytes, GuestAddress, Permissions};

const IOVA: u64 = 0xdead_0000;

#[test]
fn a_device_reaches_what_is_mapped_and_nothing_else() {
    let mut machine = Machine::new(TRANSLATED, Translations::Told);
    machine.map(IOVA, RAM + PAGE, Permissions::ReadWrite);
    machine.map(IOVA + PAGE, RAM, Permissions::Read);
    let (space, memory) = (machine.space.clone(), &machine.guest.memory);
    // Across both pages, which are not neighbours in memory.
    memory.write_obj(0x1122u16, GuestAddress(RAM)).unwrap();
    let across = GuestAddress(IOVA + PAGE - 2);
    assert_eq!(space.read_obj::<u32>(across).unwrap(), 0x1122 << 16);
    space.write_obj(7u32, GuestAddress(IOVA)).unwrap();
    assert_eq!(memory.read_obj::<u32>(GuestAddress(RAM + PAGE)).unwrap(), 7);
    let refused = [IOVA - 1, IOVA + 2 * PAGE, RAM, 0, u64::MAX];
    for iova in refused {
        assert!(
            space.read_obj::<u8>(GuestAddress(iova)).is_err(),
            "{iova:#x}"
        );
    }
    assert!(space.write_obj(1u8, GuestAddress(IOVA + PAGE)).is_err());
    machine.unmap(IOVA);
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA + PAGE)).is_ok());
    machine.listener.attach(Attachment::Blocked).unwrap();
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA + PAGE)).is_err());
    machine.listener.attach(Attachment::Bypass).unwrap();
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(RAM + SIZE - 1)).is_ok());
    assert!(space.read_obj::<u8>(GuestAddress(RAM + SIZE)).is_err());
}

#[test]
fn without_access_platform_a_device_reaches_all_memory() {
    let mut machine = Machine::new(PLAIN, Translations::Told);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    let space = &machine.space;
    assert!(space.write_obj(1u8, GuestAddress(RAM + SIZE - 1)).is_ok());
    assert!(space.read_obj::<u8>(GuestAddress(RAM + SIZE)).is_err());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
}

#[test]
fn an_unmapping_waits_for_an_access_and_nothing_else_does() {
    let mut machine = Machine::new(TRANSLATED, Translations::Told);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    let space = machine.space.clone();
    let pinned = space.pin();
    machine.listener.unmap(IOVA, IOVA + PAGE - 1);
    machine.listener.commit();
    for _ in 0..50 {
        assert!(!machine.listener.is_settled(), "an access is under way");
        thread::sleep(Duration::from_millis(1));
    }
    drop(pinned);
    wait_until(|| machine.listener.is_settled());
    // A mapping where nothing was replaces nothing.
    let pinned = space.pin();
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    drop(pinned);
}

#[test]
fn a_miss_is_answered_or_refused() {
    let mut machine = Machine::new(TRANSLATED, Translations::Told);
    machine.map(IOVA, RAM, Permissions::Read);
    let mut channel = machine.frontend.open_backend_channel().unwrap();
    // The back end forgets all with its memory; nobody tells it anew in this way.
    let space = machine.space.clone();
    let device = thread::spawn(move || {
        let read = space.read_obj::<u8>(GuestAddress(IOVA)).is_ok();
        let write = space.write_obj(1u8, GuestAddress(IOVA)).is_err();
        (read, write)
    });
    let mut events = Vec::new();
    wait_until(|| {
        events.extend(channel.serve().unwrap());
        device.is_finished()
    });
    assert_eq!(device.join().unwrap(), (true, true));
    let wanted = Permissions::Write;
    assert_eq!(events, [BackendEvent::Fault { iova: IOVA, wanted }]);
}

/// An IOMMU whose mappings nobody is told of: one page leads to a frame that changes.
struct Tables {
    frame: AtomicU64,
    faults: AtomicU64,
}

impl Model for Tables {
    fn translate(
        &self,
        _: Requester,
        _: DomainId,
        iova: u64,
        _: Permissions,
    ) -> Result<Mapping, Miss> {
        match iova & !(PAGE - 1) {
            IOVA => Ok(page(
                IOVA,
                self.frame.load(Ordering::Relaxed),
                Permissions::ReadWrite,
            )),
            _ => Err(Miss::new(FaultReason::Translation)),
        }
    }

    fn fault(&self, _: &Fault) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn translations_that_are_asked_for_follow_the_tables() {
    let tables = Arc::new(Tables {
        frame: AtomicU64::new(RAM),
        faults: AtomicU64::new(0),
    });
    let guest = Arc::new(common::Guest::new().memory);
    let config = UnitConfig::new(1, 1).with_initial(Attachment::Domain(DomainId(0)));
    let cache = CacheConfig::default();
    let unit = TranslationUnit::with_cache(guest, Arc::clone(&tables) as _, &config, &cache, None);
    let asked = Arc::clone(&unit);
    let translations = Translations::Asked(Box::new(move |iova, wanted| {
        let answer = asked.translate(EndpointId(0), iova, wanted);
        answer.inspect_err(|fault| asked.report(fault)).ok()
    }));
    let machine = Machine::new(TRANSLATED, translations);
    unit.add_listener(EndpointId(0), machine.frontend.listener());
    for frame in [RAM, RAM + PAGE] {
        let value = u32::try_from(frame).unwrap();
        let at = GuestAddress(frame + 8);
        machine.guest.memory.write_obj(value, at).unwrap();
    }
    let (done, space) = (Arc::new(AtomicBool::new(false)), machine.space.clone());
    let device = {
        let (done, tables) = (Arc::clone(&done), Arc::clone(&tables));
        thread::spawn(move || {
            for round in 0..20 {
                let frame = RAM + round % 2 * PAGE;
                tables.frame.store(frame, Ordering::Relaxed);
                // Returns when the back end has acknowledged it.
                unit.invalidate_range(DomainId(0), IOVA, IOVA + PAGE - 1);
                let read = space.read_obj::<u32>(GuestAddress(IOVA + 8));
                assert_eq!(u64::from(read.unwrap()), frame);
            }
            assert!(space.read_obj::<u32>(GuestAddress(0)).is_err());
            done.store(true, Ordering::Release);
        })
    };
    machine.serve_misses(|| done.load(Ordering::Acquire) || device.is_finished());
    device.join().unwrap();
    assert_eq!(tables.faults.load(Ordering::Relaxed), 1);
}

#[test]
fn a_miss_that_nobody_answers_fails_in_time() {
    let timeout = Duration::from_millis(30);
    let machine = Machine::with_timeouts(TRANSLATED, Translations::Told, timeout, HANG);
    // It is there, but nobody serves it.
    let channel = machine.frontend.open_backend_channel().unwrap();
    assert!(machine.space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    drop(channel);
}

#[test]
fn memory_comes_and_goes() {
    let mut machine = Machine::new(TRANSLATED, Translations::Told);
    let more = common::Guest::new();
    let mut region = more.region.clone();
    region.guest_address = RAM + SIZE;
    machine.map(IOVA, RAM + SIZE, Permissions::ReadWrite);
    let space = machine.space.clone();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    machine.frontend.add_memory(&region).unwrap();
    machine.settle();
    space.write_obj(5u8, GuestAddress(IOVA)).unwrap();
    assert_eq!(more.memory.read_obj::<u8>(GuestAddress(RAM)).unwrap(), 5);
    machine.frontend.remove_memory(&region).unwrap();
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    assert!(machine.frontend.remove_memory(&region).is_err());
    assert!(machine.frontend.is_alive(), "a refusal is no failure");
}
